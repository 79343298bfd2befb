"""
Electricity, in the order of time
=================================

Does the price go up in the next half hour? Each week is predicted, then learned. The market of New South Wales is read
from ``electricity.csv.gz``, where ``FORGETLESS_DATA`` or scikit-learn's data folder has it (``load_electricity``
downloads it from OpenML). Without the file, this program makes a market of the same form: the price follows the hour,
demand and, from one day on, other rules.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import get_data_home
from sklearn.linear_model import SGDClassifier

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import Dataset, chunked_stream, load_electricity
from forgetless.estimators import (
    MLP,
    ContinualNet,
    LastLabelClassifier,
    MajorityClassifier,
    NaiveClassifier,
    ReplayClassifier,
)
from forgetless.reports import leaderboard, plot_curves

N_ROWS = 336 * 24  # half hours of 24 weeks


def made_market() -> Dataset:
    """A stand-in: labels come in runs, and what drives them changes after twelve weeks."""
    rng = np.random.default_rng(0)
    hour = np.arange(N_ROWS) % 48 / 48
    demand = 0.5 + 0.3 * np.sin(2 * np.pi * hour - 2) + rng.normal(0, 0.05, N_ROWS)
    slow = np.convolve(rng.normal(0, 1, N_ROWS + 11), np.ones(12) / 12, "valid")
    sign = np.where(np.arange(N_ROWS) < N_ROWS / 2, 1, -1)
    up = sign * (demand - 0.5) + 0.5 * slow > 0
    return Dataset("market", pd.DataFrame({"hour": hour, "demand": demand, "transfer": slow}), up.astype(int))


homes = [Path(os.environ.get("FORGETLESS_DATA", ".")), Path(os.environ.get("FORGETLESS_DATA", "."), "csv")]
homes = [home for home in [*homes, Path(get_data_home())] if (home / "electricity.csv.gz").exists()]
data = load_electricity(homes[0]) if homes else made_market()
if homes:
    data = Dataset("electricity", data.X_train[:N_ROWS], data.y_train[:N_ROWS])
print(data)

# %%
# Test, then learn
# ----------------
#
# ``test_size=0`` holds nothing out, since every row is a test row once. Two plain baselines stand in the table: the
# last label, and the most frequent one.

net = ContinualNet(MLP, module__hidden_units=(50,), lr=0.005, max_epochs=1, batch_size=16)
results = run_benchmark(
    {
        "majority": MajorityClassifier(),
        "last label": LastLabelClassifier(),
        "network": NaiveClassifier(net),
        "with replay": ReplayClassifier(net, buffer_size=500, policy="recent"),
        "SGDClassifier": SGDClassifier(),
    },
    {data.name: lambda seed: chunked_stream(data, chunk_size=336, test_size=0)},
    seeds=1,
    evaluate="prequential",
    eval_every=48,
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "score", "fit_seconds", "keeps"]].round(3)

# %%
# Week by week
# ------------
#
# A score that the last label has, too, says little about what was learned. On the made market the rules turn round
# after twelve weeks, and all have to learn anew.

plot_curves(results)
plt.show()
