"""Methods that give tasks parameters of their own, against computations by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, accuracy, learned, make_net, make_stream
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    ContinualNet,
    ConvNet,
    HATClassifier,
    PackNetClassifier,
    ProgressiveClassifier,
)
from forgetless.estimators.engine.passes import passes_of
from forgetless.estimators.isolation.hat import GatedModule

PER_TASK = [HATClassifier, PackNetClassifier, ProgressiveClassifier]
# With this s_max every gate is 0 or 1; the few that are not with the paper's 400 protect in part only.
HARD = {HATClassifier: {"s_max": 1e6}}
make_net = partial(make_net, module__hidden_units=(20, 20), lr=0.01)


def stream(scenario="task", n_experiences=5):
    return list(make_stream(scenario, n_experiences, class_order="sorted"))


def body(module):
    """Copies of all tensors of a module but the head's, by name."""
    return {n: t.clone() for n, t in module.state_dict().items() if "head" not in n}


OPTIMISERS = {
    "adam": {},
    "momentum and decay": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 0.01,
        "lr": 0.05,
    },
    "rmsprop": {"optimizer": torch.optim.RMSprop, "lr": 0.003},
}


# --- what all per-task methods promise ---------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("cls", [PackNetClassifier, ProgressiveClassifier])
def test_answers_for_old_tasks_never_change(cls, optimizer):
    experiences = stream()[:3]
    net = make_net(module__batch_norm=True, module__dropout=0.1, **OPTIMISERS[optimizer])
    clf, before = cls(net, random_state=0), {}
    for e in experiences:
        learned(clf, [e])
        before[e.task_id] = clf.predict_proba(DIGITS.X_test, task_id=e.task_id)[:, e.classes]
        for task, answers in before.items():
            now = clf.predict_proba(DIGITS.X_test, task_id=task)[:, experiences[task].classes]
            assert np.array_equal(now, answers)


@pytest.mark.parametrize("cls", PER_TASK)
def test_each_task_answers_in_its_own_classes_wherever_they_come(cls):
    """The same classes in all tasks, with other inputs: a head for each task, so tasks do not overwrite each other."""
    experiences = stream("domain")
    clf = cls(make_net(max_epochs=5), random_state=0)
    for k, e in enumerate(experiences):
        clf.partial_fit(e.X_train, e.y_train, task_id=k)
    assert np.mean([clf.score(e.X_test, e.y_test, task_id=k) for k, e in enumerate(experiences)]) > 0.95


@pytest.mark.parametrize("cls", PER_TASK)
def test_the_most_certain_task_answers_without_task_id(cls):
    experiences = stream()
    clf = learned(cls(make_net(), random_state=0), experiences)
    probabilities = [clf.predict_proba(DIGITS.X_test, task_id=e.task_id) for e in experiences]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = [-np.nansum(p * np.log(p), axis=1) for p in probabilities]
    expected = np.stack(probabilities)[np.argmin(entropies, axis=0), np.arange(len(DIGITS.X_test))]
    np.testing.assert_allclose(clf.predict_proba(DIGITS.X_test), expected, atol=1e-12)


@pytest.mark.parametrize("cls", PER_TASK)
def test_classes_of_a_running_task_may_come_late(cls):
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = cls(make_net(module__hidden_units=(60, 60), max_epochs=10), random_state=0)
    clf.partial_fit(X[y < 3], y[y < 3], task_id="a").partial_fit(X[y < 5], y[y < 5], task_id="a")
    clf.partial_fit(X[y >= 5], y[y >= 5], task_id="b")
    assert clf.n_experiences_ == 2
    for task, low in [("a", True), ("b", False)]:
        rows = (DIGITS.y_test < 5) == low
        assert clf.score(DIGITS.X_test[rows], DIGITS.y_test[rows], task_id=task) > 0.9


@pytest.mark.parametrize("cls", PER_TASK)
def test_a_task_may_come_back_and_leaves_the_others_as_they_are(cls):
    first, second = stream(n_experiences=2)
    clf = learned(cls(make_net(max_epochs=5), random_state=0, **HARD.get(cls, {})), [first, second])
    before = clf.predict_proba(DIGITS.X_test, task_id=1)
    learned(clf, [first])
    np.testing.assert_allclose(clf.predict_proba(DIGITS.X_test, task_id=1), before, rtol=0, atol=1e-6)
    assert accuracy(clf, [first, second]) > 0.9


class TwoDense(nn.Module):
    """A user's module: convolution, group of layers, a head with a name of its own and probabilities as outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.dense = nn.Linear(6 * 16, 20)
        self.out = nn.Linear(20, 2)

    def forward(self, x):
        x = F.max_pool2d(self.norm(self.conv(x.view(-1, 1, 8, 8))).relu(), 2)
        return self.out(self.dense(x.flatten(1)).tanh()).softmax(1)


@pytest.mark.parametrize("cls", PER_TASK)
@pytest.mark.parametrize("kind", ["ConvNet", "ConvNet with batch norm", "own module"])
def test_any_module(cls, kind):
    if kind == "own module":
        net = ContinualNet(TwoDense, criterion=nn.NLLLoss, lr=0.01, max_epochs=2)
    else:
        params = {"module__image_shape": (1, 8, 8), "module__channels": (6, 8)}
        net = ContinualNet(ConvNet, **params, module__batch_norm="batch" in kind, lr=0.01, max_epochs=2)
    first, second = stream(n_experiences=2)
    clf = learned(cls(net, random_state=0, **HARD.get(cls, {})), [first])
    before = clf.predict_proba(DIGITS.X_test, task_id=0)[:, :5]
    learned(clf, [second])
    assert accuracy(clf, [first, second]) > 0.7
    np.testing.assert_allclose(clf.predict_proba(DIGITS.X_test, task_id=0)[:, :5], before, rtol=0, atol=1e-6)


# --- progressive networks ----------------------------------------------------------------------------------------


def test_columns_of_old_tasks_are_frozen_to_the_bit():
    clf = ProgressiveClassifier(make_net(module__batch_norm=True), random_state=0)
    states: list[dict] = []
    for e in stream():
        learned(clf, [e])
        columns = clf.net_.module_.columns
        for column, state in zip(columns, states, strict=False):
            assert all(torch.equal(t, state[name]) for name, t in column.state_dict().items())
            assert not any(p.requires_grad for p in column.parameters())
        states.append({name: t.clone() for name, t in columns[-1].state_dict().items()})
    assert len(columns) == 5


def test_lateral_links_by_hand():
    """h₂ = relu(W₂ (h₁; what entered the same layer in earlier columns)), and the head likewise."""
    clf = learned(ProgressiveClassifier(make_net(), random_state=0), stream(n_experiences=3))
    x = torch.from_numpy(DIGITS.X_test)
    first_layers, features = [], []
    for k, column in enumerate(clf.net_.module_.columns):
        lower, upper = column.hidden[0], column.hidden[2]
        assert lower.weight.shape == (20, 64)
        assert upper.weight.shape == (20, 20 * (k + 1))
        first_layers.append((x @ lower.weight.T + lower.bias).relu())
        own_and_links = upper.weight.split(20, dim=1)
        order = [k, *range(k)]
        features.append(
            (sum(first_layers[j] @ w.T for j, w in zip(order, own_and_links, strict=True)) + upper.bias).relu()
        )
        links = column.head.weight.split(20, dim=1)
        logits = sum(features[j] @ w.T for j, w in zip(order, links, strict=True)) + column.head.bias
        found = clf.decision_function(DIGITS.X_test, task_id=k)
        outputs = clf.parts_[k]["outputs"]
        np.testing.assert_allclose(found[:, outputs], logits.log_softmax(1).detach(), atol=1e-5)
    # The links are trained, not only there.
    assert (features[0] @ links[1].T).std().item() > 0.05


def test_columns_begin_as_the_prototype_does():
    """Links come on top: a column's own weights have the size that the module's initialisation gave them."""
    clf = ProgressiveClassifier(make_net(lr=1e-9, module__hidden_units=(200, 200)), random_state=0)
    learned(clf, stream(n_experiences=3))
    own, link, _ = clf.net_.module_.columns[2].hidden[2].weight.detach().split(200, dim=1)
    assert abs(float(own.abs().max()) - 1 / np.sqrt(200)) < 1e-3
    assert abs(float(link.abs().max()) - 1 / np.sqrt(600)) < 1e-3


# --- PackNet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize("prune_fraction", [0.5, 0.75])
def test_packnet_weights_are_frozen_and_masks_have_the_right_sizes(optimizer, prune_fraction):
    clf = PackNetClassifier(
        make_net(module__batch_norm=True, **OPTIMISERS[optimizer]), prune_fraction=prune_fraction, random_state=0
    )
    n_free = {"hidden.0.weight": 1280, "hidden.3.weight": 400}
    old: dict[tuple, tuple] = {}
    shared = None
    for k, e in enumerate(stream(), start=1):
        learned(clf, [e])
        now = dict(clf.net_.module_.state_dict())
        assert clf.owners_.keys() == n_free.keys()
        for name, owner in clf.owners_.items():
            n_pruned = round(prune_fraction * n_free[name])
            assert int((owner == k).sum()) == n_free[name] - n_pruned
            assert int((owner == 0).sum()) == n_pruned
            n_free[name] = n_pruned
            assert not now[name][owner == 0].any()
            assert now[name][owner == k].all() or k > 1
            for (kept_name, j), (mask, values) in old.items():
                if kept_name == name:  # masks of old tasks are where they were: disjoint from all later ones
                    assert torch.equal(owner == j, mask)
                    assert torch.equal(now[name][mask], values)
            old[name, k] = owner == k, now[name][owner == k].clone()
        rest = {n: t for n, t in body(clf.net_.module_).items() if n not in n_free}
        assert len(rest) == 2 + 2 * 5
        if shared is not None:
            assert all(torch.equal(t, shared[n]) for n, t in rest.items())
        shared = rest


def test_packnet_keeps_the_largest_weights_of_the_first_phase():
    """Without retraining, what is kept is what naive training would have, and the rest are its smallest weights."""
    e = stream()[0]
    pruned = PackNetClassifier(make_net(), prune_fraction=0.6, retrain_fraction=0.0, random_state=0)
    whole = PackNetClassifier(make_net(), prune_fraction=0.0, retrain_fraction=0.0, random_state=0)
    learned(pruned, [e]), learned(whole, [e])
    for name, owner in pruned.owners_.items():
        weight = whole.net_.module_.get_parameter(name).detach()
        cut = np.sort(weight.abs().numpy().ravel())[round(0.6 * weight.numel()) - 1]
        assert torch.equal(owner == 1, weight.abs() > cut)
        assert torch.equal(pruned.net_.module_.get_parameter(name).detach(), weight * (weight.abs() > cut))


@pytest.mark.parametrize(("max_epochs", "n_before"), [(3, 18), (1, 6)])
def test_packnet_prunes_after_its_share_of_the_steps(max_epochs, n_before):
    owners = []  # of the weights, before and after each step; who prunes puts others in their place

    class Watched(PackNetClassifier):
        def after_step(self, call, theta, batch):
            before = self.owners_
            super().after_step(call, theta, batch)
            owners.append((before, self.owners_))

    e = stream()[0]
    clf = Watched(make_net(max_epochs=max_epochs), retrain_fraction=1 / 3, random_state=0)
    clf.partial_fit(e.X_train[:280], e.y_train[:280])
    pruned = [after is not before for before, after in owners]
    assert pruned == [False] * (n_before - 1) + [True] + [False] * (9 * max_epochs - n_before)
    (first, _), (_, last) = owners[0], owners[-1]
    assert clf.owners_ is last
    assert not any(owner.any() for owner in first.values()) and all(owner.any() for owner in last.values())


def test_packnet_later_tasks_use_earlier_weights():
    """A task's network is θ ⊙ Σ masks up to it: computed from the state of the net."""
    experiences = stream(n_experiences=3)
    clf = learned(PackNetClassifier(make_net(), random_state=0), experiences)
    x = torch.from_numpy(DIGITS.X_test)
    state = clf.net_.module_.state_dict()
    for k, e in enumerate(experiences, start=1):
        h = x
        for layer in ("hidden.0", "hidden.2"):
            owner = clf.owners_[f"{layer}.weight"]
            mask = sum((owner == j).float() for j in range(1, k + 1))
            h = (h @ (state[f"{layer}.weight"] * mask).T + state[f"{layer}.bias"]).relu()
        weight, bias = clf.parts_[k - 1]["head"]
        expected = (h @ weight.T + bias).softmax(1)
        found = clf.predict_proba(DIGITS.X_test, task_id=e.task_id)[:, clf.parts_[k - 1]["outputs"]]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


# --- HAT ---------------------------------------------------------------------------------------------------------


def gates(clf, task):
    return torch.sigmoid(clf.s_max * clf.parts_[task]["embedding"][0])


def test_gated_module_gates_the_activations():
    torch.manual_seed(0)
    mlp = MLP(5, 3, hidden_units=(4, 6))
    gated = GatedModule(mlp, 2.0)
    x = torch.randn(7, 5)
    a, b = torch.sigmoid(2.0 * gated.embedding).split([4, 6])
    h = (mlp.hidden[0](x)).relu() * a
    h = (mlp.hidden[2](h)).relu() * b
    torch.testing.assert_close(gated(x), mlp.head(h))
    conv = ConvNet(3, image_shape=(1, 8, 8), channels=(2, 4))
    gated = GatedModule(conv, 2.0)
    x = torch.randn(7, 64)
    a, b = torch.sigmoid(2.0 * gated.embedding).split([2, 4])
    h = F.max_pool2d(conv.hidden[0](x.view(-1, 1, 8, 8)).relu(), 2) * a.view(1, -1, 1, 1)
    h = F.max_pool2d(conv.hidden[3](h).relu(), 2) * b.view(1, -1, 1, 1)
    torch.testing.assert_close(gated(x), conv.head(h.flatten(1)))


def test_hat_refuses_a_module_with_branches():
    class Branches(nn.Module):
        def __init__(self, n_inputs, n_outputs):
            super().__init__()
            self.a, self.b = nn.Linear(n_inputs, 5), nn.Linear(n_inputs, 7)
            self.head = nn.Linear(12, n_outputs)

        def forward(self, x):
            return self.head(torch.cat([self.a(x), self.b(x)], 1).relu())

    with pytest.raises(TypeError, match="without branches"):
        HATClassifier(ContinualNet(Branches)).fit(DIGITS.X_train, DIGITS.y_train)
    learned(ProgressiveClassifier(ContinualNet(Branches), random_state=0), stream(n_experiences=2))


def one_step(clf, e):
    """Parameters before and after one call, which is one step on all its rows, and these rows."""
    call = clf.open_call(e.X_train, e.y_train, task_id=e.task_id)
    clf.start_training(call)
    before = {n: p.detach().clone() for n, p in clf.net_.module_.named_parameters()}
    clf.train(call)
    clf.finish_training(call)
    assert call.step == 1
    return before, dict(clf.net_.module_.named_parameters()), call.rows


@pytest.mark.parametrize("s_max", [400.0, 3.0])
def test_hat_steps_are_masked_where_earlier_tasks_have_units(s_max):
    """With SGD the step is −lr (1 − min(Aᵢ, Aⱼ)) ∂L/∂w, the paper's masked gradient."""
    experiences = stream()
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=3)
    clf = learned(HATClassifier(net, s_max=s_max, random_state=0), experiences[:2])
    clf.net_.set_params(max_epochs=1, batch_size=-1)
    before, after, rows = one_step(clf, experiences[2])
    used = torch.maximum(gates(clf, 0), gates(clf, 1)).split([20, 20])
    keep = {
        "module.hidden.0.weight": (1 - used[0])[:, None].expand(20, 64),
        "module.hidden.0.bias": 1 - used[0],
        "module.hidden.2.weight": 1 - torch.minimum(used[1][:, None], used[0][None]),
        "module.hidden.2.bias": 1 - used[1],
        "module.head.weight": torch.ones(2, 20),
        "module.head.bias": torch.ones(2),
    }
    leaves = {name: p.clone().requires_grad_() for name, p in before.items()}
    a, b = torch.sigmoid(s_max * leaves["embedding"]).split([20, 20])
    w = {name.removeprefix("module."): p for name, p in leaves.items()}
    h = (rows.x @ w["hidden.0.weight"].T + w["hidden.0.bias"]).relu() * a
    h = (h @ w["hidden.2.weight"].T + w["hidden.2.bias"]).relu() * b
    loss = F.cross_entropy(h @ w["head.weight"].T + w["head.bias"], rows.y)
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for name, share in keep.items():
        torch.testing.assert_close(
            after[name].detach(), before[name] - 0.1 * share * gradients[name], rtol=1e-4, atol=1e-6
        )
        assert gradients[name].abs().max() > 1e-4
    if s_max == 400:  # gates are hard: what is used does not move at all
        for name, share in keep.items():
            assert torch.equal(after[name][share == 0], before[name][share == 0])
        assert any((share == 0).any() for share in keep.values())


@pytest.mark.parametrize("s", [0.5, 2.0])
def test_hat_gradient_of_the_embedding_by_hand(s):
    """Compensated, the gradient by e is s_max σ'(e) (∂L/∂a + c (1 − A) / Σ (1 − A)), whatever s was."""
    experiences = stream()
    clf = learned(HATClassifier(make_net(), s_max=30.0, sparsity=0.6, random_state=0), experiences[:2])
    third = experiences[2]
    call = clf.open_call(third.X_train, third.y_train, task_id=third.task_id)
    clf.start_training(call)
    rows, module = call.rows, clf.net_.module_
    module.s = s
    theta = clf.net_.flatten()
    gradient = torch.empty_like(theta)
    passes = passes_of(clf.net_, gradient, rows.x)
    passes.backward(clf.loss(call, passes, rows))
    clf.after_backward(call, theta, gradient)
    parameters = clf.net_.trainable()
    position = [p is module.embedding for p in parameters].index(True)
    found = gradient.split([p.numel() for p in parameters])[position]

    e = module.embedding.detach()
    a = torch.sigmoid(s * e).requires_grad_()
    lower, upper = a.split([20, 20])
    mlp = module.module
    h = mlp.hidden[0](rows.x).relu() * lower
    h = mlp.hidden[2](h).relu() * upper
    (by_gate,) = torch.autograd.grad(F.cross_entropy(mlp.head(h), rows.y), a)
    free = 1 - torch.maximum(gates(clf, 0), gates(clf, 1))
    slope = torch.sigmoid(e) * (1 - torch.sigmoid(e))
    expected = 30.0 * slope * (by_gate + 0.6 * free / free.sum())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_hat_anneals_s_in_every_epoch():
    seen = []

    class Watched(HATClassifier):
        def loss(self, call, forward, batch):
            seen.append(self.net_.module_.s)
            return super().loss(call, forward, batch)

    clf = Watched(make_net(batch_size=20, max_epochs=2), s_max=100.0, random_state=0)
    clf.partial_fit(DIGITS.X_train[:100], DIGITS.y_train[:100])
    np.testing.assert_allclose(seen, [0.01 + (100 - 0.01) * b / 4 for b in range(5)] * 2)
    assert clf.net_.module_.s == 100.0


LBFGS = {"optimizer": torch.optim.LBFGS, "optimizer__max_iter": 5, "lr": 0.05, "batch_size": -1}


@pytest.mark.parametrize("optimizer", [*OPTIMISERS.values(), LBFGS], ids=[*OPTIMISERS, "lbfgs"])
def test_hat_old_answers_stay_where_gates_are_hard(optimizer):
    experiences = stream()
    clf = HATClassifier(make_net(module__batch_norm=True, **optimizer), s_max=1e6, random_state=0)
    before = {}
    for e in experiences:
        learned(clf, [e])
        before[e.task_id] = clf.predict_proba(DIGITS.X_test, task_id=e.task_id)
        for task in before:
            hard = gates(clf, task)
            assert ((hard == 0) | (hard == 1)).all()
            columns = experiences[task].classes
            now = clf.predict_proba(DIGITS.X_test, task_id=task)
            np.testing.assert_allclose(now[:, columns], before[task][:, columns], rtol=0, atol=1e-6)


def test_hat_sparsity_saves_units():
    used = []
    for sparsity in (0.0, 10.0):
        net = make_net(optimizer=torch.optim.SGD, lr=0.05, max_epochs=10)
        clf = learned(HATClassifier(net, sparsity=sparsity, random_state=0), stream()[:1])
        used.append(float(gates(clf, 0).mean()))
    assert used[1] < used[0] / 2
