"""Transformers for columns by name, some of which appear later."""

import reprlib
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Tags, check_array, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from .inputs import as_rows
from .parameters import Integral, at_least, check_parameters
from .steps import UPDATES, learned

# One column as a vector, several as a table, or what selects some of a table.
Selection = Hashable | Sequence[Hashable] | Callable[[Any], Sequence[Hashable]]


@dataclass(frozen=True)
class Part:
    """Columns that appeared together, and what transforms them.

    Parameters
    ----------
    name : str
        The transformer's name; columns that appear later have a part of their own.
    transformer : transformer
    columns : hashable or list of hashable
    slots : slice
        Where its outputs stand.
    later : bool
        Whether it appeared after the first call, so that rows without these columns are known.
    """

    name: str
    transformer: Any
    columns: Any
    slots: slice
    later: bool

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: a part is replaced, never changed, and what is in it may be large."""
        return self

    def names(self) -> list[Hashable]:
        """Its columns as a list."""
        return self.columns if isinstance(self.columns, list) else [self.columns]

    def names_out(self) -> list[str]:
        """Names of its outputs; numbers where the transformer has no names for them."""
        if not hasattr(self.transformer, "get_feature_names_out"):
            return [str(output) for output in range(self.slots.stop - self.slots.start)]
        names = [name if isinstance(name, str) else f"x{name}" for name in self.names()]
        return list(self.transformer.get_feature_names_out(names))


class IncrementalColumnTransformer(ColumnTransformer):
    """scikit-learn's ``ColumnTransformer`` with ``partial_fit``, for columns some of which appear later.

    Columns of a frame are found by their names, in any order. A column that appears after the first call, or has its
    first value then, gets a transformer of its own, a fresh one of those that it is listed for, and some of the output
    columns that were held free. Until then these are 0, and so they are later for rows without the column. The width is
    fixed at the first call, so any estimator can learn from it; for a model, a column that was always 0 is as good as
    one that was not there: its gradient, its mean and its products with others are 0.

    Parameters
    ----------
    transformers : list of (str, transformer, columns)
        As for ``ColumnTransformer``; columns are a list of names (numbers of columns for an array), a single name for a
        transformer of a vector such as ``HashingVectorizer``, or a function of the data that returns a list, such as
        ``sklearn.compose.make_column_selector`` makes. Names may be of columns that are still to appear. A transformer
        without ``partial_fit`` is fitted when its columns appear. Sparse outputs become dense.
    remainder : {"drop", "passthrough"} or transformer, default="drop"
        For columns that are in no list, those that appear later included.
    update : {"auto", "first", "always"}, default="auto"
        Which transformers learn from later calls, see :class:`IncrementalPipeline`.
    n_spare : int, default=16
        How many output columns are held free for columns that appear later.

    Attributes
    ----------
    transformers_ : list of (str, transformer, columns)
        What was fitted; columns that appeared later have entries of their own.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Names of all columns so far, in the order of their appearance.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from forgetless.estimators import IncrementalColumnTransformer, IncrementalOneHotEncoder
    >>> columns = IncrementalColumnTransformer(
    ...     [("numbers", StandardScaler(), ["size"]), ("kinds", IncrementalOneHotEncoder(n_spare=1), ["colour"])],
    ...     remainder=StandardScaler(),
    ...     n_spare=1,
    ... )
    >>> columns = columns.partial_fit(pd.DataFrame({"size": [1.0, 3.0], "colour": ["red", "blue"]}))
    >>> later = pd.DataFrame({"weight": [5.0, 7.0], "colour": ["red", "green"], "size": [1.0, 3.0]})
    >>> columns.partial_fit(later).transform(later)
    array([[-1.,  0.,  1.,  0., -1.],
           [ 1.,  0.,  0.,  1.,  1.]])
    >>> columns.get_feature_names_out().tolist()
    ['numbers__size', 'kinds__colour_blue', 'kinds__colour_red', 'kinds__colour_new0', 'new0']
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "update": UPDATES,
        "n_spare": [at_least(0, Integral)],
    }
    output_keeps_meaning = True

    parts_: tuple[Part, ...]
    width_: int
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        transformers: Sequence[tuple[str, Any, Selection]],
        *,
        remainder: Any = "drop",
        update: str = "auto",
        n_spare: int = 16,
    ) -> None:
        self.transformers = transformers
        self.remainder = remainder
        self.update = update
        self.n_spare = n_spare

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Forget all and learn.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        return self.partial_fit(X, y)

    def fit_transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Any:
        """Forget all, learn and transform.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        return self.fit(X, y).transform(X)

    def partial_fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn from columns that are known, and take in those that are new.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If columns of the first call are missing.

        Warns
        -----
        UserWarning
            If listed columns have not appeared yet, or no output column is free for one that has; it is left out.
        """
        check_parameters(self)
        self._validate_transformers()
        first = not self.__sklearn_is_fitted__()
        rows, names = self._checked(X, reset=first)
        parts = []
        for part in [] if first else self.parts_:
            if self._is_there(part, names):
                with said_of(part.name, part.columns):
                    fitted = learned(part.transformer, select(rows, part.columns), y, self.update)
                part = replace(part, transformer=fitted)
            parts.append(part)
        for name, transformer, columns in self._new(rows, names):
            with said_of(name, columns):
                fitted = learned(clone(transformer), select(rows, columns), y, self.update)
                width = fitted.transform(select(rows, columns)[:1]).shape[1]
            start = parts[-1].slots.stop if parts else 0
            if not first and start + width > self.width_:
                warnings.warn(
                    f"Columns {columns!r} have appeared and need {width} output columns, but {self.width_ - start} are "
                    "free; they are left out. Give a larger n_spare from the start.",
                    stacklevel=2,
                )
                continue
            parts.append(Part(name, fitted, columns, slice(start, start + width), later=not first))
        if first:
            self.width_ = (parts[-1].slots.stop if parts else 0) + self.n_spare
        elif hasattr(self, "feature_names_in_"):
            known = dict.fromkeys([*self.feature_names_in_, *(name for part in parts for name in part.names())])
            self.feature_names_in_, self.n_features_in_ = np.array(list(known), dtype=object), len(known)
        self.parts_ = tuple(parts)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Transform columns, and put the results side by side.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A frame needs the columns of the first call, in any order; others are ignored where they are not known.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            float32 where all transformers return it, else float64.
        """
        check_is_fitted(self)
        rows, names = self._checked(X, reset=False)
        blocks = []
        for part in self.parts_:
            if self._is_there(part, names):
                with said_of(part.name, part.columns):
                    block = np.asarray(as_rows(part.transformer.transform(select(rows, part.columns))))
                blocks.append((part.slots, block))
        only_float32 = blocks and all(block.dtype == np.float32 for _, block in blocks)
        out = np.zeros((rows.shape[0], self.width_), dtype=np.float32 if only_float32 else np.float64)
        for slots, block in blocks:
            out[:, slots] = block
        return out

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what :meth:`transform` returns; the transformers within stay as they are.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            As for ``ColumnTransformer``.

        Returns
        -------
        self
        """
        TransformerMixin.set_output(self, transform=transform)
        return self

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns of :meth:`transform`, which never change.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
            ``transformer__column`` for columns of the first call, ``new0``, ... for output columns held free then.
        """
        check_is_fitted(self)
        names = [f"{part.name}__{name}" for part in self.parts_ if not part.later for name in part.names_out()]
        return np.array([*names, *(f"new{spare}" for spare in range(self.width_ - len(names)))], dtype=object)

    @property
    def transformers_(self) -> list[tuple[str, Any, Any]]:
        """What was fitted."""
        return [(part.name, part.transformer, part.columns) for part in self.parts_]

    @property
    def output_indices_(self) -> dict[str, list[int]]:
        """Of each transformer by name, which output columns are its own."""
        indices: dict[str, list[int]] = {}
        for part in self.parts_:
            indices.setdefault(part.name, []).extend(range(part.slots.start, part.slots.stop))
        return indices

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # what becomes of missing values is the transformers' affair
        if self.remainder not in ("drop", "passthrough"):
            tags.input_tags.sparse &= get_tags(self.remainder).input_tags.sparse
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "parts_")

    # --- columns -------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, *, reset: bool) -> tuple[Any, dict[Hashable, None]]:
        """The data as they can be selected from, and the names of their columns: an ordered set."""
        if not hasattr(X, "columns"):
            if not reset and hasattr(self, "feature_names_in_"):
                raise ValueError("X has no names of columns, but columns are known by their names; give a DataFrame.")
            X = check_array(X, dtype=None, ensure_all_finite=False, accept_sparse=["csc", "csr"])
        if reset or not (hasattr(X, "columns") and hasattr(self, "feature_names_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)
        return X, dict.fromkeys(X.columns if hasattr(X, "columns") else range(X.shape[1]))

    def _is_there(self, part: Part, names: Collection[Hashable]) -> bool:
        """Whether the data have the columns of a part; those of the first call must be there."""
        missing = [name for name in part.names() if name not in names]
        if missing and not (part.later and len(missing) == len(part.names())):
            raise ValueError(
                f"columns are missing: {missing}, which {part.name!r} has learned; give them, with missing values "
                "where there are none."
            )
        return not missing

    def _new(self, X: Any, names: Collection[Hashable]) -> Iterator[tuple[str, Any, Any]]:
        """Name, transformer and columns of what appears in this call."""
        first = not self.__sklearn_is_fitted__()
        known = set() if first else {(part.name, column) for part in self.parts_ for column in part.names()}
        placed = {column for _, column in known}
        waiting: set[Hashable] = set()
        listed = set(placed)
        remainder: tuple[str, Any, Any] = (
            "remainder",
            self.remainder,
            lambda _: [name for name in names if name not in listed],
        )
        columns: Any
        for name, transformer, columns in [*self.transformers, remainder]:
            if callable(columns):  # what was chosen once stays where it is, whatever it looks like now
                columns = [column for column in columns(X) if column not in placed]
            wanted = columns if isinstance(columns, list) else [columns]
            listed.update(wanted)
            if transformer == "drop":
                continue
            new = [column for column in wanted if (name, column) not in known]
            waiting.update(new)
            new = [column for column in new if column in names and has_values(X, column)]
            waiting.difference_update(new)
            # Later, each column is alone: any of them may be missing in other calls.
            groups: list[Any] = [new] if new and first else [[column] for column in new]
            for group in groups:
                yield name, as_transformer(transformer), group if isinstance(columns, list) else columns
        if waiting and first:
            warnings.warn(
                f"Columns {sorted(waiting, key=str)} are not in the data yet, or without any value; they are learned "
                "when they appear.",
                stacklevel=3,
            )

    def _sk_visual_block_(self) -> Any:
        transformers = self.transformers_ if self.__sklearn_is_fitted__() else self.transformers
        return ColumnTransformer(transformers, remainder=self.remainder)._sk_visual_block_()


def as_transformer(transformer: Any) -> Any:
    """What transforms; ``"passthrough"`` becomes a transformer that changes nothing."""
    if transformer == "passthrough":
        return FunctionTransformer(accept_sparse=True, feature_names_out="one-to-one")
    return transformer


@contextmanager
def said_of(name: str, columns: Any) -> Iterator[None]:
    """Errors in values say which transformer and which columns they are of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"The columns {reprlib.repr(columns)} are not such as {name!r} takes: {error}") from error


def select(X: Any, columns: Any) -> Any:
    """Columns of a frame by name, or of an array by number: several as a table, a single one as a vector."""
    return X[columns] if hasattr(X, "columns") else X[:, columns]


def has_values(X: Any, column: Hashable) -> bool:
    """Whether a column has any value that is not missing."""
    return sparse.issparse(X) or not pd.isna(np.asarray(select(X, column))).all()
