"""Results of a benchmark: what was measured, in four tables."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray

# Columns and their types: the tables of the store and the DataFrames are both built from these.
RUN_COLUMNS: dict[str, type] = {
    "cell": str,
    "strategy": str,
    "stream": str,
    "scenario": str,
    "dataset": str,
    "seed": int,
    "status": str,
    "error": object,
    "estimator": str,
    "family": str,
    "keeps": str,
    "source": str,
    "needs_task_id": bool,
    "params": str,
    "stream_definition": str,
    "protocol": str,
    "device": str,
    "n_experiences": int,
    "n_parameters": float,
    "seconds": float,
    "n_parallel": float,
    "n_stacked": float,
    "started": str,
    "versions": str,
    "machine": str,
}
NAME_COLUMNS: dict[str, type] = {"cell": str, "strategy": str, "stream": str, "seed": int}
EXPERIENCE_COLUMNS: dict[str, type] = {
    **NAME_COLUMNS,
    "experience": int,
    "n_train": int,
    "fit_seconds": float,
    "predict_seconds": float,
    "peak_memory_bytes": float,
    "model_bytes": int,
    "replay_bytes": int,
    "state_bytes": int,
    "pickled_bytes": float,
    "gradient_steps": float,
    "samples_seen": float,
    "flops": float,
    "energy_joules": float,
    "pickled_memory": str,
    "memory": str,
    "diagnostics": str,
}
SCORE_COLUMNS: dict[str, type] = {
    **NAME_COLUMNS,
    "trained_on": int,
    "tested_on": int,
    "n_tested": float,
    "metric": str,
    "score": float,
}
EVALUATION_COLUMNS: dict[str, type] = {
    **NAME_COLUMNS,
    "experience": int,
    "n_rows": int,
    "tested_on": int,
    "n_tested": int,
    "metric": str,
    "score": float,
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was measured in one cell: a row for the run, rows of the other tables without the cell's names."""

    run: dict[str, Any]
    experiences: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What a benchmark measured; every metric is derived from it, by :mod:`forgetless.reports`.

    Parameters
    ----------
    runs : DataFrame
        One row per cell (strategy, stream, seed): names, parameters, status (``"ok"`` or ``"failed"``) and error,
        device, seconds, versions. ``n_parallel`` says how many runs went on at once: where it is not 1, seconds are no
        measurement. ``n_stacked`` seeds were trained in one job, as one network if the module allows it, and share its
        seconds; 1: the run was trained alone. Both are NaN where they are not known. ``dataset`` names what the stream
        is made of; a stream that was made of no data set stands for one of its own. It is empty where it is not known:
        for cells that failed before the stream was there, and those of stores that older versions made. ``protocol`` is
        a JSON object: ``evaluate`` (``"all"``, ``"seen"``, ``"current"``, ``"future"`` or ``"prequential"``),
        ``eval_every`` (rows between evaluations within an experience, or null) and ``scoring`` (names of scikit-learn's
        scorers; the first is the primary one).
    experiences : DataFrame
        One row per cell and experience: seconds of fit and of predict (over all test sets), bytes carried, and the
        peak of memory: how far resident memory (on a GPU: allocated memory) rose during the fit above what the process
        held when the cell began to learn; NaN where the system does not tell. ``pickled_bytes`` is the length of the
        estimator's pickle, NaN if it has none; ``gradient_steps`` the number of batches that its network was trained on
        in the experience, ``samples_seen`` the rows of which a gradient was computed (replayed ones, and those of
        Fisher information and of reference gradients included, each as often as it was), ``flops`` the floating-point
        operations of all passes of networks while it learned: the matrix products and convolutions, forward and back,
        of steps, teachers and Fisher information; NaN without a network, and of GDumb, which learns when it is asked.
        What is done element by element, optimisers and second derivatives are not counted. ``energy_joules`` is what
        the machine's processors took during the fit, other programs included; NaN on a GPU, and where the system does
        not tell. ``pickled_memory`` is a JSON object: of the pickled bytes those of each kind of ``memory``, and
        ``other``. ``diagnostics`` is a JSON object of numbers by name, empty if none were asked for.
    scores : DataFrame
        One row per cell, pair and scorer (``metric``): the score on the test set of experience ``tested_on`` after
        learning experience ``trained_on``; -1 is the untrained model. ``n_tested`` rows are behind it: 0 where there
        was no model that could answer, NaN in stores that older versions made. There are only the pairs that the
        protocol evaluates; prequential: the pair k - 1, k is about all rows of k, each predicted before it was learned.
    evaluations : DataFrame
        Scores within experiences, one row per cell, test and scorer: on ``n_tested`` rows of experience ``tested_on``
        after ``n_rows`` rows of ``experience``. Prequential: each chunk, right before it is learned.
    """

    runs: pd.DataFrame
    experiences: pd.DataFrame
    scores: pd.DataFrame
    evaluations: pd.DataFrame

    def __repr__(self) -> str:
        failed = int((self.runs["status"] == "failed").sum())
        return (
            f"<Results: {len(self.runs)} cells ({failed} failed), {self.runs['strategy'].nunique()} strategies, "
            f"{self.runs['stream'].nunique()} streams, {self.runs['seed'].nunique()} seeds>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the leaderboard, streams side by side if there are several."""
        from ..reports import html_tables, leaderboard

        tables = html_tables(leaderboard(self), pivot=len(set(self.runs["stream"])) > 1)
        return f"<p>{html.escape(repr(self).strip('<>'))}</p>\n{tables}"


def columns_table(values: Iterable[Sequence[Any]], columns: Mapping[str, type]) -> pd.DataFrame:
    """Make a DataFrame with given columns and types.

    Parameters
    ----------
    values : iterable of sequences
        Values of each column.
    columns : mapping of name to type

    Returns
    -------
    DataFrame
        With texts as `texts` makes them.

    Examples
    --------
    >>> columns_table([[1, 2], [None, 0.5]], {"seed": int, "score": float})
       seed  score
    0     1    NaN
    1     2    0.5
    """
    return pd.DataFrame(
        {
            name: texts(each) if kind is str else pd.Series(list(each)).astype(kind)
            for (name, kind), each in zip(columns.items(), values, strict=True)
        }
    )


def texts(values: Sequence[str] | NDArray[Any]) -> ExtensionArray | NDArray[Any]:
    """Make a column of texts, each kept once, however many rows have it: what pandas does by itself copies them.

    Parameters
    ----------
    values : sequence of str

    Returns
    -------
    array
        Of the type that pandas has for texts.

    Examples
    --------
    >>> pd.Series(texts(["a", "b"])).tolist()
    ['a', 'b']
    """
    array = np.asarray(values, dtype=object)
    known = pd.Series(dtype=str).dtype  # older versions of pandas have no type of texts
    if isinstance(known, pd.StringDtype):
        return pd.array(array, dtype=pd.StringDtype("python", na_value=known.na_value))
    return array
