"""The store: finished cells in a database, SQLite unless another is named."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .results import EXPERIENCE_COLUMNS, NAME_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS, Facts, Results, table

SCHEMA_VERSION = 1

_SQL_TYPES = {str: sa.Text, object: sa.Text, int: sa.BigInteger, float: sa.Double, bool: sa.Boolean}
_metadata = sa.MetaData()


def _table(name: str, columns: Mapping[str, type], key: Sequence[str]) -> sa.Table:
    return sa.Table(
        name,
        _metadata,
        *(
            sa.Column(column, _SQL_TYPES[kind], primary_key=column in key, nullable=kind in (float, object))
            for column, kind in columns.items()
        ),
    )


def _without_names(columns: Mapping[str, type]) -> dict[str, type]:
    """Leave out what the table of runs knows already."""
    return {name: kind for name, kind in columns.items() if name == "cell" or name not in NAME_COLUMNS}


# The only row of the first table is the version of the others; the table marks the database as ours.
_version = _table("forgetless", {"schema_version": int}, ["schema_version"])
_runs = _table("runs", RUN_COLUMNS, ["cell"])
_experiences = _table("experiences", _without_names(EXPERIENCE_COLUMNS), ["cell", "experience"])
_scores = _table("scores", _without_names(SCORE_COLUMNS), ["cell", "trained_on", "tested_on"])


class StoreError(OSError):
    """The store cannot be read or written; the message says why."""


class Store:
    """Cells of benchmarks in a database; a kill or a second process that writes at the same time does no harm.

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
        If the place holds something else (which is left untouched), was written by another version, or cannot be used.

    Examples
    --------
    >>> with Store(":memory:") as store:
    ...     store.results()
    <Results: 0 cells (0 failed), 0 strategies, 0 streams, 0 seeds>
    """

    def __init__(self, path_or_url: str | os.PathLike[str] = "results.db", *, read_only: bool = False) -> None:
        self.name = os.fspath(path_or_url)
        self.read_only = read_only
        try:
            self._engine = self._open()
        except SQLAlchemyError as error:
            scheme = self.name.partition("://")[0]
            raise StoreError(f"No database can be reached by a URL like {scheme}://...: {_reason(error)}.") from None
        except ModuleNotFoundError as error:
            raise StoreError(f"The store {self.name} needs the package {error.name!r}; install it.") from None
        try:
            with self._transaction() as connection:
                if not self._is_store(connection):
                    self._create(connection)
        except BaseException:
            self.close()
            raise

    def _open(self) -> sa.Engine:
        if "://" in self.name:
            url = sa.make_url(self.name)
            self.name = url.render_as_string(hide_password=True)
        else:
            url = sa.URL.create("sqlite", database=self.name)
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url)
        if not url.database or url.database == ":memory:":
            return _sqlite(url, "BEGIN")
        path = Path(url.database)
        if self._is_there(path):
            reader = _sqlite(_read_only_url(path), "BEGIN")
            if self.read_only:
                return reader
            # Opened for writing, another program's database would be changed before anybody could say no.
            with contextlib.closing(self):
                self._engine = reader
                with self._transaction() as connection:
                    self._is_store(connection)
        # The driver's own idea of transactions would let two writers read the same state before either writes.
        return _sqlite(url, "BEGIN IMMEDIATE", "PRAGMA journal_mode=WAL")

    def _is_there(self, path: Path) -> bool:
        """Tell whether there is something to be read, and refuse what cannot be a store."""
        folder = path.absolute().parent
        if path.is_dir():
            raise StoreError(f"The store {path} is a folder; name a file.")
        if not path.exists():
            if self.read_only:
                raise StoreError(f"There is no store {path}; `forgetless run --store {path}` makes one.")
            if not folder.is_dir():
                raise StoreError(f"The store {path} cannot be written: there is no folder {folder}.")
        if not self.read_only and not all(os.access(place, os.W_OK) for place in (folder, path) if place.exists()):
            raise StoreError(f"The store {path} cannot be written: permission denied.")
        try:
            with path.open("rb") as file:
                start = file.read(16)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"The store {path} cannot be read: {error.strerror}.") from None
        if start not in (b"", b"SQLite format 3\0"):
            raise StoreError(f"{path} is no database, so it cannot be a store; name another file.")
        return bool(start) or self.read_only

    def _is_store(self, connection: sa.Connection) -> bool:
        """Tell our tables from none at all; refuse those of others."""
        names = sa.inspect(connection).get_table_names()
        if _version.name not in names:
            if names:
                raise StoreError(f"{self.name} is a database of another program (it has a table {names[0]!r}).")
            return False
        version = connection.scalar(sa.select(_version.c.schema_version))
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"The store {self.name} was written by another version of forgetless (tables of version {version}, "
                f"here {SCHEMA_VERSION}); use that version, or name another file."
            )
        return True

    def _create(self, connection: sa.Connection) -> None:
        if self.read_only:
            raise StoreError(f"{self.name} is no store: it is empty.")
        _metadata.create_all(connection)
        connection.execute(_version.insert(), {"schema_version": SCHEMA_VERSION})

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"The store {self.name} cannot be used: {_reason(error)}.") from error

    def close(self) -> None:
        """Close the connection to the database."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, facts: Facts) -> None:
        """Write a cell, all of it or nothing.

        A cell that failed before is replaced; one that was finished before, perhaps by another process, stays.

        Parameters
        ----------
        facts : Facts

        Raises
        ------
        StoreError
        """
        key = facts.run["cell"]
        with self._transaction() as connection:
            connection.execute(_runs.delete().where(_runs.c.cell == key, _runs.c.status != "ok"))
            if connection.scalar(sa.select(_runs.c.cell).where(_runs.c.cell == key)):
                return
            connection.execute(_runs.insert(), facts.run)
            for target, rows in ((_experiences, facts.experiences), (_scores, facts.scores)):
                if rows:
                    connection.execute(target.insert(), [{"cell": key, **row} for row in rows])

    def finished(self, names: Mapping[str, tuple[str, str]]) -> set[str]:
        """Find the cells that need not run again, and give them the names they go by now.

        Parameters
        ----------
        names : mapping
            Strategy and stream of each cell asked for, by key.

        Returns
        -------
        set of str
            Keys of those that are stored and did not fail.
        """
        query = sa.select(_runs.c.cell, _runs.c.strategy, _runs.c.stream).where(_runs.c.status == "ok")
        with self._transaction() as connection:
            stored = {cell: (strategy, stream) for cell, strategy, stream in connection.execute(query)}
            found = stored.keys() & names.keys()
            for cell in found:
                if stored[cell] != names[cell]:
                    strategy, stream = names[cell]
                    connection.execute(
                        _runs.update().where(_runs.c.cell == cell), {"strategy": strategy, "stream": stream}
                    )
        return found

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
        """
        wanted = None if cells is None else list(cells)
        with self._transaction() as connection:
            frames = []
            for source, columns in ((_runs, RUN_COLUMNS), (_experiences, EXPERIENCE_COLUMNS), (_scores, SCORE_COLUMNS)):
                query = sa.select(source).order_by(*source.primary_key)
                if wanted is not None:
                    query = query.where(source.c.cell.in_(wanted))
                kinds = columns if source is _runs else _without_names(columns)
                frames.append(table(connection.execute(query), kinds))
        runs, experiences, scores = frames
        if wanted is None:
            runs = _tell_apart(runs).sort_values(["stream", "strategy", "seed"], ignore_index=True)
        else:
            place = {cell: position for position, cell in enumerate(wanted)}
            runs = runs.sort_values("cell", key=lambda cell: cell.map(place), ignore_index=True)
        names = runs[list(NAME_COLUMNS)]
        return Results(
            runs,
            names.merge(experiences, on="cell")[list(EXPERIENCE_COLUMNS)],
            names.merge(scores, on="cell")[list(SCORE_COLUMNS)],
        )


def _sqlite(url: sa.URL, begin: str, *on_connect: str) -> sa.Engine:
    """Make an engine whose transactions begin as told."""
    engine = sa.create_engine(url, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        for statement in on_connect:
            connection.execute(statement)

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _read_only_url(path: Path) -> sa.URL:
    # Without a log beside it nobody is writing, and SQLite need not leave lock files of its own.
    alone = {} if path.with_name(f"{path.name}-wal").exists() else {"immutable": "1"}
    database = f"file:{quote(os.fspath(path.absolute()))}"
    return sa.URL.create("sqlite", database=database, query={"uri": "true", "mode": "ro", **alone})


def _reason(error: SQLAlchemyError) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]


def _tell_apart(runs: pd.DataFrame) -> pd.DataFrame:
    """Make names unambiguous: to a name with several definitions, add the values in which they differ."""
    with_device = [
        {**json.loads(params), "device": device} for params, device in zip(runs["params"], runs["device"], strict=True)
    ]
    runs = runs.assign(
        strategy=_labels(runs["strategy"], with_device),
        stream=_labels(runs["stream"], [json.loads(definition) for definition in runs["stream_definition"]]),
    )
    # What differs in no single value (a fixed order of classes, say) cannot be named: the newest stands for all.
    return runs.sort_values("started").drop_duplicates(["strategy", "stream", "seed"], keep="last")


def _labels(names: Iterable[str], definitions: Iterable[dict[str, Any]]) -> list[str]:
    named = [(name, dict(_values(definition))) for name, definition in zip(names, definitions, strict=True)]
    seen: dict[str, dict[str, set[str]]] = {}
    for name, values in named:
        for key, value in values.items():
            seen.setdefault(name, {}).setdefault(key, set()).add(value)
    labels = []
    for name, values in named:
        differing = {key: value for key, value in values.items() if len(seen[name][key]) > 1}
        if "class" in differing:  # then all parameters differ, and say nothing
            differing = {"class": differing["class"]}
        what = ", ".join(f"{key}={value}" for key, value in differing.items())
        labels.append(f"{name} ({what})" if what else name)
    return labels


def _values(definition: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Walk through the single values of a definition; lists and random states differ between seeds by design."""
    for key, value in definition.items():
        if isinstance(value, dict):
            yield from _values(value, prefix if key == "params" else f"{prefix}{key}.")
        elif not isinstance(value, list) and key != "random_state":
            yield prefix + key, str(value).rpartition(".")[2] if key == "class" else str(value)[:12]
