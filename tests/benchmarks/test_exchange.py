"""Results as a file to publish: nothing is lost, nothing in it is believed, and its card explains every column."""

import json

import pytest
from helpers.store import assert_same, facts

from forgetless.benchmarks import Store, StoreWarning, export_store, import_file
from forgetless.benchmarks.exchange import MEANINGS
from forgetless.benchmarks.results import EVALUATION_COLUMNS, EXPERIENCE_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS

pa = pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def store():
    with Store(":memory:") as opened:
        for seed in range(3):
            opened.write(facts(f"c{seed}", seed=seed, score=0.1 * seed))
        opened.write(facts("broken", status="failed", seed=3))
        yield opened


def test_what_was_exported_is_imported_again_to_the_last_bit(store, tmp_path):
    path = tmp_path / "runs.parquet"
    assert export_store(store, path) == tmp_path / "runs.md"
    with Store(":memory:") as other:
        assert import_file(path, other) == 4
        assert_same(store.results(), other.results())
        assert list(store.cells()) == list(other.cells())
        assert import_file(path, other) == 1  # the failed one may have a better end elsewhere
    before = path.read_bytes(), (tmp_path / "runs.md").read_bytes()
    export_store(store, path)
    assert before == (path.read_bytes(), (tmp_path / "runs.md").read_bytes())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["runs.md", "runs.parquet"]


def test_other_programs_can_read_it(store, tmp_path):
    export_store(store, tmp_path / "runs.parquet")
    frame = pq.read_table(tmp_path / "runs.parquet").to_pandas()
    assert frame["strategy"].tolist() == ["Naive"] * 4 and frame["needs_task_id"].dtype == bool
    scores = frame.loc[frame["cell"] == "c1", "scores"].iloc[0]
    assert [row["score"] for row in scores if row["trained_on"] == 0] == [0.1]


def test_the_card_explains_every_column_and_stays_text(store, tmp_path):
    store.write(facts("x", strategy="<b>a|b</b>\u202e", machine="[x](http://y)"))
    card = export_store(store, tmp_path / "runs.parquet").read_text("utf-8")
    columns = {**RUN_COLUMNS, **EXPERIENCE_COLUMNS, **SCORE_COLUMNS, **EVALUATION_COLUMNS}
    assert set(MEANINGS) == set(columns)
    assert all(f"| {name} | {MEANINGS[name]} |" in card for name in columns)
    assert "5, of which 1 failed" in card and "made up" in card
    assert "<b>" not in card and "\u202e" not in card and "](http:" not in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.replace(r"\|", "").count("|") == 3 for line in tables)


def changed(path, change):
    """Another file of the same kind, with other values in a row."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows[1])  # the first is the failed one
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(seed=None),
        lambda row: row.update(scores=None),
        lambda row: row["scores"].append(dict(row["scores"][0])),
    ],
)
def test_what_cannot_be_stored_is_refused_with_all_the_file(store, tmp_path, change):
    path = tmp_path / "runs.parquet"
    export_store(store, path)
    changed(path, change)
    with Store(":memory:") as other:
        with pytest.raises(ValueError, match="that no benchmark can have left"):
            import_file(path, other)
        assert not list(other.cells())


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(status="well"),
        lambda row: row.update(params="no JSON"),
        lambda row: row["scores"].append(row["scores"][0] | {"tested_on": 99}),
        lambda row: row["experiences"].clear(),
    ],
)
def test_runs_that_no_benchmark_can_have_left_are_left_out_with_a_warning(store, tmp_path, change):
    path = tmp_path / "runs.parquet"
    export_store(store, path)
    changed(path, change)
    with Store(":memory:") as other:
        with pytest.warns(StoreWarning, match="1 cells"):
            assert import_file(path, other) == 3
        assert len(list(other.cells())) == 3


def test_other_files_get_a_sentence(store, tmp_path):
    text, foreign = tmp_path / "a.parquet", tmp_path / "b.parquet"
    text.write_text("no Parquet")
    pq.write_table(pa.table({"x": [1]}), foreign)
    for path, said in ((text, "cannot be read"), (foreign, "no file of results"), (tmp_path / "none", "no file")):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            import_file(path, store)
    lacking = pq.read_table(export_store(store, tmp_path / "runs.parquet").with_suffix(".parquet"))
    pq.write_table(lacking.drop_columns(["scores"]), foreign)
    with pytest.raises(ValueError, match="cannot be read as exported results"):
        import_file(foreign, store)
    with pytest.raises(ValueError, match="its own card"):
        export_store(store, tmp_path / "runs.md")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        export_store(store, tmp_path / "nowhere" / "runs.parquet")
    with Store(":memory:") as empty, pytest.raises(ValueError, match="no cells"):
        export_store(empty, tmp_path / "runs.parquet")


def test_neither_the_store_nor_what_is_no_card_is_replaced(store, tmp_path):
    for name in ("runs.parquet", "runs.md"):
        with Store(tmp_path / name) as kept:
            kept.merge(store)
            with pytest.raises(ValueError, match=f"{name} would overwrite the store"):
                export_store(kept, tmp_path / "runs.parquet")
        (tmp_path / name).unlink()
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"would overwrite .*README\.md, which is none"):
        export_store(store, tmp_path / "README.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_infinite_and_missing_numbers_survive(tmp_path):
    with Store(":memory:") as one, Store(":memory:") as other:
        one.write(facts("x", score=float("nan"), n_parameters=1e300, params=json.dumps({"a": "é\n\\x00"})))
        export_store(one, tmp_path / "runs.parquet")
        import_file(tmp_path / "runs.parquet", other)
        assert_same(one.results(), other.results())
