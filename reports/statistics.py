"""What results show beyond one stream: gaps closed, comparisons in pairs, profiles, and whether there is a winner.

All functions take tables from `run_scores`, or from `gap_closed`, which has the same columns with gaps for scores. The
unit of evidence is the data set: several streams of one data set are averaged first. Where there is one data set only,
its seeds are the units, and conclusions are about this data set. Failed runs count as plain training.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from . import formats
from .metrics import Array, score_bounds
from .recommendation import FEWEST_UNITS
from .tables import ResultTables, among, run_scores, select, with_references

SMALLEST_GAP = 0.05
"""Where joint training is less than this above plain training, there is nothing to tell strategies apart by."""

COMPARISON_COLUMNS = [
    *("strategy", "other", "difference", "low", "high", "wins", "ties", "losses"),
    *("probability", "probability_low", "probability_high", "p", "p_holm", "n_units"),
]
IMPROVEMENT_COLUMNS = ["strategy", "probability", "low", "high"]
PROFILE_COLUMNS = ["strategy", "threshold", "share", "low", "high"]
OVERALL_COLUMNS = [
    *("strategy", "role", "gap", "gap_low", "gap_high", "probability", "probability_low", "probability_high"),
    *("score", "n_datasets", "n_streams", "n_seeds", "n_runs", "n_failed", "seconds", "bytes", "keeps"),
]


@dataclass(frozen=True, eq=False)
class Gaps:
    """How much of the way from plain to joint training each run has gone.

    Parameters
    ----------
    table : DataFrame
        The columns of `run_scores`; ``score`` is the gap closed, 0 for plain and 1 for joint training, and ``variance``
        its variance because of the test rows. There are only the streams and seeds that have a gap.
    left_out : dict of str to str
        Why a stream is not there, by its name.
    n_left_out : int
        How many seeds of the other streams are not there, because either reference failed or the gap is too small.
    """

    table: pd.DataFrame
    left_out: dict[str, str]
    n_left_out: int


def gap_closed(scores: pd.DataFrame, smallest_gap: float = SMALLEST_GAP) -> Gaps:
    """Compute the gap closed by each run: (A − Naive) / (Joint − Naive), on the same stream with the same seed.

    Parameters
    ----------
    scores : DataFrame
        From `run_scores`.
    smallest_gap : float, default=0.05
        A stream whose mean gap between the references is smaller, in parts of the score's scale, is left out, and so is
        a seed. The scale of a score up to 1 is 1; that of an error is the error of plain training.

    Returns
    -------
    Gaps

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> gap_closed(run_scores(example_results())).table[["strategy", "seed", "score"]].iloc[2:4]
      strategy  seed     score
    2   Replay     0  0.666667
    3   Replay     1  0.666667
    """
    place = ["stream", "seed"]
    frame = scores
    for name, role in (("naive", "lower bound"), ("joint", "upper bound")):
        of_role = scores[scores["reference"] & (scores["role"] == role) & ~scores["failed"]].set_index(place)
        frame = frame.join(of_role[["score", "variance", "strategy"]].add_prefix(f"{name}_"), on=place)
    width = frame["joint_score"] - frame["naive_score"]
    bounded = frame["scorer"].map({scorer: score_bounds(scorer)[1] == 1.0 for scorer in frame["scorer"].unique()})
    share = width / frame["naive_score"].abs().where(~bounded.astype(bool), 1.0)
    of_stream = frame.assign(share=share, width=width).drop_duplicates(place).groupby("stream", sort=False)
    left_out = {str(stream): why for stream, rows in of_stream if (why := _uninformative(rows, smallest_gap))}
    there = ~frame["stream"].astype(str).isin(left_out)
    informative = there & (share >= smallest_gap)
    gap = (frame["score"] - frame["naive_score"]) / width
    variance = (
        frame["variance"] + (1 - gap) ** 2 * frame["naive_variance"] + gap**2 * frame["joint_variance"]
    ) / width**2
    exact = frame["reference"] | frame["failed"]  # the same rows above and below the line
    table = frame.assign(score=gap, variance=variance.where(~exact, 0.0), scorer="gap closed")[informative]
    n_left_out = len(frame[there & ~informative].drop_duplicates(place))
    return Gaps(table[list(scores.columns)].reset_index(drop=True), left_out, n_left_out)


def _uninformative(rows: pd.DataFrame, smallest_gap: float) -> str:
    """Say why a stream shows nothing; `rows` has one for each seed."""
    for name, what in (("naive", "plain training"), ("joint", "training on all data")):
        if rows[f"{name}_score"].isna().all():
            return f"no run of {what} finished"
    mean = rows["share"].mean()
    if mean >= smallest_gap:
        return ""
    naive, joint = rows["naive_strategy"].dropna().iloc[0], rows["joint_strategy"].dropna().iloc[0]
    scorer = rows["scorer"].iloc[0]
    points = " points" * formats.in_percent(scorer)
    width = float(rows["width"].mean())
    return f"{joint} is {formats.score(abs(width), scorer)}{points} {'above' if width >= 0 else 'below'} {naive}"


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of the values, which single runs cannot move far (Agarwal et al. 2021).

    Parameters
    ----------
    values : array-like of shape (n,)

    Returns
    -------
    float
        A quarter of the values, rounded down, is left out at each end.

    Examples
    --------
    >>> interquartile_mean([0.0, 0.5, 0.75, 100.0])
    0.625
    """
    return float(_middle(np.asarray(values, dtype=np.float64)[None])[0])


def _middle(values: Array) -> Array:
    n = values.shape[1]
    cut = n // 4
    if cut:
        values = np.partition(values, (cut, n - cut - 1), axis=1)[:, cut : n - cut]
    mean: Array = values.mean(axis=1)
    return mean


def interquartile_interval(
    values: ArrayLike,
    datasets: ArrayLike,
    variances: ArrayLike = 0.0,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float, float]:
    """Compute the interquartile mean over data sets and seeds with a stratified bootstrap interval.

    Seeds are drawn within data sets, so the interval is about these data sets. Draws of few seeds spread too little:
    limits are moved away from the mean by √(N/(N − D)) t/z, for N values of D data sets (as Hesterberg's expanded
    percentiles, 2015). Student's t has N − D degrees of freedom, or half of them where there are several data sets,
    for the middle half of the values may be that of half the data sets. The noise of the test rows, which the seeds of
    a data set share, is drawn once for each data set.

    Parameters
    ----------
    values : array-like of shape (n,)
        One for each data set and seed.
    datasets : array-like of shape (n,)
        Name of the data set of each.
    variances : array-like of shape (n,), default=0.0
        Variance of each because of the test rows.
    confidence : float
        Between 0 and 1.
    n_resamples : int
        Number of draws, which are the same in each call.

    Returns
    -------
    tuple of float
        Mean, lower and upper limit; both limits are NaN where each data set has a single seed.

    Examples
    --------
    >>> mean, low, high = interquartile_interval([0.4, 0.5, 0.6, 0.7, 0.8, 0.9], ["a"] * 3 + ["b"] * 3)
    >>> round(mean, 2), round(low, 2), round(high, 2)
    (0.65, 0.45, 0.85)
    """
    from scipy.special import stdtrit

    values = np.asarray(values, dtype=np.float64)
    _, stratum, counts = np.unique(np.asarray(datasets).astype(str), return_inverse=True, return_counts=True)
    deviations = np.sqrt(np.broadcast_to(np.asarray(variances, dtype=np.float64), values.shape))
    order = np.lexsort((deviations, values, stratum))  # so that the order of seeds changes nothing
    values, stratum, deviations = values[order], stratum[order], deviations[order]
    mean = interquartile_mean(values)
    freedom = len(values) - len(counts)
    if not freedom:
        return mean, math.nan, math.nan
    level = 0.5 + confidence / 2
    halved = freedom / 2 if len(counts) > 1 else freedom
    expand = math.sqrt(len(values) / freedom) * float(stdtrit(halved, level) / stdtrit(math.inf, level))
    drawn, noise = _draws(tuple(counts.tolist()), n_resamples)
    sample = values[drawn]
    if deviations.any():
        sample += noise[:, stratum] * deviations[drawn] / expand
    low, high = np.quantile(_middle(sample), [1 - level, level])
    return mean, mean - expand * (mean - float(low)), mean + expand * (float(high) - mean)


@functools.lru_cache(maxsize=1)  # strategies that ran with the same seeds on the same data sets have the same
def _draws(counts: tuple[int, ...], n_resamples: int) -> tuple[NDArray[np.int32], Array]:
    """Draw values within strata of so many, and noise for each stratum."""
    rng, sizes = np.random.default_rng(0), np.array(counts)
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.cumsum(sizes) - sizes
    drawn = starts[stratum] + (rng.random((n_resamples, len(stratum))) * sizes[stratum]).astype(np.intp)
    return drawn.astype(np.int32), rng.standard_normal((n_resamples, len(sizes)))


def wilson_interval(share: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Compute Wilson's interval of a share.

    Parameters
    ----------
    share : array-like
        From 0 to 1.
    n : array-like
        Of how many; need not be whole.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    tuple of ndarray
        Lower and upper limit.

    Examples
    --------
    >>> low, high = wilson_interval(1.0, 6)
    >>> round(float(low), 3), float(high)
    (0.61, 1.0)
    """
    from scipy.special import ndtri

    p, size = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = ndtri(0.5 + confidence / 2) ** 2
    middle = (p + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2) / (1 + z2 / size) * np.sqrt(p * (1 - p) / size + z2 / (4 * size**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def probability_of_improvement(scores: pd.DataFrame, than: str, confidence: float = 0.95) -> pd.DataFrame:
    """Compute how likely each strategy scores higher than another one on the same stream with the same seed.

    Parameters
    ----------
    scores : DataFrame
        From `run_scores` or `gap_closed`.
    than : str
        Name of the other strategy.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    DataFrame
        Columns strategy, probability, low, high; one row per other strategy that has runs in common with it. Ties
        count half, and data sets weigh the same. Intervals are Wilson's. Seeds of a data set share its test rows: where
        these make the share ρ of the variance of a difference, n seeds count as n / (1 + (n − 1) ρ).

    Raises
    ------
    ValueError
        If there is no such strategy.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> probability_of_improvement(run_scores(example_results()), "Naive")
      strategy  probability       low  high
    0   Replay          1.0  0.206549   1.0
    1    Joint          1.0  0.206549   1.0
    """
    wide, noise = _by_run(scores)
    if than not in wide:
        raise ValueError(f"There is no strategy {than!r} in these results; there are: {', '.join(map(str, wide))}.")
    return _improvement(wide, noise, than, confidence)


def _by_run(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put scores, and their variances, side by side: a row for each data set, stream and seed."""
    place = ["dataset", "stream", "seed"]
    known = scores[scores["score"].notna()]
    wide, noise = (
        known.pivot_table(index=place, columns="strategy", values=name, sort=False) for name in ("score", "variance")
    )
    return wide, noise.reindex_like(wide)


def _improvement(wide: pd.DataFrame, noise: pd.DataFrame, than: str, confidence: float) -> pd.DataFrame:
    difference = wide.sub(wide[than], axis=0)
    better = (difference.gt(0).astype(float) + difference.ge(0).astype(float)).where(difference.notna()) / 2
    by_seed = better.groupby(level=["dataset", "seed"], sort=False).mean().groupby(level="dataset", sort=False)
    share, n_seeds = by_seed.mean(), by_seed.count()
    shared = noise.add(noise[than], axis=0).where(difference.notna())
    streams = ["dataset", "stream"]
    deviations = shared.groupby(level=streams, sort=False).mean().pow(0.5)
    rows = deviations.groupby(level="dataset", sort=False).mean() ** 2
    seeds = difference.groupby(level=streams, sort=False).var().groupby(level="dataset", sort=False).mean()
    correlation = (rows / (rows + seeds.fillna(0.0))).fillna(0.0)
    weight = 1 / (n_seeds / (1 + (n_seeds - 1).clip(lower=0) * correlation)).where(n_seeds > 0)
    size = share.count() ** 2 / weight.sum()
    found = pd.DataFrame({"probability": share.mean(), "size": size}).drop(index=than).dropna()
    low, high = wilson_interval(found["probability"], found["size"], confidence)
    return found.assign(low=low, high=high).rename_axis("strategy").reset_index()[IMPROVEMENT_COLUMNS]


@dataclass(frozen=True, eq=False)
class Units:
    """Scores side by side, in units that are independent of each other.

    Parameters
    ----------
    values : DataFrame of shape (n, n_strategies)
        One row per seed and, where these are the units, data set (a level of the index); NaN where a strategy was not
        run.
    noise : Series of shape (n_strategies,)
        Variances of the mean values because of the test rows: those that seeds of one data set share. Data sets show
        theirs, so there it is 0.
    unit : {"data sets", "seeds"}
        What the units are.
    """

    values: pd.DataFrame
    noise: pd.Series
    unit: Literal["data sets", "seeds"]

    def averages(self) -> pd.DataFrame:
        """Return the score of each strategy in each unit: of a data set, the mean over the seeds that there are.

        Returns
        -------
        DataFrame of shape (n_units, n_strategies)
        """
        return self._over_seeds(self.values)

    def differences(self, first: Sequence[str], second: Sequence[str]) -> Array:
        """Return differences in each unit, over the seeds that both of a pair have.

        Parameters
        ----------
        first, second : sequence of str
            Strategies.

        Returns
        -------
        ndarray of shape (n_units, n_pairs)
        """
        one, other = (self.values[list(names)].to_numpy(dtype=np.float64) for names in (first, second))
        found: Array = self._over_seeds(pd.DataFrame(one - other, index=self.values.index)).to_numpy()
        return found

    def _over_seeds(self, values: pd.DataFrame) -> pd.DataFrame:
        return values.groupby(level="dataset", sort=False).mean() if self.unit == "data sets" else values


def independent_units(scores: pd.DataFrame) -> Units:
    """Average what is not independent: streams of a data set, and of several data sets the seeds, too.

    Parameters
    ----------
    scores : DataFrame
        From `run_scores` or `gap_closed`.

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        If streams have different scores, whose mean would mean nothing.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> units = independent_units(run_scores(example_results()))
    >>> units.unit, units.averages()["Joint"].to_list()
    ('seeds', [1.0, 0.875])
    """
    wide, noise = _by_run(scores)
    if len(scores["scorer"].unique()) > 1:
        names = ", ".join(sorted(map(str, scores["scorer"].unique())))
        raise ValueError(f"The streams have different scores ({names}); compare gaps closed, or one of them.")
    # A strategy counts on a data set where it has all streams.
    by_seed = wide.groupby(level=["dataset", "seed"], sort=False)
    values = by_seed.mean().where(by_seed.count().eq(by_seed.size(), axis=0))
    if len(values.index.unique("dataset")) > 1:
        return Units(values, pd.Series(0.0, index=values.columns), "data sets")
    deviations = noise.groupby(level="stream", sort=False).mean().pow(0.5)
    return Units(values.droplevel("dataset"), (deviations.mean() ** 2).fillna(0.0), "seeds")


def holm(p: ArrayLike) -> Array:
    """Adjust p-values for all of them together (Holm 1979).

    Parameters
    ----------
    p : array-like of shape (n,)
        NaN where there was no test.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    [tested] = np.nonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    adjusted = np.full_like(values, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def _paired(differences: Array, shared: Array, confidence: float, unit: str) -> tuple[Array, Array, Array, Array]:
    """Return means, limits and two-sided p-values of differences of shape (n_units, n_pairs), NaN where there is none.

    The interval is that of `student_interval`. Over data sets, p is Wilcoxon's; over seeds, whose test rows are the
    same, it is 1 − the confidence at which the interval ends at 0. Where there are too few units, p is NaN.
    """
    from scipy.special import stdtrit

    n = np.sum(~np.isnan(differences), axis=0)
    mean = np.nansum(differences, axis=0) / np.maximum(n, 1)
    squares = np.nansum((differences - mean) ** 2, axis=0)
    freedom = np.maximum(n - 1, 1)
    error, noise = np.sqrt(squares / freedom / np.maximum(n, 1)), np.sqrt(shared)

    def half(p: ArrayLike) -> Array:
        tail = np.asarray(p) / 2
        width: Array = np.hypot(stdtrit(freedom, tail) * error, stdtrit(math.inf, tail) * noise)
        return width

    known = np.where(n > 1, half(1 - confidence), np.nan)
    p = np.full(len(mean), np.nan)
    enough = n >= FEWEST_UNITS
    if unit == "data sets":
        p[enough] = _wilcoxon(differences[:, enough])
    elif enough.any():
        low, high = np.full_like(mean, -100.0), np.zeros_like(mean)  # of log10 p; quantiles are wrong farther out
        for _ in range(60):
            middle = (low + high) / 2
            wider = half(10.0**middle) > np.abs(mean)
            low, high = np.where(wider, middle, low), np.where(wider, high, middle)
        p[enough] = np.where(mean == 0, 1.0, 10.0**high)[enough]
    mean = np.where(n > 0, mean, np.nan)
    return mean, mean - known, mean + known, p


def _wilcoxon(differences: Array) -> Array:
    from scipy.stats import wilcoxon

    p = np.ones(differences.shape[1])
    complete = ~np.isnan(differences).any(axis=0)
    # Ranks of zeros and of ties need other distributions, so these go one by one.
    size = np.sort(np.abs(differences), axis=0)
    plain = complete & (size[0] > 0) & (np.diff(size, axis=0) > 0).all(axis=0)
    if plain.any():
        p[plain] = wilcoxon(differences[:, plain], axis=0).pvalue
    for k in np.flatnonzero(~plain):
        values = differences[:, k]
        if np.any(values[~np.isnan(values)]):
            p[k] = wilcoxon(values[~np.isnan(values)]).pvalue
    return p


def comparison_matrix(scores: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Compare each strategy with each other one, in pairs over the same data sets and seeds.

    What is said about a pair depends on these two only, but for Holm's correction (Ismail-Fawaz et al. 2023); mean
    ranks would depend on who else is there (Benavoli et al. 2016).

    Parameters
    ----------
    scores : DataFrame
        From `run_scores` or `gap_closed`.
    confidence : float
        Of each interval alone, between 0 and 1.

    Returns
    -------
    DataFrame
        One row per pair, better strategies first: strategy, other, difference with low and high (Student's interval
        over units, with the noise of the test rows where the units are seeds), wins, ties, losses (in how many units
        the first one scores higher), probability of improvement with its interval, p (two-sided, Wilcoxon over data
        sets; over seeds from the interval), p_holm (for all pairs together), n_units. Both p are NaN for fewer than
        six units.

    Raises
    ------
    ValueError
        If streams have different scores.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> pairs = comparison_matrix(run_scores(example_results()))
    >>> pairs[["strategy", "other", "difference", "wins", "p"]]
      strategy   other  difference  wins   p
    0    Joint  Replay       0.125     2 NaN
    1    Joint   Naive       0.375     2 NaN
    2   Replay   Naive       0.250     2 NaN
    """
    units = independent_units(scores)
    names = list(units.averages().mean().sort_values(ascending=False, kind="stable").index)
    noise = units.noise[names].to_numpy(dtype=np.float64)
    first, second = np.triu_indices(len(names), 1)
    differences = units.differences([names[k] for k in first], [names[k] for k in second])
    mean, low, high, p = _paired(differences, noise[first] + noise[second], confidence, units.unit)
    wide, variances = _by_run(scores)
    improvement = [
        _improvement(wide[names[k:]], variances[names[k:]], names[k], confidence).set_index("strategy")
        for k in range(len(names) - 1)
    ]
    # These are of the worse one over the better one.
    chances = pd.concat(improvement, keys=range(len(improvement))) if improvement else None
    rows = pd.MultiIndex.from_arrays([first, [names[k] for k in second]])
    chance = np.full((len(first), 3), np.nan) if chances is None else 1 - chances.reindex(rows).to_numpy()
    return pd.DataFrame(
        {
            "strategy": [names[k] for k in first],
            "other": [names[k] for k in second],
            "difference": mean,
            "low": low,
            "high": high,
            "wins": np.sum(differences > 0, axis=0),
            "ties": np.sum(differences == 0, axis=0),
            "losses": np.sum(differences < 0, axis=0),
            "probability": chance[:, 0],
            "probability_low": chance[:, 2],
            "probability_high": chance[:, 1],
            "p": p,
            "p_holm": holm(p),
            "n_units": np.sum(~np.isnan(differences), axis=0),
        },
        columns=COMPARISON_COLUMNS,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether a strategy is shown to be better than each other one.

    Parameters
    ----------
    winner : str or None
    leader : str or None
        The strategy with the highest mean.
    not_worse : tuple of str
        Those that the leader is not shown to be better than; all others where there are too few units for a verdict.
    unit : {"data sets", "seeds"}
        What differences vary over.
    n_units : int
        How many there are.
    n_needed : int
        How many there must be, at least, for so many comparisons.
    """

    winner: str | None
    leader: str | None
    not_worse: tuple[str, ...]
    unit: Literal["data sets", "seeds"]
    n_units: int
    n_needed: int = FEWEST_UNITS


def verdict(units: Units, leave_out: Iterable[str] = (), confidence: float = 0.95) -> Verdict:
    """Find the winner, if there is one.

    Parameters
    ----------
    units : Units
        From `independent_units`.
    leave_out : iterable of str
        Strategies that do not compete, as upper bounds.
    confidence : float
        That no winner is declared where there is no difference, between 0 and 1.

    Returns
    -------
    Verdict
        The winner's differences from each other strategy are above zero with Holm's correction, over six units or more.
        A strategy that was not run everywhere does not compete.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> found = verdict(independent_units(run_scores(example_results())), ["Joint"])
    >>> found.winner, found.leader, found.not_worse, found.n_units
    (None, 'Replay', ('Naive',), 2)
    """
    values = units.averages().drop(columns=list(leave_out), errors="ignore").dropna(axis=1)
    n_units = len(values)
    if values.empty:
        return Verdict(None, None, (), units.unit, n_units)
    means = values.mean().sort_values(ascending=False, kind="stable")
    leader, *others = means.index
    needed = FEWEST_UNITS
    if units.unit == "data sets" and others:  # Wilcoxon's smallest p is 2 ** (1 - n)
        needed = max(needed, math.floor(1 + math.log2(len(others) / (1 - confidence))) + 1)
    if n_units < needed or not others:
        return Verdict(None, str(leader), tuple(map(str, others)), units.unit, n_units, needed)
    differences = units.differences([leader] * len(others), others)
    shared = units.noise[leader] + units.noise[others].to_numpy(dtype=np.float64)
    _, _, _, p = _paired(differences, shared, confidence, units.unit)
    not_worse = tuple(str(name) for name, each in zip(others, holm(p), strict=True) if not each < 1 - confidence)
    return Verdict(None if not_worse else str(leader), str(leader), not_worse, units.unit, n_units, needed)


def performance_profiles(
    gaps: pd.DataFrame, thresholds: ArrayLike | None = None, confidence: float = 0.95
) -> pd.DataFrame:
    """Compute the share of runs that reach each score (Dolan & Moré 2002; Agarwal et al. 2021).

    Parameters
    ----------
    gaps : DataFrame
        From `gap_closed`, or from `run_scores`.
    thresholds : array-like of shape (n,), default=None
        ``None``: from 0 to 1.2 in steps of 0.02.
    confidence : float
        Of Wilson's interval at each threshold, between 0 and 1.

    Returns
    -------
    DataFrame
        Columns strategy, threshold, share (of data sets and seeds; streams of one data set are averaged), low, high.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> profile = performance_profiles(gap_closed(run_scores(example_results())).table, [0.5, 0.9])
    >>> profile[["strategy", "threshold", "share"]].iloc[2:4]
      strategy  threshold  share
    2   Replay        0.5    1.0
    3   Replay        0.9    0.0
    """
    at = np.arange(0, 61) / 50 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    wide, _ = _by_run(gaps)
    frames = [pd.DataFrame(columns=PROFILE_COLUMNS)]
    for strategy, values in wide.items():
        known = values.dropna()
        reached = pd.DataFrame(known.to_numpy()[:, None] >= at, index=known.index)
        by_seed = reached.groupby(level=["dataset", "seed"], sort=False).mean()
        share = by_seed.mean().to_numpy()
        low, high = wilson_interval(share, len(by_seed), confidence)
        frames.append(pd.DataFrame({"strategy": strategy, "threshold": at, "share": share, "low": low, "high": high}))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def to_bencheval(scores: pd.DataFrame) -> pd.DataFrame:
    """Write scores as the package bencheval reads them, for its Elo, ranks and win rates.

    Parameters
    ----------
    scores : DataFrame
        From `run_scores`.

    Returns
    -------
    DataFrame
        Columns method, task (the data set; with the score, where its streams have several), seed and metric_error: how
        far the score is from the best that is possible, in the mean over the streams of the data set. It is what
        ``bencheval.evaluator.BenchmarkEvaluator(seed_column="seed", columns_to_agg_extra=None)`` takes.

    Raises
    ------
    ValueError
        If the best possible score is not known.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> to_bencheval(run_scores(example_results())).head(2)
      method task  seed  metric_error
    0  Naive  toy     0         0.375
    1  Naive  toy     1         0.500
    """
    best = {scorer: score_bounds(scorer)[1] for scorer in scores["scorer"].unique()}
    if unknown := [scorer for scorer, bound in best.items() if not math.isfinite(bound)]:
        raise ValueError(f"The best possible {unknown[0]} is not known, so there are no errors to export.")
    several = scores.groupby("dataset")["scorer"].transform("nunique") > 1
    task = scores["dataset"].where(~several, scores["dataset"] + ", " + scores["scorer"])
    error = scores["scorer"].map(best) - scores["score"]
    frame = scores.assign(method=scores["strategy"], task=task, metric_error=error)
    by_seed = frame.groupby(["method", "task", "seed"], sort=False)["metric_error"].mean()
    return by_seed.dropna().reset_index()


@dataclass(frozen=True, eq=False)
class Overall:
    """What all streams of a store show together.

    Parameters
    ----------
    table : DataFrame
        One row per strategy, best first: role (of a reference, else empty), gap (the gap closed: interquartile mean
        over data sets and seeds) with gap_low and gap_high, probability of scoring higher than plain training with
        probability_low and probability_high, score (mean over data sets; NaN where streams have different scores),
        n_datasets, n_streams and n_seeds behind the gap (where there is none, the score), n_runs, n_failed, seconds (of
        fit and predict) and bytes (carried at the end) in the mean over runs, keeps. What is not known is NaN.
    verdict : Verdict
        About gaps closed; where no stream has a gap, about scores.
    left_out : dict of str to str
        Streams that the gaps leave out, and why.
    notes : tuple of str
        What must be known to read the table, in sentences.
    """

    table: pd.DataFrame
    verdict: Verdict
    left_out: dict[str, str]
    notes: tuple[str, ...]


def overall(
    results: ResultTables, confidence: float = 0.95, n_resamples: int = 2000, **wanted: str | Iterable[str] | None
) -> Overall:
    """Make one leaderboard of all streams: the gap closed by each strategy, and at what price.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    confidence : float
        Of each interval, between 0 and 1.
    n_resamples : int
        Number of draws of the bootstrap, which are the same in each call.
    **wanted : str or iterable of str
        What is compared, as in `select`: ``stream``, ``strategy``, ``scenario``, ``family``, ``keeps`` or ``device``.
        Gaps are measured by plain and by joint training, also where these are not shown.

    Returns
    -------
    Overall

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1, or no run is to be shown; the message says what there is.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> found = overall(example_results())
    >>> found.table[["strategy", "gap", "n_datasets", "n_seeds", "n_failed", "seconds", "keeps"]].round(2)
      strategy   gap  n_datasets  n_seeds  n_failed  seconds    keeps
    0    Joint  1.00           1        2         0     1.25  samples
    1   Replay  0.67           1        2         0     1.25  samples
    2    Naive  0.00           1        2         0     1.25  nothing
    >>> found.notes[0][:42]
    '2 seeds of one data set decide nothing: in'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95; got {confidence}.")
    shown = select(results, **wanted).runs
    everything = run_scores(with_references(results, wanted))
    gaps = gap_closed(everything)
    scores = everything[among(everything, shown)]
    gaps = replace(gaps, table=gaps.table[among(gaps.table, shown)])
    judged = scores if gaps.table.empty else gaps.table
    units = independent_units(judged) if len(judged["scorer"].unique()) == 1 else None
    upper = scores.loc[scores["role"] == "upper bound", "strategy"].unique()
    found = Verdict(None, None, (), "seeds", 0) if units is None else verdict(units, upper, confidence)
    table = _overall_table(scores, gaps.table, confidence, n_resamples)
    columns = ["probability", "probability_low", "probability_high"]
    plain = everything.loc[
        everything["reference"] & (everything["role"] == "lower bound") & everything["score"].notna(), "strategy"
    ].unique()
    table[columns] = math.nan
    if len(plain):
        chance = probability_of_improvement(everything, plain[0], confidence).set_index("strategy")
        table[columns] = chance.reindex(table["strategy"]).to_numpy()
    table["keeps"] = table["strategy"].map(results.runs.groupby("strategy")["keeps"].first())
    notes = tuple(_notes(table, scores, gaps, found, units is not None))
    return Overall(table[OVERALL_COLUMNS], found, gaps.left_out, notes)


def _overall_table(scores: pd.DataFrame, gaps: pd.DataFrame, confidence: float, n_resamples: int) -> pd.DataFrame:
    by_strategy = scores.groupby("strategy", sort=False)
    behind = (scores if gaps.empty else gaps).groupby("strategy", sort=False)
    table = pd.DataFrame(
        {
            "role": by_strategy["role"].first(),
            "n_datasets": behind["dataset"].nunique(),
            "n_streams": behind["stream"].nunique(),
            "n_seeds": behind["seed"].nunique(),
            "n_runs": by_strategy.size(),
            "n_failed": by_strategy["failed"].sum(),
            "seconds": by_strategy["seconds"].mean(),
            "bytes": by_strategy["bytes"].mean(),
        }
    )
    table = table.fillna({"n_datasets": 0, "n_streams": 0, "n_seeds": 0}).loc[scores["strategy"].unique()]
    table = table.astype(dict.fromkeys(["n_datasets", "n_streams", "n_seeds"], int))
    table["score"] = math.nan
    if len(scores["scorer"].unique()) == 1:
        of_stream = scores.groupby(["strategy", "dataset", "stream"], sort=False)["score"].mean()
        of_dataset = of_stream.groupby(level=["strategy", "dataset"], sort=False).mean()
        table["score"] = of_dataset.groupby(level="strategy", sort=False).mean()
    wide, noise = _by_run(gaps)
    level = ["dataset", "seed"]
    values = wide.groupby(level=level, sort=False).mean()
    variances = noise.pow(0.5).groupby(level=level, sort=False).mean() ** 2
    numbers = {}
    for strategy, column in values.items():
        known = column.dropna()
        shared = variances[strategy].loc[known.index]
        datasets = known.index.get_level_values("dataset")
        numbers[strategy] = interquartile_interval(known, datasets, shared, confidence, n_resamples)
    table[["gap", "gap_low", "gap_high"]] = pd.DataFrame.from_dict(
        numbers, orient="index", columns=["gap", "gap_low", "gap_high"], dtype=float
    ).reindex(table.index)
    order = table.assign(first=table["gap"].notna()).sort_values(
        ["first", "gap", "score"], ascending=False, kind="stable", na_position="last"
    )
    return order.drop(columns="first").rename_axis("strategy").reset_index()


def _notes(table: pd.DataFrame, scores: pd.DataFrame, gaps: Gaps, found: Verdict, comparable: bool) -> list[str]:
    """Say in sentences what must be known to read the table."""
    notes = []
    if comparable:
        notes.append(_decided(found, scores["dataset"].nunique()))
    else:
        notes.append("The streams have different scores and no gaps to compare, so nothing is said about all of them.")
    if gaps.left_out:
        reasons = "; ".join(f"{stream} ({why})" for stream, why in gaps.left_out.items())
        notes.append(f"Gaps leave out what has none: {reasons}.")
    if gaps.n_left_out:
        seeds = "1 run" if gaps.n_left_out == 1 else f"{gaps.n_left_out} runs"
        notes.append(f"Gaps leave out {seeds} of the references, which failed or lie too close together.")
    n_failed, n_runs = int(table["n_failed"].sum()), int(table["n_runs"].sum())
    if n_failed:
        notes.append(f"{n_failed} of {n_runs} runs failed or have no score; they count as plain training.")
    rarely = table.loc[table["n_runs"] < table["n_runs"].max(), "strategy"]
    if len(rarely):
        notes.append(f"Not run everywhere: {_listed(rarely)}. Numbers are about the streams that there are.")
    return notes


def _decided(found: Verdict, n_datasets: int) -> str:
    several = found.unit == "data sets"
    amount = f"{found.n_units} {found.unit if found.n_units != 1 else found.unit[:-1]}"
    if not several:
        amount += " of one data set" if n_datasets == 1 else " of the one data set that has a gap"
    if found.leader is None:
        return f"Nothing can be compared over {amount}."
    if found.n_units < found.n_needed:
        needed = f"{found.n_needed} {found.unit} may decide" + " about this data set" * (not several)
        verb = "decides" if found.n_units == 1 else "decide"
        return f"{amount} {verb} nothing: intervals are shown, and no winner is declared; {needed}."
    how = "Wilcoxon's test with Holm's correction" if several else "paired intervals with Holm's correction"
    about = f"over {amount} ({how})" + ("" if several else "; about other data sets this says nothing")
    if found.winner is not None and not found.not_worse:
        return f"{found.winner} is shown to be better than each other strategy {about}."
    return f"{found.leader} is ahead, but not shown to be better than {_listed(found.not_worse)} {about}."


def _listed(names: Iterable[str], most: int = 5) -> str:
    shown = [str(name) for name in names]
    more = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more} more" if more > 0 else "")
