"""Where data come from and what a stream of experiences is.

Everything is imported on first use, so that ``import forgetless.datasets`` costs next to nothing.
"""

from importlib import import_module
from typing import Any

_SUBMODULES = {
    "DATASETS": "registry",
    "Dataset": "base",
    "Experience": "streams",
    "Stream": "streams",
    "load_breast_cancer": "toy",
    "load_dataset": "registry",
    "load_digits": "toy",
    "load_iris": "toy",
    "load_mnist": "mnist",
    "load_mnist32": "mnist",
    "load_wine": "toy",
    "permuted_stream": "streams",
    "split_stream": "streams",
}

__all__ = list(_SUBMODULES)


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_SUBMODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
