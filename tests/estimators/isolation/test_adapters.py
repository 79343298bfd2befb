"""LoRA's adapters: what is trained, what stays, what a task costs, and how adapters become one."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, X, Y, make_net
from helpers.transformers import LABELS, TOKENS, Body
from torch import nn

from forgetless.estimators import AdapterClassifier, ContinualNet, EWCClassifier, LwFClassifier, TextNet

pytest.importorskip("peft", reason="needs forgetless[large]")

from forgetless.estimators.engine.lora import add_lora, lora_layers, merged


@pytest.fixture(scope="module")
def body():
    torch.manual_seed(0)
    return Body()


def two_tasks(clf):
    for task in range(2):
        clf.partial_fit(TOKENS, LABELS + 2 * task, task_id=task)
    return clf


@pytest.mark.parametrize("strategy", [EWCClassifier, LwFClassifier])
def test_a_shared_adapter_trains_under_two_percent_and_the_rest_stays_to_the_bit(strategy, body):
    before = copy.deepcopy(body.state_dict())
    net = ContinualNet(TextNet, module__model=body, module__lora_rank=1, lr=0.01, max_epochs=2)
    clf = strategy(net, random_state=0)
    for first in (0, 2):
        clf.partial_fit(TOKENS, LABELS + first)
    trained = sum(p.numel() for p in clf.net_.trainable())
    assert trained < 0.02 * sum(p.numel() for p in body.parameters())
    after = clf.net_.module_.body.state_dict()
    for name, value in before.items():
        layer, _, kind = name.rpartition(".")
        assert torch.equal(after[name if name in after else f"{layer}.base_layer.{kind}"], value), name
    matrices = [layer.lora_B["default"].weight for layer in lora_layers(clf.net_.module_)]
    assert len(matrices) == 5
    assert all(matrix.any() for matrix in matrices)
    assert all(torch.equal(value, body.state_dict()[name]) for name, value in before.items())


def test_an_adapter_for_each_task_and_the_frozen_weights_stay(body):
    net = ContinualNet(TextNet, module__model=body, lr=0.01, max_epochs=2)
    clf = two_tasks(AdapterClassifier(net, rank=1, targets=["query", "value"], random_state=0))
    after = clf.net_.module_.body.state_dict()
    for name, value in body.state_dict().items():
        layer, _, kind = name.rpartition(".")
        assert torch.equal(after[name if name in after else f"{layer}.base_layer.{kind}"], value), name
    assert sum(p.numel() for p in clf.net_.trainable()) < 0.02 * sum(p.numel() for p in body.parameters())
    assert sorted(clf.adapters_) == [0, 1]
    assert [tuple(part.shape) for part in clf.adapters_[0]] == [(1, 32), (32, 1)] * 2


def test_ten_tasks_cost_ten_adapters_and_no_more():
    clf = AdapterClassifier(make_net(max_epochs=1), rank=2, random_state=0)
    sizes = []
    for task in range(10):
        clf.partial_fit(X[Y == task], Y[Y == task], task_id=task)
        clf.partial_fit(X[Y == task], Y[Y == task], task_id=task)
        sizes.append(sum(clf.memory_usage().values()))
    assert len(clf.adapters_) == 10
    # Of the hidden layer A and B; a head of one output; sum and count of the features of one class.
    own = 2 * (64 + 30) + (30 + 1) + (30 + 1)
    assert np.diff(sizes).tolist() == [4 * own] * 9


def test_what_a_task_answers_is_not_changed_by_later_tasks():
    clf = AdapterClassifier(make_net(), rank=2, random_state=0).partial_fit(X[Y < 5], Y[Y < 5], task_id="a")
    before = clf.predict_proba(DIGITS.X_test, task_id="a")
    clf.partial_fit(X[Y >= 5], Y[Y >= 5], task_id="b")
    np.testing.assert_allclose(clf.predict_proba(DIGITS.X_test, task_id="a")[:, :5], before, atol=1e-6)
    assert not clf.predict_proba(DIGITS.X_test, task_id="a")[:, 5:].any()


def test_without_task_id_the_task_of_the_nearest_prototype_answers():
    clf = AdapterClassifier(make_net(), rank=2, random_state=0)
    for part, task in ((Y < 5, "a"), (Y >= 5, "b")):
        clf.partial_fit(X[part], Y[part], task_id=task)
    module = copy.deepcopy(clf.net_.module_)
    for layer in lora_layers(module):
        nn.init.zeros_(layer.lora_B["default"].weight)
    with torch.no_grad():
        features, rows = (module.hidden(torch.as_tensor(x, dtype=torch.float32)).numpy() for x in (X, DIGITS.X_test))
    prototypes = np.stack([features[Y == k].mean(axis=0) for k in range(10)])
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    is_first = (rows @ prototypes.T).argmax(axis=1) < 5
    expected = np.where(is_first, clf.predict(DIGITS.X_test, task_id="a"), clf.predict(DIGITS.X_test, task_id="b"))
    assert np.array_equal(clf.predict(DIGITS.X_test), expected)
    assert clf.set_params(routing="entropy").predict(DIGITS.X_test).shape == expected.shape


def low_rank(seed, rank=2):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in ((rank, 6), (5, rank)))


def test_averaged_adapters_are_the_nearest_matrix_of_the_rank_to_the_mean_of_their_differences():
    one, other = low_rank(0), low_rank(1)
    a, b = merged([one, other], [0.75, 0.25], "average")
    u, s, v = np.linalg.svd((0.75 * one[1] @ one[0] + 0.25 * other[1] @ other[0]).numpy())
    np.testing.assert_allclose((b @ a).numpy(), u[:, :2] * s[:2] @ v[:2], atol=1e-5)
    assert (a.shape, b.shape) == ((2, 6), (5, 2))
    a, b = merged([one, one], [0.5, 0.5], "average")
    np.testing.assert_allclose((b @ a).numpy(), (one[1] @ one[0]).numpy(), atol=1e-5)


def test_ties_by_hand():
    differences = [(adapter[1] @ adapter[0]).numpy() for adapter in (low_rank(2, 5), low_rank(3, 5))]
    kept = []
    for difference in differences:
        least = np.sort(np.abs(difference), axis=None)[-6]  # a fifth of 30 entries
        kept.append(np.where(np.abs(difference) >= least, difference, 0))
    sign = np.sign(np.sum(kept, axis=0))
    agrees = [np.sign(k) == sign for k in kept]
    expected = np.sum([np.where(a, k, 0) for a, k in zip(agrees, kept, strict=True)], axis=0)
    expected /= np.maximum(np.sum([a & (k != 0) for a, k in zip(agrees, kept, strict=True)], axis=0), 1)
    a, b = merged([low_rank(2, 5), low_rank(3, 5)], [0.5, 0.5], "ties")
    np.testing.assert_allclose((b @ a).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("merging", ["average", "ties"])
def test_a_budget_of_adapters_is_kept_and_tasks_share_what_was_merged(merging):
    free = AdapterClassifier(make_net(max_epochs=1), rank=2, random_state=0)
    tight = AdapterClassifier(make_net(max_epochs=1), rank=2, max_adapters=2, merging=merging, random_state=0)
    for task in range(3):
        for clf in (free, tight):
            clf.partial_fit(X[Y // 2 == task], Y[Y // 2 == task], task_id=task)
    assert [tight.parts_[task]["adapter"] for task in range(3)] == [0, 0, 2]
    by_hand = merged([free.adapters_[0], free.adapters_[1]], [0.5, 0.5], merging)
    assert all(torch.equal(*pair) for pair in zip(tight.adapters_[0], by_hand, strict=True))
    assert all(torch.equal(*pair) for pair in zip(tight.adapters_[2], free.adapters_[2], strict=True))
    tight.partial_fit(X[Y // 2 == 0], Y[Y // 2 == 0], task_id=0)
    assert len(tight.adapters_) == 2
    assert tight.parts_[0]["adapter"] != 0 or tight.parts_[1]["adapter"] != 2


def test_errors_say_what_to_do(body):
    with pytest.raises(ValueError, match="no linear layers named 'nothing'"):
        AdapterClassifier(make_net(), targets=["nothing"]).fit(X, Y)
    with pytest.raises(ValueError, match="LoRA's matrices already"):
        AdapterClassifier(ContinualNet(TextNet, module__model=body, module__lora_rank=1)).fit(TOKENS, LABELS)
    module = nn.Sequential(nn.Conv1d(1, 1, 1))
    with pytest.raises(ValueError, match="has no linear layers"):
        add_lora(module, 2)
