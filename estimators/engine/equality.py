"""Whether parameters are equal by value, whatever they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from torch import nn


def compared_parameters(estimator: Any) -> dict[str, Any]:
    """Parameters by name, without random states; of nested estimators the classes, beside their own parameters.

    Without names that begin with an underscore, too, by which skorch keeps account of the others.
    """
    return {
        name: type(value) if hasattr(value, "get_params") and not isinstance(value, type) else value
        for name, value in estimator.get_params(deep=True).items()
        if not f"__{name}".endswith("__random_state") and "___" not in f"__{name}"
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays, tensors and modules included."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Generator):  # each draws its own
        return True
    if isinstance(a, nn.Module):
        return repr(a) == repr(b) and same(list(a.state_dict().values()), list(b.state_dict().values()))
    if hasattr(a, "get_params") and not isinstance(a, type):
        own, others = compared_parameters(a), compared_parameters(b)
        return own.keys() == others.keys() and all(same(value, others[name]) for name, value in own.items())
    try:
        equal = a == b
        if isinstance(equal, bool) and equal:
            return True
        return pickle.dumps(a) == pickle.dumps(b)
    except Exception:  # what can neither be compared nor pickled may differ
        return False
