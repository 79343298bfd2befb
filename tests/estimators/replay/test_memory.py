"""What stays in a memory, and what is drawn from it."""

import inspect
from collections import deque

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS
from helpers.replay import greedy, make_net, make_stream
from scipy import stats

from forgetless.estimators import ContinualClassifier, all_estimators
from forgetless.estimators.engine.memory import POLICIES, MemoryStack, ReplayMemory, fair_shares, herding_order
from forgetless.estimators.engine.rows import Rows, stacked

WITH_MEMORY = {
    name: cls
    for name, cls in all_estimators()
    if inspect.signature(cls).parameters.keys() >= {"net", "buffer_size"} and issubclass(cls, ContinualClassifier)
}


BY_CLASS = [policy for policy in POLICIES if policy not in ("reservoir", "recent")]


def fill(memory, labels, chunk, features=None, rng=None):
    """Offer rows whose only feature is their number."""
    rng = rng or np.random.default_rng(0)
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        rows = Rows(x=torch.arange(len(labels))[part], y=torch.as_tensor(labels[part]))
        memory.add(rng, rows, features=None if features is None else features[part])
    return memory


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("chunk", [1, 7, 200])
@pytest.mark.parametrize("capacity", [0, 2, 12, 31, 500])
def test_memory_is_full_and_has_each_row_once_with_its_label(policy, chunk, capacity):
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 3], [100, 60, 38, 2]))
    features = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    memory = fill(ReplayMemory(capacity, policy), labels, chunk, features)
    assert len(memory) == min(capacity, len(labels))
    rows, stored_labels = memory.stored().x.numpy(), memory.stored().y.numpy()
    assert len(np.unique(rows)) == len(rows)
    assert np.array_equal(labels[rows], stored_labels)
    if policy in BY_CLASS and capacity == 31:
        assert sorted(np.bincount(stored_labels, minlength=4)) == [2, 9, 10, 10]


@pytest.mark.parametrize("chunk", [1, 7, 120])
def test_recent_has_the_last_rows(chunk):
    memory = fill(ReplayMemory(20, "recent"), np.random.default_rng(1).integers(0, 4, 120), chunk)
    assert sorted(memory.stored().x.tolist()) == list(range(100, 120))


@pytest.mark.parametrize("chunk", [1, 7, 120])
def test_ring_has_the_last_rows_of_each_class(chunk):
    labels = np.random.default_rng(1).integers(0, 4, 120)
    memory = fill(ReplayMemory(20, "ring"), labels, chunk)
    queues = {label: deque(maxlen=5) for label in range(4)}
    for row, label in enumerate(labels):
        queues[label].append(row)
    assert sorted(memory.stored().x.tolist()) == sorted(row for queue in queues.values() for row in queue)


def test_ring_counts_on_where_a_share_was_larger():
    """The first class fills the memory alone; its last rows stay when others come."""
    labels = np.repeat([0, 1, 2], 50)
    memory = fill(ReplayMemory(12, "ring"), labels, 10)
    assert sorted(memory.stored().x.tolist()) == [*range(46, 50), *range(96, 100), *range(146, 150)]


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
        memory.add(np.random.default_rng(0), Rows(x=rows, y=torch.as_tensor(labels)[rows]), features=features[rows])
        stored, stored_labels = memory.stored().x, memory.stored().y
        assert sorted(np.bincount(stored_labels)) == sorted(shares)
        for label, n_rows in enumerate(np.bincount(stored_labels)):
            members = np.flatnonzero(labels == label)
            expected = members[greedy(features[members], n_rows)]
            assert sorted(stored[stored_labels == label].tolist()) == sorted(expected)


def test_herding_over_calls_keeps_the_best_of_each_in_proportion():
    features = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    memory = ReplayMemory(30, "herding")
    for part in (np.arange(30), np.arange(30, 90)):
        rows = Rows(x=torch.as_tensor(part), y=torch.zeros(len(part), dtype=torch.int64))
        memory.add(np.random.default_rng(0), rows, features=features[part])
    expected = [*greedy(features[:30], 10), *(30 + np.array(greedy(features[30:], 20)))]
    assert sorted(memory.stored().x.tolist()) == sorted(expected)


def test_sample_without_replacement():
    memory = fill(ReplayMemory(10, "reservoir"), np.zeros(30, dtype=np.int64), 5)
    generator = torch.Generator().manual_seed(0)
    everything = memory.sample(99, generator, replacement=False).x
    assert sorted(everything.tolist()) == sorted(memory.stored().x.tolist())
    assert len(memory.sample(4, generator, replacement=False).x.unique()) == 4


@pytest.mark.parametrize("replacement", [True, False])
def test_a_draw_that_is_gathered_later_is_the_sample(replacement):
    memory = fill(ReplayMemory(10, "reservoir"), np.arange(30), 5)
    drawn = memory.draw(6, torch.Generator().manual_seed(0), replacement)
    rows = memory.sample(6, torch.Generator().manual_seed(0), replacement)
    assert len(drawn) == len(rows) == 6
    assert torch.equal(drawn.rows().x, rows.x) and torch.equal(drawn.rows().y, rows.y)


def test_widening_fills_with_what_was_never_stored():
    memory = ReplayMemory(3)
    memory.widen("logits", 4)  # nothing to widen yet
    assert memory.rows.names() == []
    rows = Rows(x=torch.arange(3), y=torch.zeros(3, dtype=torch.int64), logits=torch.ones(3, 2))
    memory.add(np.random.default_rng(0), rows)
    memory.widen("logits", 5)
    assert memory.rows.names() == ["x", "y", "logits"]
    logits = memory.stored().logits
    assert torch.equal(logits[:, :2], torch.ones(3, 2)) and logits[:, 2:].isnan().all() and logits.shape == (3, 5)


@pytest.mark.parametrize("policy", ["class_balanced", "ring"])
def test_rows_compete_in_pools_that_are_given(policy):
    """In place of their classes, of which there is one here."""
    memory = ReplayMemory(8, policy)
    for pool in (3, 5):
        rows = Rows(x=torch.arange(20), y=torch.zeros(20, dtype=torch.int64))
        memory.add(np.random.default_rng(0), rows, pools=np.full(20, pool))
    assert np.unique(memory.pools, return_counts=True)[1].tolist() == [4, 4]


def test_a_stack_of_memories_draws_what_each_would():
    memories = [fill(ReplayMemory(10, "reservoir"), np.zeros(n, dtype=np.int64), 5) for n in (30, 7)]
    own = [memory.sample(20, torch.Generator().manual_seed(k)) for k, memory in enumerate(memories)]
    stack = MemoryStack(memories)
    drawn = stack.gather([memory.draw(20, torch.Generator().manual_seed(k)) for k, memory in enumerate(memories)])
    assert drawn.names() == own[0].names()
    for k, rows in enumerate(own):
        assert torch.equal(rows.x, drawn.x[k]) and torch.equal(rows.y, drawn.y[k])
    memories[0].rows.x.zero_()
    assert not stack.rows.x[0].any() and stack.rows.x[1].any()  # still the memory's own rows
    stack.release()
    assert memories[0].rows.x.untyped_storage().nbytes() == memories[0].rows.x.nbytes


def test_a_stack_of_memories_takes_what_each_would():
    alone = [ReplayMemory(10) for _ in range(2)]
    memories = [ReplayMemory(10) for _ in range(2)]
    stack = MemoryStack(memories)
    rngs, own_rngs = ([np.random.default_rng(k) for k in range(2)] for _ in range(2))
    for start in range(0, 60, 12):  # before all of them store something, and later
        each = [Rows(x=torch.arange(12) + start + 100 * k, y=torch.arange(12) % 3) for k in range(2)]
        stack.add(rngs, stacked(each))
        for memory, rng, rows in zip(alone, own_rngs, each, strict=True):
            memory.add(rng, rows)
    for memory, one in zip(memories, alone, strict=True):
        assert torch.equal(memory.stored().x, one.stored().x) and torch.equal(memory.stored().y, one.stored().y)
        assert np.array_equal(memory.keys, one.keys)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", WITH_MEMORY)
@pytest.mark.parametrize("buffer_size", [3, 37])
def test_memory_stays_within_buffer_size(name, buffer_size, scenario):
    clf = WITH_MEMORY[name](make_net(max_epochs=1), buffer_size=buffer_size, random_state=0)
    kept = []
    for e in make_stream(scenario):
        clf.partial_fit(e.X_train[:20], e.y_train[:20], task_id=e.task_id)
        assert all(len(t) == buffer_size for t in clf.memory_.rows.tensors())
        kept.append(len(clf.memory_))
    assert kept == [min(buffer_size, n) for n in (20, 40, 60, 80, 100)]
    names = clf.classes_  # outputs are in the order in which classes came, which is sorted here
    stored = clf.memory_.stored()
    for row, output in zip(stored.x.numpy(), stored.y.numpy(), strict=True):
        sources = np.flatnonzero((DIGITS.X_train == row).all(axis=1))
        assert len(sources) and (scenario == "domain" or names[output] in DIGITS.y_train[sources])


@pytest.mark.parametrize(
    ("chunk", "n_rows", "capacity", "n_trials"), [(1, 20, 5, 600), (7, 20, 5, 3000), (60, 60, 12, 3000)]
)
def test_reservoir_is_uniform(chunk, n_rows, capacity, n_trials):
    rng = np.random.default_rng(0)
    kept = np.zeros(n_rows)
    for _ in range(n_trials):
        memory = ReplayMemory(capacity, "reservoir")
        fill(memory, np.zeros(n_rows, dtype=np.int64), chunk, rng=rng)
        stored = memory.rows.x.numpy()
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
        fill(memory, labels, 25, rng=rng)
        stored = memory.rows.x.numpy()
        assert np.bincount(labels[stored]).tolist() == [5, 5, 2]
        assert np.array_equal(labels[stored], memory.rows.y.numpy())
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
