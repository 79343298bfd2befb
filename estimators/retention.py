"""A model in use: what it still knows, what an update would cost, and how to undo one."""

import copy
import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import ArrayLike

from .scores import accepted, score_of
from .targets import learner_of

if TYPE_CHECKING:
    import pandas as pd


class HeldOut(Protocol):
    """An experience, as far as a model is tested on it; those of :class:`~forgetless.datasets.Stream` are such."""

    @property
    def task_id(self) -> Hashable:
        """The task, for models that are told it; None if there is none."""

    @property
    def X_test(self) -> Any:
        """Test inputs."""

    @property
    def y_test(self) -> Any:
        """Test targets."""


def retention(
    estimator: Any,
    stream: Iterable[HeldOut],
    *,
    n_experiences: int | None = None,
    scoring: str | Callable[..., float] | None = None,
) -> "pd.DataFrame":
    """Measure what a model still knows of each past experience.

    Parameters
    ----------
    estimator : estimator
        Fitted; nothing in it changes.
    stream : Stream, or iterable of experiences
        What it has learned, in this order; the test rows are used.
    n_experiences : int, default=None
        How many of them it has learned. ``None``: its ``n_experiences_`` or, if it has none, all.
    scoring : str or callable, default=None
        One of scikit-learn's scorers. ``None``: the estimator's own ``score``.

    Returns
    -------
    DataFrame
        One row per past experience: ``n_rows`` (tested on) and ``score``, NaN where there are no test rows. The index
        is the position, so that the tables before and after an update can be subtracted.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import NCMClassifier, retention
    >>> stream = split_stream(load_digits(), n_experiences=5, class_order="sorted")
    >>> model = NCMClassifier()
    >>> for experience in list(stream)[:2]:
    ...     model = model.partial_fit(experience.X_train, experience.y_train)
    >>> before = retention(model, stream)
    >>> model = model.partial_fit(stream[2].X_train, stream[2].y_train)
    >>> (retention(model, stream)["score"] - before["score"]).round(2)
    experience
    0   -0.01
    1   -0.01
    2     NaN
    Name: score, dtype: float64
    """
    import pandas as pd

    if n_experiences is None:
        n_experiences = getattr(learner_of(estimator), "n_experiences_", None)
    rows = [(len(each.y_test), _score(estimator, each, scoring)) for each in islice(stream, n_experiences)]
    frame = pd.DataFrame(rows, columns=["n_rows", "score"])
    return frame.rename_axis("experience")


def _score(estimator: Any, tested: HeldOut, scoring: str | Callable[..., float] | None) -> float:
    if not len(tested.y_test):
        return math.nan
    return score_of(estimator, tested.X_test, tested.y_test, tested.task_id, scoring)


@dataclass(frozen=True, eq=False)
class Update:
    """An update that was tried on a copy.

    Parameters
    ----------
    scores : DataFrame
        One row per past experience: ``n_rows``, ``before``, ``after`` and ``change``; a negative change is forgetting.
    updated : estimator
        The copy that has learned; to accept the update is to use it.
    """

    scores: "pd.DataFrame"
    updated: Any

    @property
    def worst_change(self) -> float:
        """The lowest change; NaN if nothing was tested."""
        return float(self.scores["change"].min())


def would_forget(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    holdout: Iterable[HeldOut],
    *,
    classes: ArrayLike | None = None,
    task_id: Hashable = None,
    n_experiences: int | None = None,
    scoring: str | Callable[..., float] | None = None,
) -> Update:
    """Say what an update would cost before it is accepted: a copy learns, the estimator stays as it is.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        What it would learn.
    holdout : Stream, or list of experiences
        What it has learned so far, with test rows.
    classes, task_id
        As for ``partial_fit``.
    n_experiences, scoring
        As for :func:`retention`.

    Returns
    -------
    Update

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import NCMClassifier, would_forget
    >>> stream = split_stream(load_digits(), n_experiences=5, class_order="sorted")
    >>> model = NCMClassifier().partial_fit(stream[0].X_train, stream[0].y_train)
    >>> update = would_forget(model, stream[1].X_train, stream[1].y_train, holdout=stream)
    >>> update.scores.round(2).to_dict("records")
    [{'n_rows': 72, 'before': 1.0, 'after': 0.97, 'change': -0.03}]
    >>> if update.worst_change > -0.05:
    ...     model = update.updated
    """
    before = retention(estimator, holdout, n_experiences=n_experiences, scoring=scoring)
    updated = copy.deepcopy(estimator)
    updated.partial_fit(X, y, **accepted(updated.partial_fit, {"classes": classes, "task_id": task_id}))
    after = retention(updated, holdout, n_experiences=len(before), scoring=scoring)
    scores = before.rename(columns={"score": "before"}).assign(after=after["score"])
    return Update(scores.assign(change=scores["after"] - scores["before"]), updated)


def snapshot(estimator: Any) -> Callable[[], None]:
    """Keep the state of an estimator, so that what it learns from now on can be undone.

    Parameters
    ----------
    estimator : estimator
        Ours, a pipeline, or anybody's that can be copied.

    Returns
    -------
    callable
        Without arguments; brings the estimator back to this moment, as often as it is called.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import NCMClassifier, snapshot
    >>> model = NCMClassifier().partial_fit(np.zeros((2, 1)), ["low", "low"])
    >>> undo = snapshot(model)
    >>> model.partial_fit(np.ones((2, 1)), ["high", "high"]).classes_.tolist()
    ['high', 'low']
    >>> undo()
    >>> model.classes_.tolist()
    ['low']
    """
    kept = copy.deepcopy(vars(estimator))

    def undo() -> None:
        state = copy.deepcopy(kept)
        vars(estimator).clear()
        vars(estimator).update(state)

    return undo
