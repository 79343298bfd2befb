"""Encoders of categories that may appear at any time, and of dates."""

import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from .parameters import Integral, Real, at_least, check_parameters


class CategoryEncoder(TransformerMixin, BaseEstimator):
    """What encoders share: the categories of each column, each with a number that it keeps.

    The categories of one call are sorted, numbers first; those of later calls come after them. Missing values (NaN,
    None, pandas' NA and NaT) are one category like any other, the last of its call.
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"max_categories": [at_least(1, Integral)]}
    output_keeps_meaning = True

    max_categories: int
    categories_: list[NDArray[Any]]
    rooms_: NDArray[np.int64]
    n_first_: list[int]
    n_features_in_: int

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.allow_nan = True
        return tags

    def room(self, n_first: int) -> int:
        """How many categories a column may have that had so many in the first call."""
        return self.max_categories

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Forget all and learn the categories of each column.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self
        """
        check_parameters(self)
        columns = list(self._columns(X, reset=True))
        rooms = np.array([self.room(values.nunique(dropna=False)) for values in columns])
        self.categories_ = [
            self._extended(np.empty(0, dtype=object), values, room, column)
            for column, (values, room) in enumerate(zip(columns, rooms, strict=True))
        ]
        self.rooms_, self.n_first_ = rooms, [len(categories) for categories in self.categories_]
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn categories that are new.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self

        Warns
        -----
        UserWarning
            If a column has more categories than there is room for; those without room are as if never seen.
        """
        if not hasattr(self, "categories_"):
            return self.fit(X)
        check_parameters(self)
        self.categories_ = [
            self._extended(known, values, room, column)
            for column, (known, values, room) in enumerate(
                zip(self.categories_, self._columns(X, reset=False), self.rooms_, strict=True)
            )
        ]
        return self

    def _extended(self, known: NDArray[Any], values: "pd.Series[Any]", room: int, column: int) -> NDArray[Any]:
        """The categories of a column with those that are new in it, the most frequent where not all have room."""
        counts = values.value_counts(dropna=False, sort=False)
        new = counts[_codes(known, counts.index) < 0]
        new = new.iloc[sorted(range(len(new)), key=lambda i: _rank(new.index[i]))]
        free = room - len(known)
        if len(new) > free:
            name = getattr(self, "feature_names_in_", range(self.n_features_in_))[column]
            warnings.warn(
                f"Column {name!r} has more categories than the {room} that {type(self).__name__} has room for; the "
                "others are encoded as if never seen. Give it a larger max_categories (and n_spare, where it has one), "
                "or hash the column.",
                stacklevel=4,
            )
            kept = np.sort(np.argsort(-new.to_numpy(), kind="stable")[:free])
            new = new.iloc[kept]
        return np.concatenate([known, new.index.to_numpy(dtype=object)])

    def _columns(self, X: ArrayLike, *, reset: bool) -> Iterator["pd.Series[Any]"]:
        rows = validate_data(self, X, dtype=None, ensure_all_finite=False, reset=reset)
        for column in rows.T:
            values = pd.Series(column, dtype=object)
            yield values.where(values.notna(), np.nan)

    def codes(self, X: ArrayLike) -> NDArray[np.int64]:
        """The number of each value's category, −1 where there is none; shape (n_samples, n_features)."""
        check_is_fitted(self)
        columns = self._columns(X, reset=False)
        return np.column_stack([_codes(known, values) for known, values in zip(self.categories_, columns, strict=True)])


def _codes(known: NDArray[Any], values: Any) -> NDArray[np.int64]:
    return np.asarray(pd.Index(known, dtype=object).get_indexer(pd.Index(values, dtype=object)), dtype=np.int64)


def _rank(category: Any) -> tuple[int, Any]:
    """What categories of any types are sorted by."""
    if pd.isna(category):
        return 2, 0
    return (0, category) if isinstance(category, Real) else (1, str(category))


class IncrementalOrdinalEncoder(OneToOneFeatureMixin, CategoryEncoder):
    """Categories as numbers 0, 1, ...; those that appear later get the next ones, and all others stay.

    At the first call it is scikit-learn's ``OrdinalEncoder``. Missing values are a category of their own.

    Parameters
    ----------
    max_categories : int, default=10_000
        How many categories of a column are kept: its memory. The most frequent ones of a call come first; those without
        room are as if never seen, with a warning.
    unknown_value : float, default=-1
        For categories never learned.

    Attributes
    ----------
    categories_ : list of ndarray
        Of each column the categories, in the order of their numbers.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where the columns have names.

    Examples
    --------
    >>> from forgetless.estimators import IncrementalOrdinalEncoder
    >>> encoder = IncrementalOrdinalEncoder().partial_fit([["red"], ["blue"]]).partial_fit([["green"], ["red"]])
    >>> encoder.transform([["blue"], ["red"], ["green"], ["pink"]]).ravel()
    array([ 0.,  1.,  2., -1.])
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"unknown_value": [Real]}

    def __init__(self, *, max_categories: int = 10_000, unknown_value: float = -1) -> None:
        self.max_categories = max_categories
        self.unknown_value = unknown_value

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Encode.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        codes = self.codes(X)
        return np.where(codes < 0, self.unknown_value, codes.astype(np.float64))


class IncrementalOneHotEncoder(CategoryEncoder):
    """Categories as columns of 0 and 1, some of which are held free for categories that appear later.

    The width is fixed at the first call, so any estimator can learn from it. For a model a column that was always 0 is
    as good as one that was not there: its gradient, its mean and its products with others are 0 until its category
    appears. Missing values are a category of their own; rows of a category never learned are 0 everywhere.

    Parameters
    ----------
    n_spare : int, default=8
        How many columns are held free for each input column.
    max_categories : int, default=256
        How many columns an input column may become at most, free ones included. The most frequent categories of a call
        come first; those without a column are as if never seen, with a warning.

    Attributes
    ----------
    categories_ : list of ndarray
        Of each input column the categories, in the order of their columns.
    rooms_ : ndarray of int, shape (n_features,)
        How many columns each input column becomes.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where the columns have names.

    Examples
    --------
    >>> from forgetless.estimators import IncrementalOneHotEncoder
    >>> encoder = IncrementalOneHotEncoder(n_spare=1).partial_fit([["red"], ["blue"]]).partial_fit([["green"]])
    >>> encoder.transform([["red"], ["green"], ["pink"]])
    array([[0., 1., 0.],
           [0., 0., 1.],
           [0., 0., 0.]])
    >>> encoder.get_feature_names_out(["colour"]).tolist()
    ['colour_blue', 'colour_red', 'colour_new0']
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"n_spare": [at_least(0, Integral)]}

    def __init__(self, *, n_spare: int = 8, max_categories: int = 256) -> None:
        self.n_spare = n_spare
        self.max_categories = max_categories

    def room(self, n_first: int) -> int:
        """How many categories a column may have that had so many in the first call."""
        return min(n_first + self.n_spare, self.max_categories)

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Encode.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        codes = self.codes(X)
        rows, columns = np.nonzero(codes >= 0)
        starts = np.cumsum(self.rooms_) - self.rooms_
        encoded = np.zeros((len(codes), self.rooms_.sum()))
        encoded[rows, starts[columns] + codes[rows, columns]] = 1
        return encoded

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns of :meth:`transform`, which never change.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; None: those of the data, or ``x0``, ``x1``, ...

        Returns
        -------
        ndarray of str
            ``column_category`` for categories of the first call, ``column_new0``, ... for columns held free then.
        """
        check_is_fitted(self)
        names = names_in(self, input_features)
        return np.array(
            [
                f"{name}_{known[slot]}" if slot < n_first else f"{name}_new{slot - n_first}"
                for name, known, n_first, room in zip(names, self.categories_, self.n_first_, self.rooms_, strict=True)
                for slot in range(room)
            ],
            dtype=object,
        )


class DateParts(TransformerMixin, BaseEstimator):
    """Dates as small numbers: how long ago, and where in the year, the week and the day.

    The year comes as decades since 2000, on a line; the day of the year, the day of the week and the time of day as
    sine and cosine, so that December is beside January, and Sunday beside Monday. Nothing is learned, so old and new
    rows become the same numbers in any call. Missing dates are 0 everywhere.

    Parameters
    ----------
    format : str, default="ISO8601"
        For columns of text, as ``pandas.to_datetime`` takes it: ``"%d.%m.%Y"``, for example. Numbers are seconds since
        1970. Times with a zone count as the clock there shows them.

    Examples
    --------
    >>> import pandas as pd
    >>> from forgetless.estimators import DateParts
    >>> sales = pd.DataFrame({"sold": ["2024-01-01 06:00", None]})
    >>> DateParts().fit_transform(sales).round(2)
    array([[2.4 , 0.  , 1.  , 0.22, 0.97, 1.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  , 0.  , 0.  , 0.  ]])
    >>> DateParts().fit(sales).get_feature_names_out().tolist()[:3]
    ['sold_decades', 'sold_year_sin', 'sold_year_cos']
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {"format": [str]}

    n_features_in_: int

    def __init__(self, *, format: str = "ISO8601") -> None:
        self.format = format

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.allow_nan = True
        tags.requires_fit = False
        return tags

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Note the columns; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self
        """
        check_parameters(self)
        validate_data(self, X, dtype=None, ensure_all_finite=False)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Dates as numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, 7 * n_features)

        Raises
        ------
        ValueError
            If a value is no date in this format.
        """
        check_parameters(self)
        rows = validate_data(self, X, dtype=None, ensure_all_finite=False, reset=False)
        return np.hstack([self._parts(column) for column in rows.T])

    def _parts(self, column: NDArray[Any]) -> NDArray[np.float64]:
        dates = pd.Series(column).infer_objects()
        how: dict[str, Any] = {"unit": "s"} if pd.api.types.is_numeric_dtype(dates) else {"format": self.format}
        when = pd.to_datetime(dates, **how).dt.tz_localize(None)
        midnight = when.dt.normalize()
        day = (when - midnight) / pd.Timedelta(days=1)
        year = (when.dt.day_of_year - 1 + day) / (365 + when.dt.is_leap_year)
        turns = 2 * np.pi * np.column_stack([year, (when.dt.day_of_week + day) / 7, day])
        decades = (when.dt.year - 2000 + year) / 10
        waves = np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(len(turns), -1)
        parts: NDArray[np.float64] = np.nan_to_num(np.column_stack([decades, waves]))
        return parts

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; None: those of the data, or ``x0``, ``x1``, ...

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        waves = [f"{period}_{wave}" for period in ("year", "week", "day") for wave in ("sin", "cos")]
        return np.array(
            [f"{name}_{part}" for name in names_in(self, input_features) for part in ("decades", *waves)], dtype=object
        )


def names_in(estimator: Any, input_features: ArrayLike | None) -> list[str]:
    """Names of the inputs of a fitted estimator: those given, those of the data, or ``x0``, ``x1``, ...

    Parameters
    ----------
    estimator : estimator
    input_features : array-like of str or None

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If those given are not those of the data.
    """
    known = getattr(estimator, "feature_names_in_", None)
    if input_features is None:
        return [f"x{column}" for column in range(estimator.n_features_in_)] if known is None else list(known)
    given = list(np.asarray(input_features, dtype=object))
    if known is not None and given != list(known):
        raise ValueError("input_features is not equal to feature_names_in_")
    if len(given) != estimator.n_features_in_:
        raise ValueError(
            f"input_features should have length equal to number of features ({estimator.n_features_in_}), got "
            f"{len(given)}"
        )
    return given
