"""SI: synaptic intelligence."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.penalties import add_quadratic_gradient, step_implicitly
from ..engine.rows import Rows
from ..parameters import above, at_least, one_of
from ..strategy import NetworkStrategy
from .path import note_gradient, note_step, start_path


class SI(NetworkStrategy):
    """L + λ Σ Ω (θ−θ*)²; at the end of an experience Ω ← max(0, Ω + ω / (Δ² + ξ)), with ω = −∫ g dθ, Δ = ∫ dθ."""

    family = "regularization"
    source = "Zenke et al. 2017"
    pure_steps = True
    carries = {"importance_": "anchors", "anchor_": "anchors", "omega_": "anchors", "delta_": "anchors"}
    later_parameters = ("si_lambda", "penalty_step", "damping")
    parameter_constraints = {
        "si_lambda": [at_least(0)],
        "penalty_step": [one_of("gradient", "implicit")],
        "damping": [above(0)],
    }

    importance_: torch.Tensor
    anchor_: torch.Tensor
    omega_: torch.Tensor
    delta_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        si_lambda: float = 1.0,
        damping: float = 0.1,
        penalty_step: str = "gradient",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.si_lambda = si_lambda
        self.damping = damping
        self.penalty_step = penalty_step
        self.active_outputs = active_outputs
        self.random_state = random_state

    def consolidate(self) -> None:
        """What the experience that is over has earned joins the importance; its last weights become the anchor."""
        before = self.importance_ if hasattr(self, "importance_") else 0.0
        self.importance_ = (before + self.omega_ / (self.delta_.square() + self.damping)).clamp(min=0)
        self.anchor_ = self.net_.flatten().clone()

    def before_training(self, call: Call) -> None:
        """The path begins."""
        start_path(call.state, self.net_.flatten())

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Note the plain gradient, then add that of the penalty, whose formula has no ½."""
        note_gradient(call, theta, gradient)
        if hasattr(self, "importance_") and self.penalty_step == "gradient":
            add_quadratic_gradient(gradient, theta, self.anchor_, self.importance_, 2 * self.si_lambda)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The penalty's own step, if it has one; the path goes on."""
        if hasattr(self, "importance_") and self.penalty_step == "implicit":
            step_implicitly(theta, self.anchor_, self.importance_, 2 * self.si_lambda, call.rates())
        note_step(call.state, theta)

    def after_training(self, call: Call) -> None:
        """Keep ω and Δ of the running experience, sums over its calls."""
        omega, delta = call.state.path, self.net_.flatten() - call.state.start
        if not call.opens_experience:
            omega, delta = self.omega_ + omega, self.delta_ + delta
        self.omega_, self.delta_ = omega, delta


class SIClassifier(SI, ContinualClassifier):
    r"""Synaptic intelligence: weights whose motion lowered the loss of old experiences are held by springs.

    :math:`L + \lambda \sum_i \Omega_i (\theta_i - \theta^*_i)^2`, without a ½, where θ* are the weights after the
    previous experience. At the end of an experience :math:`\Omega \leftarrow \max(0, \Omega + \omega / (\Delta^2 +
    \xi))`, as in the authors' code. Along the experience's steps, :math:`\omega = -\sum_t g_t (\theta_{t+1} -
    \theta_t)` and :math:`\Delta = \sum_t (\theta_{t+1} - \theta_t)`; :math:`g_t` is the gradient of the plain loss L on
    the batch, without the penalty, and the step is the one that the optimiser really took.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    si_lambda : float, default=1.0
        λ, the paper's c. Without the ½; Ω is a sum over experiences.
    damping : float, default=0.1
        ξ: a parameter that hardly moved does not get a boundless importance. In units of squared weights.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, added to that of the loss, as published; or by an implicit step after the
        optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    omega_, delta_ : torch.Tensor of shape (n_parameters,)
        ω and Δ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        Ω of the experiences before it and θ*, from the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Zenke, Poole & Ganguli, Continual learning through synaptic intelligence, 2017.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import SIClassifier
    >>> clf = SIClassifier(si_lambda=1.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> bool((clf.importance_ >= 0).all()), bool((clf.importance_ > 0).any())
    (True, True)
    """


class SIRegressor(SI, ContinualRegressor):
    r"""Synaptic intelligence: weights whose motion lowered the loss of old experiences are held by springs.

    As :class:`SIClassifier`, :math:`L + \lambda \sum_i \Omega_i (\theta_i - \theta^*_i)^2` with Ω from the path
    integral of the squared error (mean over rows and outputs), which is also L.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    si_lambda : float, default=1.0
        λ, the paper's c. Without the ½; Ω is a sum over experiences.
    damping : float, default=0.1
        ξ, in units of squared weights.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, or by an implicit step that is stable for any λ.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    omega_, delta_ : torch.Tensor of shape (n_parameters,)
        ω and Δ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        Ω of the experiences before it and θ*, from the second experience on.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Zenke, Poole & Ganguli, Continual learning through synaptic intelligence, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import SIRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = SIRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> bool((reg.importance_ > 0).any())
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        si_lambda: float = 1.0,
        damping: float = 0.1,
        penalty_step: str = "gradient",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net, si_lambda=si_lambda, damping=damping, penalty_step=penalty_step, random_state=random_state
        )
