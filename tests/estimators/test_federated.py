"""Averaged networks are the mean of the weights, and nothing else of a site moves."""

import copy
import pickle

import numpy as np
import pytest
import torch

from forgetless.datasets import load_digits, site_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    ContinualRegressionNet,
    EWCClassifier,
    GDumbClassifier,
    HATClassifier,
    ICaRLClassifier,
    IndependentClassifier,
    NaiveClassifier,
    NaiveRegressor,
    NCMClassifier,
    RandomProjectionClassifier,
    ReplayClassifier,
    SLDAClassifier,
    average_networks,
)

DIGITS = load_digits()
SITES = list(site_stream(DIGITS, n_experiences=5, concentration=0.3, random_state=0))
NET = ContinualNet(MLP, module__hidden_units=(16,), module__batch_norm=True, lr=0.01, max_epochs=2)


def learned(estimator, site, **params):
    return copy.deepcopy(estimator).partial_fit(site.X_train, site.y_train, **params)


def states(models):
    return [{k: v.clone() for k, v in model.net_.module_.state_dict().items()} for model in models]


@pytest.mark.parametrize(
    "estimator",
    [NCMClassifier(), SLDAClassifier(shrinkage=0.1), RandomProjectionClassifier(200, ridge=1.0, random_state=0)],
    ids=["ncm", "slda", "random projection"],
)
def test_five_sites_merged_are_pooled_data(estimator):
    as_double = [(site.X_train.astype(np.float64), site.y_train) for site in SITES]
    merged, *others = (copy.deepcopy(estimator).partial_fit(*rows) for rows in as_double)
    for other in others:
        merged.merge(other)
    pooled = copy.deepcopy(estimator).partial_fit(*(np.concatenate(part) for part in zip(*as_double, strict=True)))
    assert merged.classes_.tolist() == pooled.classes_.tolist() == list(range(10))
    X = DIGITS.X_test.astype(np.float64)
    found, expected = merged.decision_function(X), pooled.decision_function(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("cls", [NaiveClassifier, ReplayClassifier, EWCClassifier])
def test_weights_are_the_weighted_mean(cls):
    models = [learned(cls(NET, random_state=0), site, classes=DIGITS.classes) for site in SITES[:3]]
    before, weights = states(models), [1, 3, 0]
    average_networks(models, weights)
    for model in models:
        for name, tensor in model.net_.module_.state_dict().items():
            if tensor.is_floating_point():
                expected = (before[0][name].double() + 3 * before[1][name].double()) / 4
                torch.testing.assert_close(tensor, expected.float(), rtol=1e-6, atol=1e-7)
    assert "running_mean" in "".join(before[0])  # statistics, too
    answers = [model.predict_proba(DIGITS.X_test) for model in models]
    assert all(np.array_equal(answers[0], other) for other in answers)
    assert set(models[0].predict(DIGITS.X_test)) - set(SITES[0].y_train)  # classes that the first has not seen
    for model, site in zip(models, SITES, strict=False):
        model.partial_fit(site.X_train, site.y_train)  # they go on, each with its own
    assert not np.array_equal(*(model.predict_proba(DIGITS.X_test) for model in models[:2]))


def test_no_row_moves():
    models = [learned(ReplayClassifier(NET, random_state=0), site, classes=DIGITS.classes) for site in SITES]
    memories = [model.memory_.stored().x.clone() for model in models]
    average_networks(models)
    for k, model in enumerate(models):
        assert torch.equal(model.memory_.stored().x, memories[k])
        others = np.concatenate([site.X_train for j, site in enumerate(SITES) if j != k])
        pickled = pickle.dumps(model)
        own = {row.tobytes() for row in SITES[k].X_train}
        assert not any(row.tobytes() in pickled for row in others if row.tobytes() not in own)


def test_equal_networks_stay_to_the_bit():
    model = learned(NaiveClassifier(NET, random_state=0), SITES[1])
    twins = [copy.deepcopy(model) for _ in range(3)]
    average_networks(twins, [0.1, 0.7, 0.3])
    assert np.array_equal(twins[0].predict_proba(DIGITS.X_test), model.predict_proba(DIGITS.X_test))


def test_regressors_are_averaged():
    net = ContinualRegressionNet(MLP, module__hidden_units=(4,), max_epochs=1)
    models = [NaiveRegressor(net, random_state=0).fit(s.X_train, s.y_train / 10) for s in SITES]
    heads = torch.stack([model.net_.module_.head.bias.detach() for model in models])
    average_networks(models)
    torch.testing.assert_close(models[3].net_.module_.head.bias.detach(), heads.mean(0))


@pytest.mark.parametrize("cls", [NCMClassifier, ICaRLClassifier, HATClassifier, GDumbClassifier, IndependentClassifier])
def test_answers_that_come_from_more_than_a_network_are_refused(cls):
    estimator = cls() if cls is NCMClassifier else cls(NET)
    with pytest.raises(TypeError, match=f"{cls.__name__} do not come from one network"):
        average_networks([estimator, estimator])


def test_what_does_not_fit_is_refused_and_changes_nothing():
    one = learned(NaiveClassifier(NET, random_state=0), SITES[1])
    before = one.predict_proba(DIGITS.X_test)
    wider = copy.deepcopy(NET).set_params(module__hidden_units=(17,))
    for others, weights, error, message in (
        ([learned(NaiveClassifier(wider), SITES[1])], None, ValueError, "shapes"),
        ([learned(NaiveClassifier(NET), SITES[0])], None, ValueError, "shapes|announce"),
        ([learned(EWCClassifier(NET), SITES[1])], None, TypeError, "of one class"),
        ([NaiveClassifier(NET)], None, ValueError, "not fitted"),
        ([one], [1], ValueError, "weights must be 2"),
        ([one], [1, -1], ValueError, "none is negative"),
        ([one], [0, 0], ValueError, "weights"),
        ([one], [1, np.nan], ValueError, "weights"),
    ):
        with pytest.raises(error, match=message):
            average_networks([one, *others], weights)
    with pytest.raises(ValueError, match="got none"):
        average_networks([])
    relabelled = NaiveClassifier(NET).fit(SITES[1].X_train, SITES[1].y_train + 1)
    with pytest.raises(ValueError, match="announce all classes"):
        average_networks([one, relabelled])
    assert np.array_equal(one.predict_proba(DIGITS.X_test), before)
