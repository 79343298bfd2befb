"""What the upper bounds share: all rows so far are kept, and trained on at each call."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.objective import with_groups
from ..engine.rows import Rows
from ..strategy import NetworkStrategy


class AllRows(NetworkStrategy):
    """The rule of the upper bounds: every call trains on all rows so far, each with the active outputs of its task."""

    family = "baselines"
    keeps = "samples"
    unlearns = "memory only"
    pure_steps = True
    carries = {"rows_": "replay"}

    rows_: Rows

    def __init__(self, net: NeuralNet | None = None, *, active_outputs: str = "auto", random_state: Any = None) -> None:
        self.net = net
        self.active_outputs = active_outputs
        self.random_state = random_state

    def before_training(self, call: Call) -> None:
        """Train on all rows so far."""
        rows = with_groups(call.objective, call.rows)
        self.rows_ = call.rows = self.rows_.joined(rows) if hasattr(self, "rows_") else rows.map(torch.clone)

    def drop_rows(self, X: NDArray[Any]) -> None:
        """Remove them from all rows so far; the next call trains on what is left."""
        stays = ~self.rows_.equals_one_of(X)
        if not stays.any():
            raise ValueError("forget_samples would leave no row to train on; use a new estimator instead.")
        self.rows_ = self.rows_.take(self.on_device(np.flatnonzero(stays)))
