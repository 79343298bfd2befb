"""The store in PostgreSQL: a server of its own on this machine, where there are one and a driver."""

import importlib.util
import multiprocessing
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from helpers.store import assert_same, facts

from forgetless.benchmarks import Store, StoreError, StoreWarning

# Where Debian keeps the programs of each version.
LIBRARY = Path("/usr/lib/postgresql")
DRIVERS = ("psycopg", "psycopg2", "pg8000")


def unprivileged():
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


def program(name):
    folders = ["", *(str(path) for path in sorted(LIBRARY.glob("*/bin"), reverse=True))]
    found = [path for folder in folders if (path := shutil.which(name, path=folder or None))]
    if not found:
        pytest.skip(f"there is no {name} of PostgreSQL on this machine")
    return found[0]


@pytest.fixture(scope="module")
def folder():
    """Not in pytest's folder, which is closed to the user that runs the server."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server(folder):
    drivers = [name for name in DRIVERS if importlib.util.find_spec(name)]
    if not drivers:
        pytest.skip(f"no driver of PostgreSQL is installed ({', '.join(DRIVERS)})")
    user = unprivileged()
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    initdb, pg_ctl = program("initdb"), program("pg_ctl")

    def call(*command):
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder, **as_user)

    (password := folder / "password").write_text("s3cr3t/@")
    password.chmod(0o644)
    data = str(folder / "data")
    call(
        initdb, "-D", data, "-U", "tester", "-A", "scram-sha-256", "--pwfile", str(password), "-E", "UTF8", "--no-sync"
    )
    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    call(pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield sa.URL.create(f"postgresql+{drivers[0]}", "tester", "s3cr3t/@", "127.0.0.1", port, "postgres")
    finally:
        call(pg_ctl, "-D", data, "-m", "immediate", "stop")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def url(server, request):
    """A new database."""
    name = f"test_{abs(hash(request.node.name))}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def test_gives_what_sqlite_gives(url):
    odd = "a\0b\udc80 'x'; --"
    with Store(url) as store, Store(":memory:") as memory:
        for each in (store, memory):
            each.write(facts("a", strategy=odd))
            each.write(facts("b", status="failed", error=odd, seed=1))
            each.write(facts("c", seed=2, score=-0.0, seconds=float("inf")))
            assert each.finished({"a": (odd, "toy"), "b": ("x", "y"), "c": ("new", "toy")}) == {"a", "c"}
            assert each.finished({"c": ("new", "toy")}) == {"c"}
        assert_same(store.results(), memory.results())
        assert_same(store.results(["c", "a"]), memory.results(["c", "a"]))
        assert "s3cr3t" not in store.name
    with Store(url, read_only=True) as store, Store(":memory:"):
        assert len(store.results().runs) == 3
        with pytest.raises(StoreError, match="read-only"):
            store.write(facts("d"))


def test_a_damaged_cell(url):
    with Store(url) as store:
        store.write(facts("a"))
        store.write(facts("b", seed=1))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE scores SET score = 0.9 WHERE cell = 'a' AND trained_on = 0"))
    engine.dispose()
    with Store(url) as store:
        with pytest.warns(StoreWarning, match="1 cells .* are damaged"):
            assert store.finished({"a": ("Naive", "toy"), "b": ("Naive", "toy")}) == {"b"}
        store.write(facts("a"))
        with warnings.catch_warnings(action="error"):
            assert len(store.results().runs) == 2


def test_messages_have_no_password(url):
    for wrong in (url.replace("s3cr3t", "wr0ng-s3cr3t"), url.replace("tester:", "tester2:"), f"{url}x"):
        with pytest.raises(StoreError) as caught:
            Store(wrong)
        assert "s3cr3t" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_database_of_another_program(url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE runs (cell TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="another program"):
        Store(url)


def write_many(url, prefix):
    with Store(url) as store:
        for number in range(15):
            store.write(facts(f"{prefix}{number}", seed=number, strategy=prefix))
            store.write(facts(f"shared{number}", status="failed", seed=number, strategy="shared"))
            store.write(facts(f"shared{number}", seed=number, strategy="shared"))


@pytest.mark.parametrize("attempt", range(3))
def test_several_processes_make_the_tables_and_write(url, attempt):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(url, prefix)) for prefix in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    with Store(url, read_only=True) as store:
        results = store.results()
    assert len(results.runs) == 75
    assert (results.scores.groupby("cell").size() == 2).all()
