"""LwF: learning without forgetting, by distilling the old network's answers on the new data."""

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import nn

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.modules import frozen_copy
from ..engine.passes import Passes
from ..engine.penalties import distillation_loss
from ..engine.rows import Rows
from ..parameters import above, between, one_of
from ..strategy import NetworkStrategy


class LwF(NetworkStrategy):
    """α L + (1−α) T² KL(teacher ‖ student); the teacher is the network after the last experience."""

    family = "distillation"
    source = "Li & Hoiem 2017; Hinton et al. 2015"
    pure_steps = True
    carries = {"teacher_": "teacher"}
    later_parameters: ClassVar[tuple[str, ...]] = ("alpha",)
    parameter_constraints = {
        "alpha": [between(0, 1), one_of("balanced")],
        "temperature": [above(0)],
        "scale_by_temperature": ["boolean"],
        "distilled_outputs": [one_of("old", "active")],
        "distillation_reduction": [one_of("sum", "mean")],
    }

    teacher_: nn.Module

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        alpha: float | str = 0.5,
        temperature: float = 2.0,
        scale_by_temperature: bool = True,
        distilled_outputs: str = "old",
        distillation_reduction: str = "sum",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.alpha = alpha
        self.temperature = temperature
        self.scale_by_temperature = scale_by_temperature
        self.distilled_outputs = distilled_outputs
        self.distillation_reduction = distillation_reduction
        self.active_outputs = active_outputs
        self.random_state = random_state

    def consolidate(self) -> None:
        """The network as it is becomes the teacher."""
        self.teacher_ = frozen_copy(self.net_.module_)

    def before_training(self, call: Call) -> None:
        """The teacher's answers for the new rows are computed once."""
        call.state.alpha = 1 / call.experience if self.alpha == "balanced" else self.alpha
        call.state.scale = self.temperature**2 if self.scale_by_temperature else 1.0
        if hasattr(self, "teacher_"):
            call.rows.taught = self.network_outputs(call.rows.x, self.teacher_)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """α L + (1−α) T² KL."""
        if "taught" not in batch.names():  # no teacher yet
            return super().loss(call, forward, batch)
        outputs, alpha = forward(batch.x), call.state.alpha
        distillation = self.distillation(call, outputs, batch.taught)
        loss: torch.Tensor = (
            alpha * call.objective.loss(outputs, batch.y) + (1 - alpha) * call.state.scale * distillation
        )
        return loss

    def distillation(self, call: Call, outputs: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """The distance of the student's outputs from the teacher's."""
        raise NotImplementedError


class LwFClassifier(LwF, ContinualClassifier):
    r"""Learning without forgetting: on the new rows, keep giving the old answers for the old classes.

    :math:`\alpha L + (1-\alpha)\, T^2\, \mathrm{KL}(p^T_{\text{teacher}} \,\|\, p^T_{\text{student}})`, where
    :math:`p^T` is the softmax of logits / T over the classes that the teacher had seen; where the active outputs are
    those of tasks, over each old task's classes by itself, averaged over old tasks. The teacher is the network after
    the last experience; its answers are computed once a call. No data are kept.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    alpha : float or "balanced", default=0.5
        Weight of the new data's loss; "balanced": 1/k in experience k. With 1.0 this is :class:`NaiveClassifier`.
    temperature : float, default=2.0
        T.
    scale_by_temperature : bool, default=True
        Whether the factor T² is there (Hinton et al.; van de Ven & Tolias 2018) or not (van de Ven et al. 2022).
    distilled_outputs : {"old", "active"}, default="old"
        Outputs that enter the student's softmax in the distillation: of the classes that the teacher had seen, or all
        that are active in L, so that on the new rows the old answers also speak against the new classes (van de Ven et
        al.). Where the active outputs are those of tasks always each old task's own.
    distillation_reduction : {"sum", "mean"}, default="sum"
        Over the outputs in the student's softmax: the sum is the divergence of the formula; the mean (van de Ven &
        Tolias 2018) is the divergence over their number, so that old answers weigh less the more classes there are.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of L, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    teacher_ : torch.nn.Module
        From the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Li & Hoiem, Learning without forgetting, 2017. Hinton, Vinyals & Dean, Distilling the knowledge in a neural
    network, 2015.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import LwFClassifier
    >>> clf = LwFClassifier(alpha="balanced", random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.strategy_info()["keeps"]
    'nothing'
    """

    later_parameters = ("temperature", "scale_by_temperature", "distilled_outputs", "distillation_reduction")

    def consolidate(self) -> None:
        """The network as it is becomes the teacher, for the outputs that it has learned."""
        super().consolidate()
        self._old_outputs_ = self._learned_outputs_

    def before_training(self, call: Call) -> None:
        """The teacher's answers for the new rows are computed once, and what they are about is known."""
        super().before_training(call)
        if hasattr(self, "teacher_"):
            # Tasks of as many classes in one table: a step costs as much with forty old tasks as with one.
            by_size: dict[int, list[NDArray[np.int64]]] = {}
            for outputs in self._old_outputs_:
                by_size.setdefault(len(outputs), []).append(outputs)
            call.state.old_outputs = [self.on_device(np.stack(same)) for same in by_size.values()]
            no_tasks = all(outputs is None for outputs in self.output_groups_.values())
            call.state.against_active = self.distilled_outputs == "active" and no_tasks

    def after_training(self, call: Call) -> None:
        """Keep over which outputs a teacher's softmax is taken: of each old task, or of all classes seen or active."""
        all_active = self.distilled_outputs == "active" and self.active_outputs == "all"
        everything = np.arange(len(self.classes_)) if all_active else self.seen_outputs_
        self._learned_outputs_ = [everything if c is None else c for c in self.output_groups_.values()]

    def distillation(self, call: Call, outputs: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """KL, a mean over old tasks."""
        state, teacher = call.state, call.objective.logits(taught)
        divergence = partial(distillation_loss, temperature=self.temperature, reduction=self.distillation_reduction)
        if state.against_active:
            [[old]] = state.old_outputs
            return divergence(call.objective.active_logits(outputs), teacher[..., old], outputs=old)
        student = call.objective.logits(outputs)
        losses = [divergence(student[..., k], teacher[..., k]).mean(-1) * len(k) for k in state.old_outputs]
        return sum(losses[1:], losses[0]) / sum(map(len, state.old_outputs))


class LwFRegressor(LwF, ContinualRegressor):
    r"""Learning without forgetting: on the new rows, keep giving the old answers.

    :math:`\alpha L + (1-\alpha)\,\overline{(f(x) - f_{\text{teacher}}(x))^2}`, both squared errors being means over
    rows and outputs. The teacher is the network after the last experience; its answers are computed once a call. No
    data are kept.

    What this asks for on a row is the weighted mean of the new target and the old answer: where new and old rows are
    alike but targets differ, the weight decides; where they are not, little is said about the old rows.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    alpha : float or "balanced", default=0.5
        Weight of the new data's loss; "balanced": 1/k in experience k. With 1.0 this is :class:`NaiveRegressor`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    teacher_ : torch.nn.Module
        From the second experience on.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Li & Hoiem, Learning without forgetting, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import LwFRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = LwFRegressor(alpha=0.9, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.strategy_info()["keeps"]
    'nothing'
    """

    def __init__(self, net: NeuralNet | None = None, *, alpha: float | str = 0.5, random_state: Any = None) -> None:
        super().__init__(net, alpha=alpha, scale_by_temperature=False, random_state=random_state)

    def distillation(self, call: Call, outputs: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """The squared error, a mean over rows and outputs."""
        return (outputs - taught).square().mean((-2, -1))
