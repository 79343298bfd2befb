"""A site of results: folders of pages that link to each other, for any static host or opened as files."""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from . import formats
from .contents import Links, contents, render
from .files import check_folder, replace_folder
from .metrics import METRICS, score_bounds
from .recommendation import FEWEST_UNITS
from .statistics import comparison_matrix, gap_closed, independent_units
from .tables import ResultTables, cell_metrics, run_scores, student_interval, unchanging

_LONGEST_SLUG = 40
# What is shown of a run, beside its score.
_OF_RUNS = ("forgetting", "learning_accuracy", "fit_seconds", "predict_seconds", "peak_memory_bytes")
# What is long and the same for many runs is told once a page, under a number.
_SHARED = ("params", "protocol", "stream_definition", "versions")


def write_site(
    results: ResultTables,
    folder: str | os.PathLike[str],
    title: str = "Benchmark results",
    *,
    command: str = "",
    n_jobs: int = 1,
) -> None:
    """Write a folder of pages: an overview, one page per stream and strategy, two strategies side by side, a search.

    Each number of a strategy leads to the record of its runs: seeds, parameters, versions, cost. The pages load
    nothing, so that they work from a file, offline, and from any host of static files. The same results give the same
    bytes. The folder is replaced only when all pages are complete.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    folder : path-like
        Where the site is to be; a folder that is there must be empty, or have nothing but such a site.
    title : str
        Heading of the overview.
    command : str, default=""
        The command that made the site, which stands at the end of the overview.
    n_jobs : int, default=1
        How many figures are drawn in parallel, if there are many; as in joblib.

    Raises
    ------
    FileNotFoundError
        If the folder that it is to be in does not exist.
    ValueError
        If the folder has something that is not of such a site.

    Examples
    --------
    >>> import tempfile
    >>> from forgetless.reports import example_results
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     write_site(example_results(), f"{parent}/site")
    ...     sorted(str(page.relative_to(parent)) for page in Path(parent).rglob("*.html"))[2:5]
    ['site/search.html', 'site/strategies/joint-....html', 'site/strategies/naive-....html']
    """
    check_folder(folder)
    with unchanging():
        pages = dict(_pages(results, title, command, n_jobs))

    def write(new: Path) -> None:
        for name, page in pages.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(page, encoding="utf-8", newline="\n")

    replace_folder(folder, write)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Make a name of a file, without its ending, of each name.

    Parameters
    ----------
    names : iterable of str
        Any texts; the same one twice is one.

    Returns
    -------
    dict of str to str
        Small letters, digits and hyphens, the last part of which tells different names apart in every file system.

    Examples
    --------
    >>> list(file_names(["../EWC λ=1", "CON"]).values())
    ['ewc-1-...', 'con-...']
    """
    names = list(dict.fromkeys(names))
    digests = {name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest() for name in names}
    digits = 8
    while len({digest[:digits] for digest in digests.values()}) < len(names):
        digits += 4
    return {name: f"{_slug(name)}{digest[:digits]}" for name, digest in digests.items()}


def _slug(name: str) -> str:
    """Return what can be read of a name, with a hyphen after it."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub("[^a-z0-9]+", "-", letters)[:_LONGEST_SLUG].strip("-")
    return f"{words}-" if words else "x-"


def _links(runs: pd.DataFrame) -> Links:
    streams, strategies, cells = (
        file_names(str(name) for name in runs[column]) for column in ("stream", "strategy", "cell")
    )
    return Links(
        streams={name: f"streams/{file}.html" for name, file in streams.items()},
        strategies={name: f"strategies/{file}.html" for name, file in strategies.items()},
        anchors={name: f"on-{file}" for name, file in streams.items()},
        runs={name: f"run-{file.rpartition('-')[2]}" for name, file in cells.items()},
    )


Shown = dict[str, Any]


def _pages(results: ResultTables, title: str, command: str, n_jobs: int) -> Iterator[tuple[str, str]]:
    """Render all pages, with their names."""
    links, shown = _links(results.runs), contents(results, n_jobs)
    given = {"given": (), "code": "", "assumptions": (), "command": command}
    yield "index.html", render("site_index.html", links, **shown, title=title, **given)
    everywhere = {name: shown[name] for name in ("looks", "strategies", "streams")} | {"site_title": title}
    names = [line["strategy"] for line in shown["overview"]]
    compared = {
        "names": names,
        "fewest": FEWEST_UNITS,
        "compared": Markup(_as_data(_comparison(results, shown, links))),
    }
    yield "compare.html", render("site_compare.html", links, **everywhere, title=f"Compare two · {title}", **compared)
    words = {"names": names, "words": _words(results.runs)}
    yield "search.html", render("site_search.html", links, **everywhere, title=f"Search · {title}", **words)
    below = replace(links, root="../")
    for name, mine in _of_streams(shown):
        yield links.streams[name], render("site_stream.html", below, **everywhere, title=f"{name} · {title}", **mine)
    for name, mine in _of_strategies(results, shown):
        mine["id"] = _id(links, name)
        yield (
            links.strategies[name],
            render("site_strategy.html", below, **everywhere, title=f"{name} · {title}", **mine),
        )


def _of_streams(shown: Shown) -> Iterator[tuple[str, Shown]]:
    for stream in shown["streams"]:
        name = stream["name"]
        yield (
            name,
            {
                "stream": stream,
                "failed": [run for run in shown["failed"] if str(run["stream"]) == name],
                "diagnoses": [each for each in shown["diagnoses"] if each.stream == name],
            },
        )


def _of_strategies(results: ResultTables, shown: Shown) -> Iterator[tuple[str, Shown]]:
    streams = shown["streams"]
    strips = {stream["name"]: _strip(stream["rows"]) for stream in streams}
    runs = results.runs.reset_index(drop=True).join(cell_metrics(results)[list(METRICS)])
    of_strategy = {str(name): rows for name, rows in runs.groupby("strategy", sort=False)}
    for line in shown["overview"]:
        name = str(line["strategy"])
        yield (
            name,
            {
                "name": name,
                "line": line,
                "item": shown["strategies"][name],
                "strips": strips,
                "rows": [(stream, row) for stream, row in zip(streams, line["cells"], strict=True) if row is not None],
                "diagnoses": [each for each in shown["diagnoses"] if each.strategy == name],
                **_records(of_strategy[name], streams),
            },
        )


def _strip(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Place the scores of a stream between 0, the lowest, and 100."""
    known = {str(row["strategy"]): float(row["score"]) for row in rows if not pd.isna(row["score"])}
    low, high = min(known.values(), default=0.0), max(known.values(), default=0.0)
    return {name: round(100 * (score - low) / (high - low), 1) if high > low else 50.0 for name, score in known.items()}


def _records(runs: pd.DataFrame, streams: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what is known of each run of a strategy, and what many of them share."""
    shared: dict[str, dict[str, int]] = {name: {} for name in _SHARED}
    records: dict[str, list[dict[str, Any]]] = {}
    headlines = {stream["name"]: stream["headline"] for stream in streams}
    for run in runs.to_dict("records"):
        stream = str(run["stream"])
        record = {"cell": run["cell"], "seed": run["seed"], "failed": run["status"] == "failed"}
        record |= {name: run[name] for name in _OF_RUNS}
        record |= {"score": run[headlines[stream]], "seconds": run["seconds"], "error": run["error"]}
        record["bytes"] = run["model_bytes"] + run["replay_bytes"] + run["state_bytes"]
        record |= {name: formats.plain(run.get(name)) for name in ("device", "machine", "started")}
        for name, numbers in shared.items():
            text = formats.plain(run.get(name))
            record[name] = numbers.setdefault(text, len(numbers) + 1) if text else 0
        records.setdefault(stream, []).append(record)
    return {"records": records, "shared": {name: list(numbers) for name, numbers in shared.items()}}


def _words(runs: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Collect what a search finds strategies and streams by, beside their names."""
    columns = {
        "strategy": ("estimator", "family", "keeps", "source", "params", "error"),
        "stream": ("scenario", "dataset", "protocol"),
    }
    found = {}
    for kind, names in columns.items():
        known = [name for name in names if name in runs]
        found[kind] = {
            str(key): " ".join(
                dict.fromkeys(text for name in known for text in map(formats.plain, rows[name].unique()) if text)
            )
            for key, rows in runs.groupby(kind, sort=False)
        }
    return found


# --- two strategies side by side -----------------------------------------------------------------------------------


def _as_data(value: object) -> str:
    """Write a value as JSON that no text in it can end."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _comparison(results: ResultTables, shown: dict[str, Any], links: Links) -> dict[str, Any]:
    """Return all that the page with two strategies can show, as texts.

    Pairs are in the order of the strategies: the first with the second, with the third ..., the second with the third.
    """
    lines = shown["overview"]
    names = [line["strategy"] for line in lines]
    scores = run_scores(results) if names else None
    return {
        "fewest": FEWEST_UNITS,
        "strategies": [
            {
                "name": formats.plain(name),
                "id": _id(links, name),
                "page": links.strategies[name],
                "role": line["role"],
                "about": _about(line, shown["strategies"][name]),
            }
            for name, line in zip(names, lines, strict=True)
        ],
        "all": None if scores is None else _compared_overall(scores, names),
        "streams": [
            {
                "anchor": links.anchors[stream["name"]],
                "scores": [_cell(line["cells"][number]) for line in lines],
                "pairs": _pairs(scores[scores["stream"] == stream["name"]], names, stream["scorer"]),
            }
            for number, stream in enumerate(shown["streams"])
            if scores is not None
        ],
    }


def _id(links: Links, name: str) -> str:
    """Return what the address of a comparison calls a strategy."""
    return Path(links.strategies[name]).stem


def _about(line: dict[str, Any], item: dict[str, Any]) -> list[str]:
    gap = formats.DASH
    if line["role"] == "lower bound" and line["gap"] == 0:
        gap = "0"
    elif not math.isnan(line["gap"]):
        gap = formats.percent(line["gap"])
        if not math.isnan(line["gap_low"]):
            gap += f" [{formats.percent(line['gap_low'])}, {formats.percent(line['gap_high'])}]"
    chance = line["probability"]
    return [
        gap,
        formats.DASH if math.isnan(chance) else f"{chance:.2f}",
        formats.seconds(line["fit_seconds"]),
        formats.seconds(line["predict_seconds"]),
        formats.size(line["bytes"]),
        formats.plain(item["keeps"]) or formats.DASH,
        "needed" if item["needs_task_id"] else "not needed",
        formats.plain(item["family"]) or formats.DASH,
        formats.plain(item["estimator"]) or formats.DASH,
        f"{line['n_failed']} of {line['n_runs']}",
    ]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return formats.DASH
    if pd.isna(row["score"]):
        return formats.DASH if row["n_seeds"] else "failed"
    return formats.interval(row["score"], row["score_ci_low"], row["score_ci_high"], row["scorer"])


Pair = list[Any] | None


def _signed(value: float, scorer: str) -> str:
    text = formats.score(value, scorer)
    return text if text.startswith("−") else f"+{text}"


def _pair(mean: float, low: float, high: float, n: int, scorer: str) -> Pair:
    """Return a difference with its limits, where they are known, and how many units are behind it."""
    if math.isnan(mean):
        return None
    known = [] if math.isnan(low) else [_signed(low, scorer), _signed(high, scorer)]
    sure = 0 if math.isnan(low) else int(low > 0) - int(high < 0)
    return [int(n), sure, _signed(mean, scorer), *known]


def _pairs(scores: pd.DataFrame, names: list[str], scorer: str) -> list[Pair]:
    """Compare each pair on one stream, by the seeds with which both of them finished."""
    done = scores[~scores["failed"].astype(bool)]
    values, noise = (
        done.pivot_table(index="seed", columns="strategy", values=column).reindex(columns=names)
        for column in ("score", "variance")
    )
    table, shared = values.to_numpy(dtype=np.float64), noise.to_numpy(dtype=np.float64)
    low, high = score_bounds(scorer)
    pairs: list[Pair] = []
    for k in range(len(names)):
        for other in range(k + 1, len(names)):
            both = ~np.isnan(table[:, k] - table[:, other])
            if not both.any():
                pairs.append(None)
                continue
            differences = table[both, k] - table[both, other]
            rows = (shared[both, k] + shared[both, other]).mean()
            mean, _, least, most = student_interval(differences, 0.95, (low - high, high - low), rows)
            pairs.append(_pair(float(mean), float(least), float(most), len(differences), scorer))
    return pairs


def _compared_overall(scores: pd.DataFrame, names: list[str]) -> dict[str, Any] | None:
    """Compare each pair over all streams: by gaps closed, where there are any; one is higher if Holm's p says so."""
    gaps = gap_closed(scores).table
    judged = gaps if len(gaps) else scores
    if len(judged["scorer"].unique()) != 1 or not judged["score"].notna().any():
        return None
    scorer = "accuracy" if len(gaps) else str(judged["scorer"].iloc[0])
    found: dict[tuple[str, str], Pair] = {}
    for row in comparison_matrix(judged).to_dict("records"):
        p = row["p_holm"]
        for one, other, sign in ((row["strategy"], row["other"], 1), (row["other"], row["strategy"], -1)):
            mean, *limits = (sign * row[name] for name in ("difference", "low", "high"))
            pair = _pair(mean, min(limits), max(limits), row["n_units"], scorer)
            if pair is not None:
                pair[1] = int(np.sign(mean)) if p < 0.05 else 0
                pair += [] if math.isnan(p) else ["p < 0.001" if p < 0.001 else f"p = {p:.3f}"]
            found[str(one), str(other)] = pair
    return {
        "unit": independent_units(judged).unit,
        "what": "points of the gap closed" if len(gaps) else "points" if formats.in_percent(scorer) else scorer,
        "pairs": [found.get((name, other)) for k, name in enumerate(names) for other in names[k + 1 :]],
    }
