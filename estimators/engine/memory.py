"""Replay memory: a bounded sample of the rows seen so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.nn import functional as F

from .rows import Rows, StackedRows, rows_of, stacked

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Bools: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

# Up to so many rows a loop is faster than sorting.
_FEW = 16
POLICIES = ("reservoir", "recent", "class_balanced", "ring", "herding")
# Policies in which all rows compete with each other, not within their classes.
_ONE_POOL = ("reservoir", "recent")


class ReplayMemory:
    """At most `capacity` rows of the stream, in tensors allocated once.

    Every row gets a key when it is offered, and the rows with the smallest keys stay. Policies differ in the keys and
    in who competes with whom. With the first two all rows do; else rows compete within their class, and classes get
    equal shares of the capacity (what one class cannot fill, the others share):

    - ``"reservoir"``: random keys: a uniform sample of the stream, whatever its order and chunking, as Vitter's
      reservoir gives;
    - ``"recent"``: later rows have smaller keys: the last rows, first in, first out;
    - ``"class_balanced"``: random keys: a uniform sample of each class;
    - ``"ring"``: the same keys: the last rows of each class;
    - ``"herding"``: keys are places in the order of :func:`herding_order`: rows whose mean stays near the mean of their
      class. Where a class comes in several calls, the best of each stay, in proportion to the calls' rows.

    Parameters
    ----------
    capacity : int
        Number of rows.
    policy : {"reservoir", "recent", "class_balanced", "ring", "herding"}
    renormalize : bool, default=False
        Whether herding scales means to length 1, see :func:`herding_order`.

    Attributes
    ----------
    rows : Rows
        What is stored, `capacity` rows, of which the first ``len(memory)`` are in use.
    keys, pools : ndarray of shape (len(memory),)
        Key of each row, and the pool within which it competes.

    References
    ----------
    Vitter, Random sampling with a reservoir, 1985. Chrysakis & Moens, Online continual learning from imbalanced data,
    2020. Chaudhry et al., On tiny episodic memories in continual learning, 2019 (ring). Rebuffi et al., iCaRL, 2017
    (herding).

    Examples
    --------
    >>> import numpy as np, torch
    >>> memory = ReplayMemory(4, "class_balanced")
    >>> rows = Rows(x=torch.arange(10.0)[:, None], y=torch.tensor([0] * 8 + [1] * 2))
    >>> memory.add(np.random.default_rng(0), rows)
    >>> memory.stored().y.sort().values
    tensor([0, 0, 1, 1])
    """

    def __init__(self, capacity: int, policy: str = "reservoir", renormalize: bool = False) -> None:
        self.capacity = capacity
        self.policy = policy
        self.renormalize = renormalize
        self.rows = Rows()
        self.keys: Floats = np.empty(0)
        self.pools: Ints = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def add(
        self, rng: np.random.Generator, rows: Rows, pools: Ints | None = None, features: torch.Tensor | None = None
    ) -> None:
        """Offer rows; those whose keys are small enough stay.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws the keys.
        rows : Rows
            With the same fields each time.
        pools : ndarray of int, default=None
            Whom each row competes with, in place of its class `y`; not used by "reservoir" and "recent".
        features : torch.Tensor of shape (n_rows, n_features), default=None
            Where "herding" measures distances.
        """
        if not self.rows.names():
            self.rows = rows.map(lambda t: t.new_zeros((self.capacity, *t.shape[1:])))
        store(self.rows.tensors(), rows.tensors(), *self.admit(rng, rows.y, pools, features))

    def admit(
        self,
        rng: np.random.Generator,
        y: torch.Tensor,
        pools: Ints | None = None,
        features: torch.Tensor | None = None,
    ) -> tuple[Sequence[int] | Ints, Sequence[int] | Ints]:
        """Note the keys of those who stay; returns which of the new rows come, and to which places."""
        if self.policy in _ONE_POOL:
            pools = np.zeros(len(y), dtype=np.int64)
        elif pools is None:
            pools = y.cpu().numpy()
        keys = self._new_keys(rng, pools, features)
        few = self._few_candidates(keys)
        return self._share_out(keys, pools) if few is None else self._displace(keys, few)

    def _share_out(self, keys: Floats, pools: Ints) -> tuple[Ints, Ints]:
        """As :meth:`admit`, for rows with these keys."""
        n_old = len(self)
        keys, pools = np.concatenate([self.keys, keys]), np.concatenate([self.pools, pools])
        stays = smallest_keys(keys, pools, self.capacity)
        coming = n_old + np.flatnonzero(stays[n_old:])
        leaving = np.flatnonzero(~stays[:n_old])
        # Those who come take the places of those who leave, then free ones: as many as are needed.
        places = np.concatenate([leaving, np.arange(n_old, n_old + len(coming) - len(leaving))])
        sources = np.arange(n_old + len(coming) - len(leaving))
        sources[places] = coming
        self.keys, self.pools = keys[sources], pools[sources]
        return coming - n_old, places

    def _few_candidates(self, keys: Floats) -> Ints | None:
        """Rows that have a chance in a full reservoir; None where they are many, or where classes have shares."""
        if self.policy != "reservoir" or not 0 < self.capacity == len(self):
            return None
        candidates = (keys < self.keys.max()).nonzero()[0]
        return candidates if len(candidates) <= _FEW else None

    def _displace(self, keys: Floats, candidates: Ints) -> tuple[list[int], list[int]]:
        """As :meth:`_share_out`, for a few rows: one by one, each takes the place of the largest key."""
        self.keys, source_of = self.keys.copy(), {}
        for row in candidates.tolist():
            place = int(self.keys.argmax())
            if keys[row] < self.keys[place]:
                self.keys[place] = keys[row]
                source_of[place] = row
        return list(source_of.values()), list(source_of)

    def _new_keys(self, rng: np.random.Generator, pools: Ints, features: torch.Tensor | None) -> Floats:
        if self.policy in ("recent", "ring"):
            n_before = -float(self.keys.min()) if len(self) else 0.0
            return -(n_before + 1 + np.arange(len(pools), dtype=np.float64))
        if self.policy == "herding":
            if features is None:
                raise ValueError("policy 'herding' orders rows by their features; give `features`.")
            return herding_keys(features, pools, self.capacity, self.renormalize)
        return rng.random(len(pools))

    def keep(self, stays: Bools) -> None:
        """Remove rows; of those that leave, nothing is left, and those that stay keep their order.

        Parameters
        ----------
        stays : ndarray of bool, shape (len(memory),)
        """
        kept = self.stored().take(torch.from_numpy(np.flatnonzero(stays)).to(self.rows.x.device))
        rows = self.rows.map(torch.zeros_like)
        for places, values in zip(rows.tensors(), kept.tensors(), strict=True):
            places[: len(kept)] = values
        self.rows, self.keys, self.pools = rows, self.keys[stays], self.pools[stays]

    def stored(self) -> Rows:
        """Views of the rows in use."""
        return self.rows.map(lambda t: t[: len(self)])

    def draw(self, n_rows: int, generator: torch.Generator, replacement: bool = True) -> Drawn:
        """Draw rows uniformly, and gather them later: ``batch.memory`` may be such a draw.

        Parameters
        ----------
        n_rows : int
        generator : torch.Generator
        replacement : bool, default=True
            Whether a row may be drawn again. If not, no more rows come than there are.

        Returns
        -------
        Drawn
        """
        if replacement:
            return Drawn(self, torch.randint(len(self), (n_rows,), generator=generator))
        return Drawn(self, torch.randperm(len(self), generator=generator)[:n_rows])

    def sample(self, n_rows: int, generator: torch.Generator, replacement: bool = True) -> Rows:
        """Rows drawn uniformly, with the parameters of :meth:`draw`."""
        return self.draw(n_rows, generator, replacement).rows()

    def widen(self, name: str, n_outputs: int) -> None:
        """Give a field more columns, with NaN where nothing was stored.

        Parameters
        ----------
        name : str
        n_outputs : int
            Columns that the field has then.
        """
        if self.rows.names():
            field = getattr(self.rows, name)
            wider = F.pad(field, (0, n_outputs - field.shape[1]), value=torch.nan)
            self.rows = Rows(**{**vars(self.rows), name: wider})

    def nbytes(self) -> int:
        """Bytes of what is stored."""
        return self.rows.nbytes() + self.keys.nbytes + self.pools.nbytes

    def is_finite(self) -> bool:
        """Whether no row has an infinite number."""
        return self.rows.is_finite()

    def snapshot(self) -> Callable[[], None]:
        """Note the contents; returns a function that brings them back."""
        rows, keys, pools = self.rows.map(torch.clone), self.keys, self.pools

        def restore() -> None:
            self.rows, self.keys, self.pools = rows, keys, pools

        return restore


@dataclass
class Drawn:
    """Places of a memory that were drawn.

    Parameters
    ----------
    memory : ReplayMemory
    index : torch.Tensor of int, shape (n_rows,)
        On the CPU.
    """

    memory: ReplayMemory
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.index)

    def rows(self) -> Rows:
        """The rows, gathered."""
        stored = self.memory.rows
        return stored.take(self.index.to(stored.x.device, non_blocking=True))


def store(
    stored: Sequence[torch.Tensor],
    offered: Sequence[torch.Tensor],
    source: Sequence[int] | Ints,
    target: Sequence[int] | Ints,
) -> None:
    """Copy the rows `source` of what is offered to the places `target` of what is stored."""
    if not len(source):
        return
    # Without `non_blocking`, a copy to the device waits for all that runs there.
    origins, places = (torch.as_tensor(i).to(stored[0].device, non_blocking=True) for i in (source, target))
    for kept, rows in zip(stored, offered, strict=True):
        kept.index_copy_(0, places, rows.index_select(0, origins))


class MemoryStack:
    """Memories of several networks as one: what they store are views of common tensors, so that one draw serves all.

    Parameters
    ----------
    memories : sequence of ReplayMemory
        Of one capacity.
    """

    def __init__(self, memories: Sequence[ReplayMemory]) -> None:
        self.memories = memories
        self._take_over()

    def _take_over(self) -> None:
        """Stack what is stored, if all store something."""
        self.rows = StackedRows()
        if all(memory.rows.names() for memory in self.memories):
            self.rows = stacked([memory.rows for memory in self.memories])
            for k, memory in enumerate(self.memories):
                memory.rows = rows_of(self.rows, k)

    def __len__(self) -> int:
        return min(map(len, self.memories))

    def gather(self, draws: Sequence[Drawn]) -> StackedRows:
        """Rows drawn from each memory, equally many, gathered at once.

        Parameters
        ----------
        draws : sequence of Drawn

        Returns
        -------
        StackedRows of shape (n_memories, n_rows, ...)
        """
        first = self.memories[0].capacity * torch.arange(len(draws))[:, None]
        index = (torch.stack([drawn.index for drawn in draws]) + first).flatten()
        index = index.to(self.rows.x.device, non_blocking=True)
        shape = (len(draws), len(draws[0]))
        return self.rows.map(lambda t: t.flatten(0, 1).index_select(0, index).unflatten(0, shape))

    def sample(self, n_rows: int, generators: Sequence[torch.Generator], replacement: bool = True) -> StackedRows:
        """Rows drawn from each, as :meth:`ReplayMemory.sample` does.

        Parameters
        ----------
        n_rows : int
        generators : sequence of torch.Generator
        replacement : bool, default=True

        Returns
        -------
        StackedRows of shape (n_memories, n_rows, ...)
        """
        return self.gather([m.draw(n_rows, g, replacement) for m, g in zip(self.memories, generators, strict=True)])

    def add(self, rngs: Sequence[np.random.Generator], rows: Rows) -> None:
        """Offer rows to each, as :meth:`ReplayMemory.add` does.

        Parameters
        ----------
        rngs : sequence of numpy.random.Generator
        rows : Rows of shape (n_memories, n_rows, ...)
        """
        if not self.rows.names():
            for k, (memory, rng) in enumerate(zip(self.memories, rngs, strict=True)):
                memory.add(rng, rows_of(rows, k))
            self._take_over()
            return
        capacity, n_rows = self.memories[0].capacity, rows.x.shape[1]
        each = [memory.admit(rng, y) for memory, rng, y in zip(self.memories, rngs, rows.y, strict=True)]
        source = [k * n_rows + row for k, (coming, _) in enumerate(each) for row in coming]
        target = [k * capacity + place for k, (_, places) in enumerate(each) for place in places]
        store([t.flatten(0, 1) for t in self.rows.tensors()], [t.flatten(0, 1) for t in rows.tensors()], source, target)

    def release(self) -> None:
        """Let each memory have tensors of its own again."""
        for memory in self.memories:
            memory.rows = memory.rows.map(torch.clone)


def smallest_keys(keys: Floats, pools: Ints, capacity: int) -> Bools:
    """Which rows stay if each pool keeps those with its smallest keys, within a fair share of the capacity.

    Parameters
    ----------
    keys, pools : ndarray of shape (n_rows,)
    capacity : int

    Returns
    -------
    ndarray of bool, shape (n_rows,)
    """
    if len(keys) <= capacity:
        return np.ones(len(keys), dtype=bool)
    if not np.any(pools != pools[0]):  # one pool needs no sorting
        stays = np.zeros(len(keys), dtype=bool)
        stays[np.argpartition(keys, capacity)[:capacity]] = True
        return stays
    _, pool, sizes = np.unique(pools, return_inverse=True, return_counts=True)
    order = np.lexsort((keys, pool))
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank < fair_shares(sizes, capacity)[pool]


def fair_shares(sizes: Ints, capacity: int) -> Ints:
    """Split a capacity equally among pools; what a small pool does not need, the others share.

    Parameters
    ----------
    sizes : ndarray of int, shape (n_pools,)
        What each pool could use.
    capacity : int

    Returns
    -------
    ndarray of int, shape (n_pools,)

    Examples
    --------
    >>> fair_shares(np.array([2, 100, 100]), 12)
    array([2, 5, 5])
    """
    shares = np.zeros_like(sizes)
    for n_served, pool in enumerate(np.argsort(sizes, kind="stable")):
        shares[pool] = min(sizes[pool], capacity // (len(sizes) - n_served))
        capacity -= shares[pool]
    return shares


def herding_keys(features: torch.Tensor, pools: Ints, capacity: int, renormalize: bool = False) -> Floats:
    """Place of each row in the herding order of its pool, as a share of the pool's rows: (place + ½) / rows.

    Parameters
    ----------
    features : torch.Tensor of shape (n_rows, n_features)
    pools : ndarray of int, shape (n_rows,)
    capacity : int
        Rows that cannot be among the first of their pool within it are not ordered; they get infinity.
    renormalize : bool, default=False
        As for :func:`herding_order`.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    _, pool, sizes = np.unique(pools, return_inverse=True, return_counts=True)
    # Other pools can only make a share smaller, but for the rounding of one row.
    depths = np.minimum(sizes, fair_shares(sizes, capacity) + 1)
    keys = np.full(len(pools), np.inf)
    for k, (size, depth) in enumerate(zip(sizes, depths, strict=True)):
        members = np.flatnonzero(pool == k)
        order = herding_order(features[torch.from_numpy(members).to(features.device)], depth, renormalize)
        keys[members[order.cpu().numpy()]] = (np.arange(depth) + 0.5) / size
    return keys


def herding_order(features: torch.Tensor, n_rows: int, renormalize: bool = False) -> torch.Tensor:
    r"""Order rows so that the mean of the first k stays near the mean of all: iCaRL's herding.

    The k-th row is the one, of those not yet taken, with the least
    :math:`\|\mu - \frac1k (\varphi(x) + \sum_{j<k} \varphi(p_j))\|`; renormalised, with both means scaled to length 1,
    so that it is the one with the largest cosine.

    Parameters
    ----------
    features : torch.Tensor of shape (n, n_features)
        φ.
    n_rows : int
        How many to order.
    renormalize : bool, default=False
        Whether the means are scaled to length 1.

    Returns
    -------
    torch.Tensor of int, shape (n_rows,)

    References
    ----------
    Rebuffi et al., iCaRL: incremental classifier and representation learning, 2017, algorithm 4.

    Examples
    --------
    >>> herding_order(torch.tensor([[0.0], [1.0], [4.0], [9.0]]), 3)
    tensor([2, 1, 3])
    """
    mean = features.mean(0)
    if renormalize:
        return _herding_order_by_cosine(features, F.normalize(mean, dim=0), n_rows)
    # ‖kμ − Σφ(p) − φ‖² = ‖φ‖² − 2 φ·(kμ − Σφ(p)) + a term that is the same for all.
    squares, target = features.square().sum(1), mean
    order = []
    for _ in range(n_rows):
        chosen = torch.addmv(squares, features, target, alpha=-2).argmin()[None]
        order.append(chosen)
        squares.index_fill_(0, chosen, torch.inf)
        target = target + mean - features.index_select(0, chosen)[0]
    return torch.cat(order) if order else torch.empty(0, dtype=torch.int64)


def _herding_order_by_cosine(features: torch.Tensor, mean: torch.Tensor, n_rows: int) -> torch.Tensor:
    """As :func:`herding_order`, renormalised; ‖μ − m‖² = 2 − 2 μ·m for means of length 1."""
    taken = features.new_zeros(len(features))
    total, order = torch.zeros_like(mean), []
    for _ in range(n_rows):
        chosen = (F.normalize(total + features) @ mean + taken).argmax()[None]
        order.append(chosen)
        taken.index_fill_(0, chosen, -torch.inf)
        total = total + features.index_select(0, chosen)[0]
    return torch.cat(order) if order else torch.empty(0, dtype=torch.int64)
