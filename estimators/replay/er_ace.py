"""ER-ACE: experience replay with asymmetric cross-entropy."""

import torch

from ..network import NetworkClassifier
from .base import Rehearsing, forward_together


class ERACE(Rehearsing):
    """L(batch, over the classes in it) + L(memory batch, over all classes)."""

    _pure_steps = True
    _source = "Caccia et al. 2022"

    def __init__(self, net=None, *, buffer_size=200, replay_batch_size=None, active_outputs="auto", random_state=None):
        self.net = net
        self.buffer_size = buffer_size
        self.replay_batch_size = replay_batch_size
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _begin(self, X, y):
        super()._begin(X, y)
        # Only the memory batch compares new classes with old ones, so it must have rows of both.
        self._remember(X, y)
        return ()

    def _loss(self, forward, batch):
        if len(batch) == 2:  # no memory
            return super()._loss(forward, batch)
        x, y, x_memory, y_memory, groups = batch
        new, old = forward_together(forward, x, x_memory)
        absent = (y[..., None] != torch.arange(new.shape[-1], device=y.device)).all(-2, keepdim=True)
        own_classes = self._active_logits(new).masked_fill(absent, -torch.inf)
        return self._loss_of_logits(own_classes, y) + self._task_loss(old, y_memory, groups)


class ERACEClassifier(ERACE, NetworkClassifier):
    r"""Experience replay with asymmetric cross-entropy: new rows do not push old classes away.

    :math:`L(\text{batch};\ C_\text{batch}) + L(\text{memory batch};\ C)`, each a mean over its rows: in the softmax of
    new rows there are only the classes that occur in their batch; in that of rows from memory, all active ones. So
    only the memory compares new classes with old ones. It must therefore have rows of both: the rows of a call are
    offered to it when the call starts (in the paper's online setting, one by one as they are seen), and it is at all
    times a uniform sample of everything given so far.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    replay_batch_size : int, default=None
        Rows drawn from memory at each step, with replacement; None: as many as the batch has.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of rows from memory, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Caccia et al., New insights on reducing abrupt representation change in online continual learning, 2022.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ERACEClassifier
    >>> digits, clf = load_digits(), ERACEClassifier(random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.8
    True
    """
