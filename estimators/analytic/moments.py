"""What closed forms keep of the data: counts, means and scatter, exact sums over rows that add and subtract."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import get_blas_funcs
from torch import nn

from ..base import ContinualClassifier, ContinualEstimator
from ..engine.call import Call
from ..engine.capacity import require_memory
from ..engine.modules import Features, frozen_copy, rows_for
from ..engine.rows import tensor_of

# Bytes of features that are held at once.
CHUNK_BYTES = 1 << 28
# Rows at once through a module, whose inner layers may be much wider than its features.
_MODULE_ROWS = 1024
# BLAS has other kernels for a handful of rows; filled up, a row gets the same bits alone and in company.
_LEAST_ROWS = 32
# Matrices of (width, width) in double precision that there are at once while weights are solved for, at most.
_SQUARES = 8
_EPS = float(np.finfo(np.float64).eps)
# Below this, nothing of the order of 1 is lost when squares are added.
_EXTREME = _EPS**-0.5
# What is left of a sum of squares by rounding is a smaller share than this, when products are in double precision.
_ROUNDING = 1e-9
_ROUNDING_OF_SINGLE = 1e-4
# Which of some rows: all, or those of a mask.
Which = slice | NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """Counts and means of groups of rows, and the scatter within the groups; adding rows gives a new object.

    Rows are centred before they are multiplied, so products may be in single precision; sums are in double.

    Parameters
    ----------
    counts : ndarray of shape (n_groups,)
    means : ndarray of shape (n_groups, width)
    scatter : ndarray of shape (width, width) or None
        Upper triangle of the sum over rows of the outer product of (row − mean of its group); None: not kept.

    Examples
    --------
    >>> rows, groups = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 5.0]]), torch.tensor([0, 0, 1])
    >>> both = Moments.of_nothing(2, scatter=True).add(rows, groups, 2)
    >>> both.scatter
    array([[2., 4.],
           [0., 8.]])
    >>> both.add(rows[2:], groups[2:], 2, sign=-1).counts
    array([2., 0.])
    """

    counts: NDArray[np.float64]
    means: NDArray[np.float64]
    scatter: NDArray[np.float64] | None

    @classmethod
    def of_nothing(cls, width: int, *, scatter: bool) -> Self:
        """The moments of no rows.

        Parameters
        ----------
        width : int
        scatter : bool
            Whether the scatter is to be kept.
        """
        return cls(np.zeros(0), np.zeros((0, width)), np.zeros((width, width)) if scatter else None)

    def grown(self, n_groups: int) -> "Moments":
        """The same with room for `n_groups` groups."""
        more = n_groups - len(self.counts)
        return Moments(np.pad(self.counts, (0, more)), np.pad(self.means, ((0, more), (0, 0))), self.scatter)

    def add(
        self,
        rows: torch.Tensor,
        groups: torch.Tensor,
        n_groups: int,
        sign: int = 1,
        dtype: torch.dtype | None = None,
        overwrite: bool = False,
    ) -> "Moments":
        """Moments with these rows (``sign=1``), or without them (−1).

        Parameters
        ----------
        rows : torch.Tensor of shape (n_rows, width)
        groups : torch.Tensor of shape (n_rows,)
            Number of each row's group.
        n_groups : int
        sign : {1, -1}, default=1
        dtype : torch.dtype, default=None
            Precision of the products; None: that of the rows.
        overwrite : bool, default=False
            Whether `rows` may be overwritten.

        Returns
        -------
        Moments
            A group from which more rows are taken than it has gets a negative count.
        """
        old = self.grown(n_groups)
        counted = torch.bincount(groups, minlength=n_groups)
        present = counted.nonzero().squeeze(1)
        # Near the mean, products lose nothing; any centre will do, since the groups' means are taken from it, too.
        centre = rows.mean(0, dtype=dtype)
        centred = rows.to(centre.dtype, copy=not overwrite).sub_(centre)
        member = centred.new_zeros(len(rows), len(present))
        places = ((counted > 0).cumsum(0) - 1)[groups]
        member.scatter_(1, places[:, None], 1.0)
        sizes = counted[present].double()
        offset = (member.T @ centred) / counted[present, None]
        if self.scatter is not None:
            product = _scatter_around(offset, centred, sizes)
            if dtype is torch.float64:
                # A column that varies between the groups alone must not vary within them by rounding.
                lost = product.diagonal() < _ROUNDING * (sizes @ offset.square())
                if lost.any():
                    rest = centred - offset[places]
                    rest_offset = (member.T @ rest) / counted[present, None]
                    within = _scatter_around(rest_offset, rest, sizes)
                    product[lost], product[:, lost] = within[lost], within[:, lost]
                    offset[:, lost] += rest_offset[:, lost]

        here, n, mean = present.numpy(), counted[present].double().numpy(), (centre + offset).double().numpy()
        before = old.counts[here]
        after = before + sign * n
        share = np.divide(n, after, out=np.zeros_like(n), where=after > 0)
        counts, means = old.counts.copy(), old.means.copy()
        counts[here] = after
        means[here] = np.where(after[:, None] > 0, means[here] + sign * share[:, None] * (mean - means[here]), 0.0)
        if self.scatter is None:
            return Moments(counts, means, None)

        # Two sets of rows together have the scatter of each, and that of their means around the common mean. One set
        # is these rows; the other, what was there before they are added or is left after they are taken away.
        others, their_mean = (before, old.means[here]) if sign == 1 else (after, means[here])
        weight = np.maximum(others, 0) * n / np.maximum(others + n, 1)
        between = torch.from_numpy(mean - their_mean).to(centred.dtype)
        product = upper_product(between, torch.from_numpy(weight).sqrt(), 1.0, product)
        scatter = torch.add(torch.from_numpy(self.scatter), product, alpha=sign).numpy()
        if sign == -1 and product.dtype is torch.float64:
            # A column that does not vary in the rows that are left must not vary by rounding.
            constant = np.abs(scatter.diagonal()) < _ROUNDING * self.scatter.diagonal()
            scatter[constant] = scatter[:, constant] = 0.0
        return Moments(counts, means, scatter)

    def merged(self, other: "Moments", groups: NDArray[np.int64], n_groups: int) -> "Moments":
        """Moments of the rows of both.

        Parameters
        ----------
        other : Moments
        groups : ndarray of int
            For each group of `other`, which it is here.
        n_groups : int

        Returns
        -------
        Moments
        """
        mine, theirs = self.grown(n_groups), Moments.of_nothing(self.means.shape[1], scatter=False).grown(n_groups)
        theirs.counts[groups], theirs.means[groups] = other.counts, other.means
        counts = mine.counts + theirs.counts
        share = theirs.counts / np.maximum(counts, 1)
        shift = theirs.means - mine.means
        scatter = self.scatter
        if scatter is not None and other.scatter is not None:
            rows = np.sqrt(mine.counts * share)[:, None] * shift
            scatter = scatter + other.scatter + upper_product(torch.from_numpy(rows)).numpy()
        return Moments(counts, mine.means + share[:, None] * shift, scatter)

    def total(self) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Number of rows, their mean, and the upper triangle of their scatter around it."""
        n = self.counts.sum()
        mean = self.counts @ self.means / max(n, 1)
        rows = np.sqrt(self.counts)[:, None] * (self.means - mean)
        return n, mean, self.upper_scatter() + upper_product(torch.from_numpy(rows)).numpy()

    def upper_scatter(self) -> NDArray[np.float64]:
        """The scatter, where it is kept."""
        if self.scatter is None:
            raise TypeError("These moments were made without their scatter.")
        return self.scatter

    def squares(self) -> NDArray[np.float64]:
        """Of each column the sum of squares that is kept: within the groups, or, without scatter, of the means."""
        return self.counts @ np.square(self.means) if self.scatter is None else self.scatter.diagonal()

    def noise(self, dtype: DTypeLike) -> NDArray[np.float64]:
        """Of each column the sum of squares within the groups that may be the rounding of its values."""
        rounding: NDArray[np.float64] = np.square(np.finfo(dtype).eps * np.abs(self.means)).T @ self.counts
        return 100 * rounding

    def is_finite(self) -> bool:
        """Whether all sums are finite."""
        return all(bool(np.isfinite(a).all()) for a in (self.means, self.scatter) if a is not None)

    def nbytes(self) -> int:
        """Bytes of the sums."""
        return sum(a.nbytes for a in (self.counts, self.means, self.scatter) if a is not None)


def upper_product(
    rows: torch.Tensor,
    weights: torch.Tensor | None = None,
    factor: float = 1.0,
    onto: torch.Tensor | None = None,
) -> torch.Tensor:
    """Upper triangle, zeros below, of ``factor * rows.T @ rows``; BLAS computes half of a product that is symmetric.

    Parameters
    ----------
    rows : torch.Tensor of shape (n_rows, width)
    weights : torch.Tensor of shape (n_rows,), default=None
        Multiply the rows.
    factor : float, default=1.0
    onto : torch.Tensor of shape (width, width), default=None
        An earlier result, to which this one is added in place.

    Returns
    -------
    torch.Tensor of shape (width, width)
    """
    rows = rows if weights is None else rows * weights.to(rows.dtype)[:, None]
    syrk = get_blas_funcs("syrk", dtype=rows.numpy().dtype)
    if onto is None:
        return torch.from_numpy(syrk(factor, rows.numpy().T, lower=1).T)
    return torch.from_numpy(syrk(factor, rows.numpy().T, beta=1.0, c=onto.numpy().T, lower=1, overwrite_c=1).T)


def _scatter_around(means: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Upper triangle of the scatter of rows around the means of groups of so many rows."""
    return upper_product(means, counts.sqrt(), -1.0, upper_product(rows))


def symmetric(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric matrix that has this upper triangle, and zeros below."""
    return upper + np.triu(upper, 1).T


def require_square(estimator: ContinualEstimator, width: int, n_parts: int = 1) -> None:
    """Raise MemoryError if there is no room for the scatter of so many features and for solving with it.

    Parameters
    ----------
    estimator : ContinualEstimator
    width : int
    n_parts : int, default=1
        How many scatters are to come.
    """
    require_memory(
        (_SQUARES + n_parts - 1) * 8 * width**2,
        f"{type(estimator).__name__} keeps products of {width:,} features with each other, which",
        "give fewer features, for example by sklearn.random_projection.SparseRandomProjection, a smaller n_features "
        "where the estimator has it, or use NCMClassifier, which keeps means only",
    )


@torch.no_grad()
def features_by(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a module makes of rows, on the device where it is; on the CPU.

    Parameters
    ----------
    module : torch.nn.Module
    x : torch.Tensor of shape (n_rows, n_inputs)

    Returns
    -------
    torch.Tensor of shape (n_rows, width)
    """
    # Copies: a module may work in place, and these rows are the caller's.
    parts = (rows_for(module, rows.clone()) for rows in torch.split(x, _MODULE_ROWS))
    return torch.cat([module(rows).float().cpu() for rows in parts])


class ClosedForm(ContinualEstimator):
    """Predictions that are linear in features, solved from the moments of the data.

    Moments are exact sums, so any order and any chunking of the rows gives the same model, rows can be taken away
    again, and two models can become one. The weights are solved for when predictions are asked for and something
    changed. A classifier's groups of rows are the classes; a regressor has all rows in one group, and targets beside
    the features.

    A method says in ``needs_scatter`` whether it needs the scatter, in ``product_dtype`` which precision its products
    need, in :meth:`features_of` what its features are, in :meth:`parts_of` whether it keeps the moments of parts of the
    data apart, and in :meth:`solve` what follows from the moments.
    """

    family = "analytic"
    keeps = "statistics"
    unlearns = "exact"
    carries = {"moments_": "statistics"}
    fixed_parameters: ClassVar[tuple[str, ...]] = ("features",)
    parameter_constraints = {"features": [None, nn.Module]}
    needs_scatter: ClassVar[bool] = True
    product_dtype: ClassVar[torch.dtype | None] = None

    features: nn.Module | None
    features_: nn.Module | None
    width_: int
    moments_: tuple[Moments, ...]
    solved_: dict[str, Any]

    # --- what a method has of its own ----------------------------------------------------------------------------

    def prepare_features(self, call: Call) -> None:
        """Make at the first call what features are computed with."""
        # A copy: whoever trains the module further does not change what was learned here.
        self.features_ = None if self.features is None else frozen_copy(Features(self.features))

    def fixed_tensors(self) -> list[torch.Tensor]:
        """The tensors that features are computed with."""
        return [] if self.features_ is None else [*self.features_.parameters(), *self.features_.buffers()]

    def features_of(self, x: torch.Tensor) -> torch.Tensor:
        """Features of rows."""
        return x if self.features_ is None else features_by(self.features_, x)

    def parts_of(self, X: NDArray[Any], y: NDArray[Any]) -> Sequence[Which]:
        """For each part whose moments are kept apart, which rows belong to it; parts may be added, at the end."""
        return [slice(None)]

    def parts_of_other(self, other: Self, groups: NDArray[np.int64]) -> Sequence[int]:
        """For each part of another model, which it is here; raises ValueError where the two keep different parts.

        `groups` says the same of groups.
        """
        return range(len(other.moments_))

    def solve(self) -> dict[str, Any]:
        """What follows from the moments: a dict with ``weights`` (width, n_outputs), ``bias`` (n_outputs,), and
        ``centre`` (width,), which is taken from the features first, so that rows far from zero lose no digits.
        """
        raise NotImplementedError

    # --- groups of rows ------------------------------------------------------------------------------------------

    @property
    def counts_(self) -> NDArray[np.float64]:
        """Rows learned of each class, in the order of ``classes_``; for a regressor of all."""
        counts: NDArray[np.float64] = np.sum([moments.counts for moments in self.moments_], axis=0)
        return counts[self.class_outputs_] if isinstance(self, ContinualClassifier) else counts

    def n_groups(self) -> int:
        """How many groups of rows there are."""
        return len(self.classes_) if isinstance(self, ContinualClassifier) else 1

    def rows_and_groups(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What moments are taken of: rows, and the number of each row's group."""
        features = self.features_of(x)
        if isinstance(self, ContinualClassifier):
            return features, y
        return torch.cat([features, y.to(features.dtype)], dim=1), torch.zeros(len(x), dtype=torch.int64)

    # --- learning ------------------------------------------------------------------------------------------------

    def learn(self, call: Call) -> None:
        """Add the rows to the moments."""
        if not hasattr(self, "moments_"):
            self.prepare_features(call)
            self.width_ = self.rows_and_groups(tensor_of(call.X[:1]), tensor_of(call.y[:1]))[0].shape[1]
            self.moments_ = ()
        self._make_parts(len(self.parts_of(call.X[:1], call.y[:1])))
        before = self.moments_
        self._change(call.X, call.y, 1)
        if max(call.X.max(), -call.X.min()) > _EXTREME:
            _check_extremes(call.X)
            for old, new in zip(before, self.moments_, strict=True):
                _refuse_drowning(old.squares(), new.squares(), old.noise(call.X.dtype))

    def _make_parts(self, n_parts: int) -> None:
        """Add parts without rows until there are so many."""
        n_more = n_parts - len(self.moments_)
        if n_more and self.needs_scatter:
            require_square(self, self.width_, n_more)
        nothing = (Moments.of_nothing(self.width_, scatter=self.needs_scatter) for _ in range(n_more))
        self.moments_ = (*self.moments_, *nothing)

    def _change(self, X: NDArray[Any], y: NDArray[Any], sign: int) -> None:
        """Add rows to the moments, or take them away."""
        changed = []
        for moments, rows in zip(self.moments_, self.parts_of(X, y), strict=True):
            width = moments.means.shape[1]
            row_bytes = width * (8 if self.product_dtype is torch.float64 else 4)
            # Few rows stay in the processor's caches; enough outweigh what is done once a chunk, with width² numbers.
            n_chunks = -(-len(X) * row_bytes // min(max(16 * width**2, 1 << 23), CHUNK_BYTES))
            for x, t in zip(*(tensor_of(a[rows]).tensor_split(n_chunks) for a in (X, y)), strict=True):
                if len(x):
                    found, groups = self.rows_and_groups(x, t)
                    moments = moments.add(found, groups, self.n_groups(), sign, self.product_dtype, found is not x)
            changed.append(moments.grown(self.n_groups()))
        self.moments_ = tuple(changed)
        self.solved_ = {}

    def take_away(self, X: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
        """Subtract the rows from the moments; returns the counts that are left."""
        before = self.moments_
        self._change(X, y, sign=-1)
        counts = np.stack([moments.counts for moments in self.moments_])
        if (counts >= 0).all():
            # Products in single precision leave more rounding than a few rows have variance.
            rounding = _ROUNDING if self.product_dtype is torch.float64 else _ROUNDING_OF_SINGLE
            for old, new in zip(before, self.moments_, strict=True):
                size = (old.squares() + old.counts @ np.square(old.means)).max()
                if (new.squares() < -rounding * size).any():
                    raise ValueError("unlearn was given rows that were not learned: they vary more than all that were.")
        return counts

    def take_over(self, other: Self, outputs: NDArray[np.int64] | None) -> None:
        """Add the moments of `other`, whose features must be the same."""
        pairs = (self.fixed_tensors(), other.fixed_tensors())
        if len(pairs[0]) != len(pairs[1]) or not all(map(torch.equal, *pairs)):
            raise ValueError(
                "The features differ; give both the same `features` module and, where they are drawn at random, the "
                "same `n_features` and the same integer `random_state`."
            )
        groups = np.zeros(1, dtype=np.int64) if outputs is None else outputs
        places = self.parts_of_other(other, groups)
        self._make_parts(max(len(self.moments_), *(place + 1 for place in places)))
        merged = [moments.grown(self.n_groups()) for moments in self.moments_]
        for place, theirs in zip(places, other.moments_, strict=True):
            merged[place] = merged[place].merged(theirs, groups, self.n_groups())
        self.moments_ = tuple(merged)
        self.solved_ = {}

    # --- predicting ----------------------------------------------------------------------------------------------

    def solution(self) -> dict[str, Any]:
        """What :meth:`solve` found; kept until something is learned."""
        if not self.solved_:
            self.solved_.update(self.solve())
        return self.solved_

    def scores_of(self, features: torch.Tensor) -> torch.Tensor:
        """Features, less their centre, times weights, plus bias."""
        solution = self.solution()
        weights, bias, centre = (torch.from_numpy(solution[name]) for name in ("weights", "bias", "centre"))
        return (features - centre) @ weights + bias

    def output_scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """What :meth:`scores_of` says of the rows' features."""
        filled = tensor_of(np.pad(X, ((0, max(0, _LEAST_ROWS - len(X))), (0, 0))))
        n_rows = max(_LEAST_ROWS, CHUNK_BYTES // (8 * len(self.solution()["centre"])))
        scores = [self.scores_of(self.features_of(x).double()) for x in torch.split(filled, n_rows)]
        return torch.cat(scores)[: len(X)].numpy()

    def predictions(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Features times weights, plus bias."""
        return self.output_scores(X)

    def carried(self) -> Iterator[tuple[str, Any]]:
        """What features are computed with, and the moments."""
        yield "weights", self.fixed_tensors()
        yield from super().carried()


def _check_extremes(X: NDArray[Any]) -> None:
    """Raise where some rows are so large that products of the others are lost in rounding beside theirs."""
    sizes = np.abs(X).max(axis=1)
    everything, half = X.astype(np.float64), X[sizes <= np.median(sizes)].astype(np.float64)
    mean = half.mean(axis=0)
    noise = len(half) * np.square(np.finfo(X.dtype).eps * mean)
    some, squares = (np.square(rows - mean).sum(axis=0) for rows in (half, everything))
    _refuse_drowning(some, squares, 100 * noise)


def _refuse_drowning(some: NDArray[np.float64], everything: NDArray[np.float64], noise: NDArray[np.float64]) -> None:
    """Raise where the squares of some rows, if more than noise, are nothing beside those of all."""
    if ((some > noise) & (some < _EPS * everything)).any():
        raise FloatingPointError(
            "X has rows so large that what is learned from all others would be lost in rounding. The estimator is as "
            "it was before this call; leave these rows out, or scale or clip the inputs."
        )
