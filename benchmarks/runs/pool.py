"""joblib's worker processes: begun while cells are planned, and tied to the runner."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from joblib import Parallel, delayed, effective_n_jobs

if TYPE_CHECKING:
    from .specs import StrategySpec


def begin_workers(n_jobs: int, strategies: Sequence[StrategySpec], n_cells: int) -> threading.Thread | None:
    """Let worker processes begin, and import what the strategies need while this process does so.

    The next that asks joblib for as many workers gets these.

    Parameters
    ----------
    n_jobs : int
        As in joblib.
    strategies : sequence of StrategySpec
        What is wrong with them is not said here.
    n_cells : int
        So many cells there are at most; more workers than that need not get ready.

    Returns
    -------
    threading.Thread or None
        It ends when the workers are ready; ``None``: there are none for one job.
    """
    n_workers = effective_n_jobs(n_jobs)
    if n_workers == 1:
        return None

    def begin() -> None:
        with contextlib.suppress(Exception):  # there will be another try, which says it
            each = [delayed(_get_ready)(strategies, os.getpid())] * min(n_workers, n_cells)
            Parallel(n_workers, batch_size=1)(each)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    return thread


def _get_ready(strategies: Sequence[StrategySpec], runner: int) -> None:
    """Import what cells of the strategies need; whatever there is to say, the runner says."""
    tie_to(runner)
    with warnings.catch_warnings(action="ignore"):
        from . import cell  # noqa: F401

        for strategy in strategies:
            with contextlib.suppress(Exception):
                strategy.build()


@functools.cache
def tie_to(runner: int) -> None:
    """Let this worker leave Ctrl-C to the runner, and outlive it by no more than a second.

    Parameters
    ----------
    runner : int
        The number of its process.
    """

    def watch() -> None:
        while os.getppid() == runner:
            time.sleep(1)
        signal.raise_signal(signal.SIGKILL)  # an exception would end only this thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
