"""The store: finished cells in a database, SQLite unless another is named."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import operator
import os
import sqlite3
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .names import tell_apart
from .packed import DETAILS, RECORDS, Packed, Rows, Tables, can_be_read, pack, unpack
from .results import (
    EVALUATION_COLUMNS,
    EXPERIENCE_COLUMNS,
    NAME_COLUMNS,
    RUN_COLUMNS,
    SCORE_COLUMNS,
    Facts,
    Results,
    columns_table,
    texts,
)

SCHEMA_VERSION = 6

_BATCH = 500  # databases limit the number of values in a statement
_TIMEOUT = 600  # seconds to wait for another process
_LOCK = 0x666F726765746C65  # of those who write, in PostgreSQL
_SECRET = ("pass", "pwd", "secret", "token", "key")

_SQL_TYPES = {
    str: sa.Text,
    object: sa.Text,
    int: sa.BigInteger,
    float: sa.Double,
    bool: sa.Boolean,
    bytes: sa.LargeBinary,
}
_metadata, _older = sa.MetaData(), sa.MetaData()


def _table(name: str, columns: Mapping[str, type], key: Sequence[str], metadata: sa.MetaData = _metadata) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *(
            sa.Column(column, _SQL_TYPES[kind], primary_key=column in key, nullable=kind in (float, object))
            for column, kind in columns.items()
        ),
    )


_CHECKSUM = "checksum"
_JSON = {"params", "stream_definition", "protocol", "versions", "memory", "pickled_memory", "diagnostics"}
# Tables and columns that the first version did not have, and what holds for its cells: it knew one protocol. Since
# version 6 a cell is one row of the database; before, each row of its tables was one.
_SINCE = {
    "runs.checksum": 2,
    "runs.protocol": 3,
    "experiences.diagnostics": 3,
    "scores.metric": 3,
    "evaluations": 3,
    "runs.dataset": 4,
    "scores.n_tested": 4,
    "runs.n_parallel": 5,
    "runs.n_stacked": 5,
    "experiences.pickled_bytes": 5,
    "experiences.gradient_steps": 5,
    "claims": 5,
    "experiences.samples_seen": 6,
    "experiences.flops": 6,
    "experiences.energy_joules": 6,
    "experiences.pickled_memory": 6,
    "cells": 6,
}
_BEFORE: dict[str, dict[str, Any]] = {
    "runs": {
        _CHECKSUM: None,
        "protocol": json.dumps({"evaluate": "all", "eval_every": None, "scoring": ["accuracy"]}),
        "dataset": "",
        "n_parallel": None,
        "n_stacked": None,
    },
    "experiences": {
        "diagnostics": "{}",
        "pickled_memory": "{}",
        **dict.fromkeys(("pickled_bytes", "gradient_steps", "samples_seen", "flops", "energy_joules")),
    },
    "scores": {"metric": "accuracy", "n_tested": None},
    "evaluations": {},
}

# The only row of the first table is the version of the others; the table marks the database as ours.
_schemas = _table("forgetless", {"schema_version": int}, ["schema_version"])
_CELL_COLUMNS = {**RUN_COLUMNS, _CHECKSUM: object, "texts": str, **dict.fromkeys(DETAILS, bytes)}  # as Packed has them
_cells = _table("cells", _CELL_COLUMNS, ["cell"])
_KEYS = {
    "experiences": ["experience"],
    "scores": ["trained_on", "tested_on", "metric"],
    "evaluations": ["experience", "n_rows", "tested_on", "metric"],
}
_runs = _table("runs", {**RUN_COLUMNS, _CHECKSUM: object}, ["cell"], _older)
_UNPACKED = [_table(name, {"cell": str, **DETAILS[name]}, ["cell", *key], _older) for name, key in _KEYS.items()]
# Cells that a run is about to do, and until when nobody else should; nothing of it is a result.
_claims = _table("claims", {"cell": str, "owner": str, "expires": float}, ["cell"])


def _tables(version: int) -> list[sa.Table]:
    """Return the tables of cells that a version has."""
    if version >= _SINCE[_cells.name]:
        return [_cells]
    return [source for source in (_runs, *_UNPACKED) if _SINCE.get(source.name, 1) <= version]


def _columns(source: sa.Table, version: int) -> list[str]:
    """Return the columns of a table that a version has."""
    return [name for name in source.c.keys() if _has(version, source, name)]  # noqa: SIM118


def _has(version: int, source: sa.Table, column: str) -> bool:
    return _SINCE.get(f"{source.name}.{column}", 1) <= version


class StoreError(OSError):
    """The store cannot be read or written; the message says why."""


class StoreWarning(UserWarning):
    """Something in the store is damaged; the rest can be used."""


class _Stored(NamedTuple):
    """A cell as it is in the tables: values of the run in the order of the columns, and its own tables."""

    run: Sequence[Any]
    details: Packed

    def checksum(self) -> str:
        """Compute the checksum that is kept of this cell."""
        head, *parts = self.details
        values = (*self.run, head, *map(len, parts))
        text = _pattern(tuple(map(type, values))) % values
        return hashlib.sha256(b"\0".join([text.encode("utf-8", "surrogateescape"), *parts])).hexdigest()

    @property
    def status(self) -> str:
        return str(self.run[_STATUS])

    @property
    def names(self) -> tuple[str, str]:
        return self.run[_STRATEGY], self.run[_STREAM]


@functools.lru_cache(maxsize=4096)
def _pattern(types: tuple[type, ...]) -> str:
    """Return what writes values of these types so that other values are written otherwise: no text has a null."""
    return "\0".join("%s" if issubclass(kind, str) else "\0%s" for kind in types)


_STATUS, _STRATEGY, _STREAM, _N_EXPERIENCES = (
    list(RUN_COLUMNS).index(name) for name in ("status", "strategy", "stream", "n_experiences")
)


class Store:
    """Cells of benchmarks in a database; a kill or a second process that writes at the same time does no harm.

    A checksum is kept of every cell. Cells that changed since they were written, on a failing disk say, are reported
    by a :class:`StoreWarning` and treated as not there.

    Parameters
    ----------
    path_or_url : str or path-like, default="results.db"
        File of an SQLite database, made if it does not exist; or an SQLAlchemy URL such as
        ``postgresql://host/name``. ``":memory:"`` lives as long as the object.
    read_only : bool, default=False
        Change nothing, and make no file.

    Raises
    ------
    StoreError
        If the place holds something else (which is left untouched), was written by a later version, or cannot be used.

    Examples
    --------
    >>> with Store(":memory:") as store:
    ...     store.results()
    <Results: 0 cells (0 failed), 0 strategies, 0 streams, 0 seeds>
    """

    def __init__(self, path_or_url: str | os.PathLike[str] = "results.db", *, read_only: bool = False) -> None:
        self.name = os.fsdecode(path_or_url)
        self.read_only = read_only
        self.file: Path | None = None  # that is the store, if one is
        self.secrets: list[str] = []
        self._connections: list[Any] = []
        self._stored_version = SCHEMA_VERSION
        scheme = self.name.partition("://")[0]
        try:
            self._engine = self._open()
        except SQLAlchemyError as error:
            reason = self.reason(error)
            raise StoreError(f"No database can be reached by a URL like {scheme}://...: {reason}.") from None
        except ModuleNotFoundError as error:
            raise StoreError(f"The store {self.name} needs the package {error.name!r}; install it.") from None
        except (TypeError, ValueError):  # their messages may have parts of the password
            raise StoreError(
                f"No database can be reached by a URL like {scheme}://...: it has parts that cannot be understood; "
                "write special characters in names and passwords as %XX."
            ) from None
        sa.event.listen(self._engine, "connect", lambda connection, _: self._connections.append(connection))
        try:
            with self._transaction() as connection:
                self._prepare(connection)
        except BaseException:
            self.close()
            raise

    def _open(self) -> sa.Engine:
        if "://" in self.name:
            url = sa.make_url(self.name)
            self.secrets = [str(url.password)] if url.password else []
            for key, values in url.normalized_query.items():
                if any(word in key.lower() for word in _SECRET):
                    self.secrets += filter(None, values)
            self.name = url.set(query={}).render_as_string(hide_password=True)
        else:
            url = sa.URL.create("sqlite", database=self.name)
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            url.get_dialect()  # says if there is no such database
            raise StoreError(f"A store cannot be kept in {backend}; give an SQLite file or a URL of PostgreSQL.")
        if backend != "sqlite":
            return _postgresql(url, self.read_only)
        if url.query:
            raise StoreError(
                f"The URL of the store {self.name} has options, which SQLite files do not take; leave them out."
            )
        if url.database in (None, ":memory:"):
            return _sqlite(url, "BEGIN")
        self.file = path = Path(url.database or "")
        start = self._start_of(path)
        if not self.read_only:
            in_wal_mode = start[18:20] == b"\2\2"
            if in_wal_mode:  # opened for writing, another program's database would be changed before a look into it
                with contextlib.closing(self):
                    self._engine = _sqlite(_read_only_url(path, start), "BEGIN")
                    with self._transaction() as connection:
                        self._is_store(connection)
            # The driver's own idea of transactions would let two writers read the same state before either writes.
            return _sqlite(url, "BEGIN IMMEDIATE", leave_wal_mode=in_wal_mode)
        return _sqlite(_read_only_url(path, start), "BEGIN")

    def _start_of(self, path: Path) -> bytes:
        """Return the first bytes of a file, none if it is to be made, and refuse what cannot be a store."""
        try:
            folder = _real(path).parent  # where SQLite puts its other files, too
            if not self.name or path.is_dir():
                raise StoreError(f"The store {path} is a folder; name a file.")
            if path.exists() and not path.is_file():
                raise StoreError(f"The store {path} is neither a file nor a folder; name a file.")
            if not path.exists():
                if self.read_only:
                    raise StoreError(f"There is no store {path}; `forgetless run --store {path}` makes one.")
                if not folder.is_dir():
                    raise StoreError(f"The store {path} cannot be written: there is no folder {folder}.")
            if not self.read_only and not all(os.access(place, os.W_OK) for place in (folder, path) if place.exists()):
                raise StoreError(f"The store {path} cannot be written: permission denied.")
            with path.open("rb") as file:
                start, size = file.read(20), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return b""
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(f"The store {str(path)!a} cannot be read: {reason}.") from None
        # SQLite takes what is shorter than its shortest page for an empty database.
        if start[:16] not in (b"", b"SQLite format 3\0") or 0 < size < 512:
            raise StoreError(f"{path} is no database, so it cannot be a store; name another file.")
        return start

    def _prepare(self, connection: sa.Connection) -> None:
        """Make the tables if there are none, bring old ones up to date, and look for damage."""
        if not self._is_store(connection):
            self._create(connection)
        if connection.dialect.name == "sqlite":
            self._check_pages(connection)
        if self._stored_version < SCHEMA_VERSION and not self.read_only:
            self._migrate(connection)

    def _migrate(self, connection: sa.Connection) -> None:
        """Bring the tables of an older version up to date."""
        _cells.create(connection, checkfirst=False)
        for cells, damaged, _ in self._scan(connection):
            self._report(damaged)
            if cells:
                connection.execute(_cells.insert(), list(map(_as_row, cells.values())))
        for source in _tables(self._stored_version):
            source.drop(connection)
        _claims.create(connection, checkfirst=self._stored_version >= _SINCE["claims"])
        connection.execute(_schemas.update(), {"schema_version": SCHEMA_VERSION})
        self._stored_version = SCHEMA_VERSION

    def _is_store(self, connection: sa.Connection) -> bool:
        """Tell our tables from none at all; refuse those of others."""
        inspector = sa.inspect(connection)
        names = inspector.get_table_names()
        if _schemas.name not in names:
            if names := names + inspector.get_view_names():
                raise StoreError(f"{self.name} is a database of another program (it has a table {_shown(names[0])}).")
            return False
        triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
        if connection.dialect.name == "sqlite" and connection.exec_driver_sql(triggers).scalar():
            raise StoreError(f"The store {self.name} runs code of another program (a trigger); name another file.")
        versions = connection.scalars(sa.select(_schemas.c.schema_version)).all()
        if versions not in [[version] for version in range(1, SCHEMA_VERSION + 1)]:
            there = ", ".join(_shown(version) for version in versions[:3]) or "none"
            raise StoreError(
                f"The store {self.name} was written by another version of forgetless, or is damaged (tables of version "
                f"{there}, here {SCHEMA_VERSION}); use that version, or name another file."
            )
        self._stored_version = versions[0]
        claims = [_claims] if _SINCE["claims"] <= self._stored_version else []
        for source in _tables(self._stored_version) + claims:
            if source.name not in names:  # a view may stand for it, which runs code
                raise StoreError(
                    f"The store {self.name} is damaged: it has no table {source.name!r}; name another file."
                )
            expected = set(_columns(source, self._stored_version))
            found = set(connection.execute(sa.text(f"SELECT * FROM {source.name} LIMIT 0")).keys())
            if found != expected:
                raise StoreError(
                    f"The store {self.name} is damaged: its table {source.name!r} lacks or has too many columns "
                    f"({_shown(min(found ^ expected))}); name another file."
                )
        return True

    def _create(self, connection: sa.Connection) -> None:
        if self.read_only:
            raise StoreError(f"{self.name} is no store: it is empty.")
        _metadata.create_all(connection)
        connection.execute(_schemas.insert(), {"schema_version": SCHEMA_VERSION})

    def _check_pages(self, connection: sa.Connection) -> None:
        """Let SQLite look for damage to its file: it could hide rows. What indexes know can be made again."""

        def problem() -> str:
            return str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())

        found = problem()
        if found == "ok":
            return
        if self.read_only:
            raise StoreError(
                f"The store {self.name} is damaged ({found!a}); `forgetless run` with this store repairs what can "
                "be repaired."
            )
        connection.exec_driver_sql("REINDEX")
        found = problem()
        if found != "ok":
            raise StoreError(f"The store {self.name} is damaged ({found!a}); name another file.")
        self._drop(connection, self._read(connection)[1])
        warnings.warn(f"The store {self.name} was damaged and has been repaired.", StoreWarning, stacklevel=2)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OverflowError, UnicodeError) as error:  # the driver's own words may be damaged
            raise StoreError(f"The store {self.name} cannot be used: {self.reason(error)}.") from None

    def reason(self, error: Exception) -> str:
        """What an error says, without secrets, on one line."""
        text = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
        for secret in self.secrets:
            for written in (secret, quote(secret, safe="")):
                text = text.replace(written, "***")
        return text.rstrip(".")

    @property
    def shared(self) -> bool:
        """Whether other processes can use it, too: all but what is in memory."""
        return not (self._is_sqlite and self._engine.url.database in (None, ":memory:"))

    @property
    def _is_sqlite(self) -> bool:
        return bool(self._engine.dialect.name == "sqlite")

    def close(self) -> None:
        """Close the connections to the database."""
        for connection in self._connections:  # the pool closes those alone that came back to it
            with contextlib.suppress(Exception):
                connection.close()
        self._connections.clear()
        self._engine.dispose()

    def release(self) -> None:
        """Undo what an interrupt left open, wherever it came: for a lock of one's own one would wait in vain."""
        if self.shared:
            self.close()  # the next transaction opens a new one
        for connection in self._connections:  # but what is in memory would go with it
            with contextlib.suppress(sqlite3.ProgrammingError):  # another thread's
                connection.rollback()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, facts: Facts, *, replace: bool = False) -> None:
        """Write a cell, all of it or nothing.

        A cell that failed before or is damaged is replaced; one that was finished before, perhaps by another process,
        stays.

        Parameters
        ----------
        facts : Facts
        replace : bool, default=False
            Whether a finished cell, too, gives way to one that did not fail.

        Raises
        ------
        StoreError
        """
        key = facts.run["cell"]
        tables = (facts.experiences, facts.scores, facts.evaluations)
        try:
            details = pack([_rows(name, rows) for name, rows in zip(DETAILS, tables, strict=True)])
        except OverflowError as error:
            raise StoreError(f"The store {self.name} cannot keep a number of a cell: {error}.") from None
        cell = _Stored(_row(RUN_COLUMNS, facts.run), details)
        with self._transaction() as connection:
            self._put(connection, {key: cell}, replace and cell.status == "ok")
            connection.execute(_claims.delete().where(_claims.c.cell == key))

    def merge(self, other: Store) -> int:
        """Take over the cells of another store, all of them or nothing.

        Cells that are finished here stay; those that failed or are damaged here are replaced.

        Parameters
        ----------
        other : Store

        Returns
        -------
        int
            How many were taken over.

        Raises
        ------
        StoreError

        Warns
        -----
        StoreWarning
            If cells of the other store are damaged; they are left out.

        Examples
        --------
        >>> with Store(":memory:") as store, Store(":memory:") as part:
        ...     store.merge(part)
        0
        """
        with other._transaction() as connection:
            cells, damaged = other._read(connection)
        other._report(damaged)
        with self._transaction() as connection:
            return self._put(connection, cells)

    def _put(self, connection: sa.Connection, cells: Mapping[str, _Stored], replace: bool = False) -> int:
        """Write cells, but for those that are finished here unless they are replaced; return how many."""
        known, _ = self._read(connection, cells)
        new = {key: cell for key, cell in cells.items() if replace or key not in known or known[key].status != "ok"}
        for key, cell in new.items():
            connection.execute(_cells.delete().where(_cells.c.cell == key))
            connection.execute(_cells.insert(), _as_row(cell))
        return len(new)

    def finished(self, names: Mapping[str, tuple[str, str]]) -> set[str]:
        """Find the cells that need not run again, and give them the names they go by now.

        Parameters
        ----------
        names : mapping
            Strategy and stream of each cell asked for, by key.

        Returns
        -------
        set of str
            Keys of those that are stored, undamaged, and did not fail.

        Warns
        -----
        StoreWarning
            If some are damaged.
        """
        with self._transaction() as connection:
            found: set[str] = set()
            damaged = []
            for cells, bad, _ in self._scan(connection, names):
                damaged += bad
                for key, cell in cells.items():
                    if cell.status == "ok":
                        found.add(key)
                        self._rename(connection, key, cell, names[key])
        self._report(damaged)
        return found

    @staticmethod
    def _rename(connection: sa.Connection, key: str, cell: _Stored, names: tuple[str, str]) -> None:
        """Give a cell the names of strategy and stream that it goes by now."""
        if cell.names != names and cell.names != tuple(map(_text, names)):
            strategy, stream = map(_text, names)
            renamed = dict(zip(RUN_COLUMNS, cell.run, strict=True)) | {"strategy": strategy, "stream": stream}
            checksum = cell._replace(run=list(renamed.values())).checksum()
            values = {"strategy": strategy, "stream": stream, _CHECKSUM: checksum}
            connection.execute(_cells.update().where(_cells.c.cell == key), values)

    def started(self, cells: Iterable[str]) -> dict[str, str]:
        """Tell when stored cells began to run, also those that failed or are damaged: it changes if one runs again.

        Parameters
        ----------
        cells : iterable of str

        Returns
        -------
        dict of str to str
            The start of those that are there, by key.
        """
        with self._transaction() as connection:
            return self._started(connection, cells)

    @staticmethod
    def _started(connection: sa.Connection, cells: Iterable[str]) -> dict[str, str]:
        query = sa.select(_cells.c.cell, _cells.c.started)
        found = (connection.execute(query.where(_cells.c.cell.in_(keys))) for keys in _batches(cells))
        return {row.cell: row.started for rows in found for row in rows}

    def claim(self, cells: Mapping[str, str | None], owner: str, seconds: float) -> set[str]:
        """Claim cells, so that other runs on this store leave them alone for a while.

        Parameters
        ----------
        cells : mapping of str to (str or None)
            Keys, and what :meth:`started` said of them: those that ran again since then are not claimed.
        owner : str
            Who claims; its own claims are renewed.
        seconds : float
            How long the claims hold.

        Returns
        -------
        set of str
            Keys of those that nobody else has claimed.
        """
        with self._transaction() as connection:
            started = self._started(connection, cells)
            held = self._held(connection, seconds)
            mine = {
                key for key, before in cells.items() if started.get(key) == before and held.get(key, owner) == owner
            }
            for keys in _batches(mine):
                connection.execute(_claims.delete().where(_claims.c.cell.in_(keys)))
                expires = self._now(connection) + seconds
                rows = [{"cell": key, "owner": owner, "expires": expires} for key in keys]
                connection.execute(_claims.insert(), rows)
        return mine

    def claimed(self, seconds: float) -> dict[str, str]:
        """Tell who has claimed which cells.

        Parameters
        ----------
        seconds : float
            How long claims hold; those that promise to hold much longer are none.

        Returns
        -------
        dict of str to str
            Owners by the keys of the cells.
        """
        with self._transaction() as connection:
            return self._held(connection, seconds)

    def _held(self, connection: sa.Connection, seconds: float) -> dict[str, str]:
        now = self._now(connection)
        query = sa.select(_claims.c.cell, _claims.c.owner).where(_claims.c.expires.between(now, now + 2 * seconds))
        return {row.cell: row.owner for row in connection.execute(query)}

    def renew(self, owner: str, seconds: float) -> None:
        """Let all claims of an owner hold so long from now on.

        Parameters
        ----------
        owner : str
        seconds : float
        """
        with self._transaction() as connection:
            expires = self._now(connection) + seconds
            connection.execute(_claims.update().where(_claims.c.owner == owner).values(expires=expires))

    def unclaim(self, owner: str) -> None:
        """Drop all claims of an owner.

        Parameters
        ----------
        owner : str
        """
        with self._transaction() as connection:
            connection.execute(_claims.delete().where(_claims.c.owner == owner))

    @staticmethod
    def _now(connection: sa.Connection) -> float:
        """Return seconds by the one clock that all who use the database share."""
        if connection.dialect.name == "sqlite":
            return time.time()
        return float(connection.scalar(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))) or 0.0)

    def seconds(self) -> dict[tuple[str, str], float]:
        """Read how long cells took, for those that are to come.

        Returns
        -------
        dict of (str, str) to float
            Mean seconds of the finished cells, by strategy and stream.
        """
        named = (_cells.c.strategy, _cells.c.stream)
        query = sa.select(*named, sa.func.avg(_cells.c.seconds)).where(_cells.c.status == "ok").group_by(*named)
        with self._transaction() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        return {(strategy, stream): seconds for strategy, stream, seconds in found if isinstance(seconds, float)}

    def results(self, cells: Iterable[str] | None = None) -> Results:
        """Read results.

        Parameters
        ----------
        cells : iterable of str, default=None
            Keys of the cells wanted, in the order wanted; cells not stored are left out. ``None``: all. Where a name
            then stands for several definitions (other parameters, another device), what differs is added to it.

        Returns
        -------
        Results

        Warns
        -----
        StoreWarning
            If cells are damaged; they are left out.
        """
        found: list[list[Any]] = [[] for _ in RUN_COLUMNS]
        damaged: list[tuple[Any, ...]] = []
        seen: dict[str, str] = {}
        rows = Rows()
        with self._transaction() as connection:
            wanted = self._in_order(connection) if cells is None else list(dict.fromkeys(cells))
            # Parts that are put together at the end would need the memory twice.
            parts = {name: _Columns(name, n_rows) for name, n_rows in self._n_rows(connection).items()}
            for some, bad, tables in self._scan(connection, wanted, rows):
                damaged += bad
                for name, found_rows in tables.items():
                    parts[name].add(len(found[0]), *found_rows)
                runs_of_some = zip(*(cell.run for cell in some.values()), strict=True)
                for column, kind, values in zip(found, RUN_COLUMNS.values(), runs_of_some, strict=False):
                    # Texts that many cells have are kept once.
                    column += map(seen.setdefault, values, values) if kind is str else values
        self._report(damaged)
        runs = columns_table(found, RUN_COLUMNS)
        n_found = len(runs)
        del found, seen
        place = np.arange(n_found, dtype=np.int32)  # of each cell that was read, among those that are returned
        if cells is None:
            runs = self._told_apart(runs).sort_values(["stream", "strategy", "seed"])
            place = np.full(n_found, -1, dtype=np.int32)
            place[runs.index] = np.arange(len(runs))
            runs = runs.reset_index(drop=True)
        words = np.array([*rows.words, ""], dtype=object)  # not empty, nor of another type
        named = zip(parts.values(), (EXPERIENCE_COLUMNS, SCORE_COLUMNS, EVALUATION_COLUMNS), strict=True)
        return Results(runs, *(_named(part, words, runs, place, columns) for part, columns in named))

    def _told_apart(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Make names unambiguous; what has the same all the same gives way to the newest."""
        kept, shared = tell_apart(runs)
        if shared:
            warnings.warn(
                f"{len(runs) - len(kept)} cells of the store {self.name} are left out, for newer ones have the same "
                f"names and definitions: {'; '.join(shared[:3])}{' and more' if len(shared) > 3 else ''}.",
                StoreWarning,
                stacklevel=3,
            )
        return kept

    def _n_rows(self, connection: sa.Connection) -> dict[str, int]:
        """Count the rows of all cells, by the name of the table."""
        if self._stored_version >= _SINCE[_cells.name]:
            lengths = connection.execute(sa.select(*(sa.func.sum(sa.func.length(_cells.c[name])) for name in DETAILS)))
            return {
                name: int(length or 0) // RECORDS[name].itemsize
                for name, length in zip(DETAILS, lengths.one(), strict=True)
            }
        there = {source.name: source for source in _tables(self._stored_version)}
        count = sa.func.count()
        return {
            name: connection.scalar(sa.select(count).select_from(there[name])) or 0 if name in there else 0
            for name in DETAILS
        }

    def _in_order(self, connection: sa.Connection) -> list[str] | None:
        """Return the keys of all cells in the order in which results have them, if each is a text."""
        source = _tables(self._stored_version)[0]
        query = sa.select(*(source.c[name] for name in ("cell", "stream", "strategy", "seed")))
        there = list(connection.execute(query).all())
        with contextlib.suppress(TypeError):  # which damaged ones raise
            there.sort(key=lambda row: row[1:])
        return [key for key, *_ in there] if all(_is_key(key) for key, *_ in there) else None

    def cells(self) -> Iterator[Facts]:
        """Go through all cells as they were measured, in the order of their keys.

        Yields
        ------
        Facts

        Warns
        -----
        StoreWarning
            If cells are damaged; they are left out.
        """
        with self._transaction() as connection:
            found, damaged = self._read(connection)
        self._report(damaged)
        for _, (run, details) in sorted(found.items()):
            rows = (
                [dict(zip(columns, row, strict=True)) for row in detail]
                for columns, detail in zip(DETAILS.values(), unpack(details), strict=True)
            )
            yield Facts(dict(zip(RUN_COLUMNS, run, strict=True)), *rows)

    def _read(
        self, connection: sa.Connection, wanted: Iterable[str] | None = None
    ) -> tuple[dict[str, _Stored], list[tuple[Any, ...]]]:
        """Read cells, all or those wanted; those that are damaged apart, as key, strategy, stream and seed."""
        cells: dict[str, _Stored] = {}
        damaged = []
        for found, bad, _ in self._scan(connection, wanted):
            cells |= found
            damaged += bad
        return cells, damaged

    def _scan(
        self, connection: sa.Connection, wanted: Iterable[str] | None = None, rows: Rows | None = None
    ) -> Iterator[tuple[dict[str, _Stored], list[tuple[Any, ...]], Tables]]:
        """Read as :meth:`_read` does, some cells at a time, in the order wanted or of their keys; with their tables.

        `rows` is what reads the tables.
        """
        rows = rows or Rows()
        if wanted is None:
            there = connection.scalars(sa.select(_tables(self._stored_version)[0].c.cell)).all()
            if all(map(_is_key, there)):
                wanted = sorted(there)
        packed = self._stored_version >= _SINCE[_cells.name]
        names = _columns(_tables(self._stored_version)[0], self._stored_version)
        places = [names.index(name) for name in NAME_COLUMNS]
        for keys in [None] if wanted is None else _batches(wanted):
            damaged, found = [], {}
            for run, cell in self._packed(connection, keys) if packed else self._unpacked(connection, keys):
                if cell:
                    found[cell.run[0]] = cell
                else:
                    damaged.append(tuple(run[place] for place in places))
            cells = {key: found[key] for key in (sorted(found) if keys is None else keys) if key in found}
            good, tables = _sensible(list(cells.values()), rows)
            if not good.all():
                damaged += [
                    tuple(cell.run[place] for place in places) for cell in itertools.compress(cells.values(), ~good)
                ]
                cells = {key: cell for (key, cell), whole in zip(cells.items(), good, strict=True) if whole}
                tables = rows.read([cell.details for cell in cells.values()])
            yield cells, damaged, tables

    @staticmethod
    def _packed(
        connection: sa.Connection, keys: Sequence[str] | None
    ) -> Iterator[tuple[Sequence[Any], _Stored | None]]:
        """Read runs, and their cells if they are what was written."""
        end = len(RUN_COLUMNS)
        query = sa.select(_cells)
        for row in connection.execute(query if keys is None else query.where(_cells.c.cell.in_(keys))).all():
            cell = _Stored(row[:end], Packed(*row[end + 1 :]))
            try:
                whole = _are_types(tuple(map(type, row))) and can_be_read(cell.details) and row[end] == cell.checksum()
            except (TypeError, ValueError, RecursionError):
                whole = False
            yield cell.run, cell if whole else None

    def _unpacked(
        self, connection: sa.Connection, keys: Sequence[str] | None
    ) -> Iterator[tuple[Sequence[Any], _Stored | None]]:
        """Do as :meth:`_packed` with the tables of an older version."""
        rows: dict[str, dict[Any, list[dict[str, Any]]]] = {source.name: defaultdict(list) for source in _UNPACKED}
        runs = []
        for source in _tables(self._stored_version):
            columns = _columns(source, self._stored_version)
            query = sa.select(*(source.c[name] for name in columns))
            for row in connection.execute(query if keys is None else query.where(source.c.cell.in_(keys))):
                if source is _runs:
                    runs.append(tuple(row))
                else:
                    rows[source.name][row[0]].append(_BEFORE[source.name] | dict(zip(columns, row, strict=True)))
        for run in runs:
            found = _BEFORE[_runs.name] | dict(zip(_columns(_runs, self._stored_version), run, strict=True))
            yield run, _checked(found, [rows[name].get(run[0], []) for name in DETAILS], self._stored_version)

    def _report(self, damaged: Sequence[tuple[Any, ...]]) -> None:
        if damaged:
            shown = [tuple(map(_shown, row)) for row in damaged[:3]]
            first = [f"{strategy} on {stream}, seed {seed}" for _, strategy, stream, seed in shown]
            more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
            warnings.warn(
                f"{len(damaged)} cells of the store {self.name} are damaged and treated as not there: "
                f"{'; '.join(first)}{more}; run them again.",
                StoreWarning,
                stacklevel=3,
            )

    def _drop(self, connection: sa.Connection, damaged: Sequence[tuple[Any, ...]]) -> None:
        """Report damaged cells and delete them."""
        self._report(damaged)
        source = _tables(self._stored_version)[0]
        for key, *_ in damaged:
            same = source.c.cell == key
            if isinstance(key, str) and not key.isascii():  # perhaps no text at all
                same = source.c.cell == sa.cast(sa.literal(key.encode("utf-8", "surrogateescape")), sa.Text)
            connection.execute(source.delete().where(same))


def _shown(value: object) -> str:
    """Write what was found in a database on a line, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _text(value: object) -> str:
    """Make a text that every database can keep: some have no null character, none has half of a character."""
    return str(value).replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def _value(value: Any, kind: type) -> Any:
    """Bring a value to the type of its column; -0.0 and NaN to what all databases give back."""
    if kind is float:
        return None if value is None or value != value else float(value) + 0.0
    if kind is object:
        return None if value is None else _text(value)
    return _text(value) if kind is str else kind(value)


def _row(columns: Mapping[str, type], values: Mapping[str, Any]) -> list[Any]:
    return [_value(values[column], kind) for column, kind in columns.items()]


def _rows(name: str, found: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Make the rows of a table, in the order of its key."""
    places = [list(DETAILS[name]).index(column) for column in _KEYS[name]]
    rows = sorted((_row(DETAILS[name], each) for each in found), key=lambda row: [row[place] for place in places])
    keys = [[row[place] for place in places] for row in rows]
    if any(one == other for one, other in itertools.pairwise(keys)):
        raise StoreError(f"Two of the {name} of a cell are about the same, so it cannot be stored.")
    return rows


def _as_row(cell: _Stored) -> dict[str, Any]:
    """Return the row of the database that a cell is."""
    return dict(zip(_cells.c.keys(), [*cell.run, cell.checksum(), *cell.details], strict=True))


def _is_key(key: object) -> bool:
    """Whether a key can be asked for: damaged text is no text."""
    return isinstance(key, str) and key.isascii()


@functools.lru_cache(maxsize=4096)  # hundreds of cells have the same parameters and versions
def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


_TYPES: dict[type, tuple[type, ...]] = {float: (float, type(None)), object: (str, type(None))}


@functools.lru_cache(maxsize=4096)
def _are_types(types: tuple[type, ...]) -> bool:
    """Whether a cell can have values of these types."""
    return all(found in _TYPES.get(kind, (kind,)) for kind, found in zip(_CELL_COLUMNS.values(), types, strict=True))


_JSON_PLACES = [place for place, column in enumerate(RUN_COLUMNS) if column in _JSON]


def _sensible(cells: Sequence[_Stored], rows: Rows) -> tuple[NDArray[np.bool_], Tables]:
    """Tell which cells have values that a benchmark can have left, and return their tables."""
    columns = list(zip(*(cell.run for cell in cells), strict=True)) or [()] * len(RUN_COLUMNS)
    good = np.array([status in ("ok", "failed") for status in columns[_STATUS]], dtype=bool)
    for place in _JSON_PLACES:
        for text in itertools.filterfalse(_is_object, set(columns[place])):
            good &= np.array([each != text for each in columns[place]], dtype=bool)
    finished = np.array([status == "ok" for status in columns[_STATUS]], dtype=bool)
    n_experiences = np.array([min(max(size, -1), 2**62) for size in columns[_N_EXPERIENCES]], dtype=np.int64)
    tables = rows.read([cell.details for cell in cells])
    for name, (found, owner, words) in tables.items():
        end = n_experiences[owner]
        wrong = np.zeros(len(found), dtype=bool)
        for column, numbers in words.items():
            wrong |= numbers < 0
            if column in _JSON:
                no_objects = [each for each in np.unique(numbers) if each >= 0 and not _is_object(rows.words[each])]
                wrong |= np.isin(numbers, no_objects)
        if name == "experiences":  # of each experience, and of no other
            counts = np.bincount(owner, minlength=len(cells))
            good &= ~finished | (counts == n_experiences)
            position = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
            wrong |= finished[owner] & (found["experience"] != position)
        else:
            first, least = ("trained_on", -1) if name == "scores" else ("experience", 0)
            bounds = ((found[first], least), (found["tested_on"], 0))
            wrong |= finished[owner] & np.any([(each < low) | (each >= end) for each, low in bounds], axis=0)
        good[owner[wrong]] = False
    return good, tables


def _checked(run: Mapping[str, Any], details: Sequence[Sequence[Mapping[str, Any]]], version: int) -> _Stored | None:
    """Return a cell of an older version if it is as it was written; it may have no checksum."""
    try:
        values = _row(RUN_COLUMNS, run)
        tables = [_rows(name, rows) for name, rows in zip(DETAILS, details, strict=True)]
        cell = _Stored(values, pack(tables))
    except (StoreError, TypeError, ValueError, OverflowError):
        return None
    if version == 1:
        return cell
    parts: list[Any] = [list(itertools.compress(values, [_has(version, _runs, name) for name in RUN_COLUMNS]))]
    for source, rows in zip(_UNPACKED, tables, strict=True):
        if source in _tables(version):
            kept = [_has(version, source, name) for name in DETAILS[source.name]]
            parts.append([[values[0], *itertools.compress(row, kept)] for row in rows])
    return cell if hashlib.sha256(json.dumps(parts).encode()).hexdigest() == run[_CHECKSUM] else None


class _Columns:
    """Columns of a table of many cells, filled from the top; texts are numbers, and cells are positions of runs."""

    def __init__(self, name: str, n_rows: int) -> None:
        self.kinds = DETAILS[name]
        self._n_rows = 0
        self._columns = {"cell": np.empty(n_rows, dtype=np.int32)}
        for column, kind in self.kinds.items():
            self._columns[column] = np.empty(n_rows, dtype=np.int32 if kind is str else kind)

    def add(
        self, n_cells: int, records: NDArray[Any], owner: NDArray[np.intp], texts: Mapping[str, NDArray[np.int32]]
    ) -> None:
        """Add what was read after so many cells."""
        new = slice(self._n_rows, self._n_rows + len(records))
        self._columns["cell"][new] = owner + n_cells
        for column in self.kinds:
            self._columns[column][new] = texts[column] if column in texts else records[column]
        self._n_rows = new.stop

    def take(self, column: str) -> NDArray[Any]:
        """Give a column away, whose memory is free then as soon as the caller has done with it."""
        found = self._columns.pop(column)
        return found if len(found) == self._n_rows else found[: self._n_rows].copy()


def _named(
    rows: _Columns, words: NDArray[Any], runs: pd.DataFrame, place: NDArray[np.int32], columns: Mapping[str, type]
) -> pd.DataFrame:
    """Make a table of the results: in the order of the runs that the rows belong to, with their names.

    `place` says where each cell that was read is among the runs (-1: nowhere), `words` what the numbers of texts mean.
    """
    owner = place[rows.take("cell")]
    order = None
    if (owner < 0).any() or (owner[1:] < owner[:-1]).any():
        order = np.argsort(owner, kind="stable")
        order = order[owner[order] >= 0]
        owner = owner[order]
    found: dict[str, Any] = {}
    for name, kind in rows.kinds.items():
        values = rows.take(name) if order is None else rows.take(name)[order]
        found[name] = texts(words[values]) if kind is str else values
    for name in NAME_COLUMNS:
        values = runs[name].to_numpy()[owner]
        found[name] = texts(values) if NAME_COLUMNS[name] is str else values
    return pd.DataFrame({name: found[name] for name in columns}, copy=False)


def _silent_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """Make an engine that only raises: where Ctrl-C breaks into its pool, that would write a traceback as well."""
    engine = sa.create_engine(url, pool_logging_name="forgetless", **options)
    pool = type(engine.pool)
    logging.getLogger(f"{pool.__module__}.{pool.__name__}.forgetless").setLevel(logging.CRITICAL)
    return engine


def _sqlite(url: sa.URL, begin: str, leave_wal_mode: bool = False) -> sa.Engine:
    """Make an engine whose transactions begin as told."""
    engine = _silent_engine(url, connect_args={"timeout": _TIMEOUT})

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        # Damaged text is no text. A function of our own would be called millions of times.
        connection.text_factory = operator.methodcaller("decode", "utf-8", "surrogateescape")
        if leave_wal_mode:  # as versions 0.1 wrote it; read only, such a file cannot be shared
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode=DELETE")

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: sa.URL, read_only: bool) -> sa.Engine:
    """Make an engine that, as SQLite does, lets one writer begin after the other."""
    engine = _silent_engine(url, pool_pre_ping=True)
    if read_only:
        return engine.execution_options(postgresql_readonly=True)

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    return engine


def _real(path: Path) -> Path:
    """Follow links, as SQLite does."""
    return Path(os.path.realpath(path))


def _read_only_url(path: Path, start: bytes) -> sa.URL:
    path = _real(path)
    # Without a log beside it nobody is writing, and SQLite need not leave lock files of its own.
    in_wal_mode = start[18:20] == b"\2\2"
    alone = {"immutable": "1"} if in_wal_mode and not path.with_name(f"{path.name}-wal").exists() else {}
    # What a killed process left half written must be undone first.
    broken_off = path.with_name(f"{path.name}-journal").exists() and os.access(path.parent, os.W_OK)
    database = f"file:{quote(os.fsencode(path))}"
    return sa.URL.create(
        "sqlite", database=database, query={"uri": "true", "mode": "rw" if broken_off else "ro", **alone}
    )
