"""A cell of a benchmark: one strategy learns one stream with one seed, and everything is measured."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import pickle
import reprlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import cloudpickle
import numpy as np
from sklearn.base import clone

from ...datasets.streams import Stream, take
from ...estimators.engine.work import Work, counted
from ...estimators.targets import learner_of
from ..results import Facts
from .checkpoints import Checkpoints
from .diagnostics import Diagnostics, gradient_steps
from .guests import is_guest, said_by, seconds_outside
from .identity import dataset_name, describe, digest, set_by_runner
from .measuring import Energy, PeakMemory, limited, machine, now, one_thread, pickled_bytes, pickled_memory, versions
from .protocol import Protocol
from .scoring import Answers
from .specs import StreamSpec
from .testing import Tests, read_only, together

# Raised when the same cell would give other numbers or mean something else; cells stored before are then run again.
PROTOCOL = 2

StreamSource = Stream | StreamSpec | Callable[[int], Stream]

LONGEST_MESSAGE = 1000


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
        Where networks compute: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    stream_definition : dict
        What identifies the content of the stream.
    stacked : bool, default=False
        Whether the seeds of this strategy and stream are trained as one stacked network. Scores differ by rounding; the
        key does not depend on it.
    protocol : Protocol, default=Protocol(scoring=("accuracy",))
        How models are tested, with scorers that fit the stream.
    gpu : int, default=None
        The number of the GPU to use for device ``"cuda"``, any if not given; the key does not depend on it.
    """

    strategy: str
    stream: str
    estimator: Any
    source: StreamSource
    seed: int
    device: str
    stream_definition: dict[str, Any]
    stacked: bool = False
    protocol: Protocol = dataclasses.field(default_factory=lambda: Protocol(scoring=("accuracy",)))
    gpu: int | None = None

    @functools.cached_property
    def params(self) -> Any:
        """What identifies the strategy; a worker process, where modules may be missing, gets it with the cell."""
        return describe(self.estimator)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of what defines the cell: protocol, strategy with all parameters, stream, seed, device."""
        parts = [PROTOCOL, self.params, self.stream_definition, self.seed, self.device, self.protocol.description()]
        return digest(parts)


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


class Interrupted(KeyboardInterrupt):
    """The user stopped a benchmark; the message says how to go on."""


def run_stacked(
    cells: Sequence[Cell], time_limit: float = math.inf, checkpoints: Checkpoints | None = None
) -> list[Facts]:
    """Run cells that differ in their seeds only, as one stack; with one thread, so that scores are reproducible.

    Parameters
    ----------
    cells : sequence of Cell
        One, or several whose estimators can be stacked into one network.
    time_limit : float, default=inf
        Seconds that each may take.
    checkpoints : Checkpoints, default=None
        Where their state is kept when they take long, and from where they go on.

    Returns
    -------
    list of Facts
        Whatever the strategy or its data raise, an exit or a KeyboardInterrupt of their own included, becomes a run
        with status ``"failed"`` and a one-line error. The seconds of a stack are shared equally.

    Raises
    ------
    Interrupted
        If the user wants to stop.
    """
    runs = [_Run(cell) for cell in cells]
    keys = [cell.key for cell in cells]
    kept = checkpoints.load(keys) if checkpoints else None
    begin, spent, states = kept or (0, 0.0, [None] * len(runs))
    clock = time.perf_counter()
    for run in runs:
        run.clock -= spent
    try:
        # Hundreds of cells would say the same hundreds of times, across the line of progress.
        with limited(len(cells) * time_limit, spent), one_thread(), warnings.catch_warnings(action="ignore"):
            for run, state in zip(runs, states, strict=True):
                run.open(state)
            end = max(len(run.stream) for run in runs)
            for k in range(begin, end):
                _learn([run for run in runs if k < len(run.stream)], k)
                if checkpoints and k + 1 < end and time.perf_counter() - clock >= checkpoints.after:
                    clock = time.perf_counter()
                    checkpoints.save(keys, (k + 1, clock - runs[0].clock, [run.state() for run in runs]))
            for run in runs:
                run.close()
    except Interrupted:
        raise
    except BaseException as error:
        if len(runs) > 1:  # find out whose error it is
            return [facts for cell in cells for facts in run_stacked([cell], time_limit, checkpoints)]
        runs[0].fail(error)
    return [run.facts(len(runs)) for run in runs]


def failed(cell: Cell, error: BaseException) -> Facts:
    """Return the facts of a cell that nothing else is known of than its error.

    Parameters
    ----------
    cell : Cell
    error : BaseException

    Returns
    -------
    Facts
    """
    run = _Run(cell)
    run.fail(error)
    return run.facts(1)


class _Run:
    """A cell while it runs: its stream, its estimator, and the facts so far."""

    stream: Stream

    def __init__(self, cell: Cell) -> None:
        self.clock = time.perf_counter()  # when it began, as if it had never been interrupted
        self.cell = cell
        learner = learner_of(cell.estimator)
        self.run: dict[str, Any] = {
            "cell": cell.key,
            "strategy": cell.strategy,
            "stream": cell.stream,
            "scenario": "",
            "dataset": "",
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
            "n_parallel": math.nan,  # the runner knows
            "started": datetime.now(UTC).isoformat(),
            "protocol": json.dumps(cell.protocol.description()),
            "versions": json.dumps(versions()),
            "machine": machine(cell.device),
        }
        self.experiences: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []

    def open(self, state: dict[str, Any] | None) -> None:
        """Make stream and estimator, and test the untrained model; or go on from a state."""
        cell = self.cell
        self.stream = open_stream(cell.source, cell.seed)
        self.run |= {"scenario": self.stream.scenario, "dataset": dataset_name(self.stream)}
        self.run["n_experiences"] = len(self.stream)
        self.estimator = _prepare(cell.estimator, cell.seed, cell.device)
        by_task = self.stream.scenario == "task" and _takes(self.estimator, "predict", "task_id")
        self.tests = Tests(self.stream, cell.protocol, by_task, cell.device)
        self.model = None if state else _untrained(self.estimator, self.stream)
        self.scores += [] if state else self.tests.after(-1, self.model)
        announces = self.stream.announces_classes or not _is_ours(learner_of(self.estimator))
        takes_classes = len(self.stream.classes) and _takes(self.estimator, "partial_fit", "classes")
        self.announced = {"classes": self.stream.classes} if announces and takes_classes else {}
        self.knows_tasks = _takes(self.estimator, "partial_fit", "task_id")
        self.memory, self.energy = PeakMemory(cell.device), Energy(cell.device)
        self.diagnostics = Diagnostics() if cell.protocol.diagnostics else None
        self.tests.spent()
        vars(self).update(state or {})

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs, but for what is made again from the cell."""
        names = ("run", "experiences", "scores", "evaluations", "estimator", "model", "diagnostics")
        return {name: getattr(self, name) for name in names}

    def calls(self, k: int) -> Iterator[dict[str, Any]]:
        """Yield the arguments of each call of ``partial_fit`` in experience `k`, and test between them."""
        experience, protocol = self.stream[k], self.cell.protocol
        told: dict[str, Any] = (
            {"task_id": experience.task_id} if self.knows_tasks and experience.task_id is not None else {}
        )
        told |= self.announced
        n_train = len(experience.y_train)
        prequential = protocol.evaluate == "prequential"
        arriving = self.stream.arriving_set(k) if prequential else (experience.X_train, experience.y_train)
        heard: list[tuple[Answers, np.ndarray]] = []
        for part in protocol.parts(len(arriving[1])):
            if prequential:
                heard += self._predict_first(k, part, *_some(*arriving, part))
            elif part.start:
                self.evaluations += self.tests.within(k, part.start, self.estimator)
            # Where labels come late, other rows are learned than those that arrive, and not as many.
            share = slice(*(edge * n_train // len(arriving[1]) for edge in (part.start, part.stop)))
            X, y = _some(experience.X_train, experience.y_train, share)
            if len(y):
                yield {"X": read_only(X), "y": read_only(y), **told}
                self.model = self.estimator
        if prequential:
            answers, targets = zip(*heard, strict=True) if heard else ((), ())
            found = self.tests.scores(together(answers), np.concatenate(targets)) if heard else {}
            for metric in protocol.scoring:
                where = {"trained_on": k - 1, "tested_on": k, "n_tested": sum(map(len, targets))}
                self.scores.append({**where, "metric": metric, "score": found.get(metric, math.nan)})

    def _predict_first(self, k: int, part: slice, X: Any, y: np.ndarray) -> list[tuple[Answers, np.ndarray]]:
        """Test on rows that arrive, where there is a model that can answer."""
        if self.model is None or (self.tests.by_task and not part.start):  # the task is not known yet
            return []
        answers = self.tests.answers(self.model, read_only(X), y, k if self.tests.by_task else None)
        where = {"experience": k, "n_rows": part.start, "tested_on": k, "n_tested": len(y)}
        scores = self.tests.scores(answers, y)
        self.evaluations += [{**where, "metric": metric, "score": value} for metric, value in scores.items()]
        return [(answers, y)]

    def learned(self, k: int, n_train: int, steps: float, cost: dict[str, float]) -> None:
        """Note what experience `k` cost, and test."""
        carried = _memory_usage(self.estimator)
        pickled = pickled_bytes(self.estimator)
        by_kind = pickled_memory(learner_of(self.estimator), pickled)
        model, replay = carried.get("weights", 0), carried.get("replay", 0)
        self.scores += self.tests.after(k, self.estimator)
        state: dict[str, float] = {}
        if self.diagnostics:
            state = self.diagnostics.after(self.estimator, learner_of(self.estimator), self.stream[k])
        self.experiences.append(
            {
                "experience": k,
                "n_train": n_train,
                **cost,
                "predict_seconds": self.tests.spent(),
                "model_bytes": model,
                "replay_bytes": replay,
                "state_bytes": sum(carried.values()) - model - replay,
                "pickled_bytes": pickled,
                "pickled_memory": json.dumps(by_kind),
                "gradient_steps": steps,
                "memory": json.dumps(carried),
                "diagnostics": json.dumps(state),
            }
        )

    def close(self) -> None:
        """Note what is known at the end."""
        self.run["n_parameters"] = _n_parameters(self.estimator)
        self.run |= said_by(self.estimator)
        chosen = getattr(learner_of(self.estimator), "best_params_", None)
        if chosen is not None:  # as a list, which is no part of a strategy's name: seeds choose differently
            self.run["params"] = json.dumps(self.cell.params | {"best_params_": list(describe(chosen).items())})

    def fail(self, error: BaseException) -> None:
        """Keep the error, and nothing else."""
        self.run |= {"status": "failed", "error": _sentence(error)}
        self.experiences, self.scores, self.evaluations = [], [], []

    def facts(self, n_stacked: int) -> Facts:
        """Return the facts of a run that shared its time with the others of its stack."""
        self.run |= {"seconds": (time.perf_counter() - self.clock) / n_stacked, "n_stacked": float(n_stacked)}
        return Facts(self.run, self.experiences, self.scores, self.evaluations)


def _learn(runs: Sequence[_Run], k: int) -> None:
    """Let all learn their experience `k`, in one call or in several."""
    device = runs[0].cell.device
    memory, energy, work = runs[0].memory, runs[0].energy, Work()
    seconds, peak, joules, n_train, steps = 0.0, 0.0, 0.0, 0, [0.0] * len(runs)
    for calls in zip(*(run.calls(k) for run in runs), strict=True):
        memory.start()
        outside = sum(seconds_outside(run.estimator) for run in runs)
        energy.start()
        clock = now(device)
        with counted(work):
            if len(runs) == 1:
                runs[0].estimator.partial_fit(**calls[0])
            else:
                from ...estimators import partial_fit_together

                partial_fit_together([run.estimator for run in runs], calls)
        outside = sum(seconds_outside(run.estimator) for run in runs) - outside
        seconds += (now(device) - clock - outside) / len(runs)
        joules += energy.spent() / len(runs)
        peak = max(peak, memory.peak() / len(runs))
        n_train += len(calls[0]["y"])
        steps = [n + gradient_steps(learner_of(run.estimator)) for n, run in zip(steps, runs, strict=True)]
        for run in runs:
            if run.diagnostics:
                run.diagnostics.called(learner_of(run.estimator), len(calls[0]["y"]))
    cost = {
        "fit_seconds": seconds,
        "peak_memory_bytes": math.nan if is_guest(runs[0].estimator) else peak,  # another process holds it
        "energy_joules": joules,
        "samples_seen": work.samples_seen / len(runs),
        "flops": work.flops() / len(runs),
    }
    for run, n_steps in zip(runs, steps, strict=True):
        run.learned(k, n_train, n_steps, cost)


def _some(X: Any, y: np.ndarray, rows: slice) -> tuple[Any, np.ndarray]:
    """Return some rows, without a copy if they are all."""
    return (X, y) if rows == slice(0, len(y)) else take(X, y, np.arange(rows.start, rows.stop))


def _is_ours(learner: Any) -> bool:
    """Tell whether a learner keeps the contract of forgetless; all others are external."""
    return hasattr(learner, "strategy_info")


# What scikit-learn's incremental estimators carry beside their weights; all others say it themselves, or nobody knows.
_KEPT = {"sklearn.linear_model": "nothing", "sklearn.neural_network": "nothing", "sklearn.naive_bayes": "statistics"}


def _strategy_info(learner: Any) -> dict[str, Any]:
    if not _is_ours(learner):
        module = type(learner).__module__
        keeps = _KEPT.get(".".join(module.split(".")[:2]), "unknown")
        return {"family": "external", "keeps": keeps, "source": module, "needs_task_id": False}
    info: dict[str, Any] = learner.strategy_info()
    return {name: info[name] for name in ("family", "keeps", "source", "needs_task_id")}


def _prepare(estimator: Any, seed: int, device: str) -> Any:
    values = {"random_state": seed, "device": device}
    estimator = clone(estimator)
    chosen = {name: values[name.rpartition("__")[2]] for name in estimator.get_params() if set_by_runner(name)}
    return estimator.set_params(**chosen)


def _untrained(estimator: Any, stream: Stream) -> Any:
    """Return an untrained model that can answer, or None; a clone, for a network built here knows all classes."""
    if not hasattr(estimator, "initialize"):
        return None
    X, y = stream.test_set(0)
    if not len(y):  # nothing is held out
        X, y = stream.arriving_set(0)
    return clone(estimator).initialize(read_only(X), stream.classes if len(stream.classes) else y)


def _sentence(error: BaseException) -> str:
    """What an exception says, on one line that can be stored and printed."""
    try:
        said = str(error)
    except BaseException:
        said = "(its message cannot be read)"
    line = f"{type(error).__name__}: {' '.join(said[:LONGEST_MESSAGE].split())}".removesuffix(": ")
    more = "..." if len(said) > LONGEST_MESSAGE else ""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line) + more


def _takes(estimator: Any, method: str, parameter: str) -> bool:
    return parameter in inspect.signature(getattr(learner_of(estimator), method)).parameters


def _memory_usage(estimator: Any) -> dict[str, int]:
    if not hasattr(estimator, "memory_usage"):
        return {"weights": len(cloudpickle.dumps(estimator, protocol=pickle.DEFAULT_PROTOCOL))}  # also of a script
    carried = {str(kind): int(n_bytes) for kind, n_bytes in estimator.memory_usage().items()}
    if min(carried.values(), default=0) < 0 or sum(carried.values()) >= 2**63:  # no store could keep them
        raise ValueError(f"memory_usage() says {reprlib.repr(carried)}, which cannot be bytes.")
    return carried


def _n_parameters(estimator: Any) -> float:
    """Count the weights of all networks that predict; NaN where there is none."""
    learner = learner_of(estimator)
    nets = [part.net_ for part in getattr(learner, "learners_", {"": learner}).values() if hasattr(part, "net_")]
    return float(sum(p.numel() for net in nets for p in net.module_.parameters())) if nets else math.nan
