"""The data set: what it makes of arrays, and what it refuses."""

import pickle

import numpy as np
import pytest

from forgetless.datasets import Dataset


def small(**changes):
    arrays = {"X_train": [[0, 1], [2, 3], [4, 5]], "y_train": [0, 1, 1], "X_test": [[6, 7]], "y_test": [1]}
    return Dataset("small", **{**arrays, **changes})


class TestDataset:
    def test_brings_arrays_to_the_agreed_form(self):
        data = small(X_train=np.asfortranarray([[0, 1], [2, 3], [4, 5]], dtype=np.float64))
        for X in (data.X_train, data.X_test):
            assert X.dtype == np.float32
            assert X.flags.c_contiguous
        np.testing.assert_array_equal(data.X_train, [[0, 1], [2, 3], [4, 5]])

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
            {"y_test": [0]},
            {"X_train": [[0], [1], [2]], "X_test": [[3]]},
            # The same bytes, cut elsewhere between training and test.
            {"X_train": [[0, 1], [2, 3]], "y_train": [0, 1], "X_test": [[4, 5], [6, 7]], "y_test": [1, 1]},
        ],
    )
    def test_fingerprint_sees_every_change(self, changes):
        assert small(**changes).fingerprint != small().fingerprint

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
            ({"X_test": np.empty((0, 2)), "y_test": []}, "at least one row"),
            ({"y_train": [0, 1]}, "X_train has 3 rows but y_train has 2 labels"),
            ({"y_train": [[0], [1], [1]]}, "y_train must have one dimension"),
            ({"y_train": [0.0, 1.0, np.nan]}, "y_train must hold either numbers or strings, none missing"),
            ({"y_train": np.array(["a", "b", None], object)}, "none missing"),
            ({"y_train": np.array([0, "a", "b"], object)}, "either numbers or strings"),
            ({"y_train": np.array([0, 1, None], object)}, "none missing"),
            ({"X_test": [[6, 7, 8]]}, "X_train has 2 features but X_test has 3"),
            ({"image_shape": (1, 2, 2)}, "image_shape"),
            ({"feature_names": ["a"]}, "1 names for 2 features"),
        ],
    )
    def test_says_what_does_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            small(**changes)
