"""Pickles that load on any machine: tensors travel as arrays, and come back to their device where there is one.

What a script or a notebook defines travels with what uses it.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle
import numpy as np
import torch


def packed(thing: Any) -> bytes:
    """A pickle of something, whatever device its tensors are on.

    Parameters
    ----------
    thing : object

    Returns
    -------
    bytes
        For ``pickle.loads``. Tensors that were views of one storage have storages of their own then.
    """
    file = io.BytesIO()
    _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(thing)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is not torch.Tensor or thing.layout != torch.strided or thing.is_quantized:
            return super().reducer_override(thing)
        # Bytes, since NumPy has not all of torch's types.
        array = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return unpacked, (array, thing.dtype, tuple(thing.shape), str(thing.device), thing.requires_grad)


def unpacked(
    array: np.ndarray[Any, Any], dtype: torch.dtype, shape: tuple[int, ...], device: str, requires_grad: bool
) -> torch.Tensor:
    """The tensor of an array of bytes, on its device, or on the CPU where there is none such."""
    there = not device.startswith("cuda") or torch.cuda.is_available()
    # An array without elements has strides that torch cannot view as another type.
    flat = torch.from_numpy(array.copy()).view(dtype) if array.size else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    return tensor.to(device if there else "cpu").requires_grad_(requires_grad)
