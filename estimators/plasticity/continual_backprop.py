"""Continual backprop: the least useful hidden units are drawn anew, a few at a time."""

import itertools
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import nn

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.modules import check_own_weight, fixed_statistics
from ..engine.rows import Rows
from ..parameters import Integral, at_least, between
from ..strategy import NetworkStrategy


class ContinualBackprop(NetworkStrategy):
    """After a step u ← η u + (1−η) |h| Σ|w_out|; a share ρ of the units older than m, those of least u, begins anew."""

    family = "plasticity"
    source = "Dohare et al. 2024"
    carries = {"utility_": "statistics", "ages_": "statistics", "n_due_": "statistics"}
    parameter_constraints = {
        "replacement_rate": [between(0, 1)],
        "maturity": [at_least(0, Integral)],
        "utility_decay": [between(0, 1, closed="left")],
    }

    utility_: torch.Tensor
    ages_: NDArray[np.int64]
    n_due_: NDArray[np.float64]

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        replacement_rate: float = 1e-4,
        maturity: int = 100,
        utility_decay: float = 0.99,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.replacement_rate = replacement_rate
        self.maturity = maturity
        self.utility_decay = utility_decay
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """Find the hidden layers; all units begin with utility 0 and age 0."""
        call.state.layers = _hidden_layers(self.net_.module_, call.rows.x[:1])
        if not hasattr(self, "utility_"):
            n_units = sum(layer.out_features for layer, _ in call.state.layers)
            self.utility_ = self.net_.flatten().new_zeros(n_units)
            self.ages_ = np.zeros(n_units, dtype=np.int64)
            self.n_due_ = np.zeros(len(call.state.layers))
            if not call.state.layers:
                warnings.warn(
                    f"{type(self.net_.module_).__name__} has no hidden units between linear layers that are trained, "
                    "so that continual backprop does nothing but train.",
                    stacklevel=2,
                )

    def before_step(self, call: Call, batch: Rows) -> None:
        """Note |h|, a mean over the batch, of the weights that its loss is computed with."""
        if call.state.layers:
            call.state.activity = _mean_activity(self.net_.module_, call.state.layers, batch.x)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """Update utilities and ages; in each layer ρ times the number of mature units are due to begin anew."""
        if not call.state.layers:
            return
        outgoing = torch.cat([following.weight.detach().abs().sum(0) for _, following in call.state.layers])
        self.utility_.lerp_(call.state.activity * outgoing, 1 - self.utility_decay)
        self.ages_, self.n_due_, start = self.ages_ + 1, self.n_due_.copy(), 0
        for k, (layer, following) in enumerate(call.state.layers):
            units = slice(start, start + layer.out_features)
            start = units.stop
            mature = np.flatnonzero(self.ages_[units] > self.maturity)
            self.n_due_[k] += self.replacement_rate * len(mature)
            n = min(int(self.n_due_[k]), len(mature))
            if n:
                self.n_due_[k] -= n
                worst = mature[self.utility_[units].cpu().numpy()[mature].argsort(kind="stable")[:n]]
                self._begin_anew(call, layer, following, torch.from_numpy(worst).to(theta.device))
                self.utility_[units][worst] = 0.0
                self.ages_[units][worst] = 0

    @torch.no_grad()
    def _begin_anew(self, call: Call, layer: nn.Linear, following: nn.Linear, units: torch.Tensor) -> None:
        """Draw what enters the units as torch draws a layer's first weights; what leaves them is 0."""
        bound = layer.in_features**-0.5
        for entering in layer.parameters(recurse=False):
            fresh = torch.empty(len(units), *entering.shape[1:]).uniform_(-bound, bound, generator=call.generator)
            entering[units] = fresh.to(entering)
        following.weight[:, units] = 0.0
        state = self.net_.optimizer_.state
        for p, places in ((layer.weight, (units,)), (layer.bias, (units,)), (following.weight, (slice(None), units))):
            for value in state.get(p, {}).values():
                if torch.is_tensor(value) and value.shape == p.shape:
                    value[places] = 0.0


@torch.no_grad()
def _passed(module: nn.Module, x: torch.Tensor) -> list[tuple[nn.Module, torch.Tensor]]:
    """Layers in the order in which rows pass through them, with what enters each; those that mix units."""
    passed: list[tuple[nn.Module, torch.Tensor]] = []
    mixing = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_pre_hook(lambda layer, args: passed.append((layer, args[0]))) for layer in mixing]
    try:
        with fixed_statistics(module):
            module(x)
    finally:
        for hook in hooks:
            hook.remove()
    return passed


def _check_rows(passed: list[tuple[nn.Module, torch.Tensor]]) -> None:
    """Raise ValueError where a linear layer reads sequences: then the next one called need not read what it makes."""
    for layer, entered in passed:
        if isinstance(layer, nn.Linear) and entered.ndim > 2:
            raise ValueError(
                "Continual backpropagation replaces hidden units, whose outputs the next linear layer reads; the "
                f"network has linear layers over sequences (inputs of shape {tuple(entered.shape)}), as transformers "
                "do, of which that cannot be told. Use ShrinkPerturb or UPGD, or a network of rows."
            )


def _hidden_layers(module: nn.Module, x: torch.Tensor) -> list[tuple[nn.Linear, nn.Linear]]:
    """Of each fully connected layer of hidden units, what makes them and what they enter."""
    passed = _passed(module, x)
    _check_rows(passed)
    order = [layer for layer, _ in passed]
    layers = [
        (layer, following)
        for layer, following in itertools.pairwise(order)
        if isinstance(layer, nn.Linear)
        and isinstance(following, nn.Linear)
        and layer.out_features == following.in_features
        and order.count(layer) == order.count(following) == 1
        and layer.weight.requires_grad
        and following.weight.requires_grad
    ]
    for name, layer in module.named_modules():
        if any(layer in pair for pair in layers):
            check_own_weight(layer, name)
    return layers


def _mean_activity(module: nn.Module, layers: list[tuple[nn.Linear, nn.Linear]], x: torch.Tensor) -> torch.Tensor:
    """Mean of |h| over rows, of each unit in these layers."""
    entered = dict(_passed(module, x))
    return torch.cat([entered[following].abs().mean(0) for _, following in layers])


class ContinualBackpropClassifier(ContinualBackprop, ContinualClassifier):
    r"""Continual backprop: the least useful hidden units are drawn anew, a few at a time, so that some are fresh.

    After each step of the optimiser, each hidden unit i has its age raised by 1 and its utility updated,
    :math:`u_i \leftarrow \eta u_i + (1-\eta)\,|h_i| \sum_k |w_{ik}|`, with :math:`h_i` its output in that step (a mean
    of absolute values over the batch) and :math:`w_{ik}` the weights that leave it. In each layer a share ρ of the
    units older than m then begins anew, those of least utility (fractions add up over steps): the weights that enter
    them are drawn as ``torch.nn.Linear`` draws its first ones, those that leave them are 0, and so are
    the unit's age and utility and the optimiser's state for these weights.

    Hidden units are those between two ``torch.nn.Linear`` that rows pass one after the other, if the weights of both
    are trained, such as all of an :class:`MLP`; channels of convolutions are not replaced. Where there are none, a
    warning says so.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    replacement_rate : float, default=1e-4
        ρ, a share of the mature units for each step. The paper has 1e-4 to 1e-6, for batches of one row.
    maturity : int, default=100
        m, in steps.
    utility_decay : float, default=0.99
        η of the utility.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, dropout and new units.

    Attributes
    ----------
    utility_ : torch.Tensor of shape (n_units,)
        u of all hidden units, layer after layer.
    ages_ : ndarray of shape (n_units,)
        Steps since a unit was drawn.
    n_due_ : ndarray of shape (n_layers,)
        Fractions of units that are due to begin anew.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Dohare et al., Loss of plasticity in deep continual learning, Nature 632, 2024.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, permuted_stream
    >>> from forgetless.estimators import ContinualBackpropClassifier
    >>> clf = ContinualBackpropClassifier(replacement_rate=0.001, random_state=0)
    >>> for e in permuted_stream(load_digits(), n_experiences=2, random_state=0):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(e.X_test, e.y_test) > 0.9, bool((clf.ages_ < clf.ages_.max()).any())
    (True, True)
    """


class ContinualBackpropRegressor(ContinualBackprop, ContinualRegressor):
    r"""Continual backprop: the least useful hidden units are drawn anew, a few at a time, so that some are fresh.

    As :class:`ContinualBackpropClassifier`, with the squared error (mean over rows and outputs) as the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    replacement_rate : float, default=1e-4
        ρ, a share of the mature units for each step.
    maturity : int, default=100
        m, in steps.
    utility_decay : float, default=0.99
        η of the utility.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    utility_ : torch.Tensor of shape (n_units,)
        u of all hidden units, layer after layer.
    ages_ : ndarray of shape (n_units,)
        Steps since a unit was drawn.
    n_due_ : ndarray of shape (n_layers,)
        Fractions of units that are due to begin anew.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Dohare et al., Loss of plasticity in deep continual learning, Nature 632, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import ContinualBackpropRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> ContinualBackpropRegressor(random_state=0).fit(x, np.sin(2 * x[:, 0])).score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        replacement_rate: float = 1e-4,
        maturity: int = 100,
        utility_decay: float = 0.99,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net,
            replacement_rate=replacement_rate,
            maturity=maturity,
            utility_decay=utility_decay,
            random_state=random_state,
        )
