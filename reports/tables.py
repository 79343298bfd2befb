"""Tables from stored results: metrics of each cell, their means over seeds, the leaderboard."""

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .choice import within_noise
from .formats import beside
from .metrics import (
    METRICS,
    Array,
    Metric,
    accuracy_curve,
    average_accuracy,
    counts_rows,
    future_curve,
    sampling_variance,
    sampling_variances,
    score_bounds,
)

CELL_COLUMNS = ["cell", "strategy", "stream", "scenario", "seed", "status"]
SUMMARY_COLUMNS = [
    *("stream", "strategy", "metric", "scorer"),
    *("mean", "std", "ci_low", "ci_high", "n_seeds", "n_failed", "note"),
]
LEADERBOARD_COLUMNS = [
    "stream",
    "strategy",
    "n_seeds",
    "scorer",
    "headline",
    "score",
    "score_ci_low",
    "score_ci_high",
    "best",
    "average_accuracy",
    "forgetting",
    "backward_transfer",
    "learning_accuracy",
    "fit_seconds",
    "predict_seconds",
    "n_beside",
    "gradient_steps",
    "samples_seen",
    "flops",
    "model_bytes",
    "replay_bytes",
    "state_bytes",
    "bytes_added",
    "pickled_bytes",
    "keeps",
]
BLOCK_COLUMNS = ["strategy", "stream", "seed", "block", "score", "variance", "seconds", "bytes"]
RUN_SCORE_COLUMNS = [
    *("dataset", "stream", "seed", "strategy", "role", "reference", "scorer"),
    *("score", "variance", "seconds", "bytes", "failed"),
]
CURVE_COLUMNS = ["stream", "strategy", "experience", "mean", "ci_low", "ci_high"]
# What strategies are ranked by, by what the protocol evaluates.
_HEADLINES = {
    "all": "average_accuracy",
    "seen": "average_accuracy",
    "current": "learning_accuracy",
    "future": "future_score",
    "prequential": "prequential_score",
}
_REFERENCES = {
    "JointClassifier": "upper bound",
    "JointRegressor": "upper bound",
    "CumulativeClassifier": "upper bound",
    "NaiveClassifier": "lower bound",
    "NaiveRegressor": "lower bound",
}
_LEADERBOARD_METRICS = [name for name in METRICS if name in {*LEADERBOARD_COLUMNS, *_HEADLINES.values()}]


class ResultTables(Protocol):
    """The four DataFrames that reports are made from.

    `forgetless.benchmarks.Results` has them; any other object that has them can be reported as well.
    """

    @property
    def runs(self) -> pd.DataFrame:
        """One row per cell."""

    @property
    def experiences(self) -> pd.DataFrame:
        """One row per cell and experience."""

    @property
    def scores(self) -> pd.DataFrame:
        """One row per cell, experience trained on, experience tested on and scorer."""

    @property
    def evaluations(self) -> pd.DataFrame:
        """One row per cell, test within an experience and scorer."""


@cache
def stored_object(text: object) -> dict[str, Any]:
    """Read a JSON object of a store, which may be anybody's.

    Parameters
    ----------
    text : object

    Returns
    -------
    dict
        Empty where there is no such object.

    Examples
    --------
    >>> stored_object('{"a": 1}'), stored_object("[1]"), stored_object(None)
    ({'a': 1}, {}, {})
    """
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def own_parameters(text: object) -> dict[str, Any]:
    """Read the parameters of a strategy, from the column ``params``.

    Parameters
    ----------
    text : object

    Returns
    -------
    dict

    Examples
    --------
    >>> own_parameters('{"class": "some.EWC", "params": {"ewc_lambda": 1.0}}')
    {'ewc_lambda': 1.0}
    """
    found = stored_object(text).get("params")
    return found if isinstance(found, dict) else {}


def protocol(text: str) -> tuple[str, str]:
    """Read a protocol.

    Parameters
    ----------
    text : str
        From the column ``protocol`` of the runs.

    Returns
    -------
    tuple of str
        What it evaluates, and the name of its primary scorer; both "unknown" where it cannot be read.

    Examples
    --------
    >>> protocol('{"evaluate": "seen", "eval_every": null, "scoring": ["r2", "neg_mean_absolute_error"]}')
    ('seen', 'r2')
    """
    try:
        found = json.loads(text)
        return str(found["evaluate"]), str(found["scoring"][0])
    except (ValueError, TypeError, LookupError, RecursionError):
        return "unknown", "unknown"


def protocols(results: ResultTables) -> dict[str, tuple[str, str]]:
    """Read the protocol of each stream: that of its first run.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    dict
        What it evaluates and its primary scorer, by the name of the stream.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> protocols(example_results())
    {'toy': ('all', 'accuracy')}
    """
    first = results.runs.drop_duplicates("stream")
    return {str(stream): protocol(str(text)) for stream, text in zip(first["stream"], first["protocol"], strict=True)}


@dataclass(frozen=True, eq=False)
class _Kind:
    """What finished cells have in common whose metrics are computed together, one object for all of them."""

    scenario: str
    evaluate: str
    scorer: str
    n_experiences: int
    problem: str

    def undefined(self, metric: Metric) -> str:
        """Say why a metric is undefined for all of them; empty if it is not."""
        if not self.n_experiences:
            return "nothing was measured"
        if metric.needs[0] not in _MEASURED and self.problem:
            return self.problem
        if metric.protocols and self.evaluate not in metric.protocols:
            *others, last = (f'"{name}"' for name in metric.protocols)
            return f"needs evaluate={', '.join(others)}{' or ' if others else ''}{last}"
        if self.n_experiences < metric.min_experiences:
            return f"needs at least {metric.min_experiences} experiences"
        if metric.name in ("forward_transfer", "future_score") and self.scenario == "class":
            return "undefined for class-incremental streams: the classes to come are unknown"
        return ""

    @property
    def headline(self) -> Metric:
        """What the stream is ranked by."""
        return METRICS[_HEADLINES.get(self.evaluate, "average_accuracy")]

    @property
    def in_blocks(self) -> bool:
        """Whether cells have a score for each block in time."""
        return self.evaluate == "prequential" and not self.problem


@dataclass(frozen=True)
class _Cell:
    """The inputs of the metrics for one finished cell."""

    kind: _Kind
    inputs: dict[str, Array]

    def value(self, metric: Metric) -> tuple[float, str]:
        """Return the metric's value and, where it is NaN, the reason."""
        reason = self._undefined(metric)
        value = math.nan if reason else metric.function(*(self.inputs[name] for name in metric.needs))
        return value, reason or ("some measurements are missing" if math.isnan(value) else "")

    def variance(self, metric: Metric) -> float:
        """Return the variance of the metric's value because of the test rows; NaN where they are not known."""
        if metric.weights is None or not counts_rows(self.kind.scorer) or self._undefined(metric):
            return math.nan
        weights = metric.weights(*(self.inputs[name] for name in metric.needs))
        return sampling_variance(self.inputs[metric.needs[0]], self.inputs[_ROWS_OF[metric.needs[0]]], weights)

    def _undefined(self, metric: Metric) -> str:
        if reason := self.kind.undefined(metric):
            return reason
        if "R_joint" in metric.needs and "R_joint" not in self.inputs:
            return "needs joint training on the same stream with the same seed"
        if "R_frozen" in metric.needs and "R_frozen" not in self.inputs:
            return "needs SimpleCIL, cosine class means of frozen features, on the same stream with the same seed"
        if "b" in metric.needs and np.isnan(self.inputs["b"][1:]).all():
            return "unknown before learning: the estimator cannot answer untrained"
        if metric.needs[0] in _MEASURED and np.isnan(self.inputs[metric.needs[0]]).all():
            return "not measured"
        return ""

    def blocks(self) -> Array:
        """Return scores whose mean is what the stream is ranked by."""
        if self.kind.in_blocks:
            weights = np.where(self.inputs["n_tested"] > 0, self.inputs["n_tested"], math.nan)
            mean_weight = float(np.nansum(weights)) / max(int(np.sum(weights > 0)), 1)
            return self.inputs["prequential"] * (weights / mean_weight)
        return np.array([self.value(self.kind.headline)[0]])

    def curve(self) -> tuple[Array, Array, Array]:
        """Return times, in experiences learned, the score that the protocol knows at each, and its variance.

        The variance is that because of the test rows, 0 where they are not known.
        """
        R, rows = self.inputs["R"], self.inputs["rows_R"]
        size = len(R)
        ends = np.arange(1.0, size + 1)
        shown: NDArray[Any]
        if self.kind.evaluate == "prequential":
            chunk = self.inputs["chunk"]
            return self.inputs["chunk_t"], chunk, self._binomial(chunk, self.inputs["chunk_rows"])
        match self.kind.evaluate:
            case "current":
                t, curve, E, shown = ends, np.diagonal(R), R, np.eye(size)
            case "future":
                t, curve, E, shown = ends[:-1], future_curve(R), R[:-1], np.triu(np.ones((size, size)), 1)[:-1]
                rows = rows[:-1]
            case _:
                t, E, rows = self.inputs["t"], self.inputs["E"], self.inputs["rows_E"]
                curve, shown = accuracy_curve(E, t), np.arange(size) < np.ceil(t)[:, None]
        variances = np.where(shown, self._binomial(E, rows), 0.0)
        return t, curve, variances.sum(axis=1) / np.maximum(np.sum(shown, axis=1), 1) ** 2

    def _binomial(self, scores: Array, rows: Array) -> Array:
        if not counts_rows(self.kind.scorer):
            return np.zeros_like(scores)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(scores * (1 - scores) / rows, nan=0.0, posinf=0.0)


_ROWS_OF = {"R": "rows_R", "E": "rows_E", "prequential": "n_tested"}
_MEASURED = [metric.name for metric in METRICS.values() if metric.needs == (metric.name,)]
_EVALUATED = ["experience", "n_rows", "tested_on", "n_tested", "score"]


_Part = tuple[NDArray[np.int32], list[Array]]  # positions of cells, and columns
_SLICE = 2**17  # rows at a time: of millions, whole columns in between would take much memory
_STACK = 4096  # cells at a time, for the same reason


def _owners(frame: pd.DataFrame, cells: pd.Index) -> NDArray[np.int32]:
    """Return the position of each row's cell, -1 where it is none of them.

    Rows of a cell are neighbours in what comes from a store: one of them is looked up. Making a DataFrame per cell
    would take most of the time of a report.
    """
    values = frame["cell"].to_numpy(dtype=object)
    [starts] = np.nonzero(np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]]))
    found = cells.get_indexer(pd.Index([str(key) for key in values[starts]], dtype=object))
    return np.repeat(found.astype(np.int32), np.diff(np.append(starts, len(values))))


def _rows(
    frame: pd.DataFrame,
    owners: NDArray[np.int32],
    columns: Sequence[str],
    scorers: NDArray[np.object_] | None = None,
) -> Iterator[_Part]:
    """Go through the rows of cells, those of their primary scorers if given: yield positions of cells, and columns."""
    values = [frame[name].to_numpy() for name in columns]
    metric = None if scorers is None else frame["metric"].to_numpy(dtype=object)
    for start in range(0, len(frame), _SLICE):
        part = slice(start, start + _SLICE)
        owner = owners[part]
        kept = owner >= 0
        if scorers is not None and metric is not None and len(scorers):
            kept &= (metric[part] == scorers[owner]).astype(bool)
        yield owner[kept], [each[part][kept].astype(np.float64) for each in values]


class _Cells:
    """All finished cells; those of a kind are computed together.

    Parameters
    ----------
    of_run : ndarray of int
        For each run the position of its cell, -1 if it failed.
    kinds : list of _Kind
        For each cell.
    """

    def __init__(self, of_run: NDArray[np.intp], kinds: list[_Kind]) -> None:
        self.of_run = of_run
        self.kinds = kinds
        self.stacks: dict[_Kind, NDArray[np.intp]] = {}
        """Positions of the cells of a kind."""
        self.inputs: dict[_Kind, dict[str, Array]] = {}
        """Inputs of the metrics; the first axis is the cell."""
        self.within: dict[int, dict[str, Array]] = {}
        """Evaluations within experiences, by cell."""
        self.references: dict[str, NDArray[np.intp]] = {}
        """For each cell the position of the one that it is measured by, -1 if there is none; by name of the input."""
        found: dict[_Kind, list[int]] = {}
        for cell, kind in enumerate(kinds):
            found.setdefault(kind, []).append(cell)
        self.place = np.zeros(len(kinds), dtype=np.intp)
        for kind, cells in found.items():
            self.stacks[kind] = np.array(cells, dtype=np.intp)
            self.place[cells] = np.arange(len(cells))
        self._made: dict[int, _Cell] = {}

    def fill(self, scores: Iterable[_Part], experiences: Iterable[_Part]) -> None:
        """Put scores and measurements, and the positions of their cells, where they belong."""
        sizes = np.array([kind.n_experiences for kind in self.kinds], dtype=np.intp)
        order = np.concatenate([*self.stacks.values(), np.empty(0, np.intp)])
        starts = np.empty((2, len(sizes)), dtype=np.intp)  # in one long array of all matrices, and of all vectors
        for start, length in zip(starts, (sizes * (sizes + 1), sizes), strict=True):
            start[order] = np.cumsum(length[order]) - length[order]
        table, rows = np.full((2, int(np.sum(sizes * (sizes + 1)))), np.nan)
        for owner, (trained_on, tested_on, n_tested, score) in scores:
            place = starts[0][owner] + ((trained_on + 1) * sizes[owner] + tested_on).astype(np.intp)
            table[place], rows[place] = score, n_tested
        vectors = {name: np.full(int(np.sum(sizes)), np.nan) for name in ("n_train", *_MEASURED)}
        for owner, (experience, *measured) in experiences:
            inside = (experience >= 0) & (experience < sizes[owner])
            place = (starts[1][owner] + experience.astype(np.intp))[inside]
            for vector, values in zip(vectors.values(), measured, strict=True):
                vector[place] = _possible(values[inside], (0.0, math.inf))
        for kind, cells in self.stacks.items():
            size = kind.n_experiences
            first, last = (starts[:, cells[place]] for place in (0, -1))
            shape = (len(cells), size + 1, size)
            R, n_tested = (each[first[0] : last[0] + (size + 1) * size].reshape(shape) for each in (table, rows))
            R[:], n_tested[:] = _possible(R, score_bounds(kind.scorer)), _possible(n_tested, (1.0, math.inf))
            diagonal = np.diagonal(R, axis1=1, axis2=2)
            inputs = {"R": R[:, 1:], "b": R[:, 0], "prequential": diagonal, "rows_R": n_tested[:, 1:]}
            inputs |= {name: each[first[1] : last[1] + size].reshape(-1, size) for name, each in vectors.items()}
            self.inputs[kind] = inputs

    def R(self, cell: int) -> Array:
        """Return the accuracy matrix of a cell."""
        found: Array = self.inputs[self.kinds[cell]]["R"][self.place[cell]]
        return found

    def cell(self, cell: int) -> _Cell:
        """Return all inputs of a cell."""
        if cell not in self._made:
            kind = self.kinds[cell]
            inputs = {name: values[self.place[cell]] for name, values in self.inputs[kind].items()}
            within = self.within.get(cell, {})
            chunks = _chunks(kind.n_experiences, within) if kind.evaluate == "prequential" else {}
            inputs |= _in_time(inputs["R"], inputs["rows_R"], inputs["n_train"], {} if chunks else within) | chunks
            of_others = {name: int(cells[cell]) for name, cells in self.references.items()}
            inputs |= {name: self.R(other) for name, other in of_others.items() if other >= 0}
            self._made[cell] = _Cell(kind, inputs)
        return self._made[cell]

    def values(self, metric: Metric) -> tuple[Array, NDArray[np.object_]]:
        """Return the metric's value for each run and, where it is NaN, the reason; failed runs have none."""
        values, reasons = np.full(len(self.kinds) + 1, math.nan), np.full(len(self.kinds) + 1, "", dtype=object)
        for kind, cells in self.stacks.items():
            if reason := kind.undefined(metric):
                reasons[cells] = reason
            elif metric.stacked is None:
                for cell in cells.tolist():
                    values[cell], reasons[cell] = self.cell(cell).value(metric)
            else:
                found = metric.stacked(*(self.inputs[kind][name] for name in metric.needs))
                missing = np.where(np.isnan(found), "some measurements are missing", "").astype(object)
                if metric.needs[0] in _MEASURED:
                    missing[np.isnan(self.inputs[kind][metric.needs[0]]).all(axis=-1)] = "not measured"
                values[cells], reasons[cells] = found, missing
        return values[self.of_run], reasons[self.of_run]

    def variances(self, metric: Metric) -> Array:
        """Return the variance of each run's value because of the test rows; NaN where they are not known."""
        variances = np.full(len(self.kinds) + 1, math.nan)
        for kind, cells in self.stacks.items():
            if metric.weights is None or not counts_rows(kind.scorer) or kind.undefined(metric):
                continue
            if metric.stacked is None:
                variances[cells] = [self.cell(cell).variance(metric) for cell in cells.tolist()]
            else:
                inputs = [self.inputs[kind][name] for name in metric.needs]
                weights = metric.weights(*(each[0] for each in inputs))
                rows = self.inputs[kind][_ROWS_OF[metric.needs[0]]]
                variances[cells] = sampling_variances(inputs[0], rows, weights)
        return variances[self.of_run]


def _in_time(R: Array, rows: Array, n_train: Array, within: Mapping[str, Array]) -> dict[str, Array]:
    """Put what was evaluated within experiences between the rows of R, and their numbers of test rows, too."""
    ends = np.arange(1.0, len(R) + 1)
    if not within:
        return {"E": R, "t": ends, "rows_E": rows}
    experience, tested_on = within["experience"].astype(int), within["tested_on"].astype(int)
    with np.errstate(divide="ignore", invalid="ignore"):
        moment = experience + np.clip(within["n_rows"] / n_train[experience], 0.0, 1.0)
    known = np.isfinite(moment)
    moments, row = np.unique(moment[known], return_inverse=True)
    between, of_rows = np.full((2, len(moments), len(R)), np.nan)
    between[row, tested_on[known]] = within["score"][known]
    of_rows[row, tested_on[known]] = within["n_tested"][known]
    t = np.concatenate([moments, ends])
    order = np.argsort(t, kind="stable")
    return {
        "E": np.concatenate([between, R])[order],
        "t": t[order],
        "rows_E": np.concatenate([of_rows, rows])[order],
    }


def _chunks(size: int, within: Mapping[str, Array]) -> dict[str, Array]:
    """List the chunks that were tested before they were learned, each at the time when its last row had come."""
    of = {name: within.get(name, np.empty(0)) for name in _EVALUATED}
    experience = of["experience"].astype(int)
    last = of["n_rows"] + of["n_tested"]
    n_rows = np.zeros(size)
    np.maximum.at(n_rows, experience, last)
    t = experience + last / np.maximum(n_rows[experience], 1)
    order = np.argsort(t, kind="stable")
    n_tested = np.bincount(experience, of["n_tested"], minlength=size)
    of_chunks = {"chunk_t": t[order], "chunk": of["score"][order], "chunk_rows": of["n_tested"][order]}
    return {"n_tested": n_tested, **of_chunks}


def _possible(values: Array, bounds: tuple[float, float]) -> Array:
    """Take what no score, duration or size can be for unknown."""
    low, high = bounds
    highest = sys.float_info.max
    return np.where((values >= max(low, -highest)) & (values <= min(high, highest)), values, np.nan)


_kept: ContextVar[dict[int, tuple[ResultTables, _Cells]] | None] = ContextVar("_kept", default=None)


@contextlib.contextmanager
def unchanging() -> Iterator[None]:
    """Read each results once within this block: the caller sees to it that nothing in them changes meanwhile."""
    around = _kept.get()
    before = _kept.set({} if around is None else around)
    try:
        yield
    finally:
        _kept.reset(before)


def _cells(results: ResultTables) -> _Cells:
    """Return the finished cells."""
    kept = _kept.get()
    if kept is None:
        return _read_cells(results)
    if id(results) not in kept:
        kept[id(results)] = (
            results,
            _read_cells(results),
        )  # with the results, whose number is theirs as long as they live
    return kept[id(results)][1]


def _read_cells(results: ResultTables) -> _Cells:
    runs = results.runs
    of_stream = {stream: scorer for stream, (_, scorer) in protocols(results).items()}
    read_protocol = cache(protocol)
    columns = ("cell", "stream", "scenario", "protocol", "n_experiences", "status")
    known: dict[str, tuple[str, str, str, int, str]] = {}  # where a key comes twice, its last run counts
    for key, stream, scenario, text, size, status in zip(*(runs[name].tolist() for name in columns), strict=True):
        if status == "ok":
            evaluate, scorer = read_protocol(str(text))
            other = scorer != of_stream[str(stream)]
            problem = f"the score is {scorer}, another than that of the stream's first run" if other else ""
            known[str(key)] = str(scenario), evaluate, scorer, 0 if pd.isna(size) else int(size), problem
    index = pd.Index(list(known), dtype=object)
    scorers = np.array([scorer for _, _, scorer, _, _ in known.values()], dtype=object)
    scores = results.scores if "n_tested" in results.scores else results.scores.assign(n_tested=math.nan)
    owners = {name: _owners(getattr(results, name), index) for name in ("scores", "experiences", "evaluations")}
    sizes = np.array([size for _, _, _, size, _ in known.values()], dtype=np.int64)
    pairs, measured = ["trained_on", "tested_on"], ["experience", "n_train", *_MEASURED]
    for owner, places in _rows(scores, owners["scores"], pairs, scorers):
        np.maximum.at(sizes, owner, np.maximum(*places).astype(np.int64) + 1)
    kind_of: dict[tuple[str, str, str, int, str], list[_Kind]] = {}
    kinds: list[_Kind] = []
    for (scenario, evaluate, scorer, _, problem), size in zip(known.values(), sizes.tolist(), strict=True):
        told = (scenario, evaluate, scorer, size, problem)
        same = kind_of.setdefault(told, [])
        if not len(same) % _STACK:
            same.append(_Kind(*told))
        else:
            same.append(same[-1])
        kinds.append(same[-1])
    finished = (runs["status"] == "ok").to_numpy(dtype=bool)
    of_run = index.get_indexer(pd.Index([str(key) for key in runs["cell"]], dtype=object))
    cells = _Cells(np.where(finished, of_run, -1), kinds)
    cells.fill(
        _rows(scores, owners["scores"], [*pairs, "n_tested", "score"], scorers),
        _rows(results.experiences.reindex(columns=["cell", *measured]), owners["experiences"], measured),
    )
    parts = list(_rows(results.evaluations, owners["evaluations"], _EVALUATED, scorers))
    if any(len(owner) for owner, _ in parts):
        owner = np.concatenate([owner for owner, _ in parts])
        order = np.argsort(owner, kind="stable")
        there, starts = np.unique(owner[order], return_index=True)
        of_cells = zip(
            *(
                np.split(np.concatenate(each)[order], starts[1:])
                for each in zip(*(values for _, values in parts), strict=True)
            ),
            strict=True,
        )
        for cell, values in zip(there.tolist(), of_cells, strict=True):
            within = dict(zip(_EVALUATED, values, strict=True))
            size = cells.kinds[cell].n_experiences
            inside = (within["experience"] < size) & (within["tested_on"] < size)
            within = {name: each[inside] for name, each in within.items()}
            within["score"] = _possible(within["score"], score_bounds(cells.kinds[cell].scorer))
            cells.within[cell] = within
    _add_references(cells, runs)
    return cells


def _add_references(cells: _Cells, runs: pd.DataFrame) -> None:
    """Find the cells that others on the same stream with the same seed are measured by."""
    places = list(zip(runs["stream"].tolist(), runs["seed"].tolist(), strict=True))
    estimators = runs["estimator"].to_numpy(dtype=object)
    joint: dict[tuple[object, object], int] = {}
    is_joint = np.isin(estimators.astype(str), ["JointClassifier", "JointRegressor"])
    for run in np.flatnonzero(is_joint & (cells.of_run >= 0)):
        joint.setdefault(places[run], int(cells.of_run[run]))
    frozen: dict[tuple[object, object], int] = {}
    for run in np.flatnonzero((estimators == "NCMClassifier") & (cells.of_run >= 0)):
        if _is_simple_cil(str(runs["params"].iloc[run])):
            cell, best = int(cells.of_run[run]), frozen.get(places[run])
            if best is None or average_accuracy(cells.R(cell)) > average_accuracy(cells.R(best)):
                frozen[places[run]] = cell
    for name, found in (("R_joint", joint), ("R_frozen", frozen)):
        others = np.full(len(cells.kinds), -1, dtype=np.intp)
        for place, cell in zip(places, cells.of_run.tolist(), strict=True):
            other = found.get(place, -1)
            if cell >= 0 and other >= 0 and cells.kinds[other].n_experiences == cells.kinds[cell].n_experiences:
                others[cell] = other
        cells.references[name] = others


def _is_simple_cil(params: str) -> bool:
    """Whether parameters are those of cosine class means on frozen features."""
    return "frozen_features.FrozenFeatures" in params and '"metric": "cosine"' in params


def _chosen(metrics: Iterable[str | Metric] | None) -> list[Metric]:
    if metrics is None:
        return list(METRICS.values())
    wanted = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    unknown = [each for each in wanted if not isinstance(each, Metric) and each not in METRICS]
    if unknown:
        raise ValueError(f"Unknown metric {unknown[0]!r}; choose from {', '.join(METRICS)}.")
    chosen = {each.name: each for each in (m if isinstance(m, Metric) else METRICS[m] for m in wanted)}
    for name, metric in chosen.items():
        if name in {*LEADERBOARD_COLUMNS, *SUMMARY_COLUMNS} - METRICS.keys() or metric != METRICS.get(name, metric):
            raise ValueError(f"A metric of one's own cannot have the name {name!r}, which is taken.")
    return list(chosen.values())


def cell_metrics(results: ResultTables) -> pd.DataFrame:
    """Compute every metric of every cell.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    DataFrame
        One row per cell, in the order of ``runs``: cell, strategy, stream, scenario, seed, status, then a column per
        metric. Failed cells have NaN.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> cell_metrics(example_results())[["strategy", "seed", "average_accuracy"]].head(2)
      strategy  seed  average_accuracy
    0    Naive     0             0.625
    1    Naive     1             0.500
    """
    cells = _cells(results)
    frame = results.runs[CELL_COLUMNS].reset_index(drop=True)
    for metric in METRICS.values():
        frame[metric.name], _ = cells.values(metric)
    return frame


@cache
def _quantile(confidence: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def student_interval(
    values: Array,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    shared_variance: ArrayLike = 0.0,
) -> tuple[Array, Array, Array, Array]:
    """Compute the mean and its Student-t confidence interval, clipped to the bounds.

    Seeds show the noise of what differs between them, but not that of what they share, the test rows. So the half-width
    is √((t s/√n)² + (z √v)²), with Student's t and the normal z: v is the variance that the test rows bring, which more
    seeds do not make smaller. Degrees of freedom of the sum would make it narrower than Student's interval for few
    seeds. Where seeds have test rows of their own, the interval is wider than it need be.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        One row per seed.
    confidence : float
        Between 0 and 1.
    bounds : tuple of float
        Smallest and largest possible mean.
    shared_variance : array-like, default=0.0
        v, of the shape of the mean.

    Returns
    -------
    tuple of ndarray
        Mean, standard deviation (with n − 1), lower and upper limit; all but the mean are NaN for a single row.

    Examples
    --------
    >>> mean, std, low, high = student_interval(np.array([0.5, 0.75]), bounds=(0, 1))
    >>> float(mean), float(low), float(high)
    (0.625, 0.0, 1.0)
    >>> _, _, low, high = student_interval(np.array([0.96, 0.96, 0.96]), shared_variance=0.96 * 0.04 / 360)
    >>> round(float(low), 3), round(float(high), 3)
    (0.94, 0.98)
    """
    n = len(values)
    mean: Array = np.asarray(values.mean(axis=0))
    if n < 2:
        unknown = np.full_like(mean, np.nan)
        return mean, unknown, unknown, unknown
    std: Array = np.asarray(values.std(axis=0, ddof=1))
    shared = np.sqrt(np.asarray(shared_variance, dtype=np.float64))
    half = np.hypot(_quantile(confidence, n - 1) * std / math.sqrt(n), _quantile(confidence, math.inf) * shared)
    return mean, std, np.clip(mean - half, *bounds), np.clip(mean + half, *bounds)


def groups(results: ResultTables) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield stream, strategy and their runs, in the order of first appearance.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Yields
    ------
    tuple
        Stream, strategy, DataFrame of runs.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> [(stream, strategy, len(runs)) for stream, strategy, runs in groups(example_results())]
    [('toy', 'Naive', 2), ('toy', 'Replay', 2), ('toy', 'Joint', 2)]
    """
    for stream, strategy, places in _places(results.runs):
        yield stream, strategy, results.runs.iloc[places]


def _places(runs: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Do as `groups` with the positions of runs."""
    streams, names_of_streams = pd.factorize(runs["stream"])
    strategies, names = pd.factorize(runs["strategy"])
    [known] = np.nonzero((streams >= 0) & (strategies >= 0))
    pairs, first, group = np.unique(
        streams[known] * len(names) + strategies[known], return_index=True, return_inverse=True
    )
    order = np.argsort(group, kind="stable")
    parts = np.split(known[order], np.cumsum(np.bincount(group))[:-1])
    for pair in np.lexsort((first, pairs // max(len(names), 1))):
        stream, strategy = divmod(int(pairs[pair]), len(names))
        yield str(names_of_streams[stream]), str(names[strategy]), parts[pair]


def _means_of(values: Array, group: NDArray[np.intp], n_groups: int) -> tuple[Array, NDArray[np.intp]]:
    """Average what is known of each group, and count it."""
    known = ~np.isnan(values)
    counts = np.bincount(group[known], minlength=n_groups)
    sums = np.bincount(group[known], values[known], n_groups)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts


def _note(reasons: Iterable[str], n_seeds: int, n_cells: int) -> str:
    if not n_cells:
        return "all seeds failed"
    found = list(dict.fromkeys(filter(None, reasons)))
    if n_seeds < n_cells and not found:
        found.append("several runs share a seed; averaged per seed")
    return "; ".join(found)


def summarize(
    results: ResultTables, metrics: Iterable[str | Metric] | None = None, confidence: float = 0.95
) -> pd.DataFrame:
    """Average the metrics over seeds.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    metrics : iterable of str or Metric, optional
        Names from `METRICS`, or metrics of one's own; all of `METRICS` by default.
    confidence : float
        Confidence of the Student-t intervals, between 0 and 1.

    Returns
    -------
    DataFrame
        Columns stream, strategy, metric, scorer (the primary one of the protocol: what the score is), mean, std,
        ci_low, ci_high, n_seeds (seeds with a value), n_failed (cells that failed), note (why a value is missing).
        Streams and strategies are in the order of first appearance. Intervals are clipped to the bounds of the metric
        and NaN for a single seed. Where the metric is a mean of accuracies, they have the noise of the test rows in
        them, see `student_interval`.

    Raises
    ------
    ValueError
        If a metric is unknown or the confidence is not between 0 and 1.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> summarize(example_results(), ["forgetting"])[["strategy", "metric", "mean", "n_seeds"]]
      strategy      metric    mean  n_seeds
    0    Naive  forgetting  0.8125        2
    1   Replay  forgetting  0.3125        2
    2    Joint  forgetting  0.0625        2
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95; got {confidence}.")
    chosen, cells, of_stream = _chosen(metrics), _cells(results), protocols(results)
    found = list(_places(results.runs))
    finished = [runs[cells.of_run[runs] >= 0] for *_, runs in found]
    place = np.concatenate([np.empty(0, dtype=np.intp), *finished])
    n_cells = np.array([len(each) for each in finished], dtype=np.intp)
    # Several cells of one seed are not independent: they count as one, with their mean.
    group = np.repeat(np.arange(len(found)), n_cells)
    seeds, known_seeds = pd.factorize(results.runs["seed"].to_numpy()[place], use_na_sentinel=False)
    pairs, seed = np.unique(group * len(known_seeds) + seeds, return_inverse=True)
    group_of_seed = pairs // max(len(known_seeds), 1)
    n_seeds = np.bincount(group_of_seed, minlength=len(found))
    scorers = np.array([of_stream[stream][1] for stream, *_ in found], dtype=object)
    shape = len(found), len(chosen)
    numbers, n_known = np.full((*shape, 4), np.nan), np.zeros(shape, dtype=np.int64)
    notes = np.full(shape, "", dtype=object)
    for column, metric in enumerate(chosen):
        (values, reasons), variances = cells.values(metric), cells.variances(metric)
        by_seed, counts = _means_of(values[place], seed, len(pairs))
        shared, _ = _means_of(variances[place], group, len(found))
        by_seed, n_known[:, column] = by_seed[counts > 0], np.bincount(group_of_seed[counts > 0], minlength=len(found))
        starts = np.cumsum(n_known[:, column]) - n_known[:, column]
        for scorer, size in {*zip(scorers.tolist(), n_known[:, column].tolist(), strict=True)}:
            if size:
                [same] = np.nonzero((scorers == scorer) & (n_known[:, column] == size))
                stack = by_seed[starts[same] + np.arange(size)[:, None]]
                measured = student_interval(stack, confidence, metric.bounds(scorer), np.nan_to_num(shared[same]))
                numbers[same, column] = np.stack(measured, axis=-1)
        told = np.bincount(group, reasons[place].astype(bool), len(found)) > 0
        for row in np.flatnonzero(told | (n_seeds < n_cells) | (n_cells == 0)).tolist():
            notes[row, column] = _note(reasons[finished[row]], n_seeds[row], n_cells[row])
    rows = np.repeat(np.arange(len(found)), len(chosen))
    columns = {
        "stream": np.array([stream for stream, *_ in found], dtype=object)[rows],
        "strategy": np.array([strategy for _, strategy, _ in found], dtype=object)[rows],
        "metric": [metric.name for metric in chosen] * len(found),
        "scorer": scorers[rows],
        **dict(zip(("mean", "std", "ci_low", "ci_high"), numbers.reshape(-1, 4).T, strict=True)),
        "n_seeds": n_known.ravel(),
        "n_failed": (np.array([len(runs) for *_, runs in found], dtype=np.int64) - n_cells)[rows],
        "note": notes.ravel(),
    }
    return pd.DataFrame(columns)[SUMMARY_COLUMNS]


FILTERS = ("stream", "strategy", "scenario", "family", "keeps", "device")
"""Columns of the runs that a leaderboard can be cut by."""


def select(results: ResultTables, **wanted: str | Iterable[str] | None) -> ResultTables:
    """Select runs by what they are.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    **wanted : str or iterable of str
        Values of columns of ``runs``: ``stream``, ``strategy``, ``scenario`` (``"class"``, ``"task"`` or ``"domain"``),
        ``family``, ``keeps`` (what a strategy keeps of the data) and ``device``. ``None``: all.

    Returns
    -------
    ResultTables
        The runs that have one of the values in each column, and what belongs to them.

    Raises
    ------
    ValueError
        If no run has a value, or one in each column; the message says what there is.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> select(example_results(), keeps="samples", strategy=["Naive", "Replay"]).runs["strategy"].unique().tolist()
    ['Replay']
    >>> select(example_results(), family="regularization")
    Traceback (most recent call last):
    ...
    ValueError: There is no family 'regularization' in these results; there are: baselines, replay.
    """
    runs = results.runs
    kept = np.ones(len(runs), dtype=bool)
    chosen = {}
    for name, values in wanted.items():
        if name not in FILTERS:
            raise ValueError(f"Results cannot be filtered by {name!r}; choose from {', '.join(FILTERS)}.")
        if values is None:
            continue
        chosen[name] = [values] if isinstance(values, str) else [str(each) for each in values]
        known = runs[name].astype(str) if name in runs else pd.Series("not known", index=runs.index)
        for value in chosen[name]:
            if value not in set(known):
                there = ", ".join(known.unique()) or "none"
                raise ValueError(f"There is no {name} {value!r} in these results; there are: {there}.")
        kept &= known.isin(chosen[name]).to_numpy()
    if len(runs) and not kept.any():
        asked = " and ".join(f"{name} {' or '.join(map(repr, values))}" for name, values in chosen.items())
        first, *others = chosen
        of_first = runs[runs[first].astype(str).isin(chosen[first])]
        there = "; ".join(f"{name}: {', '.join(of_first[name].astype(str).unique())}" for name in others)
        at_first = " or ".join(map(repr, chosen[first]))
        raise ValueError(f"No run has {asked}; those with {first} {at_first} have {there}.")
    return choose_runs(results, kept)


def choose_runs(results: ResultTables, kept: NDArray[np.bool_]) -> ResultTables:
    """Select runs by their places.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    kept : ndarray of bool
        One for each run.

    Returns
    -------
    ResultTables
        These runs, and what belongs to them.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> results = example_results()
    >>> len(choose_runs(results, (results.runs["seed"] == 0).to_numpy()).scores)
    18
    """
    if kept.all():
        return results
    runs = results.runs
    cells = set(runs.loc[kept, "cell"].astype(str))
    frames = {"runs": runs[kept]}
    for name in ("experiences", "scores", "evaluations"):
        frame = getattr(results, name)
        frames[name] = frame[frame["cell"].astype(str).isin(cells)]
    return SimpleNamespace(**frames)


def with_references(results: ResultTables, wanted: Mapping[str, str | Iterable[str] | None]) -> ResultTables:
    """Select runs, but leave out no strategy of a stream, for those that are shown may be measured by the others.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    wanted : mapping
        As `select` takes it.

    Returns
    -------
    ResultTables

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> len(with_references(example_results(), {"strategy": "Replay", "stream": "toy"}).runs)
    6
    """
    return select(results, **{name: wanted[name] for name in ("stream", "scenario", "device") if name in wanted})


def among(frame: pd.DataFrame, runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows of a table are about streams and strategies of some runs.

    Parameters
    ----------
    frame, runs : DataFrame
        With columns stream and strategy.

    Returns
    -------
    ndarray of bool

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> runs = example_results().runs
    >>> among(runs, runs[:2])
    array([ True,  True, False, False, False, False])
    """
    ours, theirs = (pd.MultiIndex.from_frame(each[["stream", "strategy"]].astype(str)) for each in (frame, runs))
    return ours.isin(theirs)


def leaderboard(
    results: ResultTables, metrics: Iterable[str | Metric] | None = None, **wanted: str | Iterable[str] | None
) -> pd.DataFrame:
    """Rank the strategies of each stream by what its protocol measures: average accuracy, or its counterpart.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    metrics : iterable of str or Metric, default=None
        What is shown beside the score: names from `METRICS`, or metrics of one's own. ``None``: a choice of them.
    **wanted : str or iterable of str
        What is shown, as in `select`: ``stream``, ``strategy``, ``scenario``, ``family``, ``keeps`` or ``device``.
        Metrics that need joint training find it, also where it is not shown.

    Returns
    -------
    DataFrame
        One row per stream and strategy: means over the seeds that finished and what the strategy keeps of the data.
        ``score``, with its 95 % interval, is what the stream is ranked by: ``headline`` names the metric, which is
        ``"average_accuracy"`` where all past experiences are tested, else ``"learning_accuracy"``,
        ``"prequential_score"`` or ``"future_score"``; ``scorer`` names the score. Accuracies lie between 0 and 1.
        ``n_beside`` is the number of runs that went on beside others, so that their seconds are no measurement.
        ``best`` tells which of the strategies shown are the best or not shown to be worse, see `best_of_streams`. A
        strategy whose runs all failed has ``n_seeds`` 0.

    Raises
    ------
    ValueError
        If a metric is unknown or no run is to be shown; the message says what there is.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> leaderboard(example_results())[["stream", "strategy", "n_seeds", "average_accuracy", "keeps"]]
      stream strategy  n_seeds  average_accuracy    keeps
    0    toy    Joint        2            0.9375  samples
    1    toy   Replay        2            0.8125  samples
    2    toy    Naive        2            0.5625  nothing
    >>> leaderboard(example_results(), ["intransigence"], strategy="Replay")[["strategy", "score", "intransigence"]]
      strategy   score  intransigence
    0   Replay  0.8125            0.0
    """
    shown = select(results, **wanted)
    chosen = _chosen(_LEADERBOARD_METRICS if metrics is None else metrics)
    needed = {metric.name: metric for metric in (*chosen, *(METRICS[name] for name in _HEADLINES.values()))}
    with unchanging():
        summary = summarize(with_references(results, wanted), needed.values())
        board = rank(shown, summary[among(summary, shown.runs)])
    names = [metric.name for metric in chosen]
    before = LEADERBOARD_COLUMNS[: LEADERBOARD_COLUMNS.index("best") + 1]
    beside = ["n_beside"] * any(metric.unit == "seconds" for metric in chosen)
    return board[LEADERBOARD_COLUMNS if metrics is None else [*before, *names, *beside, "keeps"]]


def pivot(board: pd.DataFrame, value: str = "score") -> pd.DataFrame:
    """Put the streams of a leaderboard side by side.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.
    value : str, default="score"
        The column that is shown.

    Returns
    -------
    DataFrame
        One row per strategy, with its name in the first column, and one column per stream, in the order of the board;
        NaN where there is no value.

    Raises
    ------
    ValueError
        If there is no such column.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> pivot(leaderboard(example_results()), "forgetting")
      strategy     toy
    0    Joint  0.0625
    1   Replay  0.3125
    2    Naive  0.8125
    """
    if value not in board:
        raise ValueError(f"This leaderboard has no column {value!r}; it has: {', '.join(map(str, board))}.")
    wide = board.set_index(["strategy", "stream"])[value].unstack(sort=False)  # noqa: PD010
    strategies, streams = (board[name].unique() for name in ("strategy", "stream"))
    wide = wide.reindex(index=strategies, columns=streams)
    wide.insert(0, "strategy", wide.index, allow_duplicates=True)
    return wide.reset_index(drop=True).rename_axis(columns=None)


def rank(results: ResultTables, summary: pd.DataFrame) -> pd.DataFrame:
    """Make the leaderboard from a summary that contains its metrics.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    summary : DataFrame
        From `summarize`.

    Returns
    -------
    DataFrame
        As from `leaderboard`, with all metrics of the summary.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> rank(example_results(), summarize(example_results()))["strategy"].to_list()
    ['Joint', 'Replay', 'Naive']
    """
    headline = {
        stream: _HEADLINES.get(evaluate, "average_accuracy") for stream, (evaluate, _) in protocols(results).items()
    }
    keys = ["stream", "strategy"]
    first = summary[summary["metric"] == summary["stream"].map(headline)].set_index(keys)
    means = summary.set_index([*keys, "metric"])["mean"].unstack().rename_axis(columns=None)  # noqa: PD010
    names = [name for name in means if name not in LEADERBOARD_COLUMNS]
    board = means.reindex(index=first.index, columns=list(dict.fromkeys([*_LEADERBOARD_METRICS, *names]))).assign(
        n_seeds=first["n_seeds"],
        scorer=first["scorer"],
        headline=first["metric"],
        score=first["mean"],
        score_ci_low=first["ci_low"],
        score_ci_high=first["ci_high"],
        best=best_of_streams(run_scores(results)).set_index(keys)["best"],
        n_beside=beside(results.runs).groupby([results.runs[key] for key in keys]).sum(),
        keeps=results.runs.groupby(keys)["keeps"].first(),
    )
    board = board.reset_index()
    place = {stream: position for position, stream in enumerate(results.runs["stream"].unique())}
    order = np.lexsort((-board["score"].to_numpy(dtype=np.float64), board["stream"].map(place).to_numpy()))
    return board.iloc[order].reset_index(drop=True)[[*LEADERBOARD_COLUMNS, *names]]


def run_scores(results: ResultTables) -> pd.DataFrame:
    """List the score of each run, of failed ones, too: they count as plain training, and are marked.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    DataFrame
        Columns dataset, stream, seed, strategy, role (of a reference, see `reference_roles`, else empty), reference
        (whether it is the one that gaps are measured by), scorer, score (that the stream is ranked by), variance (of
        the score because of the test rows, 0 if they are not known), seconds (of fit and predict), bytes (carried at
        the end), failed. A run that failed or has no score gets the score of plain training with the same seed; where
        there is none, the lowest on this stream with this seed, and NaN if there is none either.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> run_scores(example_results())[["strategy", "seed", "role", "score", "failed"]].head(3)
      strategy  seed         role  score  failed
    0    Naive     0  lower bound  0.625   False
    1    Naive     1  lower bound  0.500   False
    2   Replay     0               0.875   False
    """
    keys, runs = ["stream", "strategy", "seed"], results.runs
    measured = block_scores(results).groupby(keys, sort=False)[["score", "variance", "seconds", "bytes"]].mean()
    frame = runs[[*keys, "estimator"]].drop_duplicates(keys).join(measured, on=keys).reset_index(drop=True)
    stream, pair = frame["stream"].astype(str), ["stream", "strategy"]
    roles = runs.groupby(pair)["estimator"].first().map(_REFERENCES).fillna("")
    frame = frame.assign(
        dataset=stream.map(datasets_of(runs)),
        scorer=stream.map({name: scorer for name, (_, scorer) in protocols(results).items()}),
        role=frame[pair].join(roles.rename("role"), on=pair)["role"],
        failed=frame["score"].isna(),
    )
    # Joint training comes before what trains again and again on all data so far.
    known = frame[frame["role"] != ""]
    later = ~known["estimator"].astype(str).str.startswith("Joint")
    chosen = known.assign(later=later).sort_values("later", kind="stable").drop_duplicates(["stream", "role"])
    pairs = set(zip(chosen["stream"], chosen["strategy"], strict=True))
    frame["reference"] = [pair in pairs for pair in zip(frame["stream"], frame["strategy"], strict=True)]
    place = ["stream", "seed"]
    plain = frame[frame["reference"] & (frame["role"] == "lower bound")].set_index(place)
    lowest = frame.sort_values("score", kind="stable").drop_duplicates(place).set_index(place)
    for name in ("score", "variance"):
        stand_in = plain[name].combine_first(lowest[name])
        frame[name] = frame[name].fillna(frame[place].join(stand_in, on=place)[name])
    return frame[RUN_SCORE_COLUMNS]


def best_of_streams(scores: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Say which strategies of each stream are the best, or within noise of it.

    Parameters
    ----------
    scores : DataFrame
        From `run_scores`.
    confidence : float
        Of all comparisons with the best of a stream together, between 0 and 1.

    Returns
    -------
    DataFrame
        Columns stream, strategy, best: one row for each pair. Differences from the best are paired by seed, and have
        the noise of the test rows in them. Upper bounds are no candidates, nor is what failed in each run.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> best_of_streams(run_scores(example_results()))
      stream strategy   best
    0    toy    Naive  False
    1    toy   Replay   True
    2    toy    Joint  False
    """
    pairs = scores.groupby(["stream", "strategy"], sort=False)
    seeds, known_seeds = pd.factorize(scores["seed"])
    shape = len(known_seeds), pairs.ngroups
    by_seed, _ = _means_of(
        scores["score"].to_numpy(dtype=np.float64), seeds * shape[1] + pairs.ngroup().to_numpy(), math.prod(shape)
    )
    by_seed = by_seed.reshape(shape)
    noise = pairs["variance"].mean().fillna(0.0)
    candidate = (~pairs["failed"].all() & (pairs["role"].first() != "upper bound")).to_numpy()
    names = noise.index.to_frame(index=False)
    best = np.zeros(len(names), dtype=bool)
    for columns in names.groupby("stream", sort=False).indices.values():
        [candidates] = np.nonzero(candidate[columns])
        best[columns] = within_noise(by_seed[:, columns], noise.to_numpy()[columns], candidates, confidence)
    return names.assign(best=best)


def datasets_of(runs: pd.DataFrame) -> dict[str, str]:
    """Name the data set of each stream: streams of one data set are no independent evidence.

    Parameters
    ----------
    runs : DataFrame
        One row per cell.

    Returns
    -------
    dict of str to str
        By the name of the stream. A stream that does not tell stands for a data set of its own.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> datasets_of(example_results().runs)
    {'toy': 'toy'}
    """
    first = runs.dropna(subset="stream").drop_duplicates("stream").set_index("stream")
    # Older stores know the definition only.
    told = first["stream_definition"] if "stream_definition" in first else pd.Series("", index=first.index)
    found = {str(stream): _defined_dataset(each) or str(stream) for stream, each in told.items()}
    if "dataset" in runs:
        named = runs.loc[runs["dataset"].notna() & (runs["dataset"] != ""), ["stream", "dataset"]]
        named = named.dropna().drop_duplicates("stream")
        found |= {str(stream): str(each) for stream, each in named.itertuples(index=False)}
    return found


def _defined_dataset(definition: object) -> str:
    try:
        found = json.loads(str(definition))
        while "stream" in found:
            found = found["stream"]
        return str(found["dataset"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""


def reference_roles(results: ResultTables, stream: str) -> dict[str, str]:
    """Find the strategies of a stream that are references, not candidates.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str
        Name of the stream.

    Returns
    -------
    dict of str to str
        ``"upper bound"`` for strategies that train on all data so far, ``"lower bound"`` for training without any
        measure against forgetting, by the name of the strategy.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> reference_roles(example_results(), "toy")
    {'Joint': 'upper bound', 'Naive': 'lower bound'}
    """
    estimators = results.runs[results.runs["stream"] == stream].groupby("strategy")["estimator"].first()
    return {str(name): _REFERENCES[estimator] for name, estimator in estimators.items() if estimator in _REFERENCES}


def block_scores(results: ResultTables) -> pd.DataFrame:
    """List what strategies are compared by: the score of each cell, or of each block in time, with its cost.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    DataFrame
        Columns strategy, stream, seed, block, score, variance (of the cell's score because of the test rows, 0 if they
        are not known), seconds (of fit and predict), bytes (carried at the end). A cell has one row, with the score
        that the stream is ranked by; where each row is predicted before it is learned, it has one per experience of
        which rows were tested (of the first where evaluations part it), the block, weighted by its rows: the mean is
        the prequential score. Failed cells have none.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> block_scores(example_results()).head(2)
      strategy stream  seed  block  score  variance  seconds    bytes
    0    Naive    toy     0      0  0.625  0.006836     1.25  12000.0
    1    Naive    toy     1      0  0.500  0.006836     1.25  12000.0
    """
    cells, runs = _cells(results), results.runs
    seconds, size = (
        np.sum([cells.values(METRICS[name])[0] for name in names], axis=0)
        for names in (("fit_seconds", "predict_seconds"), ("model_bytes", "replay_bytes", "state_bytes"))
    )
    places, blocks, scores = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)], [np.empty(0)]
    variances = np.full(len(runs), np.nan)
    headlines = {metric.name: metric for metric in (kind.headline for kind in cells.stacks)}
    headline_of = np.array([kind.headline.name for kind in cells.kinds] + [""], dtype=object)[cells.of_run]
    in_blocks = np.array([kind.in_blocks for kind in cells.kinds] + [False])[cells.of_run]
    for name, metric in headlines.items():
        [here] = np.nonzero(headline_of == name)
        variances[here] = cells.variances(metric)[here]
        whole = here[~in_blocks[here]]
        places.append(whole)
        blocks.append(np.zeros_like(whole))
        scores.append(cells.values(metric)[0][whole])
    for run in np.flatnonzero(in_blocks).tolist():
        score = cells.cell(int(cells.of_run[run])).blocks()
        places.append(np.full(len(score), run))
        blocks.append(np.arange(len(score)))
        scores.append(score)
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    place = place[order]
    frame: pd.DataFrame = runs[["strategy", "stream", "seed"]].iloc[place].reset_index(drop=True)
    frame = frame.assign(
        block=np.concatenate(blocks)[order],
        score=np.concatenate(scores)[order],
        variance=np.nan_to_num(variances[place], nan=0.0),
        seconds=seconds[place],
        bytes=size[place],
    )
    return frame[BLOCK_COLUMNS].dropna(subset=["score"])


def accuracy_matrices(results: ResultTables) -> dict[tuple[str, str], Array]:
    """Collect the accuracy matrices of the cells that finished.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.

    Returns
    -------
    dict
        From (stream, strategy) to an array of shape (cells, T, T).

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> accuracy_matrices(example_results())["toy", "Replay"].mean(axis=0)
    array([[1.    , 0.    ],
           [0.6875, 0.9375]])
    """
    cells, stacks = _cells(results), {}
    for stream, strategy, places in _places(results.runs):
        finished = [cells.R(int(cell)) for cell in cells.of_run[places] if cell >= 0]
        size = max((len(matrix) for matrix in finished), default=0)
        if size:
            stacks[stream, strategy] = np.stack([matrix for matrix in finished if len(matrix) == size])
    return stacks


def accuracy_curves(results: ResultTables, confidence: float = 0.95) -> pd.DataFrame:
    """Average the score over the course of the stream over the seeds.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    confidence : float
        Confidence of the Student-t intervals.

    Returns
    -------
    DataFrame
        Columns stream, strategy, experience (how many had been learned, a fraction within an experience), mean,
        ci_low, ci_high. The score is that on all experiences seen so far; where the protocol evaluates only the
        current one, the later ones or the next rows, it is that on those. Where seeds were evaluated at different
        times, values between are interpolated.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> accuracy_curves(example_results()).loc[3:5, ["strategy", "experience", "mean"]]
      strategy  experience    mean
    3   Replay         1.0  1.0000
    4   Replay         1.5  0.4375
    5   Replay         2.0  0.8125
    """
    cells, of_stream = _cells(results), protocols(results)
    frames = [pd.DataFrame(columns=CURVE_COLUMNS)]
    for stream, strategy, places in _places(results.runs):
        finished = [cells.cell(int(cell)) for cell in cells.of_run[places] if cell >= 0]
        finished = [cell for cell in finished if not cell.kind.problem]
        curves = [
            (t[known], y[known], variance[known])
            for t, y, variance in (cell.curve() for cell in finished)
            if (known := ~np.isnan(y)).any()
        ]
        if not curves:
            continue
        start, end = max(t[0] for t, *_ in curves), min(t[-1] for t, *_ in curves)
        times = np.unique(np.concatenate([t[(t >= start) & (t <= end)] for t, *_ in curves]))
        stack = np.stack([np.interp(times, t, y) for t, y, _ in curves])
        shared = np.mean([np.interp(times, t, variance) for t, _, variance in curves], axis=0)
        mean, _, low, high = student_interval(stack, confidence, score_bounds(of_stream[stream][1]), shared)
        columns = {"experience": times, "mean": mean, "ci_low": low, "ci_high": high}
        frames.append(pd.DataFrame({"stream": stream, "strategy": strategy, **columns}))
    return pd.concat(frames[1:] or frames, ignore_index=True)
