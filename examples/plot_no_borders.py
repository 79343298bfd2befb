"""
Where nobody says when something changes
========================================

A stream of small batches, whose rules change twice. Nobody tells the strategy. A drift detector watches the errors on
rows before they are learned, and opens a new experience where it fires: then EWC protects what was learned until there.
The detector is river's (``forgetless[data]``).
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from river.drift import ADWIN, PageHinkley

from forgetless.datasets import Dataset, drift_stream
from forgetless.estimators import MLP, ContinualNet, DriftBoundaries, NCMClassifier, ReplayClassifier

rng = np.random.default_rng(0)
weights = rng.normal(size=(3, 8))
changes = (100, 200)


def batch(step):
    """Twenty rows under the rule of their time."""
    X = rng.normal(size=(20, 8)).astype("float32")
    return X, X @ weights[np.searchsorted(changes, step, side="right")] > 0


net = ContinualNet(MLP, module__hidden_units=(30,), lr=0.01, max_epochs=1, batch_size=10)
clf = DriftBoundaries(ReplayClassifier(net, buffer_size=100, policy="recent", random_state=0), detector=ADWIN())
right, experiences = [], []
for step in range(300):
    X, y = batch(step)
    if step:
        right.append(np.mean(clf.predict(X) == y))
    clf.partial_fit(X, y)
    experiences.append(clf.n_experiences_)

# %%
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(np.convolve(right, np.ones(10) / 10, "valid"), label="accuracy before learning, of ten batches")
ax.vlines(changes, 0, 2, color="tab:red", linestyle=":", label="the rule changes")
ax.vlines(np.flatnonzero(np.diff(experiences)) + 1, 0, 2, color="tab:green", alpha=0.6, label="found")
ax.set(xlabel="batch", ylabel="accuracy", ylim=(0.3, 1.02))
ax.legend(loc="lower right", frameon=False)
plt.show()

# %%
# How late, and how often by mistake
# ----------------------------------
#
# Made drifts, of which the row is known: after half of 4,000 rows, labels are turned around, at once or (gradual) more
# and more often over a fifth of the rows; or nothing happens. A false alarm is a border before the change begins, or
# any where there is none; of a drift that is found, the delay is the number of rows from the begin of the change to
# the first border after it.

N_ROWS, N_SEEDS = 4000, 5
BEGIN = {"abrupt": 0.5, "gradual": 0.4, "none": 1.0}


def borders(seed, drift, detector):
    """The rows at which borders were found."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, 4))
    y = (X[:, 0] + 0.3 * rng.normal(size=N_ROWS) > 0).astype(int)
    if drift != "none":
        turned = [lambda rows: (rows[:, 0] < 0).astype(int)]
        stream = drift_stream(Dataset("signs", X, y), turned, drift=drift, test_size=0, random_state=seed)
        X, y = (np.concatenate(part) for part in zip(*((e.X_train, e.y_train) for e in stream), strict=True))
    clf, found = DriftBoundaries(NCMClassifier(), detector=detector), []
    for rows in np.array_split(np.arange(N_ROWS), N_ROWS // 20):
        before = getattr(clf, "n_borders_", 0)
        clf.partial_fit(X[rows], y[rows])
        found += [clf.last_border_] * (clf.n_borders_ - before)
    return np.array(found)


lines = []
for detector in (ADWIN(), PageHinkley()):
    for drift, share in BEGIN.items():
        begin = int(share * N_ROWS)
        found = [borders(seed, drift, detector) for seed in range(N_SEEDS)]
        delays = [rows[rows >= begin][0] - begin for rows in found if (rows >= begin).any()]
        n_false = sum((rows < begin).sum() for rows in found)
        lines.append(
            {
                "detector": type(detector).__name__,
                "drift": drift,
                "found": len(delays) / N_SEEDS if begin < N_ROWS else np.nan,
                "delay (median)": np.median(delays) if delays else np.nan,
                "false alarms in 10,000 rows": 10_000 * n_false / (begin * N_SEEDS),
            }
        )
pd.DataFrame(lines).round(1)
