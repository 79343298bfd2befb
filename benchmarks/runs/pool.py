"""Processes of our own: imports without a search for garbage; joblib's workers, begun early and tied to the runner."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .specs import StrategySpec


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage while much is imported, and ever after not among what is there by then.

    Nearly all of it stays until the process ends: Python would take a fifth of the time of imports to search it, and
    most of a second to search it a last time. For processes of our own only, since garbage from before is not found.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def begin_workers(n_jobs: int, get_ready: Callable[[], None], n_tasks: int) -> threading.Thread | None:
    """Let worker processes begin, and import what they will need while this process does so.

    The next that asks joblib for as many workers gets these.

    Parameters
    ----------
    n_jobs : int
        As in joblib.
    get_ready : callable
        Imports it.
    n_tasks : int
        So many tasks there are at most; more workers than that need not get ready.

    Returns
    -------
    threading.Thread or None
        It ends when the workers are ready; ``None``: there are none for one job.
    """
    from joblib import Parallel, delayed, effective_n_jobs

    n_workers = effective_n_jobs(n_jobs)
    if n_workers == 1:
        return None

    def begin() -> None:
        with contextlib.suppress(Exception):  # there will be another try, which says it
            each = [delayed(_begin)(get_ready, os.getpid())] * min(n_workers, n_tasks)
            Parallel(n_workers, batch_size=1)(each)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    return thread


def _begin(get_ready: Callable[[], None], runner: int) -> None:
    tie_to(runner)
    with importing(), warnings.catch_warnings(action="ignore"):  # whatever there is to say, the runner says
        get_ready()


def import_cells(strategies: Sequence[StrategySpec]) -> None:
    """Import what cells of strategies need; what is wrong with them is not said here.

    Parameters
    ----------
    strategies : sequence of StrategySpec
    """
    from . import cell  # noqa: F401

    for strategy in strategies:
        with contextlib.suppress(Exception):
            strategy.build()


def import_figures() -> None:
    """Import what figures are drawn with."""
    from matplotlib import figure  # noqa: F401
    from matplotlib.backends import backend_svg  # noqa: F401

    from ...reports import plots  # noqa: F401


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
