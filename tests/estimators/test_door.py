"""Numbers at the door: float64 where float32 would merge or overflow, and columns that depend on each other."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import r2_score

from forgetless.estimators import (
    ContinualNet,
    ConvNet,
    HATClassifier,
    LastLabelClassifier,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    RandomProjectionRegressor,
    ScaledTargetRegressor,
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


X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
MASK = np.arange(12) < 2


@pytest.mark.parametrize(
    ("rows", "labels", "error", "words"),
    [
        (np.ma.array(X, mask=np.c_[MASK, MASK]), Y, ValueError, r"Input X contains NaN: values are masked.*X\.filled"),
        (X, np.ma.array(Y, mask=MASK), ValueError, r"Input y contains NaN: values are masked.*y\.filled"),
        (np.rec.fromarrays(X.T, names="a,b"), Y, TypeError, "named fields; give pandas.DataFrame"),
        ({"a": X[:, 0], "b": X[:, 1]}, Y, TypeError, "X is a dict"),
        (iter(X), Y, TypeError, "X is a .*iterator"),
        (pd.Series(list(X)), Y, ValueError, "arrays as values; give one matrix"),
    ],
    ids=["masked", "masked labels", "named fields", "dict", "iterator", "arrays as values"],
)
@pytest.mark.parametrize("clf", [NCMClassifier(), NaiveClassifier()], ids=lambda clf: type(clf).__name__)
def test_what_is_no_matrix_is_told(clf, rows, labels, error, words):
    with pytest.raises(error, match=words):
        clf.partial_fit(rows, labels)
    assert not hasattr(clf, "classes_")


def test_masks_that_hide_nothing_and_tensors_with_a_gradient_are_rows_and_targets():
    expected = NCMClassifier().fit(X, Y).predict_proba(X)
    for rows in (np.ma.array(X), torch.tensor(X, requires_grad=True), torch.tensor(X).view(12, 1, 1, 2)):
        clf = NCMClassifier().fit(rows, torch.tensor(Y))
        assert np.array_equal(clf.predict_proba(rows), expected)
        assert clf.score(rows, torch.tensor(Y)) == np.mean(clf.predict(X) == Y)
    reg = RandomProjectionRegressor(20, random_state=0).fit(X, torch.tensor(X[:, 0], requires_grad=True))
    assert reg.score(X, torch.tensor(X[:, 0], requires_grad=True)) == reg.score(X, X[:, 0])


def test_tensors_of_any_number_are_rows_and_targets():
    rounded = torch.tensor(X).bfloat16()
    expected = NCMClassifier().fit(rounded.float(), Y).predict_proba(rounded.float())
    negative = torch.tensor(Y).neg().to(torch.complex64).mul(1j).conj().imag  # Y, by torch's bit for "negative"
    assert negative.is_neg()
    for rows, labels in [(rounded, torch.tensor(Y).bfloat16()), (list(rounded), negative)]:
        clf = NCMClassifier().fit(rows, labels)
        assert np.array_equal(clf.predict_proba(rows), expected)
        assert clf.score(rows, labels) == np.mean(clf.predict(rows) == Y)
    scaled = ScaledTargetRegressor(RandomProjectionRegressor(20, random_state=0)).partial_fit(rounded, rounded[:, 0])
    assert r2_score(rounded[:, 0].float(), scaled.predict(rounded)) > 0.9


@pytest.mark.parametrize(
    "rows",
    [torch.tensor(X).to_sparse(), torch.empty(12, 2, device="meta")],
    ids=["sparse", "meta"],
)
def test_tensors_that_are_no_arrays_are_told(rows):
    with pytest.raises(TypeError, match="is no array; give a plain tensor that has data"):
        NCMClassifier().fit(rows, Y)


def test_frames_of_sparse_columns_are_rows():
    table = pd.get_dummies(pd.Series(list("aabbcc") * 2), sparse=True)
    clf = NCMClassifier().fit(table, Y)
    assert clf.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.array_equal(clf.decision_function(table), clf.decision_function(table.sparse.to_dense()))


HUGE, DAY = 2**60, np.datetime64("3000-01-01")
UNSIGNED = Y.astype("u8") + np.uint64(2**63)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (HUGE + Y, 1.0 * Y, "float64, which takes both, cannot tell all of them apart; .* such as int64"),
        (UNSIGNED, Y, "such as uint64"),
        (-Y, UNSIGNED, "such as int64"),
        (DAY + Y, Y.astype("M8[ns]"), "such as datetime64.D."),
        (DAY + Y, Y, "labels like .* use one type for all labels"),
        (Y.astype("m8[D]"), Y, "labels like .* use one type for all labels"),
        (Y, Y.astype("m8[D]").astype(str), "labels like .* use one type for all labels"),
    ],
    ids=["floats", "signed", "unsigned", "nanoseconds", "dates", "durations", "text"],
)
def test_labels_never_merge_where_their_type_changes(before, after, words):
    clf = NCMClassifier().fit(X, before)
    for learn_or_unlearn in (clf.partial_fit, clf.unlearn):
        with pytest.raises(ValueError, match=words):
            learn_or_unlearn(X, after)
    with pytest.raises(ValueError, match=words):
        clf.merge(NCMClassifier().fit(X, after))
    with pytest.raises(ValueError, match="the labels in y"):
        NCMClassifier().partial_fit(X, before, classes=np.unique(after))
    assert np.array_equal(clf.classes_, np.unique(before))


def test_labels_of_types_that_hold_each_other_are_the_same_labels():
    clf = NCMClassifier().fit(X, Y == 1)
    for labels in (Y, 2.0 + Y, Y.astype("u1"), (Y + 4).astype("f2"), HUGE * Y):
        clf.partial_fit(X, labels)
    assert clf.classes_.tolist() == [0, 1, 2, 3, 4, 5, HUGE]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([0, 1, np.nan], "Input classes contains NaN"),
        (pd.array([0, 1, None], dtype="Int64"), "Input classes contains NaN"),
        ([0, 1, None], "Input classes contains NaN: labels are missing .None."),
        (np.ma.array([0, 1], mask=[0, 1]), "Input classes contains NaN: values are masked"),
        ([0, 1, np.inf], "Input classes contains infinity"),
        (np.array(["a", 1], dtype=object), "Unknown label type: classes has dtype object and labels such as 1"),
        (pd.array([0, 1, 2**53 + 1], dtype="Int64"), r"classes has labels of type Int64 .* classes\.astype"),
        (2, "classes is a int .* give an array, a list or a set"),
        ([], "classes is a list .* of one label or more"),
        ([[0, 1], [2, 3]], "classes is a list of shape .2, 2."),
    ],
)
def test_classes_are_checked_as_labels_are(classes, words):
    with pytest.raises(ValueError, match=words):
        NCMClassifier().partial_fit(X, Y, classes=classes)


@pytest.mark.parametrize("classes", [{0, 1, 5}, {0: "a", 1: "b", 5: "c"}.keys(), torch.tensor([5, 1, 0])])
def test_classes_may_be_sets_and_tensors(classes):
    assert NCMClassifier().partial_fit(X, Y, classes=classes).classes_.tolist() == [0, 1, 5]


def test_classes_may_be_a_tensor_with_a_gradient():
    classes = torch.tensor([0.0, 1.0, 5.0], requires_grad=True)
    assert NCMClassifier().partial_fit(X, Y, classes=classes).classes_.tolist() == [0, 1, 5]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(Y, DAY, np.datetime64("NaT")), "labels are missing .NaT."),
        (pd.array([0, None] * 6, dtype="Int64"), "Input y contains NaN"),
        (pd.Series(2**53 + Y, dtype="Int64"), r"too large to be told apart .* y\.astype"),
        (np.array([0, None] * 6, dtype=object), "labels are missing .None."),
    ],
)
def test_missing_and_rounded_labels_are_told(labels, words):
    clf = NCMClassifier().fit(X, Y)
    for learn_or_unlearn in (clf.partial_fit, clf.unlearn):
        with pytest.raises(ValueError, match=words):
            learn_or_unlearn(X, labels)


@pytest.mark.parametrize("clf", [LastLabelClassifier(), RandomProjectionClassifier(20), HATClassifier()])
def test_what_underflows_is_0_whatever_numpy_is_told(clf):
    rows = 1e4 * X
    rows[0] = 1e-300
    with np.errstate(all="raise"):
        assert np.isfinite(clf.fit(rows, Y).partial_fit(rows, Y).predict_proba(rows)).all()
