"""Cells on a Dask cluster: the scores of a serial run, whatever dies, and no data in what the scheduler sees."""

import pickle
import warnings

import joblib
import pytest
from helpers import guests
from helpers.benchmarks import NET, iris, run
from pandas.testing import assert_frame_equal
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks import StreamSpec
from forgetless.datasets import load_digits, permuted_stream
from forgetless.estimators import ReplayClassifier

dask = pytest.importorskip("dask", reason="the package dask is not installed")
distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")


@pytest.fixture(scope="module")
def cluster():
    settings = {"distributed.worker.daemon": False, "distributed.scheduler.allowed-failures": 1}
    with warnings.catch_warnings(action="ignore"), dask.config.set(settings):
        options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None, "host": "127.0.0.1"}
        with distributed.LocalCluster(**options, silence_logs=50) as cluster:
            yield cluster


STRATEGIES = {"SGD": SGDClassifier(), "Bayes": GaussianNB()}  # without torch, which workers import for long


def streams():
    return {
        "by name": StreamSpec("iris", "split", {"n_experiences": 3}),
        "data": permuted_stream(load_digits(), n_experiences=2, random_state=0),
    }


@pytest.fixture
def sizes(monkeypatch):
    found = []
    submit = distributed.Client.submit

    def noted(client, function, *arguments, **options):
        found.append(len(pickle.dumps([each for each in arguments if not isinstance(each, distributed.Future)])))
        return submit(client, function, *arguments, **options)

    monkeypatch.setattr(distributed.Client, "submit", noted)
    return found


def test_scores_are_those_of_a_serial_run_and_no_data_are_in_the_graph(cluster, tmp_path, sizes):
    strategies = {"SGD": SGDClassifier(), "Replay": ReplayClassifier(net=NET, buffer_size=20)}
    expected = run(strategies, streams(), seeds=2)
    found = run(strategies, streams(), seeds=2, scheduler=cluster.scheduler_address, store=tmp_path / "a.db")
    assert found.runs["error"].isna().all()
    assert_frame_equal(found.scores, expected.scores, check_exact=True)
    n_bytes = load_digits().X_train.nbytes
    assert len(sizes) == 6  # the seeds of Replay are stacked
    assert max(sizes) < 10_000 < n_bytes / 20


def test_joblib_s_own_way_to_a_cluster(cluster):
    expected = run(STRATEGIES, [iris()])
    with distributed.Client(cluster), joblib.parallel_config("dask"):
        found = run(STRATEGIES, [iris()], n_jobs=2)
    assert_frame_equal(found.scores, expected.scores, check_exact=True)


def test_a_worker_that_dies_costs_its_cell_a_retry(cluster, tmp_path):
    # Apart, for the scheduler counts a death against all that its worker was to do.
    killed = run({"killed": guests.IsKilled()}, [iris()], scheduler=cluster.scheduler_address)
    assert killed.runs["error"].item().startswith("WorkerDied: ")
    strategies = {"once": guests.DiesOnce(tmp_path / "there"), **STRATEGIES}
    found = run(strategies, [iris()], scheduler=cluster.scheduler_address)
    errors = found.runs.set_index("strategy")["error"].fillna("").to_dict()
    assert errors == {"once": "", "Bayes": "", "SGD": ""}
    assert_frame_equal(
        found.scores[found.scores["strategy"].isin(list(STRATEGIES))].reset_index(drop=True),
        run(STRATEGIES, [iris()]).scores,
        check_exact=True,
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "tcp://"])
def test_a_scheduler_that_is_not_there(address, monkeypatch):
    from forgetless.benchmarks.runs import cluster

    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with pytest.raises(ValueError, match="There is no Dask scheduler at"):
        run(STRATEGIES, [iris()], scheduler=address)
