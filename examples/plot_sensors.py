"""
Sensors, one person after another
=================================

A watch records shoulder exercises of ten people. Each person is an experience: the classes stay, the way of moving
changes. Is it enough to go on training? The data are inside the package ``seglearn`` (``forgetless[data]``).
"""

import matplotlib.pyplot as plt
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import column_stream, load_watch
from forgetless.estimators import (
    MLP,
    ContinualNet,
    EWCClassifier,
    JointClassifier,
    NaiveClassifier,
    ReplayClassifier,
    SLDAClassifier,
    make_incremental_pipeline,
)
from forgetless.reports import leaderboard, plot_curves, plot_stability_plasticity

stream = column_stream(load_watch(), "person")
print(stream, stream[0], sep="\n")

# %%
# The scaler before the strategy learns, too.

net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.001, max_epochs=5)
strategies = {
    "plain": NaiveClassifier(net),
    "EWC": EWCClassifier(net, ewc_lambda=100),
    "replay": ReplayClassifier(net, buffer_size=100),
    "SLDA": SLDAClassifier(shrinkage=0.5),
    "joint": JointClassifier(net),
}
results = run_benchmark(
    {name: make_incremental_pipeline(StandardScaler(), each) for name, each in strategies.items()},
    {"watch": lambda seed: stream},
    seeds=2,
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "average_accuracy", "forgetting", "learning_accuracy", "keeps"]].round(3)

# %%
plot_curves(results)

# %%
# How little is forgotten, against how well new people are learned.

plot_stability_plasticity(results)
plt.show()
