"""Cumulative: keep everything, and go on training on all of it at each experience."""

import torch

from ..modules import tensor_bytes
from ..network import NetworkClassifier, NetworkStrategy


class Cumulative(NetworkStrategy):
    """The rule of cumulative training: every call trains on all rows so far, from the weights that are there."""

    _family = "baseline"
    _source = "upper bound: cumulative training"
    _keeps = "samples"

    rows_: tuple[torch.Tensor, ...]

    def __init__(self, net=None, *, active_outputs="auto", random_state=None):
        self.net = net
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _train(self, X, y):
        rows: tuple[torch.Tensor, ...] = (X, y, self._row_groups(y))
        if hasattr(self, "rows_"):
            rows = tuple(torch.cat(pair) for pair in zip(self.rows_, rows, strict=True))
        self.rows_ = rows
        super()._train(*rows[:2])

    def _begin(self, X, y):
        return self.rows_[2:]

    def _loss(self, forward, batch):
        x, y, groups = batch
        return self._task_loss(forward(x), y, groups)

    def _memory(self):
        return super()._memory() | {"replay": tensor_bytes(*getattr(self, "rows_", ()))}


class CumulativeClassifier(Cumulative, NetworkClassifier):
    """Keep all data and go on training on all of it at each call: an upper bound that never starts anew.

    Unlike :class:`JointClassifier` it starts each call from the current weights and optimiser state, so rows of early
    calls are seen in more epochs than rows of late ones.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row of an earlier call has the
        active outputs of its own task.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import CumulativeClassifier
    >>> clf = CumulativeClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_usage()["replay"] > 1437 * 64 * 4
    True
    """
