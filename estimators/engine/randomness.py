"""Random draws of code that names no generator: layers that drop, layers that draw their first weights.

Such code draws from torch's global generator, which all threads share. Here what a thread draws comes from a generator
of its own instead, and the global one is not touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .compiler import without_compiler

if TYPE_CHECKING:
    from .net import FastLoop

# Layers of torch that draw, or may draw, in training.
_DRAWING = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.MultiheadAttention,
    nn.Transformer,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.RNNBase,
)
_ONE_AT_A_TIME = threading.RLock()
_OF_THREAD = threading.local()


def may_draw(net: FastLoop) -> bool:
    """Whether something of a net may draw random numbers in training: a layer, its criterion, a callback."""
    if net.callbacks or not type(net.criterion_).__module__.startswith("torch.nn."):
        return True
    package = __package__.rpartition(".")[0]
    return any(
        isinstance(layer, _DRAWING) or not type(layer).__module__.startswith(("torch.nn.", f"{package}."))
        for layer in net.module_.modules()
    )


def has_own_draws() -> bool:
    """Whether this thread is within :func:`own_draws`."""
    return getattr(_OF_THREAD, "draws", None) is not None


def states_of_draws() -> list[torch.Tensor]:
    """States of the generators from which this thread draws where none is named."""
    cpu = _OF_THREAD.draws.generator if has_own_draws() else torch.default_generator
    return [cpu.get_state(), *(torch.cuda.get_rng_state(device) for device in _cuda_devices())]


def _cuda_devices() -> Sequence[int]:
    return range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


def fill_normal(place: torch.Tensor, generator: torch.Generator, zero: torch.Tensor | None = None) -> None:
    """Fill a tensor with draws from the standard normal distribution, the same on each device.

    Parameters
    ----------
    place : torch.Tensor
    generator : torch.Generator
        On the CPU.
    zero : torch.Tensor of bool, default=None
        Where the tensor gets 0 instead.
    """
    if place.is_cpu:
        place.normal_(generator=generator)
    else:
        place.copy_(torch.randn(place.shape, generator=generator))
    if zero is not None:
        place.masked_fill_(zero, 0)


class OwnDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within this context, what this thread draws without naming a generator comes from generators with this seed.

    That is, draws on the CPU. Every operation of torch passes through Python here; for code that makes many,
    :class:`OwnDrawsOfLayers` costs less.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)
        # An interrupt in the wrong moment leaves a mode on torch's stack; it must not draw for later calls.
        self.in_use = False

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        draws = torch.Tag.nondeterministic_seeded in operation.tags and named.get("generator") is None
        if not draws or not self.in_use or _device_of(args, named).type != "cpu":
            return operation(*args, **named)
        with_generator = _taking_a_generator(operation)
        if with_generator is not None:
            return with_generator(*args, **{**named, "generator": self.generator})
        return self._lend(operation, args, named)

    def _lend(self, operation: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """For what cannot be told a generator: the state is lent to the global one for one operation."""
        common = torch.default_generator
        with _ONE_AT_A_TIME:
            before = common.get_state()
            common.set_state(self.generator.get_state())
            try:
                return operation(*args, **named)
            finally:
                self.generator.set_state(common.get_state())
                common.set_state(before)


without_compiler(OwnDraws.__torch_dispatch__)


class OwnDrawsOfLayers(TorchFunctionMode):
    """As :class:`OwnDraws`, in a loop: only what draws passes through Python.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draws = OwnDraws(seed)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not self.draws.in_use:
            return function(*args, **(kwargs or {}))
        if function in _DROPOUTS and args[0].device.type == "cpu":
            return self._dropout(_DROPOUTS[function], *args, **(kwargs or {}))
        if function in _MAY_DRAW:
            with self.draws:
                return function(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _dropout(
        self, of_channels: bool, x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        """As torch's, bit for bit."""
        if not training or p == 0 or not x.numel():
            return x
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if of_channels else x.shape
        noise = x.new_empty(shape)
        if p == 1:
            noise.zero_()
        else:
            noise.bernoulli_(1 - p, generator=self.draws.generator).div_(1 - p)
        return x.mul_(noise) if inplace else x * noise


@contextmanager
def own_draws(seed: int, in_loop: bool = False) -> Iterator[None]:
    """The context for a seed: for any code, or for a loop over batches.

    A CUDA device's own generator is seeded and brought back, since recorded steps know no other.
    """
    devices = _cuda_devices()
    mode = OwnDrawsOfLayers(seed) if in_loop else OwnDraws(seed)
    draws = mode.draws if isinstance(mode, OwnDrawsOfLayers) else mode
    states = [torch.cuda.get_rng_state(device) for device in devices]
    outer = getattr(_OF_THREAD, "draws", None)
    try:
        with mode:
            draws.in_use, _OF_THREAD.draws = True, draws
            if states:
                torch.cuda.manual_seed_all(seed)
            yield
    finally:
        draws.in_use, _OF_THREAD.draws = False, outer
        for device, state in zip(devices, states, strict=True):
            torch.cuda.set_rng_state(state, device)


def _taking_a_generator(operation: Any) -> Any:
    """The operation, or its variant, that takes a generator; None if there is none."""
    if any(argument.name == "generator" for argument in operation._schema.arguments):
        return operation
    packet, name = operation.overloadpacket, operation._overloadname
    for variant in ("generator" if name == "default" else f"{name}_generator", f"generator_{name}"):
        if variant in packet.overloads():
            return getattr(packet, variant)
    return None


def _device_of(args: Sequence[Any], named: Mapping[str, Any]) -> torch.device:
    """Where an operation draws: on the device that is named, or on that of its first tensor."""
    if named.get("device") is not None:
        return torch.empty(0, device=named["device"]).device
    return next((value.device for value in (*args, *named.values()) if torch.is_tensor(value)), torch.device("cpu"))


# Whether whole channels are dropped.
_DROPOUTS = {F.dropout: False, F.dropout2d: True, F.dropout3d: True}
_NAMES = {
    torch: "rand rand_like randn randn_like randint randint_like randperm bernoulli multinomial normal poisson "
    "binomial dropout dropout_ feature_dropout feature_dropout_ alpha_dropout alpha_dropout_ feature_alpha_dropout "
    "feature_alpha_dropout_ native_dropout rrelu rrelu_ lstm gru rnn_tanh rnn_relu _standard_gamma _sample_dirichlet",
    torch.Tensor: "uniform_ normal_ random_ bernoulli bernoulli_ exponential_ geometric_ cauchy_ log_normal_ "
    "multinomial",
    F: "dropout1d alpha_dropout feature_alpha_dropout rrelu gumbel_softmax fractional_max_pool2d fractional_max_pool3d "
    "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices multi_head_attention_forward "
    "scaled_dot_product_attention",
    nn.init: "uniform_ normal_ trunc_normal_ xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_ "
    "orthogonal_ sparse_",
}
_MAY_DRAW = {getattr(place, name) for place, names in _NAMES.items() for name in names.split()} - set(_DROPOUTS)
