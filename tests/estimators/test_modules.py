"""Modules as users write them: lazy, recurrent, shared and computed weights; and those that are refused, with why."""

import warnings

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, make_net
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from forgetless.estimators import (
    MLP,
    AdapterClassifier,
    ContinualBackpropClassifier,
    ContinualNet,
    ContinualRegressionNet,
    EWCClassifier,
    FeatureDistillationClassifier,
    FirstSessionClassifier,
    HATClassifier,
    ICaRLClassifier,
    IndependentClassifier,
    NaiveClassifier,
    NaiveRegressor,
    PackNetClassifier,
    ReplayClassifier,
    ShrinkPerturbClassifier,
    UPGDClassifier,
)

X, Y = DIGITS.X_train[:160], DIGITS.y_train[:160]


class Network(nn.Module):
    """Two layers, and a head of which the rest of the tests vary what comes before and after."""

    def __init__(self, n_inputs=64, n_outputs=10, first=None, second=None):
        super().__init__()
        self.first = first or nn.Linear(n_inputs, 16)
        self.second = second or nn.Linear(16, 16)
        self.head = nn.Linear(16, n_outputs)

    def features(self, x):
        return self.second(self.first(x).relu()).relu()

    def forward(self, x):
        return self.head(self.features(x))


class Lazy(Network):
    def __init__(self, n_outputs=10):
        super().__init__(1, n_outputs, nn.LazyLinear(16))


class Recurrent(nn.Module):
    def __init__(self, n_outputs=10):
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.head(self.rnn(x.reshape(-1, 8, 8))[0][:, -1])


class Words(Network):
    def __init__(self, n_outputs=10, **options):
        super().__init__(8, n_outputs)
        self.words = nn.Embedding(17, 8, **options)

    def features(self, x):
        return super().features(self.words(x.long()).mean(1))


class Shared(Network):
    def __init__(self, n_inputs=64, n_outputs=10):
        super().__init__(n_inputs, n_outputs)
        self.third = nn.Linear(16, 16)
        self.third.weight = self.second.weight

    def features(self, x):
        return self.third(super().features(x)).relu()


class Normalized(Network):
    def __init__(self, n_inputs=64, n_outputs=10):
        super().__init__(n_inputs, n_outputs, weight_norm(nn.Linear(n_inputs, 16)), spectral_norm(nn.Linear(16, 16)))


class NormalizedOnce(Network):
    """Has a tensor that is computed from a weight, as the old torch.nn.utils.weight_norm leaves one."""

    def __init__(self, n_inputs=64, n_outputs=10):
        super().__init__(n_inputs, n_outputs)
        self.normalized = self.first.weight / self.first.weight.norm()


class NormalizedHead(Network):
    def __init__(self, n_inputs=64, n_outputs=10):
        super().__init__(n_inputs, n_outputs)
        self.head = weight_norm(self.head)


class Pair(Network):
    def forward(self, x):
        return super().forward(x), self.features(x)


class Features(Network):
    def forward(self, x):
        return self.features(x)


class Probabilities(Network):
    def forward(self, x):
        return super().forward(x).softmax(-1)


class Flat(Network):
    def forward(self, x):
        return super().forward(x)[:, 0]


class Unhappy(Network):
    """Zeros are no row for it."""

    def forward(self, x):
        if not x.any(1).all():
            raise ValueError("an empty row")
        return super().forward(x)


def net(module, **params):
    return ContinualNet(module, **{"lr": 0.01, "max_epochs": 3, **params})


@pytest.mark.parametrize("module", [Lazy, Recurrent, Shared, Normalized, Unhappy])
@pytest.mark.parametrize("cls", [NaiveClassifier, EWCClassifier, ReplayClassifier])
def test_modules_of_any_layers_learn_and_grow(cls, module):
    clf = cls(net(module, max_epochs=12), random_state=0).partial_fit(X[Y < 5], Y[Y < 5])
    assert clf.score(X[Y < 5], Y[Y < 5]) > 0.6
    clf.partial_fit(X[Y >= 5], Y[Y >= 5])
    assert clf.net_.module_.head.out_features == 10
    if module is Lazy:
        twin = cls(net(module, max_epochs=12), random_state=0).partial_fit(X[Y < 5], Y[Y < 5])
        assert np.array_equal(twin.partial_fit(X[Y >= 5], Y[Y >= 5]).predict_proba(X), clf.predict_proba(X))


def test_fisher_of_a_recurrent_network_is_that_of_its_rows_one_by_one():
    clf = EWCClassifier(net(Recurrent), fisher="empirical", random_state=0).partial_fit(X[:20], Y[:20], task_id="a")
    module = clf.net_.module_
    expected = 0
    for x, y in zip(torch.from_numpy(X[:20]), torch.from_numpy(np.searchsorted(clf.classes_, Y[:20])), strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(x[None]), y[None]).backward()
        expected = expected + torch.cat([p.grad.flatten() ** 2 for p in clf.net_.trainable()]) / 20
    clf.partial_fit(X[20:40], Y[20:40], task_id="b")  # which consolidates the first
    n_weights = sum(p.numel() for p in module.rnn.parameters())
    torch.testing.assert_close(clf.importance_[:n_weights], expected[:n_weights], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (NaiveClassifier(net(Pair)), ValueError, "returns a tuple"),
        (NaiveClassifier(net(Features)), ValueError, r"returns the shape \(1, 16\).*head 'head' has 5"),
        (NaiveRegressor(ContinualRegressionNet(Flat)), ValueError, r"returns the shape \(1,\)"),
        (NaiveClassifier(net(MLP, criterion=nn.NLLLoss)), ValueError, "NLLLoss is given probabilities"),
        (NaiveClassifier(net(torch.jit.script(Network()))), TypeError, "TorchScript"),
        (PackNetClassifier(net(Normalized)), TypeError, "the layer 'first' is computed"),
        (HATClassifier(net(Normalized)), TypeError, "the layer 'first' is computed"),
        (ContinualBackpropClassifier(net(Normalized)), TypeError, "the layer 'first' is computed"),
        (NaiveClassifier(net(NormalizedOnce())), TypeError, r"cannot be copied.*parametrizations\.weight_norm, whose"),
        (HATClassifier(net(Shared)), TypeError, "two layers share a weight"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_what_a_strategy_cannot_work_with_is_said(estimator, error, message):
    with pytest.raises(error, match=message):
        estimator.partial_fit(X[Y < 5], Y[Y < 5])
    assert not hasattr(estimator, "net_")


@pytest.mark.parametrize("noisy", [UPGDClassifier, ShrinkPerturbClassifier])
def test_noise_leaves_paddings_as_they_are(noisy):
    clf = noisy(net(Words, module__padding_idx=3), noise_std=0.1, random_state=0).partial_fit(X, Y)
    words = clf.net_.module_.words.weight
    assert words[3].eq(0).all() and words[[2, 4]].ne(0).all()


def test_a_module_of_a_task_that_cannot_be_copied_is_said():
    clf = IndependentClassifier(net(NormalizedOnce()))
    with pytest.raises(TypeError, match=r"cannot be copied.*parametrizations\.weight_norm, whose"):
        clf.partial_fit(X[Y < 5], Y[Y < 5], task_id=0)


def test_a_head_whose_weight_is_computed_cannot_grow():
    clf = NaiveClassifier(net(NormalizedHead), random_state=0).partial_fit(X[Y < 5], Y[Y < 5])
    before = clf.predict_proba(X)
    with pytest.raises(TypeError, match="the layer 'head' is computed"):
        clf.partial_fit(X, Y)
    assert np.array_equal(clf.predict_proba(X), before)
    NaiveClassifier(net(NormalizedHead), random_state=0).partial_fit(X[Y < 5], Y[Y < 5], classes=range(10))


def test_packnet_prunes_a_shared_weight_once():
    clf = PackNetClassifier(net(Shared), random_state=0)
    for task, classes in enumerate([Y < 5, Y >= 5]):
        clf.partial_fit(X[classes], Y[classes], task_id=task)
    assert list(clf.owners_) == ["first.weight", "second.weight"]


class Scaled(Network):
    """Probabilities that are not finite for a row of zeros."""

    def forward(self, x):
        return super().forward(x / x.norm(dim=-1, keepdim=True)).softmax(-1)


def test_a_row_of_zeros_alone_refuses_nothing():
    NaiveClassifier(net(Scaled, criterion=nn.NLLLoss), random_state=0).partial_fit(X, Y)


def test_one_class_has_the_probability_one():
    clf = NaiveClassifier(net(Probabilities, criterion=nn.NLLLoss), random_state=0).partial_fit(X[Y == 0], Y[Y == 0])
    assert clf.partial_fit(X, Y).score(X, Y) > 0.2


class CosineHead(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight))


class Cosine(Network):
    def __init__(self, n_inputs=64, n_outputs=10):
        super().__init__(n_inputs, n_outputs)
        self.head = CosineHead(16, n_outputs)


class HeadByItsWeight(Network):
    def forward(self, x):
        return CosineHead.forward(self.head, self.features(x))


@pytest.mark.parametrize(
    "cls", [AdapterClassifier, FeatureDistillationClassifier, FirstSessionClassifier, ICaRLClassifier]
)
def test_features_are_known_where_the_head_is_called(cls):
    with pytest.raises(ValueError, match=r"without calling it.*self\.head\(features\)"):
        cls(net(HeadByItsWeight), random_state=0).partial_fit(X[Y < 5], Y[Y < 5]).partial_fit(X, Y)
    assert cls(net(Cosine), random_state=0).partial_fit(X[Y < 5], Y[Y < 5]).partial_fit(X, Y).score(X, Y) > 0.2


class NormalizedByBatch(Network):
    def __init__(self, n_inputs=64, n_outputs=10):
        second = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16, track_running_stats=False))
        super().__init__(n_inputs, n_outputs, second=second)


def test_a_few_rows_are_normalised_by_themselves_alone():
    clf = NaiveClassifier(net(NormalizedByBatch), random_state=0).partial_fit(X, Y)
    expected = clf.net_.module_(torch.as_tensor(X[:5])).softmax(1).detach()
    np.testing.assert_allclose(clf.predict_proba(X[:5]), expected, rtol=1e-5)


def test_probabilities_where_logits_are_wanted_are_told():
    with pytest.warns(UserWarning, match="seems to return probabilities"):
        NaiveClassifier(net(Probabilities), random_state=0).partial_fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NaiveClassifier(net(Probabilities, criterion=nn.NLLLoss), random_state=0).partial_fit(X, Y)
        NaiveClassifier(make_net(), random_state=0).partial_fit(X, Y)
