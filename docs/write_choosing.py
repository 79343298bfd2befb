"""Write the tables of ``choosing.md`` from stores: ``python docs/write_choosing.py quick.db drift.db domains.db``.

A store is that of a suite of the same name, as ``forgetless run quick --store quick.db`` makes it. The command above a
table is that of what the store has: its streams, where some of the suite's are missing or not finished, and its seeds.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from forgetless.benchmarks import Results, Store, load_suite
from forgetless.reports import leaderboard, overall

PAGE = Path(__file__).with_name("choosing.md")
KEPT = {"nothing": "nothing", "statistics": "statistics", "generator": "a generator", "samples": "samples"}
UPPER, PLAIN = ("Joint", "Cumulative"), "Naive"


def finished(results: Results, suite: str, n_seeds: int) -> SimpleNamespace:
    """The streams of which all is there for so many seeds, in the order of the suite."""
    runs = results.runs[results.runs["seed"] < n_seeds]
    kinds = leaderboard(results).groupby("stream")["scorer"].first()
    counts = runs.groupby("stream")["cell"].nunique()
    full = counts.groupby(kinds).transform("max")
    names = [stream.name for stream in load_suite(suite).streams if counts.get(stream.name) == full.get(stream.name, 0)]
    tables = {}
    for table in ("runs", "experiences", "scores", "evaluations"):
        frame = getattr(results, table)
        tables[table] = frame[frame["stream"].isin(names) & (frame["seed"] < n_seeds)]
    return SimpleNamespace(**tables, names=names)


def shown(score: float, scorer: str) -> str:
    """A score as it stands in the table: a percentage, or R2."""
    if pd.isna(score):
        return "–"
    return f"{100 * score:.1f}" if scorer == "accuracy" else f"{score:.2f}"


def short(name: str) -> str:
    """The name without its kind, as classifiers and regressors of a method stand in one row."""
    return name.removesuffix("Classifier").removesuffix("Regressor")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def best_by_kept(board: pd.DataFrame, names: list[str]) -> str:
    """For each stream the best strategy of those that keep nothing, sums, or rows."""
    rows = []
    for stream in names:
        here = board[board["stream"] == stream].set_index("strategy")
        scorer = here["scorer"].iloc[0]
        bounds = [shown(here["score"].get(name, float("nan")), scorer) for name in (PLAIN, "Joint")]
        cells = []
        for kept in ("nothing", "statistics", "samples"):
            part = here[(here["keeps"] == kept) & ~here.index.isin([*UPPER, PLAIN])]["score"].dropna()
            cells.append(f"{part.idxmax()} {shown(part.max(), scorer)}" if len(part) else "–")
        rows.append([stream, bounds[0], *cells, bounds[1]])
    return table(
        ["stream", "plain training", "keeps nothing", "keeps statistics", "keeps samples", "joint training"], rows
    )


def all_scores(board: pd.DataFrame, results: Results, names: list[str]) -> str:
    """Every strategy on every stream; the best of those that do not see all data again in bold."""
    # By the share of the way from plain to joint training, or, in streams of time that have neither, by rank.
    if "Joint" in set(board["strategy"]):
        order = overall(results).table["strategy"].map(short)
    else:
        scores = board.pivot_table(index="strategy", columns="stream", values="score", sort=False)
        order = scores.rank(ascending=False).mean(axis=1).sort_values().index
    candidates = board[~board["strategy"].isin(UPPER)]
    best = candidates.groupby("stream")["score"].max()
    rows = []
    for strategy in dict.fromkeys(order):
        own = board[board["strategy"] == strategy].set_index("stream")
        cells = []
        for stream in names:
            if stream not in own.index:
                cells.append("–")
                continue
            text = shown(own.loc[stream, "score"], own.loc[stream, "scorer"])
            cells.append(f"**{text}**" if own.loc[stream, "score"] == best[stream] and strategy not in UPPER else text)
        rows.append([strategy, KEPT.get(own["keeps"].iloc[0], "–"), *cells])
    return table(["strategy", "keeps", *names], rows)


def sentences(board: pd.DataFrame, names: list[str]) -> list[str]:
    """What the tables say, counted."""
    plain, counts = 0, {"nothing": 0, "statistics": 0, "samples": 0}
    for stream in names:
        here = board[(board["stream"] == stream) & ~board["strategy"].isin(UPPER)].set_index("strategy")
        scores = here["score"].dropna()
        plain += scores.max() - scores[PLAIN] <= 0.01
        counts[here.loc[scores.idxmax(), "keeps"]] += 1
    first = (
        f"On {plain} of {len(names)} streams, plain training is within a point (0.01 of R2) of the best strategy that "
        "does not see all data again."
    )
    second = "The best one keeps " + ", ".join(f"{kind} on {n}" for kind, n in counts.items()) + "."
    return [first, second]


def section(store: Path, n_seeds: int) -> str:
    """The part of the page that a store fills."""
    suite = store.stem
    with Store(store) as opened:
        everything = opened.results()
    results = finished(everything, suite, n_seeds)
    names = results.names
    board = leaderboard(results)
    board["strategy"] = board["strategy"].map(short)
    runs = results.runs
    seeds, failed = runs["seed"].nunique(), int((runs["status"] != "ok").sum())
    listed = [stream.name for stream in load_suite(suite).streams]
    part = "" if names == listed else f" --streams {','.join(names)}"
    return "\n\n".join(
        [
            f"Measured by `forgetless run {suite} --seeds {seeds}{part} --store {store.name}`: "
            f"{runs['strategy'].nunique()} strategies, {len(names)} streams, {seeds} seed{'s' * (seeds > 1)}, "
            f"{runs['cell'].nunique()} runs, of which {failed} failed.",
            " ".join(sentences(board, names)),
            best_by_kept(board, names),
            "All of them; the best of those that do not see all data again is bold.",
            all_scores(board, results, names),
        ]
    )


def main() -> None:
    """Replace what stands between the marks of each suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="how many of the seeds are shown  [default: 3]")
    options = parser.parse_args()
    page = PAGE.read_text("utf-8")
    for store in options.stores:
        begin, end = (f"<!-- {store.stem}: {mark} -->" for mark in ("begin", "end"))
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise SystemExit(f"{PAGE.name} has no place for {store.stem}.")
        page = f"{before}{begin}\n\n{section(store, options.seeds)}\n\n{end}{after}"
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
