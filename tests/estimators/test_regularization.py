"""SI, MAS and RWalk against mathematics that is computed in another way."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import Normed, X, Y, learned, make_net, make_stream, theta
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AnchoredClassifier,
    ContinualNet,
    EWCClassifier,
    MASClassifier,
    NaiveClassifier,
    RWalkClassifier,
    SIClassifier,
)

make_net = partial(make_net, module__hidden_units=(20,), max_epochs=2)


STRENGTHS = {
    "si": (SIClassifier(), "si_lambda"),
    "mas": (MASClassifier(), "mas_lambda"),
    "rwalk": (RWalkClassifier(), "rwalk_lambda"),
    "ewc": (EWCClassifier(), "ewc_lambda"),
    "l2": (AnchoredClassifier(), "strength"),
    "l1": (AnchoredClassifier(penalty="l1"), "strength"),
}


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", ["si", "mas", "rwalk"])
def test_strength_zero_is_naive_to_the_bit(name, scenario):
    clf, parameter = STRENGTHS[name]
    clf = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: 0})
    naive = NaiveClassifier(make_net(), random_state=0)
    assert torch.equal(*(theta(learned(estimator, make_stream(scenario))) for estimator in (clf, naive)))


@pytest.mark.parametrize("name", STRENGTHS)
def test_distance_from_the_anchor_falls_with_strength(name):
    clf, parameter = STRENGTHS[name]
    distances = []
    for strength in [0.0, 0.1, 10.0, 1000.0]:
        trial = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: strength})
        anchor = theta(trial.partial_fit(X[:500], Y[:500])).clone()
        distances.append(float((theta(trial.partial_fit(X[500:], Y[500:])) - anchor).norm()))
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < 0.6 * distances[0]


@pytest.mark.parametrize("name", STRENGTHS)
def test_weights_of_new_classes_are_free(name):
    clf, parameter = STRENGTHS[name]
    clf = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: 1e6})
    clf.partial_fit(X[Y < 5], Y[Y < 5]).partial_fit(X[Y >= 5], Y[Y >= 5])
    importance = dict(zip(["w1", "b1", "w2", "b2"], clf.net_.unflatten(clf.importance_), strict=True))
    assert not importance["w2"][5:].any() and not importance["b2"][5:].any()
    assert importance["w2"][:5].any() and importance["b2"][:5].any()


# --- SI ----------------------------------------------------------------------------------------------------------

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
        F.cross_entropy(c._outputs(torch.as_tensor(X)), torch.as_tensor(Y)).item() for c in (untrained, clf)
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


# --- MAS ---------------------------------------------------------------------------------------------------------


def sensitivity_by_finite_differences(clf, x, indices, columns=slice(None), h=1e-6):
    """Mean over rows of |∂‖f‖²/∂θᵢ| by central differences in double precision, for some i."""
    module = copy.deepcopy(clf.net_.module_).double().eval()
    x = torch.as_tensor(x).double()
    params = list(module.parameters())
    found = []
    with torch.no_grad():
        for i in indices:
            for p in params:
                if i < p.numel():
                    break
                i -= p.numel()
            norms, entry = [], p.view(-1)
            for step in (h, -2 * h):
                entry[i] += step
                norms.append((module(x)[:, columns] ** 2).sum(1))
            entry[i] += h
            found.append(((norms[0] - norms[1]) / (2 * h)).abs().mean())
    return torch.stack(found)


@pytest.mark.parametrize("module", [MLP, Normed])
def test_mas_importance_by_finite_differences(module):
    clf = MASClassifier(ContinualNet(module, max_epochs=3, lr=0.01), random_state=0).partial_fit(X[:90], Y[:90])
    n_parameters = len(clf.sensitivity_)
    indices = [*np.random.default_rng(0).choice(n_parameters, 60, replace=False).tolist(), n_parameters - 1]
    expected = sensitivity_by_finite_differences(clf, X[:90], indices)
    torch.testing.assert_close(clf.sensitivity_[indices].double(), expected, rtol=1e-3, atol=1e-4)
    assert (expected > 0).sum() > 20


def test_mas_knows_only_the_tasks_outputs():
    stream = make_stream("task")
    clf = MASClassifier(make_net(), random_state=0)
    for e in stream:
        clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    columns = clf.tasks_[4]
    bias = clf.net_.unflatten(clf.sensitivity_)[-1]
    assert not bias[np.setdiff1d(np.arange(10), columns)].any() and (bias[columns] > 0).all()
    indices = list(range(0, 1280, 40))
    expected = sensitivity_by_finite_differences(clf, stream[4].X_train, indices, columns)
    torch.testing.assert_close(clf.sensitivity_[indices].double(), expected, rtol=1e-3, atol=1e-4)


def test_mas_is_a_mean_over_the_experiences_rows_and_a_sum_over_experiences():
    clf = MASClassifier(make_net(max_epochs=1), random_state=0).partial_fit(X[:90], Y[:90], task_id=0)
    clf.net_.set_params(max_epochs=0)  # the weights stay, so all importances are of one network
    first = clf.sensitivity_
    both = copy.deepcopy(clf).partial_fit(X[90:120], Y[90:120], task_id=0).sensitivity_
    second = clf.partial_fit(X[90:120], Y[90:120], task_id=1).sensitivity_
    # The active outputs are those of all classes in both tasks.
    assert len(np.unique(Y[:90])) == len(np.unique(Y[90:120])) == 10
    torch.testing.assert_close(both, (90 * first + 30 * second) / 120)
    assert torch.equal(clf.importance_, first)
    clf.partial_fit(X[:90], Y[:90], task_id=2)
    torch.testing.assert_close(clf.importance_, first + second)


def test_mas_steps_down_the_penalised_loss_without_a_half():
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=3, batch_size=-1)
    clf = MASClassifier(net, mas_lambda=0.03, random_state=0).partial_fit(X[:300], Y[:300])
    module, anchor, importance = copy.deepcopy(clf.net_.module_), theta(clf).clone(), clf.sensitivity_
    clf.partial_fit(X[300:], Y[300:])
    x, y = torch.as_tensor(X[300:]), torch.as_tensor(Y[300:])
    t = anchor
    for _ in range(3):
        leaf = t.clone().requires_grad_()
        penalty = 0.03 * (importance * (leaf - anchor) ** 2).sum()
        t = t - 0.1 * (gradient_at(module, t, x, y) + torch.autograd.grad(penalty, leaf)[0])
    torch.testing.assert_close(theta(clf), t)


# --- RWalk -------------------------------------------------------------------------------------------------------


def gradient_at(module, t, x, y):
    """Gradient of the mean cross-entropy at the flat parameters `t`."""
    leaf = t.clone().requires_grad_()
    params, start = {}, 0
    for name, p in module.named_parameters():
        params[name] = leaf[start : start + p.numel()].view_as(p)
        start += p.numel()
    loss = F.cross_entropy(torch.func.functional_call(module, params, (x,)), y)
    return torch.autograd.grad(loss, leaf)[0]


def unit(v):
    return (v - v.min()) / (v.max() - v.min())


def test_rwalk_equals_a_slow_walk():
    """Two experiences of plain gradient descent, with a loop over the rows for each Fisher."""
    lr, lam, alpha, every, eps, n_epochs = 0.2, 0.4, 0.7, 3, 1e-3, 2
    net = make_net(module__hidden_units=(6,), optimizer=torch.optim.SGD, lr=lr, max_epochs=n_epochs, batch_size=16)
    clf = RWalkClassifier(
        net, rwalk_lambda=lam, fisher_decay=alpha, update_after=every, damping=eps, random_state=0
    ).initialize(X, np.arange(10))
    module = copy.deepcopy(clf.net_.module_)
    t, fisher, score, importance, anchor = theta(clf).clone(), None, None, None, None
    for k, part in enumerate([slice(0, 64), slice(64, 144)]):
        clf.partial_fit(X[part], Y[part])
        x, y = torch.as_tensor(X[part]), torch.as_tensor(Y[part])
        generator = clf._torch_generator("order")
        batches = [rows for _ in range(n_epochs) for rows in torch.randperm(len(x), generator=generator).split(16)]
        walked, omega, opened = torch.zeros_like(t), torch.zeros_like(t), t
        for step, rows in enumerate(batches):
            if step % every == 0:
                now = torch.stack([gradient_at(module, t, x[r : r + 1], y[r : r + 1]) ** 2 for r in rows]).mean(0)
                fisher = now if fisher is None else alpha * now + (1 - alpha) * fisher
            plain = gradient_at(module, t, x[rows], y[rows])
            penalty = 0.0 if k == 0 else 2 * lam * importance * (t - anchor)
            after = t - lr * (plain + penalty)
            omega = omega - plain * (after - t)
            t = after
            if step % every == every - 1 or step == len(batches) - 1:
                walked = walked + (omega / (0.5 * fisher * (t - opened) ** 2 + eps)).clamp(min=0)
                omega, opened = torch.zeros_like(t), t
        assert len(batches) % every  # the last segment is a short one
        torch.testing.assert_close(theta(clf), t, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(clf.fisher_, fisher, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(clf.path_score_, walked, rtol=1e-3, atol=1e-5)
        score = walked if k == 0 else (score + walked) / 2
        importance, anchor = unit(fisher) + unit(score), t
    clf.partial_fit(X[:16], Y[:16])
    torch.testing.assert_close(clf.score_, score, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(clf.importance_, importance, rtol=1e-3, atol=1e-5)
    assert 1 <= float(clf.importance_.max()) <= 2 and float(clf.importance_.min()) == 0


def test_rwalk_closes_its_segments_with_the_call():
    """Rows that come one batch a call are walked as well."""
    clf = RWalkClassifier(make_net(max_epochs=1), update_after=10, random_state=0)
    scores = []
    for k in range(4):
        clf.partial_fit(X[32 * k : 32 * k + 32], Y[32 * k : 32 * k + 32], task_id=0)
        scores.append(float(clf.path_score_.sum()))
    assert scores == sorted(scores) and scores[0] > 0 and len(set(scores)) == 4
