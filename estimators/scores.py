"""Scores of a model that may be told the task of what it is asked about."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from functools import partial, update_wrapper
from typing import Any

from sklearn.metrics import get_scorer


class OfTask:
    """A model that is told the task of whatever it is asked about.

    Parameters
    ----------
    model : estimator
    task_id : hashable
        ``None``: nothing is told.
    """

    def __init__(self, model: Any, task_id: Hashable) -> None:
        self.model = model
        self.task_id = task_id

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.model, name)
        if name not in ("predict", "predict_proba", "decision_function"):
            return found
        # Scorers tell methods apart by their names.
        return update_wrapper(partial(found, **accepted(found, {"task_id": self.task_id})), found)


def accepted(method: Callable[..., Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None and what a method has no parameter for: scikit-learn's estimators know no tasks.

    Parameters
    ----------
    method : callable
    told : mapping
        Arguments by name.

    Returns
    -------
    dict
    """
    known = inspect.signature(method).parameters.values()
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known)
    names = {parameter.name for parameter in known}
    return {name: value for name, value in told.items() if value is not None and (anything or name in names)}


def score_of(
    model: Any, X: Any, y: Any, task_id: Hashable = None, scoring: str | Callable[..., float] | None = None
) -> float:
    """Score a model.

    Parameters
    ----------
    model : estimator
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    task_id : hashable, default=None
        The task of the rows.
    scoring : str or callable, default=None
        One of scikit-learn's scorers; ``None``: the model's own ``score``.

    Returns
    -------
    float
    """
    if scoring is None:
        return float(model.score(X, y, **accepted(model.score, {"task_id": task_id})))
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    return float(scorer(OfTask(model, task_id), X, y))
