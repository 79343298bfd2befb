"""How a benchmark tests: on what, when, and by which scores."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.metaestimators import available_if

from .specs import nearest

if TYPE_CHECKING:
    from ...datasets.streams import Stream

Evaluate = Literal["all", "seen", "current", "future", "prequential"]

DEFAULT_SCORING = {"classification": ("accuracy",), "regression": ("r2",)}

# Their functions must be told of classes that a test set has no rows of.
_OF_ALL_CLASSES = {
    "neg_brier_score",
    "neg_log_loss",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "roc_auc_ovr_weighted",
    "top_k_accuracy",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How models are tested.

    Parameters
    ----------
    evaluate : {"all", "seen", "current", "future", "prequential"}, default="all"
        The experiences whose test sets a model is tested on after each experience: all of them (and the untrained
        model, too), those seen so far, the current one, or those to come. "prequential": the rows that arrive are
        predicted first, then learned. The work of "current" and "prequential" grows with the length of the stream, that
        of the others with its square.
    eval_every : int, default=None
        Learn an experience in calls of so many rows, and test between them. Where the stream has task ids, the calls
        continue the experience; elsewhere each is one for the strategy. ``None``: an experience is one call.
    scoring : sequence of str, default=()
        Names of scikit-learn's scorers; a stream takes those that fit its targets. The first is the one that
        strategies are ranked by. None: accuracy for classes, R² for numbers.
    diagnostics : bool, default=False
        Whether to measure the state of networks after each experience; see
        :func:`~forgetless.benchmarks.runs.diagnostics.diagnose`.

    Raises
    ------
    ValueError
        If something does not exist or makes no sense.

    Examples
    --------
    >>> Protocol("seen").tested_after(1, n_experiences=5)
    range(0, 2)
    >>> Protocol("sen")
    Traceback (most recent call last):
    ...
    ValueError: evaluate is 'sen' (did you mean 'seen'?); give 'all', 'seen', 'current', 'future' or 'prequential'.
    """

    evaluate: Evaluate = "all"
    eval_every: int | None = None
    scoring: Sequence[str] = ()
    diagnostics: bool = False

    def __post_init__(self) -> None:
        from sklearn.metrics import get_scorer_names

        known = get_args(Evaluate)
        if self.evaluate not in known:
            raise ValueError(
                f"evaluate is {self.evaluate!r}{nearest(str(self.evaluate), known)}; give "
                f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}."
            )
        if self.eval_every is not None and not (isinstance(self.eval_every, int) and self.eval_every > 0):
            raise ValueError(f"eval_every is {self.eval_every!r}; give a number of rows, at least 1.")
        scoring = (self.scoring,) if isinstance(self.scoring, str) else tuple(self.scoring)
        object.__setattr__(self, "scoring", scoring)
        for name in scoring:
            if name not in get_scorer_names():
                raise ValueError(f"There is no scorer {name!r} in scikit-learn{nearest(name, get_scorer_names())}.")
        if len(set(scoring)) < len(scoring):
            raise ValueError(f"scoring names a scorer twice: {', '.join(scoring)}.")

    def tested_after(self, trained_on: int, n_experiences: int) -> range:
        """Return the experiences that a model is tested on.

        Parameters
        ----------
        trained_on : int
            The last experience that was learned; -1 if none was.
        n_experiences : int

        Returns
        -------
        range
        """
        match self.evaluate:
            case "all":
                return range(n_experiences)
            case "seen":
                return range(trained_on + 1)
            case "current":
                return range(max(trained_on, 0), trained_on + 1)
            case "future":
                return range(trained_on + 1, n_experiences)
        return range(0)

    def parts(self, n_rows: int) -> Iterator[slice]:
        """Yield the rows of each call in which an experience is learned.

        Parameters
        ----------
        n_rows : int

        Yields
        ------
        slice
        """
        step = self.eval_every or max(n_rows, 1)
        for start in range(0, max(n_rows, 1), step):
            yield slice(start, min(start + step, n_rows))

    def for_stream(self, stream: Stream) -> Protocol:
        """Return the protocol with the scorers that fit a stream's targets.

        Parameters
        ----------
        stream : Stream

        Returns
        -------
        Protocol

        Raises
        ------
        ValueError
            If none fits.
        """
        problems = {name: _problem(name, stream) for name in self.scoring}
        fitting = tuple(name for name, problem in problems.items() if not problem) or (
            () if problems else DEFAULT_SCORING[stream.kind]
        )
        if not fitting:
            name, problem = next(iter(problems.items()))
            raise ValueError(
                f"scoring {name!r} does not fit the stream {stream.name!r} ({stream.kind}, {len(stream.classes)} "
                f"classes): {problem}"
            )
        return dataclasses.replace(self, scoring=fitting)

    def check_answers(self, name: str, estimator: Any) -> None:
        """Raise if an estimator has no method that a scorer asks for.

        Parameters
        ----------
        name : str
            The strategy's, for the message.
        estimator : estimator

        Raises
        ------
        ValueError
        """
        if is_regressor(estimator) or any(hasattr(estimator, each) for each in ("predict_proba", "decision_function")):
            return
        labels = np.array([0, 1])
        for scorer in self.scoring:
            if _failure(scorer, Answers(labels, {"predict": labels}), labels):
                raise ValueError(f"scoring {scorer!r} needs probabilities, which the strategy {name!r} does not give.")

    def description(self) -> dict[str, Any]:
        """Return what decides which numbers there are, serialisable as JSON."""
        return dataclasses.asdict(self) | {"scoring": list(self.scoring)}


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

    def predict(self, rows: slice) -> np.ndarray:
        """Return what was predicted of some rows."""
        return self.found["predict"][rows]

    @available_if(lambda self: "predict_proba" in self.found)
    def predict_proba(self, rows: slice) -> np.ndarray:
        """Return the probabilities of all classes for some rows."""
        return self.found["predict_proba"][rows]

    @available_if(lambda self: "decision_function" in self.found)
    def decision_function(self, rows: slice) -> np.ndarray:
        """Return what the decision function said of some rows."""
        return self.found["decision_function"][rows]

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

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
    import sklearn
    from sklearn.metrics import get_scorer

    if name == "roc_auc_ovr":
        return _mean_roc_auc(y[rows], answers.predict_proba(rows), answers.classes_)
    told = {"labels": answers.classes_} if name in _OF_ALL_CLASSES else {}
    with sklearn.config_context(enable_metadata_routing=bool(told)):
        return float(get_scorer(name)(answers, rows, y[rows], **told))


def _mean_roc_auc(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Average over the classes that there are rows of; scikit-learn's function is undefined where one has none."""
    from sklearn.metrics import roc_auc_score

    there = np.isin(classes, y)
    if there.sum() < 2:
        raise ValueError("roc_auc_ovr needs rows of at least two classes")
    areas = [
        roc_auc_score(y == each, column) for each, column in zip(classes[there], probabilities.T[there], strict=True)
    ]
    return float(np.mean(areas))


def _problem(name: str, stream: Stream) -> str:
    """Say why a score does not fit the targets of a stream, by trying it on right answers; empty if it does."""
    numbers = np.linspace(1.0, 2.0, 4)
    of_numbers = _failure(name, Answers(np.empty(0), {"predict": numbers}), numbers)
    if stream.kind == "regression":
        return of_numbers
    if not of_numbers:  # scikit-learn would take labels that look like numbers for amounts
        return "it is a score of numbers"
    classes = stream.classes
    found = {"predict": np.repeat(classes, 2), "predict_proba": np.repeat(np.eye(len(classes)), 2, axis=0)}
    return _failure(name, Answers(classes, found), found["predict"])


def _failure(name: str, answers: Answers, y: np.ndarray) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            score(name, answers, y, slice(None))
    except (AttributeError, TypeError, ValueError) as error:
        return " ".join(str(error).split())
    return ""
