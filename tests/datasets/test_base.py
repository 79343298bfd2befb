"""The data set: what it makes of arrays, and what it refuses."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from forgetless.datasets import Dataset
from forgetless.datasets.base import fingerprint


def small(**changes):
    arrays = {"X_train": [[0, 1], [2, 3], [4, 5]], "y_train": [0, 1, 1], "X_test": [[6, 7]], "y_test": [1]}
    return Dataset("small", **{**arrays, **changes})


class TestDataset:
    def test_floats_keep_their_precision_and_other_numbers_become_float64(self):
        seconds = [[1.7e9, 1.0], [1.7e9 + 1, 2.0], [1e39, 3.0]]
        for given, dtype in [(np.float32, np.float32), (np.float64, np.float64), (np.uint8, np.float64)]:
            data = small(X_train=np.asfortranarray(np.zeros((3, 2), given)))
            assert data.X_train.dtype == dtype
            assert data.X_train.flags.c_contiguous
        np.testing.assert_array_equal(small(X_train=seconds).X_train, seconds)

    def test_frames_keep_their_columns(self):
        frame = pd.DataFrame(
            {"town": pd.Categorical(["a", "b", "a"]), "day": pd.to_datetime(["2024-01-01"] * 3), "n": [1, None, 3]},
            index=[7, 7, 9],
        )
        data = small(X_train=frame.convert_dtypes(), X_test=frame[:1].convert_dtypes(), allow_nan=True)
        pd.testing.assert_frame_equal(data.X_train, frame.convert_dtypes().reset_index(drop=True))
        assert data.feature_names == ["town", "day", "n"]
        with pytest.raises(ValueError, match=r"missing values in n; .* allow_nan=True"):
            small(X_train=frame, X_test=frame[:1])
        with pytest.raises(ValueError, match="same columns in the same order"):
            small(X_train=frame, X_test=frame[["n", "day", "town"]][:1], allow_nan=True)
        with pytest.raises(ValueError, match="X_train is a DataFrame but X_test is an array"):
            small(X_train=frame[["n", "n"]], allow_nan=True)

    def test_sparse_rows_stay_sparse(self):
        twice = sparse.coo_array(([1, 2, 5], ([0, 0, 2], [1, 1, 0])), shape=(3, 2))
        data = small(X_train=twice, X_test=sparse.csr_matrix([[6, 7]]))
        assert data.X_train.format == "csr"
        np.testing.assert_array_equal(data.X_train.toarray(), [[0, 3], [0, 0], [5, 0]])
        assert data.fingerprint == small(X_train=twice.tocsc(), X_test=sparse.csr_array([[6, 7]])).fingerprint
        assert data.fingerprint != small(X_train=2 * twice, X_test=sparse.csr_array([[6, 7]])).fingerprint

    def test_masked_values_are_missing(self):
        data = small(X_train=np.ma.array([[0, 1], [2, 3], [4, 5]], mask=np.eye(3, 2)), allow_nan=True)
        np.testing.assert_array_equal(data.X_train, [[np.nan, 1], [2, np.nan], [4, 5]])

    @pytest.mark.parametrize(("dtype", "kept"), [("bfloat16", np.float64), ("float32", np.float32)])
    def test_tensors_are_arrays_whatever_torch_needs_them_for(self, dtype, kept):
        torch = pytest.importorskip("torch")
        X = torch.arange(6.0, dtype=getattr(torch, dtype)).reshape(3, 2).requires_grad_()
        data = small(X_train=X, y_train=X[:, 0] / 4)
        assert (data.X_train.dtype, data.X_train.tolist()) == (kept, [[0, 1], [2, 3], [4, 5]])
        assert data.y_train.tolist() == [0, 0.5, 1]

    def test_images_become_rows(self):
        images = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
        data = Dataset("images", images, [0, 1], images, [0, 1])
        assert data.image_shape == (3, 4, 5)
        np.testing.assert_array_equal(data.X_train, images.reshape(2, -1))

    def test_without_a_test_part_until_one_is_split_off(self):
        rows = np.arange(50)
        data = Dataset("rows", rows[:, None], rows % 2)
        assert (data.X_test.shape, data.y_test.shape, data.y_test.dtype) == ((0, 1), (0,), data.y_train.dtype)
        assert dataclasses.replace(data).fingerprint == data.fingerprint
        parts = data.split(0.2, random_state=1)
        assert sorted([*parts.X_train.ravel(), *parts.X_test.ravel()]) == rows.tolist()
        assert np.bincount(parts.y_test).tolist() == [5, 5]
        assert parts.fingerprint == data.split(0.2, random_state=1).fingerprint != data.split(0.2, 2).fingerprint
        with pytest.raises(ValueError, match="'rows' has a test part already"):
            parts.split()

    def test_targets_are_labels_or_numbers(self):
        assert small().kind == small(y_train=[0.0, 1.0, 2.0]).kind == "classification"
        data = small(y_train=[0.5, 1, 2])
        assert (data.kind, data.classes.tolist(), data.y_test.dtype) == ("regression", [], np.float64)
        assert small(kind="regression").y_train.dtype == np.float64
        whole = {"y_train": [0.0, 1.0, 2.0], "y_test": [1.0]}  # the same bytes, another meaning
        assert small(**whole).fingerprint != small(**whole, kind="regression").fingerprint
        with pytest.raises(ValueError, match="finite numbers"):
            small(y_train=["a", "b", "c"], kind="regression")
        with pytest.raises(ValueError, match="finite numbers"):
            small(y_train=[0.5, np.inf, 1])
        with pytest.raises(ValueError, match=r"kind must be .* got 'numbers'"):
            small(kind="numbers")

    @pytest.mark.parametrize("dtype", ["Int64", "boolean", "category", "Float64"])
    def test_targets_of_nullable_and_categorical_columns(self, dtype):
        labels = pd.Series([0, 1, 1]).astype(dtype)
        assert small(y_train=labels).y_train.tolist() == [0, 1, 1]
        with pytest.raises(ValueError, match="none missing"):
            small(y_train=labels.where([True, True, False]))

    def test_does_not_copy_what_has_the_form_already(self):
        X, y = np.zeros((3, 2), np.float32), np.array([0, 1, 1])
        data = small(X_train=X, y_train=y)
        assert data.X_train is X
        assert data.y_train is y

    def test_classes_are_sorted_and_come_from_the_training_part(self):
        data = small(y_train=["cat", "ant", "cat"], y_test=["bee"])
        assert data.classes.tolist() == ["ant", "cat"]

    def test_is_frozen_and_pickles(self):
        data = small()
        with pytest.raises(AttributeError):
            data.name = "other"
        assert pickle.loads(pickle.dumps(data)).fingerprint == data.fingerprint

    def test_fingerprint_depends_on_content_only(self):
        fingerprint = small().fingerprint
        assert len(fingerprint) == 64
        assert int(fingerprint, 16) >= 0
        assert Dataset(
            "other", *(getattr(small(), a) for a in ("X_train", "y_train", "X_test", "y_test"))
        ).fingerprint == (fingerprint)

    @pytest.mark.parametrize(
        "changes",
        [
            {"X_train": [[0, 1], [2, 3], [4, 6]]},
            {"y_train": [0, 1, 0]},
            {"y_train": np.array([0, 1, 1], np.int32)},
            {"y_train": np.array([0, 1, 1], np.uint64)},  # the same bytes
            {"X_test": [[7, 7]]},
            {"X_test": None, "y_test": None},
            {"y_test": [0]},
            {"X_train": [[0], [1], [2]], "X_test": [[3]]},
            # The same bytes, cut elsewhere between training and test.
            {"X_train": [[0, 1], [2, 3]], "y_train": [0, 1], "X_test": [[4, 5], [6, 7]], "y_test": [1, 1]},
        ],
    )
    def test_fingerprint_sees_every_change(self, changes):
        assert small(**changes).fingerprint != small().fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            lambda frame: frame.rename(columns={"a": "c"}),
            lambda frame: frame.assign(a=frame["a"].astype("float32")),
            lambda frame: frame.assign(a=frame["a"].astype("Float64")),
            lambda frame: frame.assign(a=[1.0, 2.0, 4.0]),
            lambda frame: frame.assign(b=["x", 2, None]),  # text instead of a number in a column of objects
            lambda frame: frame.assign(b=["y", "2", None]),
            lambda frame: frame.assign(c=frame["c"].cat.rename_categories({"u": "w"})),
            lambda frame: frame.assign(c=frame["c"].cat.reorder_categories(["v", "u"])),
            lambda frame: frame.assign(c=frame["c"].cat.as_ordered()),
            lambda frame: frame.assign(t=frame["t"].dt.tz_localize("UTC")),
            lambda frame: frame[["b", "a", "c", "t"]],
            lambda frame: frame.iloc[[1, 0, 2]],
        ],
    )
    def test_fingerprint_of_a_frame_sees_every_change(self, change):
        frame = pd.DataFrame({"a": [1.0, 2, 3], "b": pd.Series(["x", "2", None], dtype=object)})
        frame = frame.assign(c=pd.Categorical(["u", "v", "u"]), t=pd.date_range("2024-01-01", periods=3))
        assert fingerprint(frame.copy()) == fingerprint(frame)
        assert fingerprint(change(frame)) != fingerprint(frame)

    def test_text_labels_of_any_container_have_one_fingerprint(self):
        as_list = small(y_train=["a", "b", "b"], y_test=["b"])
        as_objects = small(y_train=np.array(["a", "b", "b"], object), y_test=np.array(["b"], object))
        assert as_objects.y_train.dtype.kind == "U"
        assert as_objects.fingerprint == as_list.fingerprint
        assert small(y_train=["a", "b", "c"], y_test=["b"]).fingerprint != as_list.fingerprint

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"X_train": [0, 1, 2]}, "X_train must have two dimensions"),
            ({"X_train": np.empty((0, 2)), "y_train": []}, "at least one row"),
            ({"y_test": None}, "both X_test and y_test, or neither"),
            ({"y_train": [0, 1]}, "X_train has 3 rows but y_train has 2 targets"),
            ({"X_train": [[0, 1], [2, np.nan], [4, 5]]}, "X_train has missing values; fill or drop them"),
            ({"X_train": [["0", "1"]] * 3}, "X_train is an array of <U1; give numbers, none missing, or a DataFrame"),
            ({"X_train": [[0, None]] * 3}, "X_train is an array of object"),
            ({"X_train": np.zeros((3, 2), "M8[s]")}, "X_train has dates or durations"),
            ({"y_train": [[0], [1], [1]]}, "y_train must have one dimension"),
            ({"y_train": [0.0, 1.0, np.nan]}, "y_train must hold either numbers or strings, none missing"),
            ({"y_train": np.array(["a", "b", None], object)}, "none missing"),
            ({"y_train": np.array([0, "a", "b"], object)}, "either numbers or strings"),
            ({"y_train": np.array([0, 1, None], object)}, "none missing"),
            ({"y_train": ["a", np.nan, "b"]}, "none missing"),
            ({"y_train": ["a", 1, "b"]}, "either numbers or strings"),
            ({"y_train": np.ma.array([0, 1, 1], mask=[True, False, False])}, "none missing"),
            ({"X_train": np.ma.array(np.eye(3, 2), mask=np.eye(3, 2))}, "X_train has missing values"),
            ({"y_test": ["1"]}, "y_train has numbers but y_test has text; give both alike"),
            ({"X_test": [[6, 7, 8]]}, "X_train has 2 features but X_test has 3"),
            ({"image_shape": (1, 2, 2)}, "image_shape"),
            ({"feature_names": ["a"]}, "1 names for 2 features"),
        ],
    )
    def test_says_what_does_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            small(**changes)
