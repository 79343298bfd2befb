"""The command ``forgetless verify``: what it runs, what it prints, and where the page goes."""

import functools
import re
import subprocess
import sys

import pandas as pd
import pytest
from helpers.claims import CLAIMS
from helpers.processes import environment

from forgetless.benchmarks.command import main
from forgetless.benchmarks.replication import claims as claims_module
from forgetless.benchmarks.replication.claims import load_claims


@pytest.fixture
def command(claims_folder, tmp_path, monkeypatch, capsys):
    """Call ``forgetless verify`` on the claims of the folder; returns exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims_module, "load_claims", functools.partial(load_claims, claims_folder))
    (tmp_path / "docs").mkdir()

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["forgetless", "verify", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return command


def test_a_full_disk_leaves_the_record_as_it_was(command, tmp_path, monkeypatch):
    command("flowers/bayes", "--seeds", "1", "--n-jobs", "1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()}

    def full(self, path, **how):
        path.write_text("claim,se")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    code, _, err = command("flowers/bayes", "--seeds", "2", "--n-jobs", "1")
    assert code == 1 and "No space left on device" in err and "Traceback" not in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()} == before


def test_the_command_runs_what_is_asked_and_writes_the_page_of_everything(command, tmp_path):
    code, out, err = command("flowers/bayes", "--seeds", "2", "--n-jobs", "1")
    assert code == 0  # what fails has a note
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "claim",
        "flowers/bayes/class",
        "flowers/bayes/task",
        "The page is docs/replication.md.",
    ]
    assert re.search(r"bayes/class +96\.0 +9\d\.\d ± \d\.\d +2 +pass\n", out)
    assert re.search(r"bayes/task +50\.0 ± 4\.0 +\d+\.\d ± \d\.\d +2 +fail, explained\n", out)

    page = (tmp_path / "docs" / "replication.md").read_text("utf-8")
    assert "**1 pass, 1 fail, 1 not run.**\n\nMeasured on the CPU with python 3." in page
    assert "## Flowers\n\nNobody 2020.\n\nIrises as they are.\n\n| method |" in page
    assert re.search(r"\n\| bayes \| class \| 96\.0 \| 93\.0–99\.0 \| 9\d\.\d ± \d\.\d \| 2 \| pass \|\n", page)
    assert re.search(r"\n\| bayes \| task \| 50\.0 ± 4\.0 \| 46\.0–54\.0 \| .* \| 2 \| \*\*fail\*\* \(1\) \|\n", page)
    assert "\n| net-1 | task | ≥ 30.0 | ≥ 30.0 | – | 0 | not run |\n" in page
    assert "\n\n(1) Their Bayes knew no tasks.\n\nSettings:\n" in page
    assert "`sklearn.naive_bayes.GaussianNB(var_smoothing=1e-09)`. Theirs has no smoothing." in page
    assert (
        "`ReplayClassifier(buffer_size=10, net__max_epochs=1, net__batch_size=16)`; task: `replay_weight=0.25`" in page
    )

    # More seeds of another claim: the page has all that the store has, and nothing is run twice.
    code, out, err = command("flowers/net-1", "--seeds", "3", "--n-jobs", "1")
    assert code == 0
    again = (tmp_path / "docs" / "replication.md").read_text("utf-8")
    assert [line for line in again.splitlines() if "| bayes" in line] == [
        line for line in page.splitlines() if "| bayes" in line
    ]
    assert re.search(r"\n\| net-1 \| task \| ≥ 30\.0 \| ≥ 30\.0 \| .* \| 3 \| pass \|\n", again)
    code, out, err = command("--seeds", "2", "--n-jobs", "1")
    assert "6 of 6 runs are recorded in docs/replication-runs.csv already" in err
    assert (tmp_path / "docs" / "replication.md").read_text("utf-8") == again

    # Another machine has the record, but not the store.
    (tmp_path / "verify.db").unlink()
    record = (tmp_path / "docs" / "replication-runs.csv").read_text("utf-8")
    assert len(record.splitlines()) == 8
    code, out, err = command("flowers/bayes", "--seeds", "2", "--n-jobs", "1")
    assert "4 of 4 runs are recorded" in err
    assert (tmp_path / "docs" / "replication.md").read_text("utf-8") == again
    assert (tmp_path / "docs" / "replication-runs.csv").read_text("utf-8") == record


def test_a_record_of_other_definitions_counts_for_nothing(command, tmp_path):
    (tmp_path / "docs" / "replication-runs.csv").write_text(
        "claim,seed,accuracy,cell,versions\nflowers/bayes/class,0,0.1,0123456789abcdef,{}\n"
    )
    _, out, err = command("flowers/bayes/class", "--seeds", "1", "--n-jobs", "1")
    assert "recorded" not in err
    assert re.search(r"bayes/class +96\.0 +9\d\.\d +1 ", out)
    assert ",0.1," not in (tmp_path / "docs" / "replication-runs.csv").read_text("utf-8")


def test_the_command_fails_where_a_number_does_not_come_out_and_nobody_knows_why(command, claims_folder, tmp_path):
    path = claims_folder / "flowers.toml"
    path.write_text(CLAIMS.replace("published = 96.0", "published = 20.0"))
    code, out, _ = command("flowers/bayes/class", "--seeds", "1", "--n-jobs", "1")
    assert code == 1
    assert re.search(r"bayes/class +20\.0 +\d+\.\d +1 +fail\n", out)
    path.write_text(CLAIMS.replace("var_smoothing = 1e-9", "priors = [0.5, 0.6, 0.7]"))
    code, out, _ = command("flowers/bayes/class", "--seeds", "1", "--n-jobs", "1")
    assert code == 1
    assert "error: ValueError" in out
    assert "| **error** |" in (tmp_path / "docs" / "replication.md").read_text("utf-8")


def test_the_command_lists_and_runs_nothing(command, tmp_path):
    code, out, _ = command("--list", "flowers/net-1")
    assert code == 0
    assert out.splitlines() == [
        "claim               published  seconds a run",
        "flowers/net-1/task  ≥ 30.0                 2",
    ]
    assert not (tmp_path / "verify.db").exists()


@pytest.mark.parametrize(
    ("arguments", "place"), [([], "replication.md"), (["-o", "a.md"], "a.md"), (["--output", "b.md"], "b.md")]
)
def test_the_page_goes_where_it_is_told_and_else_beside_the_store(command, tmp_path, arguments, place):
    (tmp_path / "docs").rmdir()
    code, out, err = command("flowers/bayes/class", "--seeds", "1", "--n-jobs", "1", *arguments)
    assert code == 0, err
    assert out.endswith(f"The page is {place}.\n")
    assert (tmp_path / place).read_text("utf-8").startswith("# Replication\n")
    record = place.replace(".md", "-runs.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"claims", "verify.db", place, record}


def test_claims_are_part_of_the_package(tmp_path):
    command = [sys.executable, "-m", "forgetless", "verify", "--list", "hsu2018/EWC"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "claim",
        "hsu2018/EWC/task",
        "hsu2018/EWC/domain",
        "hsu2018/EWC/class",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flower"], "There is no claim 'flower' (did you mean 'flowers'?)."),
        (["--n-jobs", "0"], "--n-jobs is 0"),
        (["--output", "no/page.md"], "there is no folder"),
        (["--output", "verify.db"], "would overwrite the store"),
    ],
)
def test_bad_input(command, tmp_path, arguments, words):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "verify.db").exists()
