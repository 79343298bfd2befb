"""Synaptic intelligence against path integrals that are known."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import X, Y, make_net, theta
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import ContinualNet, SIClassifier

make_net = partial(make_net, module__hidden_units=(20,), max_epochs=2)


CURVATURE = torch.tensor([0.5, 1.0, 2.0])


MINIMA = torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 0.5]])


class Bowl(nn.Module):
    """½ Σ aᵢ (outputᵢ − bᵢ)²; the label of a row says which b."""

    def forward(self, outputs, y):
        return (0.5 * CURVATURE * (outputs - MINIMA[y]) ** 2).sum(1).mean()


class Weights(nn.Module):
    """For rows that are 1, the outputs are the weights."""

    def __init__(self, n_outputs):
        super().__init__()
        self.head = nn.Linear(1, n_outputs, bias=False)

    def forward(self, x):
        return self.head(x)


def test_si_on_a_quadratic_loss_has_the_known_path_integral():
    lr, n_steps, si_lambda, damping = 0.1, 7, 0.3, 0.05
    net = ContinualNet(Weights, criterion=Bowl, optimizer=torch.optim.SGD, lr=lr, max_epochs=n_steps, batch_size=-1)
    clf = SIClassifier(net, si_lambda=si_lambda, damping=damping, active_outputs="all", random_state=0)
    ones = np.ones((4, 1))
    start = theta(copy.deepcopy(clf).initialize(ones, [0, 1, 2])).double()
    clf.partial_fit(ones, np.zeros(4, dtype=int), classes=[0, 1, 2])

    # Gradient descent on a parabola: d_t = (1 − lr a)^t d_0, so all sums are geometric.
    a, d = CURVATURE.double(), start - MINIMA[0]
    r = 1 - lr * a
    omega = lr * a**2 * d**2 * (1 - r ** (2 * n_steps)) / (1 - r**2)
    delta = (r**n_steps - 1) * d
    torch.testing.assert_close(clf.omega_.double(), omega, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(clf.delta_.double(), delta, rtol=1e-5, atol=1e-7)

    clf.partial_fit(ones, np.ones(4, dtype=int))
    importance, anchor = omega / (delta**2 + damping), start + delta
    torch.testing.assert_close(clf.importance_.double(), importance, rtol=1e-5, atol=1e-7)
    # With the penalty λ Ω (θ − θ*)², the way goes down another parabola: of curvature a + 2 λ Ω, around c. The path
    # integral is that of the plain gradient a (θ − b) along this way.
    stiff = a + 2 * si_lambda * importance
    c = (a * MINIMA[1] + 2 * si_lambda * importance * anchor) / stiff
    way = c + (1 - lr * stiff) ** torch.arange(n_steps + 1)[:, None] * (anchor - c)
    torch.testing.assert_close(theta(clf).double(), way[-1], rtol=1e-5, atol=1e-6)
    omega = -(a * (way[:-1] - MINIMA[1]) * way.diff(dim=0)).sum(0)
    torch.testing.assert_close(clf.omega_.double(), omega, rtol=1e-4, atol=1e-6)


def test_si_sums_to_the_fall_of_the_loss_for_small_steps():
    """Σω is ∫ −g dθ over all parameters: in the limit of small steps, what the loss lost."""
    net = make_net(optimizer=torch.optim.SGD, lr=0.05, max_epochs=300, batch_size=-1)
    clf = SIClassifier(net, random_state=0)
    untrained = copy.deepcopy(clf).initialize(X, np.arange(10))
    clf.partial_fit(X, Y)
    before, after = (
        F.cross_entropy(c.net_.module_(torch.as_tensor(X)), torch.as_tensor(Y)).item() for c in (untrained, clf)
    )
    assert before - after > 0.5
    assert float(clf.omega_.sum()) == pytest.approx(before - after, rel=0.02)


def test_si_experience_may_come_in_several_calls():
    clf = SIClassifier(make_net(), random_state=0)
    start = theta(copy.deepcopy(clf).initialize(X, np.arange(10))).clone()
    clf.partial_fit(X[:300], Y[:300], task_id=0)
    first = clf.omega_
    clf.partial_fit(X[300:600], Y[300:600], task_id=0)
    torch.testing.assert_close(clf.delta_, theta(clf) - start, rtol=1e-4, atol=1e-6)
    assert float(clf.omega_.sum()) > float(first.sum()) > 0


@pytest.mark.parametrize(("line_search", "lr"), [(None, 0.05), ("strong_wolfe", 0.3)])
def test_the_path_has_all_that_an_optimiser_does_within_a_step(line_search, lr):
    net = make_net(optimizer=torch.optim.LBFGS, optimizer__line_search_fn=line_search, lr=lr, batch_size=-1)
    clf = SIClassifier(net, random_state=0).partial_fit(X, Y)
    with torch.no_grad():
        end = F.cross_entropy(clf.net_.module_(torch.as_tensor(X)), torch.as_tensor(Y)).item()
    fall = clf.net_.history[0, "train_loss"] - end
    assert fall > 0.5
    assert 0.5 * fall < float(clf.omega_.sum()) < 3 * fall


def test_si_importance_is_a_clamped_sum_over_experiences():
    clf = SIClassifier(make_net(lr=0.05), damping=0.2, random_state=0)
    total = torch.zeros(())
    for k in range(4):
        clf.partial_fit(X[300 * k : 300 * k + 300], Y[300 * k : 300 * k + 300])
        if k:
            torch.testing.assert_close(clf.importance_, torch.where(total > 0, total, 0.0))
        if k == 1:  # as if the motion of some parameters had raised the loss
            clf.omega_ = clf.omega_ * torch.linspace(-3, 1, len(clf.omega_))
            assert (clf.importance_ + clf.omega_ / (clf.delta_**2 + 0.2) < 0).any()
        total = torch.where(total > 0, total, 0.0) + clf.omega_ / (clf.delta_**2 + 0.2)
