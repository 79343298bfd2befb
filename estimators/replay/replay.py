"""Experience replay: train on the new rows and on rows from a memory."""

from typing import Any, ClassVar

import torch
from skorch import NeuralNet
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.memory import POLICIES, ReplayMemory
from ..engine.modules import fixed_statistics
from ..engine.objective import with_groups
from ..engine.passes import Passes, forward_together, function_of
from ..engine.rows import Rows
from ..engine.work import note
from ..parameters import Integral, at_least, between, one_of
from ..strategy import NetworkStrategy

# Candidates of maximal interference for each row that is replayed: 50 for 10 in the paper.
_CANDIDATES_PER_ROW = 5


class Replay(NetworkStrategy):
    """(1−w) L(batch) + w L(memory batch)."""

    family = "replay"
    source = "Chaudhry et al. 2019 (tiny episodic memories); retrieval by interference: Aljundi et al. 2019"
    keeps = "samples"
    unlearns = "memory only"
    pure_steps = True
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size", "policy")
    later_parameters: ClassVar[tuple[str, ...]] = (
        "buffer_size",
        "retrieval",
        "n_candidates",
        "replay_batch_size",
        "replay_weight",
    )
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "policy": [one_of(*POLICIES)],
        "retrieval": [one_of("uniform", "mir")],
        "n_candidates": [None, at_least(1, Integral)],
        "replay_batch_size": [None, at_least(1, Integral)],
        "replay_weight": [between(0, 1), one_of("balanced")],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        policy: str = "reservoir",
        retrieval: str = "uniform",
        n_candidates: int | None = None,
        replay_batch_size: int | None = None,
        replay_weight: float | str = 0.5,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.buffer_size = buffer_size
        self.policy = policy
        self.retrieval = retrieval
        self.n_candidates = n_candidates
        self.replay_batch_size = replay_batch_size
        self.replay_weight = replay_weight
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """The weight of what is replayed may depend on the number of experiences."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, self.policy)
        k = call.experience
        call.state.w = (k - 1) / k if self.replay_weight == "balanced" else self.replay_weight

    def before_step(self, call: Call, batch: Rows) -> None:
        """Retrieve a memory batch: drawn uniformly, or chosen among candidates that are."""
        if not len(self.memory_):
            return
        n_rows = self.replay_batch_size or len(batch)
        if self.retrieval == "uniform":
            batch.memory = self.memory_.draw(n_rows, call.generator)
            return
        n_candidates = self.n_candidates or _CANDIDATES_PER_ROW * n_rows
        candidates = self.memory_.sample(n_candidates, call.generator, replacement=False)
        before, after = self._losses_around_step(call, batch, candidates)
        batch.memory = candidates.take(self.most_interfered(before, after, n_rows))

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """(1−w) L(batch) + w L(memory batch), in one forward pass."""
        if batch.memory is None:  # nothing to replay yet
            return super().loss(call, forward, batch)
        new, old = forward_together(forward, batch.x, batch.memory.x)
        w: float = call.state.w
        loss = call.objective.loss
        return (1 - w) * loss(new, batch.y) + w * loss(old, batch.memory.y, batch.memory.groups)

    def after_training(self, call: Call) -> None:
        """The rows of the call go to the memory."""
        features = F.normalize(self.network_features(call.rows.x)) if self.policy == "herding" else None
        self.memory_.add(call.rng("memory"), with_groups(call.objective, call.rows), features=features)

    def most_interfered(self, before: torch.Tensor, after: torch.Tensor, n_rows: int) -> torch.Tensor:
        """Places of the candidates whose losses rise most; of all, if there are no more than `n_rows`."""
        rise = (after - before).nan_to_num(nan=-torch.inf)  # rows without weight have no loss
        return rise.topk(min(n_rows, len(before))).indices

    def _losses_around_step(self, call: Call, batch: Rows, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each row before and after a virtual step of gradient descent on the batch alone."""
        x, y, groups = rows.x, rows.y, rows.groups
        assert groups is not None
        gradient = self.gradient_on(call, batch)
        row_losses = call.objective.row_losses
        with fixed_statistics(self.net_.module_) as module, torch.no_grad():
            stepped = parameters_to_vector(self.net_.trainable()).sub_(gradient * self.learning_rate)
            note(module, x, back=False)
            after, before = function_of(self.net_)(stepped, x), module(x)
            return row_losses(before, y, groups), row_losses(after, y, groups)


class ReplayClassifier(Replay, ContinualClassifier):
    r"""Experience replay: every step learns from a batch of new rows and one of rows from memory.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\text{memory batch})`, each a mean over its rows, in one forward pass. Rows go
    to the memory once, at the end of the call that brought them, so what is replayed comes from earlier calls.

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
    policy : {"reservoir", "recent", "class_balanced", "ring", "herding"}, default="reservoir"
        What stays in memory: a uniform sample of all rows so far, or the last of them; or, with equal shares for the
        classes, a uniform sample, the last rows, or those chosen by iCaRL's herding on the features that the network
        has when they come, scaled to length 1.
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
    >>> clf.memory_.stored().y.bincount().tolist()
    [5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    """

    later_parameters = ("policy",)


class ReplayRegressor(Replay, ContinualRegressor):
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
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        retrieval: str = "uniform",
        n_candidates: int | None = None,
        replay_batch_size: int | None = None,
        replay_weight: float | str = 0.5,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net,
            buffer_size=buffer_size,
            retrieval=retrieval,
            n_candidates=n_candidates,
            replay_batch_size=replay_batch_size,
            replay_weight=replay_weight,
            random_state=random_state,
        )
