"""
Forgetting, and two ways against it
===================================

Digits come two classes at a time, and the old ones are gone. Plain training knows the last two, a small memory of rows
helps, and a closed form does not depend on the order at all.
"""

import matplotlib.pyplot as plt

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import MLP, ContinualNet, JointClassifier, NaiveClassifier, ReplayClassifier, SLDAClassifier
from forgetless.reports import leaderboard, plot_cost, plot_curves, plot_matrix

net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.01, max_epochs=5)
results = run_benchmark(
    {
        "plain": NaiveClassifier(net),
        "replay": ReplayClassifier(net, buffer_size=200),
        "SLDA": SLDAClassifier(shrinkage=0.1),
        "joint": JointClassifier(net),
    },
    {"digits": lambda seed: split_stream(load_digits(), random_state=seed)},
    seeds=3,
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "average_accuracy", "forgetting", "fit_seconds", "keeps"]].round(3)

# %%
# Accuracy on all classes seen so far, with intervals over seeds.

plot_curves(results)

# %%
# Where it is lost: accuracy on each experience after each experience.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, name in zip(axes, ("plain", "replay"), strict=True):
    plot_matrix(results, name, ax=ax)
    ax.set_title(name)

# %%
# And what it costs. Whatever is on the Pareto front is beaten by nothing in both.

plot_cost(results)
plt.show()
