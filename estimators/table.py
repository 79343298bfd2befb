"""Tables as they come: what each column is, and the numbers that it becomes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Hashable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas.api import types
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from .columns import IncrementalColumnTransformer
from .encoders import DateParts, IncrementalOneHotEncoder
from .parameters import Integral, at_least, check_parameters
from .pipeline import make_incremental_pipeline

ALMOST_ALL = 0.95
"""The share of a column's values that are numbers, or dates, in a column of them; the others count as missing."""

_PROSE_WORDS = 4.0  # words in a value of text, in the mean; names of categories have fewer
_CONSTANT = "it has one value only"
_LOOKED_AT = 2_000  # values of a column
_SHOWN = 20  # names of columns in a message


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

    def check_used(self) -> None:
        """Raise if nothing can be learned from any column.

        Raises
        ------
        ValueError
        """
        if not self.used:
            reasons = "; ".join(f"{name!r}: {why}" for name, why in self.left_out.items())
            raise ValueError(f"The table has no column that anything can be learned from ({reasons}).")


def check_unique(names: pd.Index) -> None:
    """Raise ValueError if columns have the same name.

    Parameters
    ----------
    names : Index
    """
    if not names.is_unique:
        raise ValueError(f"The table has columns of the same name: {names[names.duplicated()].unique().tolist()}.")


def shown_names(names: pd.Index) -> str:
    """Write names of columns for a message, of many the first.

    Parameters
    ----------
    names : Index

    Returns
    -------
    str
    """
    return ", ".join(map(repr, names[:_SHOWN])) + ", ..." * (len(names) > _SHOWN)


def find_columns(frame: pd.DataFrame, text: Collection[Hashable] = (), drop: Collection[Hashable] = ()) -> Columns:
    """Find out what each column of a table is.

    Parameters
    ----------
    frame : DataFrame
        Without the target.
    text : collection of str, default=()
        Columns that are text, whatever they look like.
    drop : collection of str, default=()
        Columns to leave aside.

    Returns
    -------
    Columns
        A column of text that is nearly always a number, or a date in ISO 8601, is taken for that; other text is prose
        if its values have four words or more in the mean, else categories. A column without values is taken for
        numbers.

    Raises
    ------
    ValueError
        If there is no column of a name in `text` or `drop`.

    Examples
    --------
    >>> sales = pd.DataFrame({"shop": list("abab"), "price": ["1.5", "2", "1", "3"], "when": ["2024-01-01", None] * 2})
    >>> columns = find_columns(sales)
    >>> columns.numbers, columns.categories, columns.dates
    (['price'], ['shop'], ['when'])
    """
    found = Columns()
    for name in (*text, *drop):
        if name not in frame.columns:
            raise ValueError(
                f"There is no column {name!r} to take for text or to drop; the columns are "
                f"{shown_names(frame.columns)}."
            )
    for name in frame.columns:
        if name in text:
            found.text.append(name)
        elif name not in drop:
            column = frame[name]
            _place(found, name, column if types.is_numeric_dtype(column) else column.dropna())
    return found


def _place(found: Columns, name: Any, values: pd.Series) -> None:
    """Put a column where it belongs."""
    if types.is_bool_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype):
        found.categories.append(name)
    elif values.empty or types.is_numeric_dtype(values) or types.is_timedelta64_dtype(values):
        found.numbers.append(name)
    elif types.is_datetime64_any_dtype(values):
        found.dates.append(name)
    else:
        no_number = pd.to_numeric(values, errors="coerce").isna()
        sample = values.iloc[:_LOOKED_AT].astype(str)
        if no_number.mean() <= 1 - ALMOST_ALL:
            if no_number.any():
                odd = str(values[no_number].iloc[0])
                found.remarks.append(
                    f"{int(no_number.sum())} values of {name!r} are no numbers ({odd!r:.40}) and count as missing."
                )
            found.numbers.append(name)
        elif sample.str.contains(r"^\d{4}-\d{2}", regex=True).mean() >= ALMOST_ALL:
            found.dates.append(name)
        elif sample.map(lambda value: len(value.split())).mean() >= _PROSE_WORDS:
            found.text.append(name)
        else:
            found.categories.append(name)


def leave_out(columns: Columns, frame: pd.DataFrame) -> Columns:
    """Leave out columns of a whole table from which nothing can be learned.

    They are those without values, those of one value, and those that only number the rows: whole numbers that rise from
    row to row, and names of which each row has its own. The first rows of a table do not tell: more may come.

    Parameters
    ----------
    columns : Columns
        From :func:`find_columns`.
    frame : DataFrame
        All rows.

    Returns
    -------
    Columns

    Examples
    --------
    >>> sales = pd.DataFrame({"id": range(4), "shop": list("abab"), "when": ["2024-01-01"] * 3 + [None]})
    >>> leave_out(find_columns(sales), sales).left_out
    {'id': 'it numbers the rows', 'when': 'it has one value only'}
    """
    read = _read(frame, columns)
    reasons = {
        **dict(zip(columns.numbers, _of_numbers(read[columns.numbers].to_numpy(dtype=np.float64)), strict=True)),
        **{name: _of_names(read[name].dropna(), True) for name in columns.categories},
        **{name: _of_names(read[name].dropna(), False) for name in [*columns.dates, *columns.text]},
    }
    left_out = {name: reasons[name] for name in frame.columns if reasons.get(name)}
    kept = {
        field: [name for name in getattr(columns, field) if name not in left_out]
        for field in ("numbers", "categories", "dates", "text")
    }
    return dataclasses.replace(columns, **kept, left_out={**columns.left_out, **left_out})


def _of_numbers(values: NDArray[np.float64]) -> list[str]:
    """Why numbers tell nothing, by column."""
    missing, n_rows = np.isnan(values), len(values)
    low = np.where(missing, np.inf, values).min(axis=0, initial=np.inf)
    high = np.where(missing, -np.inf, values).max(axis=0, initial=-np.inf)
    whole = (missing | (values % 1 == 0)).all(axis=0)
    rises = np.array([n_rows > 1 and bool((np.diff(row[~np.isnan(row)]) > 0).all()) for row in values.T], dtype=bool)
    reasons = np.select(
        [low > high, low == high, whole & rises], ["it has no values", _CONSTANT, "it numbers the rows"], ""
    )
    return [str(reason) for reason in reasons]


def _of_names(values: pd.Series, are_categories: bool) -> str:
    """Why categories, dates or texts tell nothing."""
    if values.empty:
        return "it has no values"
    if (values == values.iloc[0]).all():
        return _CONSTANT
    return "each row has a value of its own" if are_categories and values.is_unique else ""


class TableEncoder(TransformerMixin, BaseEstimator):
    """A table as it comes, as numbers: what each column is, is found out at the first call.

    Numbers are filled with the median of the first rows and scaled; what is no number, or infinite, counts as missing.
    Categories become columns of 0 and 1, with room for those that appear later; of dates the parts are taken; the words
    of text are hashed. Columns that are not known are ignored.

    Parameters
    ----------
    columns : Columns, default=None
        What the columns are; ``None``: as :func:`find_columns` finds them in the first rows.
    text : sequence of str, default=()
        Columns that are text, whatever they look like.
    drop : sequence of str, default=()
        Columns to leave aside.
    n_text_features : int, default=1024
        How many columns a column of text becomes.

    Attributes
    ----------
    columns_ : Columns
        What the columns are.
    encoder_ : IncrementalColumnTransformer
        What has learned.
    n_features_in_ : int

    Examples
    --------
    >>> from forgetless.estimators import NCMClassifier, make_incremental_pipeline
    >>> sales = pd.DataFrame({"shop": list("abab"), "price": ["1.5", "8", None, "7"]})
    >>> model = make_incremental_pipeline(TableEncoder(), NCMClassifier()).partial_fit(sales, ["few", "many"] * 2)
    >>> model.predict(pd.DataFrame({"shop": ["c"], "price": [9.0]})).tolist()
    ['many']
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"n_text_features": [at_least(1, Integral)]}
    output_keeps_meaning = True

    columns_: Columns
    encoder_: IncrementalColumnTransformer
    n_features_in_: int

    def __init__(
        self,
        columns: Columns | None = None,
        *,
        text: Sequence[Hashable] = (),
        drop: Sequence[Hashable] = (),
        n_text_features: int = 1024,
    ) -> None:
        self.columns = columns
        self.text = text
        self.drop = drop
        self.n_text_features = n_text_features

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Forget all and learn.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self
        """
        self.__dict__.pop("encoder_", None)
        return self.partial_fit(X)

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn scales and categories; at the first call, what the columns are.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no column to learn from, or columns are missing later.
        """
        check_parameters(self)
        first = not hasattr(self, "encoder_")
        frame = self._as_frame(X, reset=first)
        columns = (self.columns or find_columns(frame, self.text, self.drop)) if first else self.columns_
        columns.check_used()
        encoder = self._new_encoder(columns) if first else copy.deepcopy(self.encoder_)
        self.encoder_ = encoder.partial_fit(_read(frame, columns))
        self.columns_ = columns
        return self

    def _new_encoder(self, columns: Columns) -> IncrementalColumnTransformer:
        numbers = make_incremental_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
        )
        words = HashingVectorizer(n_features=self.n_text_features, dtype=np.float32)
        parts: list[tuple[str, Any, Any]] = [
            ("numbers", numbers, columns.numbers),
            ("categories", IncrementalOneHotEncoder(), columns.categories),
            ("dates", make_incremental_pipeline(DateParts(), StandardScaler()), columns.dates),
            *((f"words of {name}", words, name) for name in columns.text),
        ]
        return IncrementalColumnTransformer([part for part in parts if part[2] != []], n_spare=0)

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Encode.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)

        Raises
        ------
        ValueError
            If columns are missing.
        """
        check_is_fitted(self, "encoder_")
        return self.encoder_.transform(_read(self._as_frame(X, reset=False), self.columns_))

    def _as_frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Columns of an array have numbers; those of a table are found by name, so there may be others."""
        if hasattr(X, "columns"):
            frame = pd.DataFrame(X)
            check_unique(frame.columns)
            if reset:
                self.n_features_in_ = frame.shape[1]
            return frame
        rows = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
        return pd.DataFrame(rows, columns=[f"x{column}" for column in range(rows.shape[1])])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "encoder_")
        return self.encoder_.get_feature_names_out()


def _read(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The columns that are used, in the types that they are taken for."""
    missing = [name for name in columns.used if name not in frame.columns]
    if missing:
        raise ValueError(f"The table lacks columns that were learned: {missing}.")
    floats = set(frame.columns[frame.dtypes.isin([np.dtype(np.float64), np.dtype(np.float32)])])
    ready = [name for name in columns.numbers if name in floats]
    read = {
        **{name: _as_numbers(frame[name]) for name in columns.numbers if name not in floats},
        **{name: _as_text(frame[name]).where(frame[name].notna(), None) for name in columns.categories},
        **{name: _as_dates(frame[name]) for name in columns.dates},
        **{name: _as_text(frame[name]).where(frame[name].notna(), "") for name in columns.text},
    }
    block = frame[ready].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    return pd.concat([block, pd.DataFrame(read, index=frame.index)], axis=1)[columns.used]


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
