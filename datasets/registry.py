"""Data sets by name, for the command line and for suites of benchmarks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Dataset

DATASETS = {
    "ag_news": "load_ag_news",
    "ag_news_in_order": "load_ag_news_small",
    "ag_news_small": "load_ag_news_small",
    "airline_passengers": "load_river",
    "bananas": "load_river",
    "basic_motions": "load_basic_motions",
    "breast_cancer": "load_breast_cancer",
    "chick_weights": "load_river",
    "cifar10": "load_cifar10",
    "courses": "load_courses",
    "digits": "load_digits",
    "electricity": "load_electricity",
    "fashion_mnist": "load_fashion_mnist",
    "flights": "load_flights",
    "image_folder": "load_image_folder",
    "image_segments": "load_river",
    "iris": "load_iris",
    "kmnist": "load_kmnist",
    "mnist": "load_mnist",
    "mnist32": "load_mnist32",
    "movielens": "load_movielens",
    "phishing": "load_river",
    "shuttle": "load_river",
    "sp500": "load_river",
    "trump_approval": "load_river",
    "tweets": "load_tweets",
    "watch": "load_watch",
    "water_flow": "load_river",
    "wine": "load_wine",
}
"""Name of each data set and of the function in ``forgetless.datasets`` that loads it, if need be by its name."""


def load_dataset(name: str, data_home: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    data_home : str or path-like, default=None
        Folder of downloaded files; data sets that need no download ignore it.

    Returns
    -------
    Dataset
        As its own loader returns it with default parameters.

    Raises
    ------
    ImportError
        If the data are in a package that is not installed.
    OSError
        If files are missing and cannot be downloaded, or are damaged.
    ValueError
        If there is no data set of that name.

    Examples
    --------
    >>> from forgetless.datasets import load_dataset
    >>> load_dataset("iris")
    Dataset('iris': 120 training rows, 30 test rows, 4 features, 3 classes)
    """
    if name not in DATASETS:
        raise ValueError(f"There is no data set {name!r}; choose one of {', '.join(sorted(DATASETS))}.")
    loader: Callable[..., Dataset] = getattr(import_module(__package__), DATASETS[name])
    options = {"name": name, "data_home": data_home}
    return loader(**{option: options[option] for option in inspect.signature(loader).parameters.keys() & options})
