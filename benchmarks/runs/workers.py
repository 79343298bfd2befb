"""Where cells run: in this process or in workers. What dies or hangs there costs its own cell, not the run."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
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

from joblib import Parallel, delayed

from ..results import Facts
from .cell import Cell, Interrupted, failed, run_stacked
from .measuring import TimeLimit

Job = list[Cell]  # one cell, or several that are trained as one stack
Take = Callable[[Job], Job]
Kind = tuple[str, str]  # strategy and stream

GRACE = 10  # seconds for a cell whose time is over, before its process is killed


class WorkerDied(RuntimeError):
    """The process that ran a cell ended in the middle of it."""


@contextlib.contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """Raise :class:`Interrupted` on Ctrl-C, and remember it: what runs may take the exception for a stop of its own.

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

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def finished(
    cells: Sequence[Cell], n_jobs: int, time_limit: float, seconds: Mapping[Kind, float], take: Take
) -> Iterator[Iterator[Facts]]:
    """Give facts of cells as these finish; on the way out, stop what still runs.

    Cells that take long begin first, so that in the end no core waits for a last long one.

    Where a worker process dies, the cells that ran then have another try, one after the other. One that dies again has
    failed.

    Parameters
    ----------
    cells : sequence of Cell
    n_jobs : int
        As in joblib; whose backend is used.
    time_limit : float
        Seconds that a cell may take.
    seconds : mapping of (str, str) to float
        What is known of how long a strategy takes on a stream.
    take : callable
        Called with the cells of a job right before it is handed to a worker, in any thread; what it returns runs.

    Yields
    ------
    iterator of Facts
        In the order in which cells finish.
    """
    with tempfile.TemporaryDirectory(prefix="forgetless-") as folder:
        found = _survived(_jobs(cells), n_jobs, time_limit, Path(folder), dict(seconds), take)
        with contextlib.closing(found):
            yield found


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
    jobs: dict[str, Job], n_jobs: int, time_limit: float, journal: Path, seconds: dict[Kind, float], take: Take
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
            for name, facts in _parallel(to_run(), n_jobs, time_limit, journal):
                del jobs[name]
                seconds[_kind(taken.pop(name)[0])] = sum(each.run["seconds"] for each in facts)
                yield from facts
        except BrokenProcessPool:
            began = {entry.name: entry.stat().st_mtime for entry in journal.iterdir()}
            for name in began or list(taken):  # if none had begun, a worker could not even read its cell
                del jobs[name]
                job = taken.pop(name)
                overdue = time.time() - began.get(name, math.inf) >= _longest(job, time_limit)
                (journal / name).unlink(missing_ok=True)
                for cell in job:
                    yield failed(cell, TimeLimit(time_limit)) if overdue else _alone(cell, time_limit, journal)


def _alone(cell: Cell, time_limit: float, journal: Path) -> Facts:
    """Run a cell while no other one can be the reason why the worker dies."""
    try:
        # Were it told that it is one job for one worker, joblib would run it in this process.
        [(_, [facts])] = _parallel([("alone", [cell])], 2, time_limit, journal)
    except BrokenProcessPool:
        (journal / "alone").unlink(missing_ok=True)
        return failed(
            cell, WorkerDied("the process that ran it was killed, twice; perhaps it needs more memory than there is.")
        )
    return facts


def _longest(job: Job, time_limit: float) -> float:
    """How many seconds a job may take: a stack that fails is run again, one by one."""
    return time_limit * (1 if len(job) == 1 else 2 * len(job))


def _parallel(
    jobs: Iterable[tuple[str, Job]], n_jobs: int, time_limit: float, journal: Path
) -> Iterator[tuple[str, list[Facts]]]:
    # A batch would hold finished cells back until its last one, and a kill would lose them.
    # What waits for a worker is taken already, and cannot run elsewhere.
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    answers = parallel(delayed(_run)(name, job, time_limit, journal, os.getpid()) for name, job in jobs)
    try:
        yield from answers
    finally:
        with warnings.catch_warnings(action="ignore"):  # joblib's advice for those who leave early
            answers.close()


def _run(name: str, job: Job, time_limit: float, journal: Path, runner: int) -> tuple[str, list[Facts]]:
    """Run a job; while it runs, a file says so."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != runner:
        return name, run_stacked(job, time_limit)
    _tie_to(runner)
    entry = journal / name
    entry.touch()
    # For code that never comes back to Python, or takes the exception for one of its own.
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(_longest(job, time_limit) + GRACE, exit=True, file=nowhere)
        try:
            return name, run_stacked(job, time_limit)
        finally:
            faulthandler.cancel_dump_traceback_later()
            entry.unlink()


@functools.cache
def _tie_to(parent: int) -> None:
    """Let this worker leave Ctrl-C to the runner, and outlive it by no more than a second."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        signal.raise_signal(signal.SIGKILL)  # an exception would end only this thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
