"""From a stranger's table to an answer."""

import dataclasses
import gzip
import io
import lzma
import sys

import numpy as np
import pandas as pd
import pytest

from forgetless.benchmarks import compare
from forgetless.benchmarks.command import main
from forgetless.benchmarks.comparison import candidates
from forgetless.benchmarks.comparison.answer import code
from forgetless.benchmarks.comparison.candidates import PLAIN, listed, make_candidates
from forgetless.benchmarks.comparison.compare import assumptions
from forgetless.benchmarks.comparison.course import make_course
from forgetless.benchmarks.comparison.table import look_at, read_table
from forgetless.estimators import find_columns
from forgetless.reports import Constraints

SITES = 3


def sites(n=90):
    """Sites whose labels follow different features: what is learned at one is no use at the next."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 6))
    site = np.arange(n) % SITES
    label = np.where(X[np.arange(n), site] > 0, "up", "down")
    return pd.DataFrame(X, columns=[f"x{k}" for k in range(6)]).assign(site=[f"s{k}" for k in site], label=label)


@pytest.fixture(scope="module")
def found():
    return compare(sites(), "label", by="site", n_jobs=1, progress=False)


def test_the_answer_is_never_a_dominated_strategy_and_its_code_runs(found):
    advice = found.recommendation
    rows = advice.strategies.set_index("strategy")
    assert advice.verdict in ("better", "no difference")
    assert rows.loc[advice.strategy, "dominated_by"] == ""
    assert PLAIN in rows.index and len(rows) <= 4
    assert all(name in found.answer[-1] for name in candidates.CLASSIFIERS)
    X, y = sites().drop(columns="label"), sites()["label"]
    for answer in candidates.CLASSIFIERS:
        assert set(predictions(found, answer, X, y)) <= {"up", "down"}
    with_bools = look_at("t", sites().assign(label=y == "up"), "label")
    assert set(predictions(dataclasses.replace(found, table=with_bools), "Naive Bayes", X, y == "up")) <= {True, False}


def predictions(found, answer, X, y):
    """Of the lines of Python, were this the answer."""
    advice = dataclasses.replace(found.recommendation, strategy=answer)
    names = {"X": X, "y": y}
    exec(code(dataclasses.replace(found, recommendation=advice)), names)
    return names["model"].predict(X)


def test_all_candidates_run_and_nothing_is_judged_on_what_chose(found):
    assert (found.first_round.runs["status"] == "ok").all(), found.first_round.runs["error"].dropna().unique()
    assert set(found.first_round.runs["seed"]).isdisjoint(found.results.runs["seed"])
    choosing, judging = found.course.choosing(0), [found.course.judging(seed) for seed in range(100, 106)]
    chosen = rows(choosing, "X_test")
    judged = [rows(stream, "X_test") for stream in judging]
    learned = rows(judging[0], "X_train")
    assert len(chosen) == 9 and [len(each) for each in judged] == [3] * 6
    assert len(learned.union(chosen, *judged)) == 90  # no row twice
    assert len(learned) == 90 - 9 - 18


def rows(stream, part):
    return {tuple(row) for experience in stream for row in getattr(experience, part).to_numpy()}


def test_in_order_only_later_chunks_judge():
    table = look_at("t", sites(100).drop(columns="site"), "label")
    course = make_course(table, find_columns(table.X))
    rows = [len(course.choosing(0)[k].X_train) for k in range(len(course.choosing(0)))]
    assert (sum(rows), len(course.judging(0)), course.first_judged) == (40, 10, 4)
    first = np.vstack([course.judging(0)[k].X_train.to_numpy() for k in range(4)])
    assert np.array_equal(first, np.vstack([course.choosing(0)[k].X_train.to_numpy() for k in range(4)]))


def test_numbers_with_limits_and_a_report(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "when": pd.date_range("2024-01-01", periods=60)[::-1]})
    frame["y"] = 1000 + 50 * frame["x"]
    limits = Constraints(no_raw_data=True, max_bytes=1e5)
    found = compare(frame, "y", chunks=5, constraints=limits, n_jobs=1, progress=False)
    assert (found.table.kind, found.recommendation.plain) == ("regression", PLAIN)
    assert "The column 'when' is taken for the time." in found.assumptions
    keeps = found.recommendation.strategies.set_index("strategy").loc[found.recommendation.strategy]
    assert keeps["keeps"] != "samples" and keeps["bytes"] <= 1e5
    for answer in candidates.REGRESSORS:
        assert predictions(found, answer, frame.drop(columns="y"), frame["y"]).shape == (60,)
    found.write_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert found.answer[0].split(".")[0] in page and "TableEncoder" in page
    assert "\nmodel.partial_fit(X, y)" in page  # the lines of the code are lines
    judged = found.results.scores["tested_on"]
    assert judged.min() == found.course.first_judged


@pytest.fixture
def few(monkeypatch):
    """Two candidates, which are quick."""
    for name in set(candidates.CLASSIFIERS) - {PLAIN, "Nearest class mean"}:
        monkeypatch.delitem(candidates.CLASSIFIERS, name)


def test_names_of_columns_that_are_numbers(few):
    frame = sites()
    frame.columns = range(len(frame.columns))
    found = compare(frame, 7, by=6, n_jobs=1, progress=False)
    lines = {"X": frame.drop(columns=7), "y": frame[7]}
    exec(code(found), lines)
    assert "X = X.rename(columns=str)" in code(found)
    assert lines["model"][0].columns_.used == [
        str(name) for name in range(7) if str(name) not in found.columns.left_out
    ]
    assert set(lines["model"].predict(lines["X"])) <= {"up", "down"}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Constraints(max_bytes=1), "Nothing that was tried keeps to the limits."),
        (Constraints(max_bytes=1000), "Use Nearest class mean (NCMClassifier)"),
    ],
)
def test_limits_and_what_the_answer_says_of_them(few, limits, words):
    found = compare(sites(60), "label", by="site", constraints=limits, n_jobs=1, progress=False)
    assert words in found.answer[0]
    assert str(found).endswith("old ones are not needed")


def test_a_run_goes_on_where_it_stopped(few, tmp_path, capsys):
    options = {"by": "site", "n_jobs": 1, "store": tmp_path / "runs.db"}
    first = compare(sites(60), "label", **options)
    capsys.readouterr()
    again = compare(sites(60), "label", **options)
    assert "4 of 4 cells" in capsys.readouterr().err
    assert again.answer == first.answer


def test_an_answer_is_not_lost_on_a_terminal_that_lacks_letters(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = sites(60).rename(columns={"x0": "x\x1b[31mred", "x1": "größe"})
    frame.to_csv("t.csv", index=False)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    options = ["--target", "label", "--by", "site", "--n-jobs", "1"]
    monkeypatch.setattr(sys, "argv", ["forgetless", "compare", "t.csv", *options])
    with pytest.raises(SystemExit) as left:
        main()
    terminal.seek(0)
    said = terminal.read()
    assert not left.value.code
    assert (tmp_path / "report.html").exists()
    assert r"x\x1b[31mred, gr\xf6\xdfe" in said and "(95 %: -" in said and "\x1b" not in said


def test_names_of_columns_may_be_numbers(few):
    frame = sites(60).rename(columns={"label": 7, "site": 8, "x0": 9})
    found = compare(frame, 7, by=8, drop=[9], n_jobs=1, progress=False)
    assert found.table.labels == ["down", "up"] and "9" not in found.columns.used


def test_columns_of_lists_are_left_out(few):
    frame = sites(60).assign(tags=[["a"]] * 60, place=[{"x": k} for k in range(60)])
    found = compare(frame, "label", by="site", n_jobs=1, progress=False)
    assert "Left out: tags, place, since the values are lists or structures." in found.assumptions
    assert "drop=['site', 'tags', 'place']" in found.code


CUT = sites(60)


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (CUT, {"target": "labl"}, "no column 'labl' .did you mean 'label'"),
        (CUT.head(1), {}, "'label' is '(up|down)' in all rows"),
        (CUT.head(20), {}, "20 rows with a target; at least 40"),
        (CUT.assign(label=None), {}, "no row with a target"),
        (CUT.assign(label=[f"l{k}" for k in range(60)]), {}, "60 different labels in 60 rows"),
        (CUT.assign(label=[*range(57), "a", "b", "c"]), {}, "is a number but in 3 rows .'a'"),
        (CUT[["label"]], {}, "no column beside the target"),
        (
            CUT[["label"]].assign(row=range(60), same=1),
            {},
            "nothing can be learned from|can be learned from .'row': it num",
        ),
        (pd.concat([CUT, CUT[["x0"]]], axis=1), {}, "columns of the same name: .'x0'"),
        (CUT, {"by": "site", "time": "x0"}, "Give one way to cut the table, not by and time"),
        (CUT, {"by": "nowhere"}, "no column 'nowhere' to cut by"),
        (CUT, {"by": "x0"}, "has 60 values|has 1 rows"),
        (CUT, {"chunks": 40}, "chunks is 40; 60 rows can be cut into 3 to 15"),
        (CUT, {"classes": 5}, "classes is 5; 2 classes can come in 2 to 2 experiences"),
        (CUT, {"classes": 1}, "classes is 1; 2 classes can come in 2 to 2 experiences"),
        (CUT.assign(label=0), {}, "'label' is 0 in all rows"),
        (CUT, {"target": "x0", "classes": 2}, "Amounts have no classes"),
        (CUT, {"target": "x0", "kind": "classification"}, "different labels"),
        (CUT, {"scoring": "acuracy"}, "no scorer 'acuracy'"),
        (CUT, {"kind": "ranking"}, "kind is 'ranking'"),
        (CUT, {"text": ["words"]}, "no column 'words'"),
        (CUT.assign(label=[["up"]] * 60), {}, "target 'label' has lists or structures as values"),
        (CUT.assign(when=[None, *pd.date_range("2024", periods=59)]), {"time": "when"}, "missing in 1 rows"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(frame, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(frame, **{"target": "label", "progress": False, **options})


def test_arrays_are_no_table():
    with pytest.raises(TypeError, match="data is a ndarray; give a DataFrame"):
        compare(CUT.to_numpy(), 1)


def test_a_header_in_the_middle_is_left_out():
    frame = sites(60).astype(object)
    whole = pd.concat([frame[:30], pd.DataFrame([dict(zip(frame, frame, strict=True))]), frame[30:]])
    table = look_at("t", whole, "label")
    assert len(table.y) == 60 and "the names of the columns" in table.remarks[0]
    assert "x0" in find_columns(table.X).numbers


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "No columns to parse"), (b"a,b\n1,2,3\n1,2,3,4\n", "cannot be read"), (b"a,b\n\xff\xfe,1\n", "UTF-8")],
)
def test_what_is_no_table_is_a_sentence(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_table(tmp_path / "t.csv")


PACKED = gzip.compress(CUT.to_csv().encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", PACKED[: len(PACKED) // 2]),
        ("t.csv.gz", PACKED[:-8] + bytes(8)),
        ("t.csv.gz", PACKED[:40] + bytes(40) + PACKED[80:]),
        *((f"t.csv.{kind}", b"hello") for kind in ("gz", "bz2", "xz", "zip")),
        ("t.csv.xz", lzma.compress(b"a,b\n1,2\n")[:-20]),
    ],
)
def test_what_cannot_be_unpacked_is_a_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}' cannot be unpacked \(.*it is damaged, or not compressed"):
        read_table(tmp_path / name)


def test_separators_and_data_sets_by_name(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1;2\n")
    assert read_table(tmp_path / "t.csv")[1].columns.tolist() == ["a", "b"]
    name, frame = read_table("iris")
    assert (name, len(frame), "target" in frame) == ("iris", 150, True)
    with pytest.raises(ValueError, match=r"no file 'iriss', nor a data set of that name .did you mean 'iris'"):
        read_table("iriss")


def test_what_is_not_tried_on_a_wide_table_is_said():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3001))).assign(label=["a", "b"] * 20)
    table = look_at("wide", frame, "label")
    columns = find_columns(table.X)
    course = make_course(table, columns, chunks=4)
    aside = {"Linear discriminant", "Boosting on a sample", "Boosting on the last rows"}
    (said,) = (line for line in assumptions(table, columns, course) if line.startswith("Not tried"))
    assert all(name in said for name in aside)
    assert set(listed("classification")) - set(make_candidates("classification", columns, 10)) == aside
    narrow = look_at("narrow", frame[[0, "label"]], "label")
    assert not any(line.startswith("Not tried") for line in assumptions(narrow, find_columns(narrow.X), course))


def test_a_copy_of_the_target_is_told():
    frame = sites(60)
    frame["outcome"] = frame["label"].map({"up": 1, "down": 0})
    frame["near"] = frame["outcome"].where(frame.index != 7, 1 - frame["outcome"])
    remarks = look_at("t", frame, "label").remarks
    assert [each for each in remarks if "one to one" in each] == [
        "The column 'outcome' stands for the target one to one; if it is not known before the target is, drop it."
    ]
    assert not any("one to one" in each for each in look_at("t", frame.drop(columns="label"), "x0").remarks)
