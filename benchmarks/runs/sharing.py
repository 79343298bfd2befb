"""Claims: several runs on one store share its cells, and each cell is done by one of them."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import secrets
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..store import Store, StoreError
from .cell import Cell

PATIENCE = 2.0  # seconds for a last renewal that is on its way
LEASE = 60.0  # seconds that a claim holds after its run was heard of last


class Claims:
    """What this run has claimed in a store; a thread renews it, and leaving drops it.

    A run that is killed renews no more, and others may take its cells when the lease is over; on the same machine as
    soon as its process is gone. A store in memory is nobody else's, so nothing is claimed there.

    Parameters
    ----------
    store : Store
    cells : sequence of Cell
        Those that the run is to do.
    """

    def __init__(self, store: Store, cells: Sequence[Cell]) -> None:
        self._store = store
        self._owner = f"{scope()}/{os.getpid()}/{secrets.token_hex(8)}"
        keys = [cell.key for cell in cells]
        self._before: dict[str, str | None] = dict.fromkeys(keys)
        self._before |= store.started(keys)
        self._error: StoreError | None = None
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Claims:
        if self._store.shared:
            self._renewing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if kind is not None:
            self._store.release()
        if self._store.shared:
            self._renewing.join(PATIENCE)  # a thread that outlives its interpreter may crash it
            with contextlib.suppress(StoreError):  # then the lease ends them
                self._store.unclaim(self._owner)

    def _renew(self) -> None:
        while not self._over.wait(LEASE / 3):
            try:
                self._store.renew(self._owner, LEASE)
            except StoreError:  # perhaps the next time; the cell may be done twice, but is stored once
                continue

    def take(self, cells: list[Cell]) -> list[Cell]:
        """Claim cells; joblib calls this in threads where nobody hears an error, so :meth:`left` raises it.

        Parameters
        ----------
        cells : list of Cell

        Returns
        -------
        list of Cell
            Those that nobody else does or has done by now.
        """
        if not self._store.shared:
            return cells
        if self._error is not None:
            return []
        try:
            mine = self._store.claim({cell.key: self._before[cell.key] for cell in cells}, self._owner, LEASE)
        except StoreError as error:
            self._error = error
            return []
        return [cell for cell in cells if cell.key in mine]

    def free(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return those cells that no other run has claimed.

        Parameters
        ----------
        cells : sequence of Cell

        Returns
        -------
        list of Cell
        """
        if not self._store.shared:
            return list(cells)
        held = self._store.claimed(LEASE)
        dead = {owner for owner in set(held.values()) if is_dead(owner)}
        for owner in dead:
            self._store.unclaim(owner)
        return [cell for cell in cells if held.get(cell.key, self._owner) in {self._owner, *dead}]

    def left(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return those cells that nobody has done since this run began.

        Parameters
        ----------
        cells : sequence of Cell

        Returns
        -------
        list of Cell

        Raises
        ------
        StoreError
            If the store could not be used when cells were claimed.
        """
        if self._error is not None:
            raise self._error
        started = self._store.started([cell.key for cell in cells])
        return [cell for cell in cells if started.get(cell.key) == self._before[cell.key]]


@functools.cache
def scope() -> str:
    """Name what process numbers are numbers of: this machine since it was started, or a container on it.

    Returns
    -------
    str
    """
    parts = [platform.node()]
    try:
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    except OSError:
        parts.append(str(uuid.getnode()))
    return " ".join(parts)


def is_dead(owner: str) -> bool:
    """Tell whether it is certain that the process of an owner has ended.

    Parameters
    ----------
    owner : str
        As a run names itself: scope, number of the process, and something of its own, separated by slashes.

    Returns
    -------
    bool
    """
    where, _, process = owner.partition("/")
    number = process.partition("/")[0]
    if where != scope() or os.name != "posix" or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)  # no signal, only the question whether there is a process
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
