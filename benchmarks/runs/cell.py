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
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ...datasets.streams import Stream, concatenate
from ..results import Facts
from .identity import describe, digest, set_by_runner
from .specs import StreamSpec

# Raised when the same cell would give other numbers or mean something else; cells stored before are then run again.
PROTOCOL = 1

StreamSource = Stream | StreamSpec | Callable[[int], Stream]

# Test sets are concatenated up to this size, so that one call to predict answers for many experiences.
BLOCK_BYTES = 2**29


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
    stacked : bool, default=False
        Whether the seeds of this strategy and stream are trained as one stacked network; scores differ by rounding.
    """

    strategy: str
    stream: str
    estimator: Any
    source: StreamSource
    seed: int
    device: str
    stream_definition: dict[str, Any]
    stacked: bool = False

    @functools.cached_property
    def params(self) -> Any:
        """What identifies the strategy; a worker process, where modules may be missing, gets it with the cell."""
        return describe(self.estimator)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of what defines the cell: protocol, strategy with all parameters, stream, seed, device, stacking."""
        parts = [PROTOCOL, self.params, self.stream_definition, self.seed, self.device]
        return digest([*parts, "stacked"] if self.stacked else parts)


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
        raise ValueError(f"A {type(stream).__name__} is no stream; stream_from and split_stream make them.")
    return stream


def run_stacked(cells: Sequence[Cell]) -> list[Facts]:
    """Run cells that differ in their seeds only, as one stack; with one thread, so that scores are reproducible.

    Parameters
    ----------
    cells : sequence of Cell
        One, or several whose estimators can be stacked into one network.

    Returns
    -------
    list of Facts
        An exception in the strategy or its data becomes a run with status ``"failed"`` and a one-line error. The
        seconds of a stack are shared equally.
    """
    runs = [_Run(cell) for cell in cells]
    try:
        # Hundreds of cells would say the same hundreds of times, across the line of progress.
        with _one_thread(), warnings.catch_warnings(action="ignore"):
            for run in runs:
                run.open()
            for k in range(max(len(run.stream) for run in runs)):
                _learn([run for run in runs if k < len(run.stream)], k)
            for run in runs:
                run.close()
    except Exception as error:
        if len(runs) > 1:  # find out whose error it is
            return [facts for cell in cells for facts in run_stacked([cell])]
        runs[0].fail(error)
    return [run.facts(len(runs)) for run in runs]


class _Run:
    """A cell while it runs: its stream, its estimator, and the facts so far."""

    stream: Stream

    def __init__(self, cell: Cell) -> None:
        self.clock = time.perf_counter()
        self.cell = cell
        learner = _learner(cell.estimator)
        self.run: dict[str, Any] = {
            "cell": cell.key,
            "strategy": cell.strategy,
            "stream": cell.stream,
            "scenario": "",
            "seed": cell.seed,
            "status": "ok",
            "error": None,
            "estimator": type(learner).__name__,
            **_strategy_info(learner),
            "params": json.dumps(cell.params),
            "stream_definition": json.dumps(cell.stream_definition),
            "device": cell.device,
            "n_experiences": 0,
            "n_parameters": math.nan,
            "started": datetime.now(UTC).isoformat(),
            "versions": json.dumps(_versions()),
            "machine": _machine(cell.device),
        }
        self.experiences: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []

    def open(self) -> None:
        """Make stream and estimator, and test the untrained model."""
        cell = self.cell
        self.stream = open_stream(cell.source, cell.seed)
        self.run |= {"scenario": self.stream.scenario, "n_experiences": len(self.stream)}
        self.estimator = _prepare(cell.estimator, cell.seed, cell.device)
        self.tests = _Tests(self.stream, self.estimator, cell.device)
        self.scores += self.tests.run(_untrained(self.estimator, self.stream), -1)[0]
        announces = self.stream.announces_classes or not _is_ours(_learner(self.estimator))
        takes_classes = _takes(self.estimator, "partial_fit", "classes")
        self.announced = {"classes": self.stream.classes} if announces and takes_classes else {}
        self.knows_tasks = _takes(self.estimator, "partial_fit", "task_id")
        self.memory = _PeakMemory(cell.device)

    def call(self, k: int) -> dict[str, Any]:
        """Return the arguments of ``partial_fit`` in experience `k`."""
        experience = self.stream[k]
        task = {"task_id": experience.task_id} if self.knows_tasks and experience.task_id is not None else {}
        return {"X": experience.X_train, "y": experience.y_train, **self.announced, **task}

    def learned(self, k: int, n_train: int, seconds: float, peak: float) -> None:
        """Note what experience `k` cost, and test on every experience."""
        carried = _memory_usage(self.estimator)
        model, replay = carried.get("weights", 0), carried.get("replay", 0)
        found, predict_seconds = self.tests.run(self.estimator, k)
        self.scores += found
        self.experiences.append(
            {
                "experience": k,
                "n_train": n_train,
                "fit_seconds": seconds,
                "predict_seconds": predict_seconds,
                "peak_memory_bytes": peak,
                "model_bytes": model,
                "replay_bytes": replay,
                "state_bytes": sum(carried.values()) - model - replay,
                "memory": json.dumps(carried),
            }
        )

    def close(self) -> None:
        """Note what is known at the end."""
        self.run["n_parameters"] = _n_parameters(self.estimator)

    def fail(self, error: Exception) -> None:
        """Keep the error, and nothing else."""
        self.run |= {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        self.experiences, self.scores = [], []

    def facts(self, n_stacked: int) -> Facts:
        """Return the facts of a run that shared its time with the others of its stack."""
        self.run["seconds"] = (time.perf_counter() - self.clock) / n_stacked
        return Facts(self.run, self.experiences, self.scores)


def _learn(runs: Sequence[_Run], k: int) -> None:
    """Let all learn their experience `k`."""
    device = runs[0].cell.device
    calls = [run.call(k) for run in runs]
    memory = runs[0].memory
    memory.start()
    clock = _now(device)
    if len(runs) == 1:
        runs[0].estimator.partial_fit(**calls[0])
    else:
        from ...estimators import partial_fit_together

        partial_fit_together([run.estimator for run in runs], calls)
    seconds, peak = (_now(device) - clock) / len(runs), memory.peak() / len(runs)
    for run, call in zip(runs, calls, strict=True):
        run.learned(k, len(call["y"]), seconds, peak)


def _learner(estimator: Any) -> Any:
    """Return what learns: the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _is_ours(learner: Any) -> bool:
    """Tell whether a learner keeps the contract of forgetless; all others are external."""
    return hasattr(learner, "strategy_info")


def _strategy_info(learner: Any) -> dict[str, Any]:
    if not _is_ours(learner):
        return {"family": "external", "keeps": "unknown", "source": type(learner).__module__, "needs_task_id": False}
    info: dict[str, Any] = learner.strategy_info()
    return info


def _prepare(estimator: Any, seed: int, device: str) -> Any:
    values = {"random_state": seed, "device": device}
    estimator = clone(estimator)
    chosen = {name: values[name.rpartition("__")[2]] for name in estimator.get_params() if set_by_runner(name)}
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


def _takes(estimator: Any, method: str, parameter: str) -> bool:
    return parameter in inspect.signature(getattr(_learner(estimator), method)).parameters


def _memory_usage(estimator: Any) -> dict[str, int]:
    if not hasattr(estimator, "memory_usage"):
        return {"weights": len(pickle.dumps(estimator))}
    carried: dict[str, int] = estimator.memory_usage()
    return carried


def _n_parameters(estimator: Any) -> float:
    """Count the weights of all networks that predict; NaN where there is none."""
    learner = _learner(estimator)
    nets = [part.net_ for part in getattr(learner, "learners_", {"": learner}).values() if hasattr(part, "net_")]
    return float(sum(p.numel() for net in nets for p in net.module_.parameters())) if nets else math.nan


# --- testing -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Block:
    """Test sets of some experiences, concatenated; `rows` says which rows are of which experience."""

    X: Any
    y: np.ndarray
    rows: dict[int, slice]


class _Tests:
    """The test sets of a stream, for one model: concatenated if one call can answer for all, or task by task."""

    def __init__(self, stream: Stream, estimator: Any, device: str) -> None:
        self.stream = stream
        self.device = device
        self.by_task = stream.scenario == "task" and _takes(estimator, "predict", "task_id")
        small = len(stream) * _n_bytes(stream.test_set(0)[0]) <= BLOCK_BYTES
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
        waiting: list[tuple[Any, np.ndarray]] = []
        for j in range(len(self.stream)):
            waiting.append(self.stream.test_set(j))
            full = sum(_n_bytes(X) for X, _ in waiting) + _n_bytes(waiting[-1][0]) > BLOCK_BYTES
            if self.by_task or full or j == len(self.stream) - 1:
                ends = np.cumsum([len(y) for _, y in waiting]).tolist()
                first = j + 1 - len(waiting)
                rows = {first + k: slice(start, end) for k, (start, end) in enumerate(itertools.pairwise([0, *ends]))}
                yield _Block(*concatenate(waiting), rows)
                waiting = []


def _n_bytes(X: Any) -> int:
    """Count the bytes of an array, a frame or a sparse matrix."""
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    return int((X.data if hasattr(X, "tocsr") else X).nbytes)


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
            allocated: int = self.cuda.max_memory_allocated()
            return allocated - self.base
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
