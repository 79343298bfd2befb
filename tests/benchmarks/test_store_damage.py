"""Damaged and foreign stores: noticed in one sentence, and no score is ever another than was measured."""

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sqlite3
import struct
import tempfile
import time
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from helpers.benchmarks import Spy, iris, run
from helpers.store import assert_same, facts, make_older, pack_tables, unpack_tables

from forgetless.benchmarks import Store, StoreError, StoreWarning

NAMES = {hashlib.sha256(bytes([seed])).hexdigest(): (f"s{seed % 3}", "toy") for seed in range(20)}


@pytest.fixture(scope="module")
def prepared():
    """A store of some cells, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder) / "a.db") as store:
            for seed, (cell, (strategy, _)) in enumerate(NAMES.items()):
                store.write(facts(cell, seed=seed, strategy=strategy, score=seed / 20))
        return (Path(folder) / "a.db").read_bytes()


@pytest.fixture
def path(prepared, tmp_path):
    """A file with these bytes."""
    (tmp_path / "a.db").write_bytes(prepared)
    return tmp_path / "a.db"


def change(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def change_rows(path, statement):
    """Change what is packed."""
    with opened(path) as connection:
        unpack_tables(connection)
        connection.exec_driver_sql(statement)
        pack_tables(connection)


@contextlib.contextmanager
def opened(path):
    """The connection that is open to a file, which is then closed."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def refused(path, words, **options):
    with pytest.raises(StoreError, match=words) as caught:
        Store(path, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


# --- flipped bits ------------------------------------------------------------------------------------------------


def read(path, read_only):
    """What is read, or None, and whether something was said."""
    with warnings.catch_warnings(record=True, action="always") as said:
        try:
            with Store(path, read_only=read_only) as store:
                found = NAMES.keys() if read_only else store.finished(NAMES)
                return store.results(), found, bool(said)
        except StoreError:
            return None, set(), True


@pytest.mark.parametrize(("seed", "n_flips"), [(0, 30), pytest.param(1, 300, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_noticed_or_changes_nothing(path, tmp_path, seed, n_flips):
    good, rng = path.read_bytes(), random.Random(seed)
    measured, _, _ = read(path, True)
    scores = dict(zip(measured.runs["cell"], measured.runs["seed"] / 20, strict=True))
    n_noticed = 0
    for bit in rng.sample(range(8 * len(good)), n_flips):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        for read_only in (True, False):
            (tmp_path / "flipped.db").write_bytes(data)
            results, found, said = read(tmp_path / "flipped.db", read_only)
            n_noticed += said
            if not said:
                assert found == NAMES.keys()
                assert_same(results, measured)
            elif results is not None:
                last = results.scores[results.scores["trained_on"] == 0]
                assert dict(zip(last["cell"], last["score"], strict=True)).items() <= scores.items()
                assert found <= scores.keys()
    assert n_noticed > n_flips / 4


def test_every_bit_of_a_score(path, tmp_path):
    good = path.read_bytes()
    [place] = [i for i in range(len(good)) if good[i : i + 8] == struct.pack("<d", 0.35)]
    for bit in range(64):
        data = bytearray(good)
        data[place + bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.db").write_bytes(data)
        with Store(tmp_path / "flipped.db") as store, pytest.warns(StoreWarning, match="1 cells"):
            assert NAMES.keys() - store.finished(NAMES) == {list(NAMES)[7]}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cells SET n_experiences = 2",
        "UPDATE cells SET n_experiences = 'x'",
        "UPDATE cells SET n_experiences = x'00ff'",
        "UPDATE cells SET needs_task_id = 1",
        "UPDATE cells SET params = '{'",
        "UPDATE cells SET params = '[]'",
        'UPDATE cells SET params = \'{"a": NaN, "b": -Infinity}\'',
        "UPDATE cells SET params = replace(printf('%.*c', 20000, 'x'), 'x', '{\"a\":') || 1",  # far too deep
        "UPDATE cells SET strategy = printf('%.*c', 1000000, 'x')",
        "UPDATE cells SET seed = 'no number'",
        "UPDATE cells SET params = CAST(x'ff00' AS TEXT)",
        "UPDATE cells SET status = 'fine'",
        "UPDATE cells SET strategy = 'other'",
        "UPDATE cells SET error = 'x'",
        "UPDATE cells SET checksum = NULL",
        "UPDATE cells SET checksum = 'x'",
        "UPDATE cells SET seconds = NULL",
        "UPDATE cells SET seconds = 'long'",
        "UPDATE scores SET score = 0.5",
        "UPDATE scores SET score = NULL",
        "UPDATE scores SET tested_on = 3",
        "DELETE FROM scores WHERE trained_on = 0",
        "DELETE FROM scores",
        "DELETE FROM experiences",
        "UPDATE scores SET metric = 'r2'",
        "UPDATE evaluations SET score = 0.5",
        "UPDATE evaluations SET tested_on = 1",
        "DELETE FROM evaluations",
        "UPDATE cells SET protocol = '[]'",
        "UPDATE experiences SET diagnostics = '1'",
        "UPDATE experiences SET memory = 'no JSON'",
        "UPDATE cells SET texts = '[1]'",
        "UPDATE cells SET texts = '[]'",
        "UPDATE cells SET texts = '{'",
        "UPDATE cells SET texts = x'00ff'",
        "UPDATE cells SET scores = x'00'",
        "UPDATE cells SET scores = 'many'",
        "UPDATE cells SET experiences = evaluations",
        "UPDATE experiences SET n_train = -3",
    ],
)
def test_a_changed_cell_is_reported_and_not_done(tmp_path, statement):
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a", score=0.3))
        store.write(facts("b", seed=1, score=0.3))
    target = statement.split()[2 if statement.startswith("DELETE") else 1]
    statement += f"{' AND' if 'WHERE' in statement else ' WHERE'} cell = 'a'"
    if target in ("scores", "experiences", "evaluations"):
        change_rows(tmp_path / "a.db", statement)
    else:
        assert target == "cells"
        change(tmp_path / "a.db", statement)
    with Store(tmp_path / "a.db") as store:
        with pytest.warns(StoreWarning, match="1 cells of the store .* are damaged") as said:
            assert store.finished({"a": ("Naive", "toy"), "b": ("Naive", "toy")}) == {"b"}
        assert str(said[0].message).isprintable()
        assert len(str(said[0].message)) < 1000
        with pytest.warns(StoreWarning):
            assert store.results().runs["cell"].tolist() == ["b"]
        with pytest.warns(StoreWarning):
            assert store.results(["a", "b"]).runs["cell"].tolist() == ["b"]
        store.write(facts("a", score=0.3))
        with warnings.catch_warnings(action="error"):
            assert store.results().scores["score"].dropna().tolist() == [0.3, 0.3]


def test_a_damaged_cell_runs_again(tmp_path, log):
    first = run({"spy": Spy()}, [iris()], store=tmp_path / "a.db")
    change_rows(tmp_path / "a.db", "UPDATE scores SET score = 0.123 WHERE trained_on = 2")
    with pytest.warns(StoreWarning):
        again = run({"spy": Spy()}, [iris()], store=tmp_path / "a.db")
    assert sum(call[0] == "partial_fit" for call in log) == 6
    assert again.scores.equals(first.scores)


# --- older and other stores --------------------------------------------------------------------------------------


@pytest.fixture
def old(path):
    """A store as version 1 made it: in another journal mode, without checksums."""
    with opened(path) as connection:
        make_older(connection, 1)
    change(path, "PRAGMA journal_mode=WAL")
    return path


@pytest.fixture
def version_2(path):
    with opened(path) as connection:
        make_older(connection, 2)
    return path


@pytest.fixture
def version_3(path):
    with opened(path) as connection:
        make_older(connection, 3)
    return path


@pytest.fixture
def version_5(path):
    with opened(path) as connection:
        make_older(connection, 5)
    return path


@pytest.mark.parametrize("version", ["old", "version_2", "version_3", "version_5"])
class TestOlderVersions:
    def test_is_read_as_it_is(self, version, request, tmp_path):
        old = request.getfixturevalue(version)
        before = old.read_bytes()
        with Store(old, read_only=True) as store:
            results = store.results()
        assert len(results.runs) == 20
        assert json.loads(results.runs["protocol"][0]) == {
            "evaluate": "all",
            "eval_every": None,
            "scoring": ["accuracy"],
        }
        assert set(results.scores["metric"]) == {"accuracy"}
        assert set(results.experiences["diagnostics"]) == {"{}"}
        assert len(results.evaluations) == 20 * (version in ("version_3", "version_5"))
        assert set(results.runs["dataset"]) == ({"toy data"} if version == "version_5" else {""})
        assert results.scores["n_tested"].isna().all() == (version != "version_5")
        assert old.read_bytes() == before
        assert os.listdir(tmp_path) == ["a.db"]

    def test_is_brought_up_to_date(self, version, request, tmp_path):
        old = request.getfixturevalue(version)
        with Store(old, read_only=True) as store:
            before = store.results()
        with Store(old) as store:
            assert store.finished(NAMES) == NAMES.keys()
            assert_same(store.results(), before)
            new = facts("new", seed=20)
            new.scores.append(new.scores[-1] | {"metric": "balanced_accuracy"})
            store.write(new)
        change_rows(old, "UPDATE scores SET score = 0.99 WHERE trained_on = 0 AND score = 0.5")
        with Store(old, read_only=True) as store, pytest.warns(StoreWarning, match="1 cells"):
            assert len(store.results().runs) == 20
        assert os.listdir(tmp_path) == ["a.db"]


def test_what_version_5_did_not_count_is_not_known(path):
    with opened(path) as connection:
        make_older(connection, 5)
    with Store(path) as store:
        store.write(facts("new", seed=20))
        found = store.results().experiences
    assert set(found.loc[found["samples_seen"].notna() & found["flops"].notna(), "cell"]) == {"new"}
    assert found["energy_joules"].isna().all() and set(found["pickled_memory"]) == {"{}"}


class TestOlderVersion:
    def test_the_checksum_is_that_of_version_2(self, tmp_path):
        with Store(tmp_path / "a.db") as store:
            store.write(facts("c0", score=0.5))
        with opened(tmp_path / "a.db") as connection:
            make_older(connection, 2)
            written = connection.exec_driver_sql("SELECT checksum FROM runs").scalar()
        assert written == "1676fda592bbb6372352917f7ed46fee78eceb5dba614cbec4b4e2aed8a56caa"  # by that version

    def test_the_checksum_is_that_of_version_3(self, tmp_path):
        with Store(tmp_path / "a.db") as store:
            store.write(facts("c0", score=0.5))
        with opened(tmp_path / "a.db") as connection:
            make_older(connection, 3)
            written = connection.exec_driver_sql("SELECT checksum FROM runs").scalar()
        assert written == "11b4d0606487d5e710c0bf5bca7779335fadca3822b62b2c82d06b1b5b34e3ef"  # by that version

    def test_damage_to_version_2_is_noticed(self, version_2):
        change(version_2, "UPDATE scores SET score = 0.99 WHERE trained_on = 0 AND score = 0.5")
        with Store(version_2, read_only=True) as store, pytest.warns(StoreWarning, match="1 cells"):
            assert len(store.results().runs) == 19
        with pytest.warns(StoreWarning, match="1 cells"):
            store = Store(version_2)
        with store, warnings.catch_warnings(action="error"):
            assert len(store.finished(NAMES)) == 19

    def test_what_cannot_be_right_is_left_out(self, old):
        change(
            old,
            "UPDATE runs SET params = '{' WHERE seed = 0",
            "UPDATE runs SET seconds = 'x' WHERE seed = 1",
            "UPDATE scores SET score = 'x' WHERE cell = (SELECT cell FROM runs WHERE seed = 2)",
            "UPDATE runs SET n_experiences = 1000000000000 WHERE seed = 3",
            "UPDATE scores SET trained_on = 1 WHERE trained_on = 0 AND score = 4 / 20.0",
            "UPDATE scores SET tested_on = -2 WHERE trained_on = 0 AND score = 5 / 20.0",
            "UPDATE experiences SET experience = 1 WHERE cell = (SELECT cell FROM runs WHERE seed = 6)",
        )
        with Store(old, read_only=True) as store, pytest.warns(StoreWarning, match="7 cells"):
            assert len(store.results().runs) == 13
        with pytest.warns(StoreWarning, match="7 cells"):
            store = Store(old)
        with store, warnings.catch_warnings(action="error"):
            assert len(store.finished(NAMES)) == 13

    @pytest.mark.parametrize("read_only", [False, True])
    def test_with_a_log_that_is_half_written(self, old, tmp_path, read_only):
        with sqlite3.connect(old) as writer:
            writer.execute("UPDATE runs SET machine = 'other'")
            writer.commit()
            good, log = old.read_bytes(), (tmp_path / "a.db-wal").read_bytes()
        writer.close()
        half = [log[: len(log) // 2], log[:20], b"", b"x" * 5000, bytes(32) + log[32:]]
        for left, machine in [*((each, "made up") for each in half), (log, "other")]:
            (tmp_path / "copy.db").write_bytes(good)
            (tmp_path / "copy.db-wal").write_bytes(left)
            (tmp_path / "copy.db-shm").unlink(missing_ok=True)
            with Store(tmp_path / "copy.db", read_only=read_only) as store:
                assert store.results().runs["machine"].tolist() == [machine] * 20


@pytest.mark.parametrize("read_only", [False, True])
class TestOddStores:
    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("DROP TABLE cells", "no table 'cells'"),
            ("CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM cells; END", "a trigger"),
            ("ALTER TABLE cells ADD COLUMN " + "x" * 200 + " TEXT", r"'x{70,90}\.\.\.\)"),
            ("ALTER TABLE cells DROP COLUMN machine", "'machine'"),
            ("ALTER TABLE cells DROP COLUMN checksum", "'checksum'"),
            ("ALTER TABLE cells RENAME COLUMN scores TO marks", "'marks'"),
            ("ALTER TABLE cells ADD COLUMN more TEXT", "'more'"),
            ("DELETE FROM forgetless", "tables of version none"),
            ("UPDATE forgetless SET schema_version = 7", "tables of version 7"),
            ("UPDATE forgetless SET schema_version = 1", "no table 'runs'"),
            ("UPDATE forgetless SET schema_version = 'new'", "tables of version 'new'"),
            ("UPDATE forgetless SET schema_version = x'00'", "tables of version b"),
            ("INSERT INTO forgetless VALUES (8)", "tables of version 6, 8"),
            ("ALTER TABLE forgetless RENAME COLUMN schema_version TO v", "cannot be used: no such column"),
        ],
    )
    def test_tables(self, path, statement, words, read_only):
        change(path, statement)
        before = path.read_bytes()
        refused(path, words, read_only=read_only)
        assert path.read_bytes() == before

    def test_a_view_instead_of_a_table(self, path, read_only):
        """Which would never come to an end."""
        endless = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x AS"
        change(
            path,
            "DROP TABLE cells",
            f"CREATE VIEW cells AS {endless} cell FROM c",
        )
        refused(path, "no table 'cells'", read_only=read_only)
        change(path, *(f"DROP TABLE {name}" for name in ("claims", "forgetless")))
        change(path, f"CREATE VIEW forgetless AS {endless} schema_version FROM c")
        refused(path, "another program .*'forgetless'|another program .*'cells'", read_only=read_only)

    def test_a_journal_that_is_no_journal(self, path, read_only):
        for content in (b"", b"x" * 5000, os.urandom(512), bytes.fromhex("d9d505f920a163d7") + b"\xff" * 504):
            path.with_name("a.db-journal").write_bytes(content)
            with Store(path, read_only=read_only) as store:
                assert len(store.results().runs) == 20

    def test_truncated(self, path, read_only):
        good = path.read_bytes()
        for length in (16, 20, 99, 100, 1000, 4096, 8192, len(good) - 4096):
            path.write_bytes(good[:length])
            refused(path, "no database|cannot be used", read_only=read_only)

    def test_no_database(self, tmp_path, read_only):
        for number, content in enumerate([b"x", b"SQLite format", b"SQLite format 3\0", b"\0" * 4096, b"{}" * 999]):
            (tmp_path / str(number)).write_bytes(content)
            refused(tmp_path / str(number), "no database|cannot be used|no store", read_only=read_only)

    def test_no_files(self, tmp_path, read_only):
        os.mkfifo(tmp_path / "fifo")
        refused(tmp_path / "fifo", "neither a file nor a folder", read_only=read_only)
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(tmp_path)  # such names must be short
            listener.bind("socket")
            refused(tmp_path / "socket", "neither a file nor a folder", read_only=read_only)
        for device in ("/dev/null", "/dev/zero"):
            refused(device, "neither a file nor a folder", read_only=read_only)
        refused(tmp_path, "is a folder", read_only=read_only)
        refused("", "is a folder", read_only=read_only)
        refused(f"sqlite:///{tmp_path}/fifo", "neither a file nor a folder", read_only=read_only)

    def test_names_that_no_file_can_have(self, tmp_path, read_only):
        for name in ("a\0b", "x" * 5000, "a/" * 3000 + "b", "fifo/x"):
            refused(tmp_path / name, "no folder|no store|cannot be read|cannot be written", read_only=read_only)
        (tmp_path / "file").write_text("")
        refused(tmp_path / "file" / "a.db", "cannot be|no store", read_only=read_only)

    def test_links(self, path, tmp_path, read_only):
        (tmp_path / "loop").symlink_to("loop")
        refused(tmp_path / "loop", "cannot be|no store", read_only=read_only)
        (tmp_path / "link.db").symlink_to("a.db")
        with Store(tmp_path / "link.db", read_only=read_only) as store:
            assert len(store.results().runs) == 20


def open_as_nobody(path, answers):
    if os.geteuid() == 0:  # root may write everywhere
        os.setgid(65534)
        os.setuid(65534)
    for read_only in (True, False):
        try:
            with Store(path, read_only=read_only) as store:
                answers.put(str(len(store.results().runs)))
        except StoreError as error:
            answers.put(str(error).lower())


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_files_that_may_not_be_written(path, mode):
    # In a folder of its own: pytest's are closed to others.
    folder = Path(tempfile.mkdtemp())
    path = Path(shutil.copy(path, folder))
    path.chmod(mode)
    folder.chmod(0o555)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=open_as_nobody, args=(path, answers))
    process.start()
    process.join(60)
    shutil.rmtree(folder)
    reading, writing = answers.get(), answers.get()
    assert reading == "20" if mode else "permission denied" in reading
    assert "permission denied" in writing


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cr3t@127.0.0.1:1/name",
        "postgresql://user:s3cr3t@127.0.0.1:1",
        "postgresql+pg8000://user:s3cr3t@127.0.0.1:1/name",
        "postgresql://127.0.0.1:1/name?user=user&password=s3cr3t",
        "postgresql://127.0.0.1:1/name?sslpassword=s3cr3t&password=s3cr3t",
        "postgresql://127.0.0.1:1/name?password=s3cr3t&password=s3cr3t2",
        "postgresql://127.0.0.1:1/name?passfile=/s3cr3t&no_such_option=s3cr3t",
        "postgresql://user:s3cr3t@127.0.0.1:port/name",
        "postgresql://user:s3cr3t/@127.0.0.1:1/name",
        "postgresql://user:a/s3cr3t@127.0.0.1:1/name",
        "postgresql://user:a:s3cr3t@127.0.0.1:1:2/name",
        "mysql://user:s3cr3t@host/name",
        "oracle://user:s3cr3t@host/name",
        "sqlite://user:s3cr3t@host/name",
        "sqlite:///a.db?password=s3cr3t",
        "nosuch://user:s3cr3t@host/name",
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_no_password_in_a_message(url, read_only, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as caught:
        Store(url, read_only=read_only)
    assert "s3cr3t" not in "".join(map(str, (caught.value, caught.value.__cause__, caught.value.args)))
    assert "\n" not in str(caught.value)


def test_what_a_driver_says_is_searched_for_secrets(tmp_path):
    store = Store(tmp_path / "a.db")
    store.secrets = ["s3cr3t/@"]
    reason = store.reason(sa.exc.ArgumentError("user:s3cr3t/@ and s3cr3t%2F%40 are wrong\nsecond line"))
    assert reason == "user:*** and *** are wrong"
    store.close()


# --- very many cells ---------------------------------------------------------------------------------------------


@pytest.fixture
def low_limit():
    """Of 999 values in a statement; SQLite's own of 250,000 takes seconds to reach."""

    def connected(connection, record):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    sa.event.listen(sa.Engine, "connect", connected)
    yield
    sa.event.remove(sa.Engine, "connect", connected)


@pytest.mark.usefixtures("low_limit")
def test_more_cells_than_a_statement_can_name(path):
    many = {f"cell{number}": ("a", "b") for number in range(3_000)}
    with Store(path) as store:
        assert store.finished(many | NAMES) == NAMES.keys()
        wanted = [*many, *reversed(NAMES)]
        assert store.results([*wanted, *wanted]).runs["cell"].tolist() == list(reversed(NAMES))


# --- several processes -------------------------------------------------------------------------------------------


def together(work, *arguments, n=4):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(n)
    workers = [context.Process(target=work, args=(*arguments, start, number)) for number in range(n)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    return [worker.exitcode for worker in workers]


def open_and_read(path, start, number):
    start.wait()
    with Store(path) as store:
        assert store.finished(NAMES) == NAMES.keys()


def open_empty(path, start, number):
    start.wait()
    with Store(path) as store:
        store.write(facts(f"own{number}", seed=number))
        store.write(facts("shared", seed=100, status="failed"))
        store.write(facts("shared", seed=100))


ATTEMPTS = pytest.mark.parametrize("n_attempts", [2, pytest.param(20, marks=pytest.mark.slow)])


@ATTEMPTS
def test_four_processes_open_a_new_store_at_once(tmp_path, n_attempts):
    for attempt in range(n_attempts):
        path = tmp_path / f"{attempt}.db"
        if attempt % 2:
            path.touch()
        assert together(open_empty, path) == [0] * 4
        with Store(path, read_only=True) as store:
            results = store.results()
        assert sorted(results.runs["seed"]) == [0, 1, 2, 3, 100]
        assert (results.scores.groupby("cell").size() == 2).all()


def write_and_read(path, start, number):
    start.wait()
    for seed in range(5):
        with Store(path) as store:
            store.write(facts(f"{number}-{seed}", seed=10 * number + seed))
        with Store(path, read_only=True) as store:
            assert f"{number}-{seed}" in set(store.results().runs["cell"])


@ATTEMPTS
def test_two_writers_who_also_read(tmp_path, n_attempts):
    for attempt in range(n_attempts):
        assert together(write_and_read, tmp_path / f"{attempt}.db", n=2) == [0, 0]


def write_for_ever(path, start, number):
    start.wait()
    with Store(path) as store:
        for seed in range(10**6):
            store.write(facts(f"cell{seed}", seed=seed))


def test_a_killed_writer_leaves_whole_cells(tmp_path):
    path = tmp_path / "a.db"
    Store(path).close()
    context = multiprocessing.get_context("fork")
    start = context.Barrier(1)
    for _ in range(3):
        writer = context.Process(target=write_for_ever, args=(path, start, 0))
        writer.start()
        time.sleep(0.2)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        for read_only in (True, False):
            with warnings.catch_warnings(action="error"), Store(path, read_only=read_only) as store:
                results = store.results()
            assert (results.scores.groupby("cell").size() == 2).all()
            assert len(results.runs) == results.scores["cell"].nunique() == len(results.experiences)


# --- texts that no database keeps --------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["a\0b", "\udc80", "😀", "'; DROP TABLE runs; --", "\x1b[31m", "", " " * 10])
def test_odd_texts(tmp_path, odd):
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a", strategy=odd, error=odd, machine=odd))
        store.write(facts("b", strategy=odd, error=odd, status="failed", params=json.dumps({odd: odd}), seed=1))
        with warnings.catch_warnings(action="error"):
            assert store.finished({"a": (odd, odd), "b": (odd, odd)}) == {"a"}
            assert len(store.results(["a", "b"]).runs) == 2
            assert store.results(["a"]).runs["strategy"][0] == odd.replace("\0", "\\x00").replace("\udc80", "\\udc80")


@pytest.mark.parametrize("score", [0.1 + 0.2, -0.0, 5e-324, 1.7e308, math.inf, 1, 0])
def test_odd_scores(tmp_path, score):
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a", score=score))
    with warnings.catch_warnings(action="error"), Store(tmp_path / "a.db") as store:
        assert store.results().scores["score"].tolist()[1] == score
