"""The identity of what is run: canonical descriptions of estimators and data, and their hash.

A cell of a benchmark is found again in the store by the hash of its definition. A definition must therefore be the same
in every process and on every day (no memory addresses, no order of insertion, no object without a name), and different
for things that may give different scores: what cannot be described in this way is refused.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import json
import re
import sys
import sysconfig
import types
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from ...datasets.streams import Stream

# A description that is a dict with one of these keys stands for something else than a dict.
_TAGS = {"again", "array", "bytes", "class", "dict", "frozenset", "import", "method", "partial", "path", "set"}
_PLAIN_SCALARS = (np.bool_, np.int64, np.float64, np.str_)


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
        If it has none, as a lambda or a function inside a function, or if something else is there.

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
    _check_found(thing, thing.__module__, thing.__qualname__)
    return path


def _check_found(thing: Any, module: str, name: str) -> None:
    """Refuse a thing if its name leads to another one, such as the function that decorates it."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not thing:
        raise ValueError(
            f"{module}.{name} is not the importable thing of this name, so it cannot be found again in a store: give "
            "the one that can be imported, or define it under a name of its own."
        )


def describe(value: Any) -> Any:
    """Describe a parameter, an estimator or any plain object by JSON-able values.

    Estimators become their class and all parameters, recursively: they are described as what ``sklearn.base.clone``
    makes of them, so fitted state counts only where a clone keeps it. What the runner sets in them, ``random_state``
    and ``device``, is left out. Arrays and tensors become a hash of their contents; classes and functions their import
    path, and a hash of their source unless an installed package defines them; other objects their class and what
    ``pickle`` would keep of them. Tuples and lists are the same, and so are dicts in any order.

    Parameters
    ----------
    value : object

    Returns
    -------
    JSON-able object

    Raises
    ------
    ValueError
        If a value cannot be described the same way in another process; the message names the parameter.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> describe(GaussianNB(var_smoothing=1e-3))
    {'class': 'sklearn.naive_bayes.GaussianNB', 'params': {'priors': None, 'var_smoothing': 0.001}}
    """
    return _Description(value).of(value, "", cloned=True)


def describe_stream(stream: Stream) -> dict[str, Any]:
    """Describe the content of a stream.

    Parameters
    ----------
    stream : Stream

    Returns
    -------
    dict
        Its ``definition``. What a stream of a class of one's own says about itself need not tell its data, so a hash of
        them is added.

    Raises
    ------
    ValueError
        If something in it cannot be described.
    """
    from ...datasets import streams
    from ...datasets.base import fingerprint

    try:
        definition: dict[str, Any] = describe(dict(stream.definition))
        origin = _unaltered(stream)
        if type(origin).__module__.startswith(f"{streams.__package__}."):
            return definition
        content = [stream.scenario, stream.classes, stream.announces_classes]
        # One experience at a time: a stream may be larger than the memory.
        parts = [fingerprint(each.classes, each.X_train, each.y_train, each.X_test, each.y_test) for each in stream]
        return definition | {"data": digest([describe(content), parts])}
    except ValueError as error:
        raise ValueError(f"The stream {stream.name!r} cannot be identified: {error}") from error


def dataset_name(stream: Stream) -> str:
    """Name what a stream is made of: streams of one data set are no independent evidence.

    Parameters
    ----------
    stream : Stream

    Returns
    -------
    str
        The name of the data set; where there is none, that of the stream, before it was altered.
    """
    from ...datasets.streams import DatasetStream

    origin = _unaltered(stream)
    return origin.dataset.name if isinstance(origin, DatasetStream) else origin.name


def _unaltered(stream: Stream) -> Stream:
    from ...datasets.altered import AlteredStream

    while isinstance(stream, AlteredStream):
        stream = stream.stream
    return stream


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


class _Description:
    """One call of :func:`describe`: what the runner reaches, and what was met on the way to a value."""

    def __init__(self, value: Any) -> None:
        nested = value.get_params(deep=True).values() if _is_estimator(value) else ()
        # The runner sets parameters through these; elsewhere, in a dict say, a random state stays as it is.
        self.reached = {id(each) for each in (value, *nested) if _is_estimator(each)}
        self.above: list[int] = []
        self.tensors: list[Any] = []

    def of(self, value: Any, path: str, cloned: bool = False) -> Any:
        """Describe a value; `path` is the parameter it is in, `cloned` whether ``clone`` would clone it."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self.above:
            return {"again": len(self.above) - self.above.index(id(value))}
        self.above.append(id(value))
        try:
            return self._of_object(value, path, cloned)
        except RecursionError:
            raise _refusal(path, value, "it is nested too deeply") from None
        finally:
            self.above.pop()

    def _of_object(self, value: Any, path: str, cloned: bool) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            return [self.of(item, f"{path}[{position}]", cloned) for position, item in enumerate(value)]
        if kind in (set, frozenset):
            # Each on its own: which of them comes first is not known.
            return {kind.__name__: sorted((_Description(None).of(item, path, cloned) for item in value), key=digest)}
        if kind is dict:
            return self._of_dict(value, path)
        if kind in (bytes, bytearray):
            return {"bytes": hashlib.sha256(value).hexdigest(), "type": kind.__name__}
        if kind in _PLAIN_SCALARS:
            return value.item()
        if isinstance(value, np.generic) and not isinstance(value, np.void):
            return self._of_array(np.asarray(value), path)
        if kind is np.ndarray:
            return self._of_array(value, path)
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, type | types.FunctionType) or (
            kind is types.BuiltinFunctionType and isinstance(value.__self__, types.ModuleType)
        ):
            return self._named("import", value, path)
        if kind is types.MethodType:
            return {"method": self.of(value.__func__, path), "of": self.of(value.__self__, path)}
        if kind is types.BuiltinMethodType:
            return {"method": value.__name__, "of": self.of(value.__self__, path)}
        if kind is functools.partial and not vars(value):
            parts = {"partial": value.func, "args": value.args, "kwargs": value.keywords}
            return {name: self.of(part, f"{path}.{name}") for name, part in parts.items()}
        if _is_estimator(value):
            return self._of_estimator(value, path, cloned)
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.Tensor):
            return self._of_tensor(value, path)
        return self._of_any(value, path)

    def _of_dict(self, value: Mapping[Any, Any], path: str) -> Any:
        if all(type(key) is str for key in value) and not _TAGS & value.keys():
            return {key: self.of(value[key], f"{path}[{key!r}]") for key in sorted(value)}
        pairs = [
            [digest(key), key, item]
            for key, item in ((self.of(key, f"{path}, a key of it,"), item) for key, item in value.items())
        ]
        pairs.sort(key=lambda pair: pair[0])
        return {"dict": [[key, self.of(item, f"{path}[{key!r}]")] for _, key, item in pairs]}

    def _of_array(self, value: np.ndarray, path: str) -> Any:
        shape = list(value.shape)
        if value.dtype.names is not None:  # without the padding between the fields
            fields = {name: self.of(np.asarray(value[name]), f"{path}[{name!r}]") for name in value.dtype.names}
            return {"array": fields, "dtype": self.of(value.dtype, path), "shape": shape}
        if value.dtype.hasobject:
            return {"array": self.of(value.ravel().tolist(), path), "dtype": value.dtype.str, "shape": shape}
        return {"array": hashlib.sha256(value.tobytes()).hexdigest(), "dtype": value.dtype.str, "shape": shape}

    def _of_tensor(self, value: Any, path: str) -> Any:
        torch = sys.modules["torch"]
        for place, known in enumerate(self.tensors):
            if known is value:  # two layers that share their weights learn otherwise than two with equal ones
                return {"again": f"tensor {place}"}
        self.tensors.append(value)
        if value.layout is not torch.strided or value.is_quantized or torch.nn.parameter.is_lazy(value):
            return self._of_any(value, path)
        if value.device.type == "meta":
            raise _refusal(path, value, "it has no data")
        contents = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        about = {"dtype": str(value.dtype), "shape": list(value.shape), "device": str(value.device)}
        attributes = {"attributes": self.of(vars(value), path)} if vars(value) else {}
        return (
            self._named("class", type(value), path)
            | {"array": hashlib.sha256(contents.numpy().tobytes()).hexdigest(), "requires_grad": value.requires_grad}
            | about
            | attributes
        )

    def _of_estimator(self, value: Any, path: str, cloned: bool) -> Any:
        own = getattr(type(value), "__sklearn_clone__", None)
        cloned = cloned and own in (None, BaseEstimator.__sklearn_clone__)
        params = value.get_params(deep=False)
        reached = id(value) in self.reached
        described = {
            name: self.of(params[name], f"{path}__{name}" if path else name, cloned)
            for name in sorted(params)
            if not (reached and set_by_runner(name))
        }
        description = self._named("class", type(value), path) | {"params": described}
        state = {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in params}
        return description if cloned or not state else description | {"attributes": self._of_state(value, state, path)}

    def _of_any(self, value: Any, path: str) -> Any:
        """Describe an object by what pickle would keep of it."""
        reducer = copyreg.dispatch_table.get(type(value))
        try:
            reduced: Any = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception as error:
            raise _refusal(path, value, str(error)) from error
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None) or type(value).__module__
            try:
                _check_found(value, module, reduced)
            except ValueError as error:
                raise _refusal(path, value, str(error)) from None
            return {"import": f"{module}.{reduced}"}
        make, args, state, items, pairs = (*reduced, *[None] * 5)[:5]
        description = self._named("class", type(value), path)
        if make is not copyreg.__newobj__ or args != (type(value),):  # type: ignore[attr-defined]
            description |= {"make": self.of(make, path), "args": self.of(args, path)}
        if state is not None:
            description["attributes"] = self._of_state(value, state, path)
        for name, each in (("items", items), ("pairs", pairs)):
            if each is not None:
                description[name] = self.of(list(each), path)
        return description

    def _of_state(self, value: Any, state: Any, path: str) -> Any:
        if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:  # that of slots is apart
            state = (state[0] or {}) | state[1]
        if type(state) is not dict:
            return self.of(state, path)
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            state = _module_state(state)
        if all(type(name) is str for name in state):
            return {name: self.of(state[name], f"{path}.{name}" if path else name) for name in sorted(state)}
        return self.of(state, path)

    def _named(self, tag: str, thing: Any, path: str) -> dict[str, Any]:
        try:
            source = _source(thing)
            return {tag: import_path(thing)} | ({"source": source} if source else {})
        except ValueError as error:
            raise ValueError(f"{_place(path)}: {error}" if path else str(error)) from None


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _module_state(state: dict[str, Any]) -> dict[str, Any]:
    """Keep the order of layers, in which a network computes, and number its hooks, whose keys differ by process."""
    hooks = {name: each for name, each in state.items() if "_hooks" in name and isinstance(each, dict)}
    places = {key: place for place, key in enumerate(sorted({key for each in hooks.values() for key in each}))}
    ordered = {name: list(state[name].items()) for name in ("_modules", "_parameters", "_buffers") if name in state}
    numbered = {name: [[places[key], hook] for key, hook in each.items()] for name, each in hooks.items() if each}
    return {name: each for name, each in state.items() if name not in hooks} | ordered | numbered


def _place(path: str) -> str:
    return f"The parameter {path}" if path else "A parameter"


def _refusal(path: str, value: Any, reason: str) -> ValueError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return ValueError(
        f"{_place(path)} of type {kind} cannot be found again in a store ({reason.rstrip('.')}): give a number, a "
        "text, an array, or an object that can be pickled."
    )


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _source(thing: Any) -> str:
    """Hash the source of a class with its bases, or of a function; empty where an installed package defines them."""
    parts = [_text(each) for each in (inspect.getmro(thing) if isinstance(thing, type) else (thing,))]
    return digest(parts) if any(parts) else ""


def _read(thing: Any) -> str:
    """Read the source; where that of a class cannot be, as in notebooks, that of its methods, with what else it has."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        if not isinstance(thing, type):
            raise
    parts = []
    for name, value in vars(thing).items():
        method = getattr(value, "__func__", getattr(value, "fget", value))
        if inspect.isfunction(method):
            parts.append(inspect.getsource(method))
        elif not name.startswith("__"):
            parts.append(f"{name} = {re.sub(' at 0x[0-9a-f]+', '', repr(value))}")
    return "\n".join(parts)


@functools.cache
def _is_installed(file: str) -> bool:
    return any(place in Path(file).resolve().parents for place in _installed())


def _text(thing: Any) -> str:
    name = thing.__module__ or ""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name != "__main__" and (file is None or name.partition(".")[0] == __name__.partition(".")[0]):
        return ""
    if file is not None and _is_installed(file):
        return ""
    try:
        return _read(thing)
    except (OSError, TypeError):
        raise ValueError(
            f"the source of {name}.{thing.__qualname__} cannot be read, so it cannot be found again in a store: define "
            "it in a module."
        ) from None
