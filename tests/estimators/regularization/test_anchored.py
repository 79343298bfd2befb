"""Penalties on the distance from an anchor against steps computed by hand."""

import copy

import pytest
import torch
from helpers.estimators import DIGITS, distance_from_anchor, make_net, theta
from torch.nn import functional as F

from forgetless.estimators import AnchoredClassifier, NaiveClassifier, step_implicitly


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_huge_strength_keeps_the_weights_at_the_anchor(penalty):
    clf = AnchoredClassifier(
        make_net(optimizer=torch.optim.SGD, lr=1e-8), penalty=penalty, strength=1e6, random_state=0
    )
    moved = distance_from_anchor(clf)
    naive = NaiveClassifier(make_net(), random_state=0)
    assert moved.max() < 1e-5 < distance_from_anchor(naive).max()


def test_l1_leaves_most_weights_exactly_unmoved():
    clf = AnchoredClassifier(make_net(), penalty="l1", strength=1.0, random_state=0)
    moved = distance_from_anchor(clf)
    assert 0.5 < (moved == 0).float().mean() < 1.0


def test_l1_proximal_step_equals_soft_thresholding():
    X, y = DIGITS.X_train[:64], DIGITS.y_train[:64]
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=1, batch_size=-1)
    clf = AnchoredClassifier(net, penalty="l1", strength=0.01, random_state=0).partial_fit(X, y)
    anchor = theta(clf).clone()
    naive = NaiveClassifier(net, random_state=0).partial_fit(X, y).partial_fit(X, y)
    clf.partial_fit(X, y)
    step = theta(naive) - anchor  # one step of gradient descent from the anchor
    expected = anchor + torch.sign(step) * torch.clamp(step.abs() - 0.1 * 0.01, min=0)
    torch.testing.assert_close(theta(clf), expected)


def test_l2_step_equals_the_gradient_of_the_penalised_loss():
    X, y = DIGITS.X_train[:64], DIGITS.y_train[:64]
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=2, batch_size=-1)
    clf = AnchoredClassifier(net, strength=0.7, random_state=0).partial_fit(X, y)
    module, anchor = copy.deepcopy(clf.net_.module_), theta(clf).clone()
    clf.partial_fit(X, y)
    params = [p.data.clone().requires_grad_() for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]
    columns = torch.as_tensor(y)
    for _ in range(2):
        outputs = torch.func.functional_call(module, dict(zip(names, params, strict=True)), (torch.as_tensor(X),))
        distance = torch.cat([p.reshape(-1) for p in params]) - anchor
        loss = F.cross_entropy(outputs, columns) + 0.7 * 0.5 * (distance**2).sum()
        grads = torch.autograd.grad(loss, params)
        params = [(p - 0.1 * g).detach().requires_grad_() for p, g in zip(params, grads, strict=True)]
    torch.testing.assert_close(theta(clf), torch.cat([p.detach().reshape(-1) for p in params]))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
@pytest.mark.parametrize(("penalty", "l1", "l2"), [("l2", 0.0, 0.7), ("elasticnet", 0.35, 0.35)])
def test_implicit_steps_minimise_penalty_and_squared_distance_from_the_optimisers_step(optimizer, penalty, l1, l2):
    """Three steps of torch's own optimiser down the plain loss, each followed by the minimiser in closed form."""
    X, y = DIGITS.X_train[:64], DIGITS.y_train[:64]
    net = make_net(optimizer=optimizer, lr=0.05, max_epochs=3, batch_size=-1, reset_optimizer=True)
    clf = AnchoredClassifier(net, penalty=penalty, strength=0.7, penalty_step="implicit", random_state=0)
    clf.partial_fit(X, y)
    module, anchor = copy.deepcopy(clf.net_.module_), theta(clf).clone()
    clf.partial_fit(X, y)
    params = list(module.parameters())
    for p in params:
        p.data = p.data.clone()  # they were views of one vector
    optimizer_ = optimizer(params, lr=0.05)
    for _ in range(3):
        optimizer_.zero_grad()
        F.cross_entropy(module(torch.as_tensor(X)), torch.as_tensor(y)).backward()
        optimizer_.step()
        start = 0
        for p in params:
            center = anchor[start : start + p.numel()].view_as(p)
            start += p.numel()
            rate = 0.05
            if optimizer is torch.optim.Adam:
                state = optimizer_.state[p]
                rate = 0.05 / ((state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8)
            moved = p.data - center
            moved = moved.sign() * (moved.abs() - 0.05 * l1).clamp(min=0)
            p.data.copy_(center + moved / (1 + rate * l2))
    torch.testing.assert_close(theta(clf), torch.cat([p.detach().reshape(-1) for p in params]))


def test_an_implicit_step_is_finite_at_any_strength():
    start, anchor, importance = torch.tensor([3.0, 3.0, 3.0]), torch.ones(3), torch.tensor([0.0, 1e-30, 1e30])
    for strength in (0.0, 1.0, 1e30, 1e300):
        t = start.clone()
        step_implicitly(t, anchor, importance, strength, 0.5)
        assert t.tolist() == [3.0, 3.0 if strength < 1e30 else t[1], 3.0 if not strength else 1.0]
    assert t.tolist() == [3.0, 1.0, 1.0]


def test_anchor_zero_shrinks_weights_from_the_first_experience():
    X, y = DIGITS.X_train[:300], DIGITS.y_train[:300]
    norms = [
        float(theta(AnchoredClassifier(make_net(), anchor="zero", strength=s, random_state=0).fit(X, y)).norm())
        for s in (0.0, 0.1, 1.0)
    ]
    assert norms == sorted(norms, reverse=True)
    sparse = AnchoredClassifier(make_net(), anchor="zero", penalty="l1", strength=0.5, random_state=0).fit(X, y)
    assert 0.05 < (theta(sparse) == 0).float().mean() < 1
    assert (theta(NaiveClassifier(make_net(), random_state=0).fit(X, y)) == 0).float().mean() == 0


@pytest.mark.parametrize("names", [["hidden*", "head*"], ["head*", "hidden*"]])
@pytest.mark.parametrize("params", [{"penalty": "l1"}, {"penalty": "l2", "penalty_step": "implicit"}], ids=["l1", "l2"])
def test_each_group_of_parameters_is_held_by_its_own_rate(params, names):
    rates = {"hidden*": 1e-4, "head*": 0.1}
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, optimizer__param_groups=[(n, {"lr": rates[n]}) for n in names])
    clf = AnchoredClassifier(net, strength=1e6, random_state=0, **params)
    clf.partial_fit(DIGITS.X_train, DIGITS.y_train)
    before = clf.net_.module_.head.weight.detach().clone()
    clf.partial_fit(DIGITS.X_train, 9 - DIGITS.y_train)
    torch.testing.assert_close(clf.net_.module_.head.weight.detach(), before, rtol=0, atol=1e-4)
