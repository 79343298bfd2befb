"""Networks: :class:`MLP`, :class:`ConvNet`, and the one convention by which a strategy finds the head of any module."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

HIDDEN_UNITS = (100,)
"""Width of each hidden layer of an MLP, if nobody says another."""


class MLP(nn.Module):
    """Fully connected network with ReLU: rows in, one logit per output out.

    Parameters
    ----------
    n_inputs : int
        Number of input features; inputs of more than two dimensions are flattened.
    n_outputs : int
        Number of outputs. A strategy adds outputs when new classes arrive.
    hidden_units : sequence of int, default=(100,)
        Width of each hidden layer.
    dropout : float, default=0.0
        Probability with which a hidden unit is dropped in training.
    batch_norm : bool, default=False
        Whether hidden layers are batch normalised before the ReLU.
    norm : {"layer"}, default=None
        "layer": hidden layers are layer normalised before the ReLU (Ba, Kiros & Hinton 2016), row by row, which with
        weight decay keeps networks able to learn (Lyle et al. 2024).
    init : {"he", "xavier"}, default=None
        The variance of the uniform distribution that weights are drawn from, if biases are to begin at zero: "he",
        2 / n_in in hidden layers and 1 / n_in in the head (He et al. 2015), or "xavier", 2 / (n_in + n_out) (Glorot &
        Bengio 2010). None: torch's default, 1 / (3 n_in) for weights and biases.

    Raises
    ------
    ValueError
        If `norm` or `init` is anything else, or `batch_norm` is set beside `norm`.

    Examples
    --------
    >>> import torch
    >>> MLP(n_inputs=4, n_outputs=2, hidden_units=(8,))(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        hidden_units: Sequence[int] = HIDDEN_UNITS,
        dropout: float = 0.0,
        batch_norm: bool = False,
        norm: str | None = None,
        init: str | None = None,
    ) -> None:
        super().__init__()
        if norm not in (None, "layer") or (norm and batch_norm):
            raise ValueError(f"norm must be 'layer', without batch_norm, or None, got {norm!r}.")
        if init not in (None, "he", "xavier"):
            raise ValueError(f"init must be 'he', 'xavier' or None, got {init!r}.")
        self.n_inputs = n_inputs
        layers: list[nn.Module] = []
        width = n_inputs
        for units in hidden_units:
            layers.append(nn.Linear(width, units))
            if batch_norm:
                layers.append(nn.BatchNorm1d(units))
            if norm == "layer":
                layers.append(nn.LayerNorm(units))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, n_outputs)
        if init:
            for layer in (each for each in self.modules() if isinstance(each, nn.Linear)):
                if init == "xavier":
                    nn.init.xavier_uniform_(layer.weight)
                else:
                    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is self.head else "relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n_rows, n_outputs), of the rows ``x``."""
        logits: torch.Tensor = self.head(self.hidden(x if x.shape[-1] == self.n_inputs else x.flatten(1)))
        return logits


class ConvNet(nn.Module):
    """Small convolutional network: blocks of 3x3 convolution, ReLU and 2x2 pooling, then a linear head.

    Parameters
    ----------
    n_outputs : int
        Number of outputs. A strategy adds outputs when new classes arrive.
    image_shape : tuple of int, default=(1, 28, 28)
        Channels, height and width; flat rows are folded into this shape.
    channels : sequence of int, default=(32, 64)
        Number of channels of each block.
    batch_norm : bool, default=False
        Whether convolutions are batch normalised before the ReLU.

    Examples
    --------
    >>> import torch
    >>> ConvNet(n_outputs=10, image_shape=(1, 8, 8), channels=(4,))(torch.zeros(3, 64)).shape
    torch.Size([3, 10])
    """

    def __init__(
        self,
        n_outputs: int,
        image_shape: Sequence[int] = (1, 28, 28),
        channels: Sequence[int] = (32, 64),
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        depth, height, width = self.image_shape
        layers: list[nn.Module] = []
        for n_channels in channels:
            layers.append(nn.Conv2d(depth, n_channels, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(n_channels))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            depth, height, width = n_channels, height // 2, width // 2
        self.hidden = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(depth * height * width, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n_rows, n_outputs), of the rows ``x``."""
        logits: torch.Tensor = self.head(self.hidden(x.reshape(-1, *self.image_shape)))
        return logits


def head_of(module: nn.Module) -> nn.Linear:
    """Return the head of a module: its attribute ``head`` if that is linear, else its last linear layer.

    The features of a network are, by this convention, what enters the head.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Linear

    Raises
    ------
    TypeError
        If the module has no linear layer.

    Examples
    --------
    >>> from torch import nn
    >>> head_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))).in_features
    8
    """
    head = getattr(module, "head", None)
    if not isinstance(head, nn.Linear):
        head = None
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                head = layer
    if head is None:
        raise TypeError(
            f"{type(module).__name__} has no torch.nn.Linear layer, so there is no head to grow; "
            "end the module with a linear layer, or call the linear layer that makes its outputs `head`."
        )
    return head


def batch_norm_layers(module: nn.Module) -> list[nn.Module]:
    """All batch normalisation layers of a module, as a list."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def normalises_each_batch(module: nn.Module) -> bool:
    """Whether outputs for a row depend on the rows beside it: batch normalisation without running statistics."""
    return any(layer.running_mean is None for layer in batch_norm_layers(module))


def is_frozen(layer: nn.Module) -> bool:
    """Whether a layer has parameters, and none of them is trained."""
    trained = [p.requires_grad for p in layer.parameters()]
    return bool(trained) and not any(trained)


def has_hooks(layer: nn.Module) -> bool:
    """Whether something else is done when a layer is called, or on the way back."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(layer, name) for name in names)


class fixed_statistics:
    """Context in which a module is in evaluation mode, so that batch statistics stand still and dropout is off.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> nn.Module:
        # Once for each batch in some methods, so past Module.__setattr__, which takes longer than a small layer.
        self.in_training = [vars(layer) for layer in self.module.modules() if layer.training]
        for attributes in self.in_training:
            attributes["training"] = False
        return self.module

    def __exit__(self, *exc_info: object) -> None:
        for attributes in self.in_training:
            attributes["training"] = True


def check_own_weight(layer: nn.Module, name: str) -> None:
    """Raise TypeError if a layer's weight is no parameter: a method that works on weights could not protect it."""
    if "weight" not in layer._parameters:
        raise TypeError(
            f"The weight of the layer {name!r} is computed from other parameters (weight or spectral normalisation, "
            "perhaps), where this method needs the weight itself; use a plain layer."
        )


def rows_for(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Rows in the precision of a module's weights and on their device; in single precision, if it has none."""
    own = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
    return x.float() if own is None else x.to(own)


def copies_of_inputs(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Give a module that works in place its own rows; a hook that is called before its forward pass."""
    return tuple(x.clone() for x in inputs)


class lone_rows:
    """Context in which batch normalisation uses its statistics so far where it sees one value of each channel only.

    One value has no variance, so torch refuses to learn from it; one row of a module without convolutions is the case.

    Parameters
    ----------
    layers : list of torch.nn.Module
        Layers of batch normalisation.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = layers

    def __enter__(self) -> None:
        self.hooks = [layer.register_forward_pre_hook(_before_lone_row) for layer in self.layers]
        self.hooks += [layer.register_forward_hook(_after_lone_row, always_call=True) for layer in self.layers]

    def __exit__(self, *exc_info: object) -> None:
        for hook in self.hooks:
            hook.remove()


# Functions of the module, so that a layer can be pickled while it has them.
def _before_lone_row(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if layer.training and inputs[0].numel() == inputs[0].shape[1]:
        layer.training, layer.is_lone = False, True  # type: ignore[assignment]


def _after_lone_row(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    if vars(layer).pop("is_lone", False):
        layer.training = True


def features_and_outputs(
    module: nn.Module | Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, head: nn.Linear | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what enters the head and what leaves the module, for the rows ``x``, in one forward pass.

    Parameters
    ----------
    module : torch.nn.Module or callable
        With `head`, any function of ``x`` that passes through that layer.
    x : torch.Tensor of shape (n_rows, ...)
    head : torch.nn.Linear, default=None
        None: the module's own.

    Returns
    -------
    features, outputs : torch.Tensor
        Shapes (n_rows, head.in_features) and (n_rows, n_outputs).

    Raises
    ------
    ValueError
        If `x` does not pass through the head.
    """
    caught: list[torch.Tensor] = []
    head = head_of(cast(nn.Module, module)) if head is None else head
    thread = threading.get_ident()  # others may pass rows through the same module

    def catch(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            caught.append(inputs[0])

    handle = head.register_forward_pre_hook(catch)
    try:
        outputs = module(x)
    finally:
        handle.remove()
    if not caught:
        raise ValueError(
            "The module reads weights of its head without calling it, so what enters the head, the features, is not "
            "known; call it, self.head(features), and let it be a class derived from torch.nn.Linear if its forward is "
            "another."
        )
    return caught[-1], outputs


def call_with(module: nn.Module, weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs of a module with other weights, for the rows ``x``.

    Parameters
    ----------
    module : torch.nn.Module
    weights : dict of str to torch.Tensor
        By name of the parameter.
    x : torch.Tensor

    Returns
    -------
    torch.Tensor
    """
    # Where one layer stands in two places, torch would follow the tie from one to the other, and not find back.
    stands_twice = sum(1 for _ in module.named_modules(remove_duplicate=False)) > sum(1 for _ in module.modules())
    outputs: torch.Tensor = functional_call(module, weights, (x,), tie_weights=not stands_twice)
    return outputs


class Features(nn.Module):
    """A module without its head: rows in, what enters the head out.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (n_rows, head.in_features), of the rows ``x``."""
        return features_and_outputs(self.module, x)[0]


def tensor_bytes(*tensors: torch.Tensor) -> int:
    """Bytes of tensors' elements."""
    return sum(t.numel() * t.element_size() for t in tensors)


def contents_of(thing: Any) -> Iterator[Any]:
    """The tensors and arrays of what an estimator carries: a module, an optimiser's state, or containers of them.

    Whatever else has ``nbytes``, a number or a method, is among them; numbers, text, None and what is empty are not.

    Examples
    --------
    >>> [part.shape for part in contents_of([nn.Linear(3, 2), {"a": torch.ones(4)}, None, 5])]
    [torch.Size([2, 3]), torch.Size([2]), torch.Size([4])]
    """
    if isinstance(thing, nn.Module):
        yield from (t.detach() for t in (*thing.parameters(), *thing.buffers()))
    elif isinstance(thing, torch.optim.Optimizer):
        yield from contents_of(thing.state)
    elif isinstance(thing, dict | list | tuple):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from contents_of(part)
    elif hasattr(thing, "nbytes") and _nbytes(thing):
        yield thing


def bytes_of(thing: Any) -> int:
    """Bytes of the tensors and arrays of what an estimator carries, see :func:`contents_of`."""
    return sum(_nbytes(part) for part in contents_of(thing))


def _nbytes(part: Any) -> int:
    if torch.is_tensor(part):
        return tensor_bytes(part)
    return int(part.nbytes() if callable(part.nbytes) else part.nbytes)


def twin_of(module: nn.Module) -> nn.Module:
    """A copy of a module's structure that shares its parameters and buffers; hooks on it are nobody else's."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(t): t for t in tensors})


def is_finite(thing: Any) -> bool:
    """Whether all numbers of what an estimator keeps are finite: of tensors, arrays, modules, and containers of them.

    Whatever else has ``is_finite()`` says it itself; anything else counts as finite.

    Examples
    --------
    >>> large = torch.full((3,), 3e38)  # their sum is too large for their type
    >>> is_finite([large, torch.tensor([1, 2])]), is_finite({"weight": large * 2}), is_finite(large * torch.nan)
    (True, False, False)
    """
    if torch.is_tensor(thing):
        if not thing.is_floating_point() or math.isfinite(float(thing.detach().sum())):
            return True
        return bool(thing.isfinite().all())  # a sum of finite numbers may be too large
    if isinstance(thing, np.ndarray):
        return thing.dtype.kind != "f" or bool(np.isfinite(thing).all())
    if isinstance(thing, nn.Module):
        return all(map(is_finite, (*thing.parameters(), *thing.buffers())))
    if isinstance(thing, torch.optim.Optimizer):
        return all(map(is_finite, thing.state.values()))
    if isinstance(thing, dict):
        return all(map(is_finite, thing.values()))
    if isinstance(thing, list | tuple):
        return all(map(is_finite, thing))
    says = getattr(thing, "is_finite", None)
    return True if says is None or isinstance(thing, type) else bool(says())


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy of a module that does not learn, in evaluation mode, sharing no storage with the original.

    Parameters
    ----------
    module : torch.nn.Module
        Stays as it is.

    Returns
    -------
    torch.nn.Module

    Examples
    --------
    >>> teacher = frozen_copy(nn.Linear(2, 1))
    >>> teacher.training, teacher.weight.requires_grad
    (False, False)
    """
    twin = copy.deepcopy(module).eval().requires_grad_(False)
    for p in twin.parameters():
        p.data = p.data.clone()  # parameters may be views of one vector
    return twin
