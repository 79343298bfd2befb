"""Steps on one vector against the optimiser's own steps."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import MLP, ContinualNet, NaiveClassifier
from forgetless.estimators.engine.optimizer import stepper

X, Y = torch.as_tensor(DIGITS.X_train[:64]), torch.as_tensor(DIGITS.y_train[:64])

OPTIMISERS = {
    "Adam": (torch.optim.Adam, {"lr": 0.01}, True),
    "Adam with decay": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.9)}, True),
    "AdamW": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}, True),
    "SGD": (torch.optim.SGD, {"lr": 0.1}, True),
    "SGD with momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, True),
    "Nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, True),
    "amsgrad": (torch.optim.Adam, {"lr": 0.01, "amsgrad": True}, False),
    "RMSprop": (torch.optim.RMSprop, {"lr": 0.01}, False),
    "LBFGS": (torch.optim.LBFGS, {"lr": 0.5, "max_iter": 3}, False),
}


def by_torch(clf, kind, options, n_steps):
    """The same steps on a copy of the network by the optimiser itself."""
    module = copy.deepcopy(clf.net_.module_)
    optimizer = kind(module.parameters(), **options)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(module(X), Y)
        loss.backward()
        return loss

    for _ in range(n_steps):
        optimizer.step(closure)
    return nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_equal_those_of_torch_across_calls(name):
    kind, options, on_one_vector = OPTIMISERS[name]
    params = {"lr": options["lr"], **{f"optimizer__{k}": v for k, v in options.items() if k != "lr"}}
    net = ContinualNet(MLP, module__hidden_units=(20,), optimizer=kind, max_epochs=4, batch_size=-1, **params)
    clf = NaiveClassifier(net, random_state=0).initialize(X.numpy(), np.arange(10))
    expected = by_torch(clf, kind, options, 8)
    chosen = stepper([clf.net_.optimizer_], [clf.net_.trainable()], clf.net_.flatten())
    assert (chosen.settings() is not None) == on_one_vector
    clf.partial_fit(X.numpy(), Y.numpy())
    if name != "LBFGS":  # which torch itself cannot use after a pickle
        clf = pickle.loads(pickle.dumps(clf))
    clf.partial_fit(X.numpy(), Y.numpy())
    torch.testing.assert_close(clf.net_.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_groups_of_parameters_take_the_optimisers_own_steps():
    groups = [("head*", {"lr": 0.0})]
    net = ContinualNet(MLP, module__hidden_units=(20,), optimizer__param_groups=groups, max_epochs=2)
    clf = NaiveClassifier(net, random_state=0).initialize(X.numpy(), np.arange(10))
    head = clf.net_.module_.head.weight.detach().clone()
    hidden = clf.net_.module_.hidden[0].weight.detach().clone()
    clf.partial_fit(X.numpy(), Y.numpy())
    assert torch.equal(clf.net_.module_.head.weight, head)
    assert not torch.equal(clf.net_.module_.hidden[0].weight, hidden)


def test_state_belongs_to_torchs_optimiser_after_training():
    net = ContinualNet(MLP, module__hidden_units=(20,), max_epochs=3, batch_size=-1)
    clf = NaiveClassifier(net, random_state=0).fit(X.numpy(), Y.numpy())
    state = clf.net_.optimizer_.state_dict()["state"]
    assert [int(s["step"]) for s in state.values()] == [3, 3, 3, 3]
    assert all(s["exp_avg"].any() for s in state.values())
