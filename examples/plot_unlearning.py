"""
Unlearning on request
=====================

Somebody asks for their rows to be taken away. Closed forms can do that exactly: afterwards they never saw them. A
replay memory can drop the rows, but its weights keep traces; the difference is measured here.
"""

import matplotlib.pyplot as plt
import numpy as np

from forgetless.datasets import load_digits
from forgetless.estimators import MLP, ContinualNet, ReplayClassifier, SLDAClassifier

digits = load_digits()
X, y = digits.X_train, digits.y_train
leaving = np.arange(len(y)) % 10 == 0  # one row in ten belongs to who asks
parts = np.array_split(np.arange(len(y)), 5)


def learned(model, keep):
    """A model that saw these rows, in five calls."""
    for rows in parts:
        rows = rows[keep[rows]]
        model.partial_fit(X[rows], y[rows])
    return model


everything = np.ones(len(y), dtype=bool)
net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.005, max_epochs=3)

# %%
# Exactly: the closed form
# ------------------------

slda = learned(SLDAClassifier(shrinkage=0.1), everything)
never = learned(SLDAClassifier(shrinkage=0.1), ~leaving)
before = slda.decision_function(digits.X_test)
slda.unlearn(X[leaving], y[leaving])
after, target = slda.decision_function(digits.X_test), never.decision_function(digits.X_test)
print("says of itself:", slda.strategy_info()["unlearns"])
print("largest difference to a model that never saw them:", np.abs(after - target).max())

# %%
# The memory only: replay
# -----------------------

replay = learned(ReplayClassifier(net, buffer_size=200, random_state=0), everything)
replay_never = learned(ReplayClassifier(net, buffer_size=200, random_state=0), ~leaving)
replay_before = replay.predict_proba(digits.X_test)
replay.forget_samples(X[leaving])
replay_after, replay_target = replay.predict_proba(digits.X_test), replay_never.predict_proba(digits.X_test)
print("says of itself:", replay.strategy_info()["unlearns"])

# %%
# How far each is from never having seen them
# -------------------------------------------


def distances(first, second, axis_max):
    """Distances of the answers, row by row, as shares of the largest score."""
    return np.abs(first - second).max(axis=1) / axis_max


figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
scale = np.abs(target).max()
ax.boxplot(
    [
        distances(before, target, scale),
        distances(after, target, scale),
        distances(replay_before, replay_target, 1.0),
        distances(replay_after, replay_target, 1.0),
    ],
    tick_labels=["SLDA\nbefore", "SLDA\nafter unlearn", "replay\nbefore", "replay\nafter forget_samples"],
    showfliers=False,
)
ax.set(ylabel="distance to a model that\nnever saw the rows", yscale="symlog")
ax.set_yscale("symlog", linthresh=1e-6)
plt.show()
