"""Numbers at the door: float64 where float32 would merge or overflow, and columns that depend on each other."""

import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from forgetless.estimators import (
    ContinualNet,
    ConvNet,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    SLDAClassifier,
)

CLOSED_FORMS = [NCMClassifier(), SLDAClassifier(), RandomProjectionClassifier(200, random_state=0)]


@pytest.mark.parametrize("offset", [1.7e9, 2.0**40, -1e11])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize("clf", CLOSED_FORMS, ids=lambda clf: type(clf).__name__)
def test_closed_forms_learn_columns_far_from_zero(clf, dtype, offset):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = rng.normal(size=(400, 2))
    X[:, 0] += 4 * y
    X = (100 * X + offset).astype(dtype)
    theirs = LinearDiscriminantAnalysis().fit(X, y).score(X, y)
    clf.fit(X[:200], y[:200]).partial_fit(X[200:], y[200:])
    assert clf.score(X, y) > theirs - 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_slda_stands_columns_that_add_up(dtype, scale):
    """Rounded sums of columns have a variance of nothing but rounding, whose inverse would drown the others."""
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 3
    columns = rng.normal(size=(3000, 6)) + 1.5 * np.eye(6)[y] + 10
    X = np.column_stack([columns, columns @ rng.normal(size=(6, 4))]).astype(dtype)
    X[:, 1] *= scale
    exact = X.astype(np.float64)
    theirs = LinearDiscriminantAnalysis(tol=1e-4).fit(exact, y)
    least = LinearDiscriminantAnalysis().fit(columns, y).score(columns, y)
    clf = SLDAClassifier()
    for part in np.array_split(np.arange(3000), 7):
        clf.partial_fit(X[part], y[part])
    assert clf.score(X, y) > least - 0.01
    assert np.mean(clf.predict(X) == theirs.predict(exact)) > 0.99


def test_values_beyond_float32_are_named():
    table = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 1e39]})
    with pytest.raises(ValueError, match=r"1e\+39 in column 'b'"):
        NaiveClassifier().fit(table, [0, 1])
    with pytest.raises(FloatingPointError, match=r"1e\+19 in column 1"):
        NaiveClassifier().fit([[0.0, 1.0], [1.0, 1e19]], [0, 1])


def test_images_are_rows():
    images = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    y = np.arange(20) % 2
    net = ContinualNet(ConvNet, module__image_shape=(1, 8, 8), module__channels=(4,), max_epochs=1)
    for clf in (NaiveClassifier(net, random_state=0), SLDAClassifier()):
        found = clf.fit(images, y).predict_proba(images)
        np.testing.assert_array_equal(found, clf.fit(images.reshape(20, -1), y).predict_proba(images))
        assert clf.n_features_in_ == 64


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (pd.DataFrame({"a": ["x", "y"]}), "a value that is no number .*'x'.* encode text and categories"),
        (np.array([[b"x"], [b"y"]]), "a value that is no number"),
        (np.array([[pd.Timestamp(0)], [pd.Timestamp(1)]], dtype=object), "a value that is no number .*Timestamp"),
        ([[1, 2], [3]], "rows of different lengths"),
    ],
)
def test_what_is_no_number_is_told(X, words):
    with pytest.raises((ValueError, TypeError), match=words):
        NCMClassifier().partial_fit(X, [0, 1])
