"""Runs strategies x streams x seeds, and stores what was measured.

Everything is imported on first use, so that ``import forgetless.benchmarks`` costs next to nothing.
"""

from importlib import import_module
from typing import Any

_SUBMODULES = {
    "Interrupted": "harness",
    "Results": "results",
    "Store": "store",
    "StoreError": "store",
    "StrategySpec": "specs",
    "StreamSpec": "specs",
    "Suite": "suites",
    "SuiteError": "suites",
    "WorkerDied": "harness",
    "load_suite": "suites",
    "run_benchmark": "harness",
    "suite_names": "suites",
}

__all__ = list(_SUBMODULES)


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_SUBMODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
