"""Each method against mathematics that is computed in another way."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, Normed, accuracy, learned, make_net, make_stream, theta
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AnchoredClassifier,
    ContinualNet,
    EWCClassifier,
    IndependentClassifier,
    JointClassifier,
    LwFClassifier,
    NaiveClassifier,
    ReplayClassifier,
    SLDAClassifier,
)
from forgetless.estimators.distillation.lwf import distillation_loss
from forgetless.estimators.memory import ReplayMemory, fair_shares
from forgetless.estimators.net import Batches

# --- strength ----------------------------------------------------------------------------------------------------

AT_ZERO = {
    "l2": AnchoredClassifier(penalty="l2", strength=0),
    "l1": AnchoredClassifier(penalty="l1", strength=0),
    "elastic net": AnchoredClassifier(penalty="elasticnet", strength=0),
    "zero": AnchoredClassifier(anchor="zero", strength=0),
    "ewc": EWCClassifier(ewc_lambda=0),
    "online ewc": EWCClassifier(ewc_lambda=0, online=True),
    "sampled ewc": EWCClassifier(ewc_lambda=0, fisher="sampled"),
    "lwf": LwFClassifier(alpha=1),
    "replay": ReplayClassifier(buffer_size=0),
}


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", AT_ZERO)
def test_strength_zero_is_naive_to_the_bit(name, scenario):
    naive = learned(NaiveClassifier(make_net(), random_state=0), make_stream(scenario))
    clf = learned(copy.deepcopy(AT_ZERO[name]).set_params(net=make_net(), random_state=0), make_stream(scenario))
    assert torch.equal(theta(naive), theta(clf))


def distance_from_anchor(clf):
    """How far two experiences with the same classes move the weights apart."""
    X, y = DIGITS.X_train, DIGITS.y_train
    clf.partial_fit(X[:500], y[:500])
    before = theta(clf)
    clf.partial_fit(X[500:], y[500:])
    return (theta(clf) - before).abs()


STRENGTHS = {
    "l2": (AnchoredClassifier(penalty="l2"), "strength"),
    "l1": (AnchoredClassifier(penalty="l1"), "strength"),
    "elastic net": (AnchoredClassifier(penalty="elasticnet"), "strength"),
    "ewc": (EWCClassifier(), "ewc_lambda"),
    "online ewc": (EWCClassifier(online=True), "ewc_lambda"),
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_distance_from_the_anchor_falls_with_strength(name):
    clf, parameter = STRENGTHS[name]
    distances = []
    for strength in [0.0, 0.1, 10.0, 1000.0]:
        trial = copy.deepcopy(clf).set_params(net=make_net(), random_state=0, **{parameter: strength})
        distances.append(float(distance_from_anchor(trial).norm()))
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < distances[0] / 2


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_huge_strength_keeps_the_weights_at_the_anchor(penalty):
    clf = AnchoredClassifier(
        make_net(optimizer=torch.optim.SGD, lr=1e-8), penalty=penalty, strength=1e6, random_state=0
    )
    moved = distance_from_anchor(clf)
    naive = NaiveClassifier(make_net(), random_state=0)
    assert moved.max() < 1e-5 < distance_from_anchor(naive).max()


def test_huge_ewc_lambda_holds_the_weights_that_matter():
    clf = EWCClassifier(make_net(), ewc_lambda=1e9, random_state=0)
    moved = distance_from_anchor(clf)
    naive = distance_from_anchor(NaiveClassifier(make_net(), random_state=0))
    important = clf.importance_ > clf.importance_.quantile(0.5)
    # Adam's steps have a length of about lr = 1e-3 whatever the gradient's size: it oscillates around the anchor.
    assert moved[important].median() < 1e-3 < naive[important].median()
    assert moved[important].mean() < naive[important].mean() / 5


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


# --- EWC ---------------------------------------------------------------------------------------------------------


def fisher_one_by_one(clf, X, y, kind):
    """The Fisher's diagonal by a loop over samples and labels."""
    module = clf.net_.module_.eval()
    params = list(module.parameters())
    total = [torch.zeros_like(p) for p in params]
    for row, label in zip(torch.as_tensor(X), torch.as_tensor(y), strict=True):
        p = module(row[None]).softmax(1)[0].detach()
        labels = {"exact": range(len(p)), "empirical": [int(label)], "predicted": [int(p.argmax())]}[kind]
        for k in labels:
            grads = torch.autograd.grad(F.cross_entropy(module(row[None]), torch.tensor([k])), params)
            weight = p[k] if kind == "exact" else 1.0
            for t, g in zip(total, grads, strict=True):
                t += weight * g**2
    return torch.cat([t.reshape(-1) for t in total]) / len(X)


@pytest.mark.parametrize("module", [MLP, Normed])
@pytest.mark.parametrize("kind", ["exact", "empirical", "predicted"])
def test_fisher_is_the_mean_of_squared_per_sample_gradients(module, kind):
    X, y = DIGITS.X_train[:40], np.arange(40) % 10
    clf = EWCClassifier(ContinualNet(module, max_epochs=2), fisher=kind, random_state=0).fit(X, y)
    expected = fisher_one_by_one(clf, X, y, kind)
    torch.testing.assert_close(clf.fisher_, expected, rtol=1e-4, atol=1e-8)
    assert expected.sum() > 0


def test_sampled_fisher_approaches_the_exact_one():
    X, y = np.repeat(DIGITS.X_train[:100], 30, axis=0), np.repeat(DIGITS.y_train[:100], 30)
    exact, sampled = (
        EWCClassifier(make_net(), fisher=kind, random_state=0).fit(X, y).fisher_ for kind in ("exact", "sampled")
    )
    assert abs(float(sampled.sum() / exact.sum()) - 1) < 0.1
    assert np.corrcoef(exact, sampled)[0, 1] > 0.98


def test_fisher_in_task_scenario_only_knows_the_tasks_outputs():
    clf = learned(EWCClassifier(make_net(), random_state=0), make_stream("task"))
    head = clf.net_.module_.head
    fisher_of_head_bias = clf.fisher_[-head.out_features :]
    columns = clf.tasks_[4]
    others = np.setdiff1d(np.arange(10), columns)
    assert (fisher_of_head_bias[columns] > 0).all() and (fisher_of_head_bias[others] == 0).all()


def test_fisher_of_several_calls_is_that_of_their_rows():
    X, y = DIGITS.X_train[:90], np.arange(90) % 10
    clf = EWCClassifier(make_net(max_epochs=1), random_state=0).partial_fit(X, y, task_id=0)
    clf.net_.set_params(max_epochs=0)  # the weights stay, so the Fisher of all rows is known
    first = fisher_one_by_one(clf, X, y, "exact")
    clf.partial_fit(X[:30] + 0.5, y[:30], task_id=0)
    second = fisher_one_by_one(clf, X[:30] + 0.5, y[:30], "exact")
    torch.testing.assert_close(clf.fisher_, (90 * first + 30 * second) / 120, rtol=1e-4, atol=1e-8)


def test_merged_quadratic_has_the_gradient_of_the_sum():
    clf = learned(EWCClassifier(make_net(), ewc_lambda=3.0, random_state=0), make_stream("domain", 2))
    anchors, fishers = [clf.anchor_], [clf.importance_]
    for seed in range(3):
        anchors.append(theta(clf).clone())
        fishers.append(clf.fisher_.clone())
        rows = np.random.default_rng(seed).permutation(len(DIGITS.X_train))[:200]
        clf.partial_fit(DIGITS.X_train[rows], DIGITS.y_train[rows] % 5)
    t = torch.randn(anchors[0].shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    penalty = sum(0.5 * 3.0 * (f * (t - a) ** 2).sum() for f, a in zip(fishers, anchors, strict=True))
    expected = torch.autograd.grad(penalty, t)[0]
    gradient = torch.zeros_like(expected)
    clf._change_gradient(t.detach(), gradient)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_online_ewc_decays_old_fishers_and_moves_the_anchor():
    clf = EWCClassifier(make_net(), online=True, gamma=0.5, random_state=0)
    X, y = DIGITS.X_train, DIGITS.y_train
    fishers = []
    for k in range(3):
        clf.partial_fit(X[k * 300 : (k + 1) * 300], y[k * 300 : (k + 1) * 300])
        fishers.append(clf.fisher_)
        last = theta(clf)
    clf.partial_fit(X[900:], y[900:])
    torch.testing.assert_close(clf.importance_, 0.25 * fishers[0] + 0.5 * fishers[1] + fishers[2])
    assert torch.equal(clf.anchor_, last)


def test_batch_statistics_stand_still_while_the_fisher_is_computed():
    net = ContinualNet(Normed, max_epochs=1)
    X, y = DIGITS.X_train[:200], DIGITS.y_train[:200]
    ewc, naive = (cls(net, random_state=0).fit(X, y).net_.module_ for cls in (EWCClassifier, NaiveClassifier))
    assert torch.equal(ewc.norm.running_mean, naive.norm.running_mean)


# --- growing -----------------------------------------------------------------------------------------------------


def test_growing_keeps_weights_outputs_and_optimiser_state():
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = NaiveClassifier(make_net(), random_state=0).partial_fit(X[y < 5], y[y < 5])
    head = clf.net_.module_.head
    weight, moments = head.weight.detach().clone(), clf.net_.optimizer_.state[head.weight]["exp_avg"].clone()
    before = clf._outputs(torch.as_tensor(X))
    clf.net_.resize_head(10)
    assert torch.equal(head.weight[:5], weight)
    # To the rounding: BLAS may have another kernel for ten outputs than for five.
    torch.testing.assert_close(clf._outputs(torch.as_tensor(X))[:, :5], before, rtol=1e-5, atol=1e-6)
    state = clf.net_.optimizer_.state[head.weight]
    assert torch.equal(state["exp_avg"][:5], moments) and not state["exp_avg"][5:].any()
    assert moments.any() and int(state["step"]) > 0
    assert any(p is head.weight for p in clf.net_.optimizer_.param_groups[0]["params"])


def test_growing_class_by_class_or_announced_uses_the_seen_outputs_only():
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = NaiveClassifier(make_net(), active_outputs="seen", random_state=0)
    clf.partial_fit(X[y < 5], y[y < 5], classes=np.arange(10))
    never_trained = clf.net_.module_.head.weight[5:].detach()
    fresh = NaiveClassifier(make_net(), random_state=0).initialize(X, np.arange(10)).net_.module_.head.weight[5:]
    assert torch.equal(never_trained, fresh.detach())
    everything = NaiveClassifier(make_net(), active_outputs="all", random_state=0)
    everything.partial_fit(X[y < 5], y[y < 5], classes=np.arange(10))
    assert not torch.equal(everything.net_.module_.head.weight[5:].detach(), fresh.detach())


def test_growth_that_fails_is_undone():
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = NaiveClassifier(make_net(), random_state=0).partial_fit(X[y < 5], y[y < 5])
    with pytest.raises(FloatingPointError):
        clf.partial_fit(X * 1e38, y)
    assert clf.net_.module_.head.out_features == 5 and clf.net_.module_.head.weight.shape == (5, 30)


# --- the net -----------------------------------------------------------------------------------------------------


def test_loop_equals_a_bare_torch_loop():
    X, y = DIGITS.X_train[:320], DIGITS.y_train[:320]
    clf = NaiveClassifier(make_net(max_epochs=0), random_state=0).fit(X, y)
    module = copy.deepcopy(clf.net_.module_)
    clf = NaiveClassifier(make_net(max_epochs=3), random_state=0).fit(X, y)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    generator = clf._torch_generator("order")
    for _ in range(3):
        for rows in torch.randperm(len(X), generator=generator).split(32):
            optimizer.zero_grad()
            F.cross_entropy(module(torch.as_tensor(X[rows])), torch.as_tensor(y[rows])).backward()
            optimizer.step()
    expected = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    torch.testing.assert_close(theta(clf), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "min_last", "sizes"),
    [
        (10, 4, 1, [4, 4, 2]),
        (9, 4, 2, [4, 5]),
        (9, 4, 1, [4, 4, 1]),
        (1, 4, 2, [1]),
        (8, 4, 2, [4, 4]),
        (5, -1, 1, [5]),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 64, 1 << 24])
def test_batches_cover_every_row_once(n_rows, batch_size, min_last, sizes, chunk_bytes, monkeypatch):
    monkeypatch.setattr(Batches, "chunk_bytes", chunk_bytes)
    rows = (torch.arange(n_rows), 10 * torch.arange(n_rows))
    batches = Batches(rows, batch_size, torch.Generator().manual_seed(0), min_last)
    found = list(batches)
    assert [len(x) for x, _ in found] == sizes and len(batches) == len(sizes)
    x, y = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert x.sort().values.tolist() == list(range(n_rows)) and torch.equal(y, 10 * x)


def test_pickle_of_a_net_is_not_larger_than_its_weights():
    clf = NaiveClassifier(make_net(module__hidden_units=(300, 300)), random_state=0).fit(DIGITS.X_train, DIGITS.y_train)
    usage = clf.memory_usage()
    assert len(pickle.dumps(clf)) < 1.3 * (usage["weights"] + usage["optimizer"])


def test_plain_skorch_classifier_with_callbacks_and_early_stopping():
    from skorch import NeuralNetClassifier
    from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler
    from skorch.dataset import ValidSplit

    class Softmax(nn.Sequential):
        def __init__(self, n_inputs, n_outputs):
            super().__init__(nn.Linear(n_inputs, n_outputs), nn.Softmax(dim=1))

    net = NeuralNetClassifier(
        Softmax,
        lr=0.5,
        max_epochs=50,
        verbose=0,
        batch_size=32,
        train_split=ValidSplit(5, stratified=True),
        callbacks=[
            ("stop", EarlyStopping(patience=2, threshold=0.05)),
            ("clip", GradientNormClipping(1.0)),
            ("rate", LRScheduler("StepLR", step_size=1, gamma=0.5)),
        ],
    )
    for cls in (NaiveClassifier, EWCClassifier, ReplayClassifier):
        stream = make_stream()
        clf = learned(cls(net, random_state=0), stream)
        assert 1 <= len(clf.net_.history) < 50
        assert clf.net_.history[0]["event_lr"] == 0.5  # the rate starts anew in each experience
        last = stream[-1]
        assert clf.score(last.X_test, last.y_test) > 0.8
        assert clf.predict_proba(last.X_test).max() <= 1


def test_callback_that_freezes_is_told_what_to_do():
    from skorch.callbacks import Freezer

    clf = EWCClassifier(make_net(callbacks=[Freezer("hidden.0.*", at=2)]), random_state=0)
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        clf.fit(DIGITS.X_train, DIGITS.y_train)
    assert not hasattr(clf, "net_")


def test_subclass_with_its_own_training_is_refused():
    from skorch import NeuralNetClassifier

    class Mine(NeuralNetClassifier):
        pass

    with pytest.raises(TypeError, match="ContinualNet"):
        NaiveClassifier(Mine(MLP)).fit(DIGITS.X_train, DIGITS.y_train)


def test_continual_net_is_a_skorch_net_of_its_own():
    net = make_net(module__n_inputs=64, module__n_outputs=10, max_epochs=20, lr=0.01)
    net.fit(DIGITS.X_train, DIGITS.y_train)
    assert net.score(DIGITS.X_test, DIGITS.y_test) > 0.9
    losses = net.history[:, "train_loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("max_steps", "epochs"), [(3, [3]), (10, [10]), (23, [10, 10, 3])])
def test_max_steps_counts_steps_instead_of_epochs(max_steps, epochs):
    clf = NaiveClassifier(make_net(max_steps=max_steps), random_state=0).fit(DIGITS.X_train[:320], DIGITS.y_train[:320])
    assert clf.net_.history[:, "train_batch_count"] == epochs
    assert int(next(iter(clf.net_.optimizer_.state.values()))["step"]) == max_steps


def test_reset_optimizer():
    X, y = DIGITS.X_train[:320], DIGITS.y_train[:320]
    kept, reset = (
        NaiveClassifier(make_net(reset_optimizer=r, max_epochs=1), random_state=0).partial_fit(X, y).partial_fit(X, y)
        for r in (False, True)
    )
    steps = [int(next(iter(clf.net_.optimizer_.state.values()))["step"]) for clf in (kept, reset)]
    assert steps == [20, 10]


# --- replay ------------------------------------------------------------------------------------------------------


def fill(memory, rows, labels, chunk, rng):
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        memory.add(rng, torch.as_tensor(rows[part]), torch.as_tensor(labels[part]))


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_reservoir_is_uniform(chunk):
    n_rows, capacity, n_trials = 60, 12, 3000 if chunk > 1 else 600
    rng = np.random.default_rng(0)
    kept = np.zeros(n_rows)
    for _ in range(n_trials):
        memory = ReplayMemory(capacity, "reservoir")
        fill(memory, np.arange(n_rows), np.zeros(n_rows, dtype=np.int64), chunk, rng)
        stored = memory.rows[0].numpy()
        assert len(np.unique(stored)) == len(memory) == capacity
        kept[stored] += 1
    # Draws without replacement vary less than independent ones, by (n - capacity) / n.
    expected = n_trials * capacity / n_rows
    statistic = ((kept - expected) ** 2 / (expected * (1 - capacity / n_rows))).sum() * (n_rows - 1) / n_rows
    assert 0.001 < stats.chi2.sf(statistic, n_rows - 1) < 0.999


def test_class_balanced_memory_has_equal_shares_and_is_uniform_within_a_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [100, 30, 2])
    kept = np.zeros(len(labels))
    for _ in range(1000):
        memory = ReplayMemory(12, "class_balanced")
        fill(memory, np.arange(len(labels)), labels, 25, rng)
        stored = memory.rows[0].numpy()
        assert np.bincount(labels[stored]).tolist() == [5, 5, 2]
        assert np.array_equal(labels[stored], memory.rows[1].numpy())
        kept[stored] += 1
    for label in (0, 1):
        counts = kept[labels == label]
        assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(
    ("sizes", "capacity", "shares"),
    [
        ([5, 5, 5], 9, [3, 3, 3]),
        ([1, 9, 9], 9, [1, 4, 4]),
        ([2, 2], 9, [2, 2]),
        ([9, 9], 3, [1, 2]),
        ([4], 0, [0]),
    ],
)
def test_fair_shares(sizes, capacity, shares):
    assert fair_shares(np.array(sizes), capacity).tolist() == shares


def test_memory_stays_within_buffer_size():
    for policy in ("reservoir", "class_balanced"):
        clf = ReplayClassifier(make_net(max_epochs=1), buffer_size=37, policy=policy, random_state=0)
        learned(clf, make_stream())
        assert len(clf.memory_) == 37
        assert len(clf.memory_.rows[0]) == 37


def test_memory_holds_rows_with_their_own_labels():
    clf = learned(ReplayClassifier(make_net(max_epochs=1), buffer_size=50, random_state=0), make_stream())
    names = clf.classes_[np.argsort(clf._columns_)]
    for row, column in zip(clf.memory_.rows[0].numpy(), clf.memory_.rows[1].numpy(), strict=True):
        source = np.flatnonzero((DIGITS.X_train == row).all(axis=1))
        assert names[column] in DIGITS.y_train[source]


def test_replay_loss_is_the_weighted_sum_of_two_means():
    clf = ReplayClassifier(make_net(max_epochs=1), replay_weight=0.3, random_state=0)
    learned(clf, make_stream(n_experiences=2))
    x, y = torch.as_tensor(DIGITS.X_test[:20]), torch.as_tensor(np.arange(20) % 10)
    x_memory, y_memory, groups = (t[:50] for t in clf.memory_.rows)
    module = clf.net_.module_
    loss = clf._loss(module, (x, y, x_memory, y_memory, groups))
    expected = 0.7 * F.cross_entropy(module(x), y) + 0.3 * F.cross_entropy(module(x_memory), y_memory)
    torch.testing.assert_close(loss, expected)


def test_replay_of_everything_approaches_joint_training():
    net = make_net(module__hidden_units=(100,), max_epochs=20)
    options = {"buffer_size": 2000, "replay_batch_size": 128, "replay_weight": "balanced", "random_state": 0}
    joint, replay = JointClassifier(net, random_state=0), ReplayClassifier(net, **options)
    scores = [accuracy(learned(clf, make_stream()), make_stream()) for clf in (joint, replay)]
    assert scores[0] - scores[1] < 0.02


def test_rows_in_memory_have_the_active_outputs_of_their_own_task():
    clf = learned(ReplayClassifier(make_net(max_epochs=1), random_state=0), make_stream("task"))
    _, y, groups = clf.memory_.rows
    for column, group in zip(y.tolist(), groups.tolist(), strict=True):
        assert column in clf.tasks_[group]


# --- LwF ---------------------------------------------------------------------------------------------------------


def test_distillation_loss_of_a_case_computed_by_hand():
    # Teacher (2 ln 3, 0) at T = 2: (3/4, 1/4); student (0, 0): (1/2, 1/2).
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120
    teacher, student = torch.tensor([[2 * np.log(3), 0.0]]), torch.zeros(1, 2)
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(0.1308120, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "scaled", "weights"),
    [
        (0.25, True, (0.25, 0.75 * 4)),
        (0.25, False, (0.25, 0.75)),
        ("balanced", True, (0.5, 0.5 * 4)),
    ],
)
def test_lwf_loss_equals_the_formula(alpha, scaled, weights):
    X, y = DIGITS.X_train, DIGITS.y_train
    old, new = y < 6, y >= 6
    clf = LwFClassifier(
        make_net(max_epochs=1), alpha=alpha, temperature=2.0, scale_by_temperature=scaled, random_state=0
    )
    clf.partial_fit(X[old], y[old])
    teacher = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(X[new], y[new])
    x, target = torch.as_tensor(X[new][:30]), torch.as_tensor(y[new][:30])
    loss = clf._loss(clf.net_.module_, (x, target, clf._outputs(x, clf.teacher_)))
    with torch.no_grad():
        p = (teacher(x) / 2).softmax(1)  # six classes were known
        q = (clf.net_.module_(x)[:, :6] / 2).softmax(1)
        kl = (p * (p.log() - q.log())).sum(1).mean()
        expected = weights[0] * F.cross_entropy(clf.net_.module_(x), target) + weights[1] * kl
    torch.testing.assert_close(loss.detach(), expected)


@pytest.mark.parametrize(("active", "n_old"), [("seen", 6), ("all", 10)])
def test_lwf_may_distil_among_all_active_outputs(active, n_old):
    X, y = DIGITS.X_train, DIGITS.y_train
    options = {"temperature": 2.0, "distilled_outputs": "active", "active_outputs": active, "random_state": 0}
    clf = LwFClassifier(make_net(max_epochs=1), **options).partial_fit(X[y < 6], y[y < 6], classes=np.arange(10))
    clf.partial_fit(X[y >= 6], y[y >= 6])
    x = torch.as_tensor(X[y >= 6][:30])
    student, teacher = clf._outputs(x), clf._outputs(x, clf.teacher_)
    # To the teacher, outputs that it had not in its softmax have probability 0; the student's softmax has all ten.
    p, q = (teacher[:, :n_old] / 2).softmax(1), (student / 2).softmax(1)[:, :n_old]
    torch.testing.assert_close(clf._distillation(student, teacher), (p * (p.log() - q.log())).sum(1).mean())


def test_lwf_distils_each_old_task_by_itself():
    clf = learned(LwFClassifier(make_net(max_epochs=1), temperature=1.0, random_state=0), make_stream("task"))
    x = torch.as_tensor(DIGITS.X_test[:30])
    student, teacher = clf._outputs(x), clf._outputs(x, clf.teacher_)
    kls = []
    for task in range(4):
        p, q = teacher[:, clf.tasks_[task]].softmax(1), student[:, clf.tasks_[task]].softmax(1)
        kls.append((p * (p.log() - q.log())).sum(1).mean())
    torch.testing.assert_close(clf._distillation(student, teacher), sum(kls) / 4, rtol=1e-4, atol=1e-6)


# --- isolation ---------------------------------------------------------------------------------------------------


def test_independent_networks_of_old_tasks_never_change():
    stream = list(make_stream("task"))
    clf = IndependentClassifier(make_net(), random_state=0)
    clf.partial_fit(stream[0].X_train, stream[0].y_train, task_id=0)
    before = clf.predict_proba(DIGITS.X_test, task_id=0)[:, :]
    for e in stream[1:]:
        clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    columns = np.isin(clf.classes_, stream[0].classes)
    assert np.array_equal(clf.predict_proba(DIGITS.X_test, task_id=0)[:, columns], before)
    assert len(clf.learners_) == 5


def test_independent_by_entropy_takes_the_most_certain_network():
    clf = learned(IndependentClassifier(make_net(max_epochs=5), random_state=0), make_stream())
    entropies, answers = [], []
    for learner in clf.learners_.values():
        p = learner.predict_proba(DIGITS.X_test)
        entropies.append(stats.entropy(p, axis=1) / np.log(p.shape[1]))
        answers.append(learner.predict(DIGITS.X_test))
    names = clf.classes_[np.argsort(clf._columns_)]
    expected = names[np.stack(answers)[np.argmin(entropies, axis=0), np.arange(len(DIGITS.X_test))]]
    assert np.array_equal(clf.predict(DIGITS.X_test), expected)


def test_independent_by_task_id_needs_one():
    clf = IndependentClassifier(make_net(max_epochs=1), integration="task_id", random_state=0)
    learned(clf, make_stream("task"))
    assert clf.strategy_info()["needs_task_id"]
    with pytest.raises(ValueError, match="needs the task_id"):
        clf.predict(DIGITS.X_test)


# --- closed form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
@pytest.mark.parametrize("n_chunks", [1, 3, 40])
@pytest.mark.parametrize("order", ["drawn", "sorted by class"])
def test_slda_equals_linear_discriminant_analysis(shrinkage, n_chunks, order):
    X, y = DIGITS.X_train.astype(np.float64), DIGITS.y_train
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X, y)
    rows = np.random.default_rng(0).permutation(len(X))
    if order == "sorted by class":
        rows = rows[np.argsort(y[rows], kind="stable")]
    clf = SLDAClassifier(shrinkage=shrinkage)
    for chunk in np.array_split(rows, n_chunks):
        clf.partial_fit(X[chunk], y[chunk])
    np.testing.assert_allclose(
        clf.decision_function(DIGITS.X_test), lda.decision_function(DIGITS.X_test), rtol=1e-4, atol=1e-4
    )


# --- sanity on real data -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_scores():
    """Average accuracy on split digits, class-incremental, 5 experiences, mean of 3 seeds."""
    net = make_net(module__hidden_units=(100,), max_epochs=20)
    strategies = {
        "naive": NaiveClassifier(net),
        "joint": JointClassifier(net),
        "replay": ReplayClassifier(net, buffer_size=200),
        "slda": SLDAClassifier(),
    }
    scores = {}
    for name, clf in strategies.items():
        found = []
        for seed in range(3):
            clf = copy.deepcopy(strategies[name])
            if name != "slda":
                clf.set_params(random_state=seed)
            stream = make_stream(random_state=seed)
            found.append(accuracy(learned(clf, stream), stream))
        scores[name] = np.mean(found)
    return scores


def test_sanity_on_split_digits(digits_scores):
    assert digits_scores["naive"] < 0.30
    assert digits_scores["joint"] > 0.93
    assert digits_scores["replay"] > 0.80
    lda = LinearDiscriminantAnalysis().fit(DIGITS.X_train, DIGITS.y_train)
    assert abs(digits_scores["slda"] - lda.score(DIGITS.X_test, DIGITS.y_test)) < 0.01
