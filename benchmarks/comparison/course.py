"""The course of learning: a table cut into experiences, with rows to choose on and others to judge on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ...datasets import Dataset, chunked_stream, column_stream, split_stream
from ...datasets.ordered import equal_starts
from ...estimators.table import Columns
from .table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...datasets.streams import Stream
    from ..runs.protocol import Evaluate

N_CHUNKS = 10
FEWEST_ROWS = 40  # fewer decide nothing
_CHOSEN_ON = 0.4  # share of the chunks
_CHOOSE, _JUDGE = 0.1, 0.2  # shares of the rows that are held out ...
_MOST_CHOOSE, _MOST_JUDGE = 5_000, 15_000  # ... up to so many rows
_MOST_FIRST = 50_000  # rows of the first round
N_FOLDS = 6
FEWEST_OF_A_GROUP = 10  # rows of a value or a class, of which one chooses and two judge


@dataclasses.dataclass(frozen=True)
class Folds:
    """Streams with equal training rows, each tested on rows of its own: the noise of test rows is between seeds, too.

    Parameters
    ----------
    streams : list of Stream
    """

    streams: list[Stream]

    def __call__(self, seed: int) -> Stream:
        """The stream of a seed."""
        return self.streams[seed % len(self.streams)]


@dataclasses.dataclass(frozen=True)
class Course:
    """Streams of one table, for choosing and for judging, that share no row on which models are tested.

    Parameters
    ----------
    choosing, judging : Folds
        What a few strategies are chosen on, and what these are judged on, by seed.
    evaluate : {"prequential", "seen"}
        In time, rows are predicted before they are learned; else held-out rows of all experiences count in the end.
    first_judged : int
        The first experience of `judging` that is judged on.
    n_rows : int
        Rows of an experience, in the mean.
    remarks : list of str
        How the table was cut, as sentences.
    """

    choosing: Folds
    judging: Folds
    evaluate: Evaluate
    first_judged: int
    n_rows: int
    remarks: list[str]


def make_course(
    table: Table,
    columns: Columns,
    *,
    by: str | None = None,
    time: str | None = None,
    chunks: int | None = None,
    classes: int | None = None,
) -> Course:
    """Cut a table.

    Parameters
    ----------
    table : Table
    columns : Columns
        What its columns are; without any of the following, a column of dates gives the order.
    by : str, default=None
        An experience of each value of this column.
    time : str, default=None
        The column that gives the order.
    chunks : int, default=None
        Into how many pieces the rows in their order are cut; 10 if nothing else is said.
    classes : int, default=None
        Into how many experiences the classes are put.

    Returns
    -------
    Course

    Raises
    ------
    ValueError
        If the table cannot be cut in this way.
    """
    given = [name for name, value in {"by": by, "time": time, "classes": classes}.items() if value is not None]
    if len(given) > 1 or (chunks is not None and given not in ([], ["time"])):
        raise ValueError(
            f"Give one way to cut the table, not {' and '.join([*given, *['chunks'] * (chunks is not None)])}."
        )
    if len(table.y) < FEWEST_ROWS:
        raise ValueError(f"The table has {len(table.y)} rows with a target; at least {FEWEST_ROWS} can be compared on.")
    for column in (by, time):
        if column is not None and column not in table.X.columns:
            raise ValueError(f"The table has no column {column!r} to cut by; its columns are {list(table.X.columns)}.")
    if by is not None:
        return _by_column(table, by)
    if classes is not None:
        return _by_class(table, classes)
    return _in_order(table, columns, time, chunks)


def _in_order(table: Table, columns: Columns, time: str | None, chunks: int | None) -> Course:
    X, y, remarks = table.X, table.y, []
    if time is None and len(columns.dates) == 1:
        [time] = columns.dates
        remarks.append(f"The column {time!r} is taken for the time.")
    if time is not None:
        if table.X[time].isna().any():
            raise ValueError(
                f"The column {time!r} is missing in {int(table.X[time].isna().sum())} rows; leave them out."
            )
        times = Dataset("order", X[[time]].assign(row=1), y, kind=table.kind)
        order = chunked_stream(times, 1, time=time, test_size=0)
        rows = order.train_rows[0]  # type: ignore[attr-defined]
        X, y = X.iloc[rows].reset_index(drop=True), y[rows]
    n_chunks = N_CHUNKS if chunks is None else chunks
    if not 3 <= n_chunks <= len(y) // 4:
        raise ValueError(f"chunks is {n_chunks}; {len(y)} rows can be cut into 3 to {len(y) // 4}.")
    judging = chunked_stream(_dataset(table, X, y), n_chunks, test_size=0, name=table.name)
    first = max(2, round(_CHOSEN_ON * n_chunks))
    n_before = int(equal_starts(len(y), n_chunks, table.name)[first])
    start = max(0, n_before - _MOST_FIRST)
    before = _dataset(table, X.iloc[start:n_before], y[start:n_before])
    choosing = chunked_stream(before, first, test_size=0, name=f"{table.name}: first round")
    order_is = f"sorted by {time!r}" if time is not None else "in the order of the file"
    which = "Chunks" if not start else f"The last {_MOST_FIRST:,} rows of chunks"
    remarks.append(
        f"The {len(y):,} rows, {order_is}, are cut into {n_chunks} chunks. Each chunk is predicted, then learned. "
        f"{which} 1 to {first} choose, chunks {first + 1} to {n_chunks} judge."
    )
    return Course(Folds([choosing]), Folds([judging]), "prequential", first, len(y) // n_chunks, remarks)


def _by_column(table: Table, by: str) -> Course:
    values = table.X[by].astype(str)
    if table.X[by].isna().any():
        raise ValueError(f"The column {by!r} is missing in {int(table.X[by].isna().sum())} rows; leave them out.")
    counts = values.value_counts()
    if not 2 <= len(counts) <= 1_000:
        raise ValueError(f"The column {by!r} has {len(counts)} values; as experiences, 2 to 1,000 make sense.")
    if counts.min() < FEWEST_OF_A_GROUP:
        raise ValueError(
            f"The value {counts.idxmin()!r} of the column {by!r} has {counts.min()} rows; an experience needs "
            f"{FEWEST_OF_A_GROUP} or more."
        )
    remark = f"Each of the {len(counts)} values of {by!r} is an experience, in their order."
    return _with_held_out(table, values.to_numpy(), lambda data, name: column_stream(data, by, name=name), remark)


def _by_class(table: Table, classes: int) -> Course:
    if table.kind == "regression":
        raise ValueError("Amounts have no classes to cut by; cut by a column, the time or into chunks.")
    counts = dict(zip(*np.unique(table.y, return_counts=True), strict=True))
    if not 2 <= classes <= len(counts):
        raise ValueError(f"classes is {classes}; {len(counts)} classes can come in 2 to {len(counts)} experiences.")
    rare = [label for label, count in counts.items() if count < FEWEST_OF_A_GROUP]
    if rare:
        raise ValueError(
            f"The class {rare[0]!r} has {counts[rare[0]]} rows; each class needs {FEWEST_OF_A_GROUP} or more."
        )

    def cut(data: Dataset, name: str) -> Stream:
        return split_stream(data, classes, "class", class_order="sorted", name=name)

    remark = f"The {len(counts)} classes come in {classes} experiences, in their order."
    return _with_held_out(table, table.y, cut, remark)


def _with_held_out(table: Table, groups: NDArray[Any], cut: Callable[[Dataset, str], Stream], remark: str) -> Course:
    """Hold out rows of each group, some to choose on and others to judge on."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rng, place, n_rows = np.random.default_rng(0), np.empty(len(groups), dtype=int), len(groups)
    for number, size in enumerate(sizes):
        place[group == number] = rng.permutation(size)  # in a random order within its group
    choose, judge = min(_CHOOSE, _MOST_CHOOSE / n_rows), min(_JUDGE, _MOST_JUDGE / n_rows)
    n_choose = np.maximum(1, np.round(choose * sizes))[group]
    n_judge = np.maximum(2, np.round(judge * sizes))[group]
    chosen, judged = place < n_choose, (n_choose <= place) & (place < n_choose + n_judge)
    learned = ~(chosen | judged)
    learned_first = learned & (place >= (1 - _MOST_FIRST / n_rows) * sizes[group])
    n_folds = N_FOLDS if n_judge.min() >= N_FOLDS else 1

    def stream(train: NDArray[np.bool_], test: NDArray[np.bool_], name: str) -> Stream:
        return cut(_dataset(table, table.X[train], table.y[train], table.X[test], table.y[test]), name)

    first = stream(learned_first, chosen, f"{table.name}: first round")
    folds = [stream(learned, judged & (place % n_folds == fold), table.name) for fold in range(n_folds)]
    tested = (
        f"In the end, rows of all of them that were held out are predicted: {chosen.sum():,} of the {n_rows:,} rows "
        f"choose, {judged.sum():,} others judge."
    )
    return Course(Folds([first]), Folds(folds), "seen", 0, n_rows // len(first), [f"{remark} {tested}"])


def _dataset(table: Table, *parts: Any) -> Dataset:
    options: dict[str, Any] = {"kind": table.kind, "allow_nan": True}
    return Dataset(table.name, *parts, **options)
