"""DER and DER++: dark experience replay, of rows with the logits that the network once gave them."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.memory import ReplayMemory
from ..engine.passes import Passes, forward_together
from ..engine.rows import Rows
from ..parameters import Integral, at_least
from ..strategy import NetworkStrategy


class DER(NetworkStrategy):
    """L + α ‖f(x′) − z′‖² + β L(x″, y″), with (x′, z′) and (x″, y″) drawn from memory independently."""

    family = "replay"
    source = "Buzzega et al. 2020"
    keeps = "samples"
    unlearns = "memory only"
    pure_steps = True
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size",)
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "alpha": [at_least(0)],
        "beta": [at_least(0)],
        "replay_batch_size": [None, at_least(1, Integral)],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        alpha: float = 0.1,
        beta: float = 0.5,
        replay_batch_size: int | None = None,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.buffer_size = buffer_size
        self.alpha = alpha
        self.beta = beta
        self.replay_batch_size = replay_batch_size
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """Widen the stored logits by the outputs of new classes."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)
        self.memory_.widen("logits", self.n_network_outputs())

    def before_step(self, call: Call, batch: Rows) -> None:
        """Draw both memory batches in one, which is cheaper: first rows whose logits are matched, then labelled."""
        n_rows = (self.replay_batch_size or len(batch)) * (bool(self.alpha) + bool(self.beta))
        if n_rows and len(self.memory_):
            batch.memory = self.memory_.draw(n_rows, call.generator)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """L + α ‖f(x′) − z′‖² + β L(x″, y″)."""
        memory, objective = batch.memory, call.objective
        if memory is None:  # nothing to replay yet
            return super().loss(call, forward, batch)
        new, old = forward_together(forward, batch.x, memory.x)
        loss = objective.loss(new, batch.y)
        n_rows, row = memory.groups.shape[-1], memory.groups.ndim - 1
        n_matched = n_rows // 2 if self.alpha and self.beta else n_rows * bool(self.alpha)
        n_labelled = n_rows - n_matched
        matched, labelled = torch.split(old, [n_matched, n_labelled], dim=row)
        if self.alpha:
            logits, z = objective.logits(matched), memory.logits.narrow(row, 0, n_matched)
            # Outputs that came later than the row were not stored; they are NaN, and count as equal.
            distance = (logits - torch.where(z.isnan(), logits.detach(), z)).square().sum(-1)
            loss = loss + self.alpha * distance.mean(-1)
        if self.beta:
            y, groups = (t.narrow(row, n_matched, n_labelled) for t in (memory.y, memory.groups))
            loss = loss + self.beta * objective.loss(labelled, y, groups)
        return loss

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The batch goes to the memory, with the logits that it had before the step."""
        assert batch.outputs is not None
        groups = call.objective.groups_of(batch.y)
        logits = call.objective.logits(batch.outputs[..., : batch.x.shape[-2], :])
        self.memory_.add(call.rng("memory"), Rows(x=batch.x, y=batch.y, groups=groups, logits=logits))


class DERClassifier(DER, ContinualClassifier):
    r"""Dark experience replay: rows in memory keep the logits that the network gave them, and must go on getting them.

    :math:`L(\text{batch}) + \alpha\,\|f(x') - z'\|^2 + \beta\,L(x'', y'')`, where :math:`(x', z')` and
    :math:`(x'', y'')` are two memory batches that are drawn independently. The squared distance is a *sum over logits*
    and a mean over rows; the authors' program takes the mean over logits, so that their α is ours times the number of
    classes. β = 0 is DER, β > 0 DER++.

    Every batch goes to the memory, a reservoir, when it is learned, and is stored with its logits from before the
    update. As in the paper this happens in every epoch: the memory is a uniform sample of all (row, epoch) pairs, in
    which a row may occur with its logits of several times; so it knows the rows of the running experience, too.

    Logits are compared only of outputs that existed when they were stored. What DER (without β) knows of old
    against new classes are the logits of new classes on old rows; it needs all classes announced at the first call,
    ``partial_fit(X, y, classes=...)``, where classes arrive over time and no task ids are given. DER++ does not.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    alpha : float, default=0.1
        Weight of the distance of logits. With ``alpha=0, beta=0`` this is :class:`NaiveClassifier`.
    beta : float, default=0.5
        Weight of the loss of rows from memory.
    replay_batch_size : int, default=None
        Rows in each of the memory batches, drawn with replacement; None: as many as the batch has.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of L, as for :class:`NaiveClassifier`; a row from memory has the active outputs
        of its own task.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Buzzega et al., Dark experience for general continual learning: a strong, simple baseline, 2020.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import DERClassifier
    >>> digits, clf = load_digits(), DERClassifier(random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.8
    True
    """


class DERRegressor(DER, ContinualRegressor):
    r"""Dark experience replay: rows in memory keep the outputs that the network gave them, and must go on getting them.

    :math:`L(\text{batch}) + \alpha\,\|f(x') - z'\|^2 + \beta\,L(x'', y'')`, as :class:`DERClassifier`, with outputs in
    the place of logits. The squared distance is a sum over outputs and a mean over rows; L, the squared error, is a
    mean over both. Stored outputs are those before the update, so those of early rows are poor answers.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveRegressor`.
    alpha : float, default=0.1
        Weight of the distance of outputs. With ``alpha=0, beta=0`` this is :class:`NaiveRegressor`.
    beta : float, default=0.5
        Weight of the loss of rows from memory.
    replay_batch_size : int, default=None
        Rows in each of the memory batches, drawn with replacement; None: as many as the batch has.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Buzzega et al., Dark experience for general continual learning: a strong, simple baseline, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import DERRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = DERRegressor(random_state=0)
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
        alpha: float = 0.1,
        beta: float = 0.5,
        replay_batch_size: int | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net,
            buffer_size=buffer_size,
            alpha=alpha,
            beta=beta,
            replay_batch_size=replay_batch_size,
            random_state=random_state,
        )
