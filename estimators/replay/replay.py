"""Experience replay: train on the new rows and on rows from a memory."""

import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from .._compat import Integral, at_least, between, one_of
from ..memory import POLICIES
from ..modules import fixed_statistics
from ..network import NetworkClassifier, NetworkRegressor
from ..passes import function_of
from .base import Rehearsing, forward_together

# Candidates of maximal interference for each row that is replayed: 50 for 10 in the paper.
_CANDIDATES_PER_ROW = 5


class Replay(Rehearsing):
    """(1−w) L(batch) + w L(memory batch)."""

    _pure_steps = True
    _source = "Chaudhry et al. 2019 (tiny episodic memories); retrieval by interference: Aljundi et al. 2019"
    _constraints = {
        "policy": [one_of("reservoir")],
        "retrieval": [one_of("uniform", "mir")],
        "n_candidates": [None, at_least(1, Integral)],
        "replay_weight": [between(0, 1), one_of("balanced")],
    }

    def __init__(
        self,
        net=None,
        *,
        buffer_size=200,
        policy="reservoir",
        retrieval="uniform",
        n_candidates=None,
        replay_batch_size=None,
        replay_weight=0.5,
        active_outputs="auto",
        random_state=None,
    ):
        self.net = net
        self.buffer_size = buffer_size
        self.policy = policy
        self.retrieval = retrieval
        self.n_candidates = n_candidates
        self.replay_batch_size = replay_batch_size
        self.replay_weight = replay_weight
        self.active_outputs = active_outputs
        self.random_state = random_state

    @property
    def _draws_uniformly(self):
        return self.retrieval == "uniform"

    def _begin(self, X, y):
        k = self.n_experiences_
        self._w_ = (k - 1) / k if self.replay_weight == "balanced" else self.replay_weight
        return super()._begin(X, y)

    def _mix(self, batch):
        if self._draws_uniformly or not len(self.memory_):
            return super()._mix(batch)
        return *batch, *self._most_interfered(batch)

    def _loss(self, forward, batch):
        if len(batch) == 2:  # nothing to replay yet
            return super()._loss(forward, batch)
        x, y, x_memory, y_memory, groups = batch
        new, old = forward_together(forward, x, x_memory)
        return (1 - self._w_) * self._task_loss(new, y) + self._w_ * self._task_loss(old, y_memory, groups)

    def _end(self, X, y):
        self._remember(X, y)

    def _most_interfered(self, batch):
        """Of some candidates, those whose loss rises most by a step of gradient descent on the batch alone."""
        n_rows = self.replay_batch_size or len(batch[0])
        n_candidates = self.n_candidates or _CANDIDATES_PER_ROW * n_rows
        candidates = self.memory_.sample(n_candidates, self._generator_, replacement=False)
        x, y, groups = candidates
        lr = self.net_.optimizer_.param_groups[0]["lr"]
        gradient = self._gradient_on(*batch)
        with fixed_statistics(self.net_.module_) as module, torch.no_grad():
            stepped = parameters_to_vector(self.net_.trainable()).sub_(gradient, alpha=lr)
            after, before = function_of(self.net_)(stepped, x), module(x)
            rise = self._row_losses(after, y, groups) - self._row_losses(before, y, groups)
        most = rise.topk(min(n_rows, len(x))).indices
        return tuple(t.index_select(0, most) for t in candidates)

    def _row_losses(self, outputs, y, groups):
        """The loss of each row, whatever the criterion: the mean over a batch of that row."""
        criterion = self.net_.criterion_
        if type(criterion) is nn.CrossEntropyLoss and criterion.weight is None and criterion.reduction == "mean":
            logits = self._active_logits(outputs, groups)
            return F.cross_entropy(logits, y, reduction="none", label_smoothing=criterion.label_smoothing)

        def row_loss(*row):
            return self._task_loss(*(t[None] for t in row))

        return vmap(row_loss)(outputs, y, groups)


class ReplayClassifier(Replay, NetworkClassifier):
    r"""Experience replay: every step learns from a batch of new rows and one of rows from memory.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\text{memory batch})`, each a mean over its rows, in one forward pass. Rows are
    offered to the memory once, at the end of the call that brought them, so what is replayed comes from earlier calls.

    With ``retrieval="mir"``, maximally interfered retrieval, the memory batch is chosen from candidates drawn
    uniformly, without replacement: those with the largest :math:`\ell(\theta^v; x) - \ell(\theta; x)`, where
    :math:`\theta^v = \theta - \eta \nabla L(\text{batch})` is a virtual step of gradient descent with the learning rate
    η of the net. It costs three more forward passes and one backward pass a step; while it is computed, dropout is off
    and batch statistics stand still.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    policy : {"reservoir", "class_balanced", "ring", "herding"}, default="reservoir"
        What stays in memory: a uniform sample of all rows so far; or, with equal shares for the classes, a uniform
        sample, the last rows, or those chosen by iCaRL's herding on the features that the network has when they come,
        scaled to length 1.
    retrieval : {"uniform", "mir"}, default="uniform"
        What is drawn from memory.
    n_candidates : int, default=None
        Rows among which "mir" chooses; None: five times as many as it chooses.
    replay_batch_size : int, default=None
        Rows from memory at each step; None: as many as the batch has. Uniform draws are with replacement.
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
    Chaudhry et al., On tiny episodic memories in continual learning, 2019. Aljundi et al., Online continual learning
    with maximally interfered retrieval, 2019.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ReplayClassifier
    >>> clf = ReplayClassifier(buffer_size=50, policy="class_balanced", random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_.stored()[1].bincount().tolist()
    [5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    """

    _constraints = {"policy": [one_of(*POLICIES)]}


class ReplayRegressor(Replay, NetworkRegressor):
    r"""Experience replay: every step learns from a batch of new rows and one of rows from memory.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\text{memory batch})`, as :class:`ReplayClassifier`; L is the squared error, a
    mean over rows and outputs. The memory is a reservoir: a uniform sample of all rows so far.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveRegressor`.
    retrieval : {"uniform", "mir"}, default="uniform"
        What is drawn from memory; "mir": rows whose squared error would rise most by a step on the batch.
    n_candidates : int, default=None
        Rows among which "mir" chooses; None: five times as many as it chooses.
    replay_batch_size : int, default=None
        Rows from memory at each step; None: as many as the batch has. Uniform draws are with replacement.
    replay_weight : float or "balanced", default=0.5
        w; "balanced": 1 − 1/k in experience k, so that each experience weighs the same.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Chaudhry et al., On tiny episodic memories in continual learning, 2019. Aljundi et al., Online continual learning
    with maximally interfered retrieval, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import ReplayRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = ReplayRegressor(buffer_size=50, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    def __init__(
        self,
        net=None,
        *,
        buffer_size=200,
        retrieval="uniform",
        n_candidates=None,
        replay_batch_size=None,
        replay_weight=0.5,
        random_state=None,
    ):
        super().__init__(
            net,
            buffer_size=buffer_size,
            retrieval=retrieval,
            n_candidates=n_candidates,
            replay_batch_size=replay_batch_size,
            replay_weight=replay_weight,
            random_state=random_state,
        )
