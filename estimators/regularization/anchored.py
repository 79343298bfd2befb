"""Anchored: a penalty on the distance from the old weights, from the initial ones, or from zero."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.penalties import add_quadratic_gradient, step_implicitly
from ..engine.rows import Rows
from ..parameters import at_least, between, one_of
from ..strategy import NetworkStrategy


class Anchored(NetworkStrategy):
    """L + λ R(θ, θ*).

    R is ½‖θ−θ*‖² (``"l2"``), ‖θ−θ*‖₁ (``"l1"``) or ρ‖θ−θ*‖₁ + (1−ρ)½‖θ−θ*‖² (``"elasticnet"``). The importance is 1,
    and 0 for the weights of outputs that are new.
    """

    family = "regularization"
    source = "L2-SP (Li et al. 2018); Hsu et al. 2018, 'L2'; initial: Kumar et al. 2023"
    pure_steps = True
    carries = {"importance_": "anchors", "anchor_": "anchors"}
    fixed_parameters = ("anchor",)
    parameter_constraints = {
        "penalty": [one_of("l1", "l2", "elasticnet")],
        "strength": [at_least(0)],
        "l1_ratio": [between(0, 1)],
        "anchor": [one_of("previous", "initial", "zero")],
        "penalty_step": [one_of("gradient", "implicit")],
    }

    importance_: torch.Tensor
    anchor_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        penalty: str = "l2",
        strength: float = 0.1,
        l1_ratio: float = 0.5,
        anchor: str = "previous",
        penalty_step: str = "gradient",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.penalty = penalty
        self.strength = strength
        self.l1_ratio = l1_ratio
        self.anchor = anchor
        self.penalty_step = penalty_step
        self.active_outputs = active_outputs
        self.random_state = random_state

    def consolidate(self) -> None:
        """The weights as they are become the anchor."""
        if self.anchor == "previous":
            self._hold_at(self.net_.flatten().clone())

    def before_training(self, call: Call) -> None:
        """Split λ into the absolute and the squared part; the anchors that hold from the first experience on."""
        if self.anchor == "zero":
            self._hold_at(torch.zeros_like(self.net_.flatten()))
        elif self.anchor == "initial":
            theta = self.net_.flatten()
            if not hasattr(self, "anchor_"):
                self._hold_at(theta.clone())
            else:  # the weights of new outputs are still those that were drawn
                self._hold_at(torch.where(self.importance_ > 0, self.anchor_, theta))
        rho = {"l1": 1.0, "l2": 0.0}.get(self.penalty, self.l1_ratio)
        call.state.l1, call.state.l2 = self.strength * rho, self.strength * (1 - rho)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the gradient of the squared part."""
        if hasattr(self, "anchor_") and self.penalty_step == "gradient":
            add_quadratic_gradient(gradient, theta, self.anchor_, self.importance_, call.state.l2)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """Proximal step of the L1 part: a weight that was not drawn further than lr·λ stays exactly at its anchor.

        Then that of the squared part, unless its gradient has acted; of both together, this is the proximal step.
        """
        if not hasattr(self, "anchor_"):
            return
        if call.state.l1:
            delta = theta - self.anchor_
            within = self.importance_ * (self.learning_rate * call.state.l1)
            torch.add(self.anchor_, delta.sub_(delta.clamp(-within, within)), out=theta)
        if self.penalty_step == "implicit":
            step_implicitly(theta, self.anchor_, self.importance_, call.state.l2, call.rates())

    def _hold_at(self, theta: torch.Tensor) -> None:
        self.anchor_, self.importance_ = theta, torch.ones_like(theta)


class AnchoredClassifier(Anchored, ContinualClassifier):
    r"""Hold the weights near their old values: :math:`L + \lambda R(\theta, \theta^*)`.

    R is :math:`\frac12\|\theta-\theta^*\|_2^2`, :math:`\|\theta-\theta^*\|_1`, or their mix
    :math:`\rho\|\cdot\|_1 + (1-\rho)\frac12\|\cdot\|_2^2`; θ* are the weights after the previous experience, those
    before the first one, or zero.
    The gradient of the squared part is added to that of the loss, before the optimiser; the absolute part is a proximal
    step of length lr·λ·ρ after it, so that weights that did not move are exactly equal to their anchors. Weights of
    classes that are new in an experience are not held in it; with ``anchor="initial"`` they are held at what was drawn
    for them.

    ``anchor="initial"`` with the squared penalty is L2-Init (Kumar et al. 2023), which holds nothing old, but keeps a
    network able to learn: units that nothing trains go back to where they began, and are active again. Its
    :math:`\lambda\|\theta-\theta_0\|^2` has no ½, so that `strength` is twice its λ.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    penalty : {"l2", "l1", "elasticnet"}, default="l2"
    strength : float, default=0.1
        λ. Note the ½ in the squared part.
    l1_ratio : float, default=0.5
        ρ, used with ``penalty="elasticnet"``.
    anchor : {"previous", "initial", "zero"}, default="previous"
        θ*: the weights after the previous experience; or, from the first experience on, the weights before it, or zero
        (plain weight decay or lasso). It cannot change after the first call.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the squared part acts: by its gradient, added to that of the loss, as published; or by an implicit step
        after the optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    anchor_, importance_ : torch.Tensor of shape (n_parameters,)
        θ*, and whether a weight is held at it (1 or 0), from the second experience on; with ``anchor="initial"`` or
        "zero" from the first.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Li, Grandvalet & Davoine, Explicit inductive bias for transfer learning with convolutional networks, 2018.
    Hsu et al., Re-evaluating continual learning scenarios, 2018.
    Kumar, Marklund & Van Roy, Maintaining plasticity in continual learning via regenerative regularization, 2023.

    Examples
    --------
    >>> from forgetless.estimators import AnchoredClassifier
    >>> clf = AnchoredClassifier(penalty="l1", strength=1e6, random_state=0)
    >>> clf = clf.partial_fit([[0.0], [1.0]], [0, 1])
    >>> before = clf.net_.module_.hidden[0].weight.clone()
    >>> clf = clf.partial_fit([[2.0], [3.0]], [0, 1])
    >>> bool((clf.net_.module_.hidden[0].weight == before).all())
    True
    """


class AnchoredRegressor(Anchored, ContinualRegressor):
    r"""Hold the weights near their old values: :math:`L + \lambda R(\theta, \theta^*)`.

    As :class:`AnchoredClassifier`, with the squared error (mean over rows and outputs) as L.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    penalty : {"l2", "l1", "elasticnet"}, default="l2"
    strength : float, default=0.1
        λ. Note the ½ in the squared part.
    l1_ratio : float, default=0.5
        ρ, used with ``penalty="elasticnet"``.
    anchor : {"previous", "initial", "zero"}, default="previous"
        θ*: the weights after the previous experience; or, from the first experience on, the weights before it, or zero.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the squared part acts: by its gradient, added to that of the loss, as published; or by an implicit step
        after the optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    anchor_, importance_ : torch.Tensor of shape (n_parameters,)
        θ*, and whether a weight is held at it.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Li, Grandvalet & Davoine, Explicit inductive bias for transfer learning with convolutional networks, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import AnchoredRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = AnchoredRegressor(strength=0.01, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.anchor_.shape == reg.importance_.shape
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        penalty: str = "l2",
        strength: float = 0.1,
        l1_ratio: float = 0.5,
        anchor: str = "previous",
        penalty_step: str = "gradient",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net,
            penalty=penalty,
            strength=strength,
            l1_ratio=l1_ratio,
            anchor=anchor,
            penalty_step=penalty_step,
            random_state=random_state,
        )
