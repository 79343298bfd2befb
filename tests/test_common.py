"""The battery that every estimator must pass: scikit-learn's checks, and what they lack."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from forgetless.estimators import all_estimators

ESTIMATORS = [cls() for _, cls in all_estimators()]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)
