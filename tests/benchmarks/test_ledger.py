"""The ledger: which cells are run, and what passes."""

import math

import pandas as pd
import pytest
from helpers.claims import ONLINE

from forgetless.benchmarks import Store, run_benchmark
from forgetless.benchmarks.replication.claims import ClaimError, choose, load_claims
from forgetless.benchmarks.replication.ledger import Outcome, measured, outcomes, plan, read_record
from forgetless.benchmarks.runs.runner import run_cells
from forgetless.benchmarks.runs.workers import Conditions


@pytest.mark.parametrize(
    ("name", "mean", "verdict"),
    [
        ("flowers/bayes/class", 93.0, "pass"),  # the tolerance of the source
        ("flowers/bayes/class", 99.0, "pass"),
        ("flowers/bayes/class", 92.9, "fail"),
        ("flowers/bayes/task", 54.0, "pass"),  # the published spread, which is larger
        ("flowers/bayes/task", 54.1, "fail"),
        ("flowers/net-1/task", 30.0, "pass"),
        ("flowers/net-1/task", 29.9, "fail"),
    ],
)
def test_verdicts(claims, name, mean, verdict):
    found = Outcome(claims[name], 3, mean, mean - 9, mean + 9)
    assert found.verdict == verdict
    assert found.holds == (verdict == "pass" or name == "flowers/bayes/task")  # which has a note
    assert Outcome(claims[name]).verdict == "not run"
    assert not Outcome(claims[name]).holds
    broken = Outcome(claims[name], 3, mean, error="ValueError: no")
    assert (broken.verdict, broken.holds) == ("error", False)


def compared(claims, store, folder):
    return outcomes(claims.values(), *measured(claims.values(), store, read_record(folder / "none.csv")))


@pytest.mark.parametrize("content", ["", "claim,seed\n", "claim,seed,accuracy,cell,versions\na,0,96.0,b,{}\n"])
def test_what_is_no_record_is_a_sentence(tmp_path, content):
    (tmp_path / "record.csv").write_text(content)
    with pytest.raises(ClaimError, match="is no record of runs"):
        read_record(tmp_path / "record.csv")


def test_outcomes_are_those_of_the_runner(claims, tmp_path):
    chosen = choose(claims, ["flowers/net-1"])
    claim = chosen[0]
    with Store(tmp_path / "a.db") as store:
        assert [each.verdict for each in compared(claims, store, tmp_path)] == ["not run"] * 3
        results = run_benchmark(
            {"x": claim.strategy_spec()},
            {"y": claim.stream_spec()},
            seeds=[4, 1],
            n_jobs=1,
            store=store,
            progress=False,
        )
        found = compared(claims, store, tmp_path)
    last = results.scores.query("trained_on == 2").groupby("seed")["score"].mean() * 100
    assert [each.verdict for each in found] == ["not run", "not run", "pass"]
    assert found[2].n_seeds == 2
    assert found[2].mean == pytest.approx(last.mean())
    half = 12.7062 * last.std() / math.sqrt(2)  # Student's t, one degree of freedom
    assert (found[2].low, found[2].high) == pytest.approx((last.mean() - half, last.mean() + half), rel=1e-4)


def test_outcomes_of_experiences_are_those_of_the_runner(claims_folder, tmp_path):
    (claims_folder / "online.toml").write_text(ONLINE)
    claims = {name: claim for name, claim in load_claims(claims_folder).items() if claim.key == "online"}
    nothing = read_record(tmp_path / "none.csv")
    needed, missing = plan(claims.values(), 2, nothing)
    assert [cell.seed for cell in needed] == [0, 1]  # one run has both numbers
    assert missing == needed
    with Store(tmp_path / "a.db") as store:
        results = run_cells(needed, store, Conditions(1, 60.0), progress=False)
        finished, failed = measured(claims.values(), store, nothing)
    assert failed.empty
    online = results.scores.pivot_table(index="seed", columns="tested_on", values="score")
    first, change = (each.mean for each in outcomes(claims.values(), finished, failed))
    assert first == pytest.approx(100 * online[0].mean())
    assert change == pytest.approx(50 * (online[2] + online[3] - online[0] - online[1]).mean())
    assert change < -5  # a permutation that Bayes does not expect

    # From a record: what is there is not run again, but where a number of a run is missing, the run is.
    path = tmp_path / "record.csv"
    finished.to_csv(path, index=False)
    twice = pd.concat([finished, finished])
    with Store(tmp_path / "b.db") as store:
        for recorded in (read_record(path), twice):
            again, _ = measured(claims.values(), store, recorded)
            pd.testing.assert_frame_equal(again, finished)
    assert plan(claims.values(), 2, read_record(path))[1] == []
    assert [cell.key for cell in plan(claims.values(), 2, finished.iloc[1:])[1]] == [needed[0].key]


def test_plan_has_each_cell_once_and_a_seed_of_all_before_the_next(claims, tmp_path):
    cells, missing = plan([*claims.values(), *claims.values()], 2, read_record(tmp_path / "none.csv"))
    assert missing == cells
    assert [cell.seed for cell in cells] == [0, 0, 0, 1, 1, 1]
    assert [f"{cell.strategy} {cell.stream}" for cell in cells[:3]] == [
        "flowers/bayes flowers/class",
        "flowers/bayes flowers/task",
        "flowers/net-1 flowers/task",
    ]


def test_seeds_of_small_networks_are_stacked(claims_folder, tmp_path):
    (claims_folder / "online.toml").write_text(ONLINE.replace("sklearn.naive_bayes.GaussianNB", "NaiveClassifier"))
    claims = choose(load_claims(claims_folder), ["online", "flowers/bayes"])
    cells, _ = plan(claims, 2, read_record(tmp_path / "none.csv"))
    assert {(cell.strategy, cell.stacked) for cell in cells} == {("online/bayes", True), ("flowers/bayes", False)}
