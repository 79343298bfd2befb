"""The store: all or nothing, equal to what was measured, and polite to files that are not its own."""

import contextlib
import json
import math
import multiprocessing
import os
import sqlite3
import threading

import pandas as pd
import pytest
import sqlalchemy as sa
from helpers.store import assert_same, facts
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks import Store, StoreError, StoreWarning, run_benchmark
from forgetless.datasets import load_iris, split_stream


def test_read_back_equals_memory(tmp_path):
    stream = split_stream(load_iris(), n_experiences=3, random_state=0)
    measured = run_benchmark(
        {"Bayes": GaussianNB()}, [stream], seeds=2, n_jobs=1, store=tmp_path / "a.db", progress=False
    )
    with Store(tmp_path / "a.db", read_only=True) as store:
        assert_same(store.results(measured.runs["cell"]), measured)
    assert measured.scores["score"].isna().any()


def test_values_survive_bit_for_bit(tmp_path):
    with Store(tmp_path / "a.db") as store, Store(":memory:") as memory:
        for each in (store, memory):
            each.write(facts())
        assert_same(store.results(), memory.results())
        results = store.results()
    assert results.scores["score"].iloc[1].hex() == (1 / 3).hex()
    assert math.isnan(results.scores["score"].iloc[0])
    assert math.isnan(results.runs["n_parameters"].iloc[0])
    assert results.runs["error"].iloc[0] is None
    assert results.runs["needs_task_id"].dtype == bool
    assert results.experiences["model_bytes"].iloc[0] == 2**40


def test_empty_store_has_tables_with_columns(tmp_path):
    with Store(tmp_path / "a.db") as store:
        results = store.results()
    assert results.runs.empty
    assert list(results.scores)[4:] == ["trained_on", "tested_on", "n_tested", "metric", "score"]
    assert list(results.evaluations)[4:] == ["experience", "n_rows", "tested_on", "n_tested", "metric", "score"]


def test_a_failed_cell_is_replaced_and_a_finished_one_stays(tmp_path):
    with Store(tmp_path / "a.db") as store:
        store.write(facts(status="failed"))
        assert store.finished({"c0": ("Naive", "toy")}) == set()
        store.write(facts(score=0.5))
        assert store.finished({"c0": ("Naive", "toy")}) == {"c0"}
        store.write(facts(score=0.75))
        store.write(facts(status="failed"))
        results = store.results()
    assert results.runs["status"].tolist() == ["ok"]
    assert results.scores["score"].iloc[1] == 0.5


def test_a_cell_is_written_whole_or_not_at_all(tmp_path):
    broken = facts()
    broken.scores.append(broken.scores[-1])  # twice the same key
    with Store(tmp_path / "a.db") as store:
        with pytest.raises(StoreError):
            store.write(broken)
        results = store.results()
    assert results.runs.empty
    assert results.experiences.empty


def test_a_renamed_strategy_takes_its_cells_along(tmp_path):
    with Store(tmp_path / "a.db") as store:
        store.write(facts())
        assert store.finished({"c0": ("Plain", "toy 2"), "other": ("x", "y")}) == {"c0"}
        results = store.results()
    assert results.runs["strategy"].tolist() == ["Plain"]
    assert results.scores["stream"].unique().tolist() == ["toy 2"]


def test_wanted_cells_come_in_the_order_asked_for(tmp_path):
    with Store(tmp_path / "a.db") as store:
        for seed, cell in enumerate("abc"):
            store.write(facts(cell, seed=seed))
        results = store.results(["c", "a", "missing"])
    assert results.runs["cell"].tolist() == ["c", "a"]
    assert results.scores["cell"].tolist() == ["c", "c", "a", "a"]


def test_one_name_for_several_definitions_is_told_apart(tmp_path):
    other = json.dumps({"class": "x.Naive", "params": {"strength": 2.0}})
    longer = json.dumps({"builder": "toy", "class_order": [0, 1], "n_experiences": 2})
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a"))
        store.write(facts("b", params=other))
        store.write(facts("c", params=other, seed=1))
        store.write(facts("d", strategy="EWC"))
        store.write(facts("e", strategy="EWC", device="cuda"))
        store.write(facts("f", strategy="SLDA"))
        store.write(facts("h", strategy="SGD"))
        store.write(facts("i", strategy="SGD", params=json.dumps({"class": "x.Pipeline", "params": {"a": 1}})))
        store.write(facts("g", strategy="SLDA", stream="long", stream_definition=longer))
        for cell, evaluate in (("j", "all"), ("k", "prequential")):
            protocol = json.dumps({"evaluate": evaluate, "eval_every": None, "scoring": ["accuracy"]})
            store.write(facts(cell, strategy="SLDA", stream="flights", protocol=protocol))
        results = store.results()
        [alone] = store.results(["b"]).runs["strategy"]
    names = dict(zip(results.runs["cell"], results.runs["strategy"], strict=True))
    assert names == {
        "a": "Naive (strength=1.0)",
        "b": "Naive (strength=2.0)",
        "c": "Naive (strength=2.0)",
        "d": "EWC (device=cpu)",
        "e": "EWC (device=cuda)",
        "f": "SLDA",
        "g": "SLDA",
        "h": "SGD (class=Naive)",
        "i": "SGD (class=Pipeline)",
        "j": "SLDA",
        "k": "SLDA",
    }
    streams = {"toy", "long", "flights (evaluate=all)", "flights (evaluate=prequential)"}
    assert set(results.runs["stream"]) == streams
    assert alone == "Naive"


def naive(hidden_units, **params):
    net = {"class": "x.Net", "params": {"module__hidden_units": hidden_units}}
    return {"class": "x.Naive", "params": {"net": net, **params}}


def in_pipeline(learner):
    return {"class": "x.Pipeline", "params": {"steps": [["scaler", {"class": "x.Scaler"}], ["naive", learner]]}}


LATER = "2001-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (naive([5]), naive([9]), ("net.module__hidden_units=[5]", "net.module__hidden_units=[9]")),
        (naive([1], a=[10**11, 5]), naive([1], a=[10**11, 9]), ("a=[100000000000, 5]", "a=[100000000000, 9]")),
        (naive([1], a="x" * 50), naive([1], a="x" * 51), ("a=xxxxxxxxxxxx#ea4085", "a=xxxxxxxxxxxx#9e8b26")),
        (
            in_pipeline(naive([5])),
            in_pipeline(naive([9])),
            ("naive.net.module__hidden_units=[5]", "naive.net.module__hidden_units=[9]"),
        ),
        (naive([5]), naive([5], patience=3), ("", "patience=3")),
        (naive([5]), naive([5]) | {"class": "y.Naive"}, ("class=x.Naive", "class=y.Naive")),
        (naive([5]), in_pipeline(naive([5])), ("class=Naive", "class=Pipeline")),
    ],
)
def test_parameters_that_differ_in_whatever_are_two_strategies(one, other, shown):
    with Store(":memory:") as store:
        store.write(facts("a", params=json.dumps(one)))
        store.write(facts("b", params=json.dumps(one), seed=1))
        store.write(facts("c", params=json.dumps(other), started=LATER))
        runs = store.results().runs
    before, after = (f"Naive ({what})" if what else "Naive" for what in shown)
    assert dict(zip(runs["cell"], runs["strategy"], strict=True)) == {"a": before, "b": before, "c": after}


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ([{"order": [0, 1]}, {"order": [1, 0]}], [{"order": [1, 0]}], ["[0, 1]", "[1, 0]", "[1, 0]"]),
        ([{"order": [0, 1]}] * 2, [{"order": [1, 0]}] * 2, ["[0, 1]", "[0, 1]", "[1, 0]", "[1, 0]"]),
        ([{"random_state": 0}, {"random_state": 1}], [{"random_state": 5}] * 2, ["0", "1", "5", "5"]),
    ],
)
def test_a_seed_that_has_two_lists_or_random_states_tells_streams_apart(one, other, shown):
    with Store(":memory:") as store:
        for name, definitions in (("a", one), ("b", other)):
            for seed, definition in enumerate(definitions):
                store.write(facts(f"{name}{seed}", seed=seed, stream_definition=json.dumps({"n": 1, **definition})))
        runs = store.results().runs.sort_values("cell")
    assert [stream.partition("=")[2].rstrip(")") for stream in runs["stream"]] == shown


def test_of_what_cannot_be_told_apart_the_newest_counts_and_no_seeds_are_mixed():
    with Store(":memory:") as store:
        for seed in range(3):
            store.write(facts(f"old {seed}", seed=seed))
        store.write(facts("other", strategy="EWC"))
        store.write(facts("new", started=LATER))
        with pytest.warns(StoreWarning, match="3 cells .* are left out.*: Naive on toy.$"):
            assert set(store.results().runs["cell"]) == {"new", "other"}
        assert len(list(store.cells())) == 5


# --- files that are no store -------------------------------------------------------------------------------------


def refused(path, words, **options):
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=words) as caught:
        Store(path, **options)
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


@pytest.mark.parametrize("read_only", [False, True])
class TestRefusal:
    def test_text(self, tmp_path, read_only):
        (tmp_path / "notes.txt").write_text("not a database, but longer than its header")
        refused(tmp_path / "notes.txt", "is no database", read_only=read_only)

    def test_damaged(self, tmp_path, read_only):
        (tmp_path / "a.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
        refused(tmp_path / "a.db", "cannot be used", read_only=read_only)

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    def test_database_of_another_program(self, tmp_path, read_only, mode):
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.execute("CREATE TABLE runs (cell TEXT)")
        connection.close()
        refused(tmp_path / "a.db", "another program .*'runs'", read_only=read_only)

    def test_newer_version(self, tmp_path, read_only):
        Store(tmp_path / "a.db").close()
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute("UPDATE forgetless SET schema_version = 99")
        connection.close()
        refused(tmp_path / "a.db", "tables of version 99", read_only=read_only)

    def test_folder(self, tmp_path, read_only):
        refused(tmp_path, "is a folder", read_only=read_only)


def test_read_only_makes_no_file(tmp_path):
    refused(tmp_path / "a.db", "There is no store", read_only=True)
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty.db").touch()
    refused(tmp_path / "empty.db", "is empty", read_only=True)


def test_places_that_cannot_be_written(tmp_path):
    refused(tmp_path / "no" / "folder" / "a.db", "there is no folder")
    if os.geteuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        refused(tmp_path / "a.db", "permission denied")


def test_reading_leaves_nothing_behind_and_sees_what_others_write(tmp_path):
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a"))
    with Store(tmp_path / "a.db", read_only=True) as reader:
        assert len(reader.results().runs) == 1
    assert os.listdir(tmp_path) == ["a.db"]
    with Store(tmp_path / "a.db") as store:
        store.write(facts("b", seed=1))
        with Store(tmp_path / "a.db", read_only=True) as reader:
            assert len(reader.results().runs) == 2
    assert os.listdir(tmp_path) == ["a.db"]


def test_a_link_to_a_store_is_the_store_with_all_its_files(tmp_path):
    (tmp_path / "links").mkdir()
    os.symlink(tmp_path / "a.db", tmp_path / "links" / "b.db")
    with Store(tmp_path / "a.db") as store:
        store.write(facts())
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as writer:
        writer.execute("PRAGMA journal_mode=wal")
        writer.execute("DELETE FROM cells")
        writer.commit()  # to the log, which is beside the file
        with Store(tmp_path / "links" / "b.db", read_only=True) as store:
            assert store.file == tmp_path / "links" / "b.db"
            assert store.results().runs.empty


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff ?%.db")
    with Store(path) as store:
        store.write(facts())
    with Store(path, read_only=True) as store:
        assert len(store.results().runs) == 1


@pytest.mark.parametrize(
    "url", ["nosuch://user:secret@host/name", "postgresql+nosuchdriver://user:secret@host/name", "://"]
)
def test_urls_that_lead_nowhere_and_passwords(url):
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_url_of_a_file(tmp_path):
    with Store(f"sqlite:///{tmp_path}/a.db") as store:
        store.write(facts())
    with Store(tmp_path / "a.db") as store:
        assert len(store.results().runs) == 1
    (tmp_path / "text").write_text("no database")
    with pytest.raises(StoreError, match="is no database"):
        Store(f"sqlite:///{tmp_path}/text")


# --- several processes -------------------------------------------------------------------------------------------


def write_many(path, prefix):
    with Store(path) as store:
        for number in range(8):
            store.write(facts(f"{prefix}{number}", seed=number, strategy=prefix))
            store.write(facts(f"shared{number}", seed=number, strategy="shared"))


def test_several_processes_write_at_once(tmp_path):
    # They also meet in making the file.
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path / "a.db", prefix)) for prefix in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    with Store(tmp_path / "a.db", read_only=True) as store:
        results = store.results()
    assert len(results.runs) == 40
    assert (results.scores.groupby("cell").size() == 2).all()
    assert isinstance(results.runs, pd.DataFrame)


def test_release_frees_the_lock_of_a_transaction_that_nobody_can_end(tmp_path):
    path, inside, go_on = tmp_path / "results.db", threading.Event(), threading.Event()
    errors = []

    def stop(connection, *_):
        if threading.current_thread() is writer:
            inside.set()
            go_on.wait(60)

    def write():
        try:
            store.write(facts("c1"))
        except StoreError as error:
            errors.append(error)

    with Store(path) as store:
        store.write(facts("c0"))
        writer = threading.Thread(target=write)
        sa.event.listen(sa.Engine, "commit", stop)  # all is written, and held
        try:
            writer.start()
            assert inside.wait(60)
            with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
                store.release()
                other.execute("BEGIN IMMEDIATE")
        finally:
            go_on.set()
            writer.join()
            sa.event.remove(sa.Engine, "commit", stop)
        assert len(errors) == 1
        store.write(facts("c2"))
        assert [each.run["cell"] for each in store.cells()] == ["c0", "c2"]


def test_what_is_in_memory_survives_an_interrupt():
    with Store(":memory:") as store:
        store.write(facts("c0"))
        store.release()
        store.write(facts("c1"))
        assert {each.run["cell"] for each in store.cells()} == {"c0", "c1"}


def test_an_interrupt_within_the_pool_is_only_raised(tmp_path, monkeypatch, caplog):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Store(tmp_path / "a.db") as store:
        monkeypatch.setattr(sa.engine.default.DefaultDialect, "do_rollback", interrupt)
        monkeypatch.setattr(sa.engine.default.DefaultDialect, "do_commit", lambda *_: None)
        with caplog.at_level("DEBUG"), pytest.raises(KeyboardInterrupt):
            store.seconds()
        monkeypatch.undo()
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        store.write(facts())
        assert len(list(store.cells())) == 1
