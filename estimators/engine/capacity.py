"""What memory there is, asked before it is taken: a machine that swaps or a process that is killed says nothing."""

import os
from pathlib import Path


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, or of its container if that has less.

    Returns
    -------
    int
    """
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # no Linux: at least no more than there is at all
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**63
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text("ascii") for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit
        return free


def require_memory(n_bytes: int, what: str, advice: str) -> None:
    """Raise MemoryError if there is less memory than something needs.

    Parameters
    ----------
    n_bytes : int
    what : str
        What needs it, the subject of the sentence.
    advice : str
        What to do instead.

    Examples
    --------
    >>> require_memory(2**60, "This table", "take fewer rows")
    Traceback (most recent call last):
    ...
    MemoryError: This table needs 1,152,921,504.6 GB of memory, and ... GB are available; take fewer rows.
    """
    available = available_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{what} needs {n_bytes / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available; {advice}."
        )
