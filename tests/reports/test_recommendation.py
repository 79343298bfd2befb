"""The choice of a strategy, on made results whose truth is known."""

import json

import numpy as np
import pytest
from helpers.results import made, protocol

from forgetless.reports import Constraints, recommend
from forgetless.reports.choice import choose, dominance, paired_interval

NAMES = ["Naive", "A", "B", "C", "D"]
SECONDS = np.array([1.0, 2.0, 4.0, 8.0, 1.5])
SIZES = [(8, 1), (4, 12), (1, 12)]


def simulated(better, n_seeds, n_blocks, n_cases=500):
    """Scores of many cases: seeds, blocks and their pairs with strategies vary; `better` is added to the scores."""
    rng = np.random.default_rng(0)
    shape = (n_cases, n_seeds, n_blocks, len(NAMES))
    of_seed = rng.normal(0, 0.02, (*shape[:2], 1, shape[3])) * (n_seeds > 1)
    of_block = rng.normal(0, 0.02, (n_cases, 1, *shape[2:])) * (n_blocks > 1)
    shared = rng.normal(0.6, 0.05, shape[:3])[..., None]
    scores = shared + of_seed + of_block + rng.normal(0, 0.02, shape) + better
    return scores, SECONDS * rng.uniform(0.8, 1.2, (n_cases, len(NAMES)))


def choices(scores, seconds):
    for case, cost in zip(scores, seconds, strict=True):
        choice = choose(case, cost, np.arange(len(NAMES)), 0, 0.95)
        assert not dominance(case.mean(axis=(0, 1)), cost)[:, choice.chosen].any()
        yield choice


@pytest.mark.parametrize("size", SIZES)
def test_without_a_difference_none_is_shown(size):
    assert np.mean([not choice.shown for choice in choices(*simulated(np.zeros(5), *size))]) >= 0.93


@pytest.mark.parametrize("size", SIZES)
def test_a_large_difference_names_the_right_strategy(size):
    # Where A, B and C are as good as each other, the cheapest of them is right.
    for best, better in ((2, [0, 0, 0.2, 0, 0]), (3, [0, 0.1, 0.1, 0.4, 0.2]), (1, [0, 0.2, 0.2, 0.2, -0.2])):
        found = choices(*simulated(np.array(better), *size))
        assert np.mean([choice.shown and choice.chosen == best for choice in found]) >= 0.95


@pytest.mark.parametrize("size", SIZES)
def test_results_are_judged_as_the_arrays_in_them(size):
    scores, seconds = simulated(np.array([0, 0, 0.06, 0, 0]), *size, n_cases=4)
    results = made(NAMES, scores, seconds)
    for k, choice in enumerate(choices(scores, seconds)):
        found = recommend(results, stream=f"s{k}")
        assert (found.strategy, found.leader) == (NAMES[choice.chosen], NAMES[choice.leader])
        assert (found.verdict == "better") == choice.shown
        assert (found.n_units, found.unit) == (max(size), "seeds" if size[0] > size[1] else "blocks")
        table = found.strategies.set_index("strategy")
        means = scores[k].mean(axis=(0, 1))
        np.testing.assert_allclose(table.loc[NAMES, "score"], means)
        np.testing.assert_allclose(table.loc[NAMES, "difference"], means - means[0], atol=1e-12)
        np.testing.assert_allclose(table.loc[NAMES, "seconds"], seconds[k])


def test_the_interval_of_one_factor_is_students_and_of_two_no_narrower():
    from scipy import stats

    pairs = np.random.default_rng(0).normal(1, 1, (7, 1))
    _, low, high, share = paired_interval(pairs, 0.9)
    expected = stats.ttest_1samp(pairs[:, 0], 0).confidence_interval(0.9)
    np.testing.assert_allclose([low, high], [expected.low, expected.high])
    assert share == np.mean(pairs > 0)
    both = np.random.default_rng(0).normal(1, 1, (7, 9))
    alone = [paired_interval(both.mean(axis=axis, keepdims=True), 0.9) for axis in (0, 1)]
    low = paired_interval(both, 0.9)[1]
    assert low < min(each[1] for each in alone)


def separate(n_seeds=6, better=(0, 0.1, 0.2, 0.3, 0.05)):
    """Results in which each strategy is shown to differ from each other one."""
    noise = np.random.default_rng(0).normal(0, 0.001, (1, n_seeds, 1, 5))
    return made(NAMES, 0.5 + noise + np.array(better), SECONDS[None])


def test_constraints_leave_out_and_say_what_would_change():
    results = separate()
    results.runs["keeps"] = results.runs["strategy"].map(
        dict(zip(NAMES, ["nothing", "features", "unknown", "samples", "nothing"], strict=True))
    )
    results.runs["needs_task_id"] = results.runs["strategy"] == "A"
    assert recommend(results).strategy == "C"
    for constraints, strategy, left_out in (
        (Constraints(no_raw_data=True), "A", {"B": "no_raw_data", "C": "no_raw_data"}),
        (Constraints(no_task_id=True, max_seconds=3), "D", {"A": "no_task_id", "B": "max_seconds", "C": "max_seconds"}),
        (Constraints(max_bytes=0.5), None, dict.fromkeys(NAMES, "max_bytes")),
    ):
        found = recommend(results, constraints)
        rows = found.strategies.set_index("strategy")["left_out"]
        assert found.strategy == strategy
        assert rows[rows != ""].to_dict() == left_out
    both = recommend(results, Constraints(no_task_id=True, max_seconds=3))
    assert [(each.condition, each.strategy) for each in both.changes] == [("no_task_id", "A"), ("max_seconds", "C")]
    assert recommend(results, Constraints(max_bytes=0.5)).verdict == "nothing fits"
    with pytest.raises(ValueError, match="max_seconds is -1"):
        Constraints(max_seconds=-1)


def test_upper_bounds_and_what_failed_or_ran_less_often_are_not_chosen():
    results = separate()
    runs = results.runs
    runs.loc[runs["strategy"] == "C", "estimator"] = "JointClassifier"
    runs.loc[(runs["strategy"] == "B") & (runs["seed"] == 3), "status"] = "failed"
    results.runs = runs[(runs["strategy"] != "A") | (runs["seed"] < 5)]
    found = recommend(results)
    rows = found.strategies.set_index("strategy")["left_out"]
    assert rows.to_dict() == {"C": "upper bound", "D": "", "Naive": "", "B": "failed", "A": "not measured on all"}
    assert found.strategy == "D"
    assert found.to_plain.to == found.to_runner_up.to == "Naive"
    assert found.to_plain.probability == 1


def test_few_seeds_give_no_verdict_and_ties_say_how_many_might():
    few = recommend(separate(n_seeds=5))
    assert (few.verdict, few.strategy, few.leader) == ("too few", None, "C")
    assert few.changes[0].n_units == 6
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 8, 1, 5))
    tie = recommend(made(NAMES, 0.5 + noise + np.array([0, 0, 0, 0.02, 0]), SECONDS[None]))
    assert (tie.verdict, tie.strategy, tie.leader) == ("no difference", "Naive", "C")
    assert tie.to_runner_up.to == "C"
    assert tie.changes[0].n_units > 8


def test_the_noise_of_shared_test_rows_is_not_taken_for_a_difference():
    """Two strategies that differ on the test rows that there are, alike with every seed, by chance of these rows."""
    n_rows, n_cases = 360, 1000
    rng = np.random.default_rng(0)
    on_rows = rng.binomial(n_rows, 0.9, (n_cases, 1, 1, 2)) / n_rows
    scores = on_rows + rng.normal(0, 0.001, (n_cases, 6, 1, 2))
    noise = 0.9 * 0.1 / n_rows
    seconds, both = np.array([1.0, 2.0]), np.arange(2)
    with_noise, without = (
        np.mean([choose(case, seconds, both, 0, 0.95, each).shown for case in scores]) for each in (noise, 0.0)
    )
    assert without > 0.4
    assert 0.03 < with_noise < 0.07  # 0.05 is asked for
    results = made(["Naive", "A"], scores[:1] * 0 + np.array([0.90, 0.93]) + (scores[:1] - on_rows[:1]), seconds[None])
    assert recommend(results).verdict == "better"
    results.scores["n_tested"] = n_rows
    found = recommend(results)
    assert found.verdict == "no difference"
    half = 1.96 * np.sqrt((0.9 * 0.1 + 0.93 * 0.07) / n_rows)
    assert found.to_runner_up.high - found.to_runner_up.mean == pytest.approx(half, rel=0.02)


def test_streams_of_one_data_set_are_one_sample_and_data_sets_are_the_unit():
    noise = np.random.default_rng(0).normal(0, 0.001, (7, 3, 1, 5))
    results = made(NAMES, 0.5 + noise + np.array([0, 0.1, 0.2, 0.3, 0.05]), np.tile(SECONDS, (7, 1)))
    assert (recommend(results).unit, recommend(results).n_units, recommend(results).strategy) == ("data sets", 7, "C")
    results.runs["dataset"] = "digits"
    same = recommend(results)
    assert (same.unit, same.n_units, same.verdict) == ("seeds", 3, "too few")
    results.runs["dataset"] = ""  # as in stores of older versions
    results.runs["stream_definition"] = json.dumps({"builder": "noise", "stream": {"dataset": "digits"}})
    assert recommend(results).unit == "seeds"
    results.runs.loc[results.runs["stream"] == "s1", "protocol"] = protocol("all", "r2")
    with pytest.raises(ValueError, match="different scores"):
        recommend(results)
    with pytest.raises(ValueError, match="no stream 's9'"):
        recommend(results, stream="s9")
