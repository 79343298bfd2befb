"""The answer of a comparison in plain words, and the lines of Python that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...reports import formats, recommend
from .candidates import PLAIN, listed, net_settings

if TYPE_CHECKING:
    from ...reports import Change, Difference
    from .compare import Comparison

_KEEPS = {
    "nothing": "It keeps nothing of the data but what the model has learned.",
    "statistics": "It keeps sums over the data, no rows.",
    "samples": "It keeps rows of the data.",
    "features": "It keeps what the network makes of rows.",
    "generator": "It keeps a model that makes up rows like those of the data.",
    "unknown": "What it keeps of the data is not known.",
}


def paragraphs(found: Comparison) -> list[str]:
    """Say what to use, how sure that is, what it costs and keeps, and what would change the answer.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    list of str
    """
    advice = found.recommendation
    name = advice.strategy or advice.leader
    if name is None:
        return ["Nothing that was tried keeps to the limits.", *_changes(found), _tried(found)]
    row = advice.strategies.set_index("strategy").loc[name].to_dict()
    seconds, size = formats.seconds(row["seconds"]), formats.size(row["bytes"])
    price = f"Its price: {seconds} to learn and predict all, and {size} carried from call to call."
    keeps = _KEEPS.get(str(row["keeps"]), "")
    return [_use(found, name), *_sure(found), f"{price} {keeps}".strip(), *_changes(found), _tried(found)]


def _use(found: Comparison, name: str) -> str:
    advice = found.recommendation
    if advice.verdict == "too few":
        return f"No verdict: {advice.n_units} {advice.unit} decide nothing. Ahead so far is {_called(found, name)}."
    if name == PLAIN:
        rows = advice.strategies
        better = rows[(rows["ci_low"] > 0) & (rows["left_out"] == "")]
        said = (
            f"Plain training is enough: use {listed(found.table.kind)[PLAIN][0]}, or any network that goes on learning."
        )
        if better.empty:
            return f"{said} Nothing that was tried is shown to be better."
        row = better.iloc[0]
        return (
            f"{said} {_called(found, row['strategy'])} is shown to be better, but {row['dominated_by']} scores more "
            "for less, and of that it is not shown."
        )
    if advice.verdict == "better":
        return f"Use {_called(found, name)}. It is shown to be better than plain training."
    return f"Use {_called(found, name)}: it is the cheapest of those between which no difference is shown."


def _sure(found: Comparison) -> list[str]:
    advice = found.recommendation
    scorer = _scorer(found)
    pairs = [each for each in (advice.to_plain, advice.to_runner_up) if each is not None]
    said = [_difference(each, scorer) for each in dict.fromkeys(pairs)]
    rows = "the rows that were judged on chose nothing, and other seeds were used"
    return [f"{' '.join(said)} ({advice.n_units} {advice.unit}; {rows}.)"] if said else []


def _difference(difference: Difference, scorer: str) -> str:
    unit = " points" * formats.in_percent(scorer)
    side = "better" if difference.mean >= 0 else "worse"
    low, high = (formats.score(each, scorer) for each in (difference.low, difference.high))
    mean = formats.score(abs(difference.mean), scorer)
    chance = "" if difference.shown or difference.high < 0 else ", which may be chance"
    share = f", in {difference.probability:.0%} of the pairs" if difference.mean >= 0 else ""
    return f"By {scorer} it is {mean}{unit} {side} than {difference.to} (95 %: {low} to {high}){share}{chance}."


def _tried(found: Comparison) -> str:
    """How all candidates did on the rows that chose who is judged."""
    scorer, rows = _scorer(found), recommend(found.first_round).strategies
    done = rows[rows["score"].notna()].sort_values("score", ascending=False, kind="stable")
    unit = " (%)" * formats.in_percent(scorer)
    pairs = zip(done["strategy"], done["score"], strict=True)
    scores = [f"{name} {formats.score(score, scorer)}" for name, score in pairs]
    failed = rows.loc[rows["left_out"] == "failed", "strategy"]
    said = f"All that was tried, by {scorer}{unit} on the rows that chose whom to judge: {', '.join(scores)}."
    return f"{said} Failed: {', '.join(failed)}." if len(failed) else said


def _changes(found: Comparison) -> list[str]:
    return [" ".join(map(_change, found.recommendation.changes))] if found.recommendation.changes else []


def _change(change: Change) -> str:
    if change.n_units is not None:
        return f"With {change.condition} (about {change.n_units}) {change.strategy} might be shown to be better."
    return f"Without the limit {change.condition} it would be {change.strategy}."


def _scorer(found: Comparison) -> str:
    return str(found.results.scores["metric"].iloc[0])


def _called(found: Comparison, name: str) -> str:
    return f"{name} ({listed(found.table.kind)[name][0].rpartition('.')[2]})"


def code(found: Comparison) -> str:
    """Write the lines of Python that use what is recommended.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    str
    """
    advice, table = found.recommendation, found.table
    estimator, params = listed(found.table.kind)[advice.strategy or advice.leader or PLAIN]
    settings = net_settings(found.course.n_rows)
    made = f"StrategySpec({estimator!r}, {params}, {settings}).build()"
    scaled = "ScaledTargetRegressor, " if table.kind == "regression" else ""
    strategy = f"ScaledTargetRegressor({made})" if scaled else made
    told = {"text": found.columns.text, "drop": [*found.columns.left_out, *table.dropped]}
    options = ", ".join(f"{option}={names}" for option, names in told.items() if names)
    given, later = "X, y", "old ones are not needed"
    if table.kind == "classification" and estimator.startswith("sklearn."):  # which must know all at the first call
        given, later = f"X, y, classes={table.labels}", f"{later}, other labels cannot come"
    return "\n".join(
        [
            "from forgetless.benchmarks import StrategySpec",
            f"from forgetless.estimators import {scaled}TableEncoder, make_incremental_pipeline",
            f"strategy = {strategy}",
            f"model = make_incremental_pipeline(TableEncoder({options}), strategy)",
            *["X = X.rename(columns=str)  # always: names of columns are texts here"] * table.renamed,
            f"model.partial_fit({given})  # the first rows without the target, then all that come; {later}",
        ]
    )
