"""
Would this update forget?
=========================

A model is in use. New rows have come, and before it learns them for good, a copy does: what would be lost of the past,
and is that acceptable? Then it is accepted, or undone.
"""

import matplotlib.pyplot as plt
import numpy as np

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    NaiveClassifier,
    ReplayClassifier,
    retention,
    snapshot,
    would_forget,
)

stream = split_stream(load_digits(), scenario="domain", class_order="sorted")
net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.005, max_epochs=5)
models = {"plain": NaiveClassifier(net, random_state=0), "replay": ReplayClassifier(net, random_state=0)}
for model in models.values():
    for experience in list(stream)[:4]:
        model.partial_fit(experience.X_train, experience.y_train)

# %%
# What an update would cost
# -------------------------

new = stream[4]
updates = {name: would_forget(model, new.X_train, new.y_train, holdout=stream) for name, model in models.items()}
updates["plain"].scores.round(2)

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for shift, (name, update) in zip((-0.2, 0.2), updates.items(), strict=True):
    ax.bar(np.arange(len(update.scores)) + shift, update.scores["change"], width=0.4, label=name)
ax.axhline(-0.1, color="tab:red", linestyle=":", label="what we accept")
ax.set(xlabel="past experience", ylabel="change of accuracy", xticks=range(4))
ax.legend(frameon=False)

# %%
# Accept it, or not; and undo
# ---------------------------

for name, update in updates.items():
    print(name, "worst change:", round(update.worst_change, 2), "accepted" if update.worst_change > -0.1 else "refused")

model = models["replay"]
undo = snapshot(model)
model.partial_fit(new.X_train, new.y_train)
print(retention(model, stream).round(2))
undo()
print("after undo:", model.n_experiences_, "experiences")
plt.show()
