"""The data sets that scikit-learn ships, and data sets by name."""

import numpy as np
import pytest

from forgetless import datasets
from forgetless.datasets import load_dataset

EMBEDDED = {  # name: rows, features, classes as published
    "breast_cancer": (569, 30, 2),
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
}


class TestEmbedded:
    @pytest.mark.parametrize("name", EMBEDDED)
    def test_shapes_and_stratification(self, name):
        data = load_dataset(name)
        rows, features, classes = EMBEDDED[name]
        assert data.name == name
        assert data.X_train.shape[1] == features == len(data.feature_names)
        assert len(data.X_train) + len(data.X_test) == rows
        assert len(data.X_test) == int(np.ceil(rows / 5))
        assert data.classes.tolist() == list(range(classes))
        assert data.y_train.dtype == data.y_test.dtype == np.int64
        shares = np.bincount(data.y_train) / len(data.y_train), np.bincount(data.y_test) / len(data.y_test)
        np.testing.assert_allclose(*shares, atol=0.02)
        assert data.description

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_split_is_a_partition_and_values_are_raw(self, name):
        from sklearn import datasets as sklearn_datasets

        data = load_dataset(name)
        original = getattr(sklearn_datasets, f"load_{name}")()
        raw = original.data / 16 if name == "digits" else original.data
        expected = np.column_stack([raw, original.target])
        found = np.column_stack([np.vstack([data.X_train, data.X_test]), np.hstack([data.y_train, data.y_test])])
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])

    def test_digits_are_images_in_the_unit_interval(self):
        digits = datasets.load_digits()
        assert digits.image_shape == (1, 8, 8)
        assert (digits.X_train.min(), digits.X_train.max()) == (0, 1)

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_random_state_decides_the_split(self, name):
        load = getattr(datasets, f"load_{name}")
        before = np.random.get_state()[1].copy()
        assert load().fingerprint == load(random_state=0).fingerprint == load_dataset(name).fingerprint
        assert load(random_state=1).fingerprint != load().fingerprint
        np.testing.assert_array_equal(np.random.get_state()[1], before)
