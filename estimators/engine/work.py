"""What learning computes: rows that pass through networks, counted where somebody asks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch
    from torch import nn

# What was counted of modules, for as long as they live: counting takes as long as some ten steps. Of an MLP the shapes
# say all, so that those of one shape are counted once.
_counts: WeakKeyDictionary[nn.Module | type[nn.Module], dict[Any, int]] = WeakKeyDictionary()
_asking: ContextVar[Work | None] = ContextVar("_asking", default=None)


class _Passes(NamedTuple):
    """Rows of one shape that passed one module: forward alone, or back as well."""

    module: nn.Module
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    back: bool


class Work:
    """Rows that passed through networks while :func:`counted` was open.

    It knows the passes of steps, with the rows that are replayed, of gradients beside them, of Fisher information, and
    of teachers and other networks whose outputs a method asks for.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import MLP, ContinualNet, NaiveClassifier
    >>> clf = NaiveClassifier(ContinualNet(MLP, module__hidden_units=(5,), max_epochs=2), random_state=0)
    >>> with counted() as work:
    ...     clf = clf.partial_fit(np.eye(4, 3), [0, 1, 0, 1])
    >>> work.samples_seen, work.flops()  # 4 rows twice; forward, to the weights and to the hidden units
    (8.0, 960.0)
    """

    def __init__(self) -> None:
        self.rows: dict[_Passes, int] = {}

    @property
    def samples_seen(self) -> float:
        """Rows of which a gradient was computed, each as often as it was; NaN if no row passed a network."""
        return float(sum(n for passes, n in self.rows.items() if passes.back)) if self.rows else math.nan

    def flops(self) -> float:
        """Floating-point operations of these passes: two for each multiplication and addition of matrix products.

        They are what ``torch.utils.flop_counter`` counts (products, convolutions, attention) for one row, of each
        module as it is now, times the rows. Not counted: what is done element by element, optimisers and penalties,
        second derivatives, further passes back of the same pass forward, and frozen encoders before a strategy.

        Returns
        -------
        float
            NaN if no row passed a network, or a module cannot pass a single row.
        """
        if not self.rows:
            return math.nan
        try:
            return float(sum(n * _flops_of_row(passes) for passes, n in self.rows.items()))
        except Exception:  # whatever a user's module does with a row of zeros
            return math.nan

    def repeat(self) -> None:
        """Count these passes once more, for whoever asks now."""
        work = _asking.get()
        if work is not None:
            for passes, n in self.rows.items():
                work.rows[passes] = work.rows.get(passes, 0) + n


@contextlib.contextmanager
def counted(work: Work | None = None) -> Iterator[Work]:
    """Count what networks compute in this context, and in this thread.

    Parameters
    ----------
    work : Work, default=None
        What to add to; ``None``: a new one.

    Yields
    ------
    Work
    """
    work = Work() if work is None else work
    token = _asking.set(work)
    try:
        yield work
    finally:
        _asking.reset(token)


def note(module: nn.Module, x: torch.Tensor, back: bool, n_leading: int = 1) -> None:
    """Say that rows pass through a module.

    Parameters
    ----------
    module : torch.nn.Module
    x : torch.Tensor
        The rows; its first `n_leading` dimensions number them.
    back : bool
        Whether their gradient comes back.
    n_leading : int, default=1
    """
    work = _asking.get()
    if work is not None:
        passes = _Passes(module, tuple(x.shape[n_leading:]), x.dtype, x.device, back)
        work.rows[passes] = work.rows.get(passes, 0) + x.shape[:n_leading].numel()


def _flops_of_row(passes: _Passes) -> int:
    """Count once, as long as the module has the same parameters, of which the same are trained."""
    from .modules import MLP

    known = _counts.setdefault(MLP if type(passes.module) is MLP else passes.module, {})
    key = passes[1:], tuple((p.shape, p.requires_grad) for p in passes.module.parameters())
    if key not in known:
        known[key] = _counted_flops(passes)
    return known[key]


def _counted_flops(passes: _Passes) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from .compiler import without_compiler
    from .modules import fixed_statistics

    x = torch.zeros((1, *passes.shape), dtype=passes.dtype, device=passes.device)
    with fixed_statistics(passes.module) as module, torch.set_grad_enabled(passes.back):
        with FlopCounterMode(display=False) as counter:
            without_compiler(type(counter.mode).__torch_dispatch__)
            outputs = module(x)
            trained = [p for p in module.parameters() if p.requires_grad]
            if passes.back and trained:
                torch.autograd.grad(outputs.sum(), trained, allow_unused=True)
        return int(counter.get_total_flops())
