"""A cell: what is measured, what a strategy is told, and what identifies the cell."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.benchmarks import NET, Spy, iris, run
from pandas.testing import assert_series_equal
from scipy import sparse
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import StreamSpec
from forgetless.benchmarks.runs.cell import Cell, run_stacked
from forgetless.benchmarks.runs.identity import digest
from forgetless.benchmarks.runs.measuring import Energy, now
from forgetless.benchmarks.runs.runner import plan_cells
from forgetless.datasets import (
    Dataset,
    chunked_stream,
    load_iris,
    permuted_stream,
    split_stream,
    stream_from,
    with_label_noise,
)
from forgetless.estimators import (
    MLP,
    ContinualNet,
    GDumbClassifier,
    IndependentClassifier,
    NaiveClassifier,
    ReplayClassifier,
    make_incremental_pipeline,
)


def test_external_estimator_hears_all_classes_and_is_tested_in_one_call(log):
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
    assert (row.status, row.estimator, row.family, row.scenario, row.seed) == ("ok", "Spy", "external", "class", 7)
    assert set(json.loads(row.versions)) >= {"python", "torch", "scikit-learn"}


def test_many_test_sets_are_tested_in_blocks(monkeypatch, log):
    stream = permuted_stream(load_iris(), n_experiences=5, random_state=0)
    whole = run({"SGD": SGDClassifier(), "Spy": Spy()}, [stream]).scores["score"]
    monkeypatch.setattr("forgetless.benchmarks.runs.testing.BLOCK_BYTES", 2 * stream.test_set(0)[0].nbytes)
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


def test_a_pickle_is_shared_out_by_kind():
    replay = ReplayClassifier(net=NET, buffer_size=20)
    results = run({"Replay": replay, "GDumb": GDumbClassifier(net=NET), "Bayes": GaussianNB()}, [iris()])
    kinds = {"Replay": {"weights", "optimizer", "replay", "other"}, "GDumb": {"replay", "other"}, "Bayes": {"other"}}
    for row in results.experiences.itertuples():
        pickled, memory = json.loads(row.pickled_memory), json.loads(row.memory)
        assert pickled.keys() == kinds[row.strategy] and sum(pickled.values()) == row.pickled_bytes
        assert all(n_bytes > memory[kind] for kind, n_bytes in pickled.items() if kind != "other")


def test_samples_and_operations_are_counted():
    results = run({"Naive": NaiveClassifier(net=NET), "Bayes": GaussianNB()}, [iris()])
    rows = dict(list(results.experiences.groupby("strategy")))
    n_trained = rows["Naive"]["n_train"] * NET.max_epochs
    assert rows["Naive"]["samples_seen"].tolist() == n_trained.tolist()
    per_row = [2 * (2 * 4 * 8 + 3 * 8 * n_classes) for n_classes in (1, 2, 3)]  # forward, to weights, to hidden units
    assert rows["Naive"]["flops"].tolist() == (n_trained * per_row).tolist()
    assert rows["Bayes"][["samples_seen", "flops"]].isna().all(axis=None)


def test_the_clock_waits_for_the_device(monkeypatch):
    waited = []
    for device in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, device), "synchronize", lambda device=device: waited.append(device))
    assert now("cpu") <= now("cuda") <= now("mps")
    assert waited == ["cuda", "mps"]


def test_energy_is_what_the_counters_tell(tmp_path, monkeypatch):
    monkeypatch.setattr("forgetless.benchmarks.runs.measuring.POWERCAP", tmp_path)
    assert math.isnan(Energy("cpu").spent())
    counts = {"intel-rapl:0": 900, "intel-rapl:1": 5, "intel-rapl:1:0": 7}  # the last is a part of the second
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{count}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    energy = Energy("cpu")
    for name in counts:
        (tmp_path / name / "energy_uj").write_text("100\n")
    assert energy.spent() == (200 + 95) / 1e6  # the first counter was full once
    assert math.isnan(Energy("cuda").spent())
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert math.isnan(energy.spent())


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
    external = make_incremental_pipeline(StandardScaler(), SGDClassifier())
    results = run({"ours": ours, "external": external}, [iris("task")], seeds=[5])
    assert results.runs["error"].tolist() == [None, None]
    assert results.runs["estimator"].tolist() == ["IndependentClassifier", "SGDClassifier"]
    assert results.runs["family"].tolist() == ["isolation", "external"]
    assert results.runs["keeps"].tolist() == ["nothing", "nothing"]  # what scikit-learn's own keep is known
    last = results.scores[(results.scores["trained_on"] == 2) & (results.scores["strategy"] == "ours")]
    assert last["score"].tolist() == [1.0, 1.0, 1.0]


def test_frames_and_sparse_rows_are_learned_and_tested_like_arrays():
    rows = [(np.eye(6)[[k, 5, k, 5]], [0, 1, 0, 1]) for k in range(3)]
    forms = {"array": np.asarray, "frame": pd.DataFrame, "sparse": sparse.csr_array}
    streams = {name: stream_from([(form(X), y) for X, y in rows]) for name, form in forms.items()}
    scores = run({"sgd": SGDClassifier()}, streams, seeds=1).scores
    found = [scores.loc[scores["stream"] == name, "score"].dropna().tolist() for name in streams]
    assert found[0] == found[1] == found[2]
    assert 1.0 in found[0]


def test_seed_reaches_every_random_state(log):
    pipeline = make_incremental_pipeline(StandardScaler(), Spy(random_state=99))
    run({"Spy": pipeline}, [iris()], seeds=[3, 5])
    assert sorted({call[1] for call in log if call[0] == "partial_fit"}) == [3, 5]
    assert pipeline.steps[-1][1].random_state == 99  # a clone was used


def test_ours_hear_of_classes_when_they_come_unless_the_stream_announces_them():
    naive = NaiveClassifier(ContinualNet(MLP, module__hidden_units=(4,), max_epochs=1))
    results = run({"Naive": naive}, {str(said): iris(announce_classes=said) for said in (False, True)})
    sizes = results.experiences.groupby("stream")["model_bytes"].apply(list)
    assert sizes["False"][-1] == sizes["True"][-1]
    assert len(set(sizes["False"])) == 3  # the output layer grew
    assert len(set(sizes["True"])) == 1


def test_threads_are_as_before_afterwards(log):
    torch.set_num_threads(2)
    try:
        run({"Spy": Spy(), "bad": Spy(fail_at=1)}, [iris()])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_stacked_seed_that_fails_does_not_take_the_others_along():
    class Broken:
        def __call__(self, seed):
            stream = iris()
            if seed == 1:
                raise ValueError("seed 1 has no stream")
            return stream

    source = Broken()
    cells = [Cell("Naive", "iris", NaiveClassifier(NET), source, seed, "cpu", {}, stacked=True) for seed in range(3)]
    assert [facts.run["status"] for facts in run_stacked(cells)] == ["ok", "failed", "ok"]


def test_missing_data_fail_the_cell(tmp_path):
    spec = StreamSpec("mnist", "split", data_home=str(tmp_path / "\0"))
    [facts] = run_stacked([Cell("Bayes", "mnist", GaussianNB(), spec, 0, "cpu", {})])
    assert facts.run["status"] == "failed"
    assert digest(facts.run["error"])


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


def test_the_data_set_and_the_test_rows_behind_each_score_are_kept():
    stream = split_stream(load_iris(), n_experiences=3, random_state=0)
    noisy = with_label_noise(stream, 0.1, random_state=0)
    own = stream_from([(np.eye(4), [0, 1, 0, 1])] * 2, name="mine")
    results = run({"Bayes": GaussianNB()}, [stream, noisy, own])
    assert dict(zip(results.runs["stream"], results.runs["dataset"], strict=True)) == {
        stream.name: "iris",
        noisy.name: "iris",
        "mine": "mine",
    }
    scores = results.scores[results.scores["stream"] == stream.name]
    asked = scores["trained_on"] >= 0
    assert scores.loc[asked, "n_tested"].tolist() == [len(stream.test_set(j)[1]) for j in range(3)] * 3
    assert (scores.loc[~asked, "n_tested"] == 0).all()


def test_the_rows_that_are_predicted_before_they_are_learned_are_counted():
    rows = Dataset("rows", np.random.default_rng(0).normal(size=(60, 2)), [0, 1] * 30)
    results = run({"Bayes": GaussianNB()}, [chunked_stream(rows, n_experiences=3)], evaluate="prequential")
    scores = results.scores.set_index("tested_on")
    assert scores["n_tested"].tolist() == [0, 16, 16]  # of 20 rows each, 4 are held out
    assert results.runs["dataset"].tolist() == ["rows"]
