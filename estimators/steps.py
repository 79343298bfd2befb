"""How a transformer learns when it is a step of something that learns incrementally."""

import copy
from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .parameters import one_of

# The constraint of the parameter ``update``.
UPDATES = [one_of("auto", "first", "always")]


def is_fitted(step: BaseEstimator) -> bool:
    """Whether a step is fitted, as scikit-learn sees it."""
    try:
        check_is_fitted(step)
    except NotFittedError:
        return False
    return True


def moves(step: BaseEstimator, update: str) -> bool:
    """Whether a step learns at every call, and not at the first one only.

    Parameters
    ----------
    step : transformer
    update : {"auto", "first", "always"}
        "auto": those learn whose outputs keep their meaning, see :func:`keeps_meaning`.

    Returns
    -------
    bool
    """
    if isinstance(step, FrozenEstimator) or not hasattr(step, "partial_fit"):
        return False
    return update == "always" or (update == "auto" and keeps_meaning(step))


def keeps_meaning(step: BaseEstimator) -> bool:
    """Whether the outputs of a step mean the same after it has learned more.

    Parameters
    ----------
    step : transformer
        It says so itself in an attribute ``output_keeps_meaning``; of all others, those do whose outputs are their
        inputs one to one, such as scalers. The outputs of projections mean something else after each update.

    Returns
    -------
    bool
    """
    return bool(getattr(step, "output_keeps_meaning", isinstance(step, OneToOneFeatureMixin)))


def learned(step: BaseEstimator, X: ArrayLike, y: ArrayLike | None, update: str, **params: dict[str, Any]) -> Any:
    """The step as it is after it has learned from `X`; the step itself is not touched.

    Parameters
    ----------
    step : transformer
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or None
    update : {"auto", "first", "always"}
        Whether a fitted step learns, see :func:`moves`.
    **params : dict
        For ``fit`` and for ``partial_fit``, what they get beside the data.

    Returns
    -------
    transformer
    """
    if moves(step, update):
        step = copy.deepcopy(step) if is_fitted(step) else clone(step)
        return step.partial_fit(X, y, **params.get("partial_fit", {}))
    if is_fitted(step) and get_tags(step).requires_fit:
        return step
    # Where nothing need be learned, fit notes the names of the columns.
    return clone(step).fit(X, y, **params.get("fit", {}))
