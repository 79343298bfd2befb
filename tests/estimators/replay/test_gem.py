"""GEM and A-GEM: the dual programme, and gradients that raise no past loss."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, accuracy, learned, theta
from helpers.replay import make_net, make_stream
from scipy import optimize
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import MLP, AGEMClassifier, ContinualNet, GEMClassifier, NaiveClassifier, Rows
from forgetless.estimators.engine.rows import stacked
from forgetless.estimators.replay.gem import solve_dual


class Sequence(nn.Module):
    """Not a chain of linear and elementwise layers."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first, self.head = nn.Linear(n_inputs, 20), nn.Linear(20, n_outputs)

    def forward(self, x):
        h = self.first(x)
        return self.head(h * torch.sigmoid(h))


def gradient_on(module, x, y):
    """Gradient of the mean cross-entropy by ``backward``, as one vector in double precision."""
    module = copy.deepcopy(module).eval()
    F.cross_entropy(module(x), y).backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters()]).double().numpy()


def test_dual_equals_scipys_solution_of_the_primal_programme():
    rng = np.random.default_rng(0)
    for n_past in (1, 2, 5):
        past, gradient = rng.normal(size=(n_past, 12)), rng.normal(size=12)
        primal = optimize.minimize(
            lambda x, g=gradient: 0.5 * ((x - g) ** 2).sum(),
            gradient,
            jac=lambda x, g=gradient: x - g,
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda x, G=past: G @ x, "jac": lambda x, G=past: G},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        v = solve_dual(past @ past.T, past @ gradient, 0.0)
        np.testing.assert_allclose(gradient + past.T @ v, primal.x, atol=1e-5)


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_dual_where_gradients_depend_on_each_other(least):
    rng = np.random.default_rng(1)
    past = rng.normal(size=(4, 30))
    past[3] = past[0] + past[1]
    gradient = -past[0] + 0.3 * rng.normal(size=30)
    v = solve_dual(past @ past.T, past @ gradient, least)
    bounded = optimize.lsq_linear(past.T, -gradient, bounds=(least, np.inf), method="bvls", tol=1e-14)
    assert (v >= least).all()
    np.testing.assert_allclose(past.T @ v, past.T @ bounded.x, atol=1e-5)
    assert (past @ (gradient + past.T @ v)).min() > -2e-5


@pytest.mark.parametrize("least", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1e-3, 1e-6, 0.0])
def test_dual_where_a_past_experience_has_nearly_no_gradient(scale, least):
    """As after it was learned to perfection; products come in single precision, as in training."""
    rng = np.random.default_rng(2)
    past = rng.normal(size=(4, 1000)).astype(np.float32)
    past[2] *= scale
    past[3] = -past[0] + 1e-5 * past[3]
    gradient = (rng.normal(size=1000) - past[0] - past[1] - past[2] / max(scale, 1e-6)).astype(np.float32)
    v = solve_dual((past @ past.T).astype(np.float64), (past @ gradient).astype(np.float64), least)
    projected = gradient + past.T @ v
    lengths = np.linalg.norm(past, axis=1) * np.linalg.norm(gradient)
    assert (v >= least).all()
    assert (past @ projected >= -1e-4 * lengths).all()
    assert np.linalg.norm(projected) <= np.linalg.norm(gradient + least * past.sum(axis=0))


def spy(cls, steps):
    """The class, noting network, gradient before and after its change, and the generator as it was before the step."""

    class Spy(cls):
        def learn_batch(self, call, theta, batch, descend):
            call.state.generator = call.generator.get_state()
            return super().learn_batch(call, theta, batch, descend)

        def after_backward(self, call, theta, gradient):
            before, module = gradient.clone(), copy.deepcopy(self.net_.module_)
            super().after_backward(call, theta, gradient)
            steps.append((module, call.state.generator, before, gradient.clone()))

    return Spy


@pytest.mark.parametrize("memory_strength", [0.0, 0.5])
def test_gem_steps_do_not_raise_the_loss_of_any_past_experience(memory_strength):
    steps = []
    clf = spy(GEMClassifier, steps)(
        make_net(), buffer_size=60, memory_strength=memory_strength, active_outputs="all", random_state=0
    )
    experiences = list(make_stream(n_experiences=4))
    for e in experiences[:3]:
        clf.partial_fit(e.X_train[:60], e.y_train[:60], classes=np.arange(10))
    memory, pools = copy.deepcopy(clf.memory_), clf.memory_.pools
    assert np.bincount(pools).tolist() == [0, 20, 20, 20]
    steps.clear()
    clf.partial_fit(experiences[3].X_train, experiences[3].y_train)
    n_projected = 0
    for module, _, before, after in steps:
        before, after = before.double().numpy(), after.double().numpy()
        x, y = memory.stored().x, memory.stored().y
        past = np.stack([gradient_on(module, x[pools == k], y[pools == k]) for k in (1, 2, 3)])
        if (past @ before).min() >= 0:
            assert np.array_equal(before, after)
            continue
        n_projected += 1
        scale = np.linalg.norm(past, axis=1) * np.linalg.norm(after)
        assert (past @ after > -1e-4 * scale).all()
        dual = optimize.lsq_linear(past.T, -before, bounds=(memory_strength, np.inf), method="bvls", tol=1e-12)
        np.testing.assert_allclose(after, before + past.T @ dual.x, atol=1e-4 * np.abs(after).max())
    assert n_projected > len(steps) / 4


@pytest.mark.parametrize("module", [MLP, Sequence], ids=["chain", "any module"])
@pytest.mark.parametrize("n_parts", [1, 3])
def test_gradients_of_parts_are_those_of_each_part(module, n_parts):
    found = []

    class Looking(GEMClassifier):
        def after_backward(self, call, theta, gradient):
            parts = [Rows(x=call.rows.x[k::10], y=call.rows.y[k::10], groups=call.rows.y[k::10] * 0) for k in range(6)]
            both = [self.gradients_on(call, stacked(parts[start : start + n_parts])) for start in (0, 3)]
            alone = [self.gradient_on(call, part).clone() for start in (0, 3) for part in parts[start:][:n_parts]]
            found.append((torch.cat(both), torch.stack(alone)))

    x, y = DIGITS.X_train[:100], DIGITS.y_train[:100]
    clf = Looking(ContinualNet(module, max_epochs=2, lr=0.01), random_state=0).partial_fit(x, y)
    assert not torch.equal(found[0][1], found[-1][1])  # at the weights of the step
    for both, alone in found:
        torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-6)
    assert clf.score(x, y) > 0.3


def test_gem_running_experience_is_no_condition():
    clf = GEMClassifier(make_net(), buffer_size=60, random_state=0)
    e = make_stream()[0]
    rows = []
    clf.after_backward = lambda call, theta, gradient: rows.append(sum(len(p.x) for p in call.state.past_rows))
    for part in range(3):
        clf.partial_fit(e.X_train[part::3], e.y_train[part::3], task_id="a")
    assert set(rows) == {0}
    clf.partial_fit(e.X_train, e.y_train, task_id="b")
    clf.partial_fit(e.X_train, e.y_train, task_id="c")
    assert set(rows) == {0, 1, 2}


def test_agem_projects_what_would_raise_the_loss_of_a_fresh_memory_batch():
    steps = []
    clf = spy(AGEMClassifier, steps)(make_net(), memory_batch_size=40, active_outputs="all", random_state=0)
    first, second = make_stream(n_experiences=2)
    clf.partial_fit(first.X_train, first.y_train, classes=np.arange(10))
    stored = copy.deepcopy(clf.memory_).stored()
    steps.clear()
    clf.partial_fit(second.X_train, second.y_train)
    n_projected, drawn = 0, set()
    for module, state, before, after in steps:
        generator = torch.Generator()
        generator.set_state(state)
        batch = torch.randperm(200, generator=generator)[:40]
        drawn.add(tuple(batch.tolist()))
        reference = gradient_on(module, stored.x[batch], stored.y[batch])
        before, after = before.double().numpy(), after.double().numpy()
        dot = before @ reference
        if dot >= 0:
            assert np.array_equal(before, after)
        else:
            n_projected += 1
            assert abs(after @ reference) < 1e-5 * np.linalg.norm(after) * np.linalg.norm(reference)
            expected = before - dot / (reference @ reference) * reference
            np.testing.assert_allclose(after, expected, atol=1e-5 * np.abs(after).max())
    assert len(drawn) == len(steps)
    assert n_projected > len(steps) / 4


@pytest.mark.parametrize("cls", [GEMClassifier, AGEMClassifier])
def test_memory_is_not_rehearsed(cls):
    """With conditions that are never broken, training is naive to the bit."""
    X, y = DIGITS.X_train[:64], DIGITS.y_train[:64]
    net = make_net(optimizer=torch.optim.SGD, lr=0.01, batch_size=-1, max_epochs=1)
    clf, naive = (c(net, random_state=0).partial_fit(X, y).partial_fit(X, y) for c in (cls, NaiveClassifier))
    assert torch.equal(theta(clf), theta(naive))


@pytest.mark.parametrize("cls", [GEMClassifier, AGEMClassifier])
def test_gem_and_agem_forget_less_than_naive(cls):
    net = make_net(max_epochs=5)
    stream = make_stream("domain")
    scores = [accuracy(learned(c(net, random_state=0), stream), stream) for c in (NaiveClassifier, cls)]
    assert scores[1] > scores[0] + 0.02
