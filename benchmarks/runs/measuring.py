"""What a cell costs: the clock, the peak of memory, limits of time and threads, and where it ran."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import math
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


class TimeLimit(BaseException):  # what runs may catch every Exception
    """A cell took longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it ran longer than {seconds:g} seconds, the time limit.")


@contextlib.contextmanager
def limited(seconds: float, spent: float = 0.0) -> Iterator[None]:
    """Raise :class:`TimeLimit` when time is over; signals are heard in the main thread, and where there are any.

    Parameters
    ----------
    seconds : float
        May be infinite.
    spent : float, default=0
        How many of them are over already.
    """
    hears = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if math.isinf(seconds) or not hears:
        yield
        return

    def stop(*_: object) -> None:
        raise TimeLimit(seconds)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds - spent, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that scores are reproducible."""
    # Loaded by now if the strategy needs it; in a worker of threads perhaps only half, which an import waits for.
    torch = importlib.import_module("torch") if "torch" in sys.modules else None
    n_threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(n_threads)


def now(device: str) -> float:
    """Return the clock in seconds, once the device has done all it was told to do.

    Parameters
    ----------
    device : str

    Returns
    -------
    float
    """
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()
    return time.perf_counter()


class PeakMemory:
    """How far memory rises above what is held now: allocated memory on a GPU, else resident memory of the process.

    The resident peak is the kernel's own (``VmHWM``, reset through ``clear_refs``): exact, and free of charge. Systems
    without it give NaN.

    Parameters
    ----------
    device : str
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
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide about scores."""
    names = ("forgetless", "numpy", "scikit-learn", "skorch", "torch")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def machine(device: str) -> str:
    """Describe the machine in a line.

    Parameters
    ----------
    device : str

    Returns
    -------
    str
    """
    gpu = f", {sys.modules['torch'].cuda.get_device_name()}" if device == "cuda" else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}"
