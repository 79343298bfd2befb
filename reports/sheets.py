"""Leaderboards as sheets of texts, and sheets as Markdown, LaTeX and HTML."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from markupsafe import escape

from . import formats
from .metrics import COST_UNITS, METRICS
from .statistics import Overall
from .tables import LEADERBOARD_COLUMNS

Row = Mapping[str, Any]


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): each for name, each in row.items()} for row in frame.to_dict("records")]


def _never(row: Row) -> bool:
    return False


@dataclass(frozen=True)
class Column:
    """A column of a sheet.

    Parameters
    ----------
    title : str
    text : callable
        Takes a row, returns what stands there.
    drop : int, default=4
        Columns with the highest number are left out first where there is no room, those with 0 never.
    right : bool, default=True
        Whether texts stand at the right.
    bold : callable
        Takes a row, tells whether it stands out: among the best.
    share : str, default=""
        Name of a number from 0 to 1, for which a bar may be drawn.
    """

    title: str
    text: Callable[[Row], str]
    drop: int = 4
    right: bool = True
    bold: Callable[[Row], bool] = _never
    share: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Parameters
    ----------
    title : str
    columns : list of Column
        The first one is the strategy's.
    rows : list of mapping
    notes : tuple of str
        Sentences below the table.
    """

    title: str
    columns: list[Column]
    rows: list[Row]
    notes: tuple[str, ...] = ()


_KNOWN = frozenset(LEADERBOARD_COLUMNS)
# How columns of a leaderboard are called, and which are left out first where there is no room.
_SHORT = {
    "forgetting": ("forgetting", 3),
    "learning_accuracy": ("learned", 8),
    "fit_seconds": ("fit", 2),
    "predict_seconds": ("predict", 9),
    "gradient_steps": ("steps", 13),
    "samples_seen": ("samples", 12),
    "flops": ("FLOPs", 10),
    "model_bytes": ("model", 5),
    "replay_bytes": ("replay", 6),
    "state_bytes": ("state", 7),
    "bytes_added": ("added", 14),
    "pickled_bytes": ("pickled", 11),
}
_BESIDE = "* Runs went on beside others or as one: the time is no measurement (`forgetless run --timing` measures)."


def value(row: Row, name: str) -> str:
    """Format a metric by its unit.

    Parameters
    ----------
    row : mapping
        Has the metric and ``scorer``.
    name : str
        One of `METRICS`, or a number that is none.

    Returns
    -------
    str

    Examples
    --------
    >>> value({"fit_seconds": 0.5, "scorer": "accuracy"}, "fit_seconds"), value({"own": 12.3456}, "own")
    ('500 ms', '12.3')
    """
    if name not in METRICS:
        return formats.score(row[name], "")
    unit = METRICS[name].unit
    if unit == "seconds":
        return formats.seconds(row[name]) + ("*" if row.get("n_beside", 0) > 0 else "")
    return formats.cost(row[name], unit) if unit in COST_UNITS else formats.score(row[name], row["scorer"])


def _heading(name: str, scorer: str) -> str:
    if name not in METRICS:
        return name
    metric = METRICS[name]
    label = metric.label[0].lower() + metric.label[1:]
    return label if metric.unit in COST_UNITS else formats.heading(metric, scorer)


def _score(row: Row) -> str:
    return formats.interval(row["score"], row["score_ci_low"], row["score_ci_high"], row["scorer"])


def _is_best(row: Row) -> bool:
    return row["best"] is True or row["best"] == 1


def _name(row: Row) -> str:
    return formats.plain(row["strategy"])


def _keeps(row: Row) -> str:
    return formats.plain(row["keeps"]) or formats.DASH


def _count(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:.0f}"


def stream_sheet(stream: str, rows: pd.DataFrame) -> Sheet:
    """Make the sheet of one stream.

    Parameters
    ----------
    stream : str
        Its name.
    rows : DataFrame
        Its rows of a leaderboard.

    Returns
    -------
    Sheet

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> sheet = stream_sheet("toy", leaderboard(example_results()))
    >>> [column.title for column in sheet.columns][:4]
    ['strategy', 'seeds', 'accuracy, %', 'forgetting']
    """
    headline, scorer = rows[["headline", "scorer"]].iloc[0]
    main = formats.heading(METRICS[headline], scorer).removeprefix("average ")
    columns = [
        Column("strategy", _name, 0, right=False, bold=_is_best),
        Column("seeds", _count("n_seeds"), 10),
        Column(main, _score, 0, bold=_is_best, share="score" if formats.in_percent(scorer) else ""),
    ]
    if list(rows) == LEADERBOARD_COLUMNS:
        columns += [Column(title, partial(value, name=name), drop) for name, (title, drop) in _SHORT.items()]
    else:
        own = [str(name) for name in rows if name in METRICS or name not in _KNOWN]
        columns += [Column(_heading(name, scorer), partial(value, name=name)) for name in own]
    columns.append(Column("keeps", _keeps, 1, right=False))
    marked = "n_beside" in rows and bool((rows["n_beside"] > 0).any())
    return Sheet(formats.plain(stream), columns, _records(rows), (_BESIDE,) * marked)


def pivot_sheet(board: pd.DataFrame) -> Sheet:
    """Make one sheet of all streams, side by side: what each is ranked by.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.

    Returns
    -------
    Sheet

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> sheet = pivot_sheet(leaderboard(example_results()))
    >>> [column.text(sheet.rows[0]) for column in sheet.columns]
    ['Joint', '93.8 [12.7, 100.0]']
    """
    by_strategy: dict[str, dict[str, Row]] = {}
    for row in _records(board):
        by_strategy.setdefault(str(row["strategy"]), {})[str(row["stream"])] = row
    columns = [Column("strategy", _name, 0, right=False)]
    for stream, rows in board.groupby("stream", sort=False):
        key, scorer = str(stream), rows["scorer"].iloc[0]
        unit = "%" if formats.in_percent(scorer) else formats.plain(scorer)

        def text(row: Row, key: str = key) -> str:
            return _score(row["streams"][key]) if key in row["streams"] else formats.DASH

        def bold(row: Row, key: str = key) -> bool:
            return key in row["streams"] and _is_best(row["streams"][key])

        columns.append(Column(f"{formats.plain(stream)}, {unit}", text, bold=bold))
    return Sheet("All streams", columns, [{"strategy": name, "streams": of} for name, of in by_strategy.items()])


def overall_sheet(overall: Overall) -> Sheet:
    """Make the sheet of what all streams show together.

    Parameters
    ----------
    overall : Overall

    Returns
    -------
    Sheet

    Examples
    --------
    >>> from forgetless.reports import example_results, overall
    >>> sheet = overall_sheet(overall(example_results()))
    >>> [column.text(sheet.rows[1]) for column in sheet.columns][:2]
    ['Replay', '66.7 [8.8, 125.8]']
    """
    table, winner = overall.table, overall.verdict.winner

    def name(row: Row) -> str:
        return _name(row) + (" (upper bound)" if row["role"] == "upper bound" else "")

    def wins(row: Row) -> bool:
        return str(row["strategy"]) == winner

    def in_interval(of: str, row: Row) -> str:
        return formats.interval(row[of], row[f"{of}_low"], row[f"{of}_high"])

    columns = [Column("strategy", name, 0, right=False, bold=wins)]
    if table["gap"].notna().any():
        columns.append(Column("gap closed, %", partial(in_interval, "gap"), 0, bold=wins, share="gap"))
    elif table["score"].notna().any():
        columns.append(Column("mean score", lambda row: formats.score(row["score"], ""), 0, bold=wins))
    if table["probability"].notna().any():
        columns.append(Column("better than plain, %", partial(in_interval, "probability"), 3))
    columns += [
        Column("data sets", _count("n_datasets"), 6),
        Column("seeds", _count("n_seeds"), 7),
        *([Column("failed", _count("n_failed"), 5)] if table["n_failed"].any() else []),
        Column("fit and predict", lambda row: formats.seconds(row["seconds"]), 2),
        Column("carries", lambda row: formats.size(row["bytes"]), 4),
        Column("keeps", _keeps, 1, right=False),
    ]
    return Sheet("All streams together", columns, _records(table), overall.notes)


def sheets(*boards: pd.DataFrame | Overall, pivot: bool = False) -> list[Sheet]:
    """Make the sheets of leaderboards.

    Parameters
    ----------
    *boards : DataFrame or Overall
        From `leaderboard` or `overall`.
    pivot : bool, default=False
        One sheet with the streams side by side, instead of one per stream.

    Returns
    -------
    list of Sheet

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> [sheet.title for sheet in sheets(leaderboard(example_results()))]
    ['toy']
    """
    found = []
    for board in boards:
        if isinstance(board, Overall):
            found.append(overall_sheet(board))
        elif not board.empty and pivot:
            found.append(pivot_sheet(board))
        elif not board.empty:
            found += [stream_sheet(str(stream), rows) for stream, rows in board.groupby("stream", sort=False)]
    return found


# --- Markdown ----------------------------------------------------------------------------------------------------


def _markdown_cell(column: Column, row: Row) -> str:
    text = formats.markdown(column.text(row))
    return f"**{text}**" if column.bold(row) else text


def to_markdown(*boards: pd.DataFrame | Overall, pivot: bool = False) -> str:
    """Write a leaderboard as Markdown, one table per stream.

    Parameters
    ----------
    *boards : DataFrame or Overall
        From `leaderboard` or `overall`.
    pivot : bool, default=False
        One table with the streams side by side.

    Returns
    -------
    str
        What each stream is ranked by, in percent where it lies between 0 and 1, with its 95 % interval, as the
        half-width or, where it was clipped, as the limits; the best, and what is not shown to be worse, in bold. Names
        are escaped.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> print(to_markdown(leaderboard(example_results())).splitlines()[0])
    ### toy
    """
    blocks = []
    for sheet in sheets(*boards, pivot=pivot):
        lines = [[formats.markdown(column.title) for column in sheet.columns]]
        lines.append(["--:" if column.right else "---" for column in sheet.columns])
        lines += [[_markdown_cell(column, row) for column in sheet.columns] for row in sheet.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "".join(f"\n{formats.markdown(note)}\n" for note in sheet.notes)
        blocks.append(f"### {formats.markdown(sheet.title)}\n\n{table}\n{notes}")
    return "\n".join(blocks)


# --- LaTeX -------------------------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    # After the end of a row, these would be its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "·": r"\textperiodcentered{}",
}


def _latex(text: object) -> str:
    return "".join(_LATEX.get(character, character) for character in formats.plain(text))


def _latex_cell(column: Column, row: Row) -> str:
    text = _latex(column.text(row))
    return rf"\textbf{{{text}}}" if column.bold(row) else text


def to_latex(*boards: pd.DataFrame | Overall, pivot: bool = False) -> str:
    r"""Write a leaderboard as LaTeX, one table per stream; it needs the package booktabs.

    Parameters
    ----------
    *boards : DataFrame or Overall
        From `leaderboard` or `overall`.
    pivot : bool, default=False
        One table with the streams side by side.

    Returns
    -------
    str
        As `to_markdown`. Names are escaped; quotes and the like need the package textcomp or a LaTeX since 2020.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> print(to_latex(leaderboard(example_results(), ["forgetting"])))
    % \usepackage{booktabs}
    \begin{table}
    \centering
    \caption{toy}
    \begin{tabular}{lrrrl}
    \toprule
    strategy & seeds & accuracy, \% & forgetting, \% & keeps \\
    \midrule
    Joint & 2 & 93.8 {[}12.7, 100.0{]} & 6.2 & samples \\
    \textbf{Replay} & 2 & \textbf{81.2 {[}0.0, 100.0{]}} & 31.2 & samples \\
    Naive & 2 & 56.2 {[}0.0, 100.0{]} & 81.2 & nothing \\
    \bottomrule
    \end{tabular}
    \end{table}
    <BLANKLINE>
    """
    lines = [r"% \usepackage{booktabs}"]
    for sheet in sheets(*boards, pivot=pivot):
        notes = " ".join(sheet.notes)
        caption = _latex(sheet.title) + (f". {_latex(notes)}" if notes else "")
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
        lines += [rf"\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in sheet.columns)}}}"]
        lines += [r"\toprule", _latex_row(_latex(column.title) for column in sheet.columns), r"\midrule"]
        lines += [_latex_row(_latex_cell(column, row) for column in sheet.columns) for row in sheet.rows]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


# --- HTML --------------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.4 system-ui, sans-serif; margin: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 1rem; font-variant-numeric: tabular-nums; }
caption { font-weight: bold; padding: 0.5rem 0; text-align: left; }
th, td { overflow-wrap: anywhere; padding: 0.25rem 0.75rem; text-align: left; }
.right { text-align: right; white-space: nowrap; }
thead th { border-bottom: 2px solid; border-top: 2px solid; }
tbody th { font-weight: normal; }
tbody tr:last-child > * { border-bottom: 2px solid; }
tbody .best { font-weight: bold; }
p { max-width: 60rem; }
"""


def _html_cell(column: Column, row: Row, is_first: bool) -> str:
    names = ["right"] * column.right + ["best"] * column.bold(row)
    attributes = (' scope="row"' if is_first else "") + (f' class="{" ".join(names)}"' if names else "")
    tag = "th" if is_first else "td"
    return f"<{tag}{attributes}>{escape(formats.plain(column.text(row)))}</{tag}>"


def _html_table(sheet: Sheet) -> str:
    heads = "".join(
        f'<th scope="col"{" class=right" if column.right else ""}>{escape(formats.plain(column.title))}</th>'
        for column in sheet.columns
    )
    rows = "\n".join(
        f"<tr>{''.join(_html_cell(column, row, not k) for k, column in enumerate(sheet.columns))}</tr>"
        for row in sheet.rows
    )
    title = escape(formats.plain(sheet.title))
    notes = "".join(f"\n<p>{escape(formats.plain(note))}</p>" for note in sheet.notes)
    return (
        f'<div class="scroll" role="region" aria-label="{title}" tabindex="0">\n<table>\n<caption>{title}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>{notes}"
    )


def html_tables(*boards: pd.DataFrame | Overall, pivot: bool = False) -> str:
    """Write the tables alone, for a notebook or a page of one's own.

    Parameters
    ----------
    *boards : DataFrame or Overall
        From `leaderboard` or `overall`.
    pivot : bool, default=False
        One table with the streams side by side.

    Returns
    -------
    str
        HTML without styles.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> html_tables(leaderboard(example_results())).count("<table")
    1
    """
    return "\n".join(_html_table(sheet) for sheet in sheets(*boards, pivot=pivot))


def to_html(*boards: pd.DataFrame | Overall, pivot: bool = False, title: str = "Leaderboard") -> str:
    """Write a leaderboard as a page of HTML with one table per stream, which loads and runs nothing.

    Parameters
    ----------
    *boards : DataFrame or Overall
        From `leaderboard` or `overall`.
    pivot : bool, default=False
        One table with the streams side by side.
    title : str
        Heading of the page.

    Returns
    -------
    str
        As `to_markdown`; in light and dark. For a report with figures and answers see `write_html`.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> print(to_html(leaderboard(example_results()))[:32])
    <!DOCTYPE html>
    <html lang="en">
    """
    name, tables = escape(formats.plain(title)), html_tables(*boards, pivot=pivot)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n{tables}\n"
        "</main>\n</body>\n</html>\n"
    )
