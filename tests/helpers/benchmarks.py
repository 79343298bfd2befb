"""What tests of benchmarks share: a strategy that remembers how it was called, and quick runs."""

import functools

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_iris, split_stream
from forgetless.estimators import MLP, ContinualNet

NET = ContinualNet(MLP, module__hidden_units=(8,), max_epochs=1)
run = functools.partial(run_benchmark, seeds=1, n_jobs=1, progress=False)


def iris(scenario="class", **options):
    return split_stream(load_iris(), n_experiences=3, scenario=scenario, class_order="sorted", **options)


class Spy(ClassifierMixin, BaseEstimator):
    """Answers the first class it was announced, and remembers how it was called, in the list that is `log`."""

    log = None

    def __init__(self, random_state=None, fail_at=None):
        self.random_state = random_state
        self.fail_at = fail_at

    def fit(self, X, y):
        return self.partial_fit(X, y, np.unique(y))

    def partial_fit(self, X, y, classes=None):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        self.classes_ = classes
        self.log.append(("partial_fit", self.random_state, len(X), classes))
        if self.n_calls_ == self.fail_at:
            raise ValueError("this goes\nwrong")
        return self

    def predict(self, X):
        self.log.append(("predict", len(X), torch.get_num_threads()))
        return np.full(len(X), self.classes_[0])
