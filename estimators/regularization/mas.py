"""MAS: memory aware synapses."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.penalties import add_quadratic_gradient, combined_mean, step_implicitly
from ..engine.per_sample import sum_over_samples
from ..engine.rows import Rows
from ..parameters import at_least, one_of
from ..strategy import NetworkStrategy


class MAS(NetworkStrategy):
    """L + λ Σₖ Σᵢ Ωₖᵢ (θᵢ − θ*ᵢ)²; Ωₖ is the mean over the rows of experience k of |∂‖f(x)‖² / ∂θ|."""

    family = "regularization"
    source = "Aljundi et al. 2018"
    pure_steps = True
    carries = {"importance_": "anchors", "anchor_": "anchors", "sensitivity_": "anchors"}
    later_parameters = (
        "mas_lambda",
        "penalty_step",
    )
    parameter_constraints = {"mas_lambda": [at_least(0)], "penalty_step": [one_of("gradient", "implicit")]}

    importance_: torch.Tensor
    anchor_: torch.Tensor
    sensitivity_: torch.Tensor
    n_sensitivity_rows_: int

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        mas_lambda: float = 1.0,
        penalty_step: str = "gradient",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.mas_lambda = mas_lambda
        self.penalty_step = penalty_step
        self.active_outputs = active_outputs
        self.random_state = random_state

    def consolidate(self) -> None:
        """The sensitivity of the experience that is over joins the sum; the anchor are the weights as they are."""
        before = self.importance_ if hasattr(self, "importance_") else 0.0
        self.importance_ = before + self.sensitivity_
        self.anchor_ = self.net_.flatten().clone()

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the gradient of the penalty, whose formula has no ½."""
        if hasattr(self, "importance_") and self.penalty_step == "gradient":
            add_quadratic_gradient(gradient, theta, self.anchor_, self.importance_, 2 * self.mas_lambda)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The penalty's own step, if it has one."""
        if hasattr(self, "importance_") and self.penalty_step == "implicit":
            step_implicitly(theta, self.anchor_, self.importance_, 2 * self.mas_lambda, call.rates())

    def after_training(self, call: Call) -> None:
        """The sensitivity of the running experience is a mean over the rows of all its calls."""

        def squared_norm(outputs: torch.Tensor) -> list[torch.Tensor]:
            logits = call.objective.active_logits(outputs)
            return [logits.masked_fill(logits == -float("inf"), 0.0).square().sum(1)]

        x = call.rows.x
        sensitivity = sum_over_samples(self.net_, squared_norm, x, power=1) / len(x)
        n_before = 0 if call.opens_experience else self.n_sensitivity_rows_
        self.sensitivity_ = combined_mean(getattr(self, "sensitivity_", None), n_before, sensitivity, len(x))
        self.n_sensitivity_rows_ = n_before + len(x)


class MASClassifier(MAS, ContinualClassifier):
    r"""Memory aware synapses: weights to which the outputs are sensitive are held by springs.

    :math:`L + \lambda \sum_k \sum_i \Omega_{k,i} (\theta_i - \theta^*_i)^2`, without a ½, where θ* are the weights
    after the previous experience. After experience k, :math:`\Omega_{k,i}` is the *mean over samples of the absolute
    per-sample gradient* :math:`|\partial \|f(x)\|_2^2 / \partial \theta_i|`; f are the logits that were active in
    training. Labels play no part in it. Batch statistics stand still while it is computed.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    mas_lambda : float, default=1.0
        λ, without the ½, with the mean over samples and the sum over experiences of the formula above. The importance
        grows with the square of the logits, so a good λ is smaller for longer training.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, added to that of the loss, as published; or by an implicit step after the
        optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    sensitivity_ : torch.Tensor of shape (n_parameters,)
        Ωₖ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The sum over the experiences before it and θ*, from the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Aljundi et al., Memory aware synapses: learning what (not) to forget, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import MASClassifier
    >>> clf = MASClassifier(mas_lambda=1.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.importance_.shape == clf.anchor_.shape, bool((clf.importance_ >= 0).all())
    (True, True)
    """


class MASRegressor(MAS, ContinualRegressor):
    r"""Memory aware synapses: weights to which the outputs are sensitive are held by springs.

    As :class:`MASClassifier`, :math:`L + \lambda \sum_k \sum_i \Omega_{k,i} (\theta_i - \theta^*_i)^2` with the *mean
    over samples* of :math:`|\partial \|f(x)\|_2^2 / \partial \theta_i|` as Ω, and the squared error (mean over rows and
    outputs) as L. Outputs near zero count little, so the zero of the targets' scale matters: centre the targets.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    mas_lambda : float, default=1.0
        λ, without the ½, with the mean over samples and the sum over experiences of the formula above.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, or by an implicit step that is stable for any λ.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    sensitivity_ : torch.Tensor of shape (n_parameters,)
        Ωₖ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The sum over the experiences before it and θ*, from the second experience on.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Aljundi et al., Memory aware synapses: learning what (not) to forget, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import MASRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = MASRegressor(mas_lambda=0.1, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> bool((reg.importance_ > 0).any())
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        mas_lambda: float = 1.0,
        penalty_step: str = "gradient",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, mas_lambda=mas_lambda, penalty_step=penalty_step, random_state=random_state)
