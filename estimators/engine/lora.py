"""LoRA's matrices in the linear layers of a module, by ``peft``: where they are, and how several become one."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from .extra import from_extra

# Of each layer A, shape (rank, n_inputs), and B, shape (n_outputs, rank), one after another.
Adapter: TypeAlias = tuple[torch.Tensor, ...]
_NAME = "default"
# Which share of the entries of each difference TIES keeps, by size, as its authors do.
_DENSITY = 0.2


def add_lora(
    module: nn.Module, rank: int, alpha: float | None = None, targets: Sequence[str] | None = None, but: Any = None
) -> None:
    r"""Put LoRA's matrices beside linear layers, :math:`W + \frac{\alpha}{r} B A`, and freeze all else.

    Parameters
    ----------
    module : torch.nn.Module
        It is changed.
    rank : int
        r.
    alpha : float, default=None
        α; None: twice the rank.
    targets : sequence of str, default=None
        Names of layers, or how they end; None: all linear layers.
    but : torch.nn.Linear, default=None
        A layer that is left as it is: the head.

    Raises
    ------
    ImportError
        If ``peft`` is not installed.
    ValueError
        If there is no such layer.
    """
    names = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
        and layer is not but
        and (targets is None or any(name == target or name.endswith(f".{target}") for target in targets))
    ]
    if not names:
        wanted = "linear layers" if targets is None else f"linear layers named {', '.join(map(repr, targets))}"
        raise ValueError(f"{type(module).__name__} has no {wanted} beside the head, so LoRA has nothing to adapt.")
    peft = from_extra("peft")
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules=names)
    peft.inject_adapter_in_model(config, module)


def lora_layers(module: nn.Module) -> list[Any]:
    """Layers that have LoRA's matrices, as a list."""
    if not any(hasattr(layer, "lora_A") for layer in module.modules()):
        return []
    kind = from_extra("peft.tuners.lora").LoraLayer
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def _matrices(layer: Any) -> tuple[nn.Linear, nn.Linear]:
    return layer.lora_A[_NAME], layer.lora_B[_NAME]


def adapter_of(module: nn.Module) -> Adapter:
    """Copies of LoRA's matrices: A and B of each layer, one after another."""
    return tuple(part.weight.detach().clone() for layer in lora_layers(module) for part in _matrices(layer))


def write_adapter(module: nn.Module, adapter: Adapter) -> None:
    """Write matrices into a module's own, in place."""
    places = (part.weight for layer in lora_layers(module) for part in _matrices(layer))
    with torch.no_grad():
        for place, values in zip(places, adapter, strict=True):
            place.copy_(values)


def put_adapter(module: nn.Module, adapter: Adapter) -> None:
    """Put matrices in the place of a module's own, which are not touched."""
    parts = (part for layer in lora_layers(module) for part in _matrices(layer))
    for part, values in zip(parts, adapter, strict=True):
        part.weight = nn.Parameter(values, requires_grad=False)


def fresh_adapter(module: nn.Module) -> Adapter:
    """Matrices as LoRA begins: A drawn at random, B zero."""
    parts: list[torch.Tensor] = []
    for layer in lora_layers(module):
        a, b = (part.weight for part in _matrices(layer))
        drawn = torch.empty_like(a)
        nn.init.kaiming_uniform_(drawn, a=5**0.5)
        parts += [drawn, torch.zeros_like(b)]
    return tuple(parts)


def without(adapter: Adapter) -> Adapter:
    """The adapter that changes nothing: B is zero."""
    return tuple(part if place % 2 == 0 else torch.zeros_like(part) for place, part in enumerate(adapter))


def merged(adapters: Sequence[Adapter], weights: Sequence[float], method: str) -> Adapter:
    r"""Several adapters as one of the same rank.

    Of each layer the differences :math:`\Delta_k = B_k A_k` become one, their weighted mean, or what TIES makes of
    them; the nearest matrix of that rank, by the singular value decomposition, is then B A.

    Parameters
    ----------
    adapters : list of Adapter
    weights : list of float
        They add up to 1.
    method : {"average", "ties"}
        "ties" keeps the largest fifth of the entries of each difference, chooses the sign of each entry by the larger
        sum, and takes the mean of those that have it.

    Returns
    -------
    Adapter

    References
    ----------
    Yadav et al., TIES-merging: resolving interference when merging models, 2023.
    """
    parts: list[torch.Tensor] = []
    for place in range(0, len(adapters[0]), 2):
        differences = [adapter[place + 1] @ adapter[place] for adapter in adapters]
        shares = torch.tensor(weights, dtype=differences[0].dtype, device=differences[0].device)
        if method == "average":
            difference = torch.einsum("k,kij->ij", shares, torch.stack(differences))
        else:
            difference = from_extra("peft.utils.merge_utils").ties(differences, shares * len(shares), _DENSITY)
        rank = len(adapters[0][place])
        u, s, v = torch.linalg.svd(difference, full_matrices=False)
        root, missing = s[:rank].sqrt(), max(rank - len(s), 0)
        a, b = root[:, None] * v[:rank], u[:, :rank] * root
        parts += [nn.functional.pad(a, (0, 0, 0, missing)), nn.functional.pad(b, (0, missing))]
    return tuple(part.contiguous() for part in parts)
