"""A stream for ever: time and memory of a call do not grow with the number of calls."""

import os
import pickle
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


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_last_calls_cost_what_the_first_did(name):
    model, rng = STRATEGIES[name], np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 2, 5)), rng.integers(0, 3, (1000, 2))
    y[0] = 0, 1
    window = N_CALLS // 100
    seconds, sizes = np.empty(N_CALLS), {}
    for k in range(N_CALLS):
        start = time.perf_counter()
        model.partial_fit(X[k % 1000], y[k % 1000])
        seconds[k] = time.perf_counter() - start
        # The first percent warms up caches, and fills memories.
        if k in (2 * window, N_CALLS - 1):
            sizes[k] = len(pickle.dumps(model)), sum(model.memory_usage().values())
    first, last = np.median(seconds[window : 2 * window]), np.median(seconds[-window:])
    (bytes_first, usage_first), (bytes_last, usage_last) = sizes.values()
    print(
        f"\n{name}: {N_CALLS} calls, {1e6 * first:.0f} and {1e6 * last:.0f} µs a call, "
        f"{bytes_first} and {bytes_last} bytes"
    )
    assert last < 1.15 * first
    # ADWIN keeps as many sums as its window has doubled.
    allowance = 2000 if isinstance(model, DriftBoundaries) else 0
    assert bytes_last < 1.15 * bytes_first + allowance
    assert usage_last < 1.15 * usage_first + allowance
