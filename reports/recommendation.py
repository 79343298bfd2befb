"""Which strategy to use, why, and what would change the answer."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .choice import Choice, choose, dominance, paired_interval
from .tables import ResultTables, block_scores, datasets_of, protocols, reference_roles

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
    the data. Seeds that share their test rows do not show the noise of these rows: for accuracies, its binomial
    variance is added where neither blocks nor data sets show it, as if strategies erred independently of each other.
    A single seed does not show the noise of training.

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
        default: Any = field.default
        if getattr(constraints, field.name) != default:
            free = choice.among(dataclasses.replace(constraints, **{field.name: default}))
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
    return SimpleNamespace(**{name: frame[frame["stream"] == stream] for name, frame in frames.items()})


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
        if wide.size:  # compare on what plain training was measured on, or the strategy that was measured most
            wide = wide[wide[self.plain or wide.count().idxmax()].notna()]
        complete = wide.dropna(axis=1)
        failed = runs.loc[runs["status"] == "failed", "strategy"].unique()
        known = known.assign(left_out="", dominated_by="")
        known.loc[~known.index.isin(complete.columns), "left_out"] = "not measured on all"
        known.loc[failed, "left_out"] = "failed"
        known.loc[[name for name, role in roles.items() if role == "upper bound"], "left_out"] = "upper bound"
        known["score"] = complete.mean()
        self.known = known.sort_values("score", ascending=False, kind="stable")
        seeds, blocks = (len(wide.index.unique(level)) for level in ("seed", "block"))
        if len(wide) < seeds * blocks:  # streams of other lengths for other seeds
            complete, blocks = complete.groupby(level="seed").mean(), 1
        self.n_units = max(seeds, blocks)
        # As strategies are positions now, those that were not measured on all have none.
        self.names = [str(name) for name in self.known.index if name in complete]
        self.scores = complete[self.names].to_numpy().reshape(seeds, blocks, len(self.names))
        self.noise = np.zeros(len(self.names))
        if self.unit == "seeds" and blocks == 1:
            # Of several streams, which have one data set here, the test rows are the same.
            deviations = np.sqrt(scores.groupby(["strategy", "stream"])["variance"].mean())
            self.noise = (deviations.groupby("strategy").mean() ** 2).reindex(self.names).to_numpy()
        self.seconds = self.known.loc[self.names, "seconds"].to_numpy(dtype=float)

    def among(self, constraints: Constraints) -> Recommendation:
        """Choose among the strategies that keep to constraints."""
        known = self.known.copy()
        free = known["left_out"] == ""
        known.loc[free, "left_out"] = [constraints.broken_by(row) for _, row in known[free].iterrows()]
        left_out = known.loc[self.names, "left_out"]
        candidates = np.array([k for k, why in enumerate(left_out) if not why], dtype=np.intp)
        plain = self.names.index(self.plain) if self.plain in self.names else None
        found = Recommendation(
            verdict="nothing fits",
            strategy=None,
            leader=None,
            plain=self.plain,
            to_plain=None,
            to_runner_up=None,
            unit=self.unit,
            n_units=self.n_units,
            strategies=known,
            changes=(),
        )
        if len(candidates):
            found = self._chosen(found, candidates, plain)
        rows = found.strategies.rename_axis("strategy").reset_index()
        return dataclasses.replace(found, strategies=rows.reindex(columns=_STRATEGY_COLUMNS))

    def _chosen(self, found: Recommendation, candidates: NDArray[np.intp], plain: int | None) -> Recommendation:
        choice = choose(self.scores, self.seconds, candidates, plain, self.confidence, self.noise)
        few = self.n_units < FEWEST_UNITS
        best = choice.leader if few else choice.chosen
        others = [int(each) for each in candidates if each != best]  # they are ordered by score
        if few:
            changes = [Change(f"more {self.unit}", self.names[best], FEWEST_UNITS)]
        else:
            changes = self._with_more(choice) if choice.leader != best else []
        return dataclasses.replace(
            found,
            verdict="too few" if few else "better" if choice.shown else "no difference",
            strategy=None if few else self.names[best],
            leader=self.names[choice.leader],
            to_plain=None if plain in (None, best) else self._difference(best, plain, choice.confidence),
            to_runner_up=self._difference(best, others[0], choice.confidence) if others else None,
            strategies=self._compared(found.strategies, candidates, plain, choice.confidence),
            changes=tuple(changes),
        )

    def _difference(self, name: int, to: int, confidence: float) -> Difference:
        pairs, shared = self.scores[:, :, name] - self.scores[:, :, to], self.noise[name] + self.noise[to]
        numbers = paired_interval(pairs, confidence, shared)
        return Difference(self.names[to], *map(float, numbers))

    def _compared(
        self, known: pd.DataFrame, candidates: NDArray[np.intp], plain: int | None, confidence: float
    ) -> pd.DataFrame:
        """Add the differences from plain training, and who dominates whom."""
        names = [self.names[each] for each in candidates]
        beats = dominance(self.scores[:, :, candidates].mean(axis=(0, 1)), self.seconds[candidates])
        known.loc[names, "dominated_by"] = [names[row.argmax()] if row.any() else "" for row in beats.T]
        if plain is None:
            return known
        shared = np.where(np.arange(len(self.names)) == plain, 0.0, self.noise + self.noise[plain])
        numbers = paired_interval(self.scores - self.scores[:, :, [plain]], confidence, shared)
        columns = dict(zip(_DIFFERENCE_COLUMNS, numbers, strict=True))
        return known.join(pd.DataFrame(columns, index=self.names))

    def _with_more(self, choice: Choice) -> list[Change]:
        """Say how many units might show that the leader is better, if difference and spread stay as they are."""
        lead = self._difference(choice.leader, choice.chosen, choice.confidence)
        if not lead.mean > 0:
            return []
        n_units = math.ceil(self.n_units * ((lead.mean - lead.low) / lead.mean) ** 2)
        return [Change(f"more {self.unit}", self.names[choice.leader], n_units)]


_DIFFERENCE_COLUMNS = ["difference", "ci_low", "ci_high", "probability"]
_STRATEGY_COLUMNS = [
    *("strategy", "score", *_DIFFERENCE_COLUMNS),
    *("seconds", "bytes", "keeps", "needs_task_id", "dominated_by", "left_out"),
]


def _units(runs: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.DataFrame, Literal["seeds", "blocks", "data sets"]]:
    """Put the scores of strategies side by side, in rows of independent pairs."""
    unit: Literal["seeds", "blocks", "data sets"] = "seeds"
    if len(scores["stream"].unique()) > 1:
        means = scores.groupby(["strategy", "stream", "seed"], as_index=False, sort=False)["score"].mean()
        scores = means.assign(block=0)
        # A strategy counts where it has all streams.
        wide = means.pivot_table(index=["stream", "seed"], columns="strategy", values="score", sort=False)
        datasets = wide.index.get_level_values("stream").map(datasets_of(runs))
        if len(datasets.unique()) > 1:
            unit = "data sets"
            by = [np.zeros(len(wide), int), datasets]
        else:
            by = [wide.index.get_level_values("seed"), np.zeros(len(wide), int)]
        wide = wide.groupby(by, sort=False).agg(lambda values: values.mean(skipna=False))
        return wide.rename_axis(["seed", "block"]), unit
    wide = scores.pivot_table(index=["seed", "block"], columns="strategy", values="score", sort=False).sort_index()
    seeds, blocks = (len(wide.index.unique(level)) for level in ("seed", "block"))
    return wide, "blocks" if blocks > seeds else "seeds"
