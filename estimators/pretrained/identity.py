"""What a model and a row are, as short keys: equal for equal content, in whatever object it is."""

import hashlib
import inspect
import io
import weakref
from typing import Any

import cloudpickle
import torch
from torch import nn

_LENGTH = 16


class _Digester(cloudpickle.Pickler):
    """Pickles a model with a digest in the place of each tensor: what it computes with, wherever it is stored."""

    def persistent_id(self, thing: Any) -> Any:
        if not torch.is_tensor(thing) or thing.layout is not torch.strided:
            return None
        data = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return str(thing.dtype), tuple(thing.shape), hashlib.blake2b(data.tobytes(), digest_size=_LENGTH).digest()


def model_key(model: Any) -> bytes:
    """A key of a module or another callable, by its content: weights, settings, and code that no package has.

    Parameters
    ----------
    model : torch.nn.Module or callable

    Returns
    -------
    bytes
        Different for models that may give different features. Equal models may have different keys in two processes;
        then features are computed once more.

    Raises
    ------
    TypeError
        If the model cannot be pickled.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> twin = nn.Linear(2, 2)
    >>> model_key(layer) == model_key(twin)
    False
    >>> twin.load_state_dict(layer.state_dict())
    <All keys matched successfully>
    >>> model_key(layer) == model_key(twin)
    True
    """
    file = io.BytesIO()
    digester = _Digester(file)
    # What is there twice is then written twice, whether it is one object or not: that changes in a pickle.
    digester.fast = isinstance(model, nn.Module)
    try:
        digester.dump(model)
    except Exception as error:
        raise TypeError(
            f"model is a {type(model).__name__} that cannot be pickled ({error}), so its features cannot be found "
            "again in a cache; give cache=None."
        ) from error
    if isinstance(model, nn.Module):
        source = b"".join(_source(kind) for kind in dict.fromkeys(type(layer) for layer in model.modules()))
    else:
        source = _source(model) + _source(type(model))
    return hashlib.blake2b(file.getvalue() + source, digest_size=_LENGTH).digest()


def _source(thing: Any) -> bytes:
    """The text of a class or function; to find a class, its whole file is parsed, so it is done once."""
    if isinstance(thing, type) and thing in _SOURCES:
        return _SOURCES[thing]
    try:
        source = inspect.getsource(thing).encode()
    except (OSError, TypeError):
        source = b""
    if isinstance(thing, type):
        _SOURCES[thing] = source
    return source


_SOURCES: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def row_key(row: bytes) -> bytes:
    """A key of the content of a row."""
    return hashlib.blake2b(row, digest_size=_LENGTH).digest()
