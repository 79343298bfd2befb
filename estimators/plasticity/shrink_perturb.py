"""Shrink and perturb: at each step, weights shrink a little and get noise."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.randomness import fill_normal
from ..engine.rows import Rows
from ..parameters import at_least
from ..strategy import NetworkStrategy


class ShrinkPerturb(NetworkStrategy):
    """After each step of the optimiser θ ← (1 − ηλ) θ + σ ε, with ε ~ N(0, I)."""

    family = "plasticity"
    source = "Ash & Adams 2020; at each step: Dohare et al. 2024"
    pure_steps = True
    parameter_constraints = {"shrink": [at_least(0)], "noise_std": [at_least(0)]}

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        shrink: float = 1e-4,
        noise_std: float = 1e-5,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.shrink = shrink
        self.noise_std = noise_std
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """A place for ε, and where there is none."""
        call.state.noise, call.state.padding = torch.zeros_like(self.net_.flatten()), self.net_.is_padding()

    def before_step(self, call: Call, batch: Rows) -> None:
        """Draw ε, 0 for paddings, which stay as they are."""
        if self.noise_std:
            fill_normal(call.state.noise, call.generator, zero=call.state.padding)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """θ ← (1 − ηλ) θ + σ ε."""
        theta.mul_(1 - self.learning_rate * self.shrink).add_(call.state.noise, alpha=self.noise_std)


class ShrinkPerturbClassifier(ShrinkPerturb, ContinualClassifier):
    r"""Shrink and perturb: weights stay small and units stay alive, so that a network goes on learning.

    After each step of the optimiser :math:`\theta \leftarrow (1 - \eta\lambda)\,\theta + \sigma\,\varepsilon` with
    :math:`\varepsilon \sim N(0, I)` and η the optimiser's rate. Ash & Adams did so once, before each new part of the
    data; at each step, as here, it is what Dohare et al. compare with. Nothing holds on to old experiences.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    shrink : float, default=1e-4
        λ; it is multiplied by the rate.
    noise_std : float, default=1e-5
        σ, in units of weights; it is not multiplied by the rate.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, dropout and noise.

    Attributes
    ----------
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Ash & Adams, On warm-starting neural network training, 2020. Dohare et al., Loss of plasticity in deep continual
    learning, Nature 632, 2024.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, permuted_stream
    >>> from forgetless.estimators import ShrinkPerturbClassifier
    >>> clf = ShrinkPerturbClassifier(shrink=0.1, random_state=0)
    >>> for e in permuted_stream(load_digits(), n_experiences=2, random_state=0):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(e.X_test, e.y_test) > 0.9
    True
    """


class ShrinkPerturbRegressor(ShrinkPerturb, ContinualRegressor):
    r"""Shrink and perturb: weights stay small and units stay alive, so that a network goes on learning.

    As :class:`ShrinkPerturbClassifier`, with the squared error (mean over rows and outputs) as the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    shrink : float, default=1e-4
        λ; it is multiplied by the rate.
    noise_std : float, default=1e-5
        σ, in units of weights.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Ash & Adams, On warm-starting neural network training, 2020. Dohare et al., Loss of plasticity in deep continual
    learning, Nature 632, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import ShrinkPerturbRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> ShrinkPerturbRegressor(random_state=0).fit(x, np.sin(2 * x[:, 0])).score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        shrink: float = 1e-4,
        noise_std: float = 1e-5,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, shrink=shrink, noise_std=noise_std, random_state=random_state)
