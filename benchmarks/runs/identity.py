"""The identity of what is run: canonical descriptions of estimators and data, and their hash.

A cell of a benchmark is found again in the store by the hash of its definition. A definition must therefore be the same
in every process and on every day: no memory addresses, no order of insertion, no object without a name.
"""

from __future__ import annotations

import functools
import hashlib
import json
import types
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np


def digest(definition: Any) -> str:
    """Return the SHA-256 (hex) of a definition's canonical JSON.

    Parameters
    ----------
    definition : JSON-able object
        As made by :func:`describe`.

    Returns
    -------
    str

    Examples
    --------
    >>> digest({"b": 1, "a": [2.0]}) == digest({"a": [2.0], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(definition, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def import_path(thing: Any) -> str:
    """Return the dotted path under which a class or a function can be imported.

    Parameters
    ----------
    thing : class or function

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it has none, as a lambda or a function inside a function.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> import_path(StandardScaler)
    'sklearn.preprocessing._data.StandardScaler'
    """
    path = f"{thing.__module__}.{thing.__qualname__}"
    if "<" in path:
        raise ValueError(
            f"{path} has no importable name, so it cannot be found again in a store: define it in a module."
        )
    return path


def describe(value: Any) -> Any:
    """Describe a parameter, an estimator or any plain object by JSON-able values.

    Estimators become their class and all parameters, recursively; arrays and tensors become a hash of their contents;
    classes and functions their import path; other objects their class and attributes. What the runner itself sets,
    ``random_state`` and ``device``, is left out.

    Parameters
    ----------
    value : object

    Returns
    -------
    JSON-able object

    Raises
    ------
    ValueError
        If a value cannot be described the same way in another process.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> describe(GaussianNB(var_smoothing=1e-3))
    {'class': 'sklearn.naive_bayes.GaussianNB', 'params': {'priors': None, 'var_smoothing': 0.001}}
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [describe(item) for item in value]
        case Mapping():
            return {str(key): describe(value[key]) for key in sorted(value, key=str)}
        case Set():
            return sorted((describe(item) for item in value), key=digest)
        case np.generic():
            return value.item()
        case np.ndarray() if value.dtype.hasobject:
            return {"array": describe(value.tolist())}
        case np.ndarray():
            contents = hashlib.sha256(value.tobytes()).hexdigest()
            return {"array": contents, "dtype": value.dtype.str, "shape": list(value.shape)}
        case type() | types.FunctionType() | types.BuiltinFunctionType():
            return import_path(value)
        case functools.partial():
            return {"partial": describe(value.func), "args": describe(value.args), "kwargs": describe(value.keywords)}
        case PurePath():
            return str(value)
    kind = import_path(type(value))
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False).items()
        return {"class": kind, "params": describe({k: v for k, v in params if not set_by_runner(k)})}
    if kind == "torch.Tensor":
        return describe(value.detach().cpu().numpy())
    if kind.startswith("torch.") and not hasattr(value, "__dict__"):  # dtypes, devices
        return str(value)
    if hasattr(value, "__dict__"):
        return {"class": kind, "attributes": describe(vars(value))}
    raise ValueError(f"A parameter of type {kind} cannot be found again in a store: give a number, a text or an array.")


def set_by_runner(parameter: str) -> bool:
    """Tell whether the runner sets a parameter: the last part of its name is ``random_state`` or ``device``.

    Parameters
    ----------
    parameter : str
        A name as in ``get_params``, such as ``"net__device"``.

    Returns
    -------
    bool

    Examples
    --------
    >>> set_by_runner("net__device"), set_by_runner("net__lr")
    (True, False)
    """
    return parameter.rpartition("__")[2] in {"random_state", "device"}
