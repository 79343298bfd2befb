"""Equal budgets: memory sizes and epochs are set so that each strategy costs no more than it may."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from ...datasets.streams import Stream, take
from ...estimators.targets import learner_of
from ..results import Facts
from .cell import Cell, open_stream, run_stacked
from .identity import describe
from .protocol import Budget, Protocol

SIZE, EPOCHS = "buffer_size", "net__max_epochs"
"""What is set: how the names of these parameters end."""

# Rows of a small memory for each class, when the size of a row is measured with it.
_ROWS_PER_CLASS = 4


class _Part(Stream):
    """The beginning of a stream, and a few rows of each experience, of each class at least one.

    Parameters
    ----------
    stream : Stream
    n_rows : int, default=None
        Rows of each experience, ``None``: all.
    n_experiences : int, default=None
        ``None``: all.
    """

    def __init__(self, stream: Stream, n_rows: int | None = None, n_experiences: int | None = None) -> None:
        super().__init__(
            stream.name,
            stream.scenario,
            stream.classes,
            stream.n_features,
            min(n_experiences or len(stream), len(stream)),
        )
        self.stream, self.n_rows, self.announces_classes = stream, n_rows, stream.announces_classes

    @property
    def definition(self) -> dict[str, Any]:
        return {"part": [self.n_rows, self.n_experiences], "of": self.stream.definition}

    def make_classes(self, index: int) -> np.ndarray:
        return self.stream.make_classes(index)

    def make_train_set(self, index: int) -> tuple[Any, Any]:
        experience = self.stream[index]
        return self._few(experience.X_train, experience.y_train)

    def make_test_set(self, index: int) -> tuple[Any, Any]:
        return self._few(*self.stream.test_set(index))

    def _few(self, X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        if self.n_rows is None or len(y) <= self.n_rows:
            return X, y
        first = np.unique(y, return_index=True)[1].tolist() if self.kind == "classification" else []
        rows = list(dict.fromkeys([*first, *range(len(y))]))
        return take(X, y, np.array(sorted(rows[: max(self.n_rows, len(first))])))


def fitting(strategy: str, estimator: Any, stream: Stream, seed: int, budget: Budget) -> Any:
    """Set the memory of a strategy to the largest that fits a budget beside all else that it carries.

    What it carries is measured twice on a few rows of each experience of the stream, with small memories: this gives
    the bytes of a row and of the rest, after the last experience. Nothing is scored. Where there is no memory to be
    set, what is carried may grow with the number of rows, in proportion.

    Parameters
    ----------
    strategy : str
        Its name, for the message.
    estimator : estimator
        It is not changed.
    stream : Stream
    seed : int
    budget : Budget

    Returns
    -------
    estimator
        The same where nothing is to be set.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    if budget.state_bytes is None:
        return estimator
    n_total = sum(len(experience.y_train) for experience in stream)
    n_rows = min(_ROWS_PER_CLASS * max(len(stream.classes), 2), max(n_total // 4, 1))
    quick = _with(estimator, EPOCHS, 1)
    if _names(estimator, SIZE):
        small, large = n_rows, 2 * n_rows
        some = _Part(stream, 2 * large)
        sizes = [_carried(strategy, _with(quick, SIZE, n), some, seed) for n in (small, large)]
        per_row = (sizes[1] - sizes[0]) / (large - small)
        rest = sizes[0] - small * per_row
        if per_row > 0:
            n_kept = min(int((budget.state_bytes - rest) // per_row), n_total)
            if n_kept >= 1:
                return _with(estimator, SIZE, n_kept)
            needed = math.ceil(rest + per_row)
            raise ValueError(
                f"{strategy!r} on {stream.name!r} does not fit the budget of {budget.state_bytes:,.0f} bytes: with a "
                f"memory of one row it carries {needed:,}."
            )
        carried = sizes[1]
    else:
        # Of an experience that has fewer rows than a part should have, both parts have all.
        parts = [_Part(stream, n) for n in (n_rows, 2 * n_rows)]
        seen = [sum(len(experience.y_train) for experience in part) for part in parts]
        sizes = [_carried(strategy, quick, part, seed) for part in parts]
        per_row = (sizes[1] - sizes[0]) / max(seen[1] - seen[0], 1)
        carried = math.ceil(sizes[1] + max(per_row, 0.0) * (n_total - seen[1]))
    if carried > budget.state_bytes:
        raise ValueError(
            f"{strategy!r} on {stream.name!r} does not fit the budget of {budget.state_bytes:,.0f} bytes: it carries "
            f"{carried:,}, and has no {SIZE} to be set."
        )
    return estimator


def _carried(strategy: str, estimator: Any, stream: Stream, seed: int) -> int:
    """Measure the bytes that are carried after the last experience."""
    last = _tried(strategy, estimator, stream, seed, "cpu").experiences[-1]
    return int(last["model_bytes"] + last["replay_bytes"] + last["state_bytes"])


def _tried(strategy: str, estimator: Any, stream: Stream, seed: int, device: str) -> Facts:
    """Let a strategy learn a stream, as a cell does."""
    cell = Cell(strategy, stream.name, estimator, stream, seed, device, stream.definition)
    protocol = Protocol("current").for_stream(stream)
    [facts] = run_stacked([dataclasses.replace(cell, protocol=protocol)])
    if facts.run["status"] == "failed":
        raise ValueError(f"What {strategy!r} costs on {stream.name!r} cannot be measured: {facts.run['error']}")
    return facts


def _names(estimator: Any, last: str) -> list[str]:
    return [name for name in estimator.get_params() if f"__{name}".endswith(f"__{last}")]


def _with(estimator: Any, last: str, value: int) -> Any:
    """A copy with a value for all parameters whose names end so."""
    return clone(estimator).set_params(**dict.fromkeys(_names(estimator, last), value))


def with_epochs(cells: Sequence[Cell], stored: Iterable[Any]) -> list[Cell]:
    """Set the epochs of cells that have a budget of seconds, to as many as fit it.

    A strategy learns the first two experiences in one epoch, with the first seed, on this machine; the seconds of the
    second, for each row, say what an epoch over the stream takes. What was chosen is part of the cell: cells of the
    same strategy, stream, device and protocol that a store has already say how many epochs it was.

    Parameters
    ----------
    cells : sequence of Cell
    stored : iterable
        Runs with attributes stream, device, protocol and params, as in ``results.runs``.

    Returns
    -------
    list of Cell
        In the same order; those without such a budget are the same.

    Raises
    ------
    ValueError
        If one epoch takes longer than the budget, or learning does that has no epochs.
    """
    chosen: dict[str, int | None] = {}
    for run in stored:
        params, epochs = _apart(json.loads(run.params))
        if epochs:
            chosen[json.dumps([params, run.stream, run.device, json.loads(run.protocol)], sort_keys=True)] = epochs[0]
    made, too_slow = [], []
    for cell in cells:
        if cell.protocol.budget.fit_seconds is None:
            made.append(cell)
            continue
        estimator = _with_net(cell.estimator)
        params, _ = _apart(describe(estimator))
        key = json.dumps([params, cell.stream, cell.device, cell.protocol.description()], sort_keys=True)
        if key not in chosen:
            try:
                chosen[key] = _epochs(cell, estimator)
            except ValueError as error:
                chosen[key] = None
                too_slow.append(str(error))
        n_epochs = chosen[key]
        if n_epochs is not None:
            cell = dataclasses.replace(cell, estimator=_with(estimator, EPOCHS, n_epochs))
        made.append(cell)
    if too_slow:
        raise ValueError(f"Nothing has run. {' '.join(too_slow)}")
    return made


def _epochs(cell: Cell, estimator: Any) -> int | None:
    """Choose the epochs by a calibration; None where there are none to choose."""
    budget = cell.protocol.budget.fit_seconds
    stream = open_stream(cell.source, cell.seed)
    n_total = sum(len(experience.y_train) for experience in stream)
    part = _Part(stream, n_experiences=2)
    last = _tried(cell.strategy, _with(estimator, EPOCHS, 1), part, cell.seed, cell.device).experiences[-1]
    seconds = last["fit_seconds"] / max(last["n_train"], 1) * n_total
    # GDumb learns when it is asked.
    has_epochs = bool(_names(estimator, EPOCHS)) and last["samples_seen"] > 0 and seconds > 0
    if seconds > budget:
        what = "one epoch" if has_epochs else "learning"
        raise ValueError(
            f"{cell.strategy!r} on {cell.stream!r} does not fit the budget of {budget:g} seconds: {what} takes about "
            f"{seconds:.3g}."
        )
    return int(budget / seconds) if has_epochs else None


def _with_net(estimator: Any) -> Any:
    """The estimator with a network to set the epochs of, where it has none of its own yet."""
    learner = learner_of(estimator)
    if getattr(learner, "net", ...) is not None or not hasattr(learner, "prototype"):
        return estimator
    nets = [name for name in _names(estimator, "net") if estimator.get_params()[name] is None]
    return clone(estimator).set_params(**dict.fromkeys(nets, learner.prototype()))


def _apart(description: Any) -> tuple[Any, list[int]]:
    """Return the description of a strategy without its epochs and without what a search chose, and the epochs."""
    if isinstance(description, list):
        parts = [_apart(each) for each in description]
        return [part for part, _ in parts], [n for _, epochs in parts for n in epochs]
    if not isinstance(description, Mapping):
        return description, []
    kept: dict[str, Any] = {}
    found: list[int] = []
    for name, value in description.items():
        if name == "max_epochs" and "module" in description:  # a net's; GDumb has epochs of its own
            found.append(value)
        elif name != "best_params_":
            kept[name], inner = _apart(value)
            found += inner
    return kept, found
