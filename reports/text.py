"""The leaderboard as CSV, as Parquet and as a table in the terminal."""

import contextlib
import importlib.util
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from . import budgets, formats
from .files import replace_file
from .sheets import Column, Sheet, sheets
from .statistics import Overall

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_PLAIN_WIDTH = 140  # characters; files and pipes have no width of their own
_BAR_WIDTH = 16
_GAP = 2  # between columns
_LEAST = 8  # characters of a column in a narrow terminal
_DROP_OF_BARS = 4  # bars go before columns that may be dropped after so many others


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
    inert = [each if numeric(each) else each.map(_inert) for _, each in frame.items()]
    written = pd.concat(inert, axis=1) if inert else frame
    return written.set_axis([_inert(name) for name in frame], axis=1).to_csv(index=False, lineterminator="\n")


def to_parquet(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as a file of Parquet, in full precision and with the types of its columns.

    Parameters
    ----------
    frame : DataFrame
        For example from `leaderboard` or `summarize`.
    path : path-like
        An existing file is replaced.

    Raises
    ------
    ImportError
        If pyarrow is not installed; ``pip install "forgetless[data]"`` installs it.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from forgetless.reports import example_results, leaderboard
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_parquet(leaderboard(example_results()), f"{folder}/board.parquet")
    ...     pd.read_parquet(f"{folder}/board.parquet")["strategy"].to_list()
    ['Joint', 'Replay', 'Naive']
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError('Parquet needs the package pyarrow: pip install "forgetless[data]".')
    replace_file(path, lambda new: frame.to_parquet(new, index=False, engine="pyarrow"))


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


def _bar(share: float, ascii_only: bool) -> str:
    if pd.isna(share):
        return ""
    halves = round(2 * _BAR_WIDTH * min(max(share, 0.0), 1.0))
    full, half = ("#", "") if ascii_only else ("━", "╸")
    return full * (halves // 2) + half * (halves % 2)


def _forgetting_style(value: float, scorer: str) -> str:
    if pd.isna(value) or value < 0.05 or not formats.in_percent(scorer):
        return ""
    return "yellow" if value < 0.2 else "red"


class _Printed:
    """A column as it is printed: texts, the title first, and their styles.

    rich has tables, too, but takes a millisecond for each of their rows.
    """

    def __init__(
        self,
        texts: list[str],
        styles: list[str],
        *,
        right: bool = False,
        drop: int = 0,
        bar_of: "_Printed | None" = None,
    ) -> None:
        from rich.cells import cell_len

        self.texts, self.styles, self.right = texts, styles, right
        self.drop = drop  # the column with the highest number goes first, one with 0 never
        self.bar_of = bar_of  # the column beside which these are bars
        self.widths = list(map(cell_len, texts))
        self.width = _BAR_WIDTH if bar_of else max(self.widths)

    def shorten(self, width: int) -> None:
        """Cut texts to a width."""
        from rich.text import Text

        for k, own in enumerate(self.widths):
            if own > width:
                text = Text(self.texts[k])
                text.truncate(width, overflow="ellipsis")
                self.texts[k], self.widths[k] = text.plain, text.cell_len
        self.width = width


def _printed(sheet: Sheet, columns: Sequence[Column], ascii_only: bool) -> Iterator[_Printed]:
    """Yield the number of each row, and the columns, each with its bars."""
    rows = sheet.rows
    numbers = ["", *(str(place) if row.get("n_seeds", 1) else "" for place, row in enumerate(rows, start=1))]
    yield _Printed(numbers, ["dim"] * len(numbers), right=True)
    for column in columns:
        texts = [_encodable(text, ascii_only) for text in (column.title, *map(column.text, rows))]
        bold = list(map(column.bold, rows))
        if column.title == "forgetting":
            styles = [_forgetting_style(row["forgetting"], row["scorer"]) for row in rows]
        else:
            styles = ["bold green" if each else "" for each in bold]
        yield (printed := _Printed(texts, ["dim", *styles], right=column.right, drop=column.drop))
        if column.share:
            bars = ["", *(_bar(row[column.share], ascii_only) for row in rows)]
            colours = ["bold green" if each else "cyan" for each in bold]
            yield _Printed(bars, ["dim", *colours], drop=column.drop, bar_of=printed)


def _encodable(value: object, ascii_only: bool) -> str:
    text = formats.plain(value)
    if not ascii_only:
        return text
    text = text.replace("±", "+/-").replace("−", "-").replace("–", "-")
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _lines(sheet: Sheet, columns: Sequence[Column], console: "Console") -> "Text":
    """Lay a table out; the least important columns are left out until it fits the console."""
    from rich.text import Span, Text

    def n_missing() -> int:
        return sum(each.width + _GAP for each in shown) - _GAP - console.width

    shown = list(_printed(sheet, columns, console.options.ascii_only))
    while n_missing() > 0 and (last := max(shown, key=lambda each: each.drop)).drop:
        bars = [each for each in shown if each.bar_of]
        goes = bars if bars and last.drop <= _DROP_OF_BARS else [last]
        shown = [each for each in shown if each not in goes and each.bar_of not in goes]
    for each in shown[1:]:
        if n_missing() > 0:
            each.shorten(max(each.width - n_missing(), min(each.width, _LEAST)))
    lines = []
    for k in range(len(sheet.rows) + 1):
        line, spans = "", []
        for each in shown:
            text, style, space = each.texts[k], each.styles[k], " " * (each.width - each.widths[k])
            line += space * each.right
            if style and text:
                spans.append(Span(len(line), len(line) + len(text), style))
            line += text + space * (not each.right) + " " * _GAP
        lines.append(Text(line.rstrip(), spans=spans))
    return Text("\n").join(lines)


def _about(sheet: Sheet, runs: pd.DataFrame | None) -> list[str]:
    if runs is None:
        return []
    run = runs[runs["stream"] == sheet.rows[0]["stream"]].iloc[0]
    seeds = int(max(row["n_seeds"] for row in sheet.rows))
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
    board: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    *,
    overall: Overall | None = None,
    pivot: bool = False,
    file: TextIO | None = None,
    width: int | None = None,
) -> None:
    """Print the leaderboard, one table per stream, in the width of the terminal.

    Colours, bars and the number of columns depend on the terminal; files and pipes get plain text.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.
    runs : DataFrame, optional
        ``results.runs``, from which scenarios, numbers of seeds and failed runs are printed as well.
    overall : Overall, optional
        From `overall`; stands first.
    pivot : bool, default=False
        One table with the streams side by side.
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
    if board.empty and overall is None:
        console.print("No results yet.")
    ascii_only = console.options.ascii_only
    for sheet in sheets(*([overall] if overall else []), board, pivot=pivot):
        title = Text(_encodable(sheet.title, ascii_only), style="bold")
        # The number of seeds stands in the title of a stream.
        of_stream = "stream" in sheet.rows[0]
        for fact in _about(sheet, runs) if of_stream else []:
            title.append(" - " if ascii_only else " · ", style="dim").append(_encodable(fact, ascii_only), style="dim")
        console.print(title, no_wrap=True, overflow="ellipsis")
        shown = [column for column in sheet.columns if not (of_stream and column.title == "seeds")]
        console.print(_lines(sheet, shown, console), no_wrap=True, overflow="ellipsis")
        for note in sheet.notes:
            console.print(Text(_encodable(note, ascii_only), style="dim"))
        console.print()
    if runs is not None:
        if note := budgets.said(runs):
            console.print(Text(_encodable(note, ascii_only), style="dim"))
        _failures(runs, console)
