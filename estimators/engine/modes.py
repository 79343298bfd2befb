"""The modes of torch in which a caller may stand: what an estimator learns and answers does not depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def plain_modes() -> Iterator[None]:
    """Torch as it is when nobody has changed its modes: gradients on, autocasting off, new tensors on the CPU.

    A caller's ``torch.no_grad()``, ``torch.inference_mode()``, ``torch.autocast()`` and default device end where this
    begins, for this thread and until the end of the context. A module may open its own in its forward pass.
    """
    with ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            modes.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield
