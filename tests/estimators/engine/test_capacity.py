"""Statistics that grow with the square of the features are refused where there is no room for them."""

import numpy as np
import pytest

from forgetless.estimators import (
    NCMClassifier,
    RandomProjectionClassifier,
    RandomProjectionRegressor,
    SLDAClassifier,
)
from forgetless.estimators.engine import capacity

X, Y = np.random.default_rng(0).normal(size=(6, 300)), np.arange(6) % 2


def test_available_memory_is_less_than_there_could_be():
    assert 0 < capacity.available_memory() < 2**50


@pytest.mark.parametrize(
    "estimator",
    [SLDAClassifier(), RandomProjectionClassifier(300), RandomProjectionRegressor(300)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_squares_need_room(estimator, monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: 300**2 * 8)
    with pytest.raises(MemoryError, match=r"products of 300 features .* needs .* GB are available; give fewer"):
        estimator.partial_fit(X, Y)
    assert not hasattr(estimator, "moments_")
    monkeypatch.setattr(capacity, "available_memory", lambda: 300**2 * 8 * 20)
    estimator.partial_fit(X, Y).predict(X)


def test_means_alone_need_none(monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: 0)
    NCMClassifier().partial_fit(X, Y).predict(X)
