"""Conclusions from the results, in words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pandas as pd

from . import formats
from .metrics import METRICS, score_bounds
from .recommendation import FEWEST_UNITS, Constraints, Difference, Recommendation, recommend
from .tables import ResultTables, protocols, reference_roles


def only_stream(results: ResultTables, stream: str) -> ResultTables:
    """Take the results of one stream.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str
        Name of the stream.

    Returns
    -------
    ResultTables

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> len(only_stream(example_results(), "toy").runs), len(only_stream(example_results(), "other").runs)
    (6, 0)
    """
    frames = {name: getattr(results, name) for name in ("runs", "experiences", "scores", "evaluations")}
    return SimpleNamespace(**{name: frame[frame["stream"] == stream] for name, frame in frames.items()})


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
    low, high = score_bounds(scorer)
    # Student's interval of two or three differences can be wider than the scale.
    least, most = (min(max(each, low - high), high - low) for each in (difference.low, difference.high))
    size = formats.interval(difference.mean, least, most, scorer)
    if difference.mean < 0:
        size = formats.interval(-difference.mean, -most, -least, scorer)
    chance = "" if difference.shown or difference.high < 0 else ", which may be chance"
    return f"{size}{' points' * formats.in_percent(scorer)} {side} {difference.to}{chance}"


def _price(row: pd.Series) -> str:
    unknown = row["keeps"] == "unknown"
    keeps = "what it keeps of the data is not known" if unknown else f"it keeps {row['keeps']} of the data"
    seconds, size = formats.seconds(row["seconds"]), formats.size(row["bytes"])
    return f"Fitting and predicting take {seconds}, {size} are carried, and {keeps}."


def _recommended(found: Recommendation, scorer: str) -> Finding | None:
    """Put a recommendation into words."""
    seen = _count(found.n_units, found.unit.removesuffix("s"))
    differences = [each for each in (found.to_plain, found.to_runner_up) if each]
    pairs = "; ".join(dict.fromkeys(_against(each, scorer) for each in differences))
    if found.verdict == "too few":
        gives = "gives" if found.n_units == 1 else "give"
        text = f"{seen} {gives} no verdict, {FEWEST_UNITS} may.{f' Ahead so far: {pairs}.' if pairs else ''}"
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


def findings(
    results: ResultTables, board: pd.DataFrame, stream: str, found: Recommendation | None = None
) -> list[Finding]:
    """Draw the conclusions for one stream.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    board : DataFrame
        From `leaderboard`.
    stream : str
        Name of the stream.
    found : Recommendation, default=None
        What `recommend` says of the stream; ``None``: it is asked.

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
    found = found or recommend(results, stream=stream)
    if found.leader is None:
        return []
    best = rows[rows["strategy"] == found.leader].iloc[0]
    scorer = str(best["scorer"])
    upper = rows[rows["strategy"].map(reference_roles(results, stream)) == "upper bound"]
    said = [_recommended(found, scorer), Finding("Highest score", found.leader, _ahead(best, upper))]
    name, constraints = found.strategy or found.leader, Constraints(no_raw_data=True)
    if constraints.broken_by(found.strategies[found.strategies["strategy"] == name].iloc[0]):
        private = recommend(results, constraints, stream=stream)
        card = _recommended(private, scorer) if private.leader else None
        said.append(replace(card, title=f"{card.title}, without raw data") if card else None)
    return [finding for finding in said if finding is not None]


@dataclass(frozen=True)
class Answer:
    """What the results say, in plain words.

    Parameters
    ----------
    lead : str
        The answer, in a sentence or two.
    facts : tuple of (str, str)
        What was compared, how sure the answer is, what it costs, what it keeps: headings and sentences.
    unknown : tuple of str
        What cannot be concluded.
    named : tuple of str
        The strategies that the answer is about: what is chosen or ahead, and the others that none dominates.
    strategy : str or None
        What is recommended, if there is a verdict.
    """

    lead: str
    facts: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    named: tuple[str, ...]
    strategy: str | None = None


def answer(results: ResultTables, stream: str | None = None, found: Recommendation | None = None) -> Answer:
    """Put into words what came out, for one stream or for all of them.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: all together.
    found : Recommendation, default=None
        What `recommend` says of it; ``None``: it is asked.

    Returns
    -------
    Answer

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> said = answer(example_results(), "toy")
    >>> print(said.lead)
    No verdict: 2 seeds of one data set decide nothing. Ahead so far is Replay.
    >>> said.named
    ('Replay',)
    """
    runs = results.runs if stream is None else results.runs[results.runs["stream"] == stream]
    compared = ("Compared", _compared(runs, results))
    scorers = sorted({scorer for name, (_, scorer) in protocols(results).items() if stream in (None, name)})
    if len(scorers) > 1:
        lead = f"The streams have different scores ({', '.join(scorers)}), which have no mean: see each stream."
        return Answer(lead, (compared,), tuple(_limits(runs, results, None)), ())
    found = found or recommend(results, stream=stream)
    return Answer(
        _lead(found, runs),
        (compared, *_reasons(found, scorers[0])),
        tuple(_limits(runs, results, found)),
        _named(found),
        found.strategy,
    )


def _listed(names: Iterable[object]) -> str:
    *others, last = map(str, names)
    return f"{', '.join(others)} and {last}" if others else last


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def _units(found: Recommendation, runs: pd.DataFrame) -> str:
    seeds = _count(runs["seed"].nunique(), "seed")
    if found.unit == "data sets":
        return f"{seeds} of {_count(found.n_units, 'data set')}"
    return f"{_count(found.n_units, found.unit.removesuffix('s'))} of one data set"


def _decide(found: Recommendation, runs: pd.DataFrame) -> str:
    units = _units(found, runs)
    return f"{units} {'decides' if units.startswith('1 ') else 'decide'} nothing"


def _compared(runs: pd.DataFrame, results: ResultTables) -> str:
    strategies, streams = runs["strategy"].nunique(), [str(name) for name in runs["stream"].unique()]
    roles = {name: role for each in streams for name, role in reference_roles(results, each).items()}
    upper = [name for name, role in roles.items() if role == "upper bound"]
    said = f"{_count(strategies, 'strategy', 'strategies')} on {_count(len(streams), 'stream')}"
    if len(streams) <= 6:
        said += f" ({_listed(streams)})"
    said += f", {_count(runs['seed'].nunique(), 'seed')} each: {_count(len(runs), 'run')}"
    failed = int((runs["status"] == "failed").sum())
    said += f", of which {failed} failed." if failed else "."
    if upper:
        verb = "is no candidate: it sees" if len(upper) == 1 else "are no candidates: they see"
        said += f" {_listed(upper)} {verb} all data again."
    return said


def _lead(found: Recommendation, runs: pd.DataFrame) -> str:
    if found.verdict == "nothing fits":
        failed = (runs["status"] == "failed").all()
        return "Every run failed: there is no answer." if failed else "No candidate finished everywhere: no answer."
    if found.verdict == "too few":
        alone = found.to_plain is None and found.to_runner_up is None
        said = f"There is nothing to compare {found.leader} with" if alone else f"Ahead so far is {found.leader}"
        return f"No verdict: {_decide(found, runs)}. {said}."
    units = f"{found.n_units} {found.unit}"
    if found.verdict == "better":
        than = found.plain if found.plain not in (None, found.strategy) else "the others"
        return f"Use {found.strategy}: it is the cheapest of those shown to be better than {than} ({units})."
    if found.strategy == found.plain:
        return f"Plain training ({found.plain}) is enough: nothing is shown to be better ({units})."
    return f"Use {found.strategy}, the cheapest; between it and the others no difference is shown ({units})."


def _reasons(found: Recommendation, scorer: str) -> Iterator[tuple[str, str]]:
    name = found.strategy or found.leader
    if name is None:
        return
    pairs = [_against(each, scorer) for each in (found.to_plain, found.to_runner_up) if each]
    if pairs:
        said, paired = "; ".join(dict.fromkeys(pairs)), _count(found.n_units, f"paired {found.unit.removesuffix('s')}")
        yield "How sure", f"It scores {said} (95 % intervals together, from {paired})."
    row = found.strategies.set_index("strategy").loc[name].to_dict()
    seconds, size = formats.seconds(row["seconds"]), formats.size(row["bytes"])
    yield "Cost", f"It takes {seconds} to fit and predict a stream, and carries {size} from call to call."
    yield "Keeps", _KEEPS.get(str(row["keeps"]), "What it keeps of the data is not known.")


_KEEPS = {
    "nothing": "It keeps nothing of the data but what the model has learned.",
    "statistics": "It keeps sums over the data, no rows.",
    "samples": "It keeps rows of the data.",
    "features": "It keeps what the network makes of rows.",
    "generator": "It keeps a model that makes up rows like those of the data.",
}


def _named(found: Recommendation) -> tuple[str, ...]:
    rows = found.strategies
    front = rows.loc[(rows["left_out"] == "") & (rows["dominated_by"] == "") & rows["score"].notna(), "strategy"]
    return tuple(dict.fromkeys(name for name in (found.strategy, found.leader, *front) if name))


def _limits(runs: pd.DataFrame, results: ResultTables, found: Recommendation | None) -> Iterator[str]:
    """Say what cannot be concluded."""
    if found is not None and found.verdict == "too few":
        yield (
            f"Which strategy is better: {_decide(found, runs)}, as no exact paired test of fewer than {FEWEST_UNITS} "
            f"{found.unit} can reach 5 %."
        )
    if found is not None and found.verdict == "no difference" and found.changes:
        change = found.changes[0]
        yield f"That {change.strategy} is no better: about {change.n_units} {found.unit} might show it."
    if found is None or found.unit == "data sets" or len(runs["stream"].unique()) == 1:
        yield "What holds on other data: every answer here is about these streams."
    else:
        yield "What holds on other data: streams of one data set are one sample of the data there are."
    if found is not None and found.plain is None:
        yield "Whether anything is gained: plain training was not run, or did not finish."
    roles = [reference_roles(results, str(name)) for name in runs["stream"].unique()]
    if not all("upper bound" in of.values() for of in roles):
        yield "How much is left to gain: joint training on all data was not run on every stream."
    if "ContinualSearchCV" not in set(runs["estimator"]):
        yield "Whether other parameters change the order: each strategy ran with one setting, none was tuned here."
    if found is not None:
        failed = found.strategies.loc[found.strategies["left_out"] == "failed", "strategy"]
        if len(failed):
            yield f"What {_listed(failed)} would do: a run failed, so there is no recommendation."


def notable(
    results: ResultTables, board: pd.DataFrame, stream: str, most: int = 8, found: Recommendation | None = None
) -> list[str]:
    """Name the strategies of a stream that the answer is about; plots show them in colour.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    board : DataFrame
        From `leaderboard`.
    stream : str
        Name of the stream.
    most : int, default=8
        How many at most.
    found : Recommendation, default=None
        What `recommend` says of the stream; ``None``: it is asked.

    Returns
    -------
    list of str
        What `answer` names, the lower and the upper bounds, then the highest scores; at most `most`.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> notable(example_results(), leaderboard(example_results()), "toy")
    ['Replay', 'Naive', 'Joint']
    """
    rows = board[(board["stream"] == stream) & board["score"].notna()]
    roles = reference_roles(results, stream)
    bounds = sorted((str(name) for name in rows["strategy"] if name in roles), key=lambda name: roles[name])
    named = _named(found or recommend(results, stream=stream))
    first = dict.fromkeys((*named[:2], *bounds[:3], *named, *map(str, rows["strategy"])))
    kept = set(list(first)[:most])
    return [name for name in dict.fromkeys((*named, *bounds, *first)) if name in kept]


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
