"""A table of one's own: read, and with its target told from its inputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from pandas.api import types

from ...datasets.base import Dataset, Kind
from ...datasets.files import unpacking
from ...datasets.registry import DATASETS, load_dataset
from ...estimators.inputs import as_rows
from ...estimators.table import ALMOST_ALL, check_unique, shown_names
from ..runs.specs import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW_NUMBERS = 20  # whole numbers as targets: so many different ones are labels, more are amounts
_SAME_AS_HEADER = 0.5  # share of the columns that repeat their own name, in a header within the rows


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table with its target.

    Parameters
    ----------
    name : str
    X : DataFrame
        Inputs, in the order of the rows.
    y : ndarray
        Targets, none missing.
    kind : {"classification", "regression"}
    dropped : list of str
        Columns that were to be left out, and those of lists.
    remarks : list of str
        What was found and assumed, as sentences.
    labels : list
        The classes, as they stand in the column of the target; empty for regression.
    renamed : bool
        Whether names of columns were no texts, and are now.
    """

    name: str
    X: pd.DataFrame
    y: NDArray[Any]
    kind: Kind
    dropped: list[str]
    remarks: list[str]
    labels: list[Any]
    renamed: bool


def read_table(source: str | os.PathLike[str], data_home: str | None = None) -> tuple[str, pd.DataFrame]:
    """Read a file, or take a data set by its name.

    Parameters
    ----------
    source : str or path-like
        A CSV (compressed or not; separated by commas, semicolons or tabs), a Parquet file, or a data set that
        ``forgetless list datasets`` names; its target is the column ``target``.
    data_home : str, default=None
        Folder of downloaded data, for a data set.

    Returns
    -------
    str, DataFrame
        Its name, and the table.

    Raises
    ------
    ValueError
        If it is no table.
    OSError
        If it cannot be read.
    """
    path = Path(source)
    if str(source) in DATASETS and not path.exists():
        data = load_dataset(str(source), data_home)
        return data.name, _as_frame(data)
    if not path.exists():
        raise ValueError(
            f"There is no file {str(source)!r}, nor a data set of that name{nearest(path.name, DATASETS)}."
        )
    name = path.name.partition(".")[0]
    if ".parquet" in path.suffixes:
        from ...datasets.extra import from_extra

        return name, from_extra("pyarrow.parquet").read_table(path).to_pandas()
    try:
        with unpacking(repr(str(source))):
            frame = pd.read_csv(path, low_memory=False)
            if len(frame.columns) == 1:
                for separator in (";", "\t"):
                    if separator in str(frame.columns[0]):
                        frame = pd.read_csv(path, low_memory=False, sep=separator)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{str(source)!r} cannot be read as a CSV file: {str(error).strip()}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(source)!r} is no text in UTF-8 (byte {error.start} is no part of it); save it as UTF-8."
        ) from None
    return name, frame


def _as_frame(data: Dataset) -> pd.DataFrame:
    """All rows of a data set as a table."""
    names = data.feature_names or [f"x{column}" for column in range(data.X_train.shape[1])]
    parts = []
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        rows = X if hasattr(X, "columns") else pd.DataFrame(as_rows(X), columns=names)
        parts.append(rows.assign(target=y))
    return pd.concat(parts, ignore_index=True) if len(data.y_test) else parts[0]


def look_at(
    name: str, frame: pd.DataFrame, target: Hashable, *, drop: Sequence[Hashable] = (), kind: Kind | None = None
) -> Table:
    """Part a table into inputs and target.

    Parameters
    ----------
    name : str
    frame : DataFrame
        Rows in the order in which they came.
    target : str
        Name of the column to predict; names that are none, such as numbers, count as the text that they look like.
    drop : sequence of str, default=()
        Columns to leave out.
    kind : {"classification", "regression"}, default=None
        What the targets are; ``None``: numbers with fractions, and whole numbers of which there are more than twenty,
        are amounts; all others are labels.

    Returns
    -------
    Table

    Raises
    ------
    TypeError
        If `frame` is no table.
    ValueError
        If there is no such column, or nothing to learn in it.

    Examples
    --------
    >>> sales = pd.DataFrame({"day": range(5), "sold": ["yes", "no", None, "yes", "yes"]})
    >>> table = look_at("sales", sales, "sold")
    >>> table.y.tolist(), table.remarks[0]
    (['yes', 'no', 'yes', 'yes'], "The target 'sold' is missing in 1 of 5 rows, which are left out.")
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"data is a {type(frame).__name__}; give a DataFrame, or the path of a file.")
    if kind not in (None, *get_args(Kind)):
        raise ValueError(f"kind is {kind!r}; give 'classification' or 'regression'.")
    remarks: list[str] = []
    renamed = not all(isinstance(column, str) for column in frame.columns)
    frame, target, dropped = frame.rename(columns=str), str(target), [str(column) for column in drop]
    check_unique(frame.columns)
    for column in (target, *dropped):
        if column not in frame.columns:
            guess = nearest(column, [str(each) for each in frame.columns])
            raise ValueError(
                f"The table has no column {column!r}{guess * ('did you mean' in guess)}; its columns are "
                f"{shown_names(frame.columns)}."
            )
    if target in dropped:
        raise ValueError(f"{target!r} is the target and cannot be dropped.")
    frame = frame.drop(columns=dropped)
    nested = [column for column in frame.columns if _is_nested(frame[column])]
    if target in nested:
        raise ValueError(
            f"The target {target!r} has lists or structures as values; give a column of labels or numbers."
        )
    if nested:
        remarks.append(f"Left out: {', '.join(nested)}, since the values are lists or structures.")
    frame = _without_headers(frame.drop(columns=nested), remarks)
    missing = frame[target].isna()
    if missing.any():
        remarks.append(
            f"The target {target!r} is missing in {int(missing.sum()):,} of {len(frame):,} rows, which are left out."
        )
        frame = frame[~missing]
    if len(frame.columns) < 2:
        raise ValueError(f"The table has no column beside the target {target!r}.")
    if frame.empty:
        raise ValueError("The table has no row with a target.")
    kind, y = _targets(frame[target], kind, remarks)
    _, first = np.unique(y if kind == "classification" else y[:0], return_index=True)
    remarks += [
        f"The column {name!r} stands for the target one to one; if it is not known before the target is, drop it."
        for name in _copies(frame.drop(columns=target), y)
    ]
    X, labels = frame.drop(columns=target).reset_index(drop=True), frame[target].iloc[first].tolist()
    return Table(name, X, y, kind, [*dropped, *nested], remarks, labels, renamed)


def _is_nested(column: pd.Series) -> bool:
    """Tell whether values are lists, structures, or whatever else cannot be looked up."""
    if types.is_numeric_dtype(column):
        return False
    try:
        pd.factorize(column)
    except (TypeError, NotImplementedError):  # of objects, and of Arrow's types
        return True
    return False


def _copies(X: pd.DataFrame, y: NDArray[Any]) -> list[str]:
    """Name the columns whose values stand for the targets, each value for one; where most targets differ, all might."""
    codes, values = pd.factorize(y)
    if len(values) > len(y) / 2:
        return []
    return [str(name) for name in X.columns if np.array_equal(pd.factorize(X[name])[0], codes)]


def _without_headers(frame: pd.DataFrame, remarks: list[str]) -> pd.DataFrame:
    """Leave out rows that repeat the names of the columns, as in files that were put together."""
    named = [column for column in frame.columns if not types.is_numeric_dtype(frame[column])]
    if not named:
        return frame
    same = sum((frame[column].astype(str) == column).astype(int) for column in named)
    headers = np.asarray(same / len(frame.columns) >= _SAME_AS_HEADER)
    if not headers.any():
        return frame
    n_headers = int(headers.sum())
    repeat = "1 row repeats" if n_headers == 1 else f"{n_headers} rows repeat"
    remarks.append(f"{repeat} the names of the columns, and {'is' if n_headers == 1 else 'are'} left out.")
    frame = frame[~headers]
    numbers = {column: pd.to_numeric(frame[column], errors="coerce") for column in named}
    read = {column: values for column, values in numbers.items() if values.notna().sum() == frame[column].notna().sum()}
    return frame.assign(**read)


def _targets(column: pd.Series, kind: Kind | None, remarks: list[str]) -> tuple[Kind, NDArray[Any]]:
    """The targets as numbers or labels."""
    name = column.name
    is_number = types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
    if not is_number and not types.is_bool_dtype(column):
        numbers = pd.to_numeric(column, errors="coerce")
        is_number = bool(numbers.notna().mean() >= ALMOST_ALL)
        if is_number and numbers.isna().any():
            odd = column[numbers.isna()].astype(str).iloc[0]
            raise ValueError(
                f"The target {name!r} is a number but in {int(numbers.isna().sum())} rows ({odd!r:.40}); correct these "
                "rows, or leave them out."
            )
        column = numbers if is_number else column
    if kind is None:
        amounts = is_number and (bool((column % 1 != 0).any()) or column.nunique() > _FEW_NUMBERS)
        kind = "regression" if amounts else "classification"
        taken = "amounts (regression)" if amounts else f"{column.nunique()} labels (classification)"
        remarks.append(f"The target {name!r} is taken for {taken}.")
    if kind == "regression":
        if not is_number:
            raise ValueError(f"The target {name!r} has values that are no numbers; regression needs numbers.")
        y = column.to_numpy(dtype=np.float64)
        if not np.isfinite(y).all():
            raise ValueError(f"The target {name!r} has infinite values.")
        if (y == y[0]).all():
            raise ValueError(f"The target {name!r} is {y[0]:g} in all rows: there is nothing to learn.")
        return kind, y
    labels = column.astype("int64") if is_number and bool((column % 1 == 0).all()) else column.astype(str)
    y = labels.to_numpy()
    n_labels, largest = len(np.unique(y)), int(pd.Series(y).value_counts().iloc[0])
    if n_labels == 1:
        raise ValueError(f"The target {name!r} is {y.tolist()[0]!r} in all rows: there is nothing to learn.")
    if largest < 2 or n_labels > len(y) / 2:
        raise ValueError(
            f"The target {name!r} has {n_labels} different labels in {len(y)} rows: that is a name of rows rather than "
            "a class. For amounts give kind regression."
        )
    return kind, y
