"""The replay family against mathematics that is computed in another way."""

import copy
import inspect
import pickle
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, accuracy, learned, make_net, make_stream, theta
from scipy import optimize
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AGEMClassifier,
    ContinualClassifier,
    ContinualNet,
    DERClassifier,
    ERACEClassifier,
    GDumbClassifier,
    GEMClassifier,
    ICaRLClassifier,
    NaiveClassifier,
    ReplayClassifier,
    all_estimators,
)
from forgetless.estimators.memory import POLICIES, MemoryStack, ReplayMemory, herding_order
from forgetless.estimators.replay.gem import solve_dual

WITH_MEMORY = {
    name: cls
    for name, cls in all_estimators()
    if "buffer_size" in inspect.signature(cls).parameters and issubclass(cls, ContinualClassifier)
}
BY_CLASS = [policy for policy in POLICIES if policy != "reservoir"]
make_net = partial(make_net, module__hidden_units=(16,), lr=1e-2, max_epochs=2)
make_stream = partial(make_stream, class_order="sorted")


def gradient_on(module, x, y):
    """Gradient of the mean cross-entropy by ``backward``, as one vector in double precision."""
    module = copy.deepcopy(module).eval()
    F.cross_entropy(module(x), y).backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters()]).double().numpy()


# --- policies ----------------------------------------------------------------------------------------------------


def fill(memory, labels, chunk, features=None):
    """Offer rows whose only feature is their number."""
    rng = np.random.default_rng(0)
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        x, y = torch.arange(len(labels))[part], torch.as_tensor(labels[part])
        memory.add(rng, x, y, features=None if features is None else features[part])
    return memory


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("chunk", [1, 7, 200])
@pytest.mark.parametrize("capacity", [0, 2, 12, 31, 500])
def test_memory_is_full_and_has_each_row_once_with_its_label(policy, chunk, capacity):
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 3], [100, 60, 38, 2]))
    features = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    memory = fill(ReplayMemory(capacity, policy), labels, chunk, features)
    assert len(memory) == min(capacity, len(labels))
    rows, stored_labels = (t.numpy() for t in memory.stored())
    assert len(np.unique(rows)) == len(rows)
    assert np.array_equal(labels[rows], stored_labels)
    if policy in BY_CLASS and capacity == 31:
        assert sorted(np.bincount(stored_labels, minlength=4)) == [2, 9, 10, 10]


@pytest.mark.parametrize("chunk", [1, 7, 120])
def test_ring_has_the_last_rows_of_each_class(chunk):
    labels = np.random.default_rng(1).integers(0, 4, 120)
    memory = fill(ReplayMemory(20, "ring"), labels, chunk)
    queues = {label: deque(maxlen=5) for label in range(4)}
    for row, label in enumerate(labels):
        queues[label].append(row)
    assert sorted(memory.stored()[0].tolist()) == sorted(row for queue in queues.values() for row in queue)


def test_ring_counts_on_where_a_share_was_larger():
    """The first class fills the memory alone; its last rows stay when others come."""
    labels = np.repeat([0, 1, 2], 50)
    memory = fill(ReplayMemory(12, "ring"), labels, 10)
    assert sorted(memory.stored()[0].tolist()) == [*range(46, 50), *range(96, 100), *range(146, 150)]


def greedy(features, n_rows):
    """Herding by its definition: each time, try all rows that are left."""
    features = np.asarray(features, dtype=np.float64)
    mean, chosen = features.mean(axis=0), []
    for k in range(1, n_rows + 1):
        left = [row for row in range(len(features)) if row not in chosen]
        means = [(features[row] + features[chosen].sum(axis=0)) / k for row in left]
        chosen.append(left[int(np.argmin([np.linalg.norm(mean - m) for m in means]))])
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_herding_order_is_the_greedy_definition(seed):
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(seed)) * torch.arange(1, 6)
    assert herding_order(features, 60).tolist() == greedy(features, 60)


def test_mean_of_herded_rows_is_nearer_than_that_of_drawn_rows():
    features = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    herded = (features[herding_order(features, 20)].mean(0) - features.mean(0)).norm()
    drawn = [(features[i : i + 20].mean(0) - features.mean(0)).norm() for i in range(0, 500, 20)]
    assert herded < 0.2 * min(drawn)


def test_herded_memory_keeps_the_first_of_each_class_when_shares_shrink():
    labels = np.repeat([0, 1, 2, 3], [50, 40, 50, 3])
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0))
    memory = ReplayMemory(23, "herding")
    for classes, shares in (([0, 1], [11, 12]), ([2], [7, 8, 8]), ([3], [6, 7, 7, 3])):
        rows = torch.as_tensor(np.flatnonzero(np.isin(labels, classes)))
        memory.add(np.random.default_rng(0), rows, torch.as_tensor(labels)[rows], features=features[rows])
        stored, stored_labels = memory.stored()
        assert sorted(np.bincount(stored_labels)) == sorted(shares)
        for label, n_rows in enumerate(np.bincount(stored_labels)):
            members = np.flatnonzero(labels == label)
            expected = members[greedy(features[members], n_rows)]
            assert sorted(stored[stored_labels == label].tolist()) == sorted(expected)


def test_herding_over_calls_keeps_the_best_of_each_in_proportion():
    features = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    memory = ReplayMemory(30, "herding")
    for part in (np.arange(30), np.arange(30, 90)):
        rows = torch.as_tensor(part)
        memory.add(np.random.default_rng(0), rows, torch.zeros(len(rows), dtype=torch.int64), features=features[part])
    expected = [*greedy(features[:30], 10), *(30 + np.array(greedy(features[30:], 20)))]
    assert sorted(memory.stored()[0].tolist()) == sorted(expected)


def unit_features(module, x):
    features = module.hidden(torch.as_tensor(x)).detach().double().numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_replay_herds_in_the_features_of_the_network_after_training():
    X, y = DIGITS.X_train[:100], DIGITS.y_train[:100] % 2
    clf = ReplayClassifier(make_net(), buffer_size=20, policy="herding", random_state=0).fit(X, y)
    stored, labels = (t.numpy() for t in clf.memory_.stored()[:2])
    for label in (0, 1):
        members = X[y == label]
        expected = members[greedy(unit_features(clf.net_.module_, members), 10)]
        assert np.array_equal(np.unique(stored[labels == label], axis=0), np.unique(expected, axis=0))


def test_sample_without_replacement():
    memory = fill(ReplayMemory(10, "reservoir"), np.zeros(30, dtype=np.int64), 5)
    generator = torch.Generator().manual_seed(0)
    everything = memory.sample(99, generator, replacement=False)[0]
    assert sorted(everything.tolist()) == sorted(memory.stored()[0].tolist())
    assert len(memory.sample(4, generator, replacement=False)[0].unique()) == 4


def test_a_stack_of_memories_draws_what_each_would():
    memories = [fill(ReplayMemory(10, "reservoir"), np.zeros(n, dtype=np.int64), 5) for n in (30, 7)]
    own = [memory.sample(20, torch.Generator().manual_seed(k)) for k, memory in enumerate(memories)]
    stack = MemoryStack(memories)
    drawn = stack.sample(20, [torch.Generator().manual_seed(k) for k in range(2)])
    for k, fields in enumerate(own):
        assert all(torch.equal(field, together[k]) for field, together in zip(fields, drawn, strict=True))
    memories[0].rows[0].zero_()
    assert not stack.rows[0][0].any() and stack.rows[0][1].any()  # still the memory's own rows
    stack.release()
    assert memories[0].rows[0].untyped_storage().nbytes() == memories[0].rows[0].nbytes


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", WITH_MEMORY)
@pytest.mark.parametrize("buffer_size", [3, 37])
def test_memory_stays_within_buffer_size(name, buffer_size, scenario):
    clf = WITH_MEMORY[name](make_net(max_epochs=1), buffer_size=buffer_size, random_state=0)
    kept = []
    for e in make_stream(scenario):
        clf.partial_fit(e.X_train[:20], e.y_train[:20], task_id=e.task_id)
        assert all(len(t) == buffer_size for t in clf.memory_.rows)
        kept.append(len(clf.memory_))
    assert kept == [min(buffer_size, n) for n in (20, 40, 60, 80, 100)]
    names = clf.classes_[np.argsort(clf._columns_)]
    for row, column in zip(*(t.numpy() for t in clf.memory_.stored()[:2]), strict=True):
        sources = np.flatnonzero((DIGITS.X_train == row).all(axis=1))
        assert len(sources) and (scenario == "domain" or names[column] in DIGITS.y_train[sources])


# --- strength 0 --------------------------------------------------------------------------------------------------

AT_ZERO = {
    **{f"replay {policy}": ReplayClassifier(buffer_size=0, policy=policy) for policy in POLICIES},
    "mir": ReplayClassifier(buffer_size=0, retrieval="mir"),
    "er-ace": ERACEClassifier(buffer_size=0),
    "der without strengths": DERClassifier(alpha=0, beta=0),
    "der without memory": DERClassifier(buffer_size=0),
    "gem": GEMClassifier(buffer_size=0),
    "a-gem": AGEMClassifier(buffer_size=0),
}


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", AT_ZERO)
def test_strength_zero_is_naive_to_the_bit(name, scenario):
    stream = make_stream(scenario, 3 if scenario != "domain" else 2)
    naive = learned(NaiveClassifier(make_net(), random_state=0), stream)
    clf = copy.deepcopy(AT_ZERO[name]).set_params(net=make_net(), random_state=0)
    assert torch.equal(theta(learned(clf, stream)), theta(naive))


def test_strength_is_not_naive():
    """What the test before would not notice: methods that never do anything."""
    stream = make_stream("task", 3)
    naive = theta(learned(NaiveClassifier(make_net(), random_state=0), stream))
    for clf in (ReplayClassifier(), ReplayClassifier(retrieval="mir"), ERACEClassifier(), DERClassifier(beta=0)):
        assert not torch.equal(theta(learned(clf.set_params(net=make_net(), random_state=0), stream)), naive)
    for clf in (GEMClassifier(), AGEMClassifier()):
        assert not torch.equal(theta(learned(clf.set_params(net=make_net(), random_state=0), stream)), naive)


# --- maximally interfered retrieval --------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_mir_picks_the_rows_whose_loss_rises_most(dropout):
    net = make_net(module__dropout=dropout, lr=0.05, optimizer=torch.optim.SGD)
    clf = ReplayClassifier(net, retrieval="mir", n_candidates=50, replay_batch_size=7, random_state=0)
    learned(clf, make_stream(n_experiences=2))
    x, y = torch.as_tensor(DIGITS.X_train[:32]), torch.as_tensor(DIGITS.y_train[:32])
    clf._generator_ = torch.Generator().manual_seed(5)
    candidates = torch.randperm(200, generator=torch.Generator().manual_seed(5))[:50]
    picked = clf._mix((x, y))[2]

    x_memory, y_memory = (t[candidates] for t in clf.memory_.stored()[:2])
    module = copy.deepcopy(clf.net_.module_).eval()
    before = F.cross_entropy(module(x_memory), y_memory, reduction="none")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    F.cross_entropy(module(x), y).backward()
    optimizer.step()
    rise = F.cross_entropy(module(x_memory), y_memory, reduction="none") - before
    assert torch.equal(x_memory[rise.argsort(descending=True)[:7]], picked)


def test_mir_leaves_network_and_batch_statistics_alone():
    net = make_net(module__batch_norm=True, module__dropout=0.2)
    clf = learned(ReplayClassifier(net, retrieval="mir", random_state=0), make_stream(n_experiences=2))
    clf._generator_ = torch.Generator().manual_seed(5)
    clf.net_.module_.train()
    before = copy.deepcopy(clf.net_.module_.state_dict())
    clf._mix((torch.as_tensor(DIGITS.X_train[:32]), torch.as_tensor(DIGITS.y_train[:32])))
    assert all(torch.equal(before[name], t) for name, t in clf.net_.module_.state_dict().items())
    assert all(layer.training for layer in clf.net_.module_.modules())


def test_mir_knows_the_active_outputs_of_each_row():
    clf = learned(ReplayClassifier(make_net(), retrieval="mir", random_state=0), make_stream("task"))
    outputs, (_, y, groups) = torch.randn(200, 10), clf.memory_.stored()
    expected = [
        F.cross_entropy(row[clf.tasks_[int(group)]][None], torch.tensor([clf.tasks_[int(group)].tolist().index(label)]))
        for row, label, group in zip(outputs, y.tolist(), groups, strict=True)
    ]
    torch.testing.assert_close(clf._row_losses(outputs, y, groups), torch.stack(expected))


# --- ER-ACE ------------------------------------------------------------------------------------------------------


def test_er_ace_loss_equals_the_formula():
    clf = learned(ERACEClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    x, y = torch.as_tensor(DIGITS.X_test[:20]), torch.as_tensor(np.array([1, 3, 3, 5] * 5))
    x_memory, y_memory, groups = clf.memory_.sample(30, torch.Generator().manual_seed(0))
    module = clf.net_.module_
    new, old = module(x).detach().double().numpy(), module(x_memory).detach().double().numpy()
    own = [1, 3, 5]
    losses = [np.log(np.exp(row[own]).sum()) - row[label] for row, label in zip(new, y, strict=True)]
    replayed = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(old, y_memory, strict=True)]
    loss = clf._loss(module, (x, y, x_memory, y_memory, groups))
    assert loss.item() == pytest.approx(np.mean(losses) + np.mean(replayed), rel=1e-5)


def test_er_ace_new_rows_do_not_move_the_outputs_of_other_classes():
    clf = learned(ERACEClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    x, y = torch.as_tensor(DIGITS.X_test[:20]), torch.full((20,), 5)
    outputs = torch.randn(20, 6, requires_grad=True)
    absent = clf._loss(lambda _: torch.cat([outputs, outputs.detach()]), (x, y, x, y, torch.zeros_like(y)))
    absent.backward()
    assert not outputs.grad[:, :5].any()


def test_er_ace_has_rows_of_the_running_call_in_memory():
    clf = ERACEClassifier(make_net(), buffer_size=1000, random_state=0)
    seen = []
    clf._mix = lambda batch: seen.append(len(clf.memory_)) or ERACEClassifier._mix(clf, batch)
    clf.fit(DIGITS.X_train[:100], DIGITS.y_train[:100])
    assert set(seen) == {100}


# --- DER ---------------------------------------------------------------------------------------------------------


def index_in(rows, x):
    return [int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in x]


def test_der_stores_the_logits_before_the_update():
    """Full batches of gradient descent, done by hand: rows of epoch k have the outputs after k steps."""
    X, y = torch.as_tensor(DIGITS.X_train[:50]), torch.as_tensor(np.arange(50) % 10)
    net = make_net(optimizer=torch.optim.SGD, lr=0.5, batch_size=-1, max_epochs=3)
    clf = DERClassifier(net, buffer_size=60, alpha=0, beta=0, random_state=0)
    untrained = NaiveClassifier(make_net(max_epochs=0), random_state=0).fit(X.numpy(), y.numpy())
    module, outputs = untrained.net_.module_, []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(3):
        outputs.append(module(X).detach())
        optimizer.zero_grad()
        F.cross_entropy(module(X), y).backward()
        optimizer.step()
    clf.fit(X.numpy(), y.numpy())
    x, labels, _, logits = clf.memory_.stored()
    rows = index_in(X.numpy(), x.numpy())
    assert torch.equal(labels, y[rows])
    distances = torch.stack([(o[rows] - logits).norm(dim=1) for o in outputs])
    assert (distances.min(0).values < 1e-4).all()
    assert set(distances.argmin(0).tolist()) == {0, 1, 2}
    assert (module(X)[rows] - logits).norm(dim=1).min() > 0.01


def test_der_logits_of_a_later_call_are_those_of_the_network_before_it():
    net = make_net(batch_size=-1, max_epochs=1)
    clf = DERClassifier(net, buffer_size=100, random_state=0).partial_fit(DIGITS.X_train[:50], np.arange(50) % 10)
    before = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(DIGITS.X_train[50:100], np.arange(50) % 10)
    x, _, _, logits = (t[50:] for t in clf.memory_.stored())
    torch.testing.assert_close(before(x).detach(), logits)
    assert (clf.net_.module_(x) - logits).abs().max() > 0.01


def test_der_compares_only_columns_that_were_stored():
    clf = learned(DERClassifier(make_net(), buffer_size=300, random_state=0), make_stream())
    _, y, _, logits = clf.memory_.stored()
    experience = y // 2
    for row, k in zip(logits, experience, strict=True):
        assert not row[: 2 * k + 2].isnan().any() and row[2 * k + 2 :].isnan().all()
    assert set(experience.tolist()) == set(range(5))


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_der_loss_equals_the_formula(alpha, beta):
    clf = learned(DERClassifier(make_net(), alpha=alpha, beta=beta, random_state=0), make_stream(n_experiences=3))
    clf._generator_ = torch.Generator().manual_seed(0)
    x, y = torch.as_tensor(DIGITS.X_test[:20]), torch.as_tensor(np.arange(20) % 6)
    mixed = clf._mix((x, y))
    module = clf.net_.module_
    loss = clf._loss(module, mixed)
    expected, memory = F.cross_entropy(module(x), y), mixed[2:]
    if alpha:
        x_memory, _, _, z = (t[:20] for t in memory)
        squares = [
            sum((a - b) ** 2 for a, b in zip(f, row, strict=True) if not np.isnan(b))
            for f, row in zip(module(x_memory).tolist(), z.tolist(), strict=True)
        ]
        expected = expected + alpha * np.mean(squares)
        memory = tuple(t[20:] for t in memory)
    if beta:
        x_memory, y_memory = (t[:20] for t in memory[:2])
        expected = expected + beta * F.cross_entropy(module(x_memory), y_memory)
        memory = tuple(t[20:] for t in memory)
    assert not any(len(t) for t in memory)
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, clf.net_.trainable())])).all()


def test_der_plus_plus_draws_two_independent_batches():
    clf = learned(DERClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    clf._generator_ = torch.Generator().manual_seed(0)
    _, _, drawn, *_ = clf._mix((torch.zeros(64, 64), torch.zeros(64, dtype=torch.int64)))
    first, second = drawn.split(64)
    same = (first[:, None] == second[None]).all(-1)
    # By chance, one pair in about 200 is the same row.
    assert same.diagonal().sum() < 5 and 5 < same.sum() < 60


def test_der_works_where_outputs_are_probabilities():
    class Softmax(MLP):
        def forward(self, x):
            return super().forward(x).softmax(1)

    net = ContinualNet(Softmax, criterion=nn.NLLLoss, lr=0.01, max_epochs=5)
    clf = learned(DERClassifier(net, random_state=0), make_stream(n_experiences=2))
    assert accuracy(clf, make_stream(n_experiences=2)) > 0.8
    assert clf.memory_.stored()[3].nan_to_num().min() < -1  # logarithms, not probabilities


# --- GEM and A-GEM -------------------------------------------------------------------------------------------------


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
    """The class, noting network, generator and gradient at each change of the gradient."""

    class Spy(cls):
        def _change_gradient(self, theta, gradient):
            before, module = gradient.clone(), copy.deepcopy(self.net_.module_)
            generator = self._generator_.get_state()
            super()._change_gradient(theta, gradient)
            steps.append((module, generator, before, gradient.clone()))

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
        x, y = memory.stored()[:2]
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


def test_gem_running_experience_is_no_condition():
    clf = GEMClassifier(make_net(), buffer_size=60, random_state=0)
    e = make_stream()[0]
    rows = []
    clf._change_gradient = lambda theta, gradient: rows.append(len(clf._past_rows_))
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
    x, y = copy.deepcopy(clf.memory_).stored()[:2]
    steps.clear()
    clf.partial_fit(second.X_train, second.y_train)
    n_projected, drawn = 0, set()
    for module, state, before, after in steps:
        generator = torch.Generator()
        generator.set_state(state)
        batch = torch.randperm(200, generator=generator)[:40]
        drawn.add(tuple(batch.tolist()))
        reference = gradient_on(module, x[batch], y[batch])
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


# --- GDumb -------------------------------------------------------------------------------------------------------


def paper_counts(labels, capacity):
    """Rows of each class after algorithm 1 of the paper, row by row."""
    counts = {}
    for label in labels:
        quota = capacity / max(len(counts), 1)
        if label not in counts or counts[label] < quota:
            if sum(counts.values()) >= capacity:
                counts[max(counts, key=counts.get)] -= 1
            counts[label] = counts.get(label, 0) + 1
    return counts


@pytest.mark.parametrize("capacity", [20, 60, 100])
def test_gdumb_balances_as_the_paper_does(capacity):
    labels = np.repeat(np.arange(10), 120)
    X = np.arange(1200, dtype=np.float32)[:, None] / 1200
    clf = GDumbClassifier(buffer_size=capacity, random_state=0)
    for part in np.split(np.arange(1200), 5):
        clf.partial_fit(X[part], labels[part])
    kept = np.bincount(clf.memory_.stored()[1])
    assert kept.tolist() == [paper_counts(labels, capacity)[label] for label in range(10)]


def test_gdumb_answers_depend_on_the_memory_only():
    clf = GDumbClassifier(make_net(), buffer_size=50, max_epochs=20, random_state=0)
    asked = copy.deepcopy(clf)
    for e in make_stream(n_experiences=3):
        clf.partial_fit(e.X_train, e.y_train)
        asked.partial_fit(e.X_train, e.y_train).predict(e.X_test)
    stored = pickle.loads(pickle.dumps(clf))
    usage = clf.memory_usage()
    answers = clf.predict_proba(DIGITS.X_test)
    assert np.array_equal(answers, asked.predict_proba(DIGITS.X_test))
    assert np.array_equal(answers, stored.predict_proba(DIGITS.X_test))
    assert np.array_equal(answers, pickle.loads(pickle.dumps(clf)).predict_proba(DIGITS.X_test))
    assert clf.memory_usage() == usage
    assert usage["weights"] == 4 * sum(p.numel() for p in clf.net_.module_.parameters())


def test_gdumb_trains_once_and_from_scratch():
    class Counting(MLP):
        n_built = 0

        def __init__(self, n_inputs, n_outputs):
            Counting.n_built += 1
            super().__init__(n_inputs, n_outputs)

    clf = GDumbClassifier(ContinualNet(Counting, lr=0.01), buffer_size=50, random_state=0)
    learned(clf, make_stream())
    assert Counting.n_built == 0
    clf.predict(DIGITS.X_test)
    clf.predict_proba(DIGITS.X_test)
    assert Counting.n_built == 1
    x, y = (t.numpy() for t in clf.memory_.stored())
    assert clf.score(x, clf.classes_[y]) == 1.0  # digits come in order, so columns are digits


def test_gdumb_that_diverges_says_so_when_asked():
    clf = GDumbClassifier(make_net(), random_state=0).fit(DIGITS.X_train * 1e38, DIGITS.y_train)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="net__lr"):
            clf.predict(DIGITS.X_test)


# --- iCaRL -------------------------------------------------------------------------------------------------------


def binary_cross_entropy(p, target):
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def sigmoid(z):
    return 1 / (1 + np.exp(-z.detach().double().numpy()))


def test_icarl_loss_equals_the_formula():
    clf = ICaRLClassifier(make_net(), buffer_size=40, random_state=0)
    experiences = list(make_stream(n_experiences=3))
    for e in experiences[:2]:
        clf.partial_fit(e.X_train, e.y_train)
    n_old = len(clf.classes_)
    teacher = copy.deepcopy(clf.net_.module_).eval()
    exemplars = clf.memory_.stored()[:2]
    seen = []
    clf._loss = lambda forward, batch: (
        seen.append((copy.deepcopy(clf.net_.module_), batch)) or ICaRLClassifier._loss(clf, forward, batch)
    )
    clf.net_.set_params(batch_size=-1, max_epochs=1)
    n_rows = len(experiences[2].X_train)
    clf.partial_fit(experiences[2].X_train, experiences[2].y_train)
    del clf._loss
    ((module, batch),) = seen
    x, y = batch[:2]
    assert len(x) == n_rows + 40  # new rows and all exemplars
    assert len(index_in(x.numpy(), exemplars[0].numpy())) == 40
    p, q = sigmoid(module(x)), sigmoid(teacher(x))
    total = 0.0
    for row in range(len(x)):
        for column in range(len(clf.classes_)):
            target = q[row, column] if column < n_old else float(y[row] == column)
            total += binary_cross_entropy(p[row, column], target)
    assert clf._loss(module, batch).item() == pytest.approx(total / len(x), rel=1e-5)


def test_icarl_learns_classes_that_come_again_from_labels():
    clf = ICaRLClassifier(make_net(), buffer_size=40, random_state=0)
    first, second = list(make_stream("domain"))[:2]
    clf.partial_fit(first.X_train, first.y_train).partial_fit(second.X_train, second.y_train)
    assert len(clf._distilled_) == 0
    clf.partial_fit(second.X_train, np.where(second.y_train == 0, 0, 7))
    assert clf._distilled_.tolist() == [1]


def test_icarl_loss_ignores_classes_that_were_only_announced():
    e = make_stream()[0]
    clf = ICaRLClassifier(make_net(), random_state=0).partial_fit(e.X_train, e.y_train, classes=np.arange(10))
    outputs = torch.randn(4, 10, requires_grad=True)
    clf._task_loss(outputs, torch.tensor([0, 1, 0, 1])).backward()
    assert outputs.grad[:, :2].all() and not outputs.grad[:, 2:].any()


def test_icarl_answers_the_nearest_mean_of_exemplars():
    clf = learned(ICaRLClassifier(make_net(), buffer_size=57, random_state=0), make_stream())
    x, y, _ = (t.numpy() for t in clf.memory_.stored())
    assert set(np.bincount(y)) == {5, 6}
    exemplars, rows = (unit_features(clf.net_.module_, t) for t in (x, DIGITS.X_test))
    means = np.stack([exemplars[y == column].mean(axis=0) for column in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    distances = np.square(rows[:, None] - means).sum(axis=2)
    np.testing.assert_allclose(clf.decision_function(DIGITS.X_test), -distances, atol=1e-5)


def test_icarl_exemplars_are_herded_and_thinned_out_from_the_end():
    clf = ICaRLClassifier(make_net(), buffer_size=24, random_state=0)
    first, second = make_stream(n_experiences=2)
    clf.partial_fit(first.X_train, first.y_train)
    module = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(second.X_train, second.y_train)
    x, y, _ = (t.numpy() for t in clf.memory_.stored())
    for column in range(10):
        e, at_the_time = (first, module) if column < 5 else (second, clf.net_.module_)
        members = e.X_train[e.y_train == column]
        expected = members[greedy(unit_features(at_the_time, members), (y == column).sum())]
        assert np.array_equal(np.unique(x[y == column], axis=0), np.unique(expected, axis=0))


def test_icarl_answers_a_class_without_exemplars_only_where_no_other_can_be():
    clf = learned(ICaRLClassifier(make_net(), buffer_size=6, random_state=0), make_stream("task"))
    without = np.setdiff1d(np.arange(10), clf.memory_.stored()[1])
    assert len(without) == 4
    assert not np.isin(clf.predict(DIGITS.X_test), without).any()
    for task, columns in clf.tasks_.items():
        assert np.isin(clf.predict(DIGITS.X_test, task_id=task), columns).all()


# --- sanity on real data -----------------------------------------------------------------------------------------

SANE = {
    "class_balanced": ReplayClassifier(policy="class_balanced"),
    "ring": ReplayClassifier(policy="ring"),
    "herding": ReplayClassifier(policy="herding"),
    "mir": ReplayClassifier(retrieval="mir"),
    "er-ace": ERACEClassifier(),
    "der++": DERClassifier(),
    "gdumb": GDumbClassifier(),
    "icarl": ICaRLClassifier(),
}


def sane_net():
    return make_net(module__hidden_units=(100,), max_epochs=10)


@pytest.mark.parametrize("name", SANE)
def test_sanity_on_split_digits(name):
    clf = copy.deepcopy(SANE[name]).set_params(net=sane_net(), random_state=0)
    assert accuracy(learned(clf, make_stream()), make_stream()) > 0.8


def test_der_alone_needs_announced_classes_to_tell_old_from_new():
    """Logits of classes that came later are not held on old rows, unless their outputs were there from the start."""
    announced = DERClassifier(sane_net(), beta=0, active_outputs="all", random_state=0)
    stream, tasks = make_stream(), make_stream("task")
    for e in stream:
        announced.partial_fit(e.X_train, e.y_train, classes=np.arange(10))
    growing = learned(DERClassifier(sane_net(), beta=0, random_state=0), stream)
    assert accuracy(announced, stream) > 0.8 > 0.5 > accuracy(growing, stream)
    growing = learned(DERClassifier(sane_net(), beta=0, random_state=0), tasks)
    assert accuracy(growing, tasks) > 0.9
