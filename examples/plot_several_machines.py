"""
A leaderboard of several machines
=================================

A suite in parts: each machine runs its share and writes a store of its own, and ``merge`` puts them together. There
is no server, and nothing talks to anything. Here the three machines are three runs in one folder.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt

from forgetless.benchmarks import Store
from forgetless.reports import leaderboard, plot_cost, plot_curves

folder = Path(mkdtemp())
(folder / "ours.toml").write_text(
    """
name = "ours"
description = "Two streams, four strategies"
seeds = 2
strategies = ["NaiveClassifier", "ReplayClassifier", "SLDAClassifier", "JointClassifier"]

[net]
hidden_units = [50]
lr = 0.01
max_epochs = 3

[[streams]]
name = "digits"
dataset = "digits"

[[streams]]
name = "wine"
dataset = "wine"
n_experiences = 3
"""
)


def forgetless(*arguments):
    """Run the command, as each machine would."""
    command = [sys.executable, "-m", "forgetless", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


# %%
# On each machine, one line; in a job array, the number of the job stands for the 1, 2, 3.

for part in (1, 2, 3):
    forgetless("run", "ours.toml", "--shard", f"{part}/3", "--store", f"part{part}.db", "--n-jobs", "1")

# %%
# On one of them:

print(forgetless("merge", "part1.db", "part2.db", "part3.db", "--store", "all.db"))
print(forgetless("leaderboard", "all.db", "--pivot", "--format", "csv"))

# %%
# The store is one file; in Python it is read like this.

with Store(folder / "all.db") as store:
    results = store.results()
leaderboard(results, ["average_accuracy", "forgetting"])[
    ["stream", "strategy", "average_accuracy", "forgetting"]
].round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
plot_curves(results, "digits", ax=axes[0])
plot_cost(results, "digits", ax=axes[1])
plt.show()
