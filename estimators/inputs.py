"""What comes in at the door: task ids as values, and errors that say what to do about rows that cannot be learned."""

from collections.abc import Hashable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array

from .engine.capacity import require_memory

# The fourth power of larger values overflows float32: squared gradients of squared outputs, as in Adam and Fisher.
_LARGEST = float(np.finfo(np.float32).max) ** 0.25


def as_task(task_id: Any, n_rows: int) -> Hashable:
    """A task id as a value that can be compared, hashed and pickled.

    Parameters
    ----------
    task_id : object
        None, a hashable value, a number or text of NumPy or torch, or an array, a tensor, a Series or a list that has
        the same one for each row.
    n_rows : int

    Returns
    -------
    hashable

    Raises
    ------
    ValueError
        If it is missing (NaN), differs from row to row, is not one for each row, or cannot be hashed.

    Examples
    --------
    >>> as_task(torch.tensor(3), 5), as_task(np.array(["a", "a"]), 2)
    (3, 'a')
    """
    task_id = on_host(task_id)
    if isinstance(task_id, list) or (hasattr(task_id, "__array__") and not isinstance(task_id, type)):
        ids = np.asarray(task_id)
        if ids.ndim:
            if ids.shape not in ((n_rows,), (n_rows, 1)):
                raise ValueError(
                    f"task_id has the shape {ids.shape} for {n_rows} rows; give one value, or the same value for each "
                    "row."
                )
            values = list(dict.fromkeys(ids.ravel().tolist()))
            if len(values) > 1:
                raise ValueError(
                    f"task_id has several values, {values[0]!r} and {values[1]!r} among them, but a call is of one "
                    "task; split the rows by task, and make a call for each: X[task_id == t] with task_id=t."
                )
            task_id = values[0]
        else:
            task_id = ids.item()
    try:
        hash(task_id)
    except TypeError:
        raise ValueError(f"task_id is a {type(task_id).__name__}; give a number, text or a tuple of them.") from None
    if _is_missing(task_id):
        raise ValueError(f"task_id is {task_id!r}, which is missing; give a value, or None where there are no tasks.")
    return cast(Hashable, task_id)


def _is_missing(value: Any) -> bool:
    """Whether a value is one that does not equal itself: NaN, NaT, pandas' NA."""
    if value is None or isinstance(value, str):
        return False
    try:
        return not bool(value == value)
    except TypeError:  # pandas' NA has no truth value
        return True


def on_host(values: Any) -> Any:
    """A tensor as an array, wherever it is and whatever autograd knows of it; anything else as it is.

    Parameters
    ----------
    values : object
        A tensor, a list of tensors, or anything else.

    Returns
    -------
    object
        Numbers of a type that NumPy lacks, such as bfloat16, as float32.

    Raises
    ------
    TypeError
        If a tensor is sparse, quantized, nested or without data.
    """
    if isinstance(values, list) and values and torch.is_tensor(values[0]):
        return [on_host(value) for value in values]
    if not torch.is_tensor(values):
        return values
    if values.layout != torch.strided or values.is_quantized or values.is_nested or values.is_meta:
        raise TypeError(
            f"A tensor of type {values.dtype} and layout {values.layout} on device {values.device} is no array; give a "
            "plain tensor that has data: to_dense() of a sparse one, dequantize() of a quantized one."
        )
    if values.is_floating_point() and values.dtype not in (torch.float16, torch.float32, torch.float64):
        values = values.float()
    return values.numpy(force=True)


def as_rows(X: Any) -> Any:
    """Images of shape (n, channels, height, width) as flat rows, sparse rows as dense ones, and all else as it is.

    Parameters
    ----------
    X : array-like, sparse matrix or DataFrame of sparse columns

    Returns
    -------
    array-like

    Raises
    ------
    MemoryError
        If sparse rows do not fit into memory as dense ones.
    TypeError
        If it is no matrix: a dict, an iterator, an array with named fields.

    Examples
    --------
    >>> as_rows(np.zeros((5, 3, 8, 8))).shape
    (5, 192)
    """
    if sparse.issparse(X):
        _require_dense(X.shape, X.dtype.itemsize * X.shape[1])
        return X.toarray()
    if isinstance(X, pd.DataFrame) and all(isinstance(dtype, pd.SparseDtype) for dtype in X.dtypes):
        _require_dense(X.shape, sum(dtype.subtype.itemsize for dtype in X.dtypes))
        return cast(Any, X).sparse.to_dense()
    if isinstance(X, Mapping | Set | Iterator):
        raise TypeError(f"X is a {type(X).__name__}; give a matrix, a list of rows or a pandas.DataFrame.")
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError(
            "X is an array with named fields; give pandas.DataFrame(X), or "
            "numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    X = on_host(X)
    return X.reshape(len(X), -1) if len(getattr(X, "shape", ())) == 4 and len(X) else X


def _require_dense(shape: tuple[int, ...], row_bytes: int) -> None:
    require_memory(
        row_bytes * shape[0],
        f"A sparse matrix of shape {shape}, made dense for an estimator that needs it so,",
        "make fewer features, for example by a smaller n_features of HashingVectorizer, or give fewer rows at once",
    )


@contextmanager
def explained(X: Any, targets: Any = None) -> Iterator[None]:
    """Errors of the checks inside say what to do about these rows, and about a regressor's targets, where it is known.

    Parameters
    ----------
    X : array-like
    targets : array-like, default=None
        A regressor's.
    """
    try:
        # Conversions that overflow end in the error about infinity.
        with np.errstate(over="ignore"):
            _refuse_dates(X, "X")
            _refuse_dates(targets, "y")
            yield
    except (ValueError, TypeError) as error:
        shape = np.shape(X) if hasattr(X, "shape") else ()
        if len(shape) > 2 and "dim" in str(error):
            raise ValueError(
                f"Found array with dim {len(shape)}: X has the shape {tuple(shape)}, but a row is one sample, flat; "
                "give X.reshape(len(X), -1). Networks such as ConvNet fold rows into images themselves "
                "(module__image_shape)."
            ) from error
        if "infinity" in str(error) and (found := _beyond_float32(X)):
            raise ValueError(
                f"Input X contains infinity or a value too large for dtype('float32'): {found}, which float32 cannot "
                "hold; scale the inputs, or leave the rows out."
            ) from error
        if "NAType" in str(error):
            raise ValueError("Input X contains NaN: values are missing (pandas.NA); fill or drop them.") from error
        if "NA is ambiguous" in str(error):
            raise ValueError("Input y contains NaN: labels are missing (pandas.NA); drop these rows.") from error
        if "could not convert" in str(error) or "float() argument" in str(error):
            if not _are_numbers(targets):
                raise type(error)(
                    f"y has a value that is no number ({error}); a regressor predicts numbers, and a classifier labels."
                ) from error
            raise type(error)(
                f"There is a value that is no number ({error}); encode text and categories in a step before, such as "
                "sklearn.preprocessing.OneHotEncoder or sklearn.feature_extraction.text.HashingVectorizer, and give "
                "dates as numbers."
            ) from error
        if "inhomogeneous" in str(error):
            raise ValueError("X has rows of different lengths; give each row a value for each feature.") from error
        if "setting an array element with a sequence" in str(error):
            raise ValueError("X has arrays as values; give one matrix, such as numpy.stack(list(X)).") from error
        raise


def refuse_masked(values: Any, name: str) -> None:
    """Raise ValueError where values are masked: checks would take what is under the mask."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # pandas' arrays seem masked to NumPy, too
        raise ValueError(
            f"Input {name} contains NaN: values are masked; fill them, {name}.filled(...), or leave them out."
        )


def as_labels(values: Any, name: str) -> NDArray[Any]:
    """Labels as an array, checked.

    Parameters
    ----------
    values : array-like or set
    name : str
        What they are called where they are given.

    Returns
    -------
    ndarray of shape (n_labels,)

    Raises
    ------
    ValueError
        If they are no array, list or set, if there are none, or if some are missing, not finite, or neither text nor
        numbers of one type.

    Examples
    --------
    >>> as_labels({"a": 1, "b": 2}.keys(), "classes")
    array(['a', 'b'], dtype='<U1')
    """
    values = on_host(values)
    refuse_masked(values, name)
    if isinstance(values, Set):
        values = list(values)
    labels: NDArray[Any] = check_array(
        values,
        dtype=None,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,
        ensure_min_samples=0,
        input_name=name,
    )
    if labels.shape not in ((labels.size,), (labels.size, 1)) or not labels.size:
        raise ValueError(
            f"{name} is a {type(values).__name__} of shape {labels.shape}; give an array, a list or a set of one label "
            "or more."
        )
    if labels.dtype != object:
        assert_all_finite(labels, input_name=name)
    check_labels(labels.ravel(), values, name)
    return labels.ravel()


def check_labels(labels: NDArray[Any], given: Any, name: str = "y") -> None:
    """Raise ValueError where labels are missing, rounded, or objects that are neither text nor numbers of one type.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
    given : array-like
        The same before checks made them an array.
    name : str, default="y"
        What they are called where they are given.

    Examples
    --------
    >>> check_labels(np.array(["a", None], dtype=object), ["a", None])
    Traceback (most recent call last):
    ...
    ValueError: Input y contains NaN: labels are missing (None); leave them out.
    """
    if labels.dtype.kind in "Mm" and np.isnat(labels).any():
        raise ValueError(f"Input {name} contains NaN: labels are missing (NaT); leave them out.")
    # Of pandas' nullable whole numbers checks make float64.
    was_whole = getattr(getattr(given, "dtype", None), "kind", "") in ("i", "u")
    if was_whole and labels.dtype.kind == "f" and labels.tolist() != np.asarray(given).ravel().tolist():
        raise ValueError(
            f"{name} has labels of type {given.dtype} that are too large to be told apart as float64, which checks "
            f"make of them; give {name}.astype('int64') or {name}.astype(str)."
        )
    if labels.dtype.kind != "O":
        return
    others = [label for label in labels if not isinstance(label, str)]
    for label in others:
        if label is None or _is_missing(label):
            raise ValueError(f"Input {name} contains NaN: labels are missing ({label!r}); leave them out.")
    if others:
        raise ValueError(
            f"Unknown label type: {name} has dtype object and labels such as {others[0]!r:.60} "
            f"({type(others[0]).__name__}); give text or numbers of one type, such as {name}.astype(str) or "
            f"{name}.astype(int)."
        )


def check_same_type(labels: NDArray[Any], name: str, known: NDArray[Any], known_name: str) -> None:
    """Raise ValueError where labels cannot stand in one array with others, each as it is.

    Parameters
    ----------
    labels, known : ndarray
        One or more of each.
    name, known_name : str
        What they are called.

    Examples
    --------
    >>> check_same_type(np.array([0.0]), "y", np.array([2**53 + 1]), "the classes so far")
    Traceback (most recent call last):
    ...
    ValueError: y has labels of type float64, but the classes so far are of type int64, and float64, ...
    """
    if labels.dtype == known.dtype:
        return
    if _kind(labels) != _kind(known):
        raise ValueError(
            f"{name} has labels like {labels[0]!r}, but {known_name} are like {known[0]!r}; use one type for all "
            "labels: text or numbers, dates or durations."
        )
    both = np.result_type(labels, known)
    if _kind(labels) != "text" and not (_holds(both, labels) and _holds(both, known)):
        raise ValueError(
            f"{name} has labels of type {labels.dtype}, but {known_name} are of type {known.dtype}, and {both}, which "
            f"takes both, cannot tell all of them apart; give labels of one type, such as {known.dtype}."
        )


def _kind(labels: NDArray[Any]) -> str:
    kind = labels.dtype.kind
    return "text" if kind in "OUST" else "number" if kind in "biufc" else kind


def _holds(dtype: np.dtype[Any], labels: NDArray[Any]) -> bool:
    """Whether labels are the same in another type."""
    moved = labels.astype(dtype)
    if labels.dtype.kind in "Mm":
        return np.array_equal(moved.astype(labels.dtype), labels)
    return bool(moved.tolist() == labels.tolist())  # Python compares whole numbers and fractions exactly


def check_magnitude(rows: NDArray[Any], X: Any) -> None:
    """Raise FloatingPointError where values are so large that training in float32 would overflow.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        The rows, checked.
    X : array-like
        The same as they were given, with the columns' names if there are any.
    """
    if max(rows.max(), -rows.min()) > _LARGEST:
        row, column = np.argwhere(np.abs(rows) > _LARGEST)[0]
        raise FloatingPointError(
            f"X has the value {rows[row, column]:g} in {_named(X, column)}; squares of gradients would overflow "
            f"float32, in which networks compute, beyond {_LARGEST:.1g}, whatever the learning rate (net__lr). The "
            "estimator is as it was before this call; scale the inputs, or leave such rows out."
        )


def _named(X: Any, column: int) -> str:
    return f"column {X.columns[column]!r}" if hasattr(X, "columns") else f"column {column}"


def _beyond_float32(X: Any) -> str | None:
    """The first value that is finite in float64 and not in float32, with its place."""
    try:
        rows = check_array(X, dtype=np.float64, ensure_all_finite=False)
    except (ValueError, TypeError):
        return None
    too_large = np.isfinite(rows) & (np.abs(rows) > np.finfo(np.float32).max)
    if not too_large.any():
        return None
    row, column = np.argwhere(too_large)[0]
    return f"{rows[row, column]:g} in {_named(X, column)}"


def _are_numbers(values: Any) -> bool:
    try:
        np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        return False
    return True


def _refuse_dates(X: Any, name: str) -> None:
    """Raise where columns are dates or durations, whose numbers depend on a unit that is not said."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        dates = [repr(name) for name, dtype in zip(X.columns, X.dtypes, strict=True) if _is_date(dtype)]
    else:
        dates = [name] if _is_date(getattr(X, "dtype", None)) else []
    if dates:
        raise ValueError(
            f"{', '.join(dates)} has dates or durations; give numbers instead, such as the days since a first date: "
            "(column - start) / pandas.Timedelta(days=1)."
        )


def _is_date(dtype: Any) -> bool:
    return getattr(dtype, "kind", "") in ("M", "m")
