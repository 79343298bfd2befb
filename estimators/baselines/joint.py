"""Joint: keep everything, and train from scratch on it at each experience."""

import torch

from ..modules import tensor_bytes
from ..network import NetworkClassifier, NetworkStrategy


class Joint(NetworkStrategy):
    """The rule of joint training: every call trains a new network on all rows so far."""

    _family = "baseline"
    _source = "upper bound: joint training"
    _keeps = "samples"

    def __init__(self, net=None, *, active_outputs="auto", random_state=None):
        self.net = net
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _ready_net(self):
        self.net_ = self._new_net(self._n_outputs())

    def _train(self, X, y):
        rows = (X, y, self._row_groups(y))
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


class JointClassifier(Joint, NetworkClassifier):
    """Keep all data and train from scratch on all of it at each call: the upper bound that strategies are held to.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
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
    >>> from forgetless.estimators import JointClassifier
    >>> clf = JointClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_usage()["replay"] > 1437 * 64 * 4
    True
    """
