"""Replay memory: a bounded sample of the rows seen so far."""

import numpy as np
import torch

from .modules import tensor_bytes

POLICIES = ("reservoir", "class_balanced")


class ReplayMemory:
    """At most `capacity` rows of the stream, in tensors allocated once.

    Every row gets a key when it is offered, and the rows with the smallest keys stay. Policies differ in the keys and
    in who competes with whom:

    - ``"reservoir"``: random keys, all rows compete: a uniform sample of the stream, whatever its order and chunking,
      as Vitter's reservoir gives;
    - ``"class_balanced"``: random keys, rows compete within their class, and classes get equal shares of the capacity
      (what one class cannot fill, the others share).

    Parameters
    ----------
    capacity : int
        Number of rows.
    policy : {"reservoir", "class_balanced"}

    Attributes
    ----------
    rows : tuple of torch.Tensor
        What is stored, with `capacity` rows each, of which the first ``len(memory)`` are in use.
    keys, pools : ndarray of shape (len(memory),)
        Key of each row, and the pool within which it competes.

    References
    ----------
    Vitter, Random sampling with a reservoir, 1985. Chrysakis & Moens, Online continual learning from imbalanced data,
    2020.

    Examples
    --------
    >>> import numpy as np, torch
    >>> memory = ReplayMemory(4, "class_balanced")
    >>> memory.add(np.random.default_rng(0), torch.arange(10.0)[:, None], torch.tensor([0] * 8 + [1] * 2))
    >>> memory.rows[1].sort().values
    tensor([0, 0, 1, 1])
    """

    def __init__(self, capacity, policy):
        self.capacity = capacity
        self.policy = policy
        self.rows = ()
        self.keys = np.empty(0)
        self.pools = np.empty(0, dtype=np.int64)

    def __len__(self):
        return len(self.keys)

    def add(self, rng, x, y, *fields):
        """Offer rows; those whose keys are small enough stay.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws the keys.
        x, y, *fields : torch.Tensor
            With one row per sample. The class of a row is its `y`.
        """
        offered = (x, y, *fields)
        if not self.rows:
            self.rows = tuple(t.new_zeros((self.capacity, *t.shape[1:])) for t in offered)
        n_old = len(self)
        keys = np.concatenate([self.keys, rng.random(len(x))])
        new_pools = np.zeros(len(x), dtype=np.int64) if self.policy == "reservoir" else y.cpu().numpy()
        pools = np.concatenate([self.pools, new_pools])
        stays = smallest_keys(keys, pools, self.capacity)
        coming = n_old + np.flatnonzero(stays[n_old:])
        leaving = np.flatnonzero(~stays[:n_old])
        # Those who come take the places of those who leave, then free ones: as many as are needed.
        places = np.concatenate([leaving, np.arange(n_old, n_old + len(coming) - len(leaving))])
        self.keys = np.concatenate([self.keys, np.empty(len(coming) - len(leaving))])
        self.pools = np.concatenate([self.pools, np.empty(len(coming) - len(leaving), dtype=np.int64)])
        self.keys[places], self.pools[places] = keys[coming], pools[coming]
        source, target = (torch.from_numpy(index).to(x.device) for index in (coming - n_old, places))
        for stored, t in zip(self.rows, offered, strict=True):
            stored.index_copy_(0, target, t.detach().index_select(0, source))

    def sample(self, n_rows, generator):
        """Rows drawn uniformly, with replacement.

        Parameters
        ----------
        n_rows : int
        generator : torch.Generator

        Returns
        -------
        tuple of torch.Tensor
            As given to :meth:`add`.
        """
        index = torch.randint(len(self), (n_rows,), generator=generator).to(self.rows[0].device)
        return tuple(t.index_select(0, index) for t in self.rows)

    def nbytes(self):
        """Bytes of what is stored."""
        return tensor_bytes(*self.rows) + self.keys.nbytes + self.pools.nbytes

    def snapshot(self):
        """Note the contents; returns a function that brings them back."""
        rows, keys, pools = tuple(t.clone() for t in self.rows), self.keys, self.pools

        def restore():
            self.rows, self.keys, self.pools = rows, keys, pools

        return restore


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
