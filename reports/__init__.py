"""Metrics, tables and pages made from stored results; every number here is derived, none is measured.

A ``results`` object is anything with three DataFrames, ``runs``, ``experiences`` and ``scores``.
"""

from importlib import import_module
from typing import Any

_SUBMODULES = {
    "METRICS": "metrics",
    "Metric": "metrics",
    "Results": "tables",
    "cell_metrics": "tables",
    "leaderboard": "tables",
    "summarize": "tables",
    "to_csv": "text",
    "to_markdown": "text",
    "to_terminal": "text",
    "example_results": "example",
    "Finding": "findings",
    "write_html": "page",
}

__all__ = sorted(_SUBMODULES)


def __getattr__(name: str) -> Any:
    # PEP 562: pandas and matplotlib are imported only when a report is made, so that `--help` stays fast.
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_SUBMODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
