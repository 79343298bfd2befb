"""The runner: which cells there are, what is run again and what not."""

import json

import numpy as np
import pytest
import torch
from helpers.benchmarks import NET, Spy, iris, run
from helpers.results import make_results
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import SGDClassifier, SGDOneClassSVM
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import Results, Store, StrategySpec, StreamSpec
from forgetless.benchmarks.runs import workers
from forgetless.benchmarks.runs.runner import plan_cells
from forgetless.benchmarks.runs.workers import Conditions
from forgetless.datasets import load_iris, permuted_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    EWCClassifier,
    IndependentClassifier,
    NaiveClassifier,
    ReplayClassifier,
    make_incremental_pipeline,
)
from forgetless.reports.formats import unmeasured


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


class Heavy(GaussianNB):
    def __init__(self, n_bytes=0):
        super().__init__()
        self.n_bytes = n_bytes

    def memory_usage(self):
        return {"weights": self.n_bytes, "replay": self.n_bytes}


@pytest.mark.parametrize("n_bytes", [2**70, 2**62, -1, float("nan")])
def test_bytes_that_no_store_can_keep_fail_their_cell_alone(n_bytes):
    runs = run({"heavy": Heavy(n_bytes), "light": Heavy(2**61), "good": GaussianNB()}, [iris()]).runs
    assert runs["status"].tolist() == ["failed", "ok", "ok"]
    assert runs["error"][0].startswith("ValueError: ")


@pytest.mark.parametrize("seeds", [2, np.int64(2), range(2), np.arange(2), np.array([0, 1], dtype=np.uint8)])
def test_seeds_of_whatever_integers(seeds):
    plain, found = (run({"Bayes": GaussianNB()}, [iris()], seeds=each).runs["cell"].tolist() for each in (2, seeds))
    assert found == plain


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
    single = run(strategies, streams, seeds=3, stack_seeds=False)
    stacked = run(strategies, streams, seeds=3, store=tmp_path / "a.db")
    assert_series_equal(single.scores["score"], stacked.scores["score"], atol=0.1)
    assert single.runs["cell"].tolist() == stacked.runs["cell"].tolist()
    n_stacked = dict(zip(stacked.runs["strategy"], stacked.runs["n_stacked"], strict=True))
    assert n_stacked == {"Replay": 3, "SGD": 1}
    assert set(single.runs["n_stacked"]) == {1}
    timed = run(strategies, streams, seeds=3, store=tmp_path / "a.db", timing=True)
    assert set(timed.runs["n_stacked"]) == {1}
    assert (timed.runs["started"] == stacked.runs["started"]).tolist() == [False, True] * 3


@pytest.mark.parametrize(
    ("net", "seeds", "expected"),
    [
        (NET, 2, {"Naive"}),
        (NET, 1, set()),
        (clone(NET).set_params(batch_size=-1), 2, set()),
        (clone(NET).set_params(module__hidden_units=(1000, 1000)), 2, set()),
        (ContinualNet(torch.nn.Linear), 2, set()),
    ],
    ids=["small", "one seed", "all rows at once", "large", "of whatever size"],
)
def test_seeds_are_stacked_where_that_pays(net, seeds, expected):
    strategies = {"Naive": NaiveClassifier(net), "Independent": IndependentClassifier(net)}
    cells = plan_cells(strategies, [iris()], seeds=seeds, device="cpu", stack_seeds="auto")
    assert {cell.strategy for cell in cells if cell.stacked} == expected


def test_stream_sources():
    assert len(run({"Bayes": GaussianNB()}, [iris(), iris("task", name="other")]).runs) == 2
    made = run({"Bayes": GaussianNB()}, {"mine": lambda seed: permuted_stream(load_iris(), 2, seed)}, seeds=3)
    assert set(made.runs["stream"]) == {"mine"}
    seeds = [json.loads(definition)["random_state"] for definition in made.runs["stream_definition"]]
    assert seeds == [0, 1, 2]
    fixed = run({"Bayes": GaussianNB()}, {"mine": StreamSpec("iris", "permuted", {"random_state": 5})}, seeds=2)
    assert len(set(fixed.runs["stream_definition"])) == 1


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
        ({"strategies": {"x": MiniBatchKMeans()}}, "MiniBatchKMeans, is neither a classifier nor a regressor"),
        ({"strategies": {"x": SGDOneClassSVM()}}, "SGDOneClassSVM, is neither a classifier nor a regressor"),
        ({"strategies": {"x": StrategySpec("sklearn.utils.Bunch")}}, "is no scikit-learn estimator"),
        ({"strategies": {"x": StrategySpec("sklearn.nowhere.SGD")}}, "cannot be imported"),
        ({"strategies": {"x": StrategySpec("os.system")}}, "a suite file may not import"),
        ({"strategies": {"x": Spy(fail_at=lambda: 0)}}, "no importable name"),
        ({"strategies": {"a": GaussianNB(), "b": GaussianNB()}}, "the same thing under two names"),
        ({"streams": {"x": load_iris()}}, "A Dataset is no stream"),
        ({"streams": {"x": StreamSpec("iris", "spilt")}}, "did you mean 'split'"),
        ({"streams": {"x": StreamSpec("irsi", "split")}}, "irsi"),
        ({"streams": [iris(), iris()]}, "Two streams have the same name"),
        ({"strategies": {"x": EWCClassifier(ewc_lambda=-1)}}, "'x': The 'ewc_lambda' parameter of EWCClassifier"),
        ({"strategies": {"x": SGDClassifier(alpha=-1)}}, "'x': The 'alpha' parameter of SGDClassifier"),
        ({"strategies": {"x": EWCClassifier(net=ContinualNet(MLP, lr=-1))}}, "'lr' parameter of ContinualNet"),
        ({"strategies": {"x": make_incremental_pipeline(PCA(2).fit(np.eye(4)), GaussianNB())}}, "FrozenEstimator"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 10**30}, "give how many .1 to 10,000."),
        ({"seeds": range(10**12)}, "give how many .1 to 10,000."),
        ({"seeds": 2.0}, "seeds is 2.0; give how many"),
        ({"seeds": [[1]]}, "different numbers"),
        ({"seeds": iter([1])}, "different numbers"),
        ({"seeds": ["a"]}, "different numbers"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"seeds": [-1]}, "different numbers"),
        ({"strategies": [GaussianNB()]}, "strategies is a list; give a mapping"),
        ({"streams": iris()}, "streams is one stream; give a mapping"),
        ({"streams": 5.0}, "streams is a float; give a mapping"),
        ({"streams": [StreamSpec("iris", "split")]}, "One of the streams is a StreamSpec; give a mapping"),
        ({"budget": {"state_byte": 5}}, "'state_byte': 5}; give a mapping with 'state_bytes'"),
        ({"budget": 5}, "budget is 5; give a mapping"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"device": "cuda:x"}, "device is 'cuda:x'"),
        ({"device": "cuda:"}, "device is 'cuda:'"),
        ({"device": "mps:1"}, "device is 'mps:1'"),
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


def planned(device):
    return plan_cells({"Naive": NaiveClassifier(net=NET), "Bayes": GaussianNB()}, [iris()], seeds=3, device=device)


def test_gpus_are_filled_evenly_or_one_is_named(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(workers, "run_stacked", lambda *_: [])
    for device in ("cuda", "cuda:1"):
        cells = planned(device)
        assert [cell.device for cell in cells] == ["cuda", "cpu"] * 3
        for number, cell in enumerate(cells[::2]):
            Conditions(1, 1.0).run([cell], number)
        Conditions(1, 1.0).run([cells[1]], 1)
    assert chosen == [0, 1, 0, 1, 1, 1]
    assert [cell.key for cell in planned("cuda")] == [cell.key for cell in planned("cuda:1")]
    with pytest.raises(ValueError, match="no GPU of that name"):
        planned("cuda:2")


def test_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [cell.device for cell in planned("mps")] == ["mps", "cpu"] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu():
    results = run({"Replay": ReplayClassifier(net=NET), "Bayes": GaussianNB()}, [iris()], device="auto")
    assert results.runs["error"].tolist() == [None, None]
    assert results.runs["device"].tolist() == ["cuda", "cpu"]
    assert (results.experiences["peak_memory_bytes"].iloc[:3] > 0).all()


@pytest.mark.parametrize("n_streams", [0, 1, 2])
def test_a_notebook_shows_the_leaderboard_as_text(n_streams):
    names = ["<b>one</b>", "two"][:n_streams]
    shown = Results(**vars(make_results(streams=["digits", *names], failed=[("EWC", 0)])))._repr_html_()
    assert shown.startswith("<p>Results: ") and shown.count("<table") == 1
    assert "DER++" in shown and "<b>one" not in shown and ("&lt;b&gt;one" in shown) == (n_streams > 0)


def test_seconds_of_runs_beside_others_are_no_measurement_until_they_are_measured(tmp_path):
    store = tmp_path / "a.db"
    beside = run({"Bayes": GaussianNB()}, [iris()], seeds=2, store=store, n_jobs=2)
    assert beside.runs["n_parallel"].tolist() == [2, 2]
    assert "2 of 2 runs went on beside others" in unmeasured(beside.runs)
    again = run({"Bayes": GaussianNB()}, [iris()], seeds=2, store=store)
    assert again.runs["started"].tolist() == beside.runs["started"].tolist()

    measured = run({"Bayes": GaussianNB()}, [iris()], seeds=2, store=store, n_jobs=2, timing=True)
    assert measured.runs["n_parallel"].tolist() == [1, 1]
    assert (measured.runs["started"] > beside.runs["started"]).all()
    assert measured.scores["score"].equals(beside.scores["score"])
    assert not unmeasured(measured.runs)
    once = run({"Bayes": GaussianNB()}, [iris()], seeds=2, store=store, timing=True)
    assert once.runs["started"].tolist() == measured.runs["started"].tolist()


def test_pickles_and_steps_are_counted():
    strategies = {"Naive": NaiveClassifier(clone(NET).set_params(batch_size=16)), "Bayes": GaussianNB()}
    results = run(strategies, [iris()])
    rows = dict(list(results.experiences.groupby("strategy")))
    assert rows["Naive"]["gradient_steps"].tolist() == [-(-n // 16) for n in rows["Naive"]["n_train"]]
    assert rows["Bayes"]["gradient_steps"].isna().all()
    assert (rows["Naive"]["pickled_bytes"] > rows["Naive"]["model_bytes"]).all()
    assert (rows["Bayes"]["pickled_bytes"] == rows["Bayes"]["model_bytes"]).all()
    assert results.runs["n_stacked"].tolist() == [1, 1]
