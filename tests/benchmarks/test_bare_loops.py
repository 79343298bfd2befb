"""The bare loops, which speed is measured against, compute what the estimators compute."""

import pytest
import torch
from bare_loops import PAIRS, PerTask
from torch import nn

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import MLP, ContinualNet
from forgetless.estimators.isolation.per_task import PerTaskClassifier

HIDDEN = (30, 20)


@pytest.fixture(autouse=True)
def nothing_is_random(monkeypatch):
    """All draws become functions of their size: both sides start from the same weights and see the same rows."""

    def reset_parameters(layer):
        n = layer.weight.numel()
        with torch.no_grad():
            layer.weight.copy_(torch.sin(2.4 * torch.arange(n)).view_as(layer.weight) / layer.in_features**0.5)
            layer.bias.zero_()

    monkeypatch.setattr(nn.Linear, "reset_parameters", reset_parameters)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n) * 7 % n if n % 7 else torch.arange(n))
    monkeypatch.setattr(torch, "randint", lambda high, size, **_: (torch.arange(size[-1]) * 11 % high).expand(size))
    monkeypatch.setattr(torch, "randn", lambda n, **_: torch.sin(2.4 * torch.arange(n)))


def learners_of(name):
    """Estimator and bare loop with the same settings, and memories that have room for all rows."""
    estimator, bare = PAIRS[name]
    # iCaRL's exemplars are the same, but in another order.
    schedule = {"lr": 1e-3, "batch_size": 2000 if name == "iCaRL" else 64}
    bare = bare((64, *HIDDEN, 10), epochs=2, **schedule)
    net = ContinualNet(MLP, module__hidden_units=HIDDEN, max_epochs=2, **schedule)
    # In the bare loops, fresh heads come with a fresh optimiser.
    net.set_params(reset_optimizer=isinstance(estimator, PerTaskClassifier))
    params = {"net": net, "active_outputs": "all", "random_state": 0}
    if hasattr(bare, "memory"):
        params["buffer_size"] = bare.memory.capacity = 4000
    return estimator.set_params(**{key: value for key, value in params.items() if key in estimator.get_params()}), bare


def learned_vector(clf):
    """The weights of the network that learned the last experience."""
    learner = list(clf.learners_.values())[-1] if hasattr(clf, "learners_") else clf
    return vector(*learner.net_.module_.parameters())


def vector(*parameters):
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("name", PAIRS)
def test_bare_loop_and_estimator_reach_the_same_weights(name):
    clf, bare = learners_of(name)
    for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
        announced = {} if isinstance(bare, PerTask) else {"classes": range(10)}
        clf.partial_fit(e.X_train, e.y_train, **announced)
        bare.learn(torch.from_numpy(e.X_train), torch.from_numpy(e.y_train))
        weights = vector(*getattr(bare, "embeddings", ()), *bare.model.parameters())
        torch.testing.assert_close(learned_vector(clf), weights, rtol=0, atol=1e-4)
        if name == "Progressive":  # lateral links start from other random numbers
            break
