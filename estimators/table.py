"""Tables as they come: what each column is, and the pipeline that makes numbers of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Hashable
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api import types
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags

from .columns import IncrementalColumnTransformer
from .encoders import DateParts, IncrementalOneHotEncoder
from .pipeline import IncrementalPipeline, make_incremental_pipeline

ALMOST_ALL = 0.95
"""The share of a column's values that are numbers, or dates, in a column of them; the others count as missing."""

_PROSE_WORDS = 4.0  # words in a value of text, in the mean; names of categories have fewer
_CONSTANT = "it has one value only"
_LOOKED_AT = 2_000  # values of a column


@dataclasses.dataclass(frozen=True)
class Columns:
    """What each column of a table is taken for.

    Parameters
    ----------
    numbers, categories, dates, text : list of str
        Names of columns.
    left_out : dict of str to str
        Names of columns that nothing can be learned from, and why.
    remarks : list of str
        What was found in columns, as sentences.
    """

    numbers: list[Any] = dataclasses.field(default_factory=list)
    categories: list[Any] = dataclasses.field(default_factory=list)
    dates: list[Any] = dataclasses.field(default_factory=list)
    text: list[Any] = dataclasses.field(default_factory=list)
    left_out: dict[Any, str] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)

    @property
    def used(self) -> list[Any]:
        """All columns that are learned from."""
        return [*self.numbers, *self.categories, *self.dates, *self.text]


def find_columns(frame: pd.DataFrame, text: Collection[Hashable] = ()) -> Columns:
    """Find out what each column of a table is.

    Parameters
    ----------
    frame : DataFrame
        Without the target.
    text : collection of str, default=()
        Columns that are text, whatever they look like.

    Returns
    -------
    Columns
        A column of text that is nearly always a number, or a date in ISO 8601, is taken for that; other text is prose
        if its values have four words or more in the mean, else categories. Left out are columns without values, those
        of one value, and those that only number the rows: whole numbers that rise from row to row, and names of which
        each row has its own.

    Examples
    --------
    >>> sales = pd.DataFrame(
    ...     {"id": range(4), "shop": list("abab"), "price": ["1.5", "2", "1", "3"], "when": ["2024-01-01"] * 3 + [None]}
    ... )
    >>> columns = find_columns(sales)
    >>> columns.numbers, columns.categories, columns.left_out
    (['price'], ['shop'], {'id': 'it numbers the rows', 'when': 'it has one value only'})
    """
    found = Columns()
    for name in frame.columns:
        column = frame[name]
        values = column.dropna()
        if values.empty:
            found.left_out[name] = "it has no values"
        elif is_constant(values):
            found.left_out[name] = _CONSTANT
        elif name in text:
            found.text.append(name)
        else:
            _place(found, name, values)
    return found


def is_constant(values: pd.Series) -> bool:
    """Whether a column has one value only, or things that look the same, such as equal lists."""
    texts = values.astype(str).to_numpy()
    return bool((texts == texts[0]).all())


def _place(found: Columns, name: Any, values: pd.Series) -> None:
    """Put a column where it belongs."""
    if types.is_bool_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype):
        found.categories.append(name)
    elif types.is_numeric_dtype(values) or types.is_timedelta64_dtype(values):
        _place_numbers(found, name, values)
    elif types.is_datetime64_any_dtype(values):
        found.dates.append(name)
    else:
        numbers = pd.to_numeric(values, errors="coerce")
        sample = values.iloc[:_LOOKED_AT].astype(str)
        if (share := numbers.notna().mean()) >= ALMOST_ALL:
            if share < 1:
                odd = values[numbers.isna()].astype(str).iloc[0]
                count = int(numbers.isna().sum())
                found.remarks.append(f"{count} values of {name!r} are no numbers ({odd!r:.40}) and count as missing.")
            _place_numbers(found, name, numbers.dropna())
        elif sample.str.contains(r"^\d{4}-\d{2}", regex=True).mean() >= ALMOST_ALL:
            found.dates.append(name)
        elif sample.map(lambda value: len(value.split())).mean() >= _PROSE_WORDS:
            found.text.append(name)
        elif len(values) > 1 and values.astype(str).is_unique:
            found.left_out[name] = "each row has a value of its own"
        else:
            found.categories.append(name)


def _place_numbers(found: Columns, name: Any, values: pd.Series) -> None:
    if is_constant(values):
        found.left_out[name] = _CONSTANT
        return
    whole = types.is_integer_dtype(values) or (types.is_float_dtype(values) and bool((values % 1 == 0).all()))
    if whole and values.is_unique and values.is_monotonic_increasing:
        found.left_out[name] = "it numbers the rows"
    else:
        found.numbers.append(name)


class TableReader(TransformerMixin, BaseEstimator):
    """The columns of a table in the types that they are taken for; nothing is learned.

    Numbers become float64, with what is no number, or infinite, as missing; categories become text; dates become
    datetime64; missing text is empty.

    Parameters
    ----------
    columns : Columns, default=None
        As :func:`find_columns` finds them; ``None``: those of the table that is read.

    Examples
    --------
    >>> table = pd.DataFrame({"price": ["1.5", "2", "n/a"], "shop": [1, "a", None]})
    >>> TableReader(Columns(numbers=["price"], categories=["shop"])).fit_transform(table)
       price  shop
    0    1.5     1
    1    2.0     a
    2    NaN  None
    """

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Do nothing.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self
        """
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Read.

        Parameters
        ----------
        X : DataFrame

        Returns
        -------
        DataFrame
            The columns used, in their order.

        Raises
        ------
        ValueError
            If columns are missing.
        """
        columns = find_columns(X) if self.columns is None else self.columns
        missing = [name for name in columns.used if name not in X.columns]
        if missing:
            raise ValueError(f"The table lacks columns that were learned: {missing}.")
        read = {
            **{name: _as_numbers(X[name]) for name in columns.numbers},
            **{name: _as_text(X[name]).where(X[name].notna(), None) for name in columns.categories},
            **{name: _as_dates(X[name]) for name in columns.dates},
            **{name: _as_text(X[name]).where(X[name].notna(), "") for name in columns.text},
        }
        return pd.DataFrame(read, index=X.index)


def _as_numbers(column: pd.Series) -> pd.Series:
    if types.is_timedelta64_dtype(column):
        seconds: pd.Series = column.dt.total_seconds()
        return seconds
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _as_text(column: pd.Series) -> pd.Series:
    return column.astype(str).astype(object)


def _as_dates(column: pd.Series) -> pd.Series:
    dates = pd.to_datetime(column, errors="coerce", format=None if types.is_datetime64_any_dtype(column) else "ISO8601")
    read: pd.Series = dates.dt.tz_localize(None)
    return read


def make_table_pipeline(columns: Columns, estimator: Any, *, n_text_features: int = 1024) -> IncrementalPipeline:
    """Build the pipeline from a table as it comes to an estimator that learns incrementally.

    Numbers are filled with the median of the first rows and scaled; categories become columns of 0 and 1, with room
    for those that appear later; of dates the parts are taken; the words of text are hashed.

    Parameters
    ----------
    columns : Columns
        As :func:`find_columns` finds them.
    estimator : estimator with ``partial_fit``
    n_text_features : int, default=1024
        How many columns a column of text becomes.

    Returns
    -------
    IncrementalPipeline

    Raises
    ------
    ValueError
        If there is no column to learn from.

    Examples
    --------
    >>> from forgetless.estimators import NCMClassifier
    >>> sales = pd.DataFrame({"shop": list("abab"), "price": [1.5, 8.0, None, 7.0]})
    >>> model = make_table_pipeline(find_columns(sales), NCMClassifier()).partial_fit(sales, ["few", "many"] * 2)
    >>> model.predict(pd.DataFrame({"shop": ["c"], "price": [9.0]})).tolist()
    ['many']
    """
    if not columns.used:
        raise ValueError("The table has no column that anything can be learned from.")
    numbers = make_incremental_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    parts: list[tuple[str, Any, Any]] = [
        ("numbers", numbers, columns.numbers),
        ("categories", IncrementalOneHotEncoder(), columns.categories),
        ("dates", make_incremental_pipeline(DateParts(), StandardScaler()), columns.dates),
        *(
            (f"words of {name}", HashingVectorizer(n_features=n_text_features, dtype=np.float32), name)
            for name in columns.text
        ),
    ]
    encoder = IncrementalColumnTransformer([part for part in parts if part[2] != []], n_spare=0)
    return make_incremental_pipeline(TableReader(columns), encoder, estimator)
