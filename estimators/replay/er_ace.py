"""ER-ACE: experience replay with asymmetric cross-entropy."""

from typing import Any

import torch
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.loop import parts_of
from ..engine.memory import ReplayMemory
from ..engine.objective import Classification, with_groups
from ..engine.passes import Passes, forward_together
from ..engine.rows import Rows
from ..parameters import Integral, at_least
from ..strategy import NetworkClassifier


class ERACEClassifier(NetworkClassifier):
    r"""Experience replay with asymmetric cross-entropy: new rows do not push old classes away.

    :math:`L(\text{batch};\ C_\text{batch}) + L(\text{memory batch};\ C)`, each a mean over its rows: in the softmax of
    new rows there are only the classes that occur in their batch; in that of rows from memory, all active ones. So
    only the memory compares new classes with old ones. It must therefore have rows of both: the rows of a call go to
    it when the call starts (in the paper's online setting, one by one as they are seen), and it is at all
    times a uniform sample of everything given so far.

    The authors' program masks only the classes seen before that are not in the batch: outputs of classes that are
    announced and have not come yet stay in the softmax of new rows there, and not here. Where classes
    are announced, that makes the loss larger by some hundredths (0.04 in the first experience of split digits); where
    they are not, it is the same.

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

    family = "replay"
    source = "Caccia et al. 2022"
    keeps = "samples"
    unlearns = "memory only"
    pure_steps = True
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size",)
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "replay_batch_size": [None, at_least(1, Integral)],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        replay_batch_size: int | None = None,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.buffer_size = buffer_size
        self.replay_batch_size = replay_batch_size

    def before_training(self, call: Call) -> None:
        """The rows to learn go to the memory: it alone compares new classes with old ones, and needs both."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)
        self.memory_.add(call.rng("memory"), with_groups(call.objective, parts_of(self.net_, call).rows))

    def before_step(self, call: Call, batch: Rows) -> None:
        """Draw a memory batch."""
        if len(self.memory_):
            batch.memory = self.memory_.draw(self.replay_batch_size or len(batch), call.generator)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """L(batch, over the classes in it) + L(memory batch, over all classes)."""
        if batch.memory is None:  # no memory
            return super().loss(call, forward, batch)
        objective, y = call.objective, batch.y
        assert isinstance(objective, Classification)
        new, old = forward_together(forward, batch.x, batch.memory.x)
        absent = (y[..., None] != torch.arange(new.shape[-1], device=y.device)).all(-2, keepdim=True)
        own_classes = objective.active_logits(new).masked_fill(absent, -torch.inf)
        return objective.loss_of_logits(own_classes, y) + objective.loss(old, batch.memory.y, batch.memory.groups)
