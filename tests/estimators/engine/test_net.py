"""The net: growing, its loop, what it takes from skorch."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, learned, make_net, make_stream, theta
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import MLP, ContinualNet, EWCClassifier, NaiveClassifier, ReplayClassifier, Rows
from forgetless.estimators.engine.loop import Batches
from forgetless.estimators.engine.modules import lone_rows


def test_growing_keeps_weights_outputs_and_optimiser_state():
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = NaiveClassifier(make_net(), random_state=0).partial_fit(X[y < 5], y[y < 5])
    head = clf.net_.module_.head
    weight, moments = head.weight.detach().clone(), clf.net_.optimizer_.state[head.weight]["exp_avg"].clone()
    before = clf.net_.module_(torch.as_tensor(X)).detach()
    clf.net_.resize_head(10)
    assert torch.equal(head.weight[:5], weight)
    # To the rounding: BLAS may have another kernel for ten outputs than for five.
    torch.testing.assert_close(clf.net_.module_(torch.as_tensor(X)).detach()[:, :5], before, rtol=1e-5, atol=1e-6)
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


def test_loop_equals_a_bare_torch_loop():
    X, y = DIGITS.X_train[:320], DIGITS.y_train[:320]
    clf = NaiveClassifier(make_net(max_epochs=0), random_state=0).fit(X, y)
    module = copy.deepcopy(clf.net_.module_)
    clf = NaiveClassifier(make_net(max_epochs=3), random_state=0).fit(X, y)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    generator = NaiveClassifier(random_state=0).open_call(X, y).torch_generator("order")
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
    rows = Rows(x=torch.arange(n_rows), y=10 * torch.arange(n_rows))
    batches = Batches(rows, batch_size, torch.Generator().manual_seed(0), min_last)
    found = list(batches)
    assert [len(batch) for batch in found] == sizes and len(batches) == len(sizes)
    x, y = (torch.cat([getattr(batch, name) for batch in found]) for name in ("x", "y"))
    assert x.sort().values.tolist() == list(range(n_rows)) and torch.equal(y, 10 * x)


def test_batch_normalisation_goes_on_training_after_a_lone_row_also_one_that_fails():
    layer = nn.BatchNorm1d(3)
    with lone_rows([layer]):
        assert torch.equal(layer(torch.ones(1, 3)), F.batch_norm(torch.ones(1, 3), torch.zeros(3), torch.ones(3)))
        assert layer.training
        with pytest.raises(RuntimeError, match="4 elements"):
            layer(torch.ones(1, 4))
        assert layer.training


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_modules_of_another_precision_are_refused(dtype):
    clf = NaiveClassifier(ContinualNet(MLP(64, 10).to(dtype)))
    with pytest.raises(ValueError, match=rf"hidden\.0\.weight is of {dtype}.*module\.float\(\)"):
        clf.partial_fit(DIGITS.X_train[:9], DIGITS.y_train[:9])
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
