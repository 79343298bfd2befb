"""A fresh network is one that never saw the experiences before."""

import numpy as np
import torch
from helpers.estimators import DIGITS, X, Y
from sklearn.base import clone

from forgetless.estimators import (
    MLP,
    ContinualNet,
    ContinualRegressionNet,
    FreshClassifier,
    FreshRegressor,
    NaiveClassifier,
)

NET = ContinualNet(MLP, module__hidden_units=(16,), lr=0.01, max_epochs=3)


def test_no_row_of_earlier_experiences_plays_a_part():
    """Whatever the experience before was, with the same classes the result is the same, to the bit."""
    models = [FreshClassifier(NET, random_state=0) for _ in range(2)]
    for model, rows in zip(models, (slice(0, 300), slice(300, 600)), strict=True):
        model.partial_fit(X[rows], Y[rows], classes=range(10)).partial_fit(X[600:900], Y[600:900])
    assert np.array_equal(*(model.predict_proba(DIGITS.X_test) for model in models))
    naive = [NaiveClassifier(NET, random_state=0) for _ in range(2)]
    for model, rows in zip(naive, (slice(0, 300), slice(300, 600)), strict=True):
        model.partial_fit(X[rows], Y[rows], classes=range(10)).partial_fit(X[600:900], Y[600:900])
    assert not np.array_equal(*(model.predict_proba(DIGITS.X_test) for model in naive))


def test_each_experience_has_new_weights_and_a_new_optimiser():
    clf = FreshClassifier(clone(NET).set_params(max_epochs=0), random_state=0).partial_fit(X[:50], Y[:50])
    first = clf.net_.flatten().clone()
    clf.partial_fit(X[:50], Y[:50])
    assert first.shape == clf.net_.flatten().shape and not torch.equal(first, clf.net_.flatten())
    assert all(not state["step"] for state in clf.net_.optimizer_.state.values())


def test_calls_of_one_experience_go_on():
    fresh, naive = (cls(NET, active_outputs="seen", random_state=0) for cls in (FreshClassifier, NaiveClassifier))
    for clf in (fresh, naive):
        for part in range(3):
            rows = slice(100 * part, 100 * part + 100)
            clf.partial_fit(X[rows], Y[rows], task_id="one")
    assert np.array_equal(fresh.predict_proba(DIGITS.X_test), naive.predict_proba(DIGITS.X_test))


def test_the_first_experience_is_that_of_plain_training():
    fresh, naive = (cls(NET, random_state=0).fit(X, Y) for cls in (FreshClassifier, NaiveClassifier))
    assert np.array_equal(fresh.predict_proba(DIGITS.X_test), naive.predict_proba(DIGITS.X_test))


def test_regressors_start_anew_too():
    net = ContinualRegressionNet(MLP, module__hidden_units=(8,), max_epochs=2)
    regs = [FreshRegressor(net, random_state=0) for _ in range(2)]
    for reg, sign in zip(regs, (1, -1), strict=True):
        reg.partial_fit(X[:200], sign * Y[:200]).partial_fit(X[200:400], Y[200:400])
    assert np.array_equal(*(reg.predict(DIGITS.X_test) for reg in regs))
