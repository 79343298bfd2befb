"""Which strategy to use: a choice by paired differences, never of a strategy that another one beats at no higher cost."""

import dataclasses
import json
import math
from typing import Literal

import numpy as np
import pandas as pd

from .metrics import Array
from .tables import ResultTables, block_scores, protocols, reference_roles

FEWEST_UNITS = 6
"""Fewer seeds, blocks or data sets give no verdict: no exact paired test of so few reaches 5 %."""

_NO_RAW_DATA = ("nothing", "statistics", "features", "generator")


@dataclasses.dataclass(frozen=True)
class Constraints:
    """What a strategy must keep to.

    Parameters
    ----------
    no_raw_data : bool, default=False
        Whether samples may not be kept; strategies of which it is not known are left out, too.
    no_task_id : bool, default=False
        Whether predictions must do without a task id.
    max_seconds : float, default=inf
        Seconds of fit and predict over the whole stream, in the mean over seeds.
    max_bytes : float, default=inf
        Bytes carried after the last experience: weights, memory and all other state.

    Raises
    ------
    ValueError
        If a limit is not a positive number.

    Examples
    --------
    >>> Constraints(no_raw_data=True, max_seconds=60)
    Constraints(no_raw_data=True, no_task_id=False, max_seconds=60, max_bytes=inf)
    """

    no_raw_data: bool = False
    no_task_id: bool = False
    max_seconds: float = math.inf
    max_bytes: float = math.inf

    def __post_init__(self) -> None:
        for name in ("max_seconds", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number, or leave it out.")

    def broken_by(self, strategy: pd.Series) -> str:
        """Say which constraint a strategy breaks.

        Parameters
        ----------
        strategy : Series
            ``keeps``, ``needs_task_id``, ``seconds`` and ``bytes``.

        Returns
        -------
        str
            Name of the constraint; empty if it keeps to all.
        """
        if self.no_raw_data and strategy["keeps"] not in _NO_RAW_DATA:
            return "no_raw_data"
        if self.no_task_id and strategy["needs_task_id"]:
            return "no_task_id"
        for name in ("seconds", "bytes"):
            limit = getattr(self, f"max_{name}")
            if limit < math.inf and not strategy[name] <= limit:
                return f"max_{name}"
        return ""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much better the recommended strategy is than another one, in pairs over the same seeds and blocks.

    Parameters
    ----------
    to : str
        Name of the other strategy.
    mean, low, high : float
        Mean difference of scores and its interval, which allows for all comparisons that were made.
    probability : float
        Of scoring higher in one pair; ties count half.
    """

    to: str
    mean: float
    low: float
    high: float
    probability: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes that there is no improvement."""
        return self.low > 0


@dataclasses.dataclass(frozen=True)
class Change:
    """What would change the answer.

    Parameters
    ----------
    condition : str
        Name of a constraint that is dropped, or ``"more seeds"``, ``"more blocks"``, ``"more data sets"``.
    strategy : str
        What would be recommended without the constraint, or might be shown to be better.
    n_units : int, default=None
        About how many seeds, blocks or data sets that takes, if the difference stays as it is.
    """

    condition: str
    strategy: str
    n_units: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Recommendation:
    """A choice with its reasons.

    Parameters
    ----------
    verdict : {"better", "no difference", "too few", "nothing fits"}
        "better": `strategy` is shown to be better than plain training (where that was not run or is itself the
        choice: than the runner-up). "no difference": nothing is shown to be. "too few": fewer than six seeds, blocks or
        data sets, so nothing is recommended. "nothing fits": no strategy is left.
    strategy : str or None
        The recommended strategy.
    leader : str or None
        The strategy with the highest mean score among those that may be chosen.
    plain : str or None
        The strategy that is plain training, if it was run.
    to_plain, to_runner_up : Difference or None
        From the recommended strategy (without one, from the leader) to plain training and to the best of the others.
    unit : {"seeds", "blocks", "data sets"}
        What the differences vary over, mostly.
    n_units : int
        How many of them there are.
    strategies : DataFrame
        One row per strategy, best first: score, ``difference`` from plain training with ``ci_low``, ``ci_high`` and
        ``probability``, seconds, bytes, keeps, needs_task_id, ``dominated_by`` (a strategy that scores no less, costs
        no more seconds and is better in one) and ``left_out`` (why it could not be chosen: a constraint, ``"upper
        bound"``, ``"failed"`` or ``"not measured on all"``); both are empty strings if there is nothing to say.
    changes : tuple of Change
        What would change the answer.
    """

    verdict: Literal["better", "no difference", "too few", "nothing fits"]
    strategy: str | None
    leader: str | None
    plain: str | None
    to_plain: Difference | None
    to_runner_up: Difference | None
    unit: Literal["seeds", "blocks", "data sets"]
    n_units: int
    strategies: pd.DataFrame
    changes: tuple[Change, ...]


def recommend(
    results: ResultTables,
    constraints: Constraints | None = None,
    *,
    stream: str | None = None,
    confidence: float = 0.95,
) -> Recommendation:
    """Choose a strategy, or say that no difference is shown.

    The choice starts at plain training and goes on, as long as something is shown to be better, to the cheapest of what
    is. Strategies that another one beats in the mean score without costing more (seconds of fit and predict) are never
    chosen, nor are upper bounds or strategies that failed in a run.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    constraints : Constraints, default=None
        What the strategy must keep to; ``None``: nothing.
    stream : str, default=None
        The stream to choose for; ``None``: for all of them together.
    confidence : float, default=0.95
        Of all intervals together, between 0 and 1.

    Returns
    -------
    Recommendation

    Raises
    ------
    ValueError
        If there is no such stream, the streams have different scores, or the confidence is not between 0 and 1.

    Notes
    -----
    Differences are paired. On one data set they vary over seeds and, where each row is predicted before it is learned,
    over blocks in time, the experiences: the variance of a mean difference is the sum of what both show, with
    Welch-Satterthwaite degrees of freedom. Several streams of one data set are averaged. Of several data sets, each is
    one unit. Intervals are Student's with Bonferroni's correction for the number of strategies compared, so looking at
    many does not make one of them better. Blocks count as independent: they should be long against what goes on in
    the data. Seeds that share their test rows do not show the noise of these rows.

    The correction is for the choice that is made here. Whoever chooses before (parameters, a few strategies out of
    many) does so on other rows and other seeds, and gives this function only what was run afterwards: plain training
    and the few that are left, with six seeds or more; the fewer there are, the narrower the intervals.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> found = recommend(example_results())
    >>> found.verdict, found.n_units, found.leader
    ('too few', 2, 'Replay')
    >>> found.strategies[["strategy", "left_out", "difference", "seconds"]]
      strategy     left_out  difference  seconds
    0    Joint  upper bound       0.375     1.25
    1   Replay                    0.250     1.25
    2    Naive                    0.000     1.25
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95; got {confidence}.")
    if stream is not None:
        results = _only(results, stream)
    scorers = sorted({scorer for _, scorer in protocols(results).values()})
    if len(scorers) > 1:
        raise ValueError(f"The streams have different scores ({', '.join(scorers)}); name one with stream=.")
    choice = _Choice(results, confidence)
    constraints = constraints or Constraints()
    found = choice.among(constraints)
    dropped = []
    for field in dataclasses.fields(Constraints):
        if getattr(constraints, field.name) != field.default:
            free = choice.among(dataclasses.replace(constraints, **{field.name: field.default}))
            if free.strategy not in (None, found.strategy):
                dropped.append(Change(field.name, str(free.strategy)))
    return dataclasses.replace(found, changes=(*found.changes, *dropped))


def _only(results: ResultTables, stream: str) -> ResultTables:
    """Return the results of one stream."""
    names = ("runs", "experiences", "scores", "evaluations")
    frames = {name: getattr(results, name) for name in names}
    if stream not in set(frames["runs"]["stream"]):
        known = ", ".join(map(str, frames["runs"]["stream"].unique()))
        raise ValueError(f"There is no stream {stream!r} in these results; there are: {known}.")
    return _Tables(**{name: frame[frame["stream"] == stream] for name, frame in frames.items()})


@dataclasses.dataclass(frozen=True, eq=False)
class _Tables:
    runs: pd.DataFrame
    experiences: pd.DataFrame
    scores: pd.DataFrame
    evaluations: pd.DataFrame


def _dataset(definition: object, stream: str) -> str:
    """Name the data set of a stream; a stream that does not tell is one of its own."""
    try:
        found = json.loads(str(definition))
        while "stream" in found:
            found = found["stream"]
        return str(found["dataset"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return stream


class _Choice:
    """Scores in pairs, and what is known of each strategy; a choice among those that keep to constraints."""

    def __init__(self, results: ResultTables, confidence: float) -> None:
        self.confidence = confidence
        runs, scores = results.runs, block_scores(results)
        roles = {
            name: role
            for stream in runs["stream"].unique()
            for name, role in reference_roles(results, str(stream)).items()
        }
        by_strategy = runs.groupby("strategy", sort=False)
        known = by_strategy[["keeps", "needs_task_id"]].first()
        known = known.join(scores.groupby("strategy")[["seconds", "bytes"]].mean())
        wide, self.unit = _units(runs, scores)
        plain = [name for name, role in roles.items() if role == "lower bound" and name in wide]
        self.plain = plain[0] if plain else None
        reference = wide[self.plain] if self.plain else wide.get(wide.count().idxmax()) if wide.size else None
        wide = wide[reference.notna()] if reference is not None else wide
        complete = wide.dropna(axis=1)
        failed = by_strategy["status"].agg(lambda status: (status == "failed").any())
        known["left_out"] = ""
        known.loc[~known.index.isin(complete.columns), "left_out"] = "not measured on all"
        known.loc[failed, "left_out"] = "failed"
        known.loc[[name for name, role in roles.items() if role == "upper bound"], "left_out"] = "upper bound"
        known["score"] = complete.mean()
        self.known = known.sort_values("score", ascending=False, kind="stable")
        seeds, blocks = (wide.index.get_level_values(level).nunique() for level in ("seed", "block"))
        if len(wide) < seeds * blocks:  # streams of other lengths for other seeds
            complete, blocks = complete.groupby(level="seed").mean(), 1
        self.n_units = max(seeds, blocks)
        self.scores = {name: complete[name].to_numpy().reshape(seeds, blocks) for name in complete}

    def among(self, constraints: Constraints) -> Recommendation:
        """Choose among the strategies that keep to constraints."""
        known = self.known.copy()
        open_ = known["left_out"] == ""
        known.loc[open_, "left_out"] = known[open_].apply(constraints.broken_by, axis=1) if open_.any() else ""
        candidates = known[known["left_out"] == ""]
        known["dominated_by"] = _dominated_by(candidates)
        known["dominated_by"] = known["dominated_by"].fillna("")
        n_compared = len(candidates) - 1
        plain = self._compared(list(self.scores), self.plain, n_compared)
        known = known.join(plain)
        front = [name for name in candidates.index if not known["dominated_by"][name]]
        unchosen = Recommendation(
            verdict="nothing fits",
            strategy=None,
            leader=None,
            plain=self.plain,
            to_plain=None,
            to_runner_up=None,
            unit=self.unit,
            n_units=self.n_units,
            strategies=known.rename_axis("strategy").reset_index()[_STRATEGY_COLUMNS],
            changes=(),
        )
        if not front:
            return unchosen
        leader = front[0]
        few = self.n_units < FEWEST_UNITS
        chosen = leader if few else self._climb(candidates.loc[front], n_compared)
        others = [name for name in candidates.index if name != chosen]
        to_plain = self._difference(chosen, self.plain, n_compared)
        to_runner_up = self._difference(chosen, others[0] if others else None, n_compared)
        judge = to_plain or to_runner_up
        shown = judge is not None and judge.shown
        changes = []
        if few:
            changes.append(Change(f"more {self.unit}", leader, FEWEST_UNITS))
        elif leader != chosen:
            changes.append(self._with_more(leader, chosen, n_compared))
        return dataclasses.replace(
            unchosen,
            verdict="too few" if few else "better" if shown else "no difference",
            strategy=None if few else chosen,
            leader=leader,
            to_plain=to_plain,
            to_runner_up=to_runner_up,
            changes=tuple(changes),
        )

    def _climb(self, front: pd.DataFrame, n_compared: int) -> str:
        """Go from plain training, or the cheapest, to the cheapest that is shown to be better, as long as there is one."""
        cheapest_first = list(front.sort_values("seconds", kind="stable").index)
        chosen = self.plain if self.plain in cheapest_first else cheapest_first[0]
        while True:
            compared = self._compared(cheapest_first, chosen, n_compared)
            better = compared.index[compared["ci_low"] > 0]
            if not len(better):
                return str(chosen)
            chosen = better[0]

    def _compared(self, names: list[str], to: str | None, n_compared: int) -> pd.DataFrame:
        """Return the differences of strategies from one, in rows."""
        if to is None or not names:
            return pd.DataFrame(index=names, columns=_DIFFERENCE_COLUMNS, dtype=float)
        pairs = np.stack([self.scores[name] - self.scores[to] for name in names], axis=-1)
        numbers = paired_interval(pairs, 1 - (1 - self.confidence) / max(n_compared, 1))
        return pd.DataFrame(dict(zip(_DIFFERENCE_COLUMNS, numbers, strict=True)), index=names)

    def _difference(self, name: str, to: str | None, n_compared: int) -> Difference | None:
        if to is None or to == name:
            return None
        return Difference(to, *map(float, self._compared([name], to, n_compared).iloc[0]))

    def _with_more(self, name: str, than: str, n_compared: int) -> Change:
        """Say how many units would show a difference, if it and its spread stay as they are."""
        row = self._compared([name], than, n_compared).loc[name]
        half = row["difference"] - row["ci_low"]
        n_units = math.ceil(self.n_units * (half / row["difference"]) ** 2) if row["difference"] > 0 else None
        return Change(f"more {self.unit}", name, n_units)


_DIFFERENCE_COLUMNS = ["difference", "ci_low", "ci_high", "probability"]
_STRATEGY_COLUMNS = [
    *("strategy", "score", *_DIFFERENCE_COLUMNS),
    *("seconds", "bytes", "keeps", "needs_task_id", "dominated_by", "left_out"),
]


def _units(runs: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, Literal["seeds", "blocks", "data sets"]]:
    """Put the scores of strategies side by side, in rows of independent pairs."""
    first = runs.drop_duplicates("stream")
    definitions = first["stream_definition"] if "stream_definition" in first else first["stream"]
    of_stream = {
        str(stream): _dataset(definition, str(stream))
        for stream, definition in zip(first["stream"], definitions, strict=True)
    }
    unit: Literal["seeds", "blocks", "data sets"] = "seeds"
    if scores["stream"].nunique() > 1:
        means = scores.groupby(["strategy", "stream", "seed"], as_index=False, sort=False)["score"].mean()
        scores = means.assign(block=0)
        # A strategy counts where it has all streams.
        wide = means.pivot_table(index=["stream", "seed"], columns="strategy", values="score", sort=False)
        datasets = wide.index.get_level_values("stream").map(of_stream)
        if datasets.nunique() > 1:
            unit = "data sets"
            by = [np.zeros(len(wide), int), datasets]
        else:
            by = [wide.index.get_level_values("seed"), np.zeros(len(wide), int)]
        wide = wide.groupby(by, sort=False).agg(lambda values: values.mean(skipna=False))
        return wide.rename_axis(["seed", "block"]), unit
    wide = scores.pivot_table(index=["seed", "block"], columns="strategy", values="score", sort=False).sort_index()
    seeds, blocks = (wide.index.get_level_values(level).nunique() for level in ("seed", "block"))
    return wide, "blocks" if blocks > seeds else "seeds"


def _dominated_by(strategies: pd.DataFrame) -> pd.Series:
    """Name for each strategy one that scores no less, takes no longer and is better in one; the best if there are many."""
    score = strategies["score"].to_numpy(dtype=float)
    seconds = strategies["seconds"].fillna(math.inf).to_numpy(dtype=float)
    no_worse = (score[:, None] >= score) & (seconds[:, None] <= seconds)
    beats = no_worse & ~no_worse.T
    names = [strategies.index[beats[:, i].argmax()] if beats[:, i].any() else "" for i in range(len(strategies))]
    return pd.Series(names, index=strategies.index, dtype=object)


def paired_interval(pairs: Array, confidence: float) -> tuple[Array, Array, Array, Array]:
    """Compute the mean of paired differences, its interval, and how often they are above zero.

    Parameters
    ----------
    pairs : ndarray of shape (n_seeds, n_blocks, ...)
        Differences.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    tuple of ndarray
        Mean, lower and upper limit, and the share above zero, in which ties count half. Both limits are NaN for a
        single difference.

    Examples
    --------
    >>> mean, low, high, share = paired_interval(np.array([[1.0], [3.0]]), 0.5)
    >>> float(mean), round(float(low), 6), round(float(high), 6), float(share)
    (2.0, 1.0, 3.0, 1.0)
    """
    from scipy.stats import t

    mean = pairs.mean(axis=(0, 1))
    variance, weight = np.zeros_like(mean), np.zeros_like(mean)
    for axis in (0, 1):
        n = pairs.shape[axis]
        if n > 1:
            of_mean = pairs.mean(axis=1 - axis).var(axis=0, ddof=1) / n
            variance += of_mean
            weight += of_mean**2 / (n - 1)
    with np.errstate(invalid="ignore"):
        freedom = np.where(weight > 0, variance**2 / weight, max(pairs.shape[:2]) - 1)
    half = t.ppf(0.5 + confidence / 2, freedom) * np.sqrt(variance)
    return mean, mean - half, mean + half, np.mean((1 + np.sign(pairs)) / 2, axis=(0, 1))
