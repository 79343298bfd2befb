"""What pages say of results: everything that their templates show, computed once."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import budgets, figures, formats, plots
from .diagnosis import diagnose
from .figures import Drawing
from .findings import answer, findings, notable, regularization_in_class_streams
from .metrics import COST_UNITS, METRICS, Array
from .recommendation import recommend
from .statistics import Overall, comparison_matrix, gap_closed, overall, performance_profiles
from .tables import (
    ResultTables,
    accuracy_curves,
    accuracy_matrices,
    protocols,
    rank,
    reference_roles,
    run_scores,
    summarize,
)

# What the curve of a stream shows, by what the protocol evaluates.
_EVALUATED = {
    "all": "on the test sets of all experiences seen so far, each weighing the same",
    "seen": "on the test sets of all experiences seen so far, each weighing the same",
    "current": "on the test set of the experience that was just learned",
    "future": "on the test sets of all experiences to come, each weighing the same",
    "prequential": "on the next rows, before they are learned",
}
_TESTED = {
    "all": "all experiences so far",
    "seen": "all experiences so far",
    "current": "the last experience",
    "future": "experiences to come",
    "prequential": "rows before they are learned",
}
_WITH_MATRICES = ("all", "seen", "future")
# A printed page has the details of so many streams; of more it has the answers.
_PRINTED = 4
_FIGURES = ("seconds", "predict_seconds", "bytes_added", "curves", "forgetting", "plasticity")
# So many matrices are drawn for a stream, and so many of them, and of their cells, on a page.
_MOST_MATRICES, _MOST_MATRICES_OF_ALL, _MOST_CELLS = 6, 40, 40_000
_MOST_COMPARED = 8
_LARGEST_MATRIX_AS_TABLE = 12
_TEMPLATES = Path(__file__).parent / "templates"


def _finalize(value: object) -> object:
    """Escape control characters in names and error messages."""
    return formats.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.5g}"


def _interval(row: Any, scorer: str) -> str:
    return formats.interval(row["mean"], row["ci_low"], row["ci_high"], scorer)


def _measure(row: Any) -> str:
    """Format a row of `summarize` by the unit of its metric."""
    unit = METRICS[row["metric"]].unit
    return formats.cost(row["mean"], unit) if unit in COST_UNITS else _interval(row, row["scorer"])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["missing"] = pd.isna
    environment.filters |= {
        "percent": formats.percent,
        "score": formats.score,
        "seconds": formats.seconds,
        "size": formats.size,
        "count": formats.count,
        "number": _number,
        "interval": _interval,
        "measure": _measure,
    }
    environment.globals |= {
        "headline": lambda row: formats.interval(
            row["score"], row["score_ci_low"], row["score_ci_high"], row["scorer"]
        ),
        "heading": lambda name, scorer: formats.heading(METRICS[name], scorer),
        "in_percent": formats.in_percent,
        "missing": pd.isna,
        "costs": COST_UNITS,
    }
    return environment


def contents(results: ResultTables, n_jobs: int = 1) -> dict[str, Any]:
    """Compute all that templates show of results.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    n_jobs : int, default=1
        How many figures are drawn in parallel, if there are many.

    Returns
    -------
    dict of str to object
        What `render` takes.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> [line["strategy"] for line in contents(example_results())["overview"]]
    ['Joint', 'Replay', 'Naive']
    """
    summary, runs = summarize(results), results.runs
    board = plots.costs(rank(results, summary))
    looks = figures.looks(runs)
    streams = list(_streams(results, summary, board, looks))
    wait_for_streams = figures.begin_drawing([each for stream in streams for each in _drawings(stream)], n_jobs)
    whole, said = (overall(results), answer(results)) if len(runs) else (None, None)
    comparisons = dict(_comparisons(results, whole, list(said.named), looks)) if whole and said else {}
    shown = {
        "facts": _facts(runs),
        "answer": said,
        "whole": whole,
        "streams": streams,
        "overview": _overview(board, streams, whole),
        "comparisons": dict.fromkeys(("profiles", "pairs")) | comparisons,
        "strategies": _strategies(runs),
        "failed": runs[runs["status"] == "failed"].to_dict("records"),
        "near_chance": list(regularization_in_class_streams(results, board)),
        "diagnoses": diagnose(results),
        "looks": looks,
    }
    figures.begin_drawing(list(comparisons.values()))()
    wait_for_streams()
    return shown


@dataclass(frozen=True)
class Links:
    """Where pages find each other; a page that stands alone has no others.

    Parameters
    ----------
    root : str, default=""
        What leads from this page to the folder of the site.
    streams, strategies : dict of str to str
        Pages in that folder, by the name of what they are about.
    anchors : dict of str to str
        The anchor of each stream's runs on the pages of strategies.
    runs : dict of str to str
        The anchor of each run there, by its cell.

    Examples
    --------
    >>> links = Links("../", strategies={"EWC": "strategies/ewc.html"}, anchors={"digits": "on-digits"})
    >>> links.record("EWC", "digits"), Links().record("EWC", "digits")
    ('../strategies/ewc.html#on-digits', '')
    """

    root: str = ""
    streams: dict[str, str] = field(default_factory=dict)
    strategies: dict[str, str] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    def stream(self, name: object) -> str:
        """Return the address of a stream's page, or an empty text."""
        return self._to(self.streams.get(str(name), ""))

    def strategy(self, name: object) -> str:
        """Return the address of a strategy's page, or an empty text."""
        return self._to(self.strategies.get(str(name), ""))

    def record(self, strategy: object, stream: object) -> str:
        """Return the address of what is known of the runs behind a number, or an empty text."""
        page = self.strategy(strategy)
        return page and f"{page}#{self.anchors[str(stream)]}"

    def run(self, strategy: object, cell: object) -> str:
        """Return the address of what is known of one run, or an empty text."""
        page = self.strategy(strategy)
        return page and f"{page}#{self.runs[str(cell)]}"

    def _to(self, page: str) -> str:
        return page and self.root + page


def render(template: str, links: Links | None = None, **shown: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        Name of the file.
    links : Links, default=None
        To the other pages of a site; ``None``: there are none.
    **shown : object
        What `contents` computed, and what else the template needs.

    Returns
    -------
    str
        A page in HTML.
    """
    others = ("site",) if links is not None else ()
    style, script = (
        "".join((_TEMPLATES / f"{name}.{kind}").read_text(encoding="utf-8") for name in ("page", *others))
        for kind in ("css", "js")
    )
    page = _environment().get_template(template)
    return page.render(
        style=Markup(style),
        script=Markup(script),
        # The policy allows this script alone, even if some text on the page were not escaped.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        families=figures.FAMILIES,
        inks=figures.INKS,
        metrics=METRICS.values(),
        printed=_PRINTED,
        links=links or Links(),
        **shown,
    )


def _facts(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "n_cells": len(runs),
        "n_failed": int((runs["status"] == "failed").sum()),
        "n_streams": runs["stream"].nunique(),
        "n_strategies": runs["strategy"].nunique(),
        "n_seeds": runs["seed"].nunique(),
        "seeds": ", ".join(str(seed) for seed in sorted(runs["seed"].unique())),
        "machines": _distinct(runs["machine"]),
        "devices": _distinct(runs["device"]),
        "days": sorted({str(started)[:10] for started in runs["started"].dropna()}),
        "versions": _versions(runs["versions"]),
        "unmeasured": formats.unmeasured(runs),
        "budgets": budgets.said(runs),
    }


def _distinct(column: pd.Series) -> list[str]:
    return [str(value) for value in column.dropna().unique()]


def _versions(column: pd.Series) -> list[str]:
    """List the packages with all their versions."""
    known: dict[str, dict[str, None]] = {}
    for text in _distinct(column):
        try:
            versions = dict(json.loads(text))
        except (ValueError, TypeError):
            versions = {"unreadable": text}
        for name, version in versions.items():
            known.setdefault(str(name), {})[str(version)] = None
    return [f"{name} {' / '.join(versions)}" for name, versions in known.items()]


def _streams(
    results: ResultTables, summary: pd.DataFrame, board: pd.DataFrame, looks: dict[str, figures.Look]
) -> Iterator[dict[str, Any]]:
    matrices = accuracy_matrices(results)
    curves, of_stream = accuracy_curves(results), protocols(results)
    cells = sum(matrix.shape[-1] ** 2 for matrix in {name: stack for (name, _), stack in matrices.items()}.values())
    most = min(_MOST_MATRICES_OF_ALL // max(len(of_stream), 1), _MOST_CELLS // max(cells, 1))
    most = min(max(most, 1), _MOST_MATRICES)
    for number, (stream, rows) in enumerate(board.groupby("stream", sort=False)):
        name = str(stream)
        runs = results.runs[results.runs["stream"] == stream]
        evaluate, scorer = of_stream[name]
        done = rows[rows["score"].notna()]
        lines = curves[(curves["stream"] == stream) & curves["mean"].notna()]
        mine = summary[summary["stream"] == stream]
        found = recommend(results, stream=name)
        highlight = notable(results, board, name, found=found)
        roles = reference_roles(results, name)
        shown = [key for key in highlight if (name, key) in matrices and evaluate in _WITH_MATRICES][:most]
        yield {
            "number": number,
            "id": f"stream-{number}",
            "name": name,
            "scenario": formats.scenario(str(runs["scenario"].iloc[0])),
            "scorer": scorer,
            "headline": rows["headline"].iloc[0],
            "evaluated": _EVALUATED.get(evaluate, "not known"),
            "tested": _TESTED.get(evaluate, "unknown"),
            "n_experiences": runs["n_experiences"].max(),
            "n_seeds": runs["seed"].nunique(),
            "datasets": ", ".join(_distinct(runs["dataset"])) if "dataset" in runs else "",
            "n_tested": _n_tested(results, name, scorer),
            "answer": answer(results, name, found),
            "findings": findings(results, board, name, found),
            "rows": rows.to_dict("records"),
            "notable": rows[rows["strategy"].isin(highlight)].to_dict("records"),
            "ties": [str(key) for key in rows.loc[rows["best"].astype(bool), "strategy"]],
            "failed": runs.loc[runs["status"] == "failed", "strategy"].value_counts().to_dict(),
            "roles": roles,
            "front": plots.pareto(done[done["strategy"].map(roles) != "upper bound"]),
            "figures": dict.fromkeys(_FIGURES)
            | dict(_figures(number, done, lines, mine, looks, highlight, roles, scorer)),
            "curves": _curve_table(lines),
            "matrices": [
                (key, _matrix(matrices[name, key].mean(axis=0), scorer, f"m{number}-{looks[key].number}", key))
                for key in shown
            ],
            "matrix_tables": [
                (key, matrix)
                for key in shown
                if len(matrix := matrices[name, key].mean(axis=0)) <= _LARGEST_MATRIX_AS_TABLE
            ],
            "summary": [(key, part.to_dict("records")) for key, part in mine.groupby("strategy", sort=False)],
            "notes": _notes(mine),
        }


def _drawings(stream: dict[str, Any]) -> Iterator[Drawing]:
    """Return all figures of a stream."""
    yield from filter(None, stream["figures"].values())
    yield from (matrix for _, matrix in stream["matrices"])


def _n_tested(results: ResultTables, stream: str, scorer: str) -> str:
    """Count the rows that a score after the last experience is made of."""
    scores = results.scores
    if "n_tested" not in scores:
        return formats.DASH
    mine = scores[(scores["stream"] == stream) & (scores["metric"] == scorer)]
    last = mine[mine["trained_on"] == mine.groupby("cell")["trained_on"].transform("max")]
    counts = sorted({int(count) for count in last.groupby("cell")["n_tested"].sum(min_count=1).dropna()})
    if not counts:
        return formats.DASH
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def _figures(
    number: int,
    done: pd.DataFrame,
    lines: pd.DataFrame,
    summary: pd.DataFrame,
    looks: dict[str, figures.Look],
    highlight: list[str],
    roles: dict[str, str],
    scorer: str,
) -> Iterator[tuple[str, Drawing]]:
    """Plan the figures of a stream for which something was measured."""
    label = "Accuracy" if scorer == "accuracy" else scorer

    def planned(name: str, said: str, plot: Callable[[], Any]) -> tuple[str, Drawing]:
        return name, Drawing(plot, f"{name}{number}", said)

    for cost, words in plots.COSTS.items():
        if cost != "fit_seconds" and done[cost].notna().any() and (cost != "bytes_added" or done[cost].gt(0).any()):
            plot = partial(plots.draw_cost, done, looks, highlight, roles, cost)
            yield planned(cost, f"{label} against {words}; the leaderboard has the numbers", plot)
    if len(lines):
        plot = partial(plots.draw_curves, lines, looks, highlight, scorer)
        yield planned("curves", f"{label} over the experiences; table below", plot)
    forgotten = summary[(summary["metric"] == "forgetting") & summary["mean"].notna()]
    if len(forgotten):
        plot = partial(plots.draw_forgetting, forgotten, looks, highlight)
        yield planned("forgetting", "Forgetting of each strategy; the leaderboard has the numbers", plot)
    if done[["forgetting", "learning_accuracy"]].notna().all(axis=1).any():
        plot = partial(plots.draw_stability_plasticity, done, looks, highlight)
        yield planned("plasticity", "Forgetting against learning accuracy; the leaderboard has the numbers", plot)


def _matrix(matrix: Array, scorer: str, prefix: str, strategy: str) -> Drawing:
    said = f"{scorer} of {formats.plain(strategy)} on each experience after learning each"
    return Drawing(partial(plots.draw_matrix, matrix, scorer), prefix, said)


def _curve_table(lines: pd.DataFrame) -> dict[str, Any]:
    times = sorted(lines["experience"].unique())  # who answers untrained has more of them
    rows = [
        (key, part.set_index("experience").reindex(times).to_dict("records"))
        for key, part in lines.groupby("strategy", sort=False)
    ]
    return {"times": times, "rows": rows}


def _notes(summary: pd.DataFrame) -> list[str]:
    """List the reasons for missing values, each once with the metrics or strategies concerned."""
    notes: dict[str, dict[str, None]] = {}
    for row in summary[summary["note"] != ""].itertuples(index=False):
        about = str(row.strategy) if row.note == "all seeds failed" else METRICS[str(row.metric)].label
        notes.setdefault(str(row.note), {})[about] = None
    return [f"{', '.join(about)}: {note}." for note, about in notes.items()]


def _overview(board: pd.DataFrame, streams: list[dict[str, Any]], whole: Overall | None) -> list[dict[str, Any]]:
    """Return all there is on each strategy: over all streams, and what each stream is ranked by."""
    if whole is None:
        return []
    rows = {(row["stream"], row["strategy"]): row for row in board.to_dict("records")}
    costs = board.groupby("strategy")[["fit_seconds", "predict_seconds", "samples_seen", "flops", "n_beside"]].mean()
    lines: list[dict[str, Any]] = []
    for row in whole.table.join(costs, on="strategy").to_dict("records"):
        cells = [rows.get((stream["name"], row["strategy"])) for stream in streams]
        lines.append({str(key): value for key, value in row.items()} | {"cells": cells})
    return lines


def _comparisons(
    results: ResultTables, whole: Overall, named: list[str], looks: dict[str, figures.Look]
) -> Iterator[tuple[str, Drawing]]:
    """Plan what compares strategies over all streams."""
    bounds = whole.table.loc[whole.table["role"] != "", "strategy"].astype(str)
    highlight = list(dict.fromkeys((*named, *bounds, *whole.table["strategy"].astype(str))))[:_MOST_COMPARED]
    scores = run_scores(results)
    gaps = gap_closed(scores).table
    if len(gaps):
        profiles = performance_profiles(gaps)
        plot = partial(plots.draw_profiles, profiles, looks, highlight)
        yield "profiles", Drawing(plot, "profiles", "Share of runs that close a given part of the gap")
    judged = gaps if len(gaps) else scores
    if len(judged["scorer"].unique()) == 1 and judged["score"].notna().any():
        pairs = comparison_matrix(judged[judged["strategy"].isin(highlight)])
        if len(pairs):
            plot = partial(plots.draw_comparisons, pairs, str(judged["scorer"].iloc[0]))
            yield "pairs", Drawing(plot, "pairs", "Differences of each strategy from each other one")


def _strategies(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        str(name): {
            "estimator": ", ".join(_distinct(rows["estimator"])),
            "family": ", ".join(_distinct(rows["family"])),
            "keeps": ", ".join(_distinct(rows["keeps"])),
            "needs_task_id": any(value is True or value == 1 for value in rows["needs_task_id"]),
            "source": "; ".join(_distinct(rows["source"])),
            "params": _distinct(rows["params"]),
        }
        for name, rows in runs.groupby("strategy", sort=False)
    }
