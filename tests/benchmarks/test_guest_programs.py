"""Guests that are programs: experiences go out as files, predictions come in, and what is no answer is refused."""

import gc
import os
import pickle
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.benchmarks import iris, run
from pandas.testing import assert_series_equal
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import Guest, GuestError, Store
from forgetless.benchmarks.command import main
from forgetless.benchmarks.runs import guests
from forgetless.estimators import NCMClassifier, make_incremental_pipeline

PROGRAM = Path(__file__).parents[1] / "helpers" / "guest_program.py"
X, y = load_iris(return_X_y=True)


def guest(fault="", **settings):
    return Guest.from_command(shlex.join([sys.executable, str(PROGRAM), *filter(None, [fault])]), settings)


def test_a_program_stands_beside_the_same_strategy_in_this_process():
    twins = {
        "alone": (guest(lr=0.5), NCMClassifier()),
        "in a pipeline": (
            make_incremental_pipeline(StandardScaler(), guest()),
            make_incremental_pipeline(StandardScaler(), NCMClassifier()),
        ),
    }
    names = {f"{who}, {where}": pair[who == "here"] for where, pair in twins.items() for who in ("program", "here")}
    results = run(names, [iris()])
    assert results.runs["error"].isna().all()
    scores = {name: rows["score"].reset_index(drop=True) for name, rows in results.scores.groupby("strategy")}
    for where in twins:
        known = scores[f"here, {where}"].notna() & scores[f"program, {where}"].notna()
        assert known.sum() == 9
        assert_series_equal(scores[f"program, {where}"][known], scores[f"here, {where}"][known], check_exact=True)

    facts = results.runs.set_index("strategy").loc["program, alone"]
    assert facts[["family", "source", "keeps"]].tolist() == ["external", "means, seed 0, lr 0.5", "statistics"]
    costs = results.experiences.set_index("strategy").loc["program, alone"]
    # Its own seconds count, not those of its start, of files and of waiting.
    assert (costs["fit_seconds"] < 0.05).all()
    assert costs["fit_seconds"].min() >= 0.01
    assert costs["peak_memory_bytes"].isna().all()
    assert costs["state_bytes"].tolist() == [32, 64, 96]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("dies", "ended with exit code 1: no memory left"),
        ("slow clock", "said that learn took 3600.0 seconds, of a call that took"),
        ("bytes", "gave as memory {'weights': 'many'}, which are no bytes by kind"),
        ("too many bytes", "which are more bytes than 64 bits can count"),
        ("negative bytes", "which are no bytes by kind"),
        ("keeps", "said that it keeps 'everything' of the data; give nothing, statistics"),
        ("closes", "does not end, but has closed its standard input or output"),
        ("prints", "printed 'Epoch 1 of 10'; all but its answers belongs on standard error"),
        ("silent", "wrote no array 'predict' to the file it was told"),
        ("pickle", "wrote no array 'predict' to the file it was told (Object arrays cannot be loaded"),
        *(
            (fault, "wrote no array 'predict' to the file it was told")
            for fault in ("text", "half", "flipped", "one array")
        ),
        ("few", "inconsistent numbers of samples"),
    ],
)
def test_what_is_no_answer_is_the_programs_error(fault, words, monkeypatch):
    monkeypatch.setattr(guests, "SECONDS_TO_END", 0.2)
    results = run({"program": guest(fault)}, [iris()])
    assert words in results.runs["error"][0]


def test_a_program_ends_with_its_estimator():
    learner = guest().fit(X, y)
    process = learner.program_.process.pid
    assert (learner.predict(X) == y).mean() > 0.9
    with pytest.raises(TypeError):
        pickle.dumps(learner)
    del learner
    gc.collect()  # the error's frames may have known it
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_what_cannot_go_into_a_file_is_refused_before():
    with pytest.raises(ValueError, match=r"arrays of numbers.*TableEncoder"):
        guest().fit(pd.DataFrame({"colour": ["red", "blue"]}), [0, 1])
    with pytest.raises(ValueError, match="numbers or texts, and these are neither"):
        guest().fit(X[:2], np.array([None, object()]))
    with pytest.raises(GuestError, match="cannot be started: No such file"):
        Guest.from_command("no-such-program").fit(X, y)
    for command, words in {"": "is empty", "python 'a": "No closing quotation"}.items():
        with pytest.raises(ValueError, match=words):
            Guest.from_command(command)


@pytest.mark.parametrize("command", ["python program.py", "./program.py --fast", "python -m p --config=program.py"])
def test_another_content_of_the_program_is_another_guest(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = []
    for text in ("1", "2", "1"):
        Path("program.py").write_text(text)
        contents.append(Guest.from_command(command).content)
    assert contents[0] == contents[2] != contents[1]


def test_contents_of_several_files_do_not_run_together_and_an_installed_program_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = []
    for texts in (("ab", "c"), ("a", "bc")):
        for name, text in zip(("one", "two"), texts, strict=True):
            Path(name).write_text(text)
        contents.append(Guest.from_command("python one two").content)
    assert contents[0] != contents[1]
    for command in (f"{sys.executable} one", "python one", f"./one {'x' * 5000}"):
        assert Guest.from_command(command).content == Guest.from_command("./one").content
    assert Guest.from_command(f"{sys.executable} -m program").content == ""


SUITE = """
name = "small"
seeds = 1
strategies = ["sklearn.naive_bayes.GaussianNB"]
preprocess = ["sklearn.preprocessing.StandardScaler"]
[net]
lr = 0.25
[[streams]]
name = "iris-class"
dataset = "iris"
n_experiences = 3
"""


def test_the_command_runs_a_program_that_the_user_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("suite.toml").write_text(SUITE)
    command = shlex.join([sys.executable, str(PROGRAM)])
    arguments = ["forgetless", "run", "suite.toml", "--n-jobs", "1", "--guest"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"Means={command}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    with Store("results.db", read_only=True) as store:
        results = store.results()
    assert set(results.runs["strategy"]) == {"GaussianNB", "Means"}
    assert "means, seed 0, lr 0.25" in set(results.runs["source"])
    assert results.runs["error"].isna().all()

    monkeypatch.setattr(sys, "argv", [*arguments, command])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "give NAME=COMMAND" in capsys.readouterr().err


def test_models_of_river_stand_in_the_table():
    compat = pytest.importorskip("river.compat", reason="river comes with the extra 'data'")
    from river.naive_bayes import GaussianNB as OneByOne

    results = run({"river": compat.convert_river_to_sklearn(OneByOne())}, [iris()])
    assert results.runs["error"].isna().all()
    last = results.scores[results.scores["trained_on"] == 2]["score"]
    assert last.mean() > 0.9
