"""The leaderboard as CSV, as Markdown and as a table in the terminal."""

import contextlib
import math
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from . import formats
from .metrics import METRICS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_PLAIN_WIDTH = 140  # characters; files and pipes have no width of their own
_BAR_WIDTH = 16


def to_csv(frame: pd.DataFrame) -> str:
    """Write a table as CSV.

    Parameters
    ----------
    frame : DataFrame
        For example from `leaderboard` or `summarize`.

    Returns
    -------
    str
        In full precision, with a header and without the index. Control characters in texts are escaped, and texts that
        a spreadsheet would take for a formula begin with an apostrophe.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> print(to_csv(leaderboard(example_results())[["stream", "strategy", "scorer", "score"]]), end="")
    stream,strategy,scorer,score
    toy,Joint,accuracy,0.9375
    toy,Replay,accuracy,0.8125
    toy,Naive,accuracy,0.5625
    """
    numeric = pd.api.types.is_numeric_dtype
    inert = {_inert(name): each if numeric(each) else each.map(_inert) for name, each in frame.items()}
    return pd.DataFrame(inert, index=frame.index).to_csv(index=False, lineterminator="\n")


def _inert(value: Any) -> Any:
    """Escape what a terminal or a spreadsheet would act on; numbers stay numbers, also where they are texts."""
    if not isinstance(value, str):
        return value
    text = formats.plain(value)
    with contextlib.suppress(ValueError):
        if math.isfinite(float(text)):
            return text
    first = unicodedata.normalize("NFKC", text[:1])  # there are wide forms of these signs
    return f"'{text}" if first in ("=", "+", "-", "@") else text


@dataclass(frozen=True)
class _Column:
    """A column; those with the highest `drop` are left out first if the table is too wide, those with 0 never."""

    title: str
    text: Callable[[Any], str]
    drop: int
    right: bool = True


def _scored(name: str) -> Callable[[Any], str]:
    return lambda row: formats.score(getattr(row, name), row.scorer)


def _headline(row: Any) -> str:
    return formats.interval(row.score, row.score_ci_low, row.score_ci_high, row.scorer)


def _bytes(name: str) -> Callable[[Any], str]:
    return lambda row: formats.size(getattr(row, name))


_COLUMNS = (
    _Column("score", _headline, 0),  # its title is the headline's
    _Column("forgetting", _scored("forgetting"), 3),
    _Column("learned", _scored("learning_accuracy"), 8),
    _Column("fit", lambda row: formats.seconds(row.fit_seconds), 2),
    _Column("predict", lambda row: formats.seconds(row.predict_seconds), 9),
    _Column("model", _bytes("model_bytes"), 5),
    _Column("replay", _bytes("replay_bytes"), 6),
    _Column("state", _bytes("state_bytes"), 7),
    _Column("keeps", lambda row: formats.plain(row.keeps) or formats.DASH, 1, right=False),
)


def _title(column: _Column, rows: pd.DataFrame) -> str:
    if column is not _COLUMNS[0]:
        return column.title
    first = rows.iloc[0]
    return formats.heading(METRICS[first["headline"]], first["scorer"]).removeprefix("average ")


def _markdown(value: object) -> str:
    text = formats.plain(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def to_markdown(board: pd.DataFrame) -> str:
    """Write the leaderboard as Markdown, one table per stream.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.

    Returns
    -------
    str
        What each stream is ranked by, in percent where it lies between 0 and 1, with its 95 % interval, as the
        half-width or, where it was clipped, as the limits; forgetting in the same unit. Names are escaped.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> print(to_markdown(leaderboard(example_results())).splitlines()[0])
    ### toy
    """
    rule = ["---", "--:", *("--:" if column.right else "---" for column in _COLUMNS)]
    blocks = []
    for stream, rows in board.groupby("stream", sort=False):
        lines = [["strategy", "seeds", *(_markdown(_title(column, rows)) for column in _COLUMNS)], rule]
        for row in rows.itertuples(index=False):
            lines.append([_markdown(row.strategy), str(row.n_seeds), *(_markdown(c.text(row)) for c in _COLUMNS)])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        blocks.append(f"### {_markdown(stream)}\n\n{table}\n")
    return "\n".join(blocks)


def _bar(share: float, ascii_only: bool, style: str) -> "Text":
    from rich.text import Text

    if pd.isna(share):
        return Text(" " * _BAR_WIDTH)
    halves = round(2 * _BAR_WIDTH * min(max(share, 0.0), 1.0))
    full, half = ("#", "") if ascii_only else ("━", "╸")
    text = Text(full * (halves // 2) + half * (halves % 2), style=style)
    return text.append(" " * (_BAR_WIDTH - len(text)))


def _forgetting_style(value: float, scorer: str) -> str:
    if pd.isna(value) or value < 0.05 or not formats.in_percent(scorer):
        return ""
    return "yellow" if value < 0.2 else "red"


def _table(rows: pd.DataFrame, columns: list[_Column], bar: bool, ascii_only: bool) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("strategy", no_wrap=True, overflow="ellipsis", min_width=8)
    for column in columns:
        table.add_column(
            _encodable(_title(column, rows), ascii_only), justify="right" if column.right else "left", no_wrap=True
        )
        if bar and column is _COLUMNS[0]:
            table.add_column("", no_wrap=True)
    for place, row in enumerate(rows.itertuples(index=False), start=1):
        emphasis = "bold green" if place == 1 else ""
        cells = [Text(str(place) if row.n_seeds else ""), Text(_encodable(row.strategy, ascii_only), style=emphasis)]
        for column in columns:
            style = emphasis if column is _COLUMNS[0] else ""
            if column.title == "forgetting":
                style = _forgetting_style(float(row.forgetting), str(row.scorer))  # type: ignore[arg-type]
            cells.append(Text(_encodable(column.text(row), ascii_only), style=style))
            if bar and column is _COLUMNS[0]:
                cells.append(_bar(float(row.score), ascii_only, "green" if place == 1 else "cyan"))  # type: ignore[arg-type]
        table.add_row(*cells)
    return table


def _encodable(value: object, ascii_only: bool) -> str:
    text = formats.plain(value)
    if not ascii_only:
        return text
    text = text.replace("±", "+/-").replace("−", "-").replace("–", "-")
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _fitting_table(rows: pd.DataFrame, console: "Console") -> "Table":
    """Leave out columns, the least important first, until the table fits the console."""
    from rich.measure import Measurement

    ascii_only = console.options.ascii_only
    columns, bar = list(_COLUMNS), formats.in_percent(str(rows["scorer"].iloc[0]))
    while True:
        table = _table(rows, columns, bar, ascii_only)
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            return table
        last = max(columns, key=lambda column: column.drop)
        if bar and last.drop <= 4:
            bar = False
        elif last.drop:
            columns.remove(last)
        else:
            return table


def _about(stream: str, rows: pd.DataFrame, runs: pd.DataFrame | None) -> list[str]:
    if runs is None:
        return []
    run = runs[runs["stream"] == stream].iloc[0]
    seeds = int(rows["n_seeds"].max())
    known = [] if pd.isna(run["n_experiences"]) else [f"{run['n_experiences']:.0f} experiences"]
    return [formats.scenario(str(run["scenario"])), *known, f"{seeds} seed{'s' * (seeds != 1)}"]


def _failures(runs: pd.DataFrame, console: "Console") -> None:
    from rich.text import Text

    failed = runs[runs["status"] == "failed"]
    if failed.empty:
        return
    console.print(Text(f"{len(failed)} failed", style="bold red"))
    for run in failed.itertuples(index=False):
        where = f"  {run.strategy} on {run.stream}, seed {run.seed}: "
        line = Text(_encodable(where, console.options.ascii_only).strip() + " ", style="red")
        line.append(_encodable(run.error, console.options.ascii_only) or "no message", style="default")
        console.print(Text("  ").append(line), no_wrap=True, overflow="ellipsis")


def to_terminal(
    board: pd.DataFrame, runs: pd.DataFrame | None = None, *, file: TextIO | None = None, width: int | None = None
) -> None:
    """Print the leaderboard, one table per stream, in the width of the terminal.

    Colours, bars and the number of columns depend on the terminal; files and pipes get plain text.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.
    runs : DataFrame, optional
        ``results.runs``, from which scenarios, numbers of seeds and failed runs are printed as well.
    file : text file, optional
        Standard output by default.
    width : int, optional
        Width in characters; by default that of the terminal.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> to_terminal(leaderboard(example_results()).iloc[:0])
    No results yet.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    if width is None and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PLAIN_WIDTH
    if board.empty:
        console.print("No results yet.")
    for stream, rows in board.groupby("stream", sort=False):
        ascii_only = console.options.ascii_only
        title = Text(_encodable(stream, ascii_only), style="bold")
        for fact in _about(str(stream), rows, runs):
            title.append(" - " if ascii_only else " · ", style="dim").append(_encodable(fact, ascii_only), style="dim")
        console.print(title, no_wrap=True, overflow="ellipsis")
        console.print(_fitting_table(rows, console))
        console.print()
    if runs is not None:
        _failures(runs, console)
