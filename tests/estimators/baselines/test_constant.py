"""Baselines that do not look at the row, against scikit-learn's own and against the definition."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from forgetless.estimators import LastLabelClassifier, LastValueRegressor, MajorityClassifier, MeanRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
WORDS = np.array(["b", "c", "a", "d"])[RNG.choice(4, 60, p=[0.35, 0.35, 0.2, 0.1])]


def learned(estimator, y, order=slice(None), n_calls=7):
    for rows, targets in zip(np.array_split(X[order], n_calls), np.array_split(y[order], n_calls), strict=True):
        estimator.partial_fit(rows, targets)
    return estimator


@pytest.mark.parametrize("n_calls", [1, 7, 60])
def test_majority_is_that_of_all_rows_in_any_order(n_calls):
    whole = DummyClassifier(strategy="prior").fit(X, WORDS)
    clf = learned(MajorityClassifier(), WORDS, RNG.permutation(60), n_calls)
    assert clf.classes_.tolist() == whole.classes_.tolist()
    assert np.array_equal(clf.predict(X), whole.predict(X))
    np.testing.assert_allclose(clf.predict_proba(X), whole.predict_proba(X), rtol=1e-12)
    assert clf.counts_.tolist() == [(WORDS == word).sum() for word in clf.classes_]


def test_majority_of_a_task_is_among_its_classes():
    clf = (
        MajorityClassifier().partial_fit(X[:5], list("aabbb"), task_id=1).partial_fit(X[:6], list("cddcdd"), task_id=2)
    )
    assert [clf.predict(X[:1], task_id=task)[0] for task in (None, 1, 2)] == ["d", "b", "d"]
    np.testing.assert_allclose(clf.predict_proba(X[:1], task_id=1), [[0.4, 0.6, 0, 0]])


@pytest.mark.parametrize("n_calls", [1, 7, 60])
def test_mean_is_that_of_all_rows_in_any_order(n_calls):
    y = 1e9 + RNG.normal(size=(60, 2))
    reg = learned(MeanRegressor(), y, RNG.permutation(60), n_calls)
    np.testing.assert_allclose(reg.predict(X), DummyRegressor().fit(X, y).predict(X), rtol=1e-12)


def test_the_last_label_is_predicted():
    clf, right = LastLabelClassifier().partial_fit(X[:1], WORDS[:1]), []
    for row in range(1, 60):
        right.append(clf.score(X[row : row + 1], WORDS[row : row + 1]))
        clf.partial_fit(X[row : row + 1], WORDS[row : row + 1])
    assert np.array_equal(right, WORDS[1:] == WORDS[:-1])
    together = LastLabelClassifier().partial_fit(X, WORDS)
    assert np.array_equal(together.predict_proba(X), clf.predict_proba(X))
    assert np.array_equal(together.predict_proba(X[:1])[0], together.classes_ == WORDS[-1])


def test_the_last_label_of_a_task_is_among_its_classes():
    clf = LastLabelClassifier().partial_fit(X[:4], list("abab"), task_id=1).partial_fit(X[:3], list("cdc"), task_id=2)
    assert [clf.predict(X[:1], task_id=task)[0] for task in (None, 1, 2)] == ["c", "b", "c"]


def test_the_last_value_is_predicted():
    y = RNG.normal(size=(60, 2))
    for n_calls in (1, 7):
        assert np.array_equal(learned(LastValueRegressor(), y, n_calls=n_calls).predict(X[:2]), y[[-1, -1]])
