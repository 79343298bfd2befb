"""What strategies with a replay memory share."""

import torch
from torch.nn import functional as F

from .._compat import Integral, at_least
from ..memory import ReplayMemory
from ..modules import Features
from ..network import NetworkStrategy


class Remembering(NetworkStrategy):
    """A strategy with a memory of rows; when rows are offered to it, and what it is for, a method says itself."""

    _family = "replay"
    _keeps = "samples"
    _constraints = {
        "buffer_size": [at_least(0, Integral)],
        "replay_batch_size": [None, at_least(1, Integral)],
    }
    policy = "reservoir"
    buffer_size: int
    replay_batch_size: int | None

    def _begin(self, X, y):
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, self.policy)
        return ()

    def _remember(self, X, y, pools=None):
        """Offer the rows of a call, with the group of active outputs of each."""
        features = self._features(X) if self.policy == "herding" else None
        self.memory_.add(self._rng("memory"), X, y, self._row_groups(y), pools=pools, features=features)

    def _features(self, X):
        """What enters the head, each row scaled to length 1, as iCaRL does."""
        return F.normalize(self._outputs(X, Features(self.net_.module_)))

    def _drawn(self, batch):
        """Rows drawn from memory, by default as many as the batch has."""
        return self.memory_.sample(self._n_replayed(batch), self._generator_)

    def _n_replayed(self, batch):
        return self.replay_batch_size or len(batch[0])

    def _memory(self):
        return super()._memory() | {"replay": self.memory_.nbytes() if hasattr(self, "memory_") else 0}


class Rehearsing(Remembering):
    """A strategy that learns rows drawn from memory beside every batch."""

    @property
    def _draws_uniformly(self):
        """Whether what is drawn depends on nothing but chance."""
        return True

    def _n_drawn(self, batch):
        """How many rows are drawn for a batch."""
        return self._n_replayed(batch) if len(self.memory_) else 0

    def _offered(self, batch, outputs):
        """What a batch that was learned gives to the memory; nothing where rows are offered at the end of a call."""
        return ()

    def _mix(self, batch):
        n_rows = self._n_drawn(batch)
        return (*batch, *self.memory_.sample(n_rows, self._generator_)) if n_rows else batch


def forward_together(forward, *inputs):
    """Outputs for several tensors of rows, in one forward pass.

    Parameters
    ----------
    forward : callable
    *inputs : torch.Tensor

    Returns
    -------
    tuple of torch.Tensor
    """
    return forward(torch.cat(inputs, dim=-2)).split([x.shape[-2] for x in inputs], dim=-2)
