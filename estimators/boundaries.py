"""Streams without borders: a drift detector says where an experience ends."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_regressor
from sklearn.utils import Tags, check_array, check_consistent_length, get_tags
from sklearn.utils.validation import check_is_fitted

from .delegation import Method, available_if_has
from .parameters import check_parameters, one_of
from .scores import accepted

# Experiences need other names than their neighbours only; with two, what is kept for each name stays bounded.
_NAMES = ("even", "odd")
# Rows of an experience whose moments say too little to measure others by.
_WARM_UP = 30
# Over about so many rows errors are smoothed where it is asked whether they rise or fall.
_RECENT = 30


def _has(name: str) -> Callable[[Method], Method]:
    return available_if_has(name, lambda boundaries: getattr(boundaries, "estimator_", boundaries.estimator))


class DriftBoundaries(MetaEstimatorMixin, BaseEstimator):
    r"""A strategy that finds the borders between experiences by itself, where a detector sees that the data drift.

    Nobody says where a task ends: calls of ``partial_fit`` bring rows, a batch or a single one, for ever. Before a call
    is learned, its rows are looked at one by one, and the detector gets a number between 0 and 1 for each. Where it
    fires, the call opens a new experience, so that the strategy does what it does at borders (EWC consolidates, LwF
    takes a new teacher); else the call continues the running one. With each border, the detector starts anew.

    - ``signal="errors"``: what the model gets wrong before it learns it (prequential): 0 or 1 for a label; for targets
      :math:`e / (e + \bar e)`, with e the mean absolute error of the row and :math:`\bar e` its mean over the
      experience. A detector that fires because errors fall starts anew without a border.
    - ``signal="inputs"``: how far the row is from the rows of the experience, :math:`z / (z + 1)`, with z the mean over
      features of the squared deviation from their mean, in units of their variance. It needs no labels and sees no
      drift of the labels alone. The first 30 rows of an experience only tell what rows are like.

    Time and memory of a call do not grow with the stream, if those of the strategy do not grow with the number of
    experiences; but ADWIN keeps some numbers more each time that its window doubles.

    Parameters
    ----------
    estimator : estimator
        One whose ``partial_fit`` takes a ``task_id``: a strategy of forgetless or a pipeline that ends in one, but no
        network for each task. Where ``active_outputs`` is "auto", it becomes "seen", since nobody gave a task.
    detector : object, default=None
        Has ``update(number)`` and ``drift_detected``, as the detectors of ``river.drift`` have; it is copied and not
        changed. None: ``river.drift.ADWIN()``, which needs the package river.
    signal : {"errors", "inputs"}, default="errors"
        What the detector watches.

    Attributes
    ----------
    estimator_ : estimator
        What has learned.
    detector_ : object
    n_borders_ : int
        Borders found so far.
    n_rows_ : int
        Rows learned.
    last_border_ : int or None
        Number of the row at which the detector fired last and a border was set.

    References
    ----------
    Bifet & Gavaldà, Learning from time-changing data with adaptive windowing, 2007 (ADWIN). Gama et al., Learning with
    drift detection, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import DriftBoundaries, SLDAClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 2))
    >>> y = np.where(np.arange(2000) < 1000, X[:, 0] > 0, X[:, 0] < 0)  # what was right is wrong
    >>> clf = DriftBoundaries(SLDAClassifier(shrinkage=0.1))
    >>> for rows in np.array_split(np.arange(2000), 200):
    ...     clf = clf.partial_fit(X[rows], y[rows])
    >>> clf.n_borders_, 1000 < clf.last_border_ < 1100
    (1, True)
    """

    parameter_constraints = {"signal": [one_of("errors", "inputs")]}

    estimator_: Any
    detector_: Any
    n_borders_: int
    n_rows_: int
    last_border_: int | None
    _running_: "_Running"

    def __init__(self, estimator: Any, *, detector: Any = None, signal: str = "errors") -> None:
        self.estimator = estimator
        self.detector = detector
        self.signal = signal

    # --- learning ------------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Forget everything and learn `X`, `y` as the first experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,); for a regressor also (n_samples, n_outputs)

        Returns
        -------
        self
        """
        fresh = type(self)(**self.get_params(deep=False)).partial_fit(X, y)
        self.__dict__.update(vars(fresh))
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Learn a call of the running experience, or of a new one if the detector fires in it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,); for a regressor also (n_samples, n_outputs)
        classes : array-like, default=None
            For the estimator.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If the estimator cannot be told where an experience begins, or the detector is none.
        ValueError
            If the estimator has a network for each task, or refuses the rows. Nothing has changed then.
        """
        check_parameters(self)
        check_consistent_length(X, y)
        if not hasattr(self, "estimator_"):
            estimator, detector, n_borders, n_rows, last_border = self._prepared(), self._new_detector(), 0, 0, None
            running = _Running() if self.signal == "errors" else _Running().add(_dense(X))
        else:
            estimator, detector = self.estimator_, copy.deepcopy(self.detector_)
            n_borders, n_rows, last_border = self.n_borders_, self.n_rows_, self.last_border_
            running, values, rises = self._looked_at(X, y)
            for k, value in enumerate(values.tolist()):
                detector.update(value)
                if detector.drift_detected:
                    detector = self._new_detector()
                    if rises[k]:
                        n_borders, last_border = n_borders + 1, n_rows + k
                        running = _Running() if self.signal == "errors" else _Running().add(_dense(X))
                        break
        told = accepted(estimator.partial_fit, {"classes": classes})
        estimator.partial_fit(X, y, **told, task_id=_NAMES[n_borders % len(_NAMES)])
        self.estimator_, self.detector_, self._running_ = estimator, detector, running
        self.n_borders_, self.last_border_, self.n_rows_ = n_borders, last_border, n_rows + len(np.asarray(y))
        return self

    def _prepared(self) -> Any:
        """A clone of the estimator that can be told where experiences begin."""
        estimator = clone(self.estimator)
        if not accepted(getattr(estimator, "partial_fit", lambda: None), {"task_id": 0}):
            raise TypeError(f"{estimator!r} knows no experiences: it has no partial_fit that takes a task_id.")
        if hasattr(estimator, "strategy_info") and estimator.strategy_info()["family"] == "isolation":
            raise ValueError(
                f"{estimator!r} has a part of its network for each task, whose number would grow with every border; "
                "use a strategy with one network."
            )
        automatic = [
            name
            for name, value in estimator.get_params().items()
            if name.rpartition("__")[2] == "active_outputs" and value == "auto"
        ]
        return estimator.set_params(**dict.fromkeys(automatic, "seen"))

    def _new_detector(self) -> Any:
        if self.detector is None:
            try:
                from river import drift
            except ImportError as error:
                raise ImportError(
                    "The default detector is river.drift.ADWIN; install river (pip install river), or give a detector "
                    "with update(number) and drift_detected."
                ) from error
            adwin: Any = drift.ADWIN
            return adwin()
        if not (hasattr(self.detector, "update") and hasattr(self.detector, "drift_detected")):
            raise TypeError(f"detector={self.detector!r} is none: it needs update(number) and drift_detected.")
        return copy.deepcopy(self.detector)

    def _looked_at(self, X: ArrayLike, y: ArrayLike) -> tuple["_Running", NDArray[np.float64], NDArray[np.bool_]]:
        """Moments with these rows, the number of each row for the detector, and where it may be one of a drift."""
        if self.signal == "inputs":
            rows = _dense(X)
            running, distances = self._running_.add(rows), self._running_.distances(rows)
            return running, distances / (distances + 1), np.ones(len(distances), dtype=bool)
        predictions, targets = self.estimator_.predict(X), np.asarray(y)
        if is_regressor(self.estimator_):
            errors = np.abs(targets.astype(np.float64) - predictions).reshape(len(targets), -1).mean(axis=1)
        else:
            errors = (targets.reshape(-1) != predictions).astype(np.float64)
        before = self._running_
        usual, smoothed = (before.mean[0], before.recent) if before.n else (errors.mean(), errors.mean())
        recent = np.empty_like(errors)
        for k, error in enumerate(errors):
            recent[k] = smoothed = smoothed + (error - smoothed) / _RECENT
        running = replace(before.add(errors[:, None]), recent=float(smoothed))
        if is_regressor(self.estimator_):
            errors = np.divide(errors, errors + usual, out=np.zeros_like(errors), where=errors > 0)
        return running, errors, recent > usual

    # --- answering -----------------------------------------------------------------------------------------------

    @_has("predict")
    def predict(self, X: ArrayLike) -> Any:
        """Predict with the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @_has("predict_proba")
    def predict_proba(self, X: ArrayLike) -> Any:
        """Predict probabilities with the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @_has("decision_function")
    def decision_function(self, X: ArrayLike) -> Any:
        """Scores of the classes by the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @_has("score")
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Score the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
        """
        check_is_fitted(self)
        told = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(self.estimator_.score(X, y, **told))

    @property
    def classes_(self) -> Any:
        """Classes that the estimator knows."""
        return self.estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return int(self.estimator_.n_features_in_)

    @property
    def n_experiences_(self) -> int:
        """Experiences so far: one more than borders."""
        return self.n_borders_ + 1

    @_has("strategy_info")
    def strategy_info(self) -> dict[str, Any]:
        """What kind of method the estimator is; the detector keeps statistics, and unlearns nothing.

        Returns
        -------
        dict
            As from the estimator.
        """
        info: dict[str, Any] = self.estimator.strategy_info()
        keeps = "statistics" if info["keeps"] == "nothing" else info["keeps"]
        return info | {"keeps": keeps, "unlearns": "no"}

    @_has("memory_usage")
    def memory_usage(self) -> dict[str, int]:
        """Bytes that are carried from call to call, by kind: the estimator's, and the detector as a pickle.

        Returns
        -------
        dict of str to int
        """
        check_is_fitted(self)
        usage: dict[str, int] = dict(self.estimator_.memory_usage())
        own = len(pickle.dumps((self.detector_, self._running_)))
        return usage | {"statistics": usage.get("statistics", 0) + own}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type, tags.classifier_tags, tags.regressor_tags = (
            inner.estimator_type,
            inner.classifier_tags,
            inner.regressor_tags,
        )
        tags.target_tags, tags.input_tags = inner.target_tags, inner.input_tags
        tags.input_tags.sparse = inner.input_tags.sparse and self.signal == "errors"
        return tags


@dataclass(frozen=True)
class _Running:
    """Number, mean and summed squared deviations of the rows of the running experience; and a mean of the last ones."""

    n: int = 0
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    recent: float = 0.0

    def add(self, rows: NDArray[np.float64]) -> "_Running":
        """These moments with more rows."""
        # A column that does not vary must not vary by rounding.
        n, mean = self.n + len(rows), np.where((rows == rows[0]).all(axis=0), rows[0], rows.mean(axis=0))
        shift = mean - self.mean if self.n else np.zeros_like(mean)
        between = shift**2 * self.n * len(rows) / n
        start = self.mean if self.n else mean
        squares = self.squares + np.square(rows - mean).sum(axis=0) + between
        return _Running(n, start + shift * len(rows) / n, squares)

    def distances(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over features of squared deviations, in units of the variance; of no row while there are too few."""
        if self.n < _WARM_UP:
            return np.empty(0)
        varies = self.squares > 0
        deviations = np.square(rows - self.mean)[:, varies] / (self.squares[varies] / self.n)
        return deviations.mean(axis=1) if varies.any() else np.zeros(len(rows))


def _dense(X: ArrayLike) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = check_array(X, dtype=np.float64)
    return rows
