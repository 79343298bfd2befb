"""A stream for ever: time and memory of a call do not grow with the number of calls."""

import os
import pickle
import sys
import time

import numpy as np
import pytest

from forgetless.estimators import (
    MLP,
    ContinualNet,
    DriftBoundaries,
    EWCClassifier,
    MajorityClassifier,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    ReplayClassifier,
    SLDAClassifier,
)

N_CALLS = int(os.environ.get("FORGETLESS_CALLS", "10000"))
NET = ContinualNet(MLP, module__hidden_units=(8,), max_epochs=1)
STRATEGIES = {
    "Majority": MajorityClassifier(),
    "NCM": NCMClassifier(),
    "SLDA": SLDAClassifier(shrinkage=0.1),
    "RandomProjection": RandomProjectionClassifier(20, random_state=0),
    "Naive": NaiveClassifier(NET, random_state=0),
    "Replay": ReplayClassifier(NET, buffer_size=20, random_state=0),
    "EWC": EWCClassifier(NET, random_state=0),
    "NCM with borders": DriftBoundaries(NCMClassifier()),
}


def seconds_of(model, X, y):
    start = time.perf_counter()
    model.partial_fit(X, y)
    return time.perf_counter() - start


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_last_calls_cost_what_the_first_did(name):
    resource = pytest.importorskip("resource")  # not on Windows
    model, rng = STRATEGIES[name], np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 2, 5)), rng.integers(0, 3, (1000, 2))
    y[0] = 0, 1
    window = N_CALLS // 100
    for k in range(N_CALLS):
        model.partial_fit(X[k % 1000], y[k % 1000])
        if k == window:  # memories are full
            young, peak = pickle.dumps(model), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    old = pickle.dumps(model)
    models = pickle.loads(young), pickle.loads(old)
    # By turns, since the machine may be busier now than it was at the first calls.
    seconds = [[seconds_of(each, X[k % 1000], y[k % 1000]) for each in models] for k in range(max(window, 500))]
    first, last = np.median(seconds, axis=0)
    print(f"\n{name}: {N_CALLS} calls, {1e6 * first:.0f} and {1e6 * last:.0f} µs, {len(young)} and {len(old)} bytes")
    print(f"{growth} KiB more of the process at its peak")
    assert last < 1.15 * first
    # ADWIN keeps as many sums as its window has doubled.
    assert len(old) < 1.15 * len(young) + (2000 if isinstance(model, DriftBoundaries) else 0)
    assert growth < 30_000 or sys.platform != "linux"  # elsewhere in other units
