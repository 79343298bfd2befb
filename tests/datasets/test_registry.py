"""Data sets by name."""

import pytest

from forgetless.datasets import DATASETS, load_dataset


def test_names():
    assert set(DATASETS) == {"breast_cancer", "digits", "iris", "mnist", "mnist32", "wine"}
    with pytest.raises(ValueError, match=r"no data set 'cifar'; choose one of breast_cancer, digits"):
        load_dataset("cifar")
