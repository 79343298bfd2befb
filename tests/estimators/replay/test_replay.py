"""Experience replay against mathematics that is computed in another way."""

import copy

import numpy as np
import pytest
import torch
from helpers import replay
from helpers.estimators import DIGITS, accuracy, learned, loss_of_call, make_net, make_stream
from helpers.estimators import call as arguments_of
from helpers.replay import greedy, unit_features
from torch.nn import functional as F

from forgetless.estimators import JointClassifier, ReplayClassifier
from forgetless.estimators.engine.rows import Rows


def test_memory_stays_within_buffer_size():
    for policy in ("reservoir", "class_balanced"):
        clf = ReplayClassifier(make_net(max_epochs=1), buffer_size=37, policy=policy, random_state=0)
        learned(clf, make_stream())
        assert len(clf.memory_) == 37
        assert len(clf.memory_.rows) == 37


def test_memory_holds_rows_with_their_own_labels():
    stream = make_stream()
    clf = learned(ReplayClassifier(make_net(max_epochs=1), buffer_size=50, random_state=0), stream)
    names = np.concatenate([np.unique(e.y_train) for e in stream])  # outputs are in the order in which classes came
    for row, output in zip(clf.memory_.rows.x.numpy(), clf.memory_.rows.y.numpy(), strict=True):
        source = np.flatnonzero((DIGITS.X_train == row).all(axis=1))
        assert names[output] in DIGITS.y_train[source]


def test_replay_loss_is_the_weighted_sum_of_two_means(draws):
    clf = ReplayClassifier(make_net(max_epochs=1), replay_weight=0.3, replay_batch_size=50, random_state=0)
    learned(clf, replay.make_stream(n_experiences=2))
    x, y = DIGITS.X_test[:20], np.arange(20) % 10
    loss, module = loss_of_call(clf, x, y), clf.net_.module_
    memory = draws[-1]
    assert len(memory) == 50
    new = F.cross_entropy(module(torch.as_tensor(x)), torch.as_tensor(y))
    expected = 0.7 * new + 0.3 * F.cross_entropy(module(memory.x), memory.y)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_replay_of_everything_approaches_joint_training():
    net = make_net(module__hidden_units=(100,), max_epochs=20)
    options = {"buffer_size": 2000, "replay_batch_size": 128, "replay_weight": "balanced", "random_state": 0}
    joint, replay = JointClassifier(net, random_state=0), ReplayClassifier(net, **options)
    scores = [accuracy(learned(clf, make_stream()), make_stream()) for clf in (joint, replay)]
    assert scores[0] - scores[1] < 0.02


def test_rows_in_memory_have_the_active_outputs_of_their_own_task():
    clf = learned(ReplayClassifier(make_net(max_epochs=1), random_state=0), make_stream("task"))
    stored = clf.memory_.stored()
    for output, group in zip(stored.y.tolist(), stored.groups.tolist(), strict=True):
        assert output in clf.tasks_[group]


def test_replay_herds_in_the_features_of_the_network_after_training():
    X, y = DIGITS.X_train[:100], DIGITS.y_train[:100] % 2
    clf = ReplayClassifier(replay.make_net(), buffer_size=20, policy="herding", random_state=0).fit(X, y)
    stored, labels = clf.memory_.stored().x.numpy(), clf.memory_.stored().y.numpy()
    for label in (0, 1):
        members = X[y == label]
        expected = members[greedy(unit_features(clf.net_.module_, members), 10)]
        assert np.array_equal(np.unique(stored[labels == label], axis=0), np.unique(expected, axis=0))


# --- maximally interfered retrieval ------------------------------------------------------------------------------


def retrieved(clf):
    """Rows that are retrieved for a first batch of new rows, which are all rows of a call."""
    call = clf.open_call(DIGITS.X_train[:32], DIGITS.y_train[:32])
    clf.start_training(call)
    call.generator = torch.Generator().manual_seed(5)
    batch = Rows(x=call.rows.x, y=call.rows.y)
    clf.before_step(call, batch)
    return batch.memory


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_mir_picks_the_rows_whose_loss_rises_most(dropout):
    net = replay.make_net(module__dropout=dropout, lr=0.05, optimizer=torch.optim.SGD)
    clf = ReplayClassifier(net, retrieval="mir", n_candidates=50, replay_batch_size=7, random_state=0)
    learned(clf, replay.make_stream(n_experiences=2))
    clf.net_.module_.train()
    picked = retrieved(clf)

    x, y = torch.as_tensor(DIGITS.X_train[:32]), torch.as_tensor(DIGITS.y_train[:32])
    candidates = clf.memory_.stored().take(torch.randperm(200, generator=torch.Generator().manual_seed(5))[:50])
    module = copy.deepcopy(clf.net_.module_).eval()
    before = F.cross_entropy(module(candidates.x), candidates.y, reduction="none")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    F.cross_entropy(module(x), y).backward()
    optimizer.step()
    rise = F.cross_entropy(module(candidates.x), candidates.y, reduction="none") - before
    assert torch.equal(candidates.x[rise.argsort(descending=True)[:7]], picked.x)


@pytest.mark.parametrize("criterion", [{"weight": torch.arange(10.0)}, {"ignore_index": 0}, {"label_smoothing": 0.1}])
def test_mir_takes_no_rows_that_have_no_weight(criterion):
    net = replay.make_net(**{f"criterion__{name}": value for name, value in criterion.items()})
    clf = ReplayClassifier(net, retrieval="mir", replay_batch_size=10, random_state=0)
    drawn = []

    def choose(before, after, n_rows):
        places = ReplayClassifier.most_interfered(clf, before, after, n_rows)
        drawn.append((before[places], after[places]))
        return places

    clf.most_interfered = choose
    for _ in range(2):
        clf.partial_fit(DIGITS.X_train[:300], DIGITS.y_train[:300], classes=range(10))
    assert drawn
    assert all(torch.isfinite(losses).all() for each in drawn for losses in each)


def test_mir_leaves_network_and_batch_statistics_alone():
    net = replay.make_net(module__batch_norm=True, module__dropout=0.2)
    clf = learned(ReplayClassifier(net, retrieval="mir", random_state=0), replay.make_stream(n_experiences=2))
    clf.net_.module_.train()
    before = copy.deepcopy(clf.net_.module_.state_dict())
    assert len(retrieved(clf)) == 32
    assert all(torch.equal(before[name], t) for name, t in clf.net_.module_.state_dict().items())
    assert all(layer.training for layer in clf.net_.module_.modules())


def test_mir_knows_the_active_outputs_of_each_row():
    stream = replay.make_stream("task")
    clf = learned(ReplayClassifier(replay.make_net(), retrieval="mir", random_state=0), stream)
    call = clf.open_call(**arguments_of(stream[-1]))
    clf.start_training(call)
    outputs, stored = torch.randn(200, 10), clf.memory_.stored()
    y, groups = stored.y, stored.groups
    expected = [
        F.cross_entropy(row[clf.tasks_[int(group)]][None], torch.tensor([clf.tasks_[int(group)].tolist().index(label)]))
        for row, label, group in zip(outputs, y.tolist(), groups, strict=True)
    ]
    torch.testing.assert_close(call.objective.row_losses(outputs, y, groups), torch.stack(expected))
