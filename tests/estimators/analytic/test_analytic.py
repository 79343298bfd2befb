"""Closed forms against scikit-learn's, against models that saw other data, and against numbers computed by hand."""

import copy

import numpy as np
import pytest
import scipy.stats
import sklearn.covariance
import torch
from helpers.estimators import DIGITS, X, Y
from sklearn.datasets import load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from forgetless.datasets import load_mnist, load_wine
from forgetless.estimators import (
    MLP,
    ContinualNet,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    RandomProjectionRegressor,
    SLDAClassifier,
)
from forgetless.estimators.analytic import moments
from forgetless.estimators.analytic.moments import Moments, symmetric

CLASSIFIERS = {
    "ncm": NCMClassifier(),
    "slda": SLDAClassifier(),
    "shrunken slda": SLDAClassifier(shrinkage=0.1),
    "oas slda": SLDAClassifier(shrinkage="oas"),
    "slda of each class": SLDAClassifier(shrinkage="oas", covariance="per_class"),
    "random projection": RandomProjectionClassifier(300, ridge=10.0, random_state=0),
    "random projection, auto": RandomProjectionClassifier(300, random_state=0),
    "fourier": RandomProjectionClassifier(300, activation="fourier", random_state=0),
}
REGRESSORS = {
    "regressor": RandomProjectionRegressor(300, ridge=10.0, random_state=0),
    "regressor, auto": RandomProjectionRegressor(300, random_state=0),
}
ALL = CLASSIFIERS | REGRESSORS
each_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
each = pytest.mark.parametrize("name", ALL)


def new(name):
    return copy.deepcopy(ALL[name])


def target(name, labels):
    return np.stack([labels / 10, 1 - labels / 5], axis=1) if name in REGRESSORS else labels


def learned(name, rows, n_chunks=1):
    model = new(name)
    for chunk in np.array_split(rows, n_chunks):
        model.partial_fit(X[chunk], target(name, Y[chunk]))
    return model


def answers(model):
    """All numbers that a model gives: predictions, or scores of the classes that are possible answers."""
    if hasattr(model, "n_outputs_"):
        return model.predict(DIGITS.X_test)
    return model.decision_function(DIGITS.X_test)[:, model.counts_ > 0]


def assert_same_model(model, expected):
    np.testing.assert_allclose(answers(model), answers(expected), rtol=1e-4, atol=1e-4)


# --- the same model whatever the order ---------------------------------------------------------------------------


@each
@pytest.mark.parametrize("n_chunks", [1, 5, 40])
@pytest.mark.parametrize("order", ["drawn", "sorted by class"])
def test_order_and_chunks_do_not_matter(name, n_chunks, order):
    rows = np.random.default_rng(0).permutation(len(X))
    if order == "sorted by class":
        rows = rows[np.argsort(Y[rows], kind="stable")]
    assert_same_model(learned(name, rows, n_chunks), learned(name, np.arange(len(X))))


@each
def test_chunks_within_a_call_do_not_matter(name, monkeypatch):
    expected = learned(name, np.arange(len(X)))
    assert_same_model(expected, expected)
    reference = answers(expected)
    monkeypatch.setattr(moments, "CHUNK_BYTES", 4 * 300 * 37)
    np.testing.assert_allclose(answers(learned(name, np.arange(len(X)))), reference, rtol=1e-4, atol=1e-4)


# --- against others' closed forms --------------------------------------------------------------------------------


def test_ncm_is_the_nearest_centroid():
    clf = learned("ncm", np.arange(len(X)), n_chunks=7)
    centroids = np.stack([X[Y == c].astype(np.float64).mean(axis=0) for c in range(10)])
    np.testing.assert_allclose(clf.means_, centroids, atol=1e-6)
    distances = ((DIGITS.X_test[:, None] - centroids) ** 2).sum(axis=2)
    scores = clf.decision_function(DIGITS.X_test)
    np.testing.assert_allclose(scores - scores[:, :1], distances[:, :1] - distances, atol=1e-4)
    theirs = NearestCentroid().fit(X, Y)
    assert np.array_equal(clf.predict(DIGITS.X_test), theirs.predict(DIGITS.X_test))


def differences(scores):
    """Scores but for what is the same for all classes."""
    return scores - scores[:, :1]


@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slda_is_linear_discriminant_analysis(shrinkage, dtype):
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X.astype(np.float64), Y)
    clf = SLDAClassifier(shrinkage=shrinkage)
    for rows in np.array_split(np.argsort(Y, kind="stable"), 6):
        clf.partial_fit(X[rows].astype(dtype), Y[rows])
    ours, theirs = (differences(model.decision_function(DIGITS.X_test)) for model in (clf, lda))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_oas_is_that_of_scikit_learn():
    X = DIGITS.X_train.astype(np.float64)
    clf = learned("oas slda", np.arange(len(X)), n_chunks=7)
    means = np.stack([X[Y == c].mean(axis=0) for c in range(10)])
    covariance, shrinkage = sklearn.covariance.oas(X - means[Y], assume_centered=True)
    assert clf.shrinkage_ == pytest.approx(shrinkage, rel=1e-6)
    inverse = np.linalg.inv(covariance)
    scores = DIGITS.X_test @ inverse @ means.T - 0.5 * np.einsum("ci,ij,cj->c", means, inverse, means)
    scores += np.log(np.bincount(Y) / len(Y))
    ours = differences(clf.decision_function(DIGITS.X_test))
    np.testing.assert_allclose(ours, differences(scores), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, "oas"])
def test_covariances_of_classes_give_the_posterior_of_their_normal_distributions(shrinkage):
    wine = load_wine()
    X, y, X_test = wine.X_train.astype(np.float64), wine.y_train, wine.X_test.astype(np.float64)
    clf = SLDAClassifier(shrinkage, covariance="per_class")
    for rows in np.array_split(np.random.default_rng(0).permutation(len(X)), 5):
        clf.partial_fit(X[rows], y[rows])
    densities, shrinkages = [], []
    for c in range(3):
        own = X[y == c]
        covariance = np.cov(own.T, bias=True)
        shrinkages.append(sklearn.covariance.oas(own)[1] if shrinkage == "oas" else shrinkage)
        target = np.eye(13) * covariance.trace() / 13
        covariance = (1 - shrinkages[-1]) * covariance + shrinkages[-1] * target
        normal = scipy.stats.multivariate_normal(own.mean(axis=0), covariance)
        densities.append(normal.logpdf(X_test) + np.log(np.mean(y == c)))
    ours = differences(clf.decision_function(X_test))
    np.testing.assert_allclose(ours, differences(np.stack(densities, axis=1)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(clf.shrinkage_, shrinkages, rtol=1e-9)
    for c in range(3):
        np.testing.assert_allclose(clf.covariance_[c], np.cov(X[y == c].T, bias=True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_class_of_equal_rows_has_the_covariance_of_all(n):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), np.repeat([0, 1], 100)
    X[y == 1] += [4, 0, 0]
    clf = SLDAClassifier(covariance="per_class").partial_fit(X, y).partial_fit([[0.1, 9.1, 0.3]] * n, [2] * n)
    assert not clf.covariance_[2].any()
    assert clf.predict([[0.1, 9.2, 0.1], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="covariance for each class"):
        clf.merge(SLDAClassifier().fit(X, y))


@pytest.mark.parametrize("covariance", ["shared", "per_class"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_that_are_sums_of_others_change_nothing(covariance, dtype):
    """Collinear columns, which no covariance of rounded numbers shows as such, cost no accuracy."""
    sums = X[:, 1:21] + X[:, 21:41]
    test_sums = DIGITS.X_test[:, 1:21] + DIGITS.X_test[:, 21:41]
    shrinkage = 0.0 if covariance == "shared" else 0.01
    plain = SLDAClassifier(shrinkage, covariance=covariance).fit(X, Y).score(DIGITS.X_test, DIGITS.y_test)
    clf = SLDAClassifier(shrinkage, covariance=covariance).fit(np.hstack([X, sums]).astype(dtype), Y)
    assert abs(clf.score(np.hstack([DIGITS.X_test, test_sums]).astype(dtype), DIGITS.y_test) - plain) < 0.01


def test_fourier_features_have_the_gaussian_kernel():
    rows, gamma = X[:50].astype(np.float64), 0.05
    clf = RandomProjectionClassifier(4_000, activation="fourier", gamma=gamma, ridge=1.0, random_state=0)
    clf.prepare_features(clf.open_call(rows, Y[:50]))
    features = clf.features_of(torch.from_numpy(rows)).numpy()
    kernel = rbf_kernel(rows, gamma=gamma)
    assert np.abs(2 / 4_000 * features @ features.T - kernel).max() < 5 * 4_000**-0.5
    auto = RandomProjectionClassifier(10, activation="fourier", random_state=0).fit(X, Y)
    given = RandomProjectionClassifier(10, activation="fourier", gamma=1 / 64, random_state=0).fit(X, Y)
    assert torch.equal(auto.projection_, given.projection_)


@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
@pytest.mark.parametrize("n_chunks", [1, 3, 40])
@pytest.mark.parametrize("order", ["drawn", "sorted by class"])
def test_slda_equals_linear_discriminant_analysis(shrinkage, n_chunks, order):
    X, y = DIGITS.X_train.astype(np.float64), DIGITS.y_train
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X, y)
    rows = np.random.default_rng(0).permutation(len(X))
    if order == "sorted by class":
        rows = rows[np.argsort(y[rows], kind="stable")]
    clf = SLDAClassifier(shrinkage=shrinkage)
    for chunk in np.array_split(rows, n_chunks):
        clf.partial_fit(X[chunk], y[chunk])
    ours, theirs = (differences(model.decision_function(DIGITS.X_test)) for model in (clf, lda))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_slda_stands_collinear_columns():
    """Products in single precision would make the singular covariance nearly singular, with weights of 1e8."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 3
    columns = np.round(64 * (rng.normal(size=(400, 4)) + np.eye(4)[labels])) / 64  # numbers that add up exactly
    data = np.column_stack([columns, columns @ [1, 2, 0, 0], columns[:, 3], columns @ [0.5, 1, 1, 1]]) + 8
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(data, labels)
    clf = SLDAClassifier()
    for part in np.array_split(np.argsort(labels, kind="stable"), 9):
        clf.partial_fit(data[part].astype(np.float32), labels[part])
    np.testing.assert_allclose(clf.covariance_, lda.covariance_, atol=1e-10)
    ours, theirs = (differences(model.decision_function(data)) for model in (clf, lda))
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize("values", [[-0.9826996785221727] * 3, [0.1, 1 / 3, -0.7]])
@pytest.mark.parametrize("n_chunks", [1, 5])
def test_a_column_that_does_not_vary_within_classes_is_left_out(values, n_chunks):
    iris = load_iris()
    X, y = np.column_stack([iris.data, np.take(values, iris.target)]), iris.target
    clf = SLDAClassifier()
    for rows in np.array_split(np.random.default_rng(0).permutation(150), n_chunks):
        clf.partial_fit(X[rows], y[rows])
    assert not clf.covariance_[4].any() and not clf.covariance_[:, 4].any()
    without = SLDAClassifier().fit(iris.data, y).decision_function(iris.data)
    np.testing.assert_allclose(clf.decision_function(X), without, rtol=1e-9, atol=1e-9)


def test_a_column_that_varies_little_beside_its_classes_is_not_left_out():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = np.column_stack([y / 7 + 1e-9 * rng.normal(size=300), rng.normal(size=300)])
    clf = SLDAClassifier().fit(X, y)
    np.testing.assert_allclose(clf.covariance_[0, 0], np.mean([X[y == c, 0].var() for c in range(3)]), rtol=1e-6)
    assert clf.score(X, y) == 1


@pytest.mark.parametrize("constant", [0.1, 0.3])
def test_a_constant_column_costs_covariances_of_classes_nothing(constant):
    iris = load_iris()
    X = np.column_stack([iris.data, np.full(150, constant)])
    clf = SLDAClassifier(0.01, covariance="per_class")
    for rows in np.array_split(np.random.default_rng(0).permutation(150), 5):
        clf.partial_fit(X[rows], iris.target[rows])
    assert clf.score(X, iris.target) > 0.95


def features(model, rows):
    """The random features, computed in double precision from R alone."""
    R = model.projection_.numpy().astype(np.float64)
    projected = np.column_stack([rows.astype(np.float64), np.ones(len(rows))]) @ R
    return np.cos(projected) if model.activation == "fourier" else np.maximum(0, projected)


@pytest.mark.parametrize("ridge", [0.5, 100.0, "auto"])
@pytest.mark.parametrize("activation", ["relu", "fourier"])
def test_random_projection_is_ridge_on_its_features(ridge, activation):
    clf = RandomProjectionClassifier(200, ridge=ridge, activation=activation, random_state=3)
    for rows in np.array_split(np.argsort(Y, kind="stable"), 6):  # classes come late
        clf.partial_fit(X[rows], Y[rows])
    theirs = Ridge(alpha=clf.ridge_).fit(features(clf, X), np.eye(10)[Y])
    expected = theirs.predict(features(clf, DIGITS.X_test))
    np.testing.assert_allclose(clf.decision_function(DIGITS.X_test), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ridge", [0.5, "auto"])
def test_random_projection_regressor_is_ridge_on_its_features(ridge):
    data, y = load_diabetes(return_X_y=True)
    data, y = StandardScaler().fit_transform(data), np.column_stack([y, 1e4 + y**2])
    reg = RandomProjectionRegressor(100, ridge=ridge, random_state=3)
    for rows in np.array_split(np.argsort(y[:, 0]), 6):
        reg.partial_fit(data[rows], y[rows])
    theirs = Ridge(alpha=reg.ridge_).fit(features(reg, data), y)
    np.testing.assert_allclose(reg.predict(data), theirs.predict(features(reg, data)), rtol=1e-3)


@pytest.mark.parametrize("name", ["random projection, auto", "regressor, auto"])
def test_ridge_is_chosen_by_the_error_on_held_out_rows(name):
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(X))[:150]
    model = learned(name, rows, n_chunks=4)
    seen, noisy = features(model, X[rows]), target(name, Y[rows])
    y = noisy if name in REGRESSORS else np.eye(10)[Y[rows]]
    _, held_out = model.parts_of(X[rows], Y[rows])
    assert 0.1 < held_out.mean() < 0.3
    centred = seen[~held_out] - seen[~held_out].mean(axis=0)
    unit = np.square(centred).sum() / centred.shape[1]
    errors = []
    for k in range(1, -8, -1):
        theirs = Ridge(alpha=unit * 10.0**k).fit(seen[~held_out], y[~held_out])
        errors.append(np.square(theirs.predict(seen[held_out]) - y[held_out]).sum())
    best = next((k for k in range(len(errors) - 1) if errors[k + 1] >= errors[k]), len(errors) - 1)
    assert 0 < best < 5  # otherwise this would not test the choice
    unit_of_all = np.square(seen - seen.mean(axis=0)).sum() / seen.shape[1]
    assert model.ridge_ == pytest.approx(unit_of_all * 10.0 ** (1 - best), rel=1e-3)


def test_few_rows_need_no_held_out_rows():
    clf = RandomProjectionClassifier(50, random_state=0).fit(X[:2], Y[:2])
    assert np.array_equal(clf.predict(X[:2]), Y[:2]) and clf.ridge_ > 0


def test_ridge_too_small_is_an_error():
    clf = RandomProjectionClassifier(400, ridge=1e-30, random_state=0).fit(X[:50], Y[:50])
    with pytest.raises(ValueError, match="too small"):
        clf.predict(X)


# --- moments -----------------------------------------------------------------------------------------------------


def test_moments_are_those_of_numpy_in_single_precision_far_from_zero():
    rng = np.random.default_rng(0)
    data = (1000 + rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    groups = rng.integers(3, size=3000)
    found = Moments.of_nothing(6, scatter=True)
    for part in np.array_split(np.arange(3000), 11):
        found = found.add(torch.from_numpy(data[part]), torch.from_numpy(groups[part]), 3)
    exact = data.astype(np.float64)
    scatter = sum(np.cov(exact[groups == g].T, bias=True) * (groups == g).sum() for g in range(3))
    assert found.counts.tolist() == np.bincount(groups).tolist()
    np.testing.assert_allclose(symmetric(found.scatter), scatter, rtol=1e-4, atol=1e-3 * np.abs(scatter).max())
    np.testing.assert_allclose(found.means, [exact[groups == g].mean(axis=0) for g in range(3)], rtol=1e-6)
    n, mean, total = found.total()
    np.testing.assert_allclose(symmetric(total) / n, np.cov(exact.T, bias=True), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)


def test_moments_without_rows_and_of_both():
    rng = np.random.default_rng(0)
    data, groups = torch.from_numpy(rng.normal(size=(500, 5))), torch.from_numpy(rng.integers(4, size=500))
    nothing = Moments.of_nothing(5, scatter=True)
    first, second = nothing.add(data[:200], groups[:200], 4), nothing.add(data[200:], groups[200:], 4)
    both = nothing.add(data, groups, 4)
    for found, expected in [
        (both.add(data[200:], groups[200:], 4, sign=-1), first),
        (both.add(data[:200], groups[:200], 4, sign=-1), second),
        (first.merged(second, np.arange(4), 4), both),
    ]:
        assert np.array_equal(found.counts, expected.counts)
        np.testing.assert_allclose(found.means, expected.means, atol=1e-12)
        np.testing.assert_allclose(found.scatter, expected.scatter, atol=1e-10)


# --- unlearning --------------------------------------------------------------------------------------------------


@each
def test_unlearned_rows_leave_the_model_that_never_saw_them(name):
    rows = np.random.default_rng(0).permutation(len(X))
    kept, gone = rows[:900], rows[900:]
    model = learned(name, rows, n_chunks=6)
    for chunk in np.array_split(np.random.default_rng(1).permutation(gone), 3):
        model.unlearn(X[chunk], target(name, Y[chunk]))
    assert_same_model(model, learned(name, kept))
    # And it goes on learning as if nothing had been.
    assert_same_model(model.partial_fit(X[gone], target(name, Y[gone])), learned(name, rows))


@each_classifier
def test_an_unlearned_class_is_no_answer_any_more(name):
    clf, never = new(name), new(name)
    for task, classes in enumerate([(0, 1, 2), (3, 4)]):
        rows = np.isin(Y, classes)
        clf.partial_fit(X[rows], Y[rows], task_id=task)
        never.partial_fit(X[rows & (Y != 1)], Y[rows & (Y != 1)], task_id=task)
    clf.unlearn(X[Y == 1], Y[Y == 1])
    assert clf.classes_.tolist() == [0, 1, 2, 3, 4]
    assert clf.counts_[1] == 0
    assert not clf.predict_proba(DIGITS.X_test)[:, 1].any()
    assert np.array_equal(clf.predict(DIGITS.X_test), never.predict(DIGITS.X_test))
    assert set(clf.predict(DIGITS.X_test, task_id=0)) == {0, 2}
    assert_same_model(clf, never)
    clf.unlearn(X[(Y == 3) | (Y == 4)], Y[(Y == 3) | (Y == 4)])
    with pytest.raises(ValueError, match="never learned"):
        clf.predict(DIGITS.X_test, task_id=1)


def assert_unchanged(model, twin):
    assert np.array_equal(answers(model), answers(twin))
    assert model.memory_usage() == twin.memory_usage()
    assert model.n_experiences_ == twin.n_experiences_
    for mine, theirs in zip(model.moments_, twin.moments_, strict=True):
        assert np.array_equal(mine.counts, theirs.counts) and np.array_equal(mine.means, theirs.means)


@each
@pytest.mark.parametrize("mistake", ["unknown label", "too many", "everything", "NaN", "features"])
def test_unlearning_by_mistake_changes_nothing(name, mistake):
    rows = np.flatnonzero(Y < 5)[:200]
    model = learned(name, rows)
    twin = copy.deepcopy(model)
    data, labels = X[rows], Y[rows]
    if mistake == "unknown label":
        if name in REGRESSORS:  # has no labels, but targets of some shape
            name, message = "ncm", "y has shape"
        else:
            data, labels, message = X[Y == 7], Y[Y == 7], "never learned"
    elif mistake == "too many":
        data, labels, message = np.tile(data, (2, 1)), np.tile(labels, 2), "more than there are"
    elif mistake == "everything":
        message = "nothing"
    elif mistake == "NaN":
        data, message = np.where(data == data.max(), np.nan, data), "NaN"
    else:
        data, message = data[:, 1:], "features"
    with pytest.raises(ValueError, match=message):
        model.unlearn(data, target(name, labels))
    assert_unchanged(model, twin)


# --- merging -----------------------------------------------------------------------------------------------------


@each
def test_merged_models_are_the_one_that_saw_both(name):
    here, there = np.flatnonzero(Y < 6), np.flatnonzero(Y > 3)
    model, other = learned(name, here, n_chunks=3), learned(name, there[::-1], n_chunks=2)
    before = answers(other)
    merged = model.merge(other)
    assert merged is model and model.n_experiences_ == 5
    both = learned(name, np.concatenate([here, there]))
    assert_same_model(model, both)
    assert np.array_equal(answers(other), before)
    # And the other way round, then on.
    turned = other.merge(learned(name, here))
    assert_same_model(turned, both)
    assert_same_model(turned.unlearn(X[here], target(name, Y[here])), learned(name, there))


@each_classifier
def test_merged_models_know_the_tasks_of_both(name):
    first, second = new(name), new(name)
    first.partial_fit(X[Y < 4], Y[Y < 4], task_id="a")
    second.partial_fit(X[Y > 7], Y[Y > 7], task_id="b").partial_fit(X[Y == 5], Y[Y == 5], task_id="a")
    first.merge(second)
    assert first.classes_.tolist() == [0, 1, 2, 3, 5, 8, 9]
    assert set(first.predict(DIGITS.X_test, task_id="a")) == {0, 1, 2, 3, 5}
    assert set(first.predict(DIGITS.X_test, task_id="b")) == {8, 9}


def test_merging_text_labels():
    words = np.array(["nine", "Zero", "four", "a", "zz", "b", "m", "k", "x", "d"])
    first = SLDAClassifier().partial_fit(X[Y < 5], words[Y[Y < 5]])
    second = SLDAClassifier().partial_fit(X[Y > 2], words[Y[Y > 2]])
    together = SLDAClassifier().partial_fit(X[Y < 5], words[Y[Y < 5]]).partial_fit(X[Y > 2], words[Y[Y > 2]])
    assert_same_model(first.merge(second), together)


@pytest.mark.parametrize(
    ("name", "other", "error", "message"),
    [
        ("ncm", SLDAClassifier(), TypeError, "needs another NCMClassifier"),
        (
            "random projection",
            RandomProjectionClassifier(300, ridge=10.0, random_state=1),
            ValueError,
            "features differ",
        ),
        (
            "random projection",
            RandomProjectionClassifier(20, ridge=10.0, random_state=0),
            ValueError,
            "features differ",
        ),
        ("random projection", RandomProjectionClassifier(300, random_state=0), ValueError, "ridge"),
        ("ncm", NCMClassifier(MLP(64, 3)), ValueError, "features differ"),
    ],
)
def test_what_cannot_be_merged(name, other, error, message):
    model, other = learned(name, np.arange(100)), copy.deepcopy(other).fit(X, Y)
    twin = copy.deepcopy(model)
    with pytest.raises(error, match=message):
        model.merge(other)
    assert_unchanged(model, twin)


def test_models_of_other_inputs_and_unfitted_models_cannot_be_merged():
    clf = learned("ncm", np.arange(100))
    with pytest.raises(ValueError, match="60 input features"):
        clf.merge(NCMClassifier().fit(X[:, :60], Y))
    with pytest.raises(ValueError, match="not fitted"):
        clf.merge(NCMClassifier())
    with pytest.raises(ValueError, match="not fitted"):
        NCMClassifier().merge(clf)
    with pytest.raises(ValueError, match="text or numbers"):
        clf.merge(NCMClassifier().fit(X, Y.astype(str)))
    reg = learned("regressor", np.arange(100))
    with pytest.raises(ValueError, match="other shapes"):
        reg.merge(new("regressor").fit(X, Y / 10))


# --- solving -----------------------------------------------------------------------------------------------------


@each
def test_solved_only_when_asked_and_only_after_a_change(name, monkeypatch):
    calls = []
    solve = type(ALL[name]).solve
    monkeypatch.setattr(type(ALL[name]), "solve", lambda self: calls.append(1) or solve(self))
    model = learned(name, np.arange(200), n_chunks=4)
    assert len(calls) == 0
    model.predict(X)
    model.predict(X[:3])
    assert len(calls) == 1
    model.unlearn(X[:5], target(name, Y[:5])).predict(X)
    assert len(calls) == 2


# --- features of a trained module --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    net = ContinualNet(MLP, module__hidden_units=(40, 20), max_epochs=5)
    return NaiveClassifier(net, random_state=0).fit(X[Y < 5], Y[Y < 5]).net_.module_


@each
def test_features_of_a_module_take_the_place_of_the_inputs(name, trained):
    model = new(name).set_params(features=trained)
    for rows in np.array_split(np.arange(len(X)), 3):
        model.partial_fit(X[rows], target(name, Y[rows]))
    with torch.no_grad():
        seen, unseen = (trained.hidden(torch.from_numpy(rows)).numpy() for rows in (X, DIGITS.X_test))
    expected = new(name).fit(seen, target(name, Y))
    found = (model.predict if name in REGRESSORS else model.predict_proba)(DIGITS.X_test)
    wanted = (expected.predict if name in REGRESSORS else expected.predict_proba)(unseen)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert model.memory_usage()["weights"] > sum(p.numel() * 4 for p in trained.parameters()) - 1


@each
def test_a_module_may_have_another_precision(name, trained):
    single, double = (
        new(name).set_params(features=m).fit(X, target(name, Y)) for m in (trained, copy.deepcopy(trained).double())
    )
    one, other = ((m.predict if name in REGRESSORS else m.predict_proba)(DIGITS.X_test) for m in (single, double))
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_features_are_frozen_at_the_first_call(trained):
    module = copy.deepcopy(trained)
    clf = NCMClassifier(features=module).fit(X, Y)
    before = answers(clf)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    assert np.array_equal(answers(clf), before)
    assert all(p.requires_grad for p in module.parameters())
    assert not any(p.requires_grad for p in clf.features_.parameters())
    with pytest.raises(ValueError, match="features"):
        NCMClassifier(features="resnet").fit(X, Y)


# --- real data ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(data_home):
    return load_mnist(data_home=data_home)


def score(clf, data, n_chunks=5):
    for rows in np.array_split(np.argsort(data.y_train, kind="stable"), n_chunks):
        clf.partial_fit(data.X_train[rows], data.y_train[rows])
    return clf.score(data.X_test, data.y_test)


def test_published_numbers_on_mnist(mnist):
    assert score(NCMClassifier(), mnist) == pytest.approx(0.820, abs=0.003)
    assert score(SLDAClassifier(), mnist) == pytest.approx(0.873, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize(("n_features", "least"), [(2000, 0.95), (5000, 0.97)])
def test_random_projection_on_mnist(mnist, n_features, least):
    seeds = [RandomProjectionClassifier(n_features, random_state=seed) for seed in range(3)]
    assert np.mean([score(clf, mnist) for clf in seeds]) > least


def test_nearest_mean_by_cosine_is_that_of_plain_numpy_whatever_the_lengths():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 5)) + 2, rng.integers(3, size=60)
    clf = NCMClassifier(metric="cosine").partial_fit(X[:30], y[:30]).partial_fit(X[30:], y[30:])
    means = np.stack([X[y == k].mean(axis=0) for k in range(3)])
    cosines = (X @ means.T) / np.linalg.norm(X, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(clf.decision_function(X), cosines, atol=1e-6)
    np.testing.assert_allclose(clf.decision_function(1000 * X), cosines, atol=1e-6)
    plain = NCMClassifier().fit(X, y).decision_function(X)
    np.testing.assert_allclose(clf.set_params(metric="euclidean").decision_function(X), plain, atol=1e-9)
