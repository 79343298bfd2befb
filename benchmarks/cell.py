"""A cell of a benchmark: one strategy learns one stream with one seed, and everything is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import inspect
import itertools
import json
import math
import os
import pickle
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..datasets.streams import Stream
from .identity import describe, digest, set_by_harness
from .results import Facts
from .specs import StreamSpec

# Raised when the same cell would give other numbers or mean something else; cells stored before are then run again.
PROTOCOL = 1

StreamSource = Stream | StreamSpec | Callable[[int], Stream]

# Test sets are stacked up to this size, so that one call to predict answers for many experiences.
_BLOCK_BYTES = 2**29


@dataclasses.dataclass(frozen=True)
class Cell:
    """One strategy, one stream, one seed.

    The names are for people; the key says what is run, and a renamed strategy keeps its cells.

    Parameters
    ----------
    strategy, stream : str
        Names in tables and reports.
    estimator : estimator
        Unfitted; it is cloned.
    source : Stream, StreamSpec or callable
        What the stream is or is made from.
    seed : int
        Random state of the strategy, and of the stream where that is made for the cell.
    device : str
        Where networks compute: ``"cpu"`` or ``"cuda"``.
    stream_definition : dict
        What identifies the content of the stream.
    """

    strategy: str
    stream: str
    estimator: Any
    source: StreamSource
    seed: int
    device: str
    stream_definition: dict[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of what defines the cell: protocol, strategy with all parameters, stream, seed and device."""
        return digest([PROTOCOL, describe(self.estimator), self.stream_definition, self.seed, self.device])


def open_stream(source: StreamSource, seed: int) -> Stream:
    """Return a cell's stream.

    Parameters
    ----------
    source : Stream, StreamSpec or callable
        A stream is returned as it is; a callable gets the seed.
    seed : int

    Returns
    -------
    Stream

    Raises
    ------
    ValueError
        If it is none of these, or the callable returns no stream.
    """
    if isinstance(source, StreamSpec):
        return source.build(seed)
    stream = source(seed) if callable(source) else source
    if not isinstance(stream, Stream):
        raise ValueError(f"A {type(stream).__name__} is no stream; split_stream and permuted_stream make them.")
    return stream


def run_cell(cell: Cell) -> Facts:
    """Run a cell, with one thread, so that its bits do not depend on how many run beside it.

    Parameters
    ----------
    cell : Cell

    Returns
    -------
    Facts
        An exception in the strategy or its data becomes a run with status ``"failed"`` and a one-line error.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    learner = _learner(cell.estimator)
    guest = {"family": "guest", "keeps": "unknown", "source": type(learner).__module__, "needs_task_id": False}
    run: dict[str, Any] = {
        "cell": cell.key,
        "strategy": cell.strategy,
        "stream": cell.stream,
        "scenario": "",
        "seed": cell.seed,
        "status": "ok",
        "error": None,
        "estimator": type(learner).__name__,
        **(learner.strategy_info() if _is_ours(learner) else guest),
        "params": json.dumps(describe(cell.estimator)),
        "stream_definition": json.dumps(cell.stream_definition),
        "device": cell.device,
        "n_experiences": 0,
        "n_parameters": math.nan,
        "started": started.isoformat(),
        "versions": json.dumps(_versions()),
        "machine": _machine(cell.device),
    }
    experiences: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    try:
        # Hundreds of cells would say the same hundreds of times, across the line of progress.
        with _one_thread(), warnings.catch_warnings(action="ignore"):
            stream = open_stream(cell.source, cell.seed)
            run |= {"scenario": stream.scenario, "n_experiences": len(stream)}
            estimator = _prepare(cell.estimator, cell.seed, cell.device)
            tests = _Tests(stream, estimator, cell.device)
            scores += tests.run(_untrained(estimator, stream), -1)[0]
            for row in _learn(estimator, stream, cell.device):
                found, row["predict_seconds"] = tests.run(estimator, row["experience"])
                scores += found
                experiences.append(row)
            run["n_parameters"] = _n_parameters(estimator)
    except Exception as error:
        run |= {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        experiences, scores = [], []
    run["seconds"] = time.perf_counter() - clock
    return Facts(run, experiences, scores)


def _learner(estimator: Any) -> Any:
    """Return what learns: the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _is_ours(learner: Any) -> bool:
    """Tell whether a learner keeps the contract of forgetless; all others are guests."""
    return hasattr(learner, "strategy_info")


def _prepare(estimator: Any, seed: int, device: str) -> Any:
    values = {"random_state": seed, "device": device}
    estimator = clone(estimator)
    chosen = {name: values[name.rpartition("__")[2]] for name in estimator.get_params() if set_by_harness(name)}
    return estimator.set_params(**chosen)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")  # loaded by now if the strategy needs it
    n_threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(n_threads)


# --- learning ----------------------------------------------------------------------------------------------------


def _untrained(estimator: Any, stream: Stream) -> Any:
    """Return an untrained model that can answer, or None; a clone, for a network built here knows all classes."""
    if not hasattr(estimator, "initialize"):
        return None
    return clone(estimator).initialize(stream.test_set(0)[0], stream.classes)


def _learn(estimator: Any, stream: Stream, device: str) -> Iterator[dict[str, Any]]:
    """Learn the stream, and after each experience yield what it cost."""
    announces = stream.announces_classes or not _is_ours(_learner(estimator))
    announced = {"classes": stream.classes} if announces and _takes(estimator, "partial_fit", "classes") else {}
    knows_tasks = _takes(estimator, "partial_fit", "task_id")
    memory = _PeakMemory(device)
    for experience in stream:
        task = {"task_id": experience.task_id} if knows_tasks and experience.task_id is not None else {}
        memory.start()
        clock = _now(device)
        estimator.partial_fit(experience.X_train, experience.y_train, **announced, **task)
        seconds = _now(device) - clock
        carried = _memory_usage(estimator)
        model, replay = carried.get("weights", 0), carried.get("replay", 0)
        yield {
            "experience": experience.index,
            "n_train": len(experience.X_train),
            "fit_seconds": seconds,
            "peak_memory_bytes": memory.peak(),
            "model_bytes": model,
            "replay_bytes": replay,
            "state_bytes": sum(carried.values()) - model - replay,
            "memory": json.dumps(carried),
        }


def _takes(estimator: Any, method: str, parameter: str) -> bool:
    return parameter in inspect.signature(getattr(_learner(estimator), method)).parameters


def _memory_usage(estimator: Any) -> dict[str, int]:
    if hasattr(estimator, "memory_usage"):
        return estimator.memory_usage()
    return {"weights": len(pickle.dumps(estimator))}


def _n_parameters(estimator: Any) -> float:
    """Count the weights of all networks that predict; NaN where there is none."""
    learner = _learner(estimator)
    nets = [part.net_ for part in getattr(learner, "learners_", {"": learner}).values() if hasattr(part, "net_")]
    return float(sum(p.numel() for net in nets for p in net.module_.parameters())) if nets else math.nan


# --- testing -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Block:
    """Test sets of some experiences, stacked; `rows` says which rows are of which experience."""

    X: np.ndarray
    y: np.ndarray
    rows: dict[int, slice]


class _Tests:
    """The test sets of a stream, for one model: stacked if the model answers for all in one call, or task by task."""

    def __init__(self, stream: Stream, estimator: Any, device: str) -> None:
        self.stream = stream
        self.device = device
        self.by_task = stream.scenario == "task" and _takes(estimator, "predict", "task_id")
        small = len(stream) * stream.test_set(0)[0].nbytes <= _BLOCK_BYTES
        self._kept = list(self._blocks()) if small else None

    def run(self, model: Any, trained_on: int) -> tuple[list[dict[str, Any]], float]:
        """Return the accuracy on every experience, and the seconds that predicting took.

        The accuracy is NaN where there is no model yet, and on tasks that a model which is told the task has not met.
        """
        scores = dict.fromkeys(range(len(self.stream)), math.nan)
        seconds = 0.0
        for block in () if model is None else self._kept or self._blocks():
            task = {}
            if self.by_task:
                [task["task_id"]] = block.rows
                if task["task_id"] > trained_on:
                    continue
            clock = _now(self.device)
            answers = model.predict(block.X, **task)
            seconds += _now(self.device) - clock
            scores |= {j: float(np.mean(answers[rows] == block.y[rows])) for j, rows in block.rows.items()}
        return [{"trained_on": trained_on, "tested_on": j, "score": score} for j, score in scores.items()], seconds

    def _blocks(self) -> Iterator[_Block]:
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        for j in range(len(self.stream)):
            waiting.append(self.stream.test_set(j))
            full = sum(X.nbytes for X, _ in waiting) + waiting[-1][0].nbytes > _BLOCK_BYTES
            if self.by_task or full or j == len(self.stream) - 1:
                ends = np.cumsum([len(y) for _, y in waiting]).tolist()
                first = j + 1 - len(waiting)
                rows = {first + k: slice(start, end) for k, (start, end) in enumerate(itertools.pairwise([0, *ends]))}
                X, y = (np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
                yield _Block(X, y, rows)
                waiting = []


# --- measuring ---------------------------------------------------------------------------------------------------


def _now(device: str) -> float:
    """Return the clock in seconds, once the device has done all it was told to do."""
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()
    return time.perf_counter()


class _PeakMemory:
    """How far memory rises above what is held now: allocated memory on a GPU, else resident memory of the process.

    The resident peak is the kernel's own (``VmHWM``, reset through ``clear_refs``): exact, and free of charge. Systems
    without it give NaN.
    """

    def __init__(self, device: str) -> None:
        self.cuda = sys.modules["torch"].cuda if device == "cuda" else None
        self.base = 0.0
        self.start()
        self.base = self.peak()

    def start(self) -> None:
        """Forget the peak so far."""
        if self.cuda:
            self.cuda.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.base = math.nan

    def peak(self) -> float:
        """Return the bytes above the base that were held at the worst moment since the start."""
        if self.cuda:
            return self.cuda.max_memory_allocated() - self.base
        if math.isnan(self.base):
            return math.nan
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return 1024.0 * int(found[1]) - self.base if found else math.nan


@functools.cache
def _versions() -> dict[str, str]:
    names = ("forgetless", "numpy", "scikit-learn", "skorch", "torch")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _machine(device: str) -> str:
    gpu = f", {sys.modules['torch'].cuda.get_device_name()}" if device == "cuda" else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}"
