"""Every optimiser of torch: its state outlasts pickles, failed calls, grown heads and frozen layers."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from forgetless.datasets import load_digits
from forgetless.estimators import (
    MLP,
    ContinualNet,
    FrozenClassifier,
    MuonAdamW,
    NaiveClassifier,
    PackNetClassifier,
)

DIGITS = load_digits()
X, Y = DIGITS.X_train[:300], DIGITS.y_train[:300]


class NoBias(nn.Module):
    """Muon takes matrices only."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_inputs, 12, bias=False)
        self.head = nn.Linear(12, n_outputs, bias=False)

    def forward(self, x):
        return self.head(self.hidden(x).relu())


SETTINGS = {
    "SGD": {"lr": 0.05, "optimizer__momentum": 0.9},
    "LBFGS": {"lr": 0.5, "optimizer__max_iter": 4, "batch_size": -1},
    "Adadelta": {"lr": 1.0},
    "Adagrad": {"lr": 0.05, "optimizer__initial_accumulator_value": 0.1},
    "Adam": {"lr": 0.01, "optimizer__amsgrad": True},
    "ASGD": {"lr": 0.1, "optimizer__t0": 2},
    "Muon": {"lr": 0.01, "module": NoBias},
    "RMSprop": {"lr": 0.01, "optimizer__momentum": 0.5, "optimizer__centered": True},
}
ALL = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)
NAMES = [*(name for name in ALL if name != "SparseAdam"), "MuonAdamW"]


def small(name, cls=NaiveClassifier, **others):
    params = {"lr": 0.01, "module": MLP, "max_epochs": 4, **SETTINGS.get(name, {}), **others}
    if params["module"] is MLP:
        params["module__hidden_units"] = (12,)
    return cls(
        ContinualNet(params.pop("module"), optimizer=getattr(torch.optim, name, MuonAdamW), **params), random_state=0
    )


def part(first, last):
    rows = (first <= Y) & (last > Y)
    return X[rows], Y[rows]


@pytest.mark.parametrize("name", NAMES)
def test_copies_go_on_as_the_original(name):
    clf = small(name).partial_fit(*part(0, 5))
    for rows in (part(0, 5), part(0, 8), part(5, 10)):  # as it is; the head grows; copies of what has grown
        alike = [clf, copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))]
        one, *others = (each.partial_fit(*rows).net_.flatten() for each in alike)
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grows", [False, True])
def test_failed_call_brings_the_state_back(name, grows):
    clf = small(name).partial_fit(*part(0, 5))
    twin = copy.deepcopy(clf)
    x, y = part(0, 8 if grows else 5)
    x = x.copy()
    x[-40:] = 3e38
    with pytest.raises(FloatingPointError):
        clf.partial_fit(x, y)
    for each in (clf, twin):
        each.partial_fit(*part(0, 6))
    assert torch.equal(clf.net_.flatten(), twin.net_.flatten())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_before_and_after_the_head_grows(name):
    clf = small(name, max_epochs=15).partial_fit(*part(0, 5))
    assert clf.score(*part(0, 5)) > 0.7
    clf.partial_fit(*part(0, 10))
    assert clf.score(*part(0, 10)) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_state_of_old_rows_is_kept_and_new_rows_begin_as_the_optimiser_does(name):
    clf = small(name).partial_fit(*part(0, 5))
    net = clf.net_
    before = copy.deepcopy(net.optimizer_.state[net.module_.head.weight])
    net.resize_head(8)
    state, weight = net.optimizer_.state[net.module_.head.weight], net.module_.head.weight
    if name == "LBFGS":
        assert not net.optimizer_.state.get(net.trainable()[0])
        assert all(a is b for a, b in zip(net.optimizer_._params, net.trainable(), strict=True))
        return
    fresh = torch.optim.Optimizer.__new__(type(net.optimizer_))
    p = nn.Parameter(torch.zeros(3, 12))
    accepted = inspect.signature(type(net.optimizer_)).parameters
    settings = {k: v for k, v in net.optimizer_.param_groups[0].items() if k in accepted and k != "params"}
    fresh.__init__([p], **{k: v for k, v in settings.items() if k not in ("fused", "foreach")})
    p.grad = torch.zeros_like(p)
    fresh.step()
    assert state.keys() == before.keys()
    for key, value in before.items():
        if torch.is_tensor(value) and value.ndim and len(value) == 5:
            assert torch.equal(state[key][:5], value)
            assert state[key].shape[1:] == value.shape[1:] and len(state[key]) == len(weight)
            if key not in ("step_size", "ax"):  # these move in the first step, too
                torch.testing.assert_close(state[key][5:], fresh.state[p][key], atol=1e-6, rtol=1e-6)
        elif torch.is_tensor(value):
            assert torch.equal(state[key], value)
    if name == "Rprop":
        assert (state["step_size"][5:] == net.lr).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", [FrozenClassifier, PackNetClassifier])
def test_it_works_where_layers_are_frozen_and_heads_are_exchanged(name, cls):
    clf = small(name, cls)
    for task in range(3):
        clf.partial_fit(*part(2 * task, 2 * task + 2), task_id=task)
    twin = pickle.loads(pickle.dumps(clf))
    for each in (clf, twin):
        each.partial_fit(*part(6, 8), task_id=3)
    assert np.array_equal(clf.predict_proba(X, task_id=3), twin.predict_proba(X, task_id=3))


@pytest.mark.parametrize(
    ("params", "fused"),
    [({}, True), ({"optimizer__foreach": True}, None), ({"optimizer__fused": False}, False)],
    ids=["not chosen", "foreach", "not fused"],
)
def test_kernels_are_fused_where_the_user_has_not_chosen(params, fused):
    clf = small("Adam", **params).partial_fit(X, Y)
    assert [group["fused"] for group in clf.net_.optimizer_.param_groups] == [fused]


def test_sparse_adam_is_refused():
    with pytest.raises(ValueError, match=r"torch\.optim\.Adam"):
        small("SparseAdam").fit(X, Y)


def test_muon_moves_matrices_and_adamw_the_rest():
    """As torch's two, each with the parameters of its own."""
    net = ContinualNet(MLP, module__hidden_units=(12,), optimizer=MuonAdamW, lr=0.01, max_epochs=5, batch_size=-1)
    net.set_params(optimizer__weight_decay=0.1, optimizer__momentum=0.8, optimizer__betas=(0.8, 0.9))
    clf = NaiveClassifier(net, random_state=0)
    module = copy.deepcopy(clf).initialize(X, Y).net_.module_
    muon = torch.optim.Muon(
        [p for p in module.parameters() if p.ndim == 2],
        lr=0.01,
        weight_decay=0.1,
        momentum=0.8,
        adjust_lr_fn="match_rms_adamw",
    )
    biases = [p for p in module.parameters() if p.ndim == 1]
    adamw = torch.optim.AdamW(biases, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9))
    for _ in range(5):
        module.zero_grad()
        nn.functional.cross_entropy(module(torch.as_tensor(X)), torch.as_tensor(Y)).backward()
        muon.step()
        adamw.step()
    # Muon computes in bfloat16, where sums in another order differ in the third digit.
    ours, theirs = (
        torch.cat([p.detach().reshape(-1) for p in m.parameters()]) for m in (clf.fit(X, Y).net_.module_, module)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
