"""One call of ``partial_fit``: what is needed while it runs, and dropped when it is over."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .objective import Objective
from .randomness import own_draws
from .rows import Rows


@dataclass
class Call:
    """What lives for one call: its rows, its generators, where its loop stands, and what a method notes for itself.

    An estimator makes one in ``open_call``, passes it to every hook, and keeps nothing of it.

    Attributes
    ----------
    X, y : ndarray
        The rows of the call, checked; `y` are the numbers of outputs, for a regressor targets (n_rows, n_outputs).
    rows : Rows
        What is trained on: the same on the device, as `rows.x` and `rows.y`; ``before_training`` may add fields or put
        other rows in their place.
    experience : int
        Number of the running experience, from 1.
    opens_experience : bool
        Whether this call is its first.
    task_id : hashable or None
    entropy : tuple of int
        What the call's generators are made of.
    objective : Objective
        The loss of outputs and targets.
    epoch, n_batches, batch_index : int
        The running epoch, its number of batches, and the number of the running batch in it; all from 0.
    n_epochs : int
        Number of epochs of the loop.
    step : int
        Steps that the optimiser has made in this call.
    evaluation : int
        The number of the running evaluation of the loss within the step, from 0; an optimiser such as LBFGS asks for
        several, and moves the weights in between.
    rates : callable
        ``rates()`` is how far a step of the optimiser moves a weight whose gradient stays 1: one number, or one for
        each weight; there is one where the loop has begun.
    state : types.SimpleNamespace
        A method's own, from ``before_training`` on.
    """

    X: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    y: np.ndarray = field(default_factory=lambda: np.empty(0))
    experience: int = 1
    opens_experience: bool = True
    task_id: Hashable = None
    entropy: tuple[int, ...] = (0,)
    rows: Rows = field(default_factory=Rows)
    objective: Objective = field(init=False)
    epoch: int = 0
    n_batches: int = 0
    batch_index: int = 0
    n_epochs: int = 0
    step: int = 0
    evaluation: int = 0
    rates: Callable[[], Any] = field(init=False)
    state: SimpleNamespace = field(default_factory=SimpleNamespace)
    # How rows other than the batch are passed for a gradient of their own, by the number of gradients; see
    # NetworkStrategy.gradient_on.
    other_passes: dict[int, Any] = field(default_factory=dict)
    # Rows, and what was made of them; see parts_of.
    parts: tuple[Any, Any] = (None, None)
    _rngs: dict[str, np.random.Generator] = field(default_factory=dict)

    def rng(self, purpose: str) -> np.random.Generator:
        """The call's NumPy generator for one purpose; purposes do not disturb each other's draws."""
        if purpose not in self._rngs:
            self._rngs[purpose] = self._new_rng(purpose)
        return self._rngs[purpose]

    @cached_property
    def generator(self) -> torch.Generator:
        """The torch generator, on the CPU, that hooks draw from."""
        return self.torch_generator("strategy")

    def torch_generator(self, purpose: str) -> torch.Generator:
        """A new torch generator for one purpose, on the CPU."""
        return torch.Generator().manual_seed(self._seed(purpose))

    def seeded(self, purpose: str, in_loop: bool = False) -> AbstractContextManager[None]:
        """A context in which torch code that names no generator draws from one for this purpose.

        Torch's global generator is not touched.

        Parameters
        ----------
        purpose : str
            Draws for different purposes have nothing to do with each other.
        in_loop : bool, default=False
            For code that makes many operations.

        Returns
        -------
        context manager
        """
        return own_draws(self._seed(purpose), in_loop)

    def _new_rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([*self.entropy, *purpose.encode()])

    def _seed(self, purpose: str) -> int:
        return int(self._new_rng(purpose).integers(2**31))
