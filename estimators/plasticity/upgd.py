"""UPGD: utility-based perturbed gradient descent."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.randomness import fill_normal
from ..engine.rows import Rows
from ..parameters import at_least, between
from ..strategy import NetworkStrategy


class UPGD(NetworkStrategy):
    """g ← 2 (g + ξ) (1 − s), with s = sigmoid(u / max u), u ← β u − (1−β) g θ and ξ ~ N(0, σ²)."""

    family = "plasticity"
    source = "Elsayed & Mahmood 2024"
    pure_steps = True
    carries = {"utility_": "statistics"}
    parameter_constraints = {"utility_decay": [between(0, 1, closed="left")], "noise_std": [at_least(0)]}

    utility_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        utility_decay: float = 0.999,
        noise_std: float = 0.001,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.utility_decay = utility_decay
        self.noise_std = noise_std
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """Utilities begin at 0; places for ξ and s, and where there is no ξ."""
        theta = self.net_.flatten()
        if not hasattr(self, "utility_"):
            self.utility_ = torch.zeros_like(theta)
        call.state.noise, call.state.s = torch.zeros_like(theta), torch.zeros_like(theta)
        call.state.padding = self.net_.is_padding()

    def before_step(self, call: Call, batch: Rows) -> None:
        """Draw ξ, 0 for paddings, which stay as they are."""
        if self.noise_std:
            fill_normal(call.state.noise, call.generator, zero=call.state.padding)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """The rule: u ← β u − (1−β) g θ, and g ← 2 (g + ξ) (1 − s)."""
        if not call.evaluation:
            self.utility_.mul_(self.utility_decay).addcmul_(gradient, theta, value=self.utility_decay - 1)
        largest = self.utility_.amax(-1, keepdim=True).clamp(min=torch.finfo(theta.dtype).tiny)
        s = torch.div(self.utility_, largest, out=call.state.s).sigmoid_()
        gradient.add_(call.state.noise, alpha=self.noise_std).mul_(s.sub_(1).mul_(-2))


class UPGDClassifier(UPGD, ContinualClassifier):
    r"""Utility-based perturbed gradient descent: useful weights move less, useless ones more, and with noise.

    Before each step of the optimiser the gradient g of the loss becomes :math:`2\,(g + \xi)(1 - s)`, where
    :math:`\xi \sim N(0, \sigma^2)` and :math:`s = \operatorname{sigmoid}(u / \max u)`, with the maximum over all
    weights. :math:`u \leftarrow \beta u - (1-\beta)\,g\,\theta` is the utility of a weight: by how much, in first
    order, the loss would rise without it, a running mean. What corrects the bias of that mean is the same factor in
    both u and max u, and cancels out.

    With ``torch.optim.SGD`` of rate η and ``weight_decay`` λ this is the paper's rule, :math:`\theta \leftarrow
    (1-\eta\lambda)\,\theta - 2\eta\,(g+\xi)(1-s)`. The factor 2 lets a weight of utility 0 learn at the optimiser's own
    rate; where a program leaves it out, its rate is twice this one. An optimiser that scales gradients by their
    size, as Adam does, undoes part of the rule.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    utility_decay : float, default=0.999
        β.
    noise_std : float, default=0.001
        σ, in units of the gradient. The paper tries 0.01, 0.1 and 1, with rates between 1e-2 and 1e-5.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, dropout and noise.

    Attributes
    ----------
    utility_ : torch.Tensor of shape (n_parameters,)
        u, in the order of ``net_.trainable()``.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Elsayed & Mahmood, Addressing loss of plasticity and catastrophic forgetting in continual learning, 2024.

    Examples
    --------
    >>> from torch.optim import SGD
    >>> from forgetless.datasets import load_digits, permuted_stream
    >>> from forgetless.estimators import MLP, ContinualNet, UPGDClassifier
    >>> net = ContinualNet(MLP, optimizer=SGD, lr=0.01, batch_size=1, max_epochs=1)
    >>> clf = UPGDClassifier(net, random_state=0)
    >>> for e in permuted_stream(load_digits(), n_experiences=2, random_state=0):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(e.X_test, e.y_test) > 0.8
    True
    """


class UPGDRegressor(UPGD, ContinualRegressor):
    r"""Utility-based perturbed gradient descent: useful weights move less, useless ones more, and with noise.

    As :class:`UPGDClassifier`, with the squared error (mean over rows and outputs) as the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    utility_decay : float, default=0.999
        β.
    noise_std : float, default=0.001
        σ, in units of the gradient.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    utility_ : torch.Tensor of shape (n_parameters,)
        u, in the order of ``net_.trainable()``.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Elsayed & Mahmood, Addressing loss of plasticity and catastrophic forgetting in continual learning, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import UPGDRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> UPGDRegressor(random_state=0).fit(x, np.sin(2 * x[:, 0])).score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        utility_decay: float = 0.999,
        noise_std: float = 0.001,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, utility_decay=utility_decay, noise_std=noise_std, random_state=random_state)
