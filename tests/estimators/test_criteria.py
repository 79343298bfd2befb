"""Criteria of the user's own: which outputs they see, and in which order their numbers for classes are."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from forgetless.datasets import load_digits
from forgetless.estimators import (
    MLP,
    ContinualNet,
    DERClassifier,
    ERACEClassifier,
    EWCClassifier,
    GDumbClassifier,
    IndependentClassifier,
    JointClassifier,
    MERClassifier,
    NaiveClassifier,
    PackNetClassifier,
    ReplayClassifier,
    partial_fit_together,
)

DIGITS = load_digits()
X, Y = DIGITS.X_train[:400], DIGITS.y_train[:400]


class Focal(nn.Module):
    """Focal loss, which looks at the label's probability only, with a number for each class."""

    def __init__(self, gamma=2.0, alpha=None):
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits, y):
        log_p = logits.log_softmax(1).gather(1, y[:, None]).squeeze(1)
        weight = 1.0 if self.alpha is None else self.alpha[y]
        return (-weight * (1 - log_p.exp()) ** self.gamma * log_p).mean()


class EntropyPenalty(nn.Module):
    """Cross-entropy less the entropy of the answer: looks at all outputs."""

    def forward(self, logits, y):
        log_p = logits.log_softmax(1)
        return F.cross_entropy(logits, y) + 0.1 * (log_p.exp() * log_p).sum(1).mean()


class Widths(nn.Module):
    """Notes how many columns it was given."""

    seen = []

    def forward(self, logits, y):
        assert 0 <= int(y.min()) and int(y.max()) < logits.shape[1]
        Widths.seen.append(logits.shape[1])
        return F.cross_entropy(logits, y)


def net(**params):
    return ContinualNet(MLP, module__hidden_units=(12,), **{"lr": 0.01, "max_epochs": 3, **params})


def still(clf):
    """The net makes one step of length 0 on all rows: its history has the loss of a call."""
    return clf.set_params(net__lr=0.0, net__max_epochs=1, net__batch_size=-1)


CRITERIA = {
    "label smoothing": (nn.CrossEntropyLoss, {"label_smoothing": 0.1}),
    "focal": (Focal, {}),
    "entropy": (EntropyPenalty, {}),
    "margin": (nn.MultiMarginLoss, {}),
}


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("scenario", ["announced", "tasks"])
def test_criterion_sees_the_active_outputs_only(name, scenario):
    kind, params = CRITERIA[name]
    clf = NaiveClassifier(net(criterion=kind, **{f"criterion__{k}": v for k, v in params.items()}), random_state=0)
    classes = np.arange(10)
    # Classes that come out of order, so that outputs and columns differ.
    calls = [(Y >= 6, "b"), ((Y == 1) | (Y == 3), "a")]
    for rows, task in calls:
        arguments = {"task_id": task} if scenario == "tasks" else {"classes": classes}
        still(clf).partial_fit(X[rows], Y[rows], **arguments)
    rows, _ = calls[-1]
    active = [1, 3] if scenario == "tasks" else [1, 3, 6, 7, 8, 9]
    outputs = clf.class_outputs_[np.searchsorted(clf.classes_, active)]
    with torch.no_grad():
        logits = clf.net_.module_(torch.as_tensor(X[rows]))[:, outputs]
        expected = kind(**params)(logits, torch.as_tensor(np.searchsorted(active, Y[rows])))
    assert clf.net_.history[-1, "train_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_label_smoothing_by_hand():
    clf = still(NaiveClassifier(net(criterion__label_smoothing=0.2), random_state=0))
    rows = Y < 3
    clf.partial_fit(X[rows], Y[rows], classes=np.arange(10))
    p = clf.predict_proba(X[rows])[:, :3]
    targets = 0.8 * np.eye(3)[Y[rows]] + 0.2 / 3
    assert clf.net_.history[-1, "train_loss"] == pytest.approx(-(targets * np.log(p)).sum(1).mean(), rel=1e-5)


def test_smoothing_and_weights_are_as_torch_has_them():
    weight = torch.linspace(0.5, 2, 10)
    clf = still(NaiveClassifier(net(criterion__label_smoothing=0.2, criterion__weight=weight), random_state=0))
    rows = (Y == 2) | (Y == 7)
    clf.partial_fit(X[rows], Y[rows], classes=np.arange(10))
    with torch.no_grad():
        logits = clf.net_.module_(torch.as_tensor(X[rows]))[:, [2, 7]]
    y = torch.as_tensor(np.searchsorted([2, 7], Y[rows]))
    expected = F.cross_entropy(logits, y, weight=weight[[2, 7]], label_smoothing=0.2)
    assert clf.net_.history[-1, "train_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_rows_of_several_tasks_have_each_the_columns_of_their_own():
    Widths.seen.clear()
    clf = ReplayClassifier(net(criterion=Widths, max_epochs=1), random_state=0)
    for task, rows in (("a", Y < 2), ("b", (Y >= 2) & (Y < 5)), ("c", Y >= 5)):
        clf.partial_fit(X[rows], Y[rows], task_id=task)
    assert set(Widths.seen) == {2, 3, 5}


@pytest.mark.parametrize("retrieval", ["uniform", "mir"])
def test_loss_of_rows_of_several_tasks_is_the_mean_over_all(retrieval):
    # A criterion that is cross-entropy in disguise learns what cross-entropy learns.
    plain, disguised = (
        ReplayClassifier(net(criterion=kind, max_epochs=2), retrieval=retrieval, random_state=0)
        for kind in (nn.CrossEntropyLoss, Widths)
    )
    for task, rows in (("a", Y < 2), ("b", (Y >= 2) & (Y < 5)), ("c", Y >= 5)):
        for clf in (plain, disguised):
            clf.partial_fit(X[rows], Y[rows], task_id=task)
    torch.testing.assert_close(plain.net_.flatten(), disguised.net_.flatten(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "cls", [NaiveClassifier, EWCClassifier, ReplayClassifier, DERClassifier, ERACEClassifier, MERClassifier]
)
@pytest.mark.parametrize("name", CRITERIA)
def test_every_kind_of_method_learns_with_it(cls, name):
    kind, params = CRITERIA[name]
    arguments = {f"criterion__{k}": v for k, v in params.items()}
    clf = cls(net(criterion=kind, lr=0.03, max_epochs=8, **arguments), random_state=0)
    for rows in (Y < 2, (Y == 2) | (Y == 3)):
        clf.partial_fit(X[rows], Y[rows], classes=np.arange(10))
    last = (Y == 2) | (Y == 3)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert clf.score(X[last], Y[last]) > 0.8


@pytest.mark.parametrize("cls", [NaiveClassifier, ReplayClassifier, ERACEClassifier])
@pytest.mark.parametrize("name", CRITERIA)
def test_stacked_seeds_learn_with_it_as_alone(cls, name):
    kind, params = CRITERIA[name]
    arguments = {f"criterion__{k}": v for k, v in params.items()}
    alone = [cls(net(criterion=kind, **arguments), random_state=seed) for seed in range(2)]
    stacked = copy.deepcopy(alone)
    for task, rows in (("a", Y < 3), ("b", (Y >= 3) & (Y < 5))):
        call = {"X": X[rows], "y": Y[rows], "task_id": task}
        assert partial_fit_together(stacked, [call] * 2)
        for clf in alone:
            clf.partial_fit(**call)
    for one, other in zip(alone, stacked, strict=True):
        torch.testing.assert_close(one.net_.flatten(), other.net_.flatten(), rtol=1e-3, atol=2e-4)


def test_plain_cross_entropy_is_given_all_outputs_with_minus_infinity():
    class Plain(nn.CrossEntropyLoss):  # another type: goes by columns
        pass

    plain, by_columns = (
        NaiveClassifier(net(criterion=kind), random_state=0).partial_fit(X[Y < 5], Y[Y < 5], classes=np.arange(10))
        for kind in (nn.CrossEntropyLoss, Plain)
    )
    torch.testing.assert_close(plain.net_.flatten(), by_columns.net_.flatten(), rtol=1e-4, atol=1e-5)


# --- numbers for classes ----------------------------------------------------------------------------------------------

WEIGHTED = {
    "cross-entropy": lambda w: {"criterion__weight": w},
    "with smoothing": lambda w: {"criterion__weight": w, "criterion__label_smoothing": 0.1},
    "own criterion": lambda w: {"criterion": Focal, "criterion__alpha": w},
}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weights_are_in_the_order_of_classes_whatever_the_order_of_outputs(kind):
    weight = torch.tensor([1.0, 5.0, 0.2, 3.0])
    rows = Y < 4
    # Announced, the outputs are sorted; as they come, classes 2 and 3 have the first two.
    sorted_, as_they_come = (NaiveClassifier(net(**WEIGHTED[kind](weight)), random_state=0) for _ in range(2))
    still(sorted_).partial_fit(X[rows], Y[rows])
    some = (Y == 2) | (Y == 3)
    still(as_they_come).set_params(**{f"net__{k}": v for k, v in WEIGHTED[kind](weight[2:]).items()})
    as_they_come.partial_fit(X[some], Y[some])
    assert as_they_come.class_outputs_.tolist() == [0, 1]
    [name] = [k for k, v in WEIGHTED[kind](weight).items() if v is weight]
    setattr(as_they_come.net_.criterion_, name.removeprefix("criterion__"), weight)
    as_they_come.partial_fit(X[rows], Y[rows])
    assert as_they_come.class_outputs_.tolist() == [2, 3, 0, 1]
    # The same loss, of the same outputs, by a criterion that knows no order.
    with torch.no_grad():
        logits = as_they_come.net_.module_(torch.as_tensor(X[rows]))[:, as_they_come.class_outputs_]
        params = {k.removeprefix("criterion__"): v for k, v in WEIGHTED[kind](weight).items() if k != "criterion"}
        expected = WEIGHTED[kind](weight).get("criterion", nn.CrossEntropyLoss)(**params)(
            logits, torch.as_tensor(Y[rows])
        )
    assert as_they_come.net_.history[-1, "train_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("n_numbers", [2, 10])
def test_another_number_of_weights_than_of_classes_is_an_error_that_names_the_classes(kind, n_numbers):
    clf = NaiveClassifier(net(**WEIGHTED[kind](torch.ones(n_numbers))), random_state=0)
    with pytest.raises(ValueError, match=r"criterion__\w+ has \d+ numbers, but 5 classes are known: \[0, 1, 2, 3, 4\]"):
        clf.partial_fit(X[Y < 5], Y[Y < 5])
    assert not hasattr(clf, "net_")


@pytest.mark.parametrize(
    "cls", [NaiveClassifier, JointClassifier, GDumbClassifier, IndependentClassifier, PackNetClassifier]
)
def test_weights_for_announced_classes_raise_the_recall_of_the_rare_one(cls):
    rng = np.random.default_rng(0)
    y = np.array(["a", "z", "rare"])[np.where(np.arange(400) % 20 == 0, 2, np.arange(400) % 2)]
    x = (1.3 * np.eye(3)[np.searchsorted(["a", "rare", "z"], y)] + rng.normal(size=(400, 3))).astype(np.float32)
    weight = torch.as_tensor(compute_class_weight("balanced", classes=np.unique(y), y=y)).float()
    recalls = []
    for w in (torch.ones(3), weight):
        clf = cls(net(criterion__weight=w, max_epochs=20), random_state=0).partial_fit(x, y, classes=["z", "rare", "a"])
        recalls.append((clf.predict(x)[y == "rare"] == "rare").mean())
    assert recalls[1] > recalls[0] + 0.2


@pytest.mark.parametrize("cls", [IndependentClassifier, PackNetClassifier, GDumbClassifier])
def test_networks_of_a_part_of_the_classes_have_the_weights_of_these(cls):
    # All weight on class 0: a network that has it says nothing else, whatever the order in which tasks came.
    weight = torch.tensor([1e4, 1.0, 1.0, 1.0])
    clf = cls(net(criterion__weight=weight, max_epochs=60), random_state=0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    y = rng.integers(2, size=80)
    for task, first in (("late", 2), ("early", 0)):
        clf.partial_fit(x, y + first, classes=[0, 1, 2, 3], task_id=task)
    assert (clf.predict(x, task_id="early") == 0).mean() > 0.95
    assert 0.05 < (clf.predict(x, task_id="late") == 2).mean() < 0.95


def test_seeds_whose_weights_are_in_another_order_are_not_stacked():
    weight = torch.tensor([1.0, 5.0, 0.2, 3.0])
    alone = [NaiveClassifier(net(criterion__weight=weight[:2]), random_state=seed) for seed in range(2)]
    for clf, first in zip(alone, ([0, 1], [2, 3]), strict=True):
        rows = np.isin(Y, first)
        clf.partial_fit(X[rows], Y[rows])
        clf.net_.criterion_.weight = weight
    stacked = copy.deepcopy(alone)
    rows = Y < 4
    assert not partial_fit_together(stacked, [{"X": X[rows], "y": Y[rows]}] * 2)
    for one, other in zip(alone, stacked, strict=True):
        one.partial_fit(X[rows], Y[rows])
        assert torch.equal(one.net_.flatten(), other.net_.flatten())


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("given_as", [torch.from_numpy, np.asarray, list])
def test_weights_as_numpy_computes_them_are_those_of_single_precision(alone, given_as):
    array = compute_class_weight("balanced", classes=np.unique(Y), y=Y)
    weight = torch.from_numpy(array)
    learned = [NaiveClassifier(net(criterion__weight=w), random_state=0) for w in (given_as(array), weight.float())]
    for clf in learned:
        if alone:
            clf.partial_fit(X, Y)
        else:
            partial_fit_together([clf], [{"X": X, "y": Y}])
    assert weight.dtype == torch.float64
    assert torch.equal(*(clf.net_.flatten() for clf in learned))


class Noisy(nn.Module):
    """A criterion that draws."""

    def forward(self, logits, y):
        return F.cross_entropy(logits + 0.5 * torch.randn(logits.shape), y)


class Shaking(Callback):
    """A callback that draws."""

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            net.module_.head.bias += 0.1 * torch.randn(net.module_.head.bias.shape)


@pytest.mark.parametrize(
    "params", [{"criterion": Noisy}, {"callbacks": [("shaking", Shaking())]}], ids=["criterion", "callback"]
)
def test_what_criteria_and_callbacks_draw_comes_from_the_seed(params):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(NaiveClassifier(net(**params), random_state=0).partial_fit(X, Y).predict_proba(X))
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(*found)
    assert not np.array_equal(found[0], NaiveClassifier(net(), random_state=0).partial_fit(X, Y).predict_proba(X))


def test_weights_survive_a_pickle():
    clf = NaiveClassifier(net(criterion__weight=torch.tensor([1.0, 5.0])), random_state=0).fit(X[Y < 2], Y[Y < 2])
    twin = pickle.loads(pickle.dumps(clf))
    for each in (clf, twin):
        each.partial_fit(X[Y < 2], Y[Y < 2])
    assert torch.equal(clf.net_.flatten(), twin.net_.flatten())


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, logits, y):
        return F.cross_entropy(logits / self.temperature, y)


def test_criteria_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match="part of the module"):
        NaiveClassifier(net(criterion=Learned)).fit(X, Y)
    with pytest.raises(ValueError, match="reduction"):
        NaiveClassifier(net(criterion__reduction="none")).fit(X, Y)


class Counting(nn.Module):
    """Has a buffer that changes, and behaves otherwise in training than in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, logits, y):
        if self.training:
            self.n_calls += 1
        return F.cross_entropy(logits, y)


def test_state_of_a_criterion_is_part_of_the_transaction_and_validation_is_evaluation():
    from skorch.dataset import ValidSplit

    clf = NaiveClassifier(
        net(criterion=Counting, max_epochs=1, batch_size=-1, train_split=ValidSplit(4)), random_state=0
    )
    clf.partial_fit(X, Y)
    assert clf.net_.criterion_.n_calls == 1 and clf.net_.criterion_.training
    with pytest.raises(FloatingPointError):
        clf.partial_fit(X * 1e38, Y)
    assert clf.net_.criterion_.n_calls == 1
