"""Testing in a cell: a model's answers to test sets and to rows that arrive, checked, timed and scored."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from ...datasets.streams import Stream, concatenate
from .guests import seconds_outside
from .measuring import now
from .protocol import Protocol
from .scoring import Answers, needs_more_than_predictions, score

# Test sets are concatenated up to this size, so that one call to predict answers for many experiences.
BLOCK_BYTES = 2**29


@dataclasses.dataclass(frozen=True)
class Block:
    """Test sets of some experiences, concatenated; `rows` says which rows are of which experience."""

    X: Any
    y: np.ndarray
    rows: dict[int, slice]


class Tests:
    """The tests of a stream, for one estimator: test sets are concatenated if one call can answer for all.

    Parameters
    ----------
    stream : Stream
    protocol : Protocol
    by_task : bool
        Whether the model is told the task of what it predicts.
    device : str

    Attributes
    ----------
    seconds : float
        What predicting took since it was last read.
    """

    def __init__(self, stream: Stream, protocol: Protocol, by_task: bool, device: str) -> None:
        self.stream = stream
        self.protocol = protocol
        self.by_task = by_task
        self.device = device
        self.seconds = 0.0
        always_all = protocol.evaluate == "all" and len(stream) * _n_bytes(stream.test_set(0)[0]) <= BLOCK_BYTES
        self.kept = list(self._blocks(range(len(stream)))) if always_all else None

    def spent(self) -> float:
        """Return the seconds that predicting took since this was last asked."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def after(self, trained_on: int, model: Any) -> list[dict[str, Any]]:
        """Test a model after an experience, as the protocol says.

        Parameters
        ----------
        trained_on : int
            The last experience that was learned; -1 if none was.
        model : estimator or None
            ``None``: no model can answer yet.

        Returns
        -------
        list of dict
            A score for each experience tested on and each scorer: NaN where there is no model, where a model that is
            told the task has not met it, and where a score is not defined for the rows of a test set.
        """
        wanted = self.protocol.tested_after(trained_on, len(self.stream))
        found = {} if model is None else {j: (n, scores) for j, n, scores in self._scores(model, wanted, trained_on)}
        unknown = 0, dict.fromkeys(self.protocol.scoring, math.nan)
        return [
            {"trained_on": trained_on, "tested_on": j, "n_tested": n_tested, "metric": metric, "score": value}
            for j in wanted
            for n_tested, scores in [found.get(j, unknown)]
            for metric, value in scores.items()
        ]

    def within(self, experience: int, n_rows: int, model: Any) -> list[dict[str, Any]]:
        """Test a model in the middle of an experience.

        Parameters
        ----------
        experience : int
        n_rows : int
            How many of its rows were learned.
        model : estimator

        Returns
        -------
        list of dict
        """
        wanted = self.protocol.tested_after(experience, len(self.stream))
        return [
            {
                "experience": experience,
                "n_rows": n_rows,
                "tested_on": j,
                "n_tested": n_tested,
                "metric": metric,
                "score": value,
            }
            for j, n_tested, scores in self._scores(model, wanted, experience)
            for metric, value in scores.items()
        ]

    def answers(self, model: Any, X: Any, y: np.ndarray, task_id: int | None = None) -> Answers:
        """Let a model answer, and check that these are answers.

        Parameters
        ----------
        model : estimator
        X, y
            Inputs and true targets.
        task_id : int, default=None

        Returns
        -------
        Answers

        Raises
        ------
        ValueError
            If they are none.
        """
        task = {} if task_id is None else {"task_id": task_id}
        outside, clock = seconds_outside(model), now(self.device)
        found = {"predict": model.predict(X, **task)}
        if any(map(needs_more_than_predictions, self.protocol.scoring)):
            for method in ("predict_proba", "decision_function"):
                if len(self.stream.classes) and hasattr(model, method) and len(found) == 1:
                    found[method] = getattr(model, method)(X, **task)
        self.seconds += now(self.device) - clock - (seconds_outside(model) - outside)
        found["predict"] = _column(found["predict"])
        if not len(self.stream.classes):
            found["predict"] = column_or_1d(check_array(found["predict"], ensure_2d=False, input_name="predict"))
            check_consistent_length(y, found["predict"])
        elif len(y):
            accuracy_score(y, found["predict"])  # which looks whether these are answers at all
        if "predict_proba" in found:
            found["predict_proba"] = self._of_all_classes(found["predict_proba"], model.classes_, len(y))
        return Answers(self.stream.classes, found)

    def scores(self, answers: Answers, y: np.ndarray, rows: slice = slice(None)) -> dict[str, float]:
        """Compute the scores of answers.

        Parameters
        ----------
        answers : Answers
        y : ndarray
            True targets.
        rows : slice, default=slice(None)
            Those that count.

        Returns
        -------
        dict of str to float
        """
        return {name: _defined(name, answers, y, rows) for name in self.protocol.scoring}

    def _of_all_classes(self, found: Any, known: Any, n_rows: int) -> np.ndarray:
        """Bring probabilities of the classes that a model knows to the columns of all classes."""
        probabilities = check_array(found, input_name="predict_proba")
        if probabilities.shape != (n_rows, len(known)):
            raise ValueError(
                f"predict_proba gave shape {probabilities.shape} for {n_rows} rows and {len(known)} classes."
            )
        everything = np.zeros((n_rows, len(self.stream.classes)), dtype=probabilities.dtype)
        everything[:, np.searchsorted(self.stream.classes, known)] = probabilities
        return everything

    def _scores(
        self, model: Any, wanted: Sequence[int], trained_on: int
    ) -> Iterator[tuple[int, int, dict[str, float]]]:
        """Yield the position, the number of rows and the scores of each test set that the model can answer."""
        for block in self.kept or self._blocks(wanted):
            task_id = next(iter(block.rows)) if self.by_task else None
            if not len(block.y) or (task_id is not None and task_id > trained_on):
                continue
            answers = self.answers(model, block.X, block.y, task_id)
            for j, rows in block.rows.items():
                yield j, rows.stop - rows.start, self.scores(answers, block.y, rows)

    def _blocks(self, wanted: Sequence[int]) -> Iterator[Block]:
        waiting: dict[int, tuple[Any, np.ndarray]] = {}
        for j in wanted:
            waiting[j] = self.stream.test_set(j)
            full = sum(_n_bytes(X) for X, _ in waiting.values()) + _n_bytes(waiting[j][0]) > BLOCK_BYTES
            if self.by_task or full or j == wanted[-1]:
                ends = np.cumsum([len(y) for _, y in waiting.values()]).tolist()
                rows = {k: slice(*ends) for k, ends in zip(waiting, itertools.pairwise([0, *ends]), strict=True)}
                X, y = concatenate(list(waiting.values()))
                yield Block(read_only(X), y, rows)
                waiting = {}


def together(parts: Sequence[Answers]) -> Answers:
    """Join answers to rows that arrived one after the other.

    Parameters
    ----------
    parts : sequence of Answers
        At least one.

    Returns
    -------
    Answers
    """
    found = {method: np.concatenate([part.found[method] for part in parts]) for method in parts[0].found}
    return Answers(parts[0].classes_, found)


def read_only(data: Any) -> Any:
    """Protect data that others are tested on, too.

    Parameters
    ----------
    data : ndarray, DataFrame or sparse matrix

    Returns
    -------
    ndarray, DataFrame or sparse matrix
        A view of an array, a copy of all else.
    """
    if not isinstance(data, np.ndarray):
        return data.copy()
    view = data.view()
    view.flags.writeable = False
    return view


def _column(predictions: Any) -> np.ndarray:
    """Return predictions as an array of one dimension, objects in the type that they all are of."""
    if np.ma.is_masked(predictions):
        raise ValueError("Some predictions are masked; a model must answer for every row.")
    column: np.ndarray = column_or_1d(predictions)
    return pd.Series(column).infer_objects().to_numpy() if column.dtype == object else column


def _defined(name: str, answers: Answers, y: np.ndarray, rows: slice) -> float:
    if not len(y[rows]):
        return math.nan
    if name == "accuracy":  # as accuracy_score, without its checks of what was checked
        return float(np.mean(answers.found["predict"][rows] == y[rows]))
    try:
        return score(name, answers, y, rows)
    except ValueError:  # answers and scorers are in order: the score of these targets is not defined
        return math.nan


def _n_bytes(X: Any) -> int:
    """Count the bytes of an array, a frame or a sparse matrix."""
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    return int((X.data if hasattr(X, "tocsr") else X).nbytes)
