"""SI: synaptic intelligence."""

import torch

from .._compat import Interval, Real, at_least
from ..network import NetworkClassifier, NetworkRegressor
from .quadratic import PathIntegral


class SI(PathIntegral):
    """L + λ Σ Ω (θ−θ*)²; at the end of an experience Ω ← max(0, Ω + ω / (Δ² + ξ)), with ω = −∫ g dθ, Δ = ∫ dθ."""

    _pure_steps = True
    _source = "Zenke et al. 2017"
    _vectors = ("importance_", "anchor_", "omega_", "delta_")
    _constraints = {"si_lambda": [at_least(0)], "damping": [Interval(Real, 0, None, closed="neither")]}

    omega_: torch.Tensor
    delta_: torch.Tensor

    def __init__(self, net=None, *, si_lambda=1.0, damping=0.1, active_outputs="auto", random_state=None):
        self.net = net
        self.si_lambda = si_lambda
        self.damping = damping
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _stiffness(self):
        return 2 * self.si_lambda  # the formula has no ½

    def _end(self, X, y):
        omega, delta = self._path_, self.net_.flatten() - self._start_
        if not self._opens_experience_:
            omega, delta = self.omega_ + omega, self.delta_ + delta
        self.omega_, self.delta_ = omega, delta
        super()._end(X, y)

    def _new_experience(self):
        importance = self.omega_ / (self.delta_.square() + self.damping)
        self.importance_ = (getattr(self, "importance_", 0.0) + importance).clamp(min=0)
        self.anchor_ = self.net_.flatten().clone()


class SIClassifier(SI, NetworkClassifier):
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


class SIRegressor(SI, NetworkRegressor):
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

    def __init__(self, net=None, *, si_lambda=1.0, damping=0.1, random_state=None):
        super().__init__(net, si_lambda=si_lambda, damping=damping, random_state=random_state)
