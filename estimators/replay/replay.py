"""Experience replay: train on the new rows and on rows from a memory."""

import torch

from .._compat import Integral, at_least, between, one_of
from ..memory import POLICIES, ReplayMemory
from ..network import NetworkClassifier, NetworkStrategy


class Replay(NetworkStrategy):
    """(1−w) L(batch) + w L(memory batch)."""

    _family = "replay"
    _source = "Chaudhry et al. 2019 (tiny episodic memories)"
    _keeps = "samples"
    _constraints = {
        "buffer_size": [at_least(0, Integral)],
        "policy": [one_of(*POLICIES)],
        "replay_batch_size": [None, at_least(1, Integral)],
        "replay_weight": [between(0, 1), one_of("balanced")],
    }

    def __init__(
        self,
        net=None,
        *,
        buffer_size=200,
        policy="reservoir",
        replay_batch_size=None,
        replay_weight=0.5,
        active_outputs="auto",
        random_state=None,
    ):
        self.net = net
        self.buffer_size = buffer_size
        self.policy = policy
        self.replay_batch_size = replay_batch_size
        self.replay_weight = replay_weight
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _begin(self, X, y):
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, self.policy)
        k = self.n_experiences_
        self._w_ = (k - 1) / k if self.replay_weight == "balanced" else self.replay_weight
        return ()

    def _mix(self, batch):
        if not len(self.memory_):
            return batch
        return *batch, *self.memory_.sample(self.replay_batch_size or len(batch[0]), self._generator_)

    def _loss(self, forward, batch):
        if len(batch) == 2:  # nothing to replay yet
            return super()._loss(forward, batch)
        x, y, x_memory, y_memory, groups = batch
        new, old = forward(torch.cat([x, x_memory])).split([len(x), len(x_memory)])
        return (1 - self._w_) * self._task_loss(new, y) + self._w_ * self._task_loss(old, y_memory, groups)

    def _end(self, X, y):
        self.memory_.add(self._rng("memory"), X, y, self._row_groups(y))

    def _memory(self):
        return super()._memory() | {"replay": self.memory_.nbytes()}


class ReplayClassifier(Replay, NetworkClassifier):
    r"""Experience replay: every step learns from a batch of new rows and one of rows from memory.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\text{memory batch})`, each a mean over its rows, in one forward pass. Rows are
    offered to the memory once, at the end of the call that brought them, so what is replayed comes from earlier calls.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    policy : {"reservoir", "class_balanced"}, default="reservoir"
        A uniform sample of all rows so far, or equal shares for the classes.
    replay_batch_size : int, default=None
        Rows drawn from memory at each step, with replacement; None: as many as the batch has.
    replay_weight : float or "balanced", default=0.5
        w; "balanced": 1 − 1/k in experience k, so that each experience weighs the same.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row from memory has the active
        outputs of its own task.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Chaudhry et al., On tiny episodic memories in continual learning, 2019.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ReplayClassifier
    >>> clf = ReplayClassifier(buffer_size=50, policy="class_balanced", random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_.rows[1].bincount().tolist()
    [5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    """
