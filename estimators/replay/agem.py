"""A-GEM: averaged gradient episodic memory."""

from typing import Any

import torch
from skorch import NeuralNet
from torch.linalg import vecdot

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.loop import Descend
from ..engine.memory import ReplayMemory
from ..engine.objective import with_groups
from ..engine.rows import Rows
from ..parameters import Integral, at_least
from ..strategy import NetworkStrategy


class AGEM(NetworkStrategy):
    """g − min(0, g·r) r / r·r, with r the gradient of a memory batch."""

    family = "replay"
    source = "Chaudhry et al. 2019 (A-GEM)"
    keeps = "samples"
    pure_steps = True
    unlearns = "memory only"
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size",)
    later_parameters = ("buffer_size", "memory_batch_size")
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "memory_batch_size": [at_least(1, Integral)],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        memory_batch_size: int = 128,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.buffer_size = buffer_size
        self.memory_batch_size = memory_batch_size
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """There is a memory from the first call on."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)

    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """One step, when the gradient of a memory batch is there."""
        if len(self.memory_):
            drawn = self.memory_.sample(self.memory_batch_size, call.generator, replacement=False)
            call.state.reference = self.gradient_on(call, drawn)
        return descend(batch)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Project the gradient, where it has an obtuse angle with that of the memory batch."""
        if not len(self.memory_):
            return
        reference, tiny = call.state.reference, torch.finfo(gradient.dtype).tiny
        # Decided on the device: where g·r ≥ 0, the conflict is 0 and the gradient stays.
        conflict = vecdot(gradient, reference).clamp(max=0) / vecdot(reference, reference).clamp(min=tiny)
        gradient.addcmul_(conflict[..., None], reference, value=-1)

    def after_training(self, call: Call) -> None:
        """The rows of the call go to the memory."""
        self.memory_.add(call.rng("memory"), with_groups(call.objective, call.rows))


class AGEMClassifier(AGEM, ContinualClassifier):
    r"""Averaged gradient episodic memory: no step may raise the loss on a memory batch, to first order.

    The gradient g of the new batch is projected, :math:`g - \frac{g^\top r}{r^\top r} r`, where it has an obtuse angle
    with the gradient r of the mean loss of a memory batch (:math:`g^\top r < 0`), and else left as it is. The memory
    batch is drawn afresh at each step; for its gradient dropout is off and batch statistics stand still. Rows from
    memory are not learned.

    The memory is a uniform sample of the rows of all earlier calls.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    memory_batch_size : int, default=128
        Rows drawn from memory at each step, without replacement.
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

    See Also
    --------
    GEMClassifier : The same with one condition for each experience.

    References
    ----------
    Chaudhry et al., Efficient lifelong learning with A-GEM, 2019.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import AGEMClassifier
    >>> clf = AGEMClassifier(buffer_size=100, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> len(clf.memory_)
    100
    """


class AGEMRegressor(AGEM, ContinualRegressor):
    r"""Averaged gradient episodic memory: no step may raise the loss on a memory batch, to first order.

    As :class:`AGEMClassifier`, with the squared error (mean over rows and outputs) as the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveRegressor`.
    memory_batch_size : int, default=128
        Rows drawn from memory at each step, without replacement.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Chaudhry et al., Efficient lifelong learning with A-GEM, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import AGEMRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = AGEMRegressor(buffer_size=50, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> len(reg.memory_)
    50
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        memory_batch_size: int = 128,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, buffer_size=buffer_size, memory_batch_size=memory_batch_size, random_state=random_state)
