"""Sites that learn together and keep their rows: networks are averaged; closed forms have ``merge``."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from .base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from .strategy import NetworkStrategy

# Of a strategy whose answers come from its network alone, these are as they were inherited.
_ANSWERS = ("output_scores", "task_output_scores", "predictions", "task_predictions")


def average_networks(estimators: Sequence[ContinualEstimator], weights: ArrayLike | None = None) -> None:
    r"""Give the networks of several estimators the weighted mean of their weights: FedAvg.

    Each site has an estimator and learns its own rows by ``partial_fit``; then all take
    :math:`\bar\theta = \sum_k w_k \theta_k / \sum_k w_k`, where :math:`w_k` are usually the sites' numbers of rows; and
    so on, round after round. Running statistics of batch normalisation are averaged, too. Weights travel, and which
    classes a site has seen, so that each can answer for all; no row does. What a strategy keeps beside its network,
    such as a memory, penalties or the optimiser's state, stays where it is.

    Let all sites start from the same weights, by the same integer ``random_state``, and announce the same classes at
    the first call: ``partial_fit(X, y, classes=...)``.

    Parameters
    ----------
    estimators : sequence of estimator
        Fitted, of one class, whose answers come from one network. They are changed, or, if something fails, none is.
    weights : array-like of shape (n_estimators,), default=None
        Not negative; None: equal ones.

    Raises
    ------
    TypeError
        If they are of several classes, or answers come from something else than one network.
    ValueError
        If networks or classes differ, or the weights are not one positive number for each.

    References
    ----------
    McMahan et al., Communication-efficient learning of deep networks from decentralized data, 2017.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, site_stream
    >>> from forgetless.estimators import NaiveClassifier, average_networks
    >>> digits = load_digits()
    >>> sites = list(site_stream(digits, n_experiences=3, random_state=0))
    >>> models = [NaiveClassifier(active_outputs="all", random_state=0) for _ in sites]
    >>> for _ in range(3):
    ...     for model, site in zip(models, sites):
    ...         model = model.partial_fit(site.X_train, site.y_train, classes=digits.classes)
    ...     average_networks(models, weights=[len(site.y_train) for site in sites])
    >>> models[0].score(digits.X_test, digits.y_test) > 0.9
    True
    """
    _check_alike(estimators)
    shares = _shares(weights, len(estimators))
    tensors = [_averaged(estimator) for estimator in estimators]
    with ExitStack() as stack:
        for estimator in estimators:
            stack.enter_context(estimator.transaction())
        for places in zip(*tensors, strict=True):
            # In double precision, so that equal weights stay what they are.
            total = sum(share * place.cpu().double() for share, place in zip(shares, places, strict=True))
            for place in places:
                place.copy_(total)
        if isinstance(estimators[0], ContinualClassifier):
            seen = np.unique(np.concatenate([estimator.seen_outputs_ for estimator in estimators]))
            for estimator in estimators:
                estimator.seen_outputs_ = seen


def _averaged(estimator: Any) -> list[torch.Tensor]:
    """Weights and statistics of a network; counters are not averaged."""
    return [t for t in estimator.net_.module_.state_dict().values() if t.is_floating_point()]


def _shares(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    shares = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != (n,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError(
            f"weights must be {n} numbers, one for each estimator, of which none is negative, not {weights!r}."
        )
    normalized: NDArray[np.float64] = shares / shares.sum()
    return normalized


def _check_alike(estimators: Sequence[Any]) -> None:
    if not estimators:
        raise ValueError("average_networks needs estimators, but got none.")
    first = estimators[0]
    kind = type(first)
    base = ContinualRegressor if isinstance(first, ContinualRegressor) else ContinualClassifier
    if not isinstance(first, NetworkStrategy) or any(
        getattr(kind, name, None) not in (getattr(NetworkStrategy, name, None), getattr(base, name, None))
        for name in _ANSWERS
    ):
        raise TypeError(
            f"The answers of {kind.__name__} do not come from one network alone, so averaged weights mean nothing to "
            "it; average a strategy such as NaiveClassifier, EWCClassifier or ReplayClassifier, or merge closed forms."
        )
    for other in estimators:
        check_is_fitted(other)
        if type(other) is not kind:
            raise TypeError(f"All estimators must be of one class, but one is a {type(other).__name__}.")
        if [t.shape for t in _averaged(other)] != [t.shape for t in _averaged(first)]:
            raise ValueError("The networks differ in their shapes; give all sites the same net.")
        if isinstance(first, ContinualClassifier) and not (
            np.array_equal(other.classes_, first.classes_)
            and np.array_equal(other.class_outputs_, first.class_outputs_)
        ):
            raise ValueError(
                "The estimators know other classes, or the same in another order; announce all classes at the first "
                "call of each: partial_fit(X, y, classes=...)."
            )
