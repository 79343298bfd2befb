"""Scores of answers: scikit-learn's scorers, asked about a model that has answered already."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags
from sklearn.utils.metaestimators import available_if

if TYPE_CHECKING:
    from ...datasets.streams import Stream

# Their functions must be told of classes that a test set has no rows of.
_OF_ALL_CLASSES = {
    "neg_brier_score",
    "neg_log_loss",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "roc_auc_ovr_weighted",
    "top_k_accuracy",
}


def _known(method: str) -> Any:
    def ask(self: Answers, rows: slice) -> np.ndarray:
        return self.found[method][rows]

    ask.__name__ = method  # scikit-learn tells methods apart by it
    return available_if(lambda self: method in self.found)(ask)


class Answers:
    """A model that has answered: scorers ask it about rows, by their positions.

    Parameters
    ----------
    classes : ndarray
        All classes of the stream; empty for regression.
    found : dict of str to ndarray
        Answers by the name of the method that gave them.
    """

    def __init__(self, classes: np.ndarray, found: dict[str, np.ndarray]) -> None:
        self.found = found
        self.classes_ = classes

    predict = _known("predict")
    predict_proba = _known("predict_proba")
    decision_function = _known("decision_function")

    def __sklearn_tags__(self) -> Any:
        if len(self.classes_):
            return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())
        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())


def score(name: str, answers: Answers, y: np.ndarray, rows: slice) -> float:
    """Compute a score of scikit-learn's from answers.

    Parameters
    ----------
    name : str
        The scorer's.
    answers : Answers
    y : ndarray
        True targets of all rows.
    rows : slice
        Those that count.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the score is not defined for these targets.
    """
    if name == "roc_auc_ovr":
        return _mean_roc_auc(y[rows], answers.predict_proba(rows), answers.classes_)
    told = {"labels": answers.classes_} if name in _OF_ALL_CLASSES else {}
    with sklearn.config_context(enable_metadata_routing=bool(told)):
        return float(get_scorer(name)(answers, rows, y[rows], **told))


def _mean_roc_auc(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Average over the classes that there are rows of; scikit-learn's function is undefined where one has none."""
    there = np.isin(classes, y)
    if there.sum() < 2:
        raise ValueError("roc_auc_ovr needs rows of at least two classes")
    areas = [
        roc_auc_score(y == each, column) for each, column in zip(classes[there], probabilities.T[there], strict=True)
    ]
    return float(np.mean(areas))


def problem_with(name: str, stream: Stream) -> str:
    """Say why a score does not fit the targets of a stream, by trying it on right answers.

    Parameters
    ----------
    name : str
        The scorer's.
    stream : Stream

    Returns
    -------
    str
        Empty if it fits.
    """
    numbers = np.linspace(1.0, 2.0, 4)
    of_numbers = _failure(name, Answers(np.empty(0), {"predict": numbers}), numbers)
    if stream.kind == "regression":
        return of_numbers
    if not of_numbers:  # scikit-learn would take labels that look like numbers for amounts
        return "it is a score of numbers"
    classes = stream.classes
    found = {"predict": np.repeat(classes, 2), "predict_proba": np.repeat(np.eye(len(classes)), 2, axis=0)}
    return _failure(name, Answers(classes, found), found["predict"])


@functools.cache
def needs_more_than_predictions(name: str) -> bool:
    """Whether a score of classes cannot be computed from predictions alone.

    Parameters
    ----------
    name : str
        The scorer's.

    Returns
    -------
    bool

    Examples
    --------
    >>> needs_more_than_predictions("neg_log_loss"), needs_more_than_predictions("f1_macro")
    (True, False)
    """
    return takes(name, "predict_proba") and not takes(name)


@functools.cache
def takes(name: str, *methods: str) -> bool:
    """Whether a score of classes can be computed from predictions and the answers of these methods alone.

    Parameters
    ----------
    name : str
        The scorer's.
    *methods : {"predict_proba", "decision_function"}

    Returns
    -------
    bool

    Examples
    --------
    >>> takes("roc_auc", "decision_function"), takes("neg_log_loss", "decision_function")
    (True, False)
    """
    right = {
        "predict": np.array([0, 0, 1, 1]),
        "predict_proba": np.repeat(np.eye(2), 2, axis=0),
        "decision_function": np.array([-1.0, -1.0, 1.0, 1.0]),
    }
    answers = Answers(np.array([0, 1]), {method: right[method] for method in ("predict", *methods)})
    return not _failure(name, answers, right["predict"])


def _failure(name: str, answers: Answers, y: np.ndarray) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            score(name, answers, y, slice(None))
    except (AttributeError, TypeError, ValueError) as error:
        return " ".join(str(error).split())
    return ""
