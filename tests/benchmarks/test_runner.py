"""Cells and the harness: what is measured, what identifies a cell, what is run again and what not."""

import functools
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import Interrupted, Store, StrategySpec, StreamSpec, run_benchmark
from forgetless.benchmarks.runs.cell import Cell, run_cells_together
from forgetless.benchmarks.runs.identity import describe, digest
from forgetless.benchmarks.runs.runner import plan_cells
from forgetless.datasets import load_iris, permuted_stream, split_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    IndependentClassifier,
    NaiveClassifier,
    ReplayClassifier,
    make_incremental_pipeline,
)

NET = ContinualNet(MLP, module__hidden_units=(8,), max_epochs=1)
run = functools.partial(run_benchmark, seeds=1, n_jobs=1, progress=False)


def iris(scenario="class", **options):
    return split_stream(load_iris(), n_experiences=3, scenario=scenario, class_order="sorted", **options)


class Spy(ClassifierMixin, BaseEstimator):
    """Answers the first class it was announced, and remembers how it was called, in the list that is `log`."""

    log = None

    def __init__(self, random_state=None, fail_at=None):
        self.random_state = random_state
        self.fail_at = fail_at

    def fit(self, X, y):
        return self.partial_fit(X, y, np.unique(y))

    def partial_fit(self, X, y, classes=None):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        self.classes_ = classes
        self.log.append(("partial_fit", self.random_state, len(X), classes))
        if self.n_calls_ == self.fail_at:
            raise ValueError("this goes\nwrong")
        return self

    def predict(self, X):
        self.log.append(("predict", len(X), torch.get_num_threads()))
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(Spy, "log", [])
    return Spy.log


# --- a cell ------------------------------------------------------------------------------------------------------


def test_guest_hears_all_classes_and_is_tested_on_everything_at_once(log):
    results = run({"Spy": Spy()}, [iris()], seeds=[7])
    fits = [call for call in log if call[0] == "partial_fit"]
    assert [(seed, n_rows, classes.tolist()) for _, seed, n_rows, classes in fits] == [(7, 40, [0, 1, 2])] * 3
    assert [call for call in log if call[0] == "predict"] == [("predict", 30, 1)] * 3  # one call, one thread
    matrix = results.scores.pivot_table(index="trained_on", columns="tested_on", values="score", dropna=False)
    assert np.isnan(matrix.loc[-1]).all()
    assert matrix.loc[0:].to_numpy().tolist() == [[1.0, 0.0, 0.0]] * 3
    assert results.experiences["model_bytes"].gt(0).all()
    assert results.experiences["n_train"].tolist() == [40, 40, 40]
    [row] = results.runs.itertuples()
    assert (row.status, row.estimator, row.family, row.scenario, row.seed) == ("ok", "Spy", "guest", "class", 7)
    assert set(json.loads(row.versions)) >= {"python", "torch", "scikit-learn"}


def test_many_test_sets_are_tested_in_blocks(monkeypatch, log):
    stream = permuted_stream(load_iris(), n_experiences=5, random_state=0)
    whole = run({"SGD": SGDClassifier(), "Spy": Spy()}, [stream]).scores["score"]
    monkeypatch.setattr("forgetless.benchmarks.runs.cell._BLOCK_BYTES", 2 * stream.test_set(0)[0].nbytes)
    in_blocks = run({"SGD": SGDClassifier(), "Spy": Spy()}, [stream]).scores["score"]
    assert_series_equal(whole, in_blocks, check_exact=True)
    assert {call[1] for call in log if call[0] == "predict"} == {150, 60, 30}


def test_ours_is_told_the_task_and_only_asked_about_tasks_it_learned():
    results = run({"Independent": IndependentClassifier(net=NET, integration="task_id")}, [iris("task")])
    scores = results.scores.set_index(["trained_on", "tested_on"])["score"]
    for (i, j), score in scores.items():
        assert score == 1.0 if j <= i else math.isnan(score)  # one class a task: nothing to confuse
    assert results.runs["needs_task_id"].all()
    # three networks of 4 -> 8 -> 1, all needed to predict
    assert results.runs["n_parameters"].tolist() == [3 * (4 * 8 + 8 + 8 + 1)]


def test_untrained_scores_do_not_change_what_is_learned():
    stream = iris()
    results = run({"Naive": NaiveClassifier(net=NET)}, [stream])
    untrained = results.scores[results.scores["trained_on"] == -1]["score"]
    assert untrained.between(0, 1).all()
    assert untrained.sum() == pytest.approx(1, abs=1)  # somewhere about chance
    alone = NaiveClassifier(net=NET, random_state=0)
    for experience in stream:
        alone.partial_fit(experience.X_train, experience.y_train)
    expected = [np.mean(alone.predict(X) == y) for X, y in map(stream.test_set, range(3))]
    assert results.scores[results.scores["trained_on"] == 2]["score"].tolist() == expected


def test_bytes_are_shared_out_by_kind():
    results = run({"Replay": ReplayClassifier(net=NET, buffer_size=20)}, [iris()])
    for row in results.experiences.itertuples():
        memory = json.loads(row.memory)
        assert row.model_bytes == memory.pop("weights")
        assert row.replay_bytes == memory.pop("replay")
        assert row.state_bytes == sum(memory.values()) > 0
        assert math.isnan(row.peak_memory_bytes) or row.peak_memory_bytes >= 0
    assert (results.experiences["fit_seconds"] > 0).all()
    assert (results.experiences["predict_seconds"] > 0).all()


def test_peak_memory_sees_what_learning_took(log, monkeypatch):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell")

    def hungry(self, X, y, classes=None):
        self.classes_ = classes
        np.ones(2**25)  # 256 MiB, for a moment
        return self

    monkeypatch.setattr(Spy, "partial_fit", hungry)
    peaks = run({"Spy": Spy()}, [iris()]).experiences["peak_memory_bytes"]
    assert peaks.between(0.9 * 2**28, 1.5 * 2**28).all()


def test_pipelines_stand_like_any_strategy():
    ours = make_incremental_pipeline(StandardScaler(), IndependentClassifier(net=NET))
    guest = make_incremental_pipeline(StandardScaler(), SGDClassifier())
    results = run({"ours": ours, "guest": guest}, [iris("task")], seeds=[5])
    assert results.runs["error"].tolist() == [None, None]
    assert results.runs["estimator"].tolist() == ["IndependentClassifier", "SGDClassifier"]
    assert results.runs["family"].tolist() == ["isolation", "guest"]
    last = results.scores[(results.scores["trained_on"] == 2) & (results.scores["strategy"] == "ours")]
    assert last["score"].tolist() == [1.0, 1.0, 1.0]


def test_seed_reaches_every_random_state(log):
    pipeline = make_incremental_pipeline(StandardScaler(), Spy(random_state=99))
    run({"Spy": pipeline}, [iris()], seeds=[3, 5])
    assert sorted({call[1] for call in log if call[0] == "partial_fit"}) == [3, 5]
    assert pipeline.steps[-1][1].random_state == 99  # a clone was used


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(tmp_path, log):
    strategies = {"bad": Spy(fail_at=2), "good": GaussianNB()}
    results = run(strategies, [iris()], seeds=2, store=tmp_path / "a.db")
    runs = results.runs.set_index(["strategy", "seed"])
    assert runs["status"].to_dict() == {
        ("bad", 0): "failed",
        ("good", 0): "ok",
        ("bad", 1): "failed",
        ("good", 1): "ok",
    }
    assert runs["error"].loc["bad", 0] == "ValueError: this goes wrong"
    assert runs["n_experiences"].loc["bad", 0] == 3
    assert set(results.scores["strategy"]) == {"good"}
    started = runs["started"]
    again = run(strategies, [iris()], seeds=2, store=tmp_path / "a.db").runs.set_index(["strategy", "seed"])["started"]
    assert (again != started).to_dict() == {("bad", 0): True, ("good", 0): False, ("bad", 1): True, ("good", 1): False}


def test_threads_are_as_before_afterwards(log):
    torch.set_num_threads(2)
    try:
        run({"Spy": Spy(), "bad": Spy(fail_at=1)}, [iris()])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# --- which cells -------------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_the_number_of_jobs(tmp_path):
    strategies = {"Replay": ReplayClassifier(net=NET, buffer_size=20), "SGD": SGDClassifier()}
    streams = {
        "split": StreamSpec("iris", "split", {"n_experiences": 3}),
        "permuted": StreamSpec("iris", "permuted", {"n_experiences": 2}),
    }
    one = run(strategies, streams, seeds=2)
    two = run(strategies, streams, seeds=2, n_jobs=2, store=tmp_path / "a.db")
    assert_frame_equal(one.scores, two.scores, check_exact=True)
    assert one.runs["cell"].tolist() == two.runs["cell"].tolist()
    assert one.scores["score"].nunique() > 5


def test_stacked_seeds_have_the_scores_of_single_ones_up_to_rounding(tmp_path):
    strategies = {
        "Replay": ReplayClassifier(net=clone(NET).set_params(max_epochs=20), buffer_size=20),
        "SGD": SGDClassifier(),
    }
    streams = {"split": StreamSpec("iris", "split", {"n_experiences": 3})}
    single = run(strategies, streams, seeds=3, store=tmp_path / "a.db")
    stacked = run(strategies, streams, seeds=3, store=tmp_path / "a.db", stack_seeds=True)
    assert_series_equal(single.scores["score"], stacked.scores["score"], atol=0.1)
    is_replay = single.runs["strategy"] == "Replay"
    assert not set(single.runs["cell"][is_replay]) & set(stacked.runs["cell"])
    assert set(single.runs["cell"][~is_replay]) < set(stacked.runs["cell"])
    assert (stacked.runs["status"] == "ok").all()


def test_stacked_seed_that_fails_does_not_take_the_others_along():
    class Broken:
        def __call__(self, seed):
            stream = iris()
            if seed == 1:
                raise ValueError("seed 1 has no stream")
            return stream

    source = Broken()
    cells = [Cell("Naive", "iris", NaiveClassifier(NET), source, seed, "cpu", {}, stacked=True) for seed in range(3)]
    assert [facts.run["status"] for facts in run_cells_together(cells)] == ["ok", "failed", "ok"]


def test_stream_sources():
    assert len(run({"Bayes": GaussianNB()}, [iris(), iris("task", name="other")]).runs) == 2
    made = run({"Bayes": GaussianNB()}, {"mine": lambda seed: permuted_stream(load_iris(), 2, seed)}, seeds=3)
    assert set(made.runs["stream"]) == {"mine"}
    seeds = [json.loads(definition)["random_state"] for definition in made.runs["stream_definition"]]
    assert seeds == [0, 1, 2]
    fixed = run({"Bayes": GaussianNB()}, {"mine": StreamSpec("iris", "permuted", {"random_state": 5})}, seeds=2)
    assert len(set(fixed.runs["stream_definition"])) == 1


def test_strategy_spec_builds_net_params_and_pipeline():
    spec = StrategySpec(
        "Replay",
        {"buffer_size": 10, "net__lr": 0.5},
        net={"hidden_units": [8, 4], "max_epochs": 2},
        preprocess=("sklearn.preprocessing.StandardScaler",),
    )
    learner = spec.build().steps[-1][1]
    assert learner.buffer_size == 10
    assert learner.net.get_params()["module__hidden_units"] == (8, 4)
    assert (learner.net.lr, learner.net.max_epochs) == (0.5, 2)


def test_stored_cells_are_not_run_again_also_under_another_name(tmp_path, log, capsys):
    first = run({"Spy": Spy()}, [iris()], seeds=2, store=tmp_path / "a.db")
    n_calls = len(log)
    second = run({"Renamed": Spy()}, {"same": iris()}, seeds=2, store=tmp_path / "a.db", progress=True)
    assert len(log) == n_calls
    assert second.runs["cell"].tolist() == first.runs["cell"].tolist()
    assert second.runs["strategy"].tolist() == ["Renamed", "Renamed"]
    assert "2 of 2 cells are in" in capsys.readouterr().err
    third = run({"Spy": Spy(fail_at=99)}, [iris()], seeds=3, store=tmp_path / "a.db")
    assert len(log) == n_calls * 5 / 2
    assert len(third.runs) == 3
    with Store(tmp_path / "a.db") as store:
        assert len(store.results().runs) == 5
        assert len(run({"Spy": Spy()}, [iris()], store=store).runs) == 1  # this run's cells only


def test_ours_hear_of_classes_when_they_come_unless_the_stream_announces_them():
    naive = NaiveClassifier(ContinualNet(MLP, module__hidden_units=(4,), max_epochs=1))
    results = run({"Naive": naive}, {str(said): iris(announce_classes=said) for said in (False, True)})
    sizes = results.experiences.groupby("stream")["model_bytes"].apply(list)
    assert sizes["False"][-1] == sizes["True"][-1]
    assert len(set(sizes["False"])) == 3  # the output layer grew
    assert len(set(sizes["True"])) == 1


def test_results_come_in_the_order_of_the_plan():
    results = run({"b": GaussianNB(), "a": SGDClassifier()}, [iris("task"), iris()], seeds=[1, 0])
    assert results.runs["strategy"].tolist() == ["b", "a"] * 4
    assert results.runs["seed"].tolist() == [1, 1, 0, 0] * 2
    assert results.runs["scenario"].tolist() == ["task"] * 4 + ["class"] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategies": {}}, "nothing to run"),
        ({"streams": []}, "nothing to run"),
        ({"strategies": {"x": GaussianNB}}, "is a class"),
        ({"strategies": {"x": make_pipeline(StandardScaler(), GaussianNB())}}, "make_incremental_pipeline"),
        ({"strategies": {"x": StrategySpec("EWX")}}, r"no strategy 'EWX' \(did you mean 'EWC'\?\)"),
        ({"strategies": {"x": StrategySpec("EWC", {"lambda": 1})}}, "no parameter 'lambda'.*ewc_lambda"),
        ({"strategies": {"x": StrategySpec("sklearn.svm.SVC")}}, "cannot learn incrementally"),
        ({"strategies": {"x": StrategySpec("sklearn.utils.Bunch")}}, "is no scikit-learn estimator"),
        ({"strategies": {"x": StrategySpec("sklearn.nowhere.SGD")}}, "cannot be imported"),
        ({"strategies": {"x": StrategySpec("os.system")}}, "a suite file may not import"),
        ({"strategies": {"x": Spy(fail_at=lambda: 0)}}, "no importable name"),
        ({"strategies": {"a": GaussianNB(), "b": GaussianNB()}}, "the same thing under two names"),
        ({"streams": {"x": load_iris()}}, "A Dataset is no stream"),
        ({"streams": {"x": StreamSpec("iris", "spilt")}}, "did you mean 'split'"),
        ({"streams": {"x": StreamSpec("irsi", "split")}}, "irsi"),
        ({"streams": [iris(), iris()]}, "Two streams have the same name"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"seeds": [-1]}, "different numbers"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"device": "gpu"}, "device is 'gpu'"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words):
        run(**{"strategies": {"Bayes": GaussianNB()}, "streams": [iris()], **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there():
    with pytest.raises(ValueError, match="no GPU"):
        run({"Naive": NaiveClassifier(net=NET)}, [iris()], device="cuda")
    assert run({"Bayes": GaussianNB()}, [iris()], device="cuda").runs["device"].tolist() == ["cpu"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu():
    results = run({"Replay": ReplayClassifier(net=NET), "Bayes": GaussianNB()}, [iris()], device="auto")
    assert results.runs["error"].tolist() == [None, None]
    assert results.runs["device"].tolist() == ["cuda", "cpu"]
    assert (results.experiences["peak_memory_bytes"].iloc[:3] > 0).all()


# --- stopping ----------------------------------------------------------------------------------------------------


def test_interrupt_keeps_what_is_done_and_says_how_to_go_on(tmp_path, log, monkeypatch):
    calls = iter(range(100))

    def stop_at_the_fifth(self, X, y, classes=None):
        self.classes_ = classes
        if next(calls) == 4:
            raise KeyboardInterrupt
        return self

    monkeypatch.setattr(Spy, "partial_fit", stop_at_the_fifth)
    with pytest.raises(Interrupted, match=r"1 of 3 cells are kept in .*a\.db; do the same again"):
        run({"Spy": Spy()}, [iris()], seeds=3, store=tmp_path / "a.db")
    results = run({"Spy": Spy()}, [iris()], seeds=3, store=tmp_path / "a.db")
    assert results.runs["status"].tolist() == ["ok"] * 3
    assert next(calls) == 5 + 6  # three fits in each of the two cells that were missing


def test_interrupt_without_a_store_says_so(log, monkeypatch):
    def stop(self, X, y, classes=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(Spy, "partial_fit", stop)
    with pytest.raises(Interrupted, match="Nothing was kept"):
        run({"Spy": Spy()}, [iris()])


# --- what identifies a cell --------------------------------------------------------------------------------------

DESCRIBED = """
import hashlib, numpy as np
from forgetless.benchmarks.runs.identity import describe, digest
from forgetless.estimators import ContinualNet, EWCClassifier, MLP, make_incremental_pipeline
from sklearn.preprocessing import StandardScaler
net = ContinualNet(MLP, module__hidden_units=(8,), train_split=None)
print(digest(describe([make_incremental_pipeline(StandardScaler(), EWCClassifier(net=net)), {"b", "a", "c"}])))
"""


def test_description_is_the_same_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DESCRIBED], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1


class Slots:
    __slots__ = ()


def test_description_of_values():
    assert describe({"b": np.float64(0.5), "a": (1, None)}) == {"a": [1, None], "b": 0.5}
    assert describe(np.arange(3)) == describe(np.arange(3))
    assert describe(np.arange(3)) != describe(np.arange(3.0))
    assert describe(np.arange(4)) != describe(np.arange(4).reshape(2, 2))
    assert describe(np.array(["a", None], dtype=object)) == {"array": ["a", None]}
    assert describe(torch.ones(2)) == describe(np.ones(2, dtype=np.float32))
    assert describe(torch.float32) == "torch.float32"
    assert describe(functools.partial(math.pow, 2)) == {"partial": "math.pow", "args": [2], "kwargs": {}}
    assert describe(Path("a/b")) == "a/b"
    assert "0x" not in json.dumps(describe(ContinualNet(MLP)))
    with pytest.raises(ValueError, match="cannot be found again"):
        describe(Slots())


def test_key_follows_what_is_run_and_nothing_else():
    def key(estimator=None, stream=None, **options):
        options = {"seeds": [0], "device": "cpu", **options}
        [cell] = plan_cells({"x": estimator or ReplayClassifier(net=NET)}, {"y": stream or iris()}, **options)
        return cell.key

    assert key() == key(ReplayClassifier(net=NET, random_state=5))
    others = [
        key(ReplayClassifier(net=NET, buffer_size=7)),
        key(ReplayClassifier(net=ContinualNet(MLP, module__hidden_units=(9,), max_epochs=1))),
        key(NaiveClassifier(net=NET)),
        key(stream=iris("task")),
        key(seeds=[1]),
    ]
    assert len({key(), *others}) == 6


def test_cells_travel_light():
    spec = StreamSpec("mnist", "split")
    cell = Cell("Naive", "mnist", NaiveClassifier(net=NET), spec, 0, "cpu", {"fingerprint": "0"})
    assert len(pickle.dumps(cell)) < 10_000


def test_missing_data_fail_the_cell(tmp_path):
    spec = StreamSpec("mnist", "split", data_home=str(tmp_path / "\0"))
    [facts] = run_cells_together([Cell("Bayes", "mnist", GaussianNB(), spec, 0, "cpu", {})])
    assert facts.run["status"] == "failed"
    assert digest(facts.run["error"])
