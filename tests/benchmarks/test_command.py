"""The command, as a user starts it: in a process of its own, killed and interrupted for real."""

import csv
import importlib.util
import io
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.processes import environment
from helpers.store import facts

from forgetless import __version__
from forgetless.benchmarks import Store
from forgetless.benchmarks.command import main

SUITE = """
name = "small"
seeds = 2
strategies = [
  { estimator = "sklearn.naive_bayes.GaussianNB" },
  { estimator = "sklearn.linear_model.SGDClassifier", preprocess = ["sklearn.preprocessing.StandardScaler"] },
]
[[streams]]
name = "iris-class"
dataset = "iris"
n_experiences = 3
[[streams]]
name = "iris-permuted"
dataset = "iris"
builder = "permuted"
n_experiences = 2
"""

LEADERBOARD = [
    *("stream", "strategy", "n_seeds", "scorer", "headline", "score", "score_ci_low", "score_ci_high"),
    *(
        "best",
        "average_accuracy",
        "forgetting",
        "backward_transfer",
        "learning_accuracy",
        "fit_seconds",
        "predict_seconds",
    ),
    *("n_beside", "gradient_steps", "samples_seen", "flops"),
    *("model_bytes", "replay_bytes", "state_bytes", "bytes_added", "pickled_bytes", "keeps"),
]

# A strategy that writes down each cell that starts, with its process, and takes its time.
SLOW = """
import os, time
from pathlib import Path
from sklearn.naive_bayes import GaussianNB
class Slow(GaussianNB):
    def __init__(self, random_state=None, priors=None, var_smoothing=1e-9):
        super().__init__(priors=priors, var_smoothing=var_smoothing)
        self.random_state = random_state
    def partial_fit(self, X, y, classes=None):
        if not hasattr(self, "classes_"):
            with open("log", "a") as log:
                print(self.random_state, os.getpid(), file=log)
        end = time.monotonic() + float(os.environ["SLOW"]) / 3
        while time.monotonic() < end and not Path("hurry").exists():
            time.sleep(0.01)
        return super().partial_fit(X, y, classes)
class Failing(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise RuntimeError("broken \\x1b[31m on purpose")
"""


# To look for a GPU imports it, which takes a process of its own seconds.
WITHOUT_TORCH = ("--device", "cpu")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.toml").write_text(SUITE)
    (tmp_path / "slow_strategy.py").write_text(SLOW)
    return tmp_path


def as_in_the_foreground():
    """Hear signals as a shell's foreground does, also where these tests run in the background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(folder, *args, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "forgetless", *map(str, args)],
        cwd=folder,
        env=environment(NO_COLOR="1", PYTHONSAFEPATH="1", **env),  # the current folder is not on the path by itself
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives to each command
        preexec_fn=as_in_the_foreground,
    )


def forgetless(folder, *args):
    process = start(folder, *args)
    process.stdout_text, process.stderr_text = process.communicate(timeout=120)
    return process


@pytest.fixture
def here(folder, monkeypatch, capsys):
    """Run the command in this process, which is quicker; return exit code, output and errors."""

    def here(*args):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["forgetless", *map(str, args)])
        monkeypatch.setattr(sys, "path", sys.path.copy())
        monkeypatch.delitem(sys.modules, "slow_strategy", raising=False)
        with pytest.raises(SystemExit) as caught:
            main()
        return (caught.value.code or 0, *capsys.readouterr())

    return here


def stored(folder, store="results.db"):
    """Return the start of each finished cell, by strategy, stream and seed."""
    if not (folder / store).exists():
        return {}
    connection = sqlite3.connect(folder / store, timeout=60)
    try:
        rows = connection.execute("SELECT strategy, stream, seed, started FROM cells WHERE status = 'ok'").fetchall()
    except sqlite3.OperationalError:  # no tables yet
        rows = []
    connection.close()
    return {tuple(names): started for *names, started in rows}


def scores(folder, store):
    with Store(folder / store, read_only=True) as kept:
        return [(facts.run["cell"], *row.values()) for facts in kept.cells() for row in facts.scores]


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def log_lines(folder):
    path = folder / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- what it is for ----------------------------------------------------------------------------------------------


def test_run_report_leaderboard(folder, here):
    done = forgetless(folder, "run", "small.toml", "--device", "cpu", "--n-jobs", 1)
    assert done.returncode == 0, done.stderr_text
    assert len(stored(folder)) == 8
    assert "GaussianNB" in done.stdout_text
    assert "The report is in report.html." in done.stdout_text
    assert "8/8" in done.stderr_text
    assert re.search(r"\[\d+:\d+<\d+:\d+", done.stderr_text)  # time used and time left
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")

    (folder / "report.html").unlink()
    assert here("report", "results.db", "-o", "other.html")[0] == 0
    assert (folder / "other.html").exists()
    code, said, _ = here("site", "results.db", "-o", "pages")
    assert (code, said) == (0, f"The site is in pages; it begins with {Path('pages', 'index.html')}.\n")
    assert "forgetless: results.db</h1>" in (folder / "pages" / "index.html").read_text()
    shutil.rmtree(folder / "pages")
    code, _, errors = here("site", "results.db", "-o", ".")
    assert code == 2 and "would be replaced" in errors
    (folder / "mine").mkdir()
    (folder / "mine" / "index.html").touch()
    code, _, errors = here("site", "results.db", "-o", "mine")
    assert code == 2 and "has files that are not of a site" in errors
    shutil.rmtree(folder / "mine")
    assert sorted(os.listdir(folder)) == ["other.html", "results.db", "slow_strategy.py", "small.toml"]

    _, text, _ = here("leaderboard", "results.db", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == LEADERBOARD
    assert {(row["stream"], row["strategy"], row["n_seeds"]) for row in rows} == {
        (stream, strategy, "2")
        for stream in ("iris-class", "iris-permuted")
        for strategy in ("GaussianNB", "SGDClassifier")
    }
    assert all(0 <= float(row["average_accuracy"]) <= 1 for row in rows)
    assert "iris-class" in here("leaderboard", "results.db")[1]
    formats_of_leaderboards(folder, here)
    code, said, _ = here("diagnose", "results.db")
    assert code == 0 and said.strip()
    code, said, errors = here("export", "results.db", "runs.parquet")
    if importlib.util.find_spec("pyarrow"):
        assert code == 0 and "runs.md" in said
        assert here("import", "runs.parquet", "--store", "other.db")[1].startswith("8 cells taken over")
        assert here("import", "report.html", "--store", "none.db")[0] == 2 and not (folder / "none.db").exists()
    else:
        assert code == 2 and "pyarrow" in errors


def test_every_command_that_the_readme_names_is_there(here):
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    named = set(re.findall(r"^(?:- )?`?forgetless ([a-z]+)", readme, flags=re.MULTILINE))
    assert named >= {
        "run",
        "compare",
        "report",
        "site",
        "leaderboard",
        "diagnose",
        "merge",
        "export",
        "track",
        "verify",
    }
    for command in named:
        assert here(command, "--help")[0] == 0, command


def formats_of_leaderboards(folder, here):
    def board(*args):
        code, text, errors = here("leaderboard", "results.db", *args)
        return text if code == 0 else errors

    assert board("--format", "markdown").startswith("### All streams together")
    assert r"\toprule" in board("--format", "latex", "--metric", "forgetting", "--metric", "peak_memory_bytes")
    assert board("--format", "html", "-o", "board.html") == ""
    assert (folder / "board.html").read_text().startswith("<!DOCTYPE html>")
    assert board("--format", "parquet", "--overall", "-o", "board.parquet") == ""
    assert set(pd.read_parquet(folder / "board.parquet")["strategy"]) == {"GaussianNB", "SGDClassifier"}
    wide = list(csv.reader(io.StringIO(board("--pivot", "--format", "csv"))))
    assert wide[0] == ["strategy", "iris-class", "iris-permuted"]
    part = ("--stream", "iris-class", "--strategy", "GaussianNB", "--scenario", "class", "--keeps", "statistics")
    [row] = csv.DictReader(io.StringIO(board("--format", "csv", "--family", "external", "--device", "cpu", *part)))
    assert (row["stream"], row["strategy"]) == ("iris-class", "GaussianNB")
    assert "together" not in board(*part)
    assert "together" in board("--overall", "-o", "board.txt") + (folder / "board.txt").read_text()
    assert "there are: external" in board("--family", "replay")
    assert "No run has" in board("--strategy", "GaussianNB", "--stream", "iris-class", "--scenario", "domain")
    assert "Unknown metric 'speed'; choose from" in board("--metric", "speed")
    assert "name a file" in board("--format", "parquet")
    assert "give one of them" in board("--pivot", "--overall")
    assert "name a number" in board("--matched", "memory")
    assert "give --matched memory" in board("--budget", "5")
    assert "GaussianNB" in board("--matched", "memory", "--budget", "100000", "--format", "csv")
    assert "would overwrite the store" in board("-o", "results.db")
    for command, made in (("report", "matched.html"), ("site", "matched")):
        matched = (command, "results.db", "-o", made, "--matched", "memory", "--budget")
        assert "give --matched memory" in here(command, "results.db", "-o", made, "--budget", "5")[2]
        assert "No strategy here is within 1 of" in here(*matched, "1")[2]
        assert not (folder / made).exists()
        assert here(*matched, "100000")[0] == 0
        assert (folder / made).exists()


def test_same_scores_bit_for_bit_with_one_job_and_two(folder, here):
    ours = SUITE.replace("strategies = [", 'strategies = [ "Naive", { estimator = "EWC" }, "Replay", "Independent",')
    (folder / "ours.toml").write_text(ours + "\n[net]\nmax_epochs = 2\n")
    for jobs in (1, 2):
        code, _, errors = here("run", "ours.toml", "--seeds", 1, "--n-jobs", jobs, "--store", f"{jobs}.db")
        assert code == 0, errors
    one, two = scores(folder, "1.db"), scores(folder, "2.db")
    assert len(one) > 100
    assert one == two


def test_choosing_strategies_streams_and_seeds(folder, here):
    run = ("run", "small.toml", "--device", "cpu", "--n-jobs", 1, "--store", "sub.db")
    code, _, errors = here(
        *(*run, "--strategies", "gaussiannb,sklearn.linear_model.Perceptron", "--streams", "iris-class"),
        *("--seeds", 1, "--report", "sub.html"),
    )
    assert code == 0, errors
    assert set(stored(folder, "sub.db")) == {("GaussianNB", "iris-class", 0), ("Perceptron", "iris-class", 0)}
    # A second suite in the same store: the report is about this run only, the leaderboard about all.
    _, output, _ = here(*run, "--streams", "iris-permuted")
    assert "Perceptron" not in output
    assert "Perceptron" not in (folder / "report.html").read_text()
    assert "Perceptron" in here("leaderboard", "sub.db")[1]


def test_data_home(folder, here, data_home):
    (folder / "mnist.toml").write_text(SUITE.replace("iris", "mnist"))
    args = ["--streams", "mnist-class", "--strategies", "GaussianNB", "--seeds", 1, "--n-jobs", 1]
    code, _, errors = here("run", "mnist.toml", "--data-home", data_home, *args)
    assert code == 0, errors


def test_failed_cells_are_told_and_the_exit_code_is_1(folder, here):
    args = ["--strategies", "GaussianNB,slow_strategy.Failing", "--n-jobs", 1, "--seeds", 1]
    code, output, errors = here("run", "small.toml", "--device", "cpu", *args)
    assert code == 1
    assert "broken" in output + errors
    assert "\x1b[31m" not in output + errors
    assert len(stored(folder)) == 2
    assert (folder / "report.html").exists()


# --- stopping ----------------------------------------------------------------------------------------------------


def test_kill_and_start_again(folder, here, monkeypatch):
    args = [
        "--strategies",
        "slow_strategy.Slow",
        "--streams",
        "iris-class",
        "--seeds",
        10,
        "--n-jobs",
        2,
        *WITHOUT_TORCH,
    ]
    process = start(folder, "run", "small.toml", *args, SLOW="0.6")
    wait_until(lambda: len(stored(folder)) >= 3)
    process.kill()
    process.communicate()
    before = stored(folder)
    running = {pid for _, pid in log_lines(folder)}
    wait_until(lambda: not any(map(alive, running)), seconds=5)  # no orphans
    assert 3 <= len(before) < 10
    n_started = len(log_lines(folder))

    monkeypatch.setenv("SLOW", "0")
    code, _, errors = here("run", "small.toml", *args, "--n-jobs", 1)
    assert code == 0, errors
    after = stored(folder)
    assert len(after) == 10
    assert before.items() <= after.items()  # none lost, none run again
    assert len(log_lines(folder)) - n_started == 10 - len(before)
    assert f"{len(before)} of 10 cells are in results.db already." in errors


STOPPED = "forgetless: Stopped. 1 of 2 cells are kept in results.db; do the same again to run only the rest."


# `kill -INT`, or Ctrl-C in a terminal, which all processes hear of; a scheduler, a closed terminal.
# The class stands in the current folder, where workers find it, too.
@pytest.mark.parametrize(
    ("whom", "number"),
    [("process", "SIGINT"), ("group", "SIGINT"), ("process", "SIGTERM"), ("group", "SIGTERM"), ("process", "SIGHUP")],
)
def test_interrupt(folder, whom, number):
    args = ["--strategies", "GaussianNB,slow_strategy.Slow", "--streams", "iris-class", "--n-jobs", 2, *WITHOUT_TORCH]
    process = start(folder, "run", "small.toml", *args, "--seeds", 1, SLOW="600")
    wait_until(lambda: len(stored(folder)) == 1 and log_lines(folder))
    began = time.monotonic()
    (os.killpg if whom == "group" else os.kill)(process.pid, getattr(signal, number))
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == STOPPED
    assert "Traceback" not in errors
    running = {pid for _, pid in log_lines(folder)}
    wait_until(lambda: not any(map(alive, running)), seconds=3)


def test_interrupt_of_one_job(folder, here, monkeypatch):
    monkeypatch.setenv("SLOW", "600")

    def press():
        wait_until(lambda: len(stored(folder)) == 1 and log_lines(folder))
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    args = ["--strategies", "GaussianNB,slow_strategy.Slow", "--streams", "iris-class", "--n-jobs", 1]
    code, _, errors = here("run", "small.toml", *args, "--seeds", 1)
    pressing.join()
    assert code == 130
    assert errors.splitlines()[-1] == STOPPED
    assert "Traceback" not in errors


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("run", "Missing argument"),
        ("run quik", "There is no suite 'quik' (did you mean 'quick'?)"),
        ("run small.toml --strategies EWX", "There is no strategy 'EWX' (did you mean 'EWC'?)."),
        ("run small.toml --strategies no.such.Thing", "'no.such.Thing' cannot be imported"),
        ("run small.toml --strategies sklearn.svm.SVC", "cannot learn incrementally"),
        ("run small.toml --strategies ,", "nothing to run"),
        ("run small.toml --streams iris-clas", "has no stream 'iris-clas' (did you mean 'iris-class'?)."),
        ("run small.toml --seeds 0", "Invalid value for '--seeds'"),
        ("run small.toml --seeds x", "Invalid value for '--seeds'"),
        ("run small.toml --n-jobs 0", "--n-jobs is 0"),
        ("run small.toml --device gpu", "device is 'gpu'; give 'auto'"),
        ("run small.toml --sede 3", "No such option: --sede"),
        ("run small.toml --store small.toml", "small.toml is no database"),
        ("run small.toml --store no/results.db", "there is no folder"),
        ("run small.toml --store nosuch://host/name", "No database can be reached"),
        ("run small.toml --report no/report.html", "The report no/report.html cannot be written: there is no folder"),
        ("run small.toml --report .", "it is a folder"),
        ("run small.toml --report results.db", "would overwrite the store"),
        ("run wrong.toml", "the key 'sede' is unknown (did you mean 'seeds'?)."),
        ("run nodata.toml", "irsi"),
        ("run cut.toml", "cannot fill 4 experiences"),
        ("run import.toml", "a suite file may not import"),
        ("run param.toml", "has no parameter 'smoothing' (did you mean 'var_smoothing'?)"),
        ("run small.toml --guest GaussianNB=true", "Two strategies have the name 'GaussianNB'"),
        ("run small.toml --guest G=true --guest G=false", "Two strategies have the name 'G'"),
        ("run small.toml --shard 0/3", "The shard is '0/3'"),
        ("run small.toml --shard 3", "The shard is '3'"),
        ("merge nothing.db", "There is no store nothing.db"),
        ("compare iris", "Missing option '--target'"),
        ("compare no.csv --target a", "There is no file 'no.csv', nor a data set of that name"),
        ("compare iris --target targte", "no column 'targte' (did you mean 'target'?)"),
        ("compare iris --target target --by target", "no column 'target' to cut by"),
        ("compare iris --target target --max-seconds 0", "max_seconds is 0"),
        ("compare iris --target target --kind ranking", "Invalid value for '--kind'"),
        ("compare iris --target target --n-jobs 0", "--n-jobs is 0"),
        ("report nothing.db", "There is no store nothing.db"),
        ("report small.toml", "small.toml is no database"),
        ("leaderboard nothing.db", "There is no store nothing.db"),
        ("leaderboard nothing.db --format tabel", "Invalid value for '--format'"),
        ("list strategy", "Invalid value"),
        ("lits", "No such command 'lits'"),
        ("run evil\x1b[31m\nname", "'evil\\x1b[31m\\nname'"),
        ("run small.toml --evil\x1b[31m", "\\x1b[31m"),
    ],
)
def test_bad_input(folder, here, args, words):
    for name, old, new in [
        ("wrong", "seeds", "sede"),
        ("nodata", '"iris"', '"irsi"'),
        ("cut", "n_experiences = 3", "n_experiences = 4"),
        ("import", "sklearn.naive_bayes", "slow_strategy"),
        ("param", 'GaussianNB"', 'GaussianNB", params = { smoothing = 1 }'),
    ]:
        (folder / f"{name}.toml").write_text(SUITE.replace(old, new))
    before = sorted(os.listdir(folder))
    code, output, errors = here(*args.split(" "))
    assert words in errors
    assert code == 2
    [line] = errors.splitlines()
    assert line.startswith("forgetless: ")
    assert line.isprintable()
    assert output == ""
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    "args",
    [
        ("report", "sqlite:///a.db", "-o", "a.db"),
        ("report", "a.db", "-o", "hard.db"),
        ("report", "soft.db", "-o", "a.db"),
        ("leaderboard", "sqlite:///a.db", "-o", "a.db"),
        ("run", "small.toml", "--store", "sqlite:///a.db", "-o", "hard.db"),
        ("run", "small.toml", "-o", "small.toml"),
        ("run", "small.toml", "--guest", "G=python slow_strategy.py", "-o", "./slow_strategy.py"),
        ("compare", "table.csv", "--target", "b", "-o", "table.csv"),
        ("verify", "--store", "sqlite:///new-runs.csv", "-o", "new.md"),
        ("export", "sqlite:///a.db", "a.db"),
        ("export", "a.md", "a.parquet"),
        ("export", "a.db", "README.parquet"),
    ],
)
def test_what_a_command_reads_is_not_overwritten(folder, here, args):
    if args[0] == "export":
        pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
    with Store(folder / "a.db") as store:
        store.write(facts())
    os.link(folder / "a.db", folder / "hard.db")
    os.symlink("a.db", folder / "soft.db")
    shutil.copy(folder / "a.db", folder / "a.md")
    (folder / "README.md").write_text("mine")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, _, errors = here(*args)
    assert code == 2 and "would overwrite" in errors, errors
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_bad_input_in_a_process_of_its_own(folder):
    done = forgetless(folder, "lits")
    assert done.returncode == 2
    assert done.stderr_text == "forgetless: No such command 'lits'. Did you mean 'list'?\n"


def test_data_that_are_not_there(folder, here, monkeypatch):
    (folder / "mnist.toml").write_text(SUITE.replace("iris", "mnist"))
    for name, value in {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }.items():
        monkeypatch.setenv(name, value)
    code, _, errors = here("run", "mnist.toml", "--data-home", folder / "data")
    assert code == 2
    [line] = errors.splitlines()
    assert "train-images-idx3-ubyte" in line


def test_empty_store_has_no_report(folder, here):
    with Store(folder / "results.db"):
        pass
    code, _, errors = here("report", "results.db")
    assert code == 2
    assert "has no results yet" in errors


def test_merge_counts_cells_also_where_rows_have_fewer(here, folder):
    with Store(folder / "a.db") as store:
        store.write(facts("old"))
        store.write(facts("new", started="2001-01-01T00:00:00+00:00"))
    assert here("merge", "a.db", "--store", "b.db")[1].endswith("2 cells are in b.db.\n")


def test_shards_merged_equal_one_run(here, folder):
    run = ("run", "small.toml", "--streams", "iris-class", "--n-jobs", "1")
    assert here(*run, "--store", "whole.db")[0] == 0
    counts = []
    for part in ("1/3", "2/3", "3/3"):
        code, _, err = here(*run, "--shard", part, "--store", f"part{part[0]}.db")
        assert code == 0, err
        counts.append(len(stored(folder, f"part{part[0]}.db")))
    assert sum(counts) == 4 and max(counts) - min(counts) <= 1
    code, out, err = here("merge", "part1.db", "part2.db", "part3.db", "part2.db", "--store", "merged.db")
    assert code == 0, err
    assert out.splitlines()[-2:] == ["0 cells taken over from part2.db.", "4 cells are in merged.db."]
    assert scores(folder, "merged.db") == scores(folder, "whole.db")
    assert "4 of 4 cells are in merged.db already" in here(*run, "--store", "merged.db")[2]
    assert here(*run, "--shard", "9/9")[1] == "The shard 9/9 has no cells: there are fewer cells than shards.\n"


def test_a_suite_whose_data_are_in_the_extra_names_the_installation_before_anything_runs(here, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "seglearn", None)
    monkeypatch.setitem(sys.modules, "seglearn.datasets", None)
    code, out, err = here("run", "domains", "--streams", "iris,watch")
    assert (code, out) == (2, "")
    assert 'pip install "forgetless[data]"' in err
    assert not (folder / "results.db").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", ["--help", "--version", "list", "leaderboard a.db"])
@pytest.mark.parametrize(("outlet", "said"), [("full", "forgetless: No space left on device.\n"), ("pipe", "")])
def test_output_that_nobody_takes(folder, args, unbuffered, outlet, said):
    with Store(folder / "a.db") as store:
        store.write(facts())
    if outlet == "pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open("/dev/full", os.O_WRONLY)
    command = [sys.executable, "-m", "forgetless", *args.split()]
    env = environment(PYTHONSAFEPATH="1", PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(command, cwd=folder, env=env, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == said and done.returncode


@pytest.mark.parametrize("args", ["leaderboard a.db", "leaderboard a.db --format markdown", "report a.db -o é.html"])
def test_letters_that_the_output_lacks(folder, args):
    with Store(folder / "a.db") as store:
        store.write(facts(strategy="Ré"))
    command = [sys.executable, "-m", "forgetless", *args.split()]
    env = environment(PYTHONSAFEPATH="1", PYTHONIOENCODING="ascii")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\\xe9" in done.stdout


def test_a_folder_that_is_gone(folder, here, monkeypatch):
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    monkeypatch.setattr(monkeypatch, "chdir", lambda _: None)
    assert here("report", "a.db") == (2, "", "forgetless: The current folder is gone.\n")


# --- quick answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", ["--help", "--version", "run --help", "list", "list strategies", "list datasets"])
def test_quick_answers_import_nothing_heavy(folder, args):
    heavy = {"torch", "sklearn", "pandas", "numpy", "joblib"}
    code = (
        "import atexit, sys\n"
        "sys.argv[0] = 'forgetless'\n"
        f"atexit.register(lambda: print(sorted({heavy} & sys.modules.keys())))\n"
        "from forgetless.benchmarks.command import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, *args.split()]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_bare_command_helps(here):
    code, output, errors = here()
    assert (code, errors) == (0, "")
    assert "Usage: forgetless" in output
    assert len(output.splitlines()) > 10
    assert output == here("--help")[1]


def test_list_and_version(here):
    assert here("--version") == (0, f"forgetless {__version__}\n", "")
    _, everything, _ = here("list")
    for word in ("strategies:", "EWC ", "streams:", "digits-class", "suites:", "quick", "datasets:", "mnist"):
        assert word in everything
    listed = [line.split()[0] for line in here("list", "suites")[1].splitlines()]
    assert listed == ["domains", "drift", "images", "long", "mnist", "plasticity", "quick", "text"]
