"""What a cell costs: the clock, the peak of memory, limits of time and threads, and where it ran."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import math
import os
import pickle
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
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
    if device != "cpu":  # torch.cuda, torch.mps
        getattr(sys.modules["torch"], device).synchronize()
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


POWERCAP = Path("/sys/class/powercap")


class Energy:
    """Joules that the machine's processors take, as their own counters tell (RAPL, through Linux' powercap).

    They count what every program on the machine does, and neither memory modules nor GPUs.

    Parameters
    ----------
    device : str
        Where networks compute; what others than the processors take is not known: NaN.
    """

    def __init__(self, device: str) -> None:
        packages = sorted(POWERCAP.glob("intel-rapl:*")) if device == "cpu" else []
        self.packages = [path for path in packages if path.name.count(":") == 1]  # others are parts of these
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self.begin = self._counters()

    def spent(self) -> float:
        """Return the joules since the start; NaN where the system does not tell."""
        end = self._counters()
        if not end or len(end) != len(self.begin):
            return math.nan
        # A counter begins anew where it is full.
        return sum((now - before) % full for (now, full), (before, _) in zip(end, self.begin, strict=True)) / 1e6

    def _counters(self) -> list[tuple[int, int]]:
        """Of each package what it took, in microjoules, and the number at which it begins anew."""
        names = ("energy_uj", "max_energy_range_uj")
        try:
            found = [tuple(int((path / name).read_text()) for name in names) for path in self.packages]
        except (OSError, ValueError):  # it is root's alone, usually
            return []
        return [(count, full) for count, full in found if full > 0]


class _Counted:
    """A file that keeps nothing but the number of its bytes."""

    n_bytes = 0

    def write(self, part: Any) -> int:
        n_bytes = memoryview(part).nbytes
        self.n_bytes += n_bytes
        return n_bytes


def pickled_bytes(thing: Any) -> float:
    """Count the bytes of a pickle.

    Parameters
    ----------
    thing : object

    Returns
    -------
    float
        NaN if it has none.
    """
    counted = _Counted()
    try:
        cloudpickle.dump(thing, counted, protocol=pickle.DEFAULT_PROTOCOL)
    except Exception:  # whatever a guest does when it is pickled
        return math.nan
    return float(counted.n_bytes)


def pickled_memory(learner: Any, total: float) -> dict[str, int]:
    """Share out the bytes of a pickled estimator among the kinds of what it carries.

    Parameters
    ----------
    learner : estimator
        What learns in it.
    total : float
        The bytes of the whole; NaN if it has no pickle.

    Returns
    -------
    dict of str to int
        Of each kind, as in ``memory_usage()``, the length of a pickle of its tensors, arrays and rows; ``"other"`` is
        all else: settings, the structure of modules, what is of no kind. Empty if it has no pickle.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> pickled_memory(GaussianNB(), 500.0)
    {'other': 500}
    """
    if math.isnan(total):
        return {}
    found: dict[str, int] = {}
    if hasattr(learner, "carried"):
        from torch.nn import Module

        from ...estimators.engine.modules import contents_of
        from ...estimators.engine.pickling import packed

        kinds: dict[str, list[Any]] = {}
        for (kind, thing), (_, again) in zip(list(learner.carried()), list(learner.carried()), strict=True):
            if thing is again or not isinstance(thing, Module):  # GDumb shows a network that it has not got yet
                kinds.setdefault(kind, []).append(thing)
        contents = {
            kind: [bytes(part) if isinstance(part, memoryview) else part for part in contents_of(things)]
            for kind, things in kinds.items()
        }
        found = {kind: len(packed(parts)) for kind, parts in contents.items() if parts}
    return found | {"other": int(total) - sum(found.values())}


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
