"""Where cells run: deaths, hangs and Ctrl-C cost the cell that they hit, and no other one."""

import contextlib
import signal
import subprocess
import sys
import threading

import joblib
import pytest
from helpers import guests
from helpers.benchmarks import iris, run
from helpers.processes import environment
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks import Interrupted, Store
from forgetless.benchmarks.runs import runner, workers


def statuses(strategies, **options):
    runs = run({**strategies, "good": GaussianNB()}, [iris()], **options).runs
    assert runs.loc[runs["strategy"] == "good", "status"].tolist() == ["ok"]
    runs = runs[runs["strategy"] != "good"]
    return runs["error"].fillna("").tolist()


def test_what_kills_its_process_twice_has_failed_and_the_rest_goes_on(tmp_path, capfd):
    strategies = {"killed": guests.IsKilled(), "once": guests.DiesOnce(tmp_path / "there")}
    killed, once = statuses(strategies, n_jobs=2, store=tmp_path / "a.db")
    assert killed.startswith("WorkerDied: the process that ran it was killed, twice")
    assert once == ""
    assert "Traceback" not in capfd.readouterr().err


def test_what_hangs_fails_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 0.5)
    expected = ["TimeLimit: it ran longer than 0.5 seconds, the time limit."]
    assert statuses({"hangs": guests.Hangs()}, n_jobs=1, time_limit=0.5) == expected
    both = {"hangs": guests.Hangs(), "for good": guests.HangsForGood()}
    assert statuses(both, n_jobs=2, time_limit=0.5) == expected * 2


def test_signals_are_as_before_afterwards():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGALRM)]
    statuses({"hangs": guests.Hangs()}, time_limit=1)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_cells_run_in_threads_other_than_the_main_one():
    found = []
    thread = threading.Thread(target=lambda: found.extend(statuses({"exits": guests.Exits()})))
    thread.start()
    thread.join()
    assert found == ["SystemExit: I leave"]


@pytest.mark.parametrize("time_limit", [0, -1, float("nan"), float("inf"), 1e7])
def test_time_limits_that_are_none(time_limit):
    with pytest.raises(ValueError, match="time_limit is"):
        statuses({}, time_limit=time_limit)


# --- Ctrl-C ------------------------------------------------------------------------------------------------------


def test_a_cell_that_takes_ctrl_c_for_its_own_is_not_kept(tmp_path):
    with pytest.raises(Interrupted, match=r"1 of 3 cells are kept in .*a\.db; do the same again"):
        run(
            {"first": GaussianNB(), "swallows": guests.TakesSignalsForItsOwn(), "third": GaussianNB(var_smoothing=1)},
            [iris()],
            store=tmp_path / "a.db",
        )
    with Store(tmp_path / "a.db") as store:
        assert store.results().runs["strategy"].tolist() == ["first"]


def test_what_breaks_after_ctrl_c_is_no_other_failure(tmp_path, monkeypatch):
    """Workers that hear it, too, may be gone when they are to be ended."""

    @contextlib.contextmanager
    def breaking(*_):
        def stopped():
            try:
                signal.raise_signal(signal.SIGINT)
                yield
            except KeyboardInterrupt:
                raise OSError("handle is closed") from None

        yield stopped()

    monkeypatch.setattr(runner, "finished", breaking)
    with pytest.raises(Interrupted, match=r"0 of 1 cells are kept in .*a\.db; do the same again"):
        run({"any": GaussianNB()}, [iris()], store=tmp_path / "a.db")


def test_without_a_store_ctrl_c_keeps_nothing_and_says_so():
    with pytest.raises(Interrupted, match="Nothing was kept"):
        run({"swallows": guests.TakesSignalsForItsOwn()}, [iris()])


# --- scripts -----------------------------------------------------------------------------------------------------

SCRIPT = """
from torch import nn
from sklearn.naive_bayes import GaussianNB
from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_iris, split_stream
from forgetless.estimators import ContinualNet, NaiveClassifier

class Mine(GaussianNB):
    pass

class Net(nn.Sequential):
    def __init__(self, n_inputs, n_outputs):
        super().__init__(nn.Linear(n_inputs, n_outputs))

def stream(seed):
    return split_stream(load_iris(), 3, random_state=seed)

if __name__ == "__main__":
    strategies = {"mine": Mine(), "net": NaiveClassifier(ContinualNet(Net, max_epochs=1))}
    results = run_benchmark(strategies, {"own": stream}, seeds=1, n_jobs=2, progress=False)
    print(results, results.runs["error"].tolist())
"""


def test_what_a_script_defines_runs_in_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout == "<Results: 2 cells (0 failed), 2 strategies, 1 streams, 1 seeds> [None, None]\n", done.stderr


def test_cells_that_take_long_begin_first(tmp_path):
    began = tmp_path / "began"
    strategies = {name: guests.Sleeps(seconds, path=str(began)) for name, seconds in (("short", 0.0), ("long", 0.2))}
    for seeds, expected in (
        (range(3), ["0.0 0", "0.2 0", "0.2 1", "0.2 2", "0.0 1", "0.0 2"]),  # one of each, then the longest
        (range(5), ["0.2 3", "0.2 4", "0.0 3", "0.0 4"]),  # of which the store knows
    ):
        began.write_text("")
        run(strategies, [iris()], seeds=seeds, store=tmp_path / "a.db")
        assert began.read_text().splitlines() == expected


def test_threads_are_refused():
    with joblib.parallel_config("threading"), pytest.raises(ValueError, match="cannot run in threads"):
        statuses({}, n_jobs=2)
    with joblib.parallel_config("threading"):
        assert statuses({}, n_jobs=1) == []
