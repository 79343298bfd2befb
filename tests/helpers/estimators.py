"""What tests of estimators share: digits and their streams, small networks, learning, weights."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    AGEMClassifier,
    AnchoredClassifier,
    ContinualNet,
    DERClassifier,
    ERACEClassifier,
    EWCClassifier,
    FeatureDistillationClassifier,
    ICaRLClassifier,
    LwFClassifier,
    MASClassifier,
    MERClassifier,
    NaiveClassifier,
    ReplayClassifier,
    ShrinkPerturbClassifier,
    SIClassifier,
    UPGDClassifier,
)

DIGITS = load_digits()
X, Y = DIGITS.X_train, DIGITS.y_train
OLD, NEW = Y < 5, Y >= 5

# Strategies whose seeds can be trained as one stacked network, and whose steps can be recorded.
STACKABLE = {
    "naive": NaiveClassifier(),
    "l2": AnchoredClassifier(strength=0.1),
    "l1": AnchoredClassifier(penalty="l1", strength=0.1),
    "ewc": EWCClassifier(ewc_lambda=100.0),
    "implicit ewc": EWCClassifier(ewc_lambda=100.0, penalty_step="implicit"),
    "si": SIClassifier(),
    "mas": MASClassifier(),
    "shrink and perturb": ShrinkPerturbClassifier(),
    "upgd": UPGDClassifier(),
    "replay": ReplayClassifier(buffer_size=60),
    "balanced replay": ReplayClassifier(buffer_size=60, policy="class_balanced", replay_weight="balanced"),
    "interfered replay": ReplayClassifier(buffer_size=60, retrieval="mir"),
    "er-ace": ERACEClassifier(buffer_size=60),
    "der++": DERClassifier(buffer_size=60),
    "icarl": ICaRLClassifier(buffer_size=60),
    "mer": MERClassifier(buffer_size=60, n_sequences=2),
    "a-gem": AGEMClassifier(buffer_size=60, memory_batch_size=30),
    "lwf": LwFClassifier(),
    "features": FeatureDistillationClassifier(),
}


def make_net(kind=ContinualNet, **params):
    return kind(MLP, **{"module__hidden_units": (30,), "lr": 1e-3, "max_epochs": 3, **params})


def make_stream(scenario="class", n_experiences=5, **params):
    return split_stream(DIGITS, n_experiences=n_experiences, scenario=scenario, **{"random_state": 0, **params})


def seed_streams(scenario, n_seeds):
    """A stream for each seed."""
    return [make_stream(scenario, random_state=seed) for seed in range(n_seeds)]


def call(e):
    """The arguments of ``partial_fit`` for an experience."""
    return {"X": e.X_train, "y": e.y_train, "task_id": e.task_id}


def learned(estimator, experiences):
    for e in experiences:
        estimator.partial_fit(**call(e))
    return estimator


def loss_of_call(estimator, X, y, **others):
    """What a call minimises, at the weights that the network has in it: one step of length 0 on all rows."""
    estimator.net_.set_params(lr=0.0, max_epochs=1, batch_size=-1)
    estimator.partial_fit(X, y, **others)
    return estimator.net_.history[-1, "train_loss"]


def accuracy(estimator, experiences):
    """The mean over experiences; each is asked with its task id."""
    return np.mean([estimator.score(e.X_test, e.y_test, task_id=e.task_id) for e in experiences])


def theta(estimator):
    """The weights that are trained, as one vector that is a copy."""
    return torch.cat([p.detach().reshape(-1) for p in estimator.net_.trainable()])


def distance_from_anchor(clf):
    """How far each weight is moved by a second experience with the same classes."""
    before = theta(clf.partial_fit(X[:500], Y[:500]))
    return (theta(clf.partial_fit(X[500:], Y[500:])) - before).abs()


def gradient_at(module, t, x, y):
    """Gradient of the mean cross-entropy at the flat parameters `t`."""
    leaf = t.clone().requires_grad_()
    params, start = {}, 0
    for name, p in module.named_parameters():
        params[name] = leaf[start : start + p.numel()].view_as(p)
        start += p.numel()
    loss = F.cross_entropy(torch.func.functional_call(module, params, (x,)), y)
    return torch.autograd.grad(loss, leaf)[0]


class Deciding(nn.Module):
    """Asks what is in its rows, as transformers ask their mask."""

    def __init__(self, n_outputs=10):
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.ones(64)), nn.Linear(64, n_outputs)

    def forward(self, x):
        x = x * self.scale
        return self.head(x.relu() if bool((x > 0.5).any()) else x)


class Normed(nn.Module):
    """Not only linear layers: batch norm, dropout, a convolution."""

    def __init__(self, n_outputs=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(72, n_outputs)

    def forward(self, x):
        x = F.dropout(F.relu(self.norm(self.conv(x.reshape(-1, 1, 8, 8)))), 0.2, self.training)
        return self.head(x.flatten(1))
