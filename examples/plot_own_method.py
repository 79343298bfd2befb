"""
A method of your own in twenty lines
====================================

The idea: after each step of the optimiser, pull the weights a little towards where they were when the experience began.
One class with two hooks; it then stands in the leaderboard beside the others. The tutorial has the same, step by step.
"""

import matplotlib.pyplot as plt
import torch

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    EWCClassifier,
    JointClassifier,
    NaiveClassifier,
    NetworkClassifier,
    between,
)
from forgetless.reports import leaderboard, plot_stability_plasticity


class PullBackClassifier(NetworkClassifier):
    """After each step, θ becomes (1 − pull) θ + pull θ*, where θ* is where the experience began."""

    family = "regularization"
    source = "this page"
    carries = {"start_": "anchors"}
    parameter_constraints = {"pull": [between(0, 1)]}

    def __init__(self, net=None, *, pull=0.01, active_outputs="auto", random_state=None):
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.pull = pull

    def consolidate(self):
        """An experience opens; the network is still as the one before left it."""
        self.start_ = torch.nn.utils.parameters_to_vector(self.net_.module_.parameters()).detach().clone()

    def after_step(self, call, theta, batch):
        """The optimiser has moved the weights."""
        if hasattr(self, "start_"):
            theta.lerp_(self.start_, self.pull)


# %%
# Beside the others
# -----------------

net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.005, max_epochs=3)
results = run_benchmark(
    {
        "plain": NaiveClassifier(net),
        "EWC": EWCClassifier(net, ewc_lambda=100),
        **{f"pull {pull}": PullBackClassifier(net, pull=pull) for pull in (0.001, 0.01, 0.1)},
        "joint": JointClassifier(net),
    },
    {"digits-domain": lambda seed: split_stream(load_digits(), scenario="domain", random_state=seed)},
    seeds=3,
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "average_accuracy", "forgetting", "learning_accuracy"]].round(3)

# %%
# The stronger the pull, the less is forgotten, and the less is learned.

plot_stability_plasticity(results)
plt.show()
