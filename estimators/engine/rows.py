"""Rows: tensors with one row for each sample, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from .modules import tensor_bytes


class Rows:
    """Tensors that have the same number of rows, each under its name: ``rows.x``, ``rows.y``, what a method adds.

    A batch is such rows, and so is what a memory stores. A name that is set to None is a field that is not there.

    Parameters
    ----------
    **fields : torch.Tensor or None
        Fields that are read but were not given here are None if they are among the attributes below.

    Attributes
    ----------
    x, y : torch.Tensor
        Inputs and targets.
    groups : torch.Tensor of int, or None
        For rows of earlier calls, the group of outputs that is active for each.
    memory : Rows, Drawn or None
        In a batch: the rows that are replayed beside it. ``before_step`` may set it to a draw, ``memory.draw(...)``;
        its rows are gathered then.
    outputs : torch.Tensor or None
        In a batch that was learned: what the network gave in the step's first forward pass, before it moved.

    Examples
    --------
    >>> rows = Rows(x=torch.zeros(5, 2), y=torch.arange(5), taught=None)
    >>> [len(part) for part in rows.split([3, 2])], rows.memory
    ([3, 2], None)
    """

    groups: torch.Tensor | None = None
    memory: Any = None
    outputs: torch.Tensor | None = None

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __len__(self) -> int:
        return len(self.x)

    # For fields that methods add: checkers cannot know them.
    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no field {name!r} in these rows, only {', '.join(self.names())}")

    def names(self) -> list[str]:
        """Names of the fields that are tensors."""
        return [name for name, value in vars(self).items() if torch.is_tensor(value)]

    def tensors(self) -> list[torch.Tensor]:
        """The fields that are tensors, and then those of the rows in `memory`."""
        own = [value for value in vars(self).values() if torch.is_tensor(value)]
        return own if self.memory is None else own + self.memory.tensors()

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return tensor_bytes(*self.tensors())

    def is_finite(self) -> bool:
        """Whether no tensor has an infinite number; NaN stands where nothing was stored."""
        return not any(bool(t.isinf().any()) for t in self.tensors())

    def shape(self) -> tuple[Any, ...]:
        """What must be equal for two batches to be the same work: names, shapes, types, and those of `memory`."""
        own = tuple((name, t.shape, t.dtype) for name, t in vars(self).items() if torch.is_tensor(t))
        return own if self.memory is None else (*own, self.memory.shape())

    def like(self, tensors: Sequence[torch.Tensor]) -> Self:
        """Rows of the same names with other tensors, in the order of :meth:`tensors`."""
        return self._filled(iter(tensors))

    def _filled(self, tensors: Iterator[torch.Tensor]) -> Self:
        filled = type(self)(
            **{name: next(tensors) if torch.is_tensor(v) else v for name, v in vars(self).items() if name != "memory"}
        )
        if self.memory is not None:
            filled.memory = self.memory._filled(tensors)
        return filled

    def map(self, function: Any) -> Self:
        """Rows with `function` of each tensor."""
        return type(self)(**{name: function(v) if torch.is_tensor(v) else v for name, v in vars(self).items()})

    def take(self, index: torch.Tensor) -> Self:
        """The rows at `index`, which is on their device."""
        return self.map(lambda t: t.index_select(0, index))

    def equals_one_of(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows have inputs that equal a row of `X`.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Of the type of ``x``.

        Returns
        -------
        ndarray of bool, shape (n_rows,)
        """
        # Bytes are compared, to which 0 is added, since there are two zeros.
        wanted = {row.tobytes() for row in X + X.dtype.type(0)}
        own = (self.x.cpu().numpy() + X.dtype.type(0)).reshape(len(self), -1)
        return np.fromiter((row.tobytes() in wanted for row in own), dtype=bool, count=len(own))

    def split(self, sizes: Sequence[int], dim: int = 0) -> Iterator[Self]:
        """Parts with so many rows each."""
        names, rest = self.names(), {name: v for name, v in vars(self).items() if not torch.is_tensor(v)}
        for parts in zip(*(getattr(self, name).split(sizes, dim) for name in names), strict=True):
            yield type(self)(**dict(zip(names, parts, strict=True)), **rest)

    def joined(self, other: Rows) -> Rows:
        """These rows and then `other`, in the fields that these have."""
        return Rows(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in self.names()})


class StackedRows(Rows):
    """Rows of several networks, equally many of each: tensors of shape (n_networks, n_rows, ...).

    The length is the number of rows that each has.
    """

    def __len__(self) -> int:
        return self.x.shape[1]  # type: ignore[no-any-return]


def tensor_of(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """An array as a tensor that shares its memory, and is only read.

    torch warns of arrays that must not be written to: those of a file that is mapped, or that joblib shares.

    Examples
    --------
    >>> rows = np.zeros((2, 3))
    >>> rows.flags.writeable = False
    >>> tensor_of(rows).shape
    torch.Size([2, 3])
    """
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Shared(array)))


class _Shared:
    """What NumPy makes another array of, on the same memory, that does not say that it must not be written to."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def stacked(each: Sequence[Rows]) -> StackedRows:
    """Rows of several networks as one, with a new first dimension."""
    first = vars(each[0])
    fields = {n: torch.stack([vars(rows)[n] for rows in each]) if torch.is_tensor(v) else v for n, v in first.items()}
    if each[0].memory is not None:
        fields["memory"] = stacked([rows.memory for rows in each])
    return StackedRows(**fields)


def rows_of(rows: Rows, k: int) -> Rows:
    """The rows of the k-th network, views of those of all."""
    return Rows(**{name: v[k] if torch.is_tensor(v) else v for name, v in vars(rows).items()})
