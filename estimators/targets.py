"""Numbers to predict, brought to a scale that networks and gradient descent learn well."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from .delegation import Method, available_if_has
from .inputs import on_host, refuse_masked


def _regressor_has(name: str) -> Callable[[Method], Method]:
    return available_if_has(name, lambda scaled: scaled.regressor)


class ScaledTargetRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """A regressor that learns targets less their mean, in units of their standard deviation.

    Both are those of the first call and stay: what was learned keeps its meaning. scikit-learn's
    ``TransformedTargetRegressor`` has no ``partial_fit``.

    Parameters
    ----------
    regressor : regressor with ``partial_fit``

    Attributes
    ----------
    regressor_ : regressor
        What has learned.
    mean_, scale_ : float
        Of the targets of the first call; the scale is 1 where all are equal.

    Examples
    --------
    >>> from sklearn.linear_model import SGDRegressor
    >>> X, y = np.arange(100.0).reshape(-1, 1) / 100, 1000 + np.arange(100.0)
    >>> model = ScaledTargetRegressor(SGDRegressor(random_state=0)).partial_fit(X, y)
    >>> bool(1000 < model.predict([[0.5]])[0] < 1100)
    True
    """

    regressor_: Any
    mean_: float
    scale_: float

    def __init__(self, regressor: Any) -> None:
        self.regressor = regressor

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Forget all and learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        self.__dict__.pop("regressor_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, **params: Any) -> Self:
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        **params : dict
            For the regressor, such as ``task_id``.

        Returns
        -------
        self
        """
        refuse_masked(y, "y")
        targets = np.asarray(on_host(y), dtype=np.float64)
        first = not hasattr(self, "regressor_")
        mean, scale = (targets.mean(), targets.std()) if first else (self.mean_, self.scale_)
        if first and len(np.unique(targets)) == 1:  # whose deviation may be what rounding makes
            mean, scale = targets.flat[0], 0.0
        scale = scale if scale > 0 else 1.0
        regressor = clone(self.regressor) if first else self.regressor_
        self.regressor_ = regressor.partial_fit(X, (targets - mean) / scale, **params)
        self.mean_, self.scale_ = float(mean), float(scale)
        return self

    def predict(self, X: ArrayLike, **params: Any) -> NDArray[Any]:
        """Predict, in the unit of the targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **params : dict
            For the regressor.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        scaled: NDArray[Any] = self.regressor_.predict(X, **params)
        return scaled * self.scale_ + self.mean_

    @_regressor_has("strategy_info")
    def strategy_info(self) -> dict[str, Any]:
        """What kind of method the regressor is, which unlearns nothing here, since mean and scale would not.

        See :meth:`ContinualRegressor.strategy_info`.
        """
        info: dict[str, Any] = self.regressor.strategy_info()
        return info | {"unlearns": "no"}

    @_regressor_has("memory_usage")
    def memory_usage(self) -> dict[str, int]:
        """Bytes that the regressor carries from call to call; see :meth:`ContinualRegressor.memory_usage`."""
        usage: dict[str, int] = self.regressor_.memory_usage()
        return usage


def learner_of(estimator: Any) -> Any:
    """Return what learns: the last step of a pipeline, what has its targets scaled, or the estimator itself.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    estimator

    Examples
    --------
    >>> from sklearn.linear_model import SGDRegressor
    >>> learner_of(ScaledTargetRegressor(SGDRegressor()))
    SGDRegressor()
    """
    if hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if isinstance(estimator, ScaledTargetRegressor):
        return getattr(estimator, "regressor_", estimator.regressor)
    return estimator
