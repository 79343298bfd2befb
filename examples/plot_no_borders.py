"""
Where nobody says when something changes
========================================

A stream of small batches, whose rules change twice. Nobody tells the strategy. A drift detector watches the errors on
rows before they are learned, and opens a new experience where it fires: then EWC protects what was learned until there.
The detector is river's (``forgetless[data]``).
"""

import matplotlib.pyplot as plt
import numpy as np
from river.drift import ADWIN

from forgetless.estimators import MLP, ContinualNet, DriftBoundaries, ReplayClassifier

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
