"""Results in an experiment tracker."""

import pytest
from helpers.results import cell, make_results

from forgetless.benchmarks import MLflowTracker, track


class Notes:
    """A tracker that remembers."""

    def __init__(self):
        self.kept = {}

    def log(self, name, key, params, metrics, courses):
        new = key not in self.kept
        self.kept.setdefault(key, (name, params, metrics, courses))
        return new


def test_what_finished_is_handed_over_once_with_its_metrics_and_course():
    results = make_results(strategies=["EWC", "DER++"], seeds=[0, 1], failed=[("EWC", 1)])
    results.runs["params"] = '{"params": {"ewc_lambda": 3.0, "net": {"class": "x"}}}'
    notes = Notes()
    assert track(results, notes) == 3
    assert track(results, notes) == 0
    name, params, metrics, courses = notes.kept["digits|EWC|0"]
    assert name == "EWC, digits, seed 0"
    assert params["ewc_lambda"] == "3.0" and "net" not in params and params["family"] == "regularization"
    mine = results.scores[results.scores["cell"] == "digits|EWC|0"].set_index(["trained_on", "tested_on"])["score"]
    assert metrics["average_accuracy"] == pytest.approx(mine.loc[2].mean())
    assert courses["accuracy"] == {
        1: pytest.approx(mine.loc[0, 0]),
        2: pytest.approx(mine.loc[1].loc[:1].mean()),
        3: pytest.approx(mine.loc[2].mean()),
    }


def test_unreadable_parameters_are_left_out_and_rows_ahead_have_a_course():
    nan = float("nan")
    results = cell([[nan, nan], [nan, 0.5], [nan, nan]], evaluate="prequential", params="[" * 9999)
    notes = Notes()
    track(results, notes)
    ((_, params, _, courses),) = notes.kept.values()
    assert params["strategy"] == "EWC" and courses == {"accuracy": {1: 0.5}}


def test_mlflow_keeps_them(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason='needs pip install "forgetless[mlflow]"')
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder needs no database driver
    uri = (tmp_path / "runs").as_uri()
    results = make_results(strategies=["EWC"], streams=["a 'quoted' \N{GREEK SMALL LETTER ALPHA}"], seeds=[0, 1])
    assert track(results, MLflowTracker(uri)) == 2
    assert track(results, MLflowTracker(uri)) == 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("forgetless").experiment_id])
    assert {run.data.params["seed"] for run in runs} == {"0", "1"} and len(runs) == 2
    assert all(run.info.status == "FINISHED" for run in runs)
    assert len(client.get_metric_history(runs[0].info.run_id, "accuracy")) == 3
    with pytest.raises(OSError, match="MLflow cannot be used"):
        MLflowTracker("nonsense://x")
