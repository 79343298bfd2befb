"""A Dask cluster as the place where cells run; jobs have names and seeds, data go to a worker once."""

from __future__ import annotations

import contextlib
import copy
import importlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

from ..results import Facts
from .cell import failed
from .measuring import TimeLimit
from .specs import StreamSpec
from .workers import GRACE, KILLED, Conditions, Job, WorkerDied, killed_after

CONNECT = 30  # seconds to wait for the scheduler
LOOK = 5.0  # seconds between two looks at what is overdue and which workers there are


def on_dask(jobs: Iterator[tuple[str, Job]], conditions: Conditions) -> Iterator[tuple[str, list[Facts]]]:
    """Run jobs on the workers of a cluster, one on each at a time.

    What runs on a worker that dies is begun again by the scheduler, on another one. What has killed more workers than
    the scheduler allows has failed.

    Parameters
    ----------
    jobs : iterator of (str, list of Cell)
        With names; asked for when a worker is free.
    conditions : Conditions

    Yields
    ------
    (str, list of Facts)
        In the order in which jobs finish.

    Raises
    ------
    ValueError
        If Dask is not installed, or there is no scheduler at the address.
    """
    with contextlib.closing(_connect(str(conditions.scheduler))) as client:
        cluster = _Cluster(client, conditions)
        try:
            while cluster.begin(jobs):
                yield from cluster.ended()
        finally:
            client.cancel(list(cluster.running), force=True)


def _connect(address: str) -> Any:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError:
        raise ValueError('A Dask scheduler needs the package distributed; install "forgetless[dask]".') from None
    try:
        return distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"There is no Dask scheduler at {address!r}: {reason}; 'dask scheduler' starts one.") from None


class _Cluster:
    """What runs on a cluster now."""

    def __init__(self, client: Any, conditions: Conditions) -> None:
        self.client = client
        self.conditions = conditions
        self.running: dict[Any, tuple[str, Job, float]] = {}
        self.sources: dict[int, Any] = {}
        self.again: set[str] = set()
        self.numbers = itertools.count()

    def begin(self, jobs: Iterator[tuple[str, Job]]) -> bool:
        """Hand out as many jobs as there are workers, at least one; tell whether anything runs."""
        n_free = max(len(self.client.nthreads()), 1) - len(self.running)
        for name, job in itertools.islice(jobs, max(n_free, 0)):
            self.submit(name, job)
        return bool(self.running)

    def submit(self, name: str, job: Job) -> None:
        source, kept, light = job[0].source, None, job
        if not isinstance(source, StreamSpec):  # data, or a function that may have some
            if id(source) not in self.sources:
                self.sources[id(source)] = self.client.scatter(source, broadcast=True, hash=False)
            kept, light = self.sources[id(source)], [_with_source(cell, None) for cell in job]
        task = self.client.submit(_run, light, kept, next(self.numbers), self.conditions, pure=False)
        self.running[task] = name, job, time.monotonic()

    def ended(self) -> Iterator[tuple[str, list[Facts]]]:
        """Wait for a while, and yield what ended meanwhile."""
        distributed: Any = importlib.import_module("distributed")
        with self.client.as_current(), contextlib.suppress(TimeoutError, CancelledError):
            distributed.wait(list(self.running), timeout=LOOK, return_when="FIRST_COMPLETED")
        for task, (name, job, began) in list(self.running.items()):
            error: BaseException
            if task.done():
                del self.running[task]
                try:
                    yield name, task.result()
                    continue
                except distributed.KilledWorker:
                    error = WorkerDied(KILLED)
                except CancelledError:
                    if name not in self.again:  # its data were lost with the last worker that had them
                        self.again.add(name)
                        self.sources.pop(id(job[0].source), None)
                        self.submit(name, job)
                        continue
                    error = WorkerDied("its data were lost with a worker, twice.")
                except Exception as raised:  # the worker could not read the job, say
                    error = raised
            elif time.monotonic() - began > self.conditions.longest(job) + GRACE:
                del self.running[task]
                self.client.cancel([task], force=True)
                error = TimeLimit(self.conditions.time_limit)
            else:
                continue
            yield name, [failed(cell, error) for cell in job]


def _run(job: Job, source: Any, number: int, conditions: Conditions) -> list[Facts]:
    """Run a job on a worker."""
    if source is not None:
        job = [_with_source(cell, source) for cell in job]
    with killed_after(conditions.longest(job) + GRACE):
        return conditions.run(job, number)


def _with_source(cell: Any, source: Any) -> Any:
    """Return the same cell, key and all, with another source of the stream."""
    cell = copy.copy(cell)
    vars(cell)["source"] = source
    return cell
