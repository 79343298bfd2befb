"""LwF: learning without forgetting, by distilling the old network's answers on the new data."""

import numpy as np
import torch
from torch.nn import functional as F

from .._compat import Interval, Real, between, one_of
from ..network import NetworkClassifier, NetworkRegressor
from .teacher import Teacher


def distillation_loss(student, teacher, temperature, columns=slice(None)):
    """KL(teacher ‖ student) of softmax outputs at a temperature, mean over rows.

    Parameters
    ----------
    student, teacher : torch.Tensor of shape (n_rows, n_outputs)
        Logits.
    temperature : float
    columns : index, default=slice(None)
        Which of the student's outputs the teacher's are; of all others the teacher says that they have probability 0.

    Returns
    -------
    torch.Tensor, scalar

    References
    ----------
    Hinton, Vinyals & Dean, Distilling the knowledge in a neural network, 2015.
    """
    log_q = F.log_softmax(student / temperature, dim=-1)[..., columns]
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1)


class LwF(Teacher):
    """α L + (1−α) T² KL(teacher ‖ student); the teacher is the network after the last experience."""

    _pure_steps = True
    _loss_state = (*Teacher._loss_state, "_old_outputs_")
    _source = "Li & Hoiem 2017; Hinton et al. 2015"
    _constraints = {
        "alpha": [between(0, 1), one_of("balanced")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "scale_by_temperature": ["boolean"],
        "distilled_outputs": [one_of("old", "active")],
    }

    def __init__(
        self,
        net=None,
        *,
        alpha=0.5,
        temperature=2.0,
        scale_by_temperature=True,
        distilled_outputs="old",
        active_outputs="auto",
        random_state=None,
    ):
        self.net = net
        self.alpha = alpha
        self.temperature = temperature
        self.scale_by_temperature = scale_by_temperature
        self.distilled_outputs = distilled_outputs
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _new_experience(self):
        super()._new_experience()
        self._old_outputs_ = self._learned_outputs_

    def _begin(self, X, y):
        self._alpha_ = 1 / self.n_experiences_ if self.alpha == "balanced" else self.alpha
        self._scale_ = self.temperature**2 if self.scale_by_temperature else 1.0
        return super()._begin(X, y)

    def _loss(self, forward, batch):
        if len(batch) == 2:  # no teacher yet
            return super()._loss(forward, batch)
        x, y, teacher = batch
        outputs = forward(x)
        distillation = self._distillation(outputs, teacher)
        return self._alpha_ * self._task_loss(outputs, y) + (1 - self._alpha_) * self._scale_ * distillation

    def _end(self, X, y):
        self._learned_outputs_ = self._outputs_to_distil()


class LwFClassifier(LwF, NetworkClassifier):
    r"""Learning without forgetting: on the new rows, keep giving the old answers for the old classes.

    :math:`\alpha L + (1-\alpha)\, T^2\, \mathrm{KL}(p^T_{\text{teacher}} \,\|\, p^T_{\text{student}})`, where
    :math:`p^T` is the softmax of logits / T over the classes that the teacher had seen; with task ids, over each old
    task's classes by itself, averaged over old tasks. The teacher is the network after the last experience; its
    answers are computed once a call. No data are kept.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    alpha : float or "balanced", default=0.5
        Weight of the new data's loss; "balanced": 1/k in experience k. With 1.0 this is :class:`NaiveClassifier`.
    temperature : float, default=2.0
        T.
    scale_by_temperature : bool, default=True
        Whether the factor T² is there (Hinton et al.) or not (van de Ven et al.).
    distilled_outputs : {"old", "active"}, default="old"
        Outputs that enter the student's softmax in the distillation: of the classes that the teacher had seen, or all
        that are active in L, so that on the new rows the old answers also speak against the new classes (van de Ven et
        al.). With task ids always each old task's own.
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

    def _outputs_to_distil(self):
        """Columns over which the teacher's softmax is taken: of each old task, or of all classes seen or active."""
        groups = [columns for columns in self._groups_.values() if columns is not None]
        all_active = self.distilled_outputs == "active" and self.active_outputs == "all"
        together = np.arange(len(self.classes_)) if all_active else self._seen_columns_
        return [torch.from_numpy(columns).to(self.net_.device) for columns in groups or [together]]

    def _distillation(self, outputs, teacher):
        teacher = self._logits(teacher)
        if self.distilled_outputs == "active" and all(columns is None for columns in self._groups_.values()):
            [columns] = self._old_outputs_
            return distillation_loss(self._active_logits(outputs), teacher[..., columns], self.temperature, columns)
        student = self._logits(outputs)
        losses = [distillation_loss(student[..., c], teacher[..., c], self.temperature) for c in self._old_outputs_]
        return sum(losses) / len(losses)


class LwFRegressor(LwF, NetworkRegressor):
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

    def __init__(self, net=None, *, alpha=0.5, random_state=None):
        super().__init__(net, alpha=alpha, scale_by_temperature=False, random_state=random_state)

    def _outputs_to_distil(self):
        """All outputs are distilled together."""

    def _distillation(self, outputs, teacher):
        return (outputs - teacher).square().mean((-2, -1))
