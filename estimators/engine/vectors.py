"""What counts as a vector: one rule for growth, stacking and recording."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def vectors_of(owner: object, shape: Sequence[int]) -> list[tuple[str, torch.Tensor]]:
    """Attributes that are tensors of the shape of θ, or of the matrix that stacked networks have for it.

    Parameters
    ----------
    owner : object
        An estimator, or the state of a call.
    shape : sequence of int

    Returns
    -------
    list of (str, torch.Tensor)
    """
    return [(name, value) for name, value in vars(owner).items() if torch.is_tensor(value) and value.shape == shape]
