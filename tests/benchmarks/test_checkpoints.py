"""Checkpoints: a cell goes on from the last one, and its facts are those of an undisturbed run."""

import os
import pickle
import stat

import pytest
from helpers.benchmarks import NET, iris, run
from helpers.store import timeless
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import Interrupted, Store, StreamSpec
from forgetless.benchmarks.runs import checkpoints, runner
from forgetless.benchmarks.runs.cell import run_stacked
from forgetless.benchmarks.runs.checkpoints import Checkpoints, checkpoints_for
from forgetless.benchmarks.runs.protocol import Protocol
from forgetless.estimators import (
    DERClassifier,
    EWCClassifier,
    GenerativeReplayClassifier,
    ReplayClassifier,
    make_incremental_pipeline,
)

STRATEGIES = {
    "EWC": EWCClassifier(net=NET),
    "DER": DERClassifier(net=NET, buffer_size=20),
    "Replay with dropout": ReplayClassifier(net=clone(NET).set_params(module__dropout=0.5), buffer_size=20),
    "generator": GenerativeReplayClassifier(net=NET),
    "pipeline": make_incremental_pipeline(StandardScaler(), ReplayClassifier(net=NET, buffer_size=20)),
    "SGD": SGDClassifier(),
    "MLP": MLPClassifier((5,)),
}
PROTOCOL = Protocol(eval_every=20, diagnostics=True, scoring=("accuracy",))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Killed(Checkpoints):
    """Ends the run after a checkpoint, as a kill would."""

    def save(self, keys, state):
        super().save(keys, state)
        if state[0] == 2:
            raise Interrupted


def planned(strategies, **options):
    options = {"seeds": 1, "device": "cpu", "protocol": PROTOCOL, **options}
    return runner.plan_cells(strategies, {"iris": StreamSpec("iris", "split", {"n_experiences": 3})}, **options)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_cell_that_goes_on_has_the_facts_of_an_undisturbed_one(tmp_path, name):
    cells = planned({name: STRATEGIES[name]})
    assert_goes_on(cells, tmp_path)


def test_a_stack_goes_on(tmp_path):
    assert_goes_on(planned({"EWC": EWCClassifier(net=NET)}, seeds=2, stack_seeds=True), tmp_path)


def assert_goes_on(cells, folder):
    undisturbed = run_stacked(cells)
    with pytest.raises(Interrupted):
        run_stacked(cells, checkpoints=Killed(folder / "kept", b"mine", 0.0))
    again = Checkpoints(folder / "kept", b"mine", 0.0)
    begin, spent, states = again.load([cell.key for cell in cells])
    assert begin == 2
    continued = run_stacked(cells, checkpoints=again)
    assert [timeless(each) for each in continued] == [timeless(each) for each in undisturbed]
    for facts, state in zip(continued, states, strict=True):
        assert facts.run["seconds"] > spent / len(cells) > 0
        assert facts.run["started"] == state["run"]["started"]
        assert repr(facts.experiences[:2]) == repr(state["experiences"])  # NaN equals NaN then


def test_seconds_spent_before_count_for_the_limit(tmp_path):
    cells = planned({"SGD": SGDClassifier()})
    kept = Checkpoints(tmp_path / "kept", b"mine", 0.0)
    with pytest.raises(Interrupted):
        run_stacked(cells, checkpoints=Killed(tmp_path / "kept", b"mine", 0.0))
    begin, _, states = kept.load([cells[0].key])
    kept.save([cells[0].key], (begin, 50.0, states))
    [facts] = run_stacked(cells, 60.0, kept)
    assert facts.run["status"] == "ok"
    assert 50 < facts.run["seconds"] < 60
    [facts] = run_stacked(cells, 40.0, kept)
    assert facts.run["error"] == "TimeLimit: it ran longer than 40 seconds, the time limit."


# --- where, and what is loaded -----------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_nothing_is_loaded_that_this_user_did_not_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, other = (Checkpoints(tmp_path, secret, 0.0) for secret in (b"mine", b"other"))
    mine.save(["a"], {"state": 1})
    assert mine.load(["a"]) == {"state": 1}
    assert other.load(["a"]) is None
    assert mine.load(["b"]) is None
    os.rename("a.checkpoint", "b.checkpoint")
    assert mine.load(["b"]) is None
    other.save(["a"], Bomb())
    assert mine.load(["a"]) is None
    (tmp_path / "a.checkpoint").write_bytes(pickle.dumps(Bomb()))
    assert mine.load(["a"]) is None
    assert not (tmp_path / "exploded").exists()


def test_what_other_packages_wrote_is_not_continued(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, b"mine", 0.0)
    kept.save(["a"], 1)
    assert kept.load(["a"]) == 1
    monkeypatch.setattr(checkpoints, "versions", lambda: {"torch": "another"})
    assert kept.load(["a"]) is None


def test_a_cell_goes_on_without_checkpoints_where_there_can_be_none(tmp_path):
    (tmp_path / "file").touch()
    kept = Checkpoints(tmp_path / "file", b"mine", 0.0)
    [facts] = run_stacked(planned({"SGD": SGDClassifier()}), checkpoints=kept)
    assert facts.run["status"] == "ok"


def test_places(tmp_path):
    with Store(tmp_path / "a.db") as store, Store(":memory:") as memory:
        beside = checkpoints_for(store, None)
        assert beside.folder == tmp_path / "a.db-checkpoints"
        assert checkpoints_for(memory, None) is None
        named = checkpoints_for(memory, tmp_path / "named")
        assert named.folder == tmp_path / "named" and named.secret == beside.secret
    [key] = (tmp_path / "state").rglob("*.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "secret" not in repr(beside)
    with pytest.raises(OSError, match="No such file"):
        checkpoints_for(store, tmp_path / "no" / "folder")
    key.unlink()
    key.parent.chmod(0o500)
    if os.geteuid() != 0:
        with pytest.warns(UserWarning, match="keep no checkpoints"):
            assert checkpoints_for(store, None) is None


class Looks(GaussianNB):
    """Sees what is beside the store while it learns."""

    folder, seen = None, []

    def partial_fit(self, X, y, classes=None):
        there = self.folder.exists()
        self.seen.append((stat.S_IMODE(self.folder.stat().st_mode), len(os.listdir(self.folder))) if there else None)
        return super().partial_fit(X, y, classes)


def test_checkpoints_are_beside_the_store_and_go_with_the_end_of_the_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(Looks, "folder", tmp_path / "a.db-checkpoints")
    monkeypatch.setattr(Looks, "seen", [])
    monkeypatch.setattr(checkpoints, "AFTER", 0.0)
    results = run({"looks": Looks()}, [iris()], store=tmp_path / "a.db")
    assert results.runs["status"].tolist() == ["ok"]
    assert Looks.seen == [None, (0o700, 1), (0o700, 1)]
    assert sorted(os.listdir(tmp_path)) == ["a.db", "state"]
