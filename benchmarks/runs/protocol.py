"""How a benchmark tests: on what, when, and by which scores."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from .specs import nearest

if TYPE_CHECKING:
    from ...datasets.streams import Stream

Evaluate = Literal["all", "seen", "current", "future", "prequential"]

DEFAULT_SCORING = {"classification": ("accuracy",), "regression": ("r2",)}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a strategy may cost; memory sizes and epochs are set so that it fits.

    Parameters
    ----------
    state_bytes : float, default=None
        Bytes carried from call to call after the last experience, of all kinds together. Strategies that have a
        ``buffer_size`` get the largest that fits.
    fit_seconds : float, default=None
        Seconds of learning a stream. Strategies that have ``max_epochs`` get as many as fit.

    Raises
    ------
    ValueError
        If one of them is no positive number.

    Examples
    --------
    >>> Budget(state_bytes=500_000).description()
    {'state_bytes': 500000.0}
    """

    state_bytes: float | None = None
    fit_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is None:
                continue
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"The budget's {name} is {value!r}; give a positive number.")
            object.__setattr__(self, name, float(value))  # 60 and 60.0 are the same, in the key of a cell, too

    def description(self) -> dict[str, Any]:
        """Return what is limited, serialisable as JSON."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How models are tested, and what they may cost.

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
        strategies are ranked by. Empty or ``None``: accuracy for classes, R² for numbers.
    diagnostics : bool, default=False
        Whether to measure the state of networks after each experience; see
        :func:`~forgetless.benchmarks.runs.diagnostics.diagnose`.
    budget : Budget, default=Budget()
        Without limits by default.

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
    budget: Budget = Budget()

    def __post_init__(self) -> None:
        known = get_args(Evaluate)
        if self.evaluate not in known:
            raise ValueError(
                f"evaluate is {self.evaluate!r}{nearest(str(self.evaluate), known)}; give "
                f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}."
            )
        if self.eval_every is not None and not (isinstance(self.eval_every, int) and self.eval_every > 0):
            raise ValueError(f"eval_every is {self.eval_every!r}; give a number of rows, at least 1.")
        scoring = (self.scoring,) if isinstance(self.scoring, str) else tuple(self.scoring or ())
        object.__setattr__(self, "scoring", scoring)
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
            If none fits, or one does not exist.

        Warns
        -----
        UserWarning
            If it tests on what cannot be known yet.
        """
        from sklearn.metrics import get_scorer_names

        from .scoring import problem_with

        for name in self.scoring:
            if name not in get_scorer_names():
                raise ValueError(f"There is no scorer {name!r} in scikit-learn{nearest(name, get_scorer_names())}.")
        if self.evaluate == "future" and stream.scenario == "class":
            warnings.warn(
                f"evaluate is 'future', but no model knows the classes to come of the stream {stream.name!r}, which is "
                "class-incremental: no score will be shown for it.",
                stacklevel=3,
            )
        problems = {name: problem_with(name, stream) for name in self.scoring}
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
        from .scoring import needs_more_than_predictions, takes

        if hasattr(estimator, "predict_proba"):
            return
        decides = hasattr(estimator, "decision_function")
        for scorer in filter(needs_more_than_predictions, self.scoring):
            if not (decides and takes(scorer, "decision_function")):
                raise ValueError(f"scoring {scorer!r} needs probabilities, which the strategy {name!r} does not give.")

    def description(self) -> dict[str, Any]:
        """Return what decides which numbers there are, serialisable as JSON."""
        found = dataclasses.asdict(self) | {"scoring": list(self.scoring), "budget": self.budget.description()}
        return found if found["budget"] else {name: value for name, value in found.items() if name != "budget"}
