"""Equal budgets: which runs can be compared at one price, and what was set so that they fit it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from . import formats
from .tables import ResultTables, cell_metrics, choose_runs, stored_object

LIMITS = {"memory": "state_bytes", "compute": "fit_seconds"}
"""What is equal in a table, and the name of its limit in a protocol's budget."""

_COSTS = {"memory": ["model_bytes", "replay_bytes", "state_bytes"], "compute": ["fit_seconds"]}
_SET = {"state_bytes": "buffer_size", "fit_seconds": "max_epochs"}


def matched(results: ResultTables, by: str, budget: float | None = None) -> ResultTables:
    """Select runs that share a budget.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    by : {"memory", "compute"}
        What is equal: the bytes carried after the last experience, or the seconds of fit.
    budget : float, default=None
        Bytes or seconds. ``None``: that of the runs, which have one in common; the runs that were planned for it are
        selected. With a number, there come the strategies that were not planned for any such budget, on streams where
        what each of their runs took, as measured, is within it; seconds of runs that went on beside others are no
        measurement.

    Returns
    -------
    ResultTables

    Raises
    ------
    ValueError
        If nothing is to be selected, or runs have several budgets and none is named.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> matched(example_results(), "memory", 13_000).runs["strategy"].unique().tolist()
    ['Naive']
    """
    if by not in LIMITS:
        raise ValueError(f"Results can be matched by {' or '.join(map(repr, LIMITS))}, not by {by!r}.")
    limit, runs = LIMITS[by], results.runs
    planned = _planned(runs, limit)
    known = sorted(planned.dropna().unique())
    if budget is None and len(known) != 1:
        there = ", ".join(f"{each:g}" for each in known)
        raise ValueError(
            f"These runs have several budgets of {limit}: {there}; name one of them."
            if known
            else f"No run here was planned for a budget of {limit}; name a number, to select by what was measured."
        )
    if budget is None:
        return choose_runs(results, (planned == known[0]).to_numpy())
    cost = cell_metrics(results)[_COSTS[by]].sum(axis=1, skipna=False).to_numpy()
    fits = (cost <= budget) | (runs["status"] == "failed").to_numpy()
    if by == "compute":
        fits &= ~formats.beside(runs).to_numpy()
    pair = [runs["stream"].astype(str), runs["strategy"].astype(str)]
    has_plan = (planned == budget).groupby(pair).transform("any")
    free = planned.isna()
    all_fit = pd.Series(fits | ~free, index=runs.index).groupby(pair).transform("all")
    kept = ((planned == budget) | (free & all_fit & ~has_plan)).to_numpy()
    if not kept.any():
        raise ValueError(f"No strategy here is within {budget:g} of {limit}, as measured.")
    return choose_runs(results, kept)


def _planned(runs: pd.DataFrame, limit: str) -> "pd.Series[float]":
    """The limit that each run was planned for; NaN where it had none."""
    budgets = [stored_object(text).get("budget") for text in runs["protocol"]]
    limits = [budget.get(limit) if isinstance(budget, dict) else None for budget in budgets]
    return pd.to_numeric(pd.Series(limits, index=runs.index, dtype=object), errors="coerce").astype(np.float64)


def said(runs: pd.DataFrame) -> str:
    """Say what budgets runs had, and what was set so that each strategy fits.

    Parameters
    ----------
    runs : DataFrame
        ``results.runs``.

    Returns
    -------
    str
        Empty if there were none.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> budget = '{"budget": {"state_bytes": 500000}}'
    >>> said(example_results().runs.assign(protocol=budget, params='{"params": {"buffer_size": 20}}')[:1])
    'Equal budgets: 500 kB carried, by buffer_size (Naive 20).'
    """
    parts = []
    for limit, parameter in _SET.items():
        planned = _planned(runs, limit)
        if planned.isna().all():
            continue
        values = sorted(planned.dropna().unique())
        unit = limit.partition("_")[2]
        limits = " or ".join(formats.cost(value, unit) for value in values)
        chosen: dict[str, list[int]] = {}
        for strategy, params in zip(runs["strategy"][planned.notna()], runs["params"][planned.notna()], strict=True):
            found = [value for value in _values(stored_object(params), parameter) if isinstance(value, int)]
            chosen.setdefault(str(strategy), []).extend(found)
        shown = ", ".join(f"{formats.plain(name)} {_range(found)}" for name, found in chosen.items() if found)
        what = "carried" if unit == "bytes" else "of learning"
        parts.append(f"{limits} {what}, by {parameter} ({shown or 'nothing to be set'})")
    return f"Equal budgets: {'; '.join(parts)}." if parts else ""


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _values(description: Any, name: str) -> Iterator[Any]:
    """Yield the values of a parameter, wherever it is in the description of a strategy."""
    if isinstance(description, dict):
        if name in description:
            yield description[name]
        for value in description.values():
            yield from _values(value, name)
    elif isinstance(description, list):
        for value in description:
            yield from _values(value, name)
