"""Conclusions from the leaderboard, in words."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from . import formats
from .metrics import METRICS
from .tables import ResultTables

_REFERENCES = {
    "JointClassifier": "upper bound",
    "CumulativeClassifier": "upper bound",
    "NaiveClassifier": "lower bound",
}


@dataclass(frozen=True)
class Finding:
    """One conclusion from the results.

    Parameters
    ----------
    title : str
        What the strategy is best at.
    strategy : str
        Name of the strategy.
    text : str
        The numbers behind it.

    Examples
    --------
    >>> Finding("Most accurate", "Replay", "91.0 % average accuracy").strategy
    'Replay'
    """

    title: str
    strategy: str
    text: str


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


def _score(row: pd.Series) -> str:
    scorer = row["scorer"]
    unit = " %" * formats.in_percent(scorer)
    return f"{formats.interval(row['score'], row['score_ci_low'], row['score_ci_high'], scorer)}{unit}"


def _points(difference: float, scorer: str) -> str:
    return formats.score(difference, scorer) + " points" * formats.in_percent(scorer)


def _best(best: pd.Series, references: pd.DataFrame) -> Finding:
    scorer, label = best["scorer"], METRICS[best["headline"]].label_for(best["scorer"])
    text = f"{_score(best)} {label[0].lower()}{label[1:]} after {formats.seconds(best['fit_seconds'])} of fitting"
    if not pd.isna(best["forgetting"]):
        lost = best["forgetting"]
        no = formats.in_percent(scorer) and lost < 0.0005
        text += f"; {'no points' if no else _points(lost, scorer)} forgotten"
    if len(references):
        top = references.iloc[0]
        gap = top["score"] - best["score"]
        side = "below" if gap > 0 else "above"
        text += f". {_points(abs(gap), scorer)} {side} {top['strategy']}, which sees all data again"
    return Finding("Most accurate", best["strategy"], text + ".")


def _cheapest(best: pd.Series, candidates: pd.DataFrame) -> Finding | None:
    overlapping = candidates[candidates["score_ci_high"] >= best["score_ci_low"]]
    overlapping = overlapping[overlapping["fit_seconds"].notna()]
    if pd.isna(best["score_ci_low"]) or overlapping.empty:
        return None
    cheapest = overlapping.sort_values("fit_seconds", kind="stable").iloc[0]
    if cheapest["strategy"] == best["strategy"]:
        text = "The same: of all whose 95 % interval overlaps its own, it needs the least time to fit."
    else:
        ratio = best["fit_seconds"] / cheapest["fit_seconds"] if cheapest["fit_seconds"] else float("nan")
        faster = "" if pd.isna(ratio) else f", {ratio:.1f} times faster than {best['strategy']}"
        text = (
            f"{_score(cheapest)} in {formats.seconds(cheapest['fit_seconds'])}{faster}; "
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
        text = (
            f"{_score(first)}, {_points(best['score'] - first['score'], best['scorer'])} below {best['strategy']}, "
            f"which keeps {best['keeps']}."
        )
    return Finding("Best that keeps nothing of the data", first["strategy"], text)


def findings(results: ResultTables, board: pd.DataFrame, stream: str) -> list[Finding]:
    """Draw the conclusions for one stream.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    board : DataFrame
        From `leaderboard`.
    stream : str
        Name of the stream.

    Returns
    -------
    list of Finding
        The most accurate strategy that is not an upper bound (joint or cumulative training); if there are intervals,
        the one that fits fastest among those whose interval overlaps with that of the most accurate; the most accurate
        that keeps nothing of the data. Empty if no run finished.

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
    rows = board[(board["stream"] == stream) & board["score"].notna()]
    bound = rows["strategy"].map(reference_roles(results, stream)) == "upper bound"
    candidates = rows[~bound]
    if candidates.empty:
        return []
    best = candidates.iloc[0]
    found = [_best(best, rows[bound]), _cheapest(best, candidates), _private(best, candidates)]
    return [finding for finding in found if finding is not None]


@dataclass(frozen=True)
class NearChance:
    """Accuracies of regularisation methods on a class-incremental stream.

    Parameters
    ----------
    stream : str
        Name of the stream.
    n_experiences : int
        Length of the stream.
    lowest, highest : float
        Range of their average accuracies.
    """

    stream: str
    n_experiences: int
    lowest: float
    highest: float


def regularization_in_class_streams(results: ResultTables, board: pd.DataFrame) -> Iterator[NearChance]:
    """Find the class-incremental streams with regularisation methods, whose low accuracies need an explanation.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    board : DataFrame
        From `leaderboard`.

    Yields
    ------
    NearChance
        One per stream.

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
        mine = (board["stream"] == stream) & board["strategy"].isin(strategies) & (board["scorer"] == "accuracy")
        scores = board.loc[mine, "average_accuracy"].dropna()
        if len(scores) and rows["n_experiences"].notna().any():
            yield NearChance(str(stream), int(rows["n_experiences"].max()), scores.min(), scores.max())
