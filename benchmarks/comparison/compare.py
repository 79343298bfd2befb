"""Compare strategies on a table of one's own, and answer in plain words."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import textwrap
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from ...estimators.table import Columns, find_columns, leave_out
from ...reports import formats
from ..results import Results
from ..runs.runner import run_benchmark
from ..runs.specs import TIME_LIMIT
from .candidates import PLAIN, left_aside, make_candidates
from .course import Course, Folds, make_course
from .table import Table, look_at, read_table

if TYPE_CHECKING:
    import pandas as pd

    from ...datasets.base import Kind
    from ...reports import Constraints, Recommendation
    from ..store import Store

N_FINALISTS = 3  # beside plain training: each further one makes all intervals wider
CHOOSING_SEEDS, JUDGING_SEEDS = (0, 1), tuple(range(100, 106))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What was found on a table.

    Parameters
    ----------
    table : Table
        With the target told from the inputs.
    columns : Columns
        What the columns were taken for.
    course : Course
        How the table was cut into experiences.
    first_round : Results
        All candidates, on the rows that choose.
    results : Results
        The few that were left, with other seeds, on the rows that judge; nothing was chosen on these.
    recommendation : Recommendation
        From `results` alone.
    """

    table: Table
    columns: Columns
    course: Course
    first_round: Results
    results: Results
    recommendation: Recommendation

    @property
    def assumptions(self) -> list[str]:
        """What was assumed, as sentences."""
        return assumptions(self.table, self.columns, self.course)

    @functools.cached_property
    def answer(self) -> list[str]:
        """The answer, as paragraphs."""
        from .answer import paragraphs

        return paragraphs(self)

    @property
    def code(self) -> str:
        """The lines of Python that use what is recommended."""
        from .answer import code

        return code(self)

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report: the answer, how it was found, and all numbers of the judging rows.

        Parameters
        ----------
        path : path-like
        """
        from ...reports import write_html

        write_html(
            self.results,
            path,
            title=f"Which strategy for {self.table.name}?",
            answer=self.answer,
            assumptions=self.assumptions,
            code=self.code,
        )

    def __str__(self) -> str:
        code = textwrap.indent(self.code, "    ")
        paragraphs = [textwrap.fill(formats.plain(each), 100) for each in self.answer]
        return "\n\n".join([*paragraphs, "In Python:", code])


def compare(
    data: pd.DataFrame | str | os.PathLike[str],
    target: Hashable,
    *,
    by: Hashable | None = None,
    time: Hashable | None = None,
    chunks: int | None = None,
    classes: int | None = None,
    text: Sequence[Hashable] = (),
    drop: Sequence[Hashable] = (),
    kind: Kind | None = None,
    scoring: str | Sequence[str] = (),
    constraints: Constraints | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    n_jobs: int = -1,
    time_limit: float = TIME_LIMIT,
    data_home: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Find out which strategy to use on a table, and what it costs.

    All candidates learn a first part; the best few of them and plain training are then judged on rows that nothing was
    chosen on, with other seeds.

    Parameters
    ----------
    data : DataFrame, str or path-like
        The table, in the order in which its rows came: itself, a CSV or Parquet file, or a data set by name, whose
        target is the column ``target``.
    target : str
        The column to predict. Names of columns that are no text, such as numbers, count as the text they look like.
    by : str, default=None
        Each value of this column is an experience: a site, a person, a month.
    time : str, default=None
        The column that gives the order. Without `by`, `time`, `chunks` and `classes` it is the column of dates, if
        there is one, or the order of the file.
    chunks : int, default=None
        Into how many pieces the rows in their order are cut; 10 if nothing else is given.
    classes : int, default=None
        The classes come one after the other, in so many experiences.
    text : sequence of str, default=()
        Columns that are text, whatever they look like.
    drop : sequence of str, default=()
        Columns to leave out.
    kind : {"classification", "regression"}, default=None
        What the targets are; ``None``: fractions, and more than twenty whole numbers, are amounts.
    scoring : str or sequence of str, default=()
        Scorers of scikit-learn, the first of which decides; accuracy or R² if none is given.
    constraints : Constraints, default=None
        What the strategy must keep to.
    store : Store, str or path-like, default=None
        Keeps finished runs, so that the same call goes on after a stop.
    n_jobs, time_limit, progress
        As for :func:`run_benchmark`.
    data_home : str, default=None
        Folder of downloaded data, for a data set by name.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError
        If the data are no table.
    ValueError
        If the table cannot be compared on; the message says why.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pandas as pd
    >>> sales = pd.read_csv("sales.csv")  # doctest: +SKIP
    >>> print(compare(sales, "sold", by="shop"))  # doctest: +SKIP
    """
    name, frame = read_table(data, data_home) if isinstance(data, str | os.PathLike) else ("table", data)
    table = look_at(name, frame, target, drop=drop, kind=kind)
    by, time = (None if column is None else str(column) for column in (by, time))
    columns = leave_out(find_columns(table.X, [str(column) for column in text]), table.X)
    course = make_course(table, columns, by=by, time=time, chunks=chunks, classes=classes)
    columns = _cut_by(columns, [each for each in (by, time) if each is not None])
    columns.check_used()
    candidates = make_candidates(table.kind, columns, course.n_rows)

    def run(names: Sequence[str], streams: Folds, seeds: Sequence[int]) -> Results:
        return run_benchmark(
            {name: candidates[name] for name in names},
            {streams(0).name: streams},
            seeds=seeds,
            n_jobs=n_jobs,
            store=store,
            evaluate=course.evaluate,
            scoring=scoring,
            time_limit=time_limit,
            progress=progress,
        )

    if progress:
        for line in assumptions(table, columns, course):
            show(formats.plain(line))
    first_round = run(list(candidates), course.choosing, CHOOSING_SEEDS)
    chosen = finalists(first_round, constraints)
    results = _judged(run(chosen, course.judging, JUDGING_SEEDS), course.first_judged)
    from ...reports import recommend

    return Comparison(table, columns, course, first_round, results, recommend(results, constraints))


def show(text: str) -> None:
    """Print a text, also where standard output lacks some of its letters.

    Parameters
    ----------
    text : str
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = text if encoding.lower().startswith("utf") else text.replace("−", "-")
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def finalists(first_round: Results, constraints: Constraints | None) -> list[str]:
    """Choose who is judged: plain training, and the best few that keep to the constraints and are not dominated.

    Parameters
    ----------
    first_round : Results
    constraints : Constraints or None

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If all candidates failed.
    """
    from ...reports import recommend

    found = recommend(first_round, constraints).strategies
    free = found[(found["left_out"] == "") & (found["dominated_by"] == "")]
    best = [str(name) for name in free.sort_values("score", ascending=False)["strategy"] if name != PLAIN]
    if not best and (first_round.runs["status"] == "failed").all():
        raise ValueError(f"All candidates failed; the first said: {first_round.runs['error'].iloc[0]}")
    return [PLAIN, *best[:N_FINALISTS]]


def assumptions(table: Table, columns: Columns, course: Course) -> list[str]:
    """Say what was assumed of a table.

    Parameters
    ----------
    table : Table
    columns : Columns
    course : Course

    Returns
    -------
    list of str
    """
    groups = {
        "number": columns.numbers,
        "category": columns.categories,
        "date": columns.dates,
        "text": columns.text,
    }
    plurals = {"number": "numbers", "category": "categories", "date": "dates", "text": "text"}
    told = [
        f"{len(names)} {kind if len(names) == 1 else plurals[kind]} ({_names(names)})"
        for kind, names in groups.items()
        if names
    ]
    lines = [*table.remarks, *columns.remarks, f"Learned from: {', '.join(told)}."]
    reasons: dict[str, list[Any]] = {}
    for name, why in columns.left_out.items():
        reasons.setdefault(why, []).append(name)
    lines += [f"Left out: {_names(names)}, since {why}." for why, names in reasons.items()]
    aside = left_aside(table.kind, columns)
    if aside:
        lines.append(f"Not tried, since they take minutes on a table this wide: {', '.join(aside)}.")
    return [*lines, *course.remarks]


def _names(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _cut_by(columns: Columns, names: Sequence[str]) -> Columns:
    """Leave out the columns that the table is cut by; dates stay, for their seasons."""
    lists = {
        field: [each for each in getattr(columns, field) if each not in names]
        for field in ("numbers", "categories", "text")
    }
    cut = {name: "the rows are cut by it" for name in names if name not in columns.dates}
    return dataclasses.replace(columns, **lists, left_out={**columns.left_out, **cut})


def _judged(results: Results, first: int) -> Results:
    """Only the scores of experiences from the first that is judged on."""
    if not first:
        return results
    scores, evaluations = results.scores, results.evaluations
    return dataclasses.replace(
        results,
        scores=scores[scores["tested_on"] >= first].reset_index(drop=True),
        evaluations=evaluations[evaluations["tested_on"] >= first].reset_index(drop=True),
    )
