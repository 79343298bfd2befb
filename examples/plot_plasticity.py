"""
Loss of plasticity
==================

Nothing is to be remembered here: every experience has the same digits with other labels, and only the current one
counts. A network that has learned many such tasks learns the next one worse. That is no forgetting, and replay would
not help; pulling the weights towards where they began does.
"""

import json

import matplotlib.pyplot as plt

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import label_permuted_stream, load_digits
from forgetless.estimators import MLP, AnchoredClassifier, ContinualNet, FreshClassifier, NaiveClassifier

N = 40
net = ContinualNet(MLP, module__hidden_units=(64, 64), lr=0.01, max_epochs=2, batch_size=16)
results = run_benchmark(
    {
        "plain": NaiveClassifier(net),
        "L2-Init": AnchoredClassifier(net, anchor="initial", strength=0.01),
        "fresh each time": FreshClassifier(net),
    },
    {"labels": lambda seed: label_permuted_stream(load_digits(), n_experiences=N, random_state=seed)},
    seeds=2,
    evaluate="current",
    diagnostics=True,
    n_jobs=1,
    progress=False,
)

# %%
# Accuracy on each task just after it was learned, and units that give nothing any more.

own = results.scores[results.scores["trained_on"] == results.scores["tested_on"]]
accuracy = own.pivot_table("score", "trained_on", "strategy")
dead = results.experiences.assign(dead=[json.loads(each)["dead_units"] for each in results.experiences["diagnostics"]])
dead = dead.pivot_table("dead", "experience", "strategy")

figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for name in accuracy:
    axes[0].plot(accuracy[name].rolling(5).mean(), label=name)
    axes[1].plot(dead[name], label=name)
axes[0].set(xlabel="task", ylabel="accuracy on the task, of five tasks")
axes[1].set(xlabel="task", ylabel="share of dead units")
axes[0].legend(frameon=False)
plt.show()
