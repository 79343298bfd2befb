"""Several runs on one store share its cells: none is done twice, none is left out, also where a run is killed."""

import os
import signal
import time

import pytest
from helpers import guests
from helpers.benchmarks import iris, run
from helpers.sharing import at_once, sleepers
from helpers.store import facts
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks import Interrupted, Store, StoreError
from forgetless.benchmarks.runs import runner, sharing


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(runner, "PAUSE", 0.02)


def both_finish(store, began):
    runs, answers = at_once(store, began)
    for each in runs:
        each.join(60)
    assert [each.exitcode for each in runs] == [0, 0]
    assert answers.get() == answers.get() == (10, 120)
    assert sorted(began.read_text().splitlines()) == [f"0.02 {seed}" for seed in range(10)]
    with Store(store) as kept:
        assert kept.claimed(sharing.LEASE) == {}


def test_two_processes_finish_a_store_together(tmp_path):
    both_finish(tmp_path / "a.db", tmp_path / "began")


def test_what_another_run_ends_between_two_looks_is_not_done_again(tmp_path, monkeypatch):
    strategies, look = sleepers(tmp_path / "began"), Store.finished

    def late(store, names):
        done = look(store, names)
        monkeypatch.setattr(Store, "finished", look)
        run(strategies, [iris()], store=tmp_path / "a.db")
        return done

    monkeypatch.setattr(Store, "finished", late)
    assert len(run(strategies, [iris()], store=tmp_path / "a.db").runs) == 1
    assert (tmp_path / "began").read_text().splitlines() == ["0.02 0"]


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("machine", ["this", "another"])
def test_the_cells_of_a_killed_run_are_done_by_another(tmp_path, monkeypatch, machine):
    store, began = tmp_path / "a.db", tmp_path / "began"
    [killed], _ = at_once(store, began, seconds=60, n=1)
    wait_until(began.exists)
    killed.kill()
    killed.join()
    began.unlink()
    with Store(store) as kept:
        assert len(kept.claimed(sharing.LEASE)) == 1
    if machine == "another":  # where nobody knows that the process has ended: when its lease is over
        monkeypatch.setattr(sharing, "is_dead", lambda owner: False)
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + sharing.LEASE)
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.02)))
    results = run(sleepers(began, 60), [iris()], seeds=10, store=store)
    assert (results.runs["status"] == "ok").all()
    assert len(began.read_text().splitlines()) == len(results.runs) == 10


def test_ctrl_c_drops_the_claims(tmp_path):
    with pytest.raises(Interrupted):
        run({"swallows": guests.TakesSignalsForItsOwn()}, [iris()], store=tmp_path / "a.db")
    with Store(tmp_path / "a.db") as store:
        assert store.claimed(3600) == {}


def test_a_run_that_waits_says_so_and_takes_over(tmp_path, monkeypatch, capsys):
    strategies = {"Bayes": GaussianNB()}
    [cell] = runner.plan_cells(strategies, [iris()], seeds=1, device="cpu")
    with Store(tmp_path / "a.db") as store:
        assert store.claim({cell.key: None}, "elsewhere", sharing.LEASE) == {cell.key}
        monkeypatch.setattr(time, "sleep", lambda _: store.unclaim("elsewhere"))
        results = run(strategies, [iris()], store=store, progress=True)
        assert store.claimed(sharing.LEASE) == {}
    assert results.runs["status"].tolist() == ["ok"]
    assert "1 cells are being done by other runs" in capsys.readouterr().err


def test_what_fails_elsewhere_meanwhile_is_not_run_again(tmp_path):
    with Store(tmp_path / "a.db") as store:
        store.write(facts("a", status="failed"))
        before = store.started(["a", "b"])
        assert store.claim({"a": before["a"], "b": None}, "me", 10) == {"a", "b"}
        store.write(facts("a", status="failed", started="2001-01-01T00:00:00+00:00"))
        assert store.claimed(10) == {"b": "me"}
        assert store.claim({"a": before["a"]}, "you", 10) == set()
        assert store.claim({"a": store.started("a")["a"]}, "you", 10) == {"a"}


def test_a_claim_holds_as_long_as_it_is_renewed(tmp_path, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(time, "time", lambda: clock)
    with Store(tmp_path / "a.db") as store:
        assert store.claim({"a": None, "b": None}, "me", 10) == {"a", "b"}
        assert store.claim({"a": None}, "you", 10) == set()
        clock += 9
        store.renew("me", 10)
        clock += 9
        assert store.claim({"a": None}, "you", 10) == set()
        clock += 2
        assert store.claim({"a": None}, "you", 10) == {"a"}
        store.unclaim("me")
        assert store.claimed(10) == {"a": "you"}
        assert store.claimed(1) == {}  # it promises to hold for longer than anybody may


def test_owners_of_whom_nothing_is_known_are_not_dead():
    odd = ["", "x", "a/b", "a/-1/", f"{sharing.scope()}/{2**80}/x", f"{sharing.scope()}/{os.getpid()}/x"]
    assert not any(map(sharing.is_dead, odd))


def test_an_error_of_the_store_while_cells_are_claimed_is_raised(tmp_path, monkeypatch):
    def full(*_):
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Store, "claim", full)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError, match="The disk is full"):
        run({"good": GaussianNB()}, [iris()], store=tmp_path / "a.db", n_jobs=2)
    assert signal.getsignal(signal.SIGINT) is before
