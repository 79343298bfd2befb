"""Conclusions from the leaderboard, in words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from . import formats
from .metrics import METRICS
from .recommendation import FEWEST_UNITS, Constraints, Difference, Recommendation, recommend
from .tables import ResultTables, reference_roles


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


def _score(row: pd.Series) -> str:
    scorer = row["scorer"]
    unit = " %" * formats.in_percent(scorer)
    return f"{formats.interval(row['score'], row['score_ci_low'], row['score_ci_high'], scorer)}{unit}"


def _points(difference: float, scorer: str) -> str:
    return formats.score(difference, scorer) + " points" * formats.in_percent(scorer)


def _ahead(best: pd.Series, upper: pd.DataFrame) -> str:
    """Describe the strategy with the highest score."""
    scorer, label = best["scorer"], METRICS[best["headline"]].label_for(best["scorer"])
    text = f"{_score(best)} {label[0].lower()}{label[1:]}"
    if not pd.isna(best["forgetting"]):
        lost = best["forgetting"]
        no = formats.in_percent(scorer) and lost < 0.0005
        text += f"; {'no points' if no else _points(lost, scorer)} forgotten"
    if len(upper):
        top = upper.iloc[0]
        gap = top["score"] - best["score"]
        side = "below" if gap > 0 else "above"
        text += f". {_points(abs(gap), scorer)} {side} {top['strategy']}, which sees all data again"
    return text + "."


def _against(difference: Difference, scorer: str) -> str:
    side = "above" if difference.mean >= 0 else "below"
    size = formats.interval(difference.mean, difference.low, difference.high, scorer)
    if difference.mean < 0:
        size = formats.interval(-difference.mean, -difference.high, -difference.low, scorer)
    chance = "" if difference.shown or difference.high < 0 else ", which may be chance"
    return f"{size}{' points' * formats.in_percent(scorer)} {side} {difference.to}{chance}"


def _price(row: pd.Series) -> str:
    unknown = row["keeps"] == "unknown"
    keeps = "what it keeps of the data is not known" if unknown else f"it keeps {row['keeps']} of the data"
    seconds, size = formats.seconds(row["seconds"]), formats.size(row["bytes"])
    return f"Fitting and predicting take {seconds}, {size} are carried, and {keeps}."


def _recommended(found: Recommendation, scorer: str) -> Finding | None:
    """Put a recommendation into words."""
    seen = f"{found.n_units} {found.unit}"
    differences = [each for each in (found.to_plain, found.to_runner_up) if each]
    pairs = "; ".join(dict.fromkeys(_against(each, scorer) for each in differences))
    if found.verdict == "too few":
        text = f"{seen} give no verdict, {FEWEST_UNITS} may. Ahead so far{f': {pairs}' if pairs else ''}."
        return Finding("No verdict yet", str(found.leader), text)
    if found.strategy is None:
        return None
    if found.verdict == "better":
        said = f"{pairs} ({seen})."
    elif found.strategy == found.plain:
        said = f"Nothing is shown to be better than plain training ({seen}){f': {pairs}' if pairs else ''}."
    else:
        said = f"No difference is shown ({seen}){f': {pairs}' if pairs else ''}."
    row = found.strategies[found.strategies["strategy"] == found.strategy].iloc[0]
    return Finding("Recommended", found.strategy, f"{said} {_price(row)}")


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
        What `recommend` says, without constraints and, if that is another strategy, for one that keeps no raw data;
        between them the highest score. Empty if no run finished.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> results = example_results()
    >>> for finding in findings(results, leaderboard(results), "toy"):
    ...     print(finding.title, "|", finding.strategy)
    No verdict yet | Replay
    Highest score | Replay
    No verdict yet, without raw data | Naive
    """
    rows = board[(board["stream"] == stream) & board["score"].notna()]
    found = recommend(results, stream=stream)
    if found.leader is None:
        return []
    best = rows[rows["strategy"] == found.leader].iloc[0]
    scorer = str(best["scorer"])
    upper = rows[rows["strategy"].map(reference_roles(results, stream)) == "upper bound"]
    private = recommend(results, Constraints(no_raw_data=True), stream=stream)
    said = [_recommended(found, scorer), Finding("Highest score", found.leader, _ahead(best, upper))]
    if private.leader is not None and (private.strategy or private.leader) != (found.strategy or found.leader):
        card = _recommended(private, scorer)
        said.append(replace(card, title=f"{card.title}, without raw data") if card else None)
    return [finding for finding in said if finding is not None]


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
