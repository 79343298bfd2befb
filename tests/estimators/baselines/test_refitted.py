"""Refitting on a memory, against fits on the rows that should be there."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import HuberRegressor, LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetless.estimators import RefittedClassifier, RefittedRegressor, continualize

RNG = np.random.default_rng(0)
# Seconds since 1970, which float32 would round to minutes.
X = 1.7e9 + RNG.normal(size=(90, 4)) * 20
WORDS = np.array(["spam", "eggs", "ham"])[(X[:, 0] > 1.7e9).astype(int) + (X[:, 1] > 1.7e9)]
Y = RNG.normal(size=(90, 2)) + (X[:, :2] - 1.7e9) / 10
THIRDS = np.array_split(np.arange(90), 3)


def learned(estimator, y, parts=THIRDS):
    for rows in parts:
        estimator.partial_fit(X[rows], y[rows])
    return estimator


CLASSIFIERS = {
    "probabilities": make_pipeline(StandardScaler(), KNeighborsClassifier(3)),
    "weights by label": make_pipeline(
        StandardScaler(), LogisticRegression(class_weight={"spam": 9, "eggs": 1, "ham": 1})
    ),
    "a decision function": make_pipeline(StandardScaler(), RidgeClassifier()),
    "labels only": VotingClassifier([("a", make_pipeline(StandardScaler(), RidgeClassifier())), ("b", GaussianNB())]),
}


@pytest.mark.parametrize("gives", CLASSIFIERS)
@pytest.mark.parametrize("n_labels", [2, 3])
def test_it_is_the_classifier_of_the_last_rows(gives, n_labels):
    labels = np.where(WORDS == "ham", "spam", WORDS) if n_labels == 2 else WORDS
    classifier = clone(CLASSIFIERS[gives])
    if gives == "weights by label" and n_labels == 2:
        classifier.set_params(logisticregression__class_weight={"spam": 9, "eggs": 1})
    clf = learned(continualize(classifier, buffer_size=40, policy="recent"), labels)
    expected = clone(classifier).fit(X[50:], labels[50:])
    assert np.array_equal(clf.predict(X), expected.predict(X))
    if hasattr(expected, "predict_proba"):
        np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-8)
    elif hasattr(expected, "decision_function"):
        np.testing.assert_allclose(clf.decision_function(X), expected.decision_function(X), atol=1e-8)
    assert not hasattr(classifier, "classes_")


def test_it_is_the_classifier_of_all_rows_where_they_fit():
    clf = learned(continualize(GaussianNB(), buffer_size=90), WORDS)
    np.testing.assert_allclose(clf.predict_proba(X), GaussianNB().fit(X, WORDS).predict_proba(X), rtol=1e-6)
    assert len(clf.memory_) == 90 and clf.memory_usage()["replay"] >= 90 * (4 * 8 + 8)


def test_a_regressor_of_one_target_learns_each():
    huber = make_pipeline(StandardScaler(), HuberRegressor())
    reg = learned(continualize(huber, buffer_size=40, policy="recent"), Y)
    for k in range(2):
        alone = clone(huber).fit(X[50:], Y[50:, k])
        np.testing.assert_allclose(reg.predict(X)[:, k], alone.predict(X), atol=1e-3)


def test_classes_are_answers_while_the_memory_has_them():
    clf = continualize(LogisticRegression(), buffer_size=8, policy="recent")
    clf.partial_fit(X[:6], ["a"] * 6, task_id="first")
    assert set(clf.predict(X)) == {"a"}  # alone, which LogisticRegression refuses
    clf.partial_fit(X[:8], ["c", "b"] * 4, task_id="second")
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert set(clf.predict(X)) <= {"b", "c"} and not clf.predict_proba(X)[:, 0].any()
    assert set(clf.predict(X, task_id="first")) == {"a"}
    assert np.array_equal(clf.predict_proba(X, task_id="first"), np.tile([1.0, 0, 0], (90, 1)))


class Refusing(KNeighborsClassifier):
    """Keeps the rows that it is given, and refuses some."""

    def fit(self, X, y):
        if "poison" in y:
            raise RuntimeError("refused")
        return super().fit(X, y)


def test_a_fit_that_fails_changes_nothing():
    clf = learned(RefittedClassifier(Refusing(1), buffer_size=30, policy="recent"), WORDS)
    before, rows = clf.predict_proba(X), clf.memory_.stored().x.clone()
    with pytest.raises(RuntimeError, match="refused"):
        clf.partial_fit(X[:20], ["poison"] * 20)
    assert np.array_equal(clf.predict_proba(X), before) and (clf.memory_.stored().x == rows).all()
    assert clf.n_experiences_ == 3 and "poison" not in clf.classes_


def test_seeds_that_are_open_are_given():
    estimator = make_pipeline(PCA(2), RandomForestClassifier(3, random_state=7))
    clf = learned(continualize(estimator, random_state=0), WORDS)
    parameters = clf.estimator_.get_params()
    assert parameters["randomforestclassifier__random_state"] == 7
    assert isinstance(parameters["pca__random_state"], int)
    assert estimator.get_params()["pca__random_state"] is None


@pytest.mark.parametrize("wrong", [StandardScaler(), RandomForestClassifier, BaseEstimator(), "forest"])
def test_what_cannot_be_continualized_is_refused(wrong):
    with pytest.raises(TypeError, match="no classifier or regressor; give one such as"):
        continualize(wrong)


@pytest.mark.parametrize(("cls", "other"), [(RefittedClassifier, Ridge()), (RefittedRegressor, GaussianNB())])
def test_the_other_kind_is_refused(cls, other):
    with pytest.raises(ValueError, match=r"is no (classifier|regressor); continualize"):
        cls(other).fit(X, np.arange(90) % 2)
