"""Data sets by name."""

import pytest

from forgetless import datasets
from forgetless.datasets import DATASETS, load_dataset


def test_names_and_loaders():
    assert {"ag_news", "cifar10", "digits", "flights", "image_segments", "mnist", "watch"} <= set(DATASETS)
    assert list(DATASETS) == sorted(DATASETS)
    assert all(callable(getattr(datasets, loader)) for loader in DATASETS.values())
    with pytest.raises(ValueError, match=r"no data set 'cifar'; choose one of ag_news, ag_news_in_order"):
        load_dataset("cifar")


def test_a_loader_of_many_is_told_the_name():
    pytest.importorskip("river", reason='needs pip install "forgetless[data]"')
    assert load_dataset("phishing").name == "phishing"
