"""Parameters that are set between calls; the battery tries all of every class, here is what each setting does."""

import threading

import numpy as np
import pytest
import torch
from helpers.battery import DIGITS
from skorch.callbacks import Callback, LRScheduler

from forgetless.estimators import (
    MLP,
    ContinualNet,
    ContinualRegressionNet,
    EWCClassifier,
    FirstSessionClassifier,
    FrozenClassifier,
    NaiveClassifier,
    ReplayClassifier,
    at_least,
)

X, Y = DIGITS.X_train[:100], DIGITS.y_train[:100]


@pytest.fixture
def clf():
    net = ContinualNet(MLP, module__hidden_units=(8,), max_epochs=2, optimizer=torch.optim.SGD, lr=0.1)
    return EWCClassifier(net, random_state=0).partial_fit(X, Y)


def test_the_rate_reaches_the_optimiser(clf):
    before = clf.net_.flatten().clone()
    clf.set_params(net__lr=0.0, ewc_lambda=0.0).partial_fit(X, Y)
    assert torch.equal(clf.net_.flatten(), before)


def test_options_of_the_optimiser_reach_it(clf):
    clf.set_params(net__optimizer__weight_decay=0.5).partial_fit(X, Y)
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == 0.5


def test_another_optimiser_takes_over(clf):
    clf.set_params(net__optimizer=torch.optim.Adam).partial_fit(X, Y)
    assert type(clf.net_.optimizer_) is torch.optim.Adam
    assert len(clf.net_.optimizer_.state) == len(clf.net_.trainable())


@pytest.mark.parametrize(("name", "n_epochs", "n_batches"), [("max_epochs", 5, 4), ("batch_size", 2, 50)])
def test_epochs_and_batches(clf, name, n_epochs, n_batches):
    clf.set_params(**{f"net__{name}": 5 if name == "max_epochs" else 2}).partial_fit(X, Y)
    assert clf.net_.history[:, "train_batch_count"] == [n_batches] * n_epochs


def test_callbacks_are_made(clf):
    clf.set_params(net__callbacks=[("rate", LRScheduler("StepLR", step_size=1, gamma=0.1))]).partial_fit(X, Y)
    np.testing.assert_allclose(clf.net_.optimizer_.param_groups[0]["lr"], 0.001)


class Locked(Callback):
    def __init__(self):
        self.lock = threading.Lock()


def test_a_callback_that_cannot_be_copied_is_said(clf):
    before = clf.net_.flatten().clone()
    clf.set_params(net__callbacks=[Locked()])
    with pytest.raises(TypeError, match=r"net cannot be copied: .*lock.*make it in the callback's initialize"):
        clf.partial_fit(X, Y)
    assert torch.equal(clf.net_.flatten(), before)
    clf.set_params(net__callbacks=None).partial_fit(X, Y)


def test_a_callback_that_is_set_to_none_is_switched_off(clf):
    clf.set_params(net__callbacks=[("rate", LRScheduler("StepLR", step_size=1, gamma=0.1))])
    clf.set_params(net__callbacks__rate=None).partial_fit(X, Y)
    assert "rate" not in dict(clf.net_.callbacks_)


def test_callbacks_of_two_estimators_are_their_own(clf):
    clf.set_params(net__callbacks=[("rate", LRScheduler("StepLR", step_size=1, gamma=0.1))]).partial_fit(X, Y)
    assert dict(clf.net_.callbacks_)["rate"] is not clf.net.callbacks[0][1]


def test_what_a_new_net_leaves_out_is_the_default_again(clf, capsys):
    clf.set_params(net__optimizer__weight_decay=0.5, net__criterion__label_smoothing=0.9, net__verbose=1)
    clf.set_params(net__callbacks__print_log=None).partial_fit(X, Y)
    assert "train_loss" not in capsys.readouterr().out
    net = ContinualNet(MLP, module__hidden_units=(8,), optimizer=torch.optim.SGD, verbose=1)
    clf.set_params(net=net).partial_fit(X, Y)
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == clf.net_.criterion_.label_smoothing == 0
    assert "train_loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    "clf", [NaiveClassifier(random_state=0), NaiveClassifier(ContinualNet(MLP, max_epochs=2), random_state=0)]
)
def test_no_net_is_the_default_net(clf):
    clf.fit(X, Y).set_params(net=None).partial_fit(X, Y)
    assert len(clf.net_.history) == 20 and clf.net_.lr == 0.01


@pytest.mark.parametrize("cls", [NaiveClassifier, FirstSessionClassifier])
@pytest.mark.parametrize("other", [ContinualNet(MLP, lr=0.01, max_epochs=20), None])
def test_what_the_network_is_made_of_is_refused_where_it_is_left_out(cls, other):
    clf = cls(ContinualNet(MLP, module__hidden_units=(8,), lr=0.01, max_epochs=20), random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"net__module__hidden_units has changed .* start anew with fit"):
        clf.set_params(net=other).partial_fit(X, Y)


def test_a_net_of_another_class_is_refused(clf):
    with pytest.raises(ValueError, match="was a ContinualNet and is a ContinualRegressionNet now"):
        clf.set_params(net=ContinualRegressionNet(MLP)).partial_fit(X, Y)


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("batch_size", 1.5), ("batch_size", -2), ("max_steps", 0), ("max_epochs", -1), ("lr", -1.0)],
)
def test_numbers_of_the_net_are_checked(clf, name, value):
    clf.set_params(**{f"net__{name}": value})
    for learn in (clf.partial_fit, clf.fit):
        with pytest.raises(ValueError, match=f"'{name}' parameter of ContinualNet must be .* Got {value}"):
            learn(X, Y)
    assert clf.n_experiences_ == 1


def test_the_criterion_is_made(clf):
    clf.set_params(net__criterion__label_smoothing=0.2).partial_fit(X, Y)
    assert clf.net_.criterion_.label_smoothing == 0.2


@pytest.mark.parametrize(
    ("name", "value"), [("net__module__hidden_units", (9,)), ("net__module", torch.nn.Linear), ("net__device", "meta")]
)
def test_what_the_network_is_made_of_is_refused(clf, name, value):
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match=f"{name} has changed .* start anew with fit"):
        clf.set_params(**{name: value}).partial_fit(X, Y)
    assert clf.n_experiences_ == 1
    assert np.array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize(("name", "value"), [("buffer_size", 20), ("policy", "ring"), ("random_state", 1)])
def test_what_was_made_at_the_first_call_is_refused(name, value):
    clf = ReplayClassifier(random_state=0).partial_fit(X, Y)
    with pytest.raises(ValueError, match=f"{name} was .* cannot become"):
        clf.set_params(**{name: value}).partial_fit(X, Y)
    clf.fit(X, Y)
    assert clf.n_experiences_ == 1


def test_the_same_value_again_is_no_change(clf):
    clf.set_params(net=ContinualNet(**clf.net.get_params(deep=False))).partial_fit(X, Y)
    assert clf.n_experiences_ == 2


@pytest.mark.parametrize("name", ["buffer_size", "replay_batch_size", "n_candidates"])
def test_true_is_no_whole_number(name):
    with pytest.raises(ValueError, match=f"'{name}' parameter .* an int in the range .* Got True"):
        ReplayClassifier(**{name: True}).fit(X, Y)
    assert at_least(0).is_satisfied_by(True)  # a strength of 1
    assert FrozenClassifier(pretrained=True).fit(X, Y).n_experiences_ == 1
