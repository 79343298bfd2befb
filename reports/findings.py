"""What the numbers say, in plain words: computed from the leaderboard, never assumed."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from . import formats
from .tables import ResultTables

UPPER_BOUNDS = ("JointClassifier", "CumulativeClassifier")
"""Estimators that may see all data again: references, no candidates."""


@dataclass(frozen=True)
class Finding:
    """One thing the results say.

    Parameters
    ----------
    title : str
        The question that it answers.
    strategy : str
        The strategy that it names.
    text : str
        The numbers.

    Examples
    --------
    >>> Finding("Most accurate", "Replay", "91.0 % average accuracy").strategy
    'Replay'
    """

    title: str
    strategy: str
    text: str


def _estimators(results: ResultTables, stream: str) -> pd.Series:
    runs = results.runs[results.runs["stream"] == stream]
    return runs.groupby("strategy")["estimator"].first()


def _accuracy(row: pd.Series) -> str:
    low, high = row["average_accuracy_ci_low"], row["average_accuracy_ci_high"]
    return f"{formats.accuracy(row['average_accuracy'], low, high)} %"


def _points(better: pd.Series, worse: pd.Series) -> str:
    return f"{formats.percent(better['average_accuracy'] - worse['average_accuracy'])} points"


def _best(best: pd.Series, references: pd.DataFrame) -> Finding:
    text = f"{_accuracy(best)} average accuracy after {formats.seconds(best['fit_seconds'])} of fitting"
    if not pd.isna(best["forgetting"]):
        lost = formats.percent(best["forgetting"]) if best["forgetting"] >= 0.0005 else "no"
        text += f"; {lost} points forgotten"
    if len(references):
        top = references.iloc[0]
        gap = top["average_accuracy"] - best["average_accuracy"]
        side = "below" if gap > 0 else "above"
        text += f". {formats.percent(abs(gap))} points {side} {top['strategy']}, which sees all data again"
    return Finding("Most accurate", best["strategy"], text + ".")


def _cheapest(best: pd.Series, candidates: pd.DataFrame) -> Finding | None:
    overlapping = candidates[candidates["average_accuracy_ci_high"] >= best["average_accuracy_ci_low"]]
    overlapping = overlapping[overlapping["fit_seconds"].notna()]
    if pd.isna(best["average_accuracy_ci_low"]) or overlapping.empty:
        return None
    cheapest = overlapping.sort_values("fit_seconds", kind="stable").iloc[0]
    if cheapest["strategy"] == best["strategy"]:
        text = "The same: of all whose 95 % interval overlaps its own, it needs the least time to fit."
    else:
        ratio = best["fit_seconds"] / cheapest["fit_seconds"] if cheapest["fit_seconds"] else float("nan")
        faster = "" if pd.isna(ratio) else f", {ratio:.1f} times faster than {best['strategy']}"
        text = (
            f"{_accuracy(cheapest)} in {formats.seconds(cheapest['fit_seconds'])}{faster}; "
            "their 95 % intervals overlap, so the difference may be chance."
        )
    return Finding("Cheapest that keeps up", cheapest["strategy"], text)


def _private(best: pd.Series, candidates: pd.DataFrame) -> Finding | None:
    private = candidates[candidates["keeps"] == "nothing"]
    if private.empty:
        return None
    first = private.iloc[0]
    if first["strategy"] == best["strategy"]:
        text = "The same: it carries nothing of the data from one experience to the next."
    else:
        text = f"{_accuracy(first)}, {_points(best, first)} below {best['strategy']}, which keeps {best['keeps']}."
    return Finding("Best that keeps nothing of the data", first["strategy"], text)


def findings(results: ResultTables, board: pd.DataFrame, stream: str) -> list[Finding]:
    """Say which strategy a stream speaks for.

    Parameters
    ----------
    results : object
        Has the DataFrames ``runs``, ``experiences`` and ``scores``.
    board : DataFrame
        From `leaderboard`.
    stream : str
        Name of the stream.

    Returns
    -------
    list of Finding
        The most accurate strategy that is not an upper bound (joint or cumulative training); the one that fits fastest
        among those whose interval overlaps with it, where there are intervals; the best that keeps nothing of the data.
        Empty where nothing finished.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> results = example_results()
    >>> for finding in findings(results, leaderboard(results), "toy"):
    ...     print(finding.title, "|", finding.strategy)
    Most accurate | Replay
    Cheapest that keeps up | Replay
    Best that keeps nothing of the data | Naive
    """
    rows = board[(board["stream"] == stream) & board["average_accuracy"].notna()]
    bound = rows["strategy"].map(_estimators(results, stream)).isin(UPPER_BOUNDS)
    candidates = rows[~bound]
    if candidates.empty:
        return []
    best = candidates.iloc[0]
    found = [_best(best, rows[bound]), _cheapest(best, candidates), _private(best, candidates)]
    return [finding for finding in found if finding is not None]


@dataclass(frozen=True)
class NearChance:
    """How regularisation methods did on a class-incremental stream.

    Parameters
    ----------
    stream : str
        Name of the stream.
    n_experiences : int
        T.
    lowest, highest : float
        Range of their average accuracies.
    """

    stream: str
    n_experiences: int
    lowest: float
    highest: float


def regularization_in_class_streams(results: ResultTables, board: pd.DataFrame) -> Iterator[NearChance]:
    """Find the class-incremental streams where regularisation methods ran, which readers take for a bug.

    Parameters
    ----------
    results : object
        Has the DataFrames ``runs``, ``experiences`` and ``scores``.
    board : DataFrame
        From `leaderboard`.

    Yields
    ------
    NearChance
        One for each such stream.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> results = example_results()
    >>> list(regularization_in_class_streams(results, leaderboard(results)))
    []
    """
    runs = results.runs
    chosen = runs[(runs["scenario"] == "class") & (runs["family"] == "regularization") & (runs["status"] == "ok")]
    for stream, rows in chosen.groupby("stream", sort=False):
        strategies = rows["strategy"].unique()
        scores = board.loc[
            (board["stream"] == stream) & board["strategy"].isin(strategies), "average_accuracy"
        ].dropna()
        if len(scores) and rows["n_experiences"].notna().any():
            yield NearChance(str(stream), int(rows["n_experiences"].max()), scores.min(), scores.max())
