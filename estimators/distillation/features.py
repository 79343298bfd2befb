"""Feature distillation: the features of the new rows stay where the old network had them."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier
from ..parameters import at_least
from .teacher import FeatureTeacher


class FeatureDistillationClassifier(FeatureTeacher, ContinualClassifier):
    r"""Feature distillation: the features of the new rows stay where the old network had them.

    :math:`L + \frac{\lambda}{2} \|h(x; \theta^*) - h(x; \theta)\|_2^2`, a sum over features and a mean over rows. The
    features h are what enters the head, the last linear layer; the teacher, with the weights θ*, is the network after
    the last experience, and its features are computed once a call. No data are kept.

    Where the paper on less-forgetful learning also holds the head still, the head learns here, since it has outputs
    for classes that are new; nothing holds what the head says of old classes.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    strength : float, default=1.0
        λ, with the ½. With 0 this is :class:`NaiveClassifier`.
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
    Romero et al., FitNets: hints for thin deep nets, 2015. Jung et al., Less-forgetting learning in deep neural
    networks, 2016.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import FeatureDistillationClassifier
    >>> clf = FeatureDistillationClassifier(strength=1.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.strategy_info()["keeps"]
    'nothing'
    """

    source = "Romero et al. 2015 (FitNets); Jung et al. 2016 (LFL)"
    pure_steps = True
    later_parameters = ("strength",)
    parameter_constraints = {"strength": [at_least(0)]}

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        strength: float = 1.0,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.strength = strength
        self.active_outputs = active_outputs
        self.random_state = random_state

    def feature_loss(self, features: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """½ λ ‖h(x; θ*) − h(x; θ)‖², a mean over rows."""
        distance: torch.Tensor = (taught - features).square().sum(-1).mean(-1)
        return self.strength / 2 * distance
