"""Feature and relation distillation against mathematics that is computed in another way."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import NEW, OLD, X, Y, make_net, theta
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    ContinualNet,
    FeatureDistillationClassifier,
    LwFClassifier,
    NaiveClassifier,
    RelationDistillationClassifier,
)

make_net = partial(make_net, module__hidden_units=(20,), max_epochs=2)


def taught(clf, x):
    """The extra field of a batch: the teacher's features, here by a forward pass of its own."""
    return clf.teacher_.hidden(x)


# --- the teacher -------------------------------------------------------------------------------------------------


class NoHead(nn.Module):
    """A user's module: no attribute `head`, dropout, batch norm, and something after the last linear layer."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, n_outputs)
        )
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * self.layers(x)


@pytest.mark.parametrize("cls", [FeatureDistillationClassifier, RelationDistillationClassifier])
def test_teacher_is_the_old_network_in_evaluation_mode_seen_once_a_call(cls):
    calls = []

    class Recording(cls):
        def network_features(self, x, module=None):
            calls.append((x, super().network_features(x, module)))
            return calls[-1][1]

    clf = Recording(ContinualNet(NoHead, max_epochs=2), random_state=0).partial_fit(X[OLD], Y[OLD])
    assert not calls and "teacher" not in clf.memory_usage()
    old = copy.deepcopy(clf.net_.module_).eval()
    clf.partial_fit(X[NEW], Y[NEW])
    (rows, features), *others = calls
    assert not others
    with torch.no_grad():
        torch.testing.assert_close(features, old.layers[:4](rows))
    for a, b in zip(clf.teacher_.state_dict().values(), old.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not clf.teacher_.training and not any(p.requires_grad for p in clf.teacher_.parameters())
    n_bytes = sum(t.numel() * t.element_size() for t in old.state_dict().values())
    assert clf.memory_usage()["teacher"] == n_bytes


def test_one_teacher_for_all_three():
    """Until the second experience, nothing is distilled; then all three start from one teacher."""
    classes = LwFClassifier, FeatureDistillationClassifier, RelationDistillationClassifier
    teachers = [
        cls(make_net(), random_state=0).partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW]).teacher_
        for cls in classes
    ]
    naive = NaiveClassifier(make_net(), random_state=0).partial_fit(X[OLD], Y[OLD]).net_.module_
    for teacher in teachers:
        for a, b in zip(teacher.parameters(), naive.parameters(), strict=True):
            assert torch.equal(a, b)


# --- features ----------------------------------------------------------------------------------------------------


def test_feature_distillation_step_equals_autograd_by_hand():
    lam, lr = 0.8, 0.1
    net = make_net(optimizer=torch.optim.SGD, lr=lr, max_epochs=3, batch_size=-1)
    clf = FeatureDistillationClassifier(net, strength=lam, random_state=0).partial_fit(X[:300], Y[:300])
    old = copy.deepcopy(clf.net_.module_)
    x, y = torch.as_tensor(X[300:]), torch.as_tensor(Y[300:])
    clf.partial_fit(X[300:], Y[300:])
    w1, b1, w2, b2 = (p.detach().clone().requires_grad_() for p in old.parameters())
    for _ in range(3):
        h = torch.relu(x @ w1.T + b1)
        h_old = torch.relu(x @ old.hidden[0].weight.T + old.hidden[0].bias).detach()
        squares = sum((h[:, k] - h_old[:, k]) ** 2 for k in range(20))
        loss = F.cross_entropy(h @ w2.T + b2, y) + 0.5 * lam * squares.mean()
        gradients = torch.autograd.grad(loss, (w1, b1, w2, b2))
        w1, b1, w2, b2 = (
            (p - lr * g).detach().requires_grad_() for p, g in zip((w1, b1, w2, b2), gradients, strict=True)
        )
    expected = torch.cat([p.detach().reshape(-1) for p in (w1, b1, w2, b2)])
    torch.testing.assert_close(theta(clf), expected)
    assert not torch.allclose(w1, old.hidden[0].weight, atol=1e-3)


def test_features_move_less_with_strength():
    drifts = []
    for strength in [0.0, 0.1, 1.0, 10.0]:
        clf = FeatureDistillationClassifier(make_net(lr=0.01), strength=strength, random_state=0)
        clf.partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
        x = torch.as_tensor(X[NEW])
        with torch.no_grad():
            drifts.append(float((clf.net_.module_.hidden(x) - taught(clf, x)).norm(dim=1).mean()))
    assert drifts == sorted(drifts, reverse=True) and drifts[-1] < drifts[0] / 3


# --- relations ---------------------------------------------------------------------------------------------------


def huber(a, b):
    return 0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def relation_losses(student, teacher):
    """L_D and L_A of Park et al. by loops over pairs and triples."""

    def distance(h, i, j):
        return np.sqrt(((h[i] - h[j]) ** 2).sum())

    def cosine(h, i, j, k):
        return (h[i] - h[j]) @ (h[k] - h[j]) / (distance(h, i, j) * distance(h, k, j))

    rows = range(len(student))
    pairs, triples = list(itertools.permutations(rows, 2)), list(itertools.permutations(rows, 3))
    mean_s, mean_t = (np.mean([distance(h, *pair) for pair in pairs]) for h in (student, teacher))
    by_distance = np.mean(
        [huber(distance(student, *pair) / mean_s, distance(teacher, *pair) / mean_t) for pair in pairs]
    )
    by_angle = np.mean([huber(cosine(student, *triple), cosine(teacher, *triple)) for triple in triples])
    return by_distance, by_angle


@pytest.mark.parametrize(("n_rows", "n_features", "noise"), [(3, 2, 0.3), (8, 5, 0.3), (9, 2, 30.0), (6, 40, 1.0)])
def test_relations_equal_a_loop_over_pairs_and_triples(n_rows, n_features, noise):
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(n_rows, n_features)) + 3
    student = teacher + noise * rng.normal(size=teacher.shape)
    student[0] *= 20  # an outlier, so that Huber's loss is linear somewhere
    by_distance, by_angle = relation_losses(student, teacher)
    for weights in [(1.0, 0.0), (0.0, 1.0), (2.5, 0.7)]:
        clf = RelationDistillationClassifier(distance_weight=weights[0], angle_weight=weights[1])
        loss = clf.feature_loss(torch.as_tensor(student), torch.as_tensor(teacher))
        assert float(loss) == pytest.approx(weights[0] * by_distance + weights[1] * by_angle, rel=1e-9)
    assert by_distance > 0.01 and by_angle > 0.01


def test_relations_ignore_where_features_lie_how_they_are_turned_and_scaled():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(12, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    clf = RelationDistillationClassifier()
    moved, other = 7 * h @ turn + rng.normal(size=6), rng.normal(size=(12, 6))
    assert float(clf.feature_loss(torch.as_tensor(moved), torch.as_tensor(h))) < 1e-20
    assert float(clf.feature_loss(torch.as_tensor(other), torch.as_tensor(h))) > 1


@pytest.mark.parametrize(
    "h",
    [torch.zeros(5, 3), torch.ones(1, 3), torch.eye(2, 3), torch.eye(3)[[0, 0, 1, 2, 2]]],
    ids=["all coincide", "one row", "two rows", "some coincide"],
)
def test_relations_of_rows_that_coincide_have_a_finite_gradient(h):
    student = (h.clone() * 2).requires_grad_()
    loss = RelationDistillationClassifier().feature_loss(student, h + torch.tensor([0.0, 1.0, 2.0]))
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, student)[0]).all()
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_relation_distillation_step_equals_autograd_of_differences():
    """Gradients of the whole step, against distances and angles from differences of rows, as the paper writes them."""
    net = make_net(optimizer=torch.optim.SGD, lr=0.05, max_epochs=2, batch_size=-1)
    clf = RelationDistillationClassifier(net, distance_weight=3.0, angle_weight=5.0, random_state=0)
    clf.partial_fit(X[:300], Y[:300])
    module, old = copy.deepcopy(clf.net_.module_), copy.deepcopy(clf.net_.module_)
    x, y = torch.as_tensor(X[300:330]), torch.as_tensor(Y[300:330])
    clf.partial_fit(X[300:330], Y[300:330])
    n = len(x)
    different = ~torch.eye(n, dtype=torch.bool)
    for _ in range(2):
        relations = []
        for network in (module, old):
            h = network.hidden(x)
            differences = h[:, None] - h[None]  # entry (i, j)
            d = (differences.square().sum(2) + torch.eye(n)).sqrt() * different
            e = differences / (d + torch.eye(n))[:, :, None]
            relations.append((d / (d.sum() / (n * (n - 1))), torch.einsum("ijf,kjf->ijk", e, e)))
        (d, a), (d_old, a_old) = relations
        by_distance = F.smooth_l1_loss(d, d_old.detach(), reduction="sum") / (n * (n - 1))
        by_angle = F.smooth_l1_loss(a, a_old.detach(), reduction="sum") / (n * (n - 1) * (n - 2))
        loss = F.cross_entropy(module(x), y) + 3 * by_distance + 5 * by_angle
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for p, g in zip(module.parameters(), gradients, strict=True):
                p -= 0.05 * g
    torch.testing.assert_close(theta(clf), torch.cat([p.detach().reshape(-1) for p in module.parameters()]))


def test_relations_hold_better_with_weight():
    losses = []
    for weight in [0.0, 1.0, 100.0]:
        clf = RelationDistillationClassifier(
            make_net(lr=0.01), distance_weight=weight, angle_weight=2 * weight, random_state=0
        )
        clf.partial_fit(X[OLD], Y[OLD]).partial_fit(X[NEW], Y[NEW])
        x = torch.as_tensor(X[NEW][:60])
        with torch.no_grad():
            student, teacher = clf.net_.module_.hidden(x), taught(clf, x)
        measure = RelationDistillationClassifier(distance_weight=1, angle_weight=2)
        losses.append(float(measure.feature_loss(student, teacher)))
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 3


@pytest.mark.parametrize("cls", [FeatureDistillationClassifier, RelationDistillationClassifier])
def test_last_batch_of_one_row(cls):
    clf = cls(make_net(), random_state=0).partial_fit(X[:65], Y[:65]).partial_fit(X[65:98], Y[65:98])
    assert clf.n_experiences_ == 2 and torch.isfinite(theta(clf)).all()
