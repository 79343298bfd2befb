"""Sums over samples of powers of per-sample gradients, without a loop over samples where the module allows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn
from torch.func import grad, vmap

from .modules import call_with, fixed_statistics, has_hooks, is_frozen
from .work import note

if TYPE_CHECKING:
    from .net import FastLoop

Terms: TypeAlias = Callable[..., list[torch.Tensor]]
# Elements of a chunk of per-sample gradients in the general path.
_CHUNK_ELEMENTS = 1 << 25


def sum_over_samples(
    net: FastLoop, terms: Terms, X: torch.Tensor, *fields: torch.Tensor, power: int = 2
) -> torch.Tensor:
    """Sum of ``|gradient|**power`` over rows and terms, for each trained parameter.

    Where each parameter is used once, by a linear layer that sees every row once, the gradient of a row is the outer
    product of what leaves and what enters the layer, so the sum is one matrix product a layer. Any other module takes
    ``torch.func.vmap`` over rows, and one that decides by what is in a row, a loop over them. Batch statistics stand
    still and dropout is off.

    Parameters
    ----------
    net : ContinualNet
    terms : callable
        ``terms(outputs, *fields)`` returns a list of tensors of shape (n_rows,), the functions of each row whose
        gradients are wanted.
    X, *fields : torch.Tensor
        Rows.
    power : {1, 2}, default=2

    Returns
    -------
    torch.Tensor of shape (n_parameters,)
        In the order of ``net.flatten()``.
    """
    note(net.module_, X, back=True)
    with fixed_statistics(net.module_) as module:
        layers = _linear_layers(net, module, X)
        if layers is not None:
            return _by_layers(net, module, layers, terms, X, fields, power)
        return _by_rows(module, terms, X, fields, power)


def _linear_layers(net: FastLoop, module: nn.Module, X: torch.Tensor) -> list[nn.Linear] | None:
    """Linear layers that own all trained parameters, each for one use: a call with (n_rows, n_inputs); else None."""
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and not is_frozen(layer)]
    owned = [p for layer in layers for p in layer.parameters()]
    trained = net.trainable()
    if not set(trained) <= set(owned) or len(set(owned)) != len(owned) or any(map(has_hooks, layers)):
        return None
    calls: list[tuple[nn.Module, int]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, args: calls.append((layer, args[0].ndim))) for layer in layers
    ]
    try:
        with torch.enable_grad():
            uses = _uses(module(X[:1]))
    finally:
        for hook in hooks:
            hook.remove()
    once = sorted(id(layer) for layer, _ in calls) == sorted(map(id, layers)) and all(uses[p] == 1 for p in trained)
    return layers if once and all(ndim == 2 for _, ndim in calls) else None


def _uses(outputs: torch.Tensor) -> Counter[torch.Tensor]:
    """Count how often outputs were computed from each parameter, directly."""
    uses: Counter[torch.Tensor] = Counter()
    rest: list[Any] = [outputs.grad_fn] if outputs.requires_grad else []
    found = set(rest)
    while rest:
        for function, _ in rest.pop().next_functions:
            if hasattr(function, "variable"):
                uses[function.variable] += 1
            elif function is not None and function not in found:
                found.add(function)
                rest.append(function)
    return uses


def _by_layers(
    net: FastLoop,
    module: nn.Module,
    layers: Sequence[nn.Linear],
    terms: Terms,
    X: torch.Tensor,
    fields: Sequence[torch.Tensor],
    power: int,
) -> torch.Tensor:
    total: dict[torch.Tensor, torch.Tensor] = {p: torch.zeros_like(p) for p in net.trainable()}
    for rows in zip(*(torch.split(t, 8192) for t in (X, *fields)), strict=True):
        entered: dict[nn.Module, torch.Tensor] = {}
        left: dict[nn.Module, torch.Tensor] = {}

        def note(
            layer: nn.Module,
            args: tuple[torch.Tensor, ...],
            output: torch.Tensor,
            entered: dict[nn.Module, torch.Tensor] = entered,
            left: dict[nn.Module, torch.Tensor] = left,
        ) -> torch.Tensor:
            entered[layer], left[layer] = args[0].detach(), output
            return output.clone()  # what comes next may change it in place

        hooks = [layer.register_forward_hook(note) for layer in layers]
        try:
            functions = terms(module(rows[0]), *rows[1:])
        finally:
            for hook in hooks:
                hook.remove()
        sums: dict[nn.Module, Any] = dict.fromkeys(layers, 0.0)
        for k, function in enumerate(functions):
            deltas = torch.autograd.grad(
                function.sum(), [left[layer] for layer in layers], retain_graph=k + 1 < len(functions)
            )
            for layer, delta in zip(layers, deltas, strict=True):
                sums[layer] = sums[layer] + delta.abs().pow(power)
        for layer in layers:
            if layer.weight in total:
                total[layer.weight] += sums[layer].T @ entered[layer].abs().pow(power)
            if layer.bias in total:
                total[layer.bias] += sums[layer].sum(0)
    return torch.cat([total[p].detach().reshape(-1) for p in net.trainable()])


def _by_rows(
    module: nn.Module, terms: Terms, X: torch.Tensor, fields: Sequence[torch.Tensor], power: int
) -> torch.Tensor:
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}

    def function(
        parameters: dict[str, torch.Tensor], k: int, x: torch.Tensor, *row_fields: torch.Tensor
    ) -> torch.Tensor:
        outputs = call_with(module, parameters, x[None])
        return terms(outputs, *(f[None] for f in row_fields))[k][0]

    with torch.no_grad():
        n_terms = len(terms(module(X[:1]), *(f[:1] for f in fields)))
    total = [torch.zeros_like(p) for p in trained.values()]
    n_rows = max(1, _CHUNK_ELEMENTS // sum(p.numel() for p in trained.values()))
    for rows in zip(*(torch.split(t, n_rows) for t in (X, *fields)), strict=True):
        for k in range(n_terms):
            for accumulated, gradient in zip(total, _gradients(function, trained, k, rows).values(), strict=True):
                accumulated += gradient.abs().pow(power).sum(0)
    return torch.cat([t.reshape(-1) for t in total])


def _gradients(
    function: Callable[..., torch.Tensor], trained: dict[str, torch.Tensor], k: int, rows: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Gradients of a function of each row, with the rows as first dimension."""
    of_one = grad(function)
    try:
        in_dims = (None, None, *(0 for _ in rows))
        gradients: dict[str, torch.Tensor] = vmap(of_one, in_dims=in_dims, randomness="different")(trained, k, *rows)
        return gradients
    except RuntimeError:
        # The module decides by what is in a row, as transformers do by their mask; or has layers that torch cannot map
        # over rows, such as recurrent ones. Whatever else is wrong shows again.
        each = [of_one(trained, k, *row) for row in zip(*rows, strict=True)]
        return {name: torch.stack([of_row[name] for of_row in each]) for name in trained}
