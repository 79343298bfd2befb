"""
A random forest that goes on learning
=====================================

A forest has no ``partial_fit``. ``continualize`` gives it one: a bounded memory of rows, on which it is fitted anew at
each call. How large must the memory be?
"""

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestClassifier

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import SLDAClassifier, continualize
from forgetless.reports import leaderboard, plot_curves

forest = RandomForestClassifier(30)
results = run_benchmark(
    {
        **{f"forest, {n} rows": continualize(forest, buffer_size=n) for n in (50, 200, 1000)},
        "SLDA": SLDAClassifier(shrinkage=0.1),
    },
    {"digits": lambda seed: split_stream(load_digits(), random_state=seed)},
    seeds=2,
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "average_accuracy", "forgetting", "fit_seconds", "keeps"]].round(3)

# %%
plot_curves(results)
plt.show()
