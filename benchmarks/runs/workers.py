"""Where cells run: in this process or in workers. What dies or hangs there costs its own cell, not the run."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import math
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import ThreadingBackend, get_active_backend

from ..results import Facts
from .cell import Cell, Interrupted, failed, run_stacked
from .checkpoints import Checkpoints
from .measuring import TimeLimit
from .pool import tie_to

Job = list[Cell]  # one cell, or several that are trained as one stack
Take = Callable[[Job], Job]
Kind = tuple[str, str]  # strategy and stream

GRACE = 10  # seconds for a cell whose time is over, before its process is killed
KILLED = "the process that ran it was killed, twice; perhaps it needs more memory than there is."

# A process has one limit of threads, one peak of memory, one GPU that is meant by "cuda"; workers may have threads.
_one_at_a_time = threading.RLock()


class WorkerDied(RuntimeError):
    """The process that ran a cell ended in the middle of it."""


@contextlib.contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """Raise :class:`Interrupted` on Ctrl-C, and remember it: what runs may take the exception for a stop of its own.

    The same where a scheduler or a closed terminal ends the process, unless somebody else takes care of that.

    Yields
    ------
    threading.Event
        Set once the user wants to stop. Handlers of signals belong to the main thread; in another one it is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(*_: object) -> None:
        asked.set()
        raise Interrupted

    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heard = [signal.SIGINT, *(number for number in ends if signal.getsignal(number) is signal.SIG_DFL)]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield asked
    except Exception:
        if asked.is_set():  # workers that heard of it, too, may be gone when they are to be ended: no other failure
            raise Interrupted from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Under what cells run.

    Parameters
    ----------
    n_jobs : int
        As in joblib; whose backend is used.
    time_limit : float
        Seconds that a cell may take.
    scheduler : str, default=None
        Address of a Dask scheduler, whose workers run the cells then.
    checkpoints : Checkpoints, default=None
        Where cells that take long keep their state.
    """

    n_jobs: int
    time_limit: float
    scheduler: str | None = None
    checkpoints: Checkpoints | None = None

    @property
    def n_parallel(self) -> float:
        """How many cells run at once at most; NaN where a cluster decides."""
        return math.nan if self.scheduler else float(effective_n_jobs(self.n_jobs))

    def longest(self, job: Job) -> float:
        """How many seconds a job may take: a stack that fails is run again, one by one."""
        return self.time_limit * (1 if len(job) == 1 else 2 * len(job))

    def run(self, job: Job, number: int) -> list[Facts]:
        """Run a job in this process; where there are several GPUs, its number says which is its own."""
        with _one_at_a_time:
            _choose_gpu(job[0], number)
            return run_stacked(job, self.time_limit, self.checkpoints)


def _choose_gpu(cell: Cell, number: int) -> None:
    """Deal cells out to the GPUs; "cuda" is the one chosen here, for all that the cell does."""
    if cell.device == "cuda":
        from torch import cuda

        cuda.set_device(number % cuda.device_count() if cell.gpu is None else cell.gpu)


@contextlib.contextmanager
def finished(
    cells: Sequence[Cell], conditions: Conditions, seconds: Mapping[Kind, float], take: Take
) -> Iterator[Iterator[Facts]]:
    """Give facts of cells as these finish; on the way out, stop what still runs.

    Cells that take long begin first, so that in the end no core waits for a last long one.

    Where a worker process dies, the cells that ran then have another try, one after the other. One that dies again has
    failed.

    Parameters
    ----------
    cells : sequence of Cell
    conditions : Conditions
    seconds : mapping of (str, str) to float
        What is known of how long a strategy takes on a stream.
    take : callable
        Called with the cells of a job right before it is handed to a worker, in any thread; what it returns runs.

    Yields
    ------
    iterator of Facts
        In the order in which cells finish.

    Raises
    ------
    ValueError
        If cells would run in threads, or the Dask scheduler cannot be used.
    """
    if conditions.scheduler is None:
        _check_backend(conditions.n_jobs)
    with tempfile.TemporaryDirectory(prefix="forgetless-") as folder:
        found = _survived(_jobs(cells), conditions, Path(folder), dict(seconds), take)
        with contextlib.closing(found):
            yield found


def _check_backend(n_jobs: int) -> None:
    """Refuse threads: they share limits of threads, time and memory, of which each cell needs its own."""
    backend, _ = get_active_backend(prefer="processes")
    if isinstance(backend, ThreadingBackend) and n_jobs != 1:
        raise ValueError(
            "Cells cannot run in threads (joblib's backend 'threading'), where one would change how another computes "
            "and what is measured; use processes, joblib's 'loky', or n_jobs=1."
        )


def _jobs(cells: Sequence[Cell]) -> dict[str, Job]:
    """Divide cells into jobs with names: one for each cell, but one for all stacked seeds."""
    jobs: dict[tuple[str, ...], Job] = {}
    for cell in cells:
        jobs.setdefault((cell.strategy, cell.stream) if cell.stacked else (cell.key,), []).append(cell)
    return {str(number): job for number, job in enumerate(jobs.values())}


def _kind(cell: Cell) -> Kind:
    """What cells that take about as long have in common."""
    return cell.strategy, cell.stream


def _longest_first(jobs: Mapping[str, Job], seconds: Mapping[Kind, float]) -> Iterator[tuple[str, Job]]:
    """Order jobs while they run: first one of each kind that is not known yet, then the longest, as far as is known."""
    waiting: dict[Kind, list[str]] = {}
    for name, job in reversed(list(jobs.items())):
        waiting.setdefault(_kind(job[0]), []).append(name)
    for kind in reversed([kind for kind in waiting if kind not in seconds]):
        name = waiting[kind].pop()
        yield name, jobs[name]
    while kinds := [kind for kind, names in waiting.items() if names]:
        # What was begun and is not finished yet may be the longest of all.
        name = waiting[max(kinds, key=lambda kind: seconds.get(kind, math.inf))].pop()
        yield name, jobs[name]


def _survived(
    jobs: dict[str, Job], conditions: Conditions, journal: Path, seconds: dict[Kind, float], take: Take
) -> Generator[Facts]:
    """Run jobs, and begin again with what is left after the death of a worker."""
    taken: dict[str, Job] = {}

    def to_run() -> Iterator[tuple[str, Job]]:
        for name, job in _longest_first(dict(jobs), seconds):
            if mine := take(job):
                taken[name] = mine
                yield name, mine
            else:
                del jobs[name]

    while jobs:
        try:
            for name, facts in _answers(to_run(), conditions, journal):
                del jobs[name]
                seconds[_kind(taken.pop(name)[0])] = sum(each.run["seconds"] for each in facts)
                yield from facts
        except BrokenProcessPool:
            began = {entry.name: entry.stat().st_mtime for entry in journal.iterdir()}
            for name in began or list(taken):  # if none had begun, a worker could not even read its cell
                del jobs[name]
                job = taken.pop(name)
                overdue = time.time() - began.get(name, math.inf) >= conditions.longest(job)
                (journal / name).unlink(missing_ok=True)
                for cell in job:
                    late = TimeLimit(conditions.time_limit)
                    yield failed(cell, late) if overdue else _alone(cell, conditions, journal)


def _answers(
    jobs: Iterator[tuple[str, Job]], conditions: Conditions, journal: Path
) -> Iterator[tuple[str, list[Facts]]]:
    if conditions.scheduler is None:
        return _parallel(jobs, conditions, journal)
    from .cluster import on_dask

    return on_dask(jobs, conditions)


def _alone(cell: Cell, conditions: Conditions, journal: Path) -> Facts:
    """Run a cell while no other one can be the reason why the worker dies."""
    # Were it told that it is one job for one worker, joblib would run it in this process.
    conditions = dataclasses.replace(conditions, n_jobs=2)
    try:
        [(_, [facts])] = _parallel([("alone", [cell])], conditions, journal)
    except BrokenProcessPool:
        (journal / "alone").unlink(missing_ok=True)
        return failed(cell, WorkerDied(KILLED))
    return facts


def _parallel(
    jobs: Iterable[tuple[str, Job]], conditions: Conditions, journal: Path
) -> Iterator[tuple[str, list[Facts]]]:
    # A batch would hold finished cells back until its last one, and a kill would lose them; what waits for a worker is
    # taken already, and cannot run elsewhere.
    parallel = Parallel(conditions.n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    runner = os.getpid()
    answers = parallel(
        delayed(_run)(name, job, number, conditions, journal, runner) for number, (name, job) in enumerate(jobs)
    )
    try:
        yield from answers
    finally:
        with warnings.catch_warnings(action="ignore"):  # joblib's advice for those who leave early
            answers.close()


def _run(
    name: str, job: Job, number: int, conditions: Conditions, journal: Path, runner: int
) -> tuple[str, list[Facts]]:
    """Run a job; while it runs, a file says so."""
    parent = multiprocessing.parent_process()
    ours = parent is not None and parent.pid == runner
    if not ours or threading.current_thread() is not threading.main_thread():
        return name, conditions.run(job, number)
    tie_to(runner)
    entry = journal / name
    entry.touch()
    try:
        with killed_after(conditions.longest(job) + GRACE):
            return name, conditions.run(job, number)
    finally:
        entry.unlink()


@contextlib.contextmanager
def killed_after(seconds: float) -> Iterator[None]:
    """Kill this process if time is over: for code that never comes back to Python, or takes exceptions for its own.

    Parameters
    ----------
    seconds : float
    """
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
