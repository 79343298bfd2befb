"""Where features of rows are kept: in the memory of the process, or in a file of SQLite. Nothing is pickled."""

import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
# Places in one question to SQLite, which takes 999 of them in older versions.
_MOST_PLACES = 500


class MemoryCache:
    """Features in the memory of this process, which all steps share; beyond the limit, those that came first go.

    Examples
    --------
    >>> cache = MemoryCache()
    >>> cache.put(b"model", [b"row"], np.ones((1, 3), dtype=np.float32), max_bytes=100)
    >>> cache.get(b"model", [b"row", b"another"])
    {b'row': array([1., 1., 1.], dtype=float32)}
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[bytes, bytes], Features] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, model: bytes, rows: Sequence[bytes]) -> dict[bytes, Features]:
        """Features of those rows that are there, by key."""
        with self._lock:
            return {row: self._rows[model, row] for row in rows if (model, row) in self._rows}

    def put(self, model: bytes, rows: Sequence[bytes], features: Features, max_bytes: int) -> None:
        """Keep features of rows."""
        with self._lock:
            for row, values in zip(rows, features, strict=True):
                if (model, row) not in self._rows:
                    self._rows[model, row] = values.copy()
                    self._n_bytes += values.nbytes
            while self._n_bytes > max_bytes:
                self._n_bytes -= self._rows.pop(next(iter(self._rows))).nbytes


class DiskCache:
    """Features in a file ``features.db`` of a folder; processes may share it. Beyond the limit, the first ones go.

    Parameters
    ----------
    folder : str or path-like
        Made if need be.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        self.path = path / "features.db"

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS features (number INTEGER PRIMARY KEY, model BLOB NOT NULL, "
                "row BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (model, row))"
            )
        except sqlite3.DatabaseError as error:
            connection.close()
            raise OSError(
                f"{self.path} is no cache of features ({error}); delete it, or name another folder."
            ) from error
        return connection

    def get(self, model: bytes, rows: Sequence[bytes]) -> dict[bytes, Features]:
        """Features of those rows that are there, by key."""
        found: dict[bytes, Features] = {}
        with closing(self._open()) as connection:
            for start in range(0, len(rows), _MOST_PLACES):
                some = rows[start : start + _MOST_PLACES]
                places = ",".join("?" * len(some))
                question = f"SELECT row, data FROM features WHERE model = ? AND row IN ({places})"
                for row, data in connection.execute(question, (model, *some)):
                    found[row] = np.frombuffer(data, dtype=np.float32)
        return found

    def put(self, model: bytes, rows: Sequence[bytes], features: Features, max_bytes: int) -> None:
        """Keep features of rows, all in one transaction."""
        with closing(self._open()) as connection, connection:
            connection.executemany(
                "INSERT OR IGNORE INTO features (model, row, data) VALUES (?, ?, ?)",
                [(model, row, values.tobytes()) for row, values in zip(rows, features, strict=True)],
            )
            (kept,) = connection.execute("SELECT coalesce(sum(length(data)), 0) FROM features").fetchone()
            while kept > max_bytes:
                number, size = connection.execute(
                    "SELECT number, length(data) FROM features ORDER BY number"
                ).fetchone()
                connection.execute("DELETE FROM features WHERE number = ?", (number,))
                kept -= size


IN_MEMORY = MemoryCache()
"""What all steps of this process share."""
