"""What a device does in a step, recorded once as a CUDA graph, and then started by one call.

A small network's kernels take less time than Python takes to start them one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from .rows import Rows
from .vectors import vectors_of
from .work import counted

# So many calls run as they are before one is recorded. Libraries make their plans and workspaces in the first of them;
# and as recording takes as long as many steps, a short call should not pay for it.
WARM_UP = 10


Work = Callable[[Rows], tuple[Any, ...]]


def can_record(theta: torch.Tensor, steps: Any) -> bool:
    """Whether steps of an optimiser that move `theta` are on a device that has graphs, and the same work each time."""
    return bool(theta.is_cuda and steps.settings() is not None)


def recorded(work: Work, theta: torch.Tensor, steps: Any) -> Work:
    """`work`, a step that moves `theta`, as it is or :class:`Recorded`."""
    return Recorded(work, steps.settings) if can_record(theta, steps) else work


class Recorded:
    """A function of a batch that is recorded for each shape of batches and replayed from then on.

    Where something cannot be recorded (a module that asks for a number in the middle of its forward pass, say), a
    warning says so, and the function is called as it is.

    Parameters
    ----------
    work : callable
        From rows to a tuple of tensors or None. What it does must depend on nothing else that changes but on `settings`
        and on what tensors hold that stay in their places.
    settings : callable
        Returns something hashable; when it changes, recordings are made anew.
    """

    def __init__(self, work: Work, settings: Callable[[], Hashable]) -> None:
        self.work = work
        self.settings = settings
        self.is_refused = False
        self._forget(None)

    def _forget(self, settings: Hashable) -> None:
        self.made_with = settings
        self.n_calls: dict[Hashable, int] = {}
        self.recordings: dict[Hashable, Recording] = {}

    def __call__(self, batch: Rows) -> tuple[Any, ...]:
        """What `work` returns; after a replay, in tensors that the next one overwrites."""
        if self.is_refused:
            return self.work(batch)
        settings = self.settings()
        if settings != self.made_with:
            self._forget(settings)
        key = batch.shape()
        if key not in self.recordings:
            self.n_calls[key] = self.n_calls.get(key, 0) + 1
            if self.n_calls[key] <= WARM_UP:
                return self.work(batch)
            try:
                self.recordings[key] = Recording(self.work, batch)
            except RuntimeError as error:
                self.is_refused = True
                self._forget(None)
                reason = str(error).partition("\n")[0]
                warnings.warn(f"Training goes on without CUDA graphs, more slowly: {reason}", stacklevel=2)
                return self.work(batch)
        return self.recordings[key](batch)


class Recording:
    """One graph, and the places of its batch and outputs.

    Parameters
    ----------
    work : callable
    batch : Rows
        Like those to come.
    """

    def __init__(self, work: Work, batch: Rows) -> None:
        self.batch = batch.like([t.clone() for t in batch.tensors()])
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with counted() as self.work, torch.cuda.graph(self.graph):
                self.outputs = work(self.batch)
        finally:
            torch.cuda.set_stream(stream)  # torch stays on its own where recording fails

    def __call__(self, batch: Rows) -> tuple[Any, ...]:
        """What `work` would return, in tensors that the next call overwrites."""
        for place, t in zip(self.batch.tensors(), batch.tensors(), strict=True):
            place.copy_(t, non_blocking=True)
        self.graph.replay()
        self.work.repeat()
        return self.outputs


class Pinned:
    """Vectors that a recorded step reads: they must stay in their places, so what replaced one is copied there.

    Parameters
    ----------
    owners : sequence of objects
        Those whose attributes are vectors.
    shape : torch.Size
        Of a vector.
    """

    def __init__(self, owners: Sequence[object], shape: torch.Size) -> None:
        self.places = [(owner, name, value) for owner in owners for name, value in vectors_of(owner, shape)]

    def restore(self) -> None:
        """Bring each vector back to its place, with the values that it has now."""
        moved = [(owner, name, place) for owner, name, place in self.places if getattr(owner, name) is not place]
        values = [getattr(owner, name).clone() for owner, name, _ in moved]  # one may be in another one's place
        for (owner, name, place), value in zip(moved, values, strict=True):
            place.copy_(value)
            setattr(owner, name, place)
