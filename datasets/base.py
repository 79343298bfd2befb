"""The data set: training and test rows with their metadata."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias

import numpy as np

RandomState = int | np.random.RandomState | None
"""What scikit-learn takes as ``random_state``."""

Inputs: TypeAlias = Any
"""Rows of inputs: an ndarray, a pandas DataFrame, or a sparse matrix in CSR format."""

Targets: TypeAlias = Any
"""An ndarray of labels or of numbers."""

Kind = Literal["classification", "regression"]
"""What the targets are: labels of classes, or numbers."""


# eq=False: comparing arrays has no single truth value; `fingerprint` says whether two data sets are the same.
@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with a training part and, unless streams hold rows out themselves, a test part.

    Inputs stay as they are, where a pipeline can use them: float64 stays float64, and a DataFrame keeps categories,
    text and dates. What is in order already is not copied.

    Parameters
    ----------
    name : str
        Short name, as it appears in streams and reports.
    X_train : array-like, DataFrame or sparse matrix of shape (n_train, n_features)
        Training inputs. Arrays and sparse matrices are kept as float32 or float64, whichever they are; other numbers
        become float64. Sparse matrices are kept in CSR format. Images of shape (n_train, channels, height, width)
        become flat rows with an `image_shape`.
    y_train : array-like of shape (n_train,)
        Training targets: labels (numbers or strings) or, for regression, numbers; none missing. Categorical and
        nullable columns become plain arrays.
    X_test : array-like, DataFrame or sparse matrix of shape (n_test, n_features), default=None
        Test inputs, of the same kind. ``None``, or no rows: the data set has no test part, as is right for rows in
        their order of time, where the experiences of a stream hold out rows of their own; :meth:`split` draws one.
    y_test : array-like of shape (n_test,), default=None
        Test targets.
    image_shape : tuple of int, default=None
        ``(channels, height, width)`` if the rows are flattened images.
    feature_names : list of str, default=None
        One name per column; those of a DataFrame are taken from it.
    description : str, default=""
        What the data are, their source and their preparation.
    kind : {"classification", "regression"}, default=None
        What the targets are. ``None``: numbers with fractions are for regression, all others are labels. Whole numbers
        that are amounts (counts, minutes) must be said to be for regression.
    allow_nan : bool, default=False
        Whether inputs may have missing values, for pipelines that fill them and estimators that take them.

    Attributes
    ----------
    classes : ndarray
        The labels that occur in `y_train`, sorted; empty for regression.
    fingerprint : str
        Hexadecimal SHA-256 of inputs and targets (values, types and shapes). Computed once, on first access: do not
        change the arrays in place.

    Raises
    ------
    ValueError
        If the parts do not fit together, or something is missing or of a type that is not taken.

    Examples
    --------
    >>> from forgetless.datasets import Dataset
    >>> data = Dataset("spots", [[0.0, 1.0], [1.0, 0.0]], ["up", "down"], [[0.1, 0.9]], ["up"])
    >>> data
    Dataset('spots': 2 training rows, 1 test row, 2 features, 2 classes)
    >>> data.classes.tolist()
    ['down', 'up']
    >>> Dataset("prices", [[1.0], [2.0], [3.0]], [1.5, 2.5, 3.5])
    Dataset('prices': 3 training rows, no test rows, 1 feature, regression)
    """

    name: str
    X_train: Inputs
    y_train: Targets
    X_test: Inputs = None
    y_test: Targets = None
    image_shape: tuple[int, int, int] | None = None
    feature_names: list[str] | None = None
    description: str = ""
    kind: Kind = None  # type: ignore[assignment]  # one of the two as soon as it is made
    allow_nan: bool = False

    def __post_init__(self) -> None:
        train, test = (self.X_train, self.y_train), (self.X_test, self.y_test)
        if np.ndim(train[0]) == 4:
            object.__setattr__(self, "image_shape", self.image_shape or np.shape(train[0])[1:])
        X_train, y_train = _as_rows(*train, "train", self.allow_nan)
        if 0 in X_train.shape:
            raise ValueError(f"X_train must have at least one row and one feature, but its shape is {X_train.shape}.")
        if (test[0] is None) != (test[1] is None):
            raise ValueError("Give both X_test and y_test, or neither.")
        no_test_part = test[0] is None or np.shape(test[1]) == (0,)
        X_test, y_test = (X_train[:0], y_train[:0]) if no_test_part else _as_rows(*test, "test", self.allow_nan)
        object.__setattr__(self, "kind", _checked_kind(self.kind, y_train, y_test))
        if self.kind == "regression":
            y_train, y_test = y_train.astype(np.float64, copy=False), y_test.astype(np.float64, copy=False)
        for name, value in {"X_train": X_train, "y_train": y_train, "X_test": X_test, "y_test": y_test}.items():
            object.__setattr__(self, name, value)

        n_features = X_train.shape[1]
        if X_test.shape[1] != n_features:
            raise ValueError(f"X_train has {n_features} features but X_test has {X_test.shape[1]}.")
        train_labels, test_labels = (type_of_labels(y) for y in (y_train, y_test))
        if train_labels != test_labels:
            raise ValueError(f"y_train has {train_labels} but y_test has {test_labels}; give both alike.")
        train_form, test_form = (form(X) for X in (X_train, X_test))
        if train_form != test_form:
            raise ValueError(f"X_train is {train_form} but X_test is {test_form}; give both alike.")
        if hasattr(X_train, "columns"):
            if not X_train.columns.equals(X_test.columns):
                raise ValueError("X_train and X_test must have the same columns in the same order.")
            object.__setattr__(self, "feature_names", [str(column) for column in X_train.columns])
        if self.image_shape is not None and math.prod(self.image_shape) != n_features:
            raise ValueError(f"image_shape {self.image_shape} does not match the {n_features} features of a row.")
        if self.feature_names is not None and len(self.feature_names) != n_features:
            raise ValueError(f"feature_names has {len(self.feature_names)} names for {n_features} features.")

    @cached_property
    def classes(self) -> np.ndarray:
        """The labels that occur in `y_train`, sorted; empty for regression."""
        return np.unique(self.y_train) if self.kind == "classification" else np.empty(0)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of inputs and targets, and what the targets are: values, types and shapes."""
        return fingerprint(self.X_train, self.y_train, self.X_test, self.y_test, np.array(self.kind))

    def split(self, test_size: float = 0.2, random_state: RandomState = 0) -> Self:
        """Draw a test part from the training rows, stratified by class where there are classes.

        Parameters
        ----------
        test_size : float, default=0.2
            Share of the rows.
        random_state : int, RandomState instance or None, default=0
            Draws them.

        Returns
        -------
        Dataset
            A new one.

        Raises
        ------
        ValueError
            If there is a test part already, or there are too few rows.

        Examples
        --------
        >>> from forgetless.datasets import Dataset
        >>> Dataset("ten", [[float(i)] for i in range(10)], [0, 1] * 5).split()
        Dataset('ten': 8 training rows, 2 test rows, 1 feature, 2 classes)
        """
        from sklearn.model_selection import train_test_split

        if len(self.y_test):
            raise ValueError(f"{self.name!r} has a test part already.")
        X_train, X_test, y_train, y_test = train_test_split(
            self.X_train,
            self.y_train,
            test_size=test_size,
            stratify=self.y_train if self.kind == "classification" else None,
            random_state=random_state,
        )
        return replace(self, X_train=X_train, y_train=y_train, X_test=X_test, y_test=y_test)

    def __repr__(self) -> str:
        def count(n: int, one: str, many: str) -> str:
            return f"{n or 'no'} {one if n == 1 else many}"

        parts = (
            count(len(self.y_train), "training row", "training rows"),
            count(len(self.y_test), "test row", "test rows"),
            count(self.X_train.shape[1], "feature", "features"),
            count(len(self.classes), "class", "classes") if self.kind == "classification" else self.kind,
        )
        return f"Dataset({self.name!r}: {', '.join(parts)})"


def every_fifth(labels: np.ndarray) -> np.ndarray:
    """Mark every fifth row of each class, for testing where data come without a test part.

    Parameters
    ----------
    labels : ndarray of shape (n,)

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> every_fifth(np.array(["a", "a", "a", "b", "a", "a"])).tolist()
    [False, False, False, False, False, True]
    """
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        marked[np.flatnonzero(labels == label)[4::5]] = True
    return marked


def fingerprint(*parts: Inputs) -> str:
    """Hash inputs and targets.

    Parameters
    ----------
    *parts : ndarray, DataFrame or sparse matrix

    Returns
    -------
    str
        Hexadecimal SHA-256 of their values, types, shapes and columns' names, the same in every process.

    Examples
    --------
    >>> fingerprint(np.array([1, 2])) == fingerprint(np.array([1.0, 2.0]))
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        for array in _plain_arrays(part):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def form(X: Inputs) -> str:
    """Say what holds the inputs.

    Parameters
    ----------
    X : ndarray, DataFrame or sparse matrix

    Returns
    -------
    str

    Examples
    --------
    >>> form(np.eye(2))
    'an array'
    """
    return "a DataFrame" if hasattr(X, "columns") else "a sparse matrix" if hasattr(X, "tocsr") else "an array"


def type_of_labels(y: Targets) -> str:
    """Say whether targets are text or numbers.

    Parameters
    ----------
    y : ndarray

    Returns
    -------
    str

    Examples
    --------
    >>> type_of_labels(np.array(["a", "b"]))
    'text'
    """
    return "text" if y.dtype.kind == "U" else "numbers"


def _plain_arrays(part: Inputs) -> Iterator[np.ndarray]:
    """Yield arrays without pointers that say all that a part says."""
    if hasattr(part, "columns"):
        for name, column in part.items():
            yield np.array(repr(name))
            yield from _plain_arrays(column)
    elif hasattr(part, "cat"):
        yield np.array(f"ordered={part.cat.ordered}")
        yield from _plain_arrays(part.cat.categories.to_series())
        yield part.cat.codes.to_numpy()
    elif hasattr(part, "tocsr"):
        yield from (np.array(part.shape), part.data, part.indices.astype(np.int64), part.indptr.astype(np.int64))
    elif part.dtype == object:
        yield np.array([f"{type(value).__name__} {value!r}" for value in np.asarray(part).ravel()], dtype=np.str_)
        yield np.array(part.shape)
    elif hasattr(part, "iloc"):
        from pandas.util import hash_pandas_object

        yield np.array(str(part.dtype))
        yield hash_pandas_object(part, index=False).to_numpy()
    else:
        yield part


def _as_rows(X: Any, y: Any, part: str, allow_nan: bool) -> tuple[Inputs, np.ndarray]:
    """Return inputs and targets of a part in the agreed form."""
    rows, targets = _as_inputs(X, f"X_{part}", allow_nan), _as_targets(y, f"y_{part}")
    if rows.shape[0] != len(targets):
        raise ValueError(
            f"X_{part} has {rows.shape[0]} rows but y_{part} has {len(targets)} targets; give one per row."
        )
    return rows, targets


def _readable(values: Any) -> Any:
    """Return what numpy can read: not a tensor on a GPU, with gradients, or of a type that numpy lacks."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return tensor.double() if str(tensor.dtype) == "torch.bfloat16" else tensor


def _as_inputs(X: Any, name: str, allow_nan: bool) -> Inputs:
    """Return a frame, a sparse matrix, or an array of float32 or float64 in C order."""
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        inputs = X.reset_index(drop=True)
        missing = [str(column) for column, holes in inputs.isna().any().items() if holes]
        where = f" in {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
    elif hasattr(X, "tocsr"):
        inputs = X.tocsr().astype(_float_type(X.dtype, name), copy=False)
        if not inputs.has_canonical_format:
            inputs = inputs.copy()  # not the user's own
            inputs.sum_duplicates()
        missing, where = np.isnan(inputs.data).any(), ""
    else:
        given = np.asarray(_readable(X))
        inputs = np.asarray(given, dtype=_float_type(given.dtype, name), order="C")
        if np.ma.is_masked(X):
            inputs = np.where(np.ma.getmaskarray(X), np.nan, inputs)
        if inputs.ndim == 4:
            inputs = inputs.reshape(len(inputs), -1)
        if inputs.ndim != 2:
            raise ValueError(
                f"{name} must have two dimensions (rows, features), or four as images (rows, channels, height, width), "
                f"but its shape is {inputs.shape}; give X.reshape(len(X), -1)."
            )
        missing, where = inputs.size and np.isnan(inputs.min()), ""
    if missing and not allow_nan:
        raise ValueError(
            f"{name} has missing values{where}; fill or drop them, or give allow_nan=True where a pipeline fills them."
        )
    return inputs


def _float_type(dtype: Any, name: str) -> Any:
    if dtype in (np.float32, np.float64):
        return dtype
    if dtype.kind in "biuf":
        return np.float64
    if dtype.kind in "Mm":
        raise ValueError(
            f"{name} has dates or durations; give numbers, such as days since a first date, or a DataFrame."
        )
    raise ValueError(
        f"{name} is an array of {dtype}; give numbers, none missing, or a DataFrame, whose columns have types."
    )


def _as_targets(y: Any, name: str) -> np.ndarray:
    """Return targets as a C-order array of numbers or fixed-width strings, whose bytes can be hashed."""
    # As objects if y is a list: numpy would turn a mixture into strings.
    targets = np.asarray(_readable(y), dtype=None if hasattr(y, "dtype") else object)
    if targets.dtype.kind in "OT":  # pointers, which cannot be hashed
        is_text = {isinstance(value, str) for value in targets.ravel()}
        if len(is_text) < 2:
            targets = np.array(targets.tolist())
    if targets.ndim != 1:
        raise ValueError(f"{name} must have one dimension, but its shape is {targets.shape}.")
    missing = np.ma.is_masked(y) or (targets.dtype.kind == "f" and np.isnan(targets).any())
    if missing or targets.dtype.kind not in "biufU":
        raise ValueError(f"{name} must hold either numbers or strings, none missing.")
    return np.ascontiguousarray(targets)


def _checked_kind(kind: Kind | None, *targets: np.ndarray) -> Kind:
    """Return what the targets are."""
    numbers = all(each.dtype.kind in "biuf" for each in targets)
    if kind is None:
        fractions = numbers and any((each != np.floor(each)).any() for each in targets if each.dtype.kind == "f")
        kind = "regression" if fractions else "classification"
    if kind not in ("classification", "regression"):
        raise ValueError(f"kind must be 'classification' or 'regression', got {kind!r}.")
    if kind == "regression" and not (numbers and all(np.isfinite(each).all() for each in targets)):
        raise ValueError("For regression, y_train and y_test must hold finite numbers.")
    return kind
