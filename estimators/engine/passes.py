"""The passes of a step: forward through a network, and back into one vector of gradients.

Of any module, autograd keeps the graph. Of a chain of linear and elementwise layers, such as :class:`MLP`, the backward
pass is written here: it needs no graph, and each product goes straight to its place in the vector. In both cases a loss
is any differentiable function of the outputs, and several networks of one architecture, stacked, are passed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from .modules import MLP, call_with, features_and_outputs, has_hooks, head_of
from .work import note

if TYPE_CHECKING:
    from .net import FastLoop
    from .objective import Objective
    from .rows import Rows


class Passes(Protocol):
    """Forward passes, and the backward pass of all since the last one.

    Attributes
    ----------
    outputs : list of torch.Tensor
        Of the forward passes since the last backward pass.
    gradient : torch.Tensor of shape (..., n_parameters)
        What a backward pass writes.
    """

    outputs: list[torch.Tensor]
    gradient: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs for rows."""

    def features_and_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What enters the head, and the outputs."""

    def backward(self, loss: torch.Tensor) -> None:
        """Write the gradient of a loss of what was passed since the last time."""

    def descend(self, objective: Objective, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the gradient of the objective's loss of rows; returns the loss of each network, and the outputs."""


def forward_together(
    forward: Callable[[torch.Tensor], torch.Tensor], *inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Outputs for several tensors of rows, in one forward pass.

    Parameters
    ----------
    forward : callable
        From inputs to outputs, such as the `forward` of a strategy's loss.
    *inputs : torch.Tensor of shape (..., n_rows, n_features)
        May differ in their number of rows.

    Returns
    -------
    tuple of torch.Tensor
        Outputs for each.

    Examples
    --------
    >>> new, old = forward_together(lambda x: 2 * x, torch.ones(3, 1), torch.zeros(2, 1))
    >>> new.shape, old.shape
    (torch.Size([3, 1]), torch.Size([2, 1]))
    """
    return torch.split(forward(torch.cat(inputs, dim=-2)), [x.shape[-2] for x in inputs], dim=-2)


class _Elementwise(NamedTuple):
    """A function of each element, in place: of its argument forward, of the gradient, given the outputs, back."""

    forward: Callable[..., torch.Tensor]
    backward: Callable[..., torch.Tensor]


def _in_place(backward: Any, *arguments: Any) -> Callable[..., torch.Tensor]:
    return lambda gradient, y: backward.grad_input(gradient, y, *arguments, grad_input=gradient)


aten = torch.ops.aten
# Elementwise layers whose derivative follows from their outputs.
_ELEMENTWISE = {
    nn.ReLU: _Elementwise(torch.relu_, _in_place(aten.threshold_backward, 0)),
    nn.Tanh: _Elementwise(torch.tanh_, _in_place(aten.tanh_backward)),
    nn.Sigmoid: _Elementwise(torch.sigmoid_, _in_place(aten.sigmoid_backward)),
}


def passes_of(net: FastLoop, gradient: torch.Tensor, x: torch.Tensor) -> Passes:
    """How to pass rows through a net, and back.

    Parameters
    ----------
    net : ContinualNet
    gradient : torch.Tensor of shape (n_parameters,)
        Where gradients go, in the order of ``net.flatten()``.
    x : torch.Tensor
        Rows like those to come.

    Returns
    -------
    ChainPasses or AutogradPasses
    """
    params = net.trainable()
    layers = _chain(net)
    if layers is not None and x.ndim == 2:
        return ChainPasses(net.module_, layers, dict(zip(params, [p.detach() for p in params], strict=True)), gradient)
    module, head = net.module_, head_of(net.module_)
    return AutogradPasses(module, module, lambda x: features_and_outputs(module, x, head), params, gradient)


def stacked_passes_of(net: FastLoop, theta: torch.Tensor, gradient: torch.Tensor, x: torch.Tensor) -> Passes:
    """How to pass rows through several nets that differ in their weights only, and back.

    Parameters
    ----------
    net : ContinualNet
        One of them.
    theta, gradient : torch.Tensor of shape (n_nets, n_parameters)
    x : torch.Tensor
        Rows of one net like those to come; :meth:`__call__` takes (n_nets, n_rows, n_features).

    Returns
    -------
    ChainPasses or AutogradPasses
    """
    params = net.trainable()
    parts = torch.split(theta, [p.numel() for p in params], dim=1)
    weights = [part.view(len(part), *p.shape).detach() for part, p in zip(parts, params, strict=True)]
    layers = _chain(net)
    if layers is not None and x.ndim == 2:
        return ChainPasses(net.module_, layers, dict(zip(params, weights, strict=True)), gradient)
    module, head = net.module_, head_of(net.module_)
    leaves = {
        name: weight.requires_grad_()
        for (name, _), weight in zip(
            ((name, p) for name, p in module.named_parameters() if p.requires_grad), weights, strict=True
        )
    }

    def outputs(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return call_with(module, weights, x)

    def both(weights: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features_and_outputs(lambda x: outputs(weights, x), x, head)

    return AutogradPasses(
        module, lambda x: vmap(outputs)(leaves, x), lambda x: vmap(both)(leaves, x), list(leaves.values()), gradient
    )


def function_of(net: FastLoop) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the network as a function ``f(theta, x)``, differentiable in both.

    `theta` is a vector in the order of ``net.flatten()``, `x` are rows, and the value is what the module gives.
    """
    module, params = net.module_, net.trainable()
    sizes, shapes = [p.numel() for p in params], [p.shape for p in params]
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    layers = _chain(net)

    def outputs(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        note(module, x, back=torch.is_grad_enabled())
        parts = [part.view(shape) for part, shape in zip(torch.split(theta, sizes), shapes, strict=True)]
        if layers is None or x.ndim != 2:
            return call_with(module, dict(zip(names, parts, strict=True)), x)
        values: dict[torch.Tensor, torch.Tensor] = dict(zip(params, parts, strict=True))
        for linear, elementwise in layers:
            x = F.linear(x, values[linear.weight], values.get(linear.bias))
            if elementwise is not None:
                x = elementwise.forward(x)
        return x

    return outputs


class AutogradPasses:
    """Passes of which autograd keeps the graph.

    Parameters
    ----------
    module : torch.nn.Module
        The network; one of those of a stack.
    forward : callable
        From rows to outputs.
    both : callable
        From rows to features (what enters the head) and outputs.
    leaves : list of torch.Tensor
    gradient : torch.Tensor of shape (..., n_parameters)
        Where the gradients of the leaves go, one after another.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[[torch.Tensor], torch.Tensor],
        both: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        leaves: Sequence[torch.Tensor],
        gradient: torch.Tensor,
    ) -> None:
        self.module, self.forward, self.both, self.leaves, self.gradient = module, forward, both, leaves, gradient
        self.outputs: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs for rows."""
        note(self.module, x, back=True, n_leading=self.gradient.ndim)
        self.outputs.append(self.forward(x.clone()))  # in training, a module may add noise in place
        return self.outputs[-1]

    def features_and_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What enters the head, and the outputs."""
        note(self.module, x, back=True, n_leading=self.gradient.ndim)
        features, outputs = self.both(x.clone())
        self.outputs.append(outputs)
        return features, outputs

    def backward(self, loss: torch.Tensor) -> None:
        """Write the gradient of a loss of what was passed since the last time."""
        self.outputs.clear()
        gradients = torch.autograd.grad(loss, self.leaves, materialize_grads=True)
        torch.cat([g.reshape(*self.gradient.shape[:-1], -1) for g in gradients], dim=-1, out=self.gradient)

    def descend(self, objective: Objective, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the gradient of the objective's loss of rows; returns the loss of each network, and the outputs."""
        outputs = self(rows.x)
        loss = objective.loss(outputs, rows.y, rows.groups)
        self.backward(loss.sum())
        return loss.detach(), outputs.detach()


class _Layer(NamedTuple):
    """A linear layer of one network or of a stack, and the elementwise one that follows it."""

    weight: torch.Tensor
    transposed: torch.Tensor
    bias: torch.Tensor | None
    to_weight: torch.Tensor
    to_bias: torch.Tensor | None
    elementwise: _Elementwise | None


class ChainPasses:
    """Passes through a chain of layers; of outputs and features alone does autograd know.

    Parameters
    ----------
    module : torch.nn.Module
        The network; one of those of a stack.
    layers : list of (torch.nn.Linear, _Elementwise or None)
        Linear layers and the elementwise functions that follow them.
    values : dict of torch.nn.Parameter to torch.Tensor
        Their parameters, of one network or of a stack.
    gradient : torch.Tensor of shape (..., n_parameters)
        Where gradients go, in the order of `values`.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[tuple[nn.Linear, _Elementwise | None]],
        values: dict[torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
    ) -> None:
        self.module, self.gradient = module, gradient
        parts = torch.split(gradient, [p.numel() for p in values], dim=-1)
        places = {p: torch.unflatten(part, -1, p.shape) for p, part in zip(values, parts, strict=True)}
        self.is_stack = is_stack = gradient.ndim == 2
        self.layers = []
        for linear, elementwise in layers:
            weight, bias = values[linear.weight], None if linear.bias is None else values[linear.bias]
            if is_stack and bias is not None:
                bias = bias[:, None]
            to_bias = None if bias is None else places[linear.bias]
            self.layers.append(_Layer(weight, weight.mT, bias, places[linear.weight], to_bias, elementwise))
        self.product: Callable[..., torch.Tensor] = torch.bmm if is_stack else torch.mm
        self.sum_of_products: Callable[..., torch.Tensor] = torch.baddbmm if is_stack else torch.addmm
        # Of each pass what entered each layer, and the leaves whose gradients are wanted.
        self.entered: list[list[torch.Tensor]] = []
        self.outputs: list[torch.Tensor] = []
        self.features: list[torch.Tensor | None] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs for rows."""
        outputs, entered = self._forth(x)
        self.entered.append(entered)
        self.outputs.append(outputs.requires_grad_())
        self.features.append(None)
        return outputs

    def _forth(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The outputs for rows, and what entered each layer."""
        note(self.module, x, back=True, n_leading=self.gradient.ndim)
        entered = []
        for layer in self.layers:
            entered.append(x)
            if layer.bias is None:
                x = self.product(x, layer.transposed)
            else:
                x = self.sum_of_products(layer.bias, x, layer.transposed)
            if layer.elementwise is not None:
                x = layer.elementwise.forward(x)
        return x, entered

    def features_and_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What enters the head, and the outputs."""
        outputs = self(x)
        self.features[-1] = features = self.entered[-1][-1].detach().requires_grad_()
        return features, outputs

    def backward(self, loss: torch.Tensor) -> None:
        """Write the gradient of a loss of what was passed since the last time."""
        features = [leaf for leaf in self.features if leaf is not None]
        gradients = torch.autograd.grad(loss, [*self.outputs, *features], materialize_grads=True)
        of_features = iter(gradients[len(self.outputs) :])
        for k, (entered, leaf) in enumerate(zip(self.entered, self.features, strict=True)):
            self._back(gradients[k], None if leaf is None else next(of_features), entered, is_first=k == 0)
        self.entered.clear()
        self.outputs.clear()
        self.features.clear()

    def descend(self, objective: Objective, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the gradient of the objective's loss of rows; returns the loss of each network, and the outputs."""
        outputs, entered = self._forth(rows.x)
        loss, delta = objective.loss_and_gradient(outputs, rows.y, rows.groups)
        self._back(delta, None, entered, is_first=True)
        return loss, outputs

    def _back(
        self, delta: torch.Tensor, of_features: torch.Tensor | None, entered: list[torch.Tensor], is_first: bool
    ) -> None:
        """The backward pass of one forward pass; the first writes, others add."""
        for k in reversed(range(len(self.layers))):
            layer, x = self.layers[k], entered[k]
            if is_first and self.is_stack:  # into what does not lie together, torch multiplies matrix by matrix
                layer.to_weight.copy_(self.product(delta.mT, x))
            elif is_first:
                self.product(delta.mT, x, out=layer.to_weight)
            else:
                layer.to_weight.add_(self.product(delta.mT, x))
            if layer.to_bias is not None:
                if is_first:
                    torch.sum(delta, -2, out=layer.to_bias)
                else:
                    layer.to_bias.add_(delta.sum(-2))
            if k:
                delta = self.product(delta, layer.weight)
                if of_features is not None:
                    delta, of_features = delta + of_features, None
                before = self.layers[k - 1].elementwise
                if before is not None:
                    delta = before.backward(delta, x)


def _chain(net: FastLoop) -> list[tuple[nn.Linear, _Elementwise | None]] | None:
    """The net's linear layers, each with the elementwise function that follows it; None where it is no such chain."""
    module = net.module_
    if any(map(has_hooks, module.modules())):
        return None
    chain: list[tuple[nn.Linear, _Elementwise | None]] = []
    for layer in _leaves(module):
        if type(layer) is nn.Linear:
            chain.append((layer, None))
        elif type(layer) in _ELEMENTWISE and chain and chain[-1][1] is None:
            chain[-1] = (chain[-1][0], _ELEMENTWISE[type(layer)])
        elif type(layer) is not nn.Identity:
            return None
    owned = {p for layer, _ in chain for p in layer.parameters()}
    is_whole = len({layer for layer, _ in chain}) == len(chain) and owned == set(net.trainable())
    # Where something elementwise follows the head, what it is given is not what the strategy knows as the head's.
    return chain if is_whole and chain[-1][1] is None and chain[-1][0] is head_of(module) else None


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Layers in the order of a forward pass; a module that is no container is its own only layer."""
    if type(module) is nn.Sequential:
        for child in module:
            yield from _leaves(child)
    elif type(module) is MLP:
        yield from _leaves(module.hidden)
        yield module.head
    else:
        yield module
