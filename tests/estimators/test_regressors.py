"""Regressors against mathematics that is computed in another way, and what only regressors have."""

import copy
import inspect
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import loss_of_call, make_net, theta
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler, scale
from skorch import NeuralNetRegressor
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AGEMRegressor,
    AnchoredRegressor,
    ContinualNet,
    ContinualRegressionNet,
    DERRegressor,
    EWCRegressor,
    IndependentRegressor,
    JointRegressor,
    LwFRegressor,
    MASRegressor,
    NaiveClassifier,
    NaiveRegressor,
    ReplayRegressor,
    Rows,
    SIRegressor,
    all_estimators,
    make_incremental_pipeline,
    partial_fit_together,
)

X, Y = load_diabetes(return_X_y=True)
X = scale(X).astype(np.float32)
Y = scale(np.column_stack([Y, X[:, 2] * X[:, 8]]).astype(np.float64))
REGRESSORS = {name: cls for name, cls in all_estimators() if name.endswith("Regressor")}
make_net = partial(make_net, ContinualRegressionNet, module__hidden_units=(20,))


def halves():
    """Rows with a large and with a small first feature."""
    return np.flatnonzero(X[:, 0] > 0), np.flatnonzero(X[:, 0] <= 0)


def learned(reg, task_ids=(None, None)):
    for rows, task_id in zip(halves(), task_ids, strict=True):
        reg.partial_fit(X[rows], Y[rows], task_id=task_id)
    return reg


def gradient(loss, module):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(module.parameters()))])


# --- the net and the contract ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_naive_is_stochastic_gradient_descent_on_the_squared_error(n_outputs):
    """A plain torch loop over the same batches gives the same weights."""
    y = Y[:, :n_outputs]
    net = make_net(optimizer=torch.optim.SGD, lr=0.05, batch_size=-1, max_epochs=5)
    reg = NaiveRegressor(net, random_state=0)
    reg.initialize(X, y)
    module = copy.deepcopy(reg.net_.module_)
    reg.partial_fit(X, y)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        ((module(torch.from_numpy(X)) - torch.from_numpy(y).float()) ** 2).mean().backward()
        optimizer.step()
    torch.testing.assert_close(theta(reg), torch.cat([p.detach().reshape(-1) for p in module.parameters()]))


def test_linear_network_finds_the_least_squares_solution():
    net = make_net(module__hidden_units=(), optimizer=torch.optim.LBFGS, lr=1.0, max_epochs=20, batch_size=-1)
    reg = NaiveRegressor(net, random_state=0).fit(X, Y)
    np.testing.assert_allclose(reg.predict(X), LinearRegression().fit(X, Y).predict(X), atol=1e-3)


def test_score_is_r2():
    reg = NaiveRegressor(make_net(max_epochs=20), random_state=0).partial_fit(X, Y, task_id="a")
    weight = np.linspace(0, 1, len(X))
    assert reg.score(X, Y, sample_weight=weight, task_id="a") == r2_score(Y, reg.predict(X), sample_weight=weight)


def test_plain_skorch_nets_work():
    plain = NeuralNetRegressor(MLP, module__hidden_units=(20,), lr=0.05, max_epochs=5, train_split=None, verbose=0)
    ours = ContinualRegressionNet(
        MLP, optimizer=torch.optim.SGD, module__hidden_units=(20,), lr=0.05, max_epochs=5, batch_size=128
    )
    a, b = (NaiveRegressor(net, random_state=0).fit(X, Y) for net in (plain, ours))
    assert type(a.net_) is ContinualRegressionNet
    assert torch.equal(theta(a), theta(b))


def test_nets_for_classes_are_refused():
    with pytest.raises(TypeError, match="ContinualRegressionNet"):
        NaiveRegressor(ContinualNet(MLP)).fit(X, Y)
    with pytest.raises(TypeError, match="ContinualNet"):
        NaiveClassifier(make_net()).fit(X, np.arange(len(X)) % 2)


def test_other_losses_are_the_nets_affair():
    reg = NaiveRegressor(make_net(criterion=nn.L1Loss, optimizer=torch.optim.SGD, max_epochs=1, batch_size=-1))
    reg.initialize(X, Y)
    module = copy.deepcopy(reg.net_.module_)
    expected = theta(reg) - 1e-3 * gradient(
        (module(torch.from_numpy(X)) - torch.from_numpy(Y).float()).abs().mean(), module
    )
    torch.testing.assert_close(theta(reg.partial_fit(X, Y)), expected)


def test_net_learns_alone_as_a_skorch_net():
    net = ContinualRegressionNet(MLP, module__n_inputs=10, module__n_outputs=2, lr=0.01, max_epochs=30)
    net.fit(X, Y.astype(np.float32))
    assert net.predict(X).shape == Y.shape
    assert net.history[-1, "train_loss"] < net.history[0, "train_loss"] / 2


def test_shape_of_targets_is_held():
    reg = NaiveRegressor(make_net(), random_state=0).partial_fit(X, Y[:, 0])
    assert reg.predict(X).shape == (len(X),) and reg.n_outputs_ == 1
    for wrong in (Y, Y[:, :1]):
        with pytest.raises(ValueError, match=r"y has shape .* its shape was \(n_samples,\);"):
            reg.partial_fit(X, wrong)
    assert reg.fit(X, Y).predict(X).shape == Y.shape
    with pytest.raises(ValueError, match=r"y has shape .* its shape was \(n_samples, 2\);"):
        reg.partial_fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="3"):
        reg.fit(X, Y[:, :, None])


def test_pipeline():
    pipe = make_incremental_pipeline(StandardScaler(), NaiveRegressor(make_net(max_epochs=20), random_state=0))
    for rows in np.array_split(np.arange(len(X)), 2):
        pipe.partial_fit(100 * X[rows], Y[rows])
    assert pipe.score(100 * X, Y) > 0.3


@pytest.mark.parametrize("name", REGRESSORS)
def test_parameters_are_documented_and_have_no_classes(name):
    cls = REGRESSORS[name]
    names = set(inspect.signature(cls).parameters)
    assert not names & {"active_outputs", "temperature"}
    documented = cls.__doc__.split("Attributes\n")[0]
    assert all(f"    {parameter} : " in documented for parameter in names)
    assert set(cls().get_params(deep=False)) == names


# --- strength ----------------------------------------------------------------------------------------------------

AT_ZERO = {
    "l2": AnchoredRegressor(strength=0),
    "l1": AnchoredRegressor(penalty="l1", strength=0),
    "zero": AnchoredRegressor(anchor="zero", strength=0),
    "ewc": EWCRegressor(ewc_lambda=0),
    "sampled ewc": EWCRegressor(ewc_lambda=0, fisher="sampled"),
    "si": SIRegressor(si_lambda=0),
    "mas": MASRegressor(mas_lambda=0),
    "lwf": LwFRegressor(alpha=1),
    "replay": ReplayRegressor(buffer_size=0),
    "der": DERRegressor(alpha=0, beta=0),
    "agem": AGEMRegressor(buffer_size=0),
}


@pytest.mark.parametrize("task_ids", [(None, None), ("a", "b")])
@pytest.mark.parametrize("name", AT_ZERO)
def test_strength_zero_is_naive_to_the_bit(name, task_ids):
    naive = learned(NaiveRegressor(make_net(), random_state=0), task_ids)
    reg = learned(copy.deepcopy(AT_ZERO[name]).set_params(net=make_net(), random_state=0), task_ids)
    assert torch.equal(theta(naive), theta(reg))


STRENGTHS = {
    "l2": (AnchoredRegressor(penalty="l2"), "strength"),
    "l1": (AnchoredRegressor(penalty="l1"), "strength"),
    "ewc": (EWCRegressor(), "ewc_lambda"),
    "si": (SIRegressor(), "si_lambda"),
    "mas": (MASRegressor(), "mas_lambda"),
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_distance_from_the_anchor_falls_with_strength(name):
    reg, parameter = STRENGTHS[name]
    distances = []
    for strength in [0.0, 0.1, 10.0, 1000.0]:
        trial = copy.deepcopy(reg).set_params(net=make_net(max_epochs=10), random_state=0, **{parameter: strength})
        rows, others = halves()
        trial.partial_fit(X[rows], Y[rows])
        before = theta(trial)
        trial.partial_fit(X[others], Y[others])
        distances.append(float((theta(trial) - before).norm()))
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < distances[0] / 2


# --- each method's formula ---------------------------------------------------------------------------------------


def row_gradients(reg, function, rows):
    """Gradient of a function of each row's outputs, one after the other."""
    module = reg.net_.module_.eval()
    return torch.stack([gradient(function(module(torch.from_numpy(X[i : i + 1]))[0], i), module) for i in rows])


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_fisher_is_that_of_a_gaussian_with_unit_variance(kind):
    reg = EWCRegressor(make_net(), fisher=kind, random_state=0).fit(X[:30], Y[:30])
    if kind == "empirical":

        def log_likelihood(outputs, i):
            return torch.distributions.Normal(outputs, 1.0).log_prob(torch.from_numpy(Y[i]).float()).sum()

        expected = row_gradients(reg, log_likelihood, range(30)).square().mean(0)
    else:  # E (∂ log p)² over targets y = f + ε: Σₒₚ E εₒ εₚ ∂fₒ ∂fₚ = Σₒ (∂fₒ)²
        expected = sum(row_gradients(reg, lambda f, i, o=o: f[o], range(30)).square().mean(0) for o in (0, 1))
    torch.testing.assert_close(reg.fisher_, expected, rtol=1e-4, atol=1e-7)
    assert expected.sum() > 0


def test_sampled_fisher_approaches_the_exact_one():
    rows = np.repeat(np.arange(60), 40)
    exact, sampled = (
        EWCRegressor(make_net(), fisher=kind, random_state=0).fit(X[rows], Y[rows]).fisher_
        for kind in ("exact", "sampled")
    )
    assert float(sampled.sum() / exact.sum()) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(exact, sampled)[0, 1] > 0.98


def test_mas_is_the_mean_absolute_gradient_of_the_squared_norm():
    reg = MASRegressor(make_net(), random_state=0).fit(X[:30], Y[:30])
    expected = row_gradients(reg, lambda outputs, i: (outputs**2).sum(), range(30)).abs().mean(0)
    torch.testing.assert_close(reg.sensitivity_, expected, rtol=1e-4, atol=1e-6)


def test_si_explains_the_fall_of_the_loss():
    """Along small steps, the sum of ω is by how much the loss fell."""
    net = make_net(optimizer=torch.optim.SGD, lr=1e-3, max_epochs=200, batch_size=-1)
    reg = SIRegressor(net, random_state=0).initialize(X, Y)

    def loss():
        return float(np.square(reg.predict(X) - Y).mean())

    before = loss()
    reg.partial_fit(X, Y)
    assert before - loss() > 0.05
    assert float(reg.omega_.sum()) == pytest.approx(before - loss(), rel=0.02)


def test_lwf_loss_equals_the_formula():
    rows, others = halves()
    reg = LwFRegressor(make_net(), alpha=0.3, random_state=0).partial_fit(X[rows], Y[rows], task_id="a")
    teacher = copy.deepcopy(reg.net_.module_)
    reg.partial_fit(X[others], Y[others], task_id="b")
    loss = loss_of_call(reg, X[:40], Y[:40], task_id="b")
    x, y = torch.from_numpy(X[:40]), torch.from_numpy(Y[:40]).float()
    student = reg.net_.module_(x)
    distance = F.mse_loss(student, teacher(x))
    assert distance > 1e-3
    assert loss == pytest.approx((0.3 * F.mse_loss(student, y) + 0.7 * distance).item(), rel=1e-5)


def test_replay_loss_and_memory(draws):
    reg = learned(ReplayRegressor(make_net(), buffer_size=30, replay_weight=0.3, random_state=0))
    stored = reg.memory_.stored()
    for row, target in zip(stored.x.numpy(), stored.y.numpy(), strict=True):
        source = np.flatnonzero((row == X).all(axis=1))
        np.testing.assert_allclose(target, Y[source[0]], rtol=1e-6)
    loss, module = loss_of_call(reg, X[:20], Y[:20]), reg.net_.module_
    new = F.mse_loss(module(torch.from_numpy(X[:20])), torch.from_numpy(Y[:20]).float())
    expected = 0.7 * new + 0.3 * F.mse_loss(module(draws[-1].x), draws[-1].y)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_most_interfered_rows_are_those_whose_error_rises_most():
    reg = learned(ReplayRegressor(make_net(lr=0.05), buffer_size=60, retrieval="mir", n_candidates=60, random_state=0))
    call = reg.open_call(X[:10], Y[:10])
    reg.start_training(call)
    batch = Rows(x=torch.from_numpy(X[:10]), y=torch.from_numpy(Y[:10]).float())
    reg.before_step(call, batch)
    module = copy.deepcopy(reg.net_.module_)
    stored = reg.memory_.stored()
    before = (module(stored.x) - stored.y).square().mean(1)
    step = gradient(F.mse_loss(module(batch.x), batch.y), module)
    with torch.no_grad():
        for p, g in zip(module.parameters(), step.split([p.numel() for p in module.parameters()]), strict=True):
            p -= 0.05 * g.view_as(p)
    rise = (module(stored.x) - stored.y).square().mean(1) - before
    expected = stored.x[rise.argsort(descending=True)[:10]]
    assert {tuple(row) for row in batch.memory.x.tolist()} == {tuple(row) for row in expected.tolist()}


def test_der_loss_equals_the_formula(draws):
    reg = learned(DERRegressor(make_net(), buffer_size=30, alpha=0.4, beta=0.2, random_state=0))
    loss, module = loss_of_call(reg, X[:20], Y[:20]), reg.net_.module_
    matched, labelled = draws[-1].split([20, 20])
    expected = (
        F.mse_loss(module(torch.from_numpy(X[:20])), torch.from_numpy(Y[:20]).float())
        + 0.4 * (module(matched.x) - matched.logits).square().sum(1).mean()
        + 0.2 * F.mse_loss(module(labelled.x), labelled.y)
    )
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_agem_never_raises_the_memory_loss_to_first_order():
    reg = learned(AGEMRegressor(make_net(), buffer_size=50, memory_batch_size=50, random_state=0))
    call = reg.open_call(X[:20], Y[:20])
    reg.start_training(call)
    module = reg.net_.module_
    stored = reg.memory_.stored()
    reference = gradient(F.mse_loss(module(stored.x), stored.y), module)
    obtuse = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0)) - 2 * reference
    assert obtuse @ reference < 0
    for g in (obtuse, -obtuse):
        projected = g.clone()

        def descend(batch, projected=projected):
            reg.after_backward(call, theta(reg), projected)
            return torch.zeros(())

        reg.learn_batch(call, theta(reg), call.rows, descend)
        expected = g if g @ reference >= 0 else g - (g @ reference) / (reference @ reference) * reference
        torch.testing.assert_close(projected, expected, rtol=1e-4, atol=1e-5)
        assert projected @ reference > -1e-3 * reference @ reference


def test_joint_is_one_fit_on_everything():
    rows = np.concatenate(halves())
    joint = learned(JointRegressor(make_net(max_epochs=30), random_state=0))
    fresh = NaiveRegressor(make_net(max_epochs=30), random_state=0).fit(X[rows], Y[rows])
    assert joint.score(X, Y) == pytest.approx(fresh.score(X, Y), abs=0.05)
    assert joint.memory_usage()["replay"] >= X.nbytes + Y.nbytes // 2


def shifted():
    """Two tasks whose inputs lie apart, with opposite targets."""
    return [("near", X, Y), ("far", X + 5, -Y)]


def independent(integration):
    reg = IndependentRegressor(make_net(max_epochs=20), integration=integration, random_state=0)
    for task, x, y in shifted():
        reg.partial_fit(x, y, task_id=task)
    return reg


def test_independent_networks_of_old_tasks_never_change():
    reg = IndependentRegressor(make_net(), random_state=0).partial_fit(X, Y, task_id="a")
    before = reg.predict(X, task_id="a")
    reg.partial_fit(X, -Y, task_id="b")
    assert np.array_equal(reg.predict(X, task_id="a"), before)
    assert not np.array_equal(reg.predict(X, task_id="b"), before)


def test_independent_vote_is_the_mean_of_the_networks():
    reg = independent("vote")
    expected = (reg.predict(X, task_id="near") + reg.predict(X, task_id="far")) / 2
    np.testing.assert_allclose(reg.predict(X), expected, rtol=1e-6)


def test_independent_gate_finds_the_task():
    reg = independent("gate")
    for task, x, _ in shifted():
        found, expected = reg.predict(x), reg.predict(x, task_id=task)
        assert np.mean((found == expected).all(axis=1)) > 0.95


def test_independent_by_task_id_needs_one():
    reg = independent("task_id")
    assert reg.strategy_info()["needs_task_id"]
    with pytest.raises(ValueError, match="needs the task_id"):
        reg.predict(X)


# --- what it is for ----------------------------------------------------------------------------------------------


def test_against_forgetting():
    """A curve that is learned piece by piece."""
    x = np.linspace(-3, 3, 900).reshape(-1, 1)
    y = np.sin(2 * x[:, 0])
    net = make_net(module__hidden_units=(50,), lr=0.01, max_epochs=30)
    errors = {}
    for name in ("NaiveRegressor", "JointRegressor", "ReplayRegressor", "DERRegressor", "RandomProjectionRegressor"):
        cls = REGRESSORS[name]
        reg = cls(random_state=0) if name.startswith("Random") else cls(net, random_state=0)
        for part in np.array_split(np.arange(900), 3):
            reg.partial_fit(x[part], y[part])
        errors[name] = np.square(reg.predict(x) - y).mean()
    assert errors["NaiveRegressor"] > 0.2
    assert errors["JointRegressor"] < 0.05
    assert errors["ReplayRegressor"] < 0.1 and errors["DERRegressor"] < 0.1
    assert errors["RandomProjectionRegressor"] < 0.001


@pytest.mark.parametrize("name", ["NaiveRegressor", "EWCRegressor", "ReplayRegressor", "LwFRegressor", "DERRegressor"])
def test_stacked_seeds_are_seeds_one_by_one(name):
    def models():
        return [REGRESSORS[name](make_net(), random_state=seed) for seed in range(3)]

    stacked, single = models(), models()
    for rows in halves():
        partial_fit_together(stacked, [{"X": X[rows], "y": Y[rows]}] * 3)
        for reg in single:
            reg.partial_fit(X[rows], Y[rows])
    for a, b in zip(stacked, single, strict=True):
        np.testing.assert_allclose(a.predict(X), b.predict(X), atol=1e-4)
