"""
Five sites, one model, no shared rows
=====================================

The digits that scikit-learn ships are dealt out to five sites, each of which sees mostly some of the ten classes. Sites
that learn alone know little of the others' classes. Together they send sums (closed forms, which are merged) or weights
(networks, which are averaged), and no row; the merged closed forms are those of all rows in one place, and averaged
networks come near them.
"""

import matplotlib.pyplot as plt
import numpy as np

from forgetless.benchmarks import federate
from forgetless.datasets import load_digits, site_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    SLDAClassifier,
)

# %%
# What each site sees
# -------------------

sites = site_stream(load_digits(), n_experiences=5, concentration=0.3, random_state=0)
counts = np.array([[np.sum(site.y_train == label) for label in sites.classes] for site in sites])
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.imshow(counts, cmap="Blues", aspect="auto")
ax.set(xlabel="class", ylabel="site", xticks=range(10), yticks=range(5))

# %%
# Alone, together, and with all rows in one place
# -----------------------------------------------
#
# Networks learn for fifteen rounds: each site trains, then all take the mean of the weights.

net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.003, max_epochs=2)
strategies = {
    "nearest mean": NCMClassifier(),
    "SLDA": SLDAClassifier(shrinkage=0.1),
    "random projection": RandomProjectionClassifier(500, random_state=0),
    "network, averaged": NaiveClassifier(net, active_outputs="all", random_state=0),
}
table = federate(strategies, sites, n_rounds=15)
table.round(3)

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for shift, how in zip((-0.25, 0, 0.25), ("alone", "together", "pooled"), strict=True):
    ax.bar(np.arange(len(table)) + shift, table[how], width=0.25, label=how)
ax.set(ylabel="accuracy on all sites", ylim=(0, 1.15), xticks=range(len(table)))
ax.set_xticklabels(table["strategy"])
ax.legend(frameon=False, ncols=3, loc="upper left")
plt.show()
