"""Cumulative: keep everything, and go on training on all of it at each experience."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..engine.call import Call
from ..engine.objective import with_groups
from ..engine.rows import Rows
from ..strategy import NetworkClassifier


class CumulativeClassifier(NetworkClassifier):
    """Keep all data and go on training on all of it at each call: an upper bound that never starts anew.

    Unlike :class:`JointClassifier` it starts each call from the current weights and optimiser state, so rows of early
    calls are seen in more epochs than rows of late ones.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row of an earlier call has the
        active outputs of its own task.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import CumulativeClassifier
    >>> clf = CumulativeClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_usage()["replay"] > 1437 * 64 * 4
    True
    """

    family = "baselines"
    source = "upper bound: cumulative training"
    keeps = "samples"
    unlearns = "memory only"
    carries = {"rows_": "replay"}

    rows_: Rows

    def before_training(self, call: Call) -> None:
        """Every call trains on all rows so far, from the weights that are there."""
        rows = with_groups(call.objective, call.rows)
        self.rows_ = call.rows = self.rows_.joined(rows) if hasattr(self, "rows_") else rows.map(torch.clone)

    def drop_rows(self, X: NDArray[Any]) -> None:
        """Remove them from all rows so far; the next call trains on what is left."""
        stays = ~self.rows_.equals_one_of(X)
        if not stays.any():
            raise ValueError("forget_samples would leave no row to train on; use a new estimator instead.")
        self.rows_ = self.rows_.take(self.on_device(np.flatnonzero(stays)))
