"""Equal budgets: what is set fits, what cannot fit is refused before anything runs, and the same is set again."""

import itertools
import json

import numpy as np
import pytest
from helpers.benchmarks import NET, iris, run
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks import Store
from forgetless.benchmarks.runs.protocol import Budget, Protocol
from forgetless.benchmarks.runs.suites import Suite
from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    DERClassifier,
    EWCClassifier,
    GDumbClassifier,
    ICaRLClassifier,
    JointClassifier,
    NaiveClassifier,
    ReplayClassifier,
    make_incremental_pipeline,
)

CARRIED = ["model_bytes", "replay_bytes", "state_bytes"]


def params(results):
    return {run.strategy: json.loads(run.params)["params"] for run in results.runs.itertuples()}


def at_the_end(results):
    last = results.experiences.drop_duplicates("strategy", keep="last").set_index("strategy")
    return last[CARRIED].sum(axis=1).to_dict()


def test_memories_are_as_large_as_fits_beside_the_rest():
    strategies = {
        "ER": make_incremental_pipeline(ReplayClassifier(NET, policy="class_balanced")),
        "DER": DERClassifier(NET),
        "iCaRL": ICaRLClassifier(NET),
        "EWC": EWCClassifier(NET),
    }
    stream = split_stream(load_digits(), n_experiences=3, random_state=0)
    found = at_the_end(run(strategies, [stream], budget={"state_bytes": 100_000}))
    assert found.pop("EWC") < 50_000  # it has nothing to be set
    row = 64 * 4 + 10 * 4 + 3 * 8 + 16  # inputs, logits, target and group, place
    assert all(100_000 - row < n_bytes <= 100_000 for n_bytes in found.values())


def test_a_memory_has_no_more_rows_than_there_are():
    results = run({"ER": ReplayClassifier(NET)}, [iris()], budget={"state_bytes": 10**9})
    assert params(results)["ER"]["buffer_size"] == results.experiences["n_train"].sum()


def test_what_cannot_fit_is_refused_before_anything_runs(tmp_path):
    stream = split_stream(load_digits(), n_experiences=3, random_state=0)
    strategies = {"Joint": JointClassifier(NET), "ER": ReplayClassifier(NET), "Bayes": GaussianNB()}
    carried = at_the_end(run({"Joint": JointClassifier(NET)}, [stream]))["Joint"]
    with pytest.raises(ValueError, match=r"Nothing has run.*'Joint'.*300,000 bytes: it carries") as caught:
        run(strategies, [stream], budget={"state_bytes": 300_000}, store=tmp_path / "a.db")
    said = int(str(caught.value).rpartition("carries ")[2].partition(", and")[0].replace(",", ""))
    assert said == carried  # foreseen from a few rows
    with pytest.raises(ValueError, match=r"'Joint'.*'ER'.*with a memory of one row it carries"):
        run(strategies, [stream], budget={"state_bytes": 5_000}, store=tmp_path / "a.db")
    with pytest.raises(ValueError, match=r"Nothing has run.*'Naive'.*1e-06 seconds: one epoch takes"):
        run({"Naive": NaiveClassifier(NET)}, [stream], budget={"fit_seconds": 1e-6}, store=tmp_path / "a.db")
    with Store(tmp_path / "a.db") as store:
        assert store.results().runs.empty


def test_epochs_are_chosen_once_and_are_part_of_the_cell(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("forgetless.benchmarks.runs.cell.now", lambda _: next(ticks) / 100)  # s for each experience
    strategies = {"Naive": NaiveClassifier(NET), "GDumb": GDumbClassifier(NET), "default": NaiveClassifier()}
    options = {"budget": {"fit_seconds": 0.2}, "store": tmp_path / "a.db"}
    first = run(strategies, [iris()], seeds=1, **options)
    own = params(first)
    epochs = [own["Naive"]["net"]["params"]["max_epochs"], own["default"]["net"]["params"]["max_epochs"]]
    assert epochs == [6, 6]  # an epoch takes 0.03 s
    assert own["GDumb"]["max_epochs"] == 100  # it learns when it is asked
    assert first.experiences["samples_seen"].tolist()[:3] == [6 * 40] * 3

    monkeypatch.setattr("forgetless.benchmarks.runs.cell.now", lambda _: next(ticks) / 1000)
    again = run(strategies, [iris()], seeds=2, **options)
    assert again.runs["cell"].tolist()[:3] == first.runs["cell"].tolist()
    assert again.runs["started"].tolist()[:3] == first.runs["started"].tolist()
    assert again.runs["params"].tolist() == 2 * first.runs["params"].tolist()  # the other seed has the same


def test_cells_without_a_budget_stay_what_they_are():
    assert "budget" not in Protocol().description()
    assert Protocol(budget=Budget(state_bytes=5)).description()["budget"] == {"state_bytes": 5}
    clf = ReplayClassifier(NET, buffer_size=7)
    assert params(run({"ER": clf}, [iris()], budget={}))["ER"]["buffer_size"] == 7
    assert clone(clf).buffer_size == 7


def test_a_suite_has_a_budget():
    table = {"name": "a", "streams": [{"name": "s", "dataset": "iris"}], "strategies": ["Naive"]}
    suite = Suite.model_validate(table | {"budget": {"state_bytes": 1000, "fit_seconds": 0.5}})
    assert suite.protocol().budget == Budget(1000, 0.5)
    assert Suite.model_validate(table).protocol() == Protocol()


@pytest.mark.parametrize("budget", [{"state_bytes": 0}, {"fit_seconds": -1.0}, {"fit_seconds": np.inf}])
def test_a_budget_is_a_positive_number(budget):
    with pytest.raises(ValueError, match="positive number"):
        Budget(**budget)
