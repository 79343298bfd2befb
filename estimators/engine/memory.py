"""Replay memory: a bounded sample of the rows seen so far."""

import numpy as np
import torch
from torch.nn import functional as F

from .modules import tensor_bytes

# Up to so many rows a loop is faster than sorting.
_FEW = 16
POLICIES = ("reservoir", "class_balanced", "ring", "herding")


class ReplayMemory:
    """At most `capacity` rows of the stream, in tensors allocated once.

    Every row gets a key when it is offered, and the rows with the smallest keys stay. Policies differ in the keys and
    in who competes with whom. With ``"reservoir"`` all rows do; else rows compete within their class, and classes get
    equal shares of the capacity (what one class cannot fill, the others share):

    - ``"reservoir"``: random keys: a uniform sample of the stream, whatever its order and chunking, as Vitter's
      reservoir gives;
    - ``"class_balanced"``: random keys: a uniform sample of each class;
    - ``"ring"``: later rows have smaller keys: the last rows of each class, first in, first out;
    - ``"herding"``: keys are places in the order of :func:`herding_order`: rows whose mean stays near the mean of their
      class. Where a class comes in several calls, the best of each stay, in proportion to the calls' rows.

    Parameters
    ----------
    capacity : int
        Number of rows.
    policy : {"reservoir", "class_balanced", "ring", "herding"}

    Attributes
    ----------
    rows : tuple of torch.Tensor
        What is stored, with `capacity` rows each, of which the first ``len(memory)`` are in use.
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
    >>> memory.add(np.random.default_rng(0), torch.arange(10.0)[:, None], torch.tensor([0] * 8 + [1] * 2))
    >>> memory.stored()[1].sort().values
    tensor([0, 0, 1, 1])
    """

    def __init__(self, capacity, policy):
        self.capacity = capacity
        self.policy = policy
        self.rows: tuple[torch.Tensor, ...] = ()
        self.keys = np.empty(0)
        self.pools = np.empty(0, dtype=np.int64)

    def __len__(self):
        return len(self.keys)

    def add(self, rng, x, y, *fields, pools=None, features=None):
        """Offer rows; those whose keys are small enough stay.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws the keys.
        x, y, *fields : torch.Tensor
            With one row per sample.
        pools : ndarray of int, default=None
            Whom each row competes with, in place of its class `y`; not used by "reservoir".
        features : torch.Tensor of shape (n_rows, n_features), default=None
            Where "herding" measures distances.
        """
        offered = (x, y, *fields)
        if not self.rows:
            self.rows = tuple(t.new_zeros((self.capacity, *t.shape[1:])) for t in offered)
        _store(self.rows, offered, *self._admit(rng, y, pools, features))

    def _admit(self, rng, y, pools=None, features=None):
        """Note the keys of those who stay; returns which of the new rows come, and to which places."""
        if self.policy == "reservoir":
            pools = np.zeros(len(y), dtype=np.int64)
        elif pools is None:
            pools = y.cpu().numpy()
        keys = self._new_keys(rng, pools, features)
        few = self._few_candidates(keys)
        return self._share_out(keys, pools) if few is None else self._displace(keys, few)

    def _share_out(self, keys, pools):
        """As :meth:`_admit`, for rows with these keys."""
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

    def _few_candidates(self, keys):
        """Rows that have a chance in a full reservoir; None where they are many, or where classes have shares."""
        if self.policy != "reservoir" or not 0 < self.capacity == len(self):
            return None
        candidates = (keys < self.keys.max()).nonzero()[0]
        return candidates if len(candidates) <= _FEW else None

    def _displace(self, keys, candidates):
        """As :meth:`_share_out`, for a few rows: one by one, each takes the place of the largest key."""
        self.keys, source_of = self.keys.copy(), {}
        for row in candidates.tolist():
            place = int(self.keys.argmax())
            if keys[row] < self.keys[place]:
                self.keys[place] = keys[row]
                source_of[place] = row
        return list(source_of.values()), list(source_of)

    def _new_keys(self, rng, pools, features):
        if self.policy == "ring":
            n_before = -self.keys.min() if len(self) else 0.0
            return -(n_before + 1 + np.arange(len(pools)))
        if self.policy == "herding":
            return herding_keys(features, pools, self.capacity)
        return rng.random(len(pools))

    def stored(self):
        """Views of the rows in use, as given to :meth:`add`."""
        return tuple(t[: len(self)] for t in self.rows)

    def sample(self, n_rows, generator, replacement=True):
        """Rows drawn uniformly.

        Parameters
        ----------
        n_rows : int
        generator : torch.Generator
        replacement : bool, default=True
            Whether a row may be drawn again. If not, no more rows come than there are.

        Returns
        -------
        tuple of torch.Tensor
            As given to :meth:`add`.
        """
        if replacement:
            index = torch.randint(len(self), (n_rows,), generator=generator)
        else:
            index = torch.randperm(len(self), generator=generator)[:n_rows]
        index = index.to(self.rows[0].device, non_blocking=True)
        return tuple(t.index_select(0, index) for t in self.rows)

    def widen(self, field, n_columns):
        """Give a field more columns, with NaN where nothing was stored.

        Parameters
        ----------
        field : int
            Position among what :meth:`add` is given.
        n_columns : int
        """
        if self.rows:
            wider = F.pad(self.rows[field], (0, n_columns - self.rows[field].shape[1]), value=torch.nan)
            self.rows = (*self.rows[:field], wider, *self.rows[field + 1 :])

    def nbytes(self):
        """Bytes of what is stored."""
        return tensor_bytes(*self.rows) + self.keys.nbytes + self.pools.nbytes

    def snapshot(self):
        """Note the contents; returns a function that brings them back."""
        rows, keys, pools = tuple(t.clone() for t in self.rows), self.keys, self.pools

        def restore():
            self.rows, self.keys, self.pools = rows, keys, pools

        return restore


def _store(stored, offered, source, target):
    """Copy the rows `source` of what is offered to the places `target` of what is stored."""
    if not len(source):
        return
    # Without `non_blocking`, a copy to the device waits for all that runs there.
    source, target = (torch.as_tensor(i).to(stored[0].device, non_blocking=True) for i in (source, target))
    for place, rows in zip(stored, offered, strict=True):
        place.index_copy_(0, target, rows.index_select(0, source))


class MemoryStack:
    """Memories of several networks as one: what they store are views of common tensors, so that one draw serves all.

    Parameters
    ----------
    memories : sequence of ReplayMemory
        Of one capacity, and none of them empty.
    """

    def __init__(self, memories):
        self.memories = memories
        self.rows = tuple(torch.stack(field) for field in zip(*(m.rows for m in memories), strict=True))
        for k, memory in enumerate(memories):
            memory.rows = tuple(field[k] for field in self.rows)

    def sample(self, n_rows, generators):
        """Rows drawn uniformly from each, with replacement, as :meth:`ReplayMemory.sample` draws them.

        Parameters
        ----------
        n_rows : int
        generators : sequence of torch.Generator

        Returns
        -------
        tuple of torch.Tensor of shape (n_memories, n_rows, ...)
        """
        draws = [
            torch.randint(len(memory), (n_rows,), generator=generator)
            for memory, generator in zip(self.memories, generators, strict=True)
        ]
        first = self.memories[0].capacity * torch.arange(len(draws))[:, None]
        index = (torch.stack(draws) + first).flatten().to(self.rows[0].device, non_blocking=True)
        return tuple(t.flatten(0, 1).index_select(0, index).unflatten(0, (len(draws), n_rows)) for t in self.rows)

    def add(self, rngs, *fields):
        """Offer rows to each, as :meth:`ReplayMemory.add` does.

        Parameters
        ----------
        rngs : sequence of numpy.random.Generator
        *fields : torch.Tensor of shape (n_memories, n_rows, ...)
        """
        capacity, n_rows = self.rows[0].shape[1], fields[0].shape[1]
        each = [m._admit(rng, y) for m, rng, y in zip(self.memories, rngs, fields[1], strict=True)]
        source = [k * n_rows + row for k, (rows, _) in enumerate(each) for row in rows]
        target = [k * capacity + place for k, (_, places) in enumerate(each) for place in places]
        _store([t.flatten(0, 1) for t in self.rows], [t.flatten(0, 1) for t in fields], source, target)

    def release(self):
        """Let each memory have tensors of its own again."""
        for memory in self.memories:
            memory.rows = tuple(t.clone() for t in memory.rows)


def smallest_keys(keys, pools, capacity):
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


def fair_shares(sizes, capacity):
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


def herding_keys(features, pools, capacity):
    """Place of each row in the herding order of its pool, as a share of the pool's rows: (place + ½) / rows.

    Parameters
    ----------
    features : torch.Tensor of shape (n_rows, n_features)
    pools : ndarray of int, shape (n_rows,)
    capacity : int
        Rows that cannot be among the first of their pool within it are not ordered; they get infinity.

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
        order = herding_order(features[torch.from_numpy(members).to(features.device)], depth)
        keys[members[order.cpu().numpy()]] = (np.arange(depth) + 0.5) / size
    return keys


def herding_order(features, n_rows):
    r"""Order rows so that the mean of the first k stays near the mean of all: iCaRL's herding.

    The k-th row is the one, of those not yet taken, with the least
    :math:`\|\mu - \frac1k (\varphi(x) + \sum_{j<k} \varphi(p_j))\|`.

    Parameters
    ----------
    features : torch.Tensor of shape (n, n_features)
        φ.
    n_rows : int
        How many to order.

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
    # ‖kμ − Σφ(p) − φ‖² = ‖φ‖² − 2 φ·(kμ − Σφ(p)) + a term that is the same for all.
    squares, target = features.square().sum(1), mean
    order = []
    for _ in range(n_rows):
        chosen = torch.addmv(squares, features, target, alpha=-2).argmin()[None]
        order.append(chosen)
        squares.index_fill_(0, chosen, torch.inf)
        target = target + mean - features.index_select(0, chosen)[0]
    return torch.cat(order) if order else torch.empty(0, dtype=torch.int64)
