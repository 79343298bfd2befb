"""The data set: training and test arrays with their metadata."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

RandomState = int | np.random.RandomState | None
"""What scikit-learn takes as ``random_state``."""


# eq=False: comparing arrays has no single truth value; `fingerprint` says whether two data sets are the same.
@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set with a fixed training and test part.

    Arrays are converted to the types and the memory layout below; an array that has them already is not copied.

    Parameters
    ----------
    name : str
        Short name, as it appears in streams and reports.
    X_train : array-like of shape (n_train, n_features)
        Training inputs; kept as float32 in C order.
    y_train : array-like of shape (n_train,)
        Training labels: numbers or strings, none missing.
    X_test : array-like of shape (n_test, n_features)
        Test inputs; kept as float32 in C order.
    y_test : array-like of shape (n_test,)
        Test labels.
    image_shape : tuple of int, default=None
        ``(channels, height, width)`` if the rows are flattened images.
    feature_names : list of str, default=None
        One name per column.
    description : str, default=""
        What the data are, their source and their preparation.

    Attributes
    ----------
    classes : ndarray
        The labels that occur in `y_train`, sorted.
    fingerprint : str
        Hexadecimal SHA-256 of the four arrays (bytes, types and shapes). Computed once, on first access: do not change
        the arrays in place.

    Raises
    ------
    ValueError
        If the arrays do not fit together or labels are missing.

    Examples
    --------
    >>> from forgetless.datasets import Dataset
    >>> data = Dataset("spots", [[0.0, 1.0], [1.0, 0.0]], ["up", "down"], [[0.1, 0.9]], ["up"])
    >>> data
    Dataset('spots': 2 training rows, 1 test row, 2 features, 2 classes)
    >>> data.classes.tolist()
    ['down', 'up']
    >>> data.X_train.dtype
    dtype('float32')
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    image_shape: tuple[int, int, int] | None = None
    feature_names: list[str] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            X = _as_inputs(getattr(self, f"X_{part}"), f"X_{part}")
            y = _as_labels(getattr(self, f"y_{part}"), f"y_{part}")
            if X.ndim != 2:
                raise ValueError(
                    f"X_{part} must have two dimensions (rows, features), but its shape is {X.shape}; flatten images "
                    "with X.reshape(len(X), -1), and give image_shape."
                )
            if 0 in X.shape:
                raise ValueError(f"X_{part} must have at least one row and one feature, but its shape is {X.shape}.")
            if len(X) != len(y):
                raise ValueError(
                    f"X_{part} has {len(X)} rows but y_{part} has {len(y)} labels; give one label per row."
                )
            object.__setattr__(self, f"X_{part}", X)
            object.__setattr__(self, f"y_{part}", y)

        n_features = self.X_train.shape[1]
        if self.X_test.shape[1] != n_features:
            raise ValueError(f"X_train has {n_features} features but X_test has {self.X_test.shape[1]}.")
        if self.image_shape is not None and math.prod(self.image_shape) != n_features:
            raise ValueError(f"image_shape {self.image_shape} does not match the {n_features} features of a row.")
        if self.feature_names is not None and len(self.feature_names) != n_features:
            raise ValueError(f"feature_names has {len(self.feature_names)} names for {n_features} features.")

    @cached_property
    def classes(self) -> np.ndarray:
        """The labels that occur in `y_train`, sorted."""
        return np.unique(self.y_train)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the four arrays: their bytes, types and shapes."""
        digest = hashlib.sha256()
        for array in (self.X_train, self.y_train, self.X_test, self.y_test):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        def count(n: int, one: str, many: str) -> str:
            return f"{n} {one if n == 1 else many}"

        parts = (
            count(len(self.X_train), "training row", "training rows"),
            count(len(self.X_test), "test row", "test rows"),
            count(self.X_train.shape[1], "feature", "features"),
            count(len(self.classes), "class", "classes"),
        )
        return f"Dataset({self.name!r}: {', '.join(parts)})"


def _as_inputs(X: Any, name: str) -> np.ndarray:
    """Return inputs as float32 in C order; what float32 cannot hold is refused."""
    if hasattr(X, "toarray"):
        raise ValueError(f"{name} is sparse, but data sets are dense; give {name}.toarray().")
    dtypes = getattr(X, "dtypes", None)
    types = [getattr(X, "dtype", None)] if dtypes is None else list(dtypes) if np.ndim(dtypes) else [dtypes]
    if any(getattr(dtype, "kind", "") in ("M", "m") for dtype in types):
        raise ValueError(f"{name} has dates or durations; give numbers instead, such as days since a first date.")
    try:
        given = np.asarray(X)
        with np.errstate(over="ignore"):
            inputs = np.asarray(given, dtype=np.float32, order="C")
    except TypeError as error:
        if "NAType" in str(error):
            raise ValueError(f"{name} has missing values (pandas.NA); fill or drop them.") from error
        raise
    if given.dtype != np.float32 and given.dtype.kind in "biuf" and np.isinf(inputs).any():
        too_large = np.argwhere(np.isinf(inputs) & np.isfinite(given))
        if len(too_large):
            place = tuple(too_large[0])
            raise ValueError(
                f"{name} has the value {given[place]:g} in column {place[-1]}, which float32 cannot hold; scale it."
            )
    return inputs


def _as_labels(y: object, name: str) -> np.ndarray:
    """Return labels as a C-order array of numbers or fixed-width strings, whose bytes can be hashed."""
    labels = np.asarray(y)
    if labels.dtype.kind in "OT":  # text from pandas: pointers, which cannot be hashed
        values = labels.tolist()
        if len({isinstance(value, str) for value in values}) == 1:  # numpy would turn a mixture into strings
            labels = np.array(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} must have one dimension, but its shape is {labels.shape}.")
    if labels.dtype.kind not in "biufU" or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise ValueError(f"{name} must hold either numbers or strings, none missing.")
    return np.ascontiguousarray(labels)
