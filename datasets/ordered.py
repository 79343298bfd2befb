"""Streams of rows in their order: by count, by period of time, or by the value of a column.

Where a data set has no test part, each experience holds out its last rows for testing: later rows than those it is
learned from, so that neighbours in time do not stand on both sides.
"""

import math
from collections.abc import Hashable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from .base import Dataset, Inputs, RandomState, Targets
from .streams import DatasetStream, Scenario, Stream, check_is_dataset, check_n_experiences, check_tested_classes, take

PERIODS = {"hour": "h", "day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}
"""Periods of the calendar, and pandas' names of them."""


def chunked_stream(
    dataset: Dataset,
    n_experiences: int | None = None,
    chunk_size: int | None = None,
    period: str | float | None = None,
    time: Hashable | None = None,
    test_size: float = 0.2,
    name: str | None = None,
) -> Stream:
    """Cut rows in their order of time into experiences.

    The scenario is "domain". Every experience holds out its last rows for testing.

    Parameters
    ----------
    dataset : Dataset
        The data, without a test part: in one, rows have lost their place in time.
    n_experiences : int, default=None
        Cut into so many experiences of equal size (the first ones may have one row more); 10 if nothing else is given.
    chunk_size : int, default=None
        Instead, cut after so many rows; what remains at the end joins the last experience.
    period : str or float, default=None
        Instead, cut by time: "hour", "day", "week", "month", "quarter" or "year" of the calendar, or a length that
        begins with the first row, such as "30D" or "12h"; for a column of numbers, a length in its unit. Periods
        without rows make no experience.
    time : str or int, default=None
        Column by which the rows are sorted (equal ones stay in their order): dates, text that says dates, or numbers.
        It leaves the features. ``None``: the rows are in their order already.
    test_size : float, default=0.2
        Share of an experience that is held out: its last rows, rounded up. 0: nothing, for prequential evaluation.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and how it is cut.

    Returns
    -------
    Stream
        Chronological; its experiences are a partition of the rows.

    Raises
    ------
    ValueError
        If the rows cannot be cut in this way.

    Examples
    --------
    >>> import pandas as pd
    >>> from forgetless.datasets import Dataset, chunked_stream
    >>> sales = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=90), "price": range(90)})
    >>> for experience in chunked_stream(Dataset("sales", sales, [0, 1, 2] * 30), period="month", time="day"):
    ...     print(len(experience.X_train), len(experience.X_test), list(experience.X_train))
    24 7 ['price']
    23 6 ['price']
    24 6 ['price']
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    if len(dataset.y_test):
        raise ValueError(
            f"{dataset.name!r} has a test part of its own, whose place in time is not known; give a data set without "
            "one, from which each experience holds out its last rows."
        )
    cuts = {"n_experiences": n_experiences, "chunk_size": chunk_size, "period": period}
    settings: dict[str, Any] = {key: value for key, value in cuts.items() if value is not None}
    if len(settings) > 1:
        raise ValueError(f"Give one of n_experiences, chunk_size and period, not {' and '.join(settings)}.")
    if period is not None and time is None:
        raise ValueError("period needs the column that tells the time; give its name as time.")
    n_rows = len(dataset.y_train)
    column = None if time is None else _find_column(dataset, time)
    if column is None:
        order = np.arange(n_rows)
    else:
        times = _as_times(_column_values(dataset.X_train, column), time)
        order = times.argsort(kind="stable").to_numpy()
        settings["time"] = str(time)
    if period is not None:
        groups = _periods(times.iloc[order], period)
        starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    elif chunk_size is not None:
        check_scalar(chunk_size, "chunk_size", Integral, min_val=1)
        if chunk_size > n_rows:
            raise ValueError(f"chunk_size is {chunk_size}, but {dataset.name!r} has {n_rows} rows.")
        starts = np.arange(n_rows // chunk_size) * chunk_size
        settings["chunk_size"] = int(chunk_size)
    else:
        starts = equal_starts(n_rows, settings.pop("n_experiences", 10), dataset.name)
    name = name or f"chunked-{dataset.name}-{period or len(starts)}"
    parts = held_out(np.split(order, starts[1:]), test_size)
    return _ChunkedStream(name, "domain", dataset, *parts, column, settings | {"test_size": float(test_size)})


def column_stream(
    dataset: Dataset,
    column: Hashable,
    scenario: Literal["domain", "task"] = "domain",
    order: Literal["sorted", "appearance"] | Sequence[Any] | None = "sorted",
    random_state: RandomState = None,
    test_size: float = 0.2,
    name: str | None = None,
) -> Stream:
    """Make an experience of the rows of each value of a column: a site, a person, a month.

    The column leaves the features. Where the data set has a test part, an experience is tested on the test rows of its
    value; where it has none, each experience holds out its last rows.

    Parameters
    ----------
    dataset : Dataset
        The data.
    column : str or int
        The column: its name, or its position where columns have no names.
    scenario : {"domain", "task"}, default="domain"
        With "task", `task_id` is the index of the experience.
    order : {"sorted", "appearance"}, sequence or None, default="sorted"
        The order of the values: sorted (categories in their own order), as they first appear in the rows, as given
        (every value once), or drawn from `random_state`.
    random_state : int, RandomState instance or None, default=None
        Draws the order if it is None.
    test_size : float, default=0.2
        Share of an experience that is held out where the data set has no test part: its last rows, rounded up. 0:
        nothing, for prequential evaluation.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and the column.

    Returns
    -------
    Stream
        Its experiences are a partition of the rows, each in the order of the data set.

    Raises
    ------
    ValueError
        If there is no such column, values are missing in it, a value has too few rows, or the test part has other
        classes.

    Examples
    --------
    >>> import pandas as pd
    >>> from forgetless.datasets import Dataset, column_stream
    >>> visits = pd.DataFrame({"site": ["Rome"] * 10 + ["Bern"] * 20, "age": range(30)})
    >>> for experience in column_stream(Dataset("visits", visits, [0, 1] * 15), "site"):
    ...     print(experience)
    Experience(index=0, task_id=None, classes=[0, 1], 16 training rows, 4 test rows)
    Experience(index=1, task_id=None, classes=[0, 1], 8 training rows, 2 test rows)
    """
    check_is_dataset(dataset)
    if scenario not in ("domain", "task"):
        raise ValueError(f"scenario must be 'domain' or 'task', got {scenario!r}.")
    position = _find_column(dataset, column)
    values = _column_values(dataset.X_train, position)
    ordered = _in_order(values, order, random_state, f"the column {column!r} of {dataset.name!r}")
    train_rows = _rows_of(values, ordered)
    if len(dataset.y_test):
        check_tested_classes(dataset, dataset.classes)
        tested = _column_values(dataset.X_test, position)
        unknown = set(tested) - set(ordered)
        if unknown:
            raise ValueError(f"The test part of {dataset.name!r} has values that the training part lacks: {unknown}.")
        parts = train_rows, _rows_of(tested, ordered)
        for value, rows in zip(ordered, parts[1], strict=True):
            if not len(rows):
                raise ValueError(f"The value {value!r} of the column {column!r} has no test rows.")
        settings: dict[str, Any] = {}
    else:
        parts = held_out(train_rows, test_size)
        settings = {"test_size": float(test_size)}
    settings |= {"column": str(column), "order": [str(value) for value in ordered], "scenario": scenario}
    return _ColumnStream(name or f"{dataset.name}-by-{column}", scenario, dataset, *parts, position, settings)


def equal_starts(n_rows: int, n_experiences: int, dataset: str) -> np.ndarray:
    """Return where experiences of equal size begin; the first ones may have one row more.

    Parameters
    ----------
    n_rows, n_experiences : int
    dataset : str
        Name of the data set, for the message.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If there are fewer rows than experiences.

    Examples
    --------
    >>> equal_starts(7, 3, "seven").tolist()
    [0, 3, 5]
    """
    count = check_n_experiences(n_experiences, n_rows, f"{n_rows} rows of {dataset!r}")
    size, larger = divmod(n_rows, count)
    index = np.arange(count)
    return index * size + np.minimum(index, larger)


def held_out(experiences: list[np.ndarray], test_size: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut the rows of each experience into training rows and, after them, test rows.

    Parameters
    ----------
    experiences : list of ndarray of int
    test_size : float
        Share of the rows that become test rows, rounded up, but never all; 0: none.

    Returns
    -------
    train_rows, test_rows : list of ndarray of int

    Raises
    ------
    ValueError
        If an experience has too few rows.

    Examples
    --------
    >>> train_rows, test_rows = held_out([np.arange(6)], 0.3)
    >>> train_rows[0].tolist(), test_rows[0].tolist()
    ([0, 1, 2, 3], [4, 5])
    """
    from sklearn.utils import check_scalar

    check_scalar(test_size, "test_size", Real, min_val=0, max_val=1, include_boundaries="left")
    for index, rows in enumerate(experiences):
        if test_size and len(rows) < 2:
            raise ValueError(
                f"Experience {index} has 1 row, of which none can be held out for testing; make fewer, larger "
                "experiences, or hold out nothing with test_size=0."
            )
    cuts = [len(rows) - n_held_out(len(rows), test_size) for rows in experiences]
    train_rows = [rows[:cut] for rows, cut in zip(experiences, cuts, strict=True)]
    return train_rows, [rows[cut:] for rows, cut in zip(experiences, cuts, strict=True)]


def n_held_out(n_rows: int, test_size: float) -> int:
    """Return how many rows of an experience are test rows.

    Parameters
    ----------
    n_rows : int
    test_size : float
        Share of the rows, rounded up, but never all.

    Returns
    -------
    int

    Examples
    --------
    >>> n_held_out(100, 0.07)
    7
    """
    share = test_size * (1 - 1e-12)  # 100 * 0.07 is a little more than 7
    return min(math.ceil(n_rows * share), n_rows - 1)


class _OrderedStream(DatasetStream):
    """A stream that says which rows an experience has; test rows are training rows where there is no test part."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        dataset: Dataset,
        train_rows: list[np.ndarray],
        test_rows: list[np.ndarray],
        left_out: int | None,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(name, scenario, dataset.classes, len(train_rows), dataset, settings)
        self.train_rows = train_rows
        self.test_rows = test_rows
        self.left_out = left_out
        self.n_features -= left_out is not None

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._rows(self.dataset.X_train, self.dataset.y_train, self.train_rows[index])

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        part = "test" if len(self.dataset.y_test) else "train"
        X, y = getattr(self.dataset, f"X_{part}"), getattr(self.dataset, f"y_{part}")
        return self._rows(X, y, self.test_rows[index])

    def _rows(self, X: Inputs, y: Targets, rows: np.ndarray) -> tuple[Inputs, Targets]:
        X, y = take(X, y, rows)
        if self.left_out is None:
            return X, y
        kept = np.delete(np.arange(X.shape[1]), self.left_out)
        return (X.iloc[:, kept] if hasattr(X, "iloc") else X[:, kept]), y


class _ChunkedStream(_OrderedStream):
    """The stream of :func:`chunked_stream`."""

    builder = "chunked_stream"
    chronological = True


class _ColumnStream(_OrderedStream):
    """The stream of :func:`column_stream`."""

    builder = "column_stream"


def _find_column(dataset: Dataset, column: Hashable) -> int:
    """Return the position of a column."""
    X = dataset.X_train
    names: list[Any] = list(X.columns if hasattr(X, "columns") else dataset.feature_names or range(X.shape[1]))
    if names.count(column) != 1:
        known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        number = "no column" if column not in names else "more than one column"
        raise ValueError(f"{dataset.name!r} has {number} {column!r}; its columns are {known}.")
    if len(names) == 1:
        raise ValueError(f"{column!r} is the only column of {dataset.name!r}; without it there are no features.")
    return names.index(column)


def _column_values(X: Inputs, position: int) -> Any:
    """Return a column as a pandas Series."""
    import pandas as pd

    if hasattr(X, "iloc"):
        return X.iloc[:, position]
    column = X[:, [position]]
    return pd.Series((column.toarray() if hasattr(column, "toarray") else column).ravel())


def _as_times(values: Any, column: Hashable) -> Any:
    """Return a Series of dates or of numbers."""
    import pandas as pd
    from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

    if values.isna().any():
        raise ValueError(f"The time is missing in {values.isna().sum()} rows (column {column!r}); fill or drop them.")
    if is_numeric_dtype(values) or is_datetime64_any_dtype(values):
        return values
    try:
        return pd.to_datetime(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The column {column!r} tells no time: {error}") from None


def _periods(times: Any, period: str | float) -> np.ndarray:
    """Return the number of each row's period; the times are sorted."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(times):
        if isinstance(period, str) or not period > 0:
            raise ValueError(f"The time is a number, so period must be a number above 0, in its unit, got {period!r}.")
        return _periods_of_numbers(times.to_numpy(), period)
    if period in PERIODS:
        local = times.dt.tz_localize(None)
        return np.asarray(pd.factorize(local.dt.to_period(PERIODS[str(period)]))[0])
    try:
        length = pd.Timedelta(period) if isinstance(period, str) else pd.Timedelta(0)
    except ValueError:
        length = pd.Timedelta(0)
    if not length > pd.Timedelta(0):
        raise ValueError(
            f"period must be one of {', '.join(PERIODS)}, or a length such as '30D' or '12h', got {period!r}."
        )
    return np.asarray((times - times.iloc[0]) // length)


def _periods_of_numbers(times: np.ndarray, period: float) -> np.ndarray:
    if times.dtype.kind in "biu" and isinstance(period, Integral):
        whole: Any = times.astype(object)  # Python's integers, which do not overflow
        return np.asarray((whole - whole[0]) // int(period))
    if np.isinf(times).any():
        raise ValueError("The time is infinite in some rows, which are of no period; drop them.")
    given = times if times.dtype.kind == "f" else times.astype(np.float64)
    rounding = 8 * float(np.spacing(np.abs(given).max()))  # 0.3 is three periods of 0.1, though a little less in binary
    exact = given.astype(np.float64)
    return np.asarray(np.floor((exact - exact[0] + rounding) / period))


def _in_order(
    values: Any, order: Literal["sorted", "appearance"] | Sequence[Any] | None, random_state: RandomState, where: str
) -> list[Any]:
    """Return the values that occur, in the order of their experiences."""
    from sklearn.utils import check_random_state

    if values.isna().any():
        raise ValueError(f"In {values.isna().sum()} rows the value of {where} is missing; fill or drop them.")
    appearance = list(values.unique())
    if isinstance(order, str) and order == "appearance":
        return appearance
    if order is None or (isinstance(order, str) and order == "sorted"):
        try:
            ordered = values.drop_duplicates().sort_values().tolist()
        except TypeError:
            raise ValueError(f"The values of {where} are of several types, which have no order; give order.") from None
        return (
            ordered
            if order
            else [ordered[place] for place in check_random_state(random_state).permutation(len(ordered))]
        )
    if isinstance(order, str):
        raise ValueError(f"order must be 'sorted', 'appearance', None or a sequence of values, got {order!r}.")
    ordered = list(order)
    if len(ordered) != len(appearance) or set(ordered) != set(appearance):
        raise ValueError(f"order must name each value of {where} once: {', '.join(map(str, appearance[:10]))}.")
    return ordered


def _rows_of(values: Any, ordered: list[Any]) -> list[np.ndarray]:
    """Return the rows that have each value, in their order."""
    rows = values.groupby(values, observed=True, sort=False).indices
    none = np.empty(0, dtype=np.int64)
    return [np.asarray(rows.get(value, none)) for value in ordered]
