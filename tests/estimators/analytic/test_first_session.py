"""A network that learns the first rows, and a closed form on its features."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, NEW, OLD, X, Y, make_net
from sklearn.covariance import oas
from sklearn.exceptions import NotFittedError

from forgetless.estimators import FirstSessionClassifier, NCMClassifier


def clf(**params):
    return FirstSessionClassifier(make_net(lr=0.01, max_epochs=5), random_state=0, **params)


def hidden(model, rows):
    """What the one hidden layer makes of rows, from its weights alone."""
    layer = model.net_.module_.hidden[0]
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    return np.maximum(rows.astype(np.float64) @ weight.T + bias, 0)


def test_it_is_discriminant_analysis_on_the_features_of_the_first_call():
    model = clf().partial_fit(X[OLD], Y[OLD])
    weights = [p.detach().clone() for p in model.net_.module_.parameters()]
    for rows in np.array_split(np.flatnonzero(NEW), 4):
        model.partial_fit(X[rows], Y[rows])
    assert all(map(torch.equal, weights, model.net_.module_.parameters()))
    features = hidden(model, X)
    means = np.stack([features[Y == c].mean(axis=0) for c in range(10)])
    inverse = np.linalg.inv(oas(features - means[Y], assume_centered=True)[0])
    scores = hidden(model, DIGITS.X_test) @ inverse @ means.T - 0.5 * np.einsum("ci,ij,cj->c", means, inverse, means)
    scores += np.log(np.bincount(Y) / len(Y))
    ours = model.decision_function(DIGITS.X_test)
    np.testing.assert_allclose(ours - ours[:, :1], scores - scores[:, :1], rtol=1e-3, atol=1e-3)
    # The network has learned, and its features are worth more than the nearest mean of the pixels.
    assert model.score(DIGITS.X_test, DIGITS.y_test) > 0.9
    assert model.score(DIGITS.X_test, DIGITS.y_test) > NCMClassifier().fit(X, Y).score(DIGITS.X_test, DIGITS.y_test)


def test_the_network_is_the_one_that_plain_training_gives():
    """As many steps as epochs and batches ask for, on the rows of the first call."""
    model = clf().partial_fit(X[OLD], Y[OLD])
    assert len(model.net_.history) == 5
    logits = model.net_.module_(torch.as_tensor(DIGITS.X_test)).argmax(1).numpy()
    assert np.mean(logits[DIGITS.y_test < 5] == DIGITS.y_test[DIGITS.y_test < 5]) > 0.95


def test_the_loss_of_the_first_call_may_have_numbers_of_classes_that_come_later():
    weight = np.linspace(1, 3, 10)
    model = clf().set_params(net__criterion__weight=torch.tensor(weight, dtype=torch.float32))
    model.partial_fit(X[NEW], Y[NEW], classes=np.arange(10)).partial_fit(X[OLD], Y[OLD])
    alone = clf().set_params(net__criterion__weight=torch.tensor(weight[5:], dtype=torch.float32))
    alone.partial_fit(X[NEW], Y[NEW]).partial_fit(X[OLD], Y[OLD])
    np.testing.assert_array_equal(hidden(model, X), hidden(alone, X))


def test_rows_are_unlearned_and_models_of_one_network_merged():
    begun = clf(covariance="per_class").partial_fit(X[OLD], Y[OLD])
    parts = np.array_split(np.flatnonzero(NEW), 2)
    whole, one, other = (copy.deepcopy(begun) for _ in range(3))
    whole.partial_fit(X[NEW], Y[NEW])
    one.partial_fit(X[parts[0]], Y[parts[0]])
    other.partial_fit(X[parts[1]], Y[parts[1]]).unlearn(X[OLD], Y[OLD])
    merged = one.merge(other)
    np.testing.assert_allclose(
        merged.decision_function(DIGITS.X_test), whole.decision_function(DIGITS.X_test), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="features differ"):
        whole.merge(FirstSessionClassifier(make_net(), random_state=1).fit(X, Y))


@pytest.mark.parametrize("change", [{"net__lr": 0.5}, {"net": None}, {"net__module__hidden_units": (9,)}])
def test_another_network_is_refused_later(change):
    model = clf().partial_fit(X[OLD], Y[OLD])
    twin = copy.deepcopy(model)
    with pytest.raises(ValueError, match="has changed since the first call"):
        model.set_params(**change).partial_fit(X[NEW], Y[NEW])
    assert np.array_equal(model.decision_function(X), twin.decision_function(X))


def test_a_first_call_that_diverges_leaves_an_unfitted_estimator():
    model = clf().set_params(net__lr=1e38)
    with pytest.raises(FloatingPointError, match="net__lr"):
        model.partial_fit(X[OLD], Y[OLD])
    with pytest.raises(NotFittedError):
        model.predict(X)
