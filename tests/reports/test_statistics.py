"""Statistics of a leaderboard: equal to independent computations, and right in simulations whose truth is known."""

import itertools
import math
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.results import made
from scipy import stats

from forgetless.reports.statistics import (
    Units,
    comparison_matrix,
    gap_closed,
    holm,
    independent_units,
    interquartile_interval,
    interquartile_mean,
    overall,
    performance_profiles,
    probability_of_improvement,
    to_bencheval,
    verdict,
    wilson_interval,
)
from forgetless.reports.tables import best_of_streams, run_scores, student_interval

NAMES = ["Naive", "A", "B", "Joint"]


def random_results(n_datasets=3, n_seeds=4, better=(0.2, 0.5, 0.6, 0.9), spread=0.02, seed=0, n_tested=math.nan):
    """Results of one stream for each data set, whose level differs."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.03, (n_datasets, n_seeds, 1, 1))
    scores = np.array(better) + level + rng.normal(0, spread, (n_datasets, n_seeds, 1, len(better)))
    names = NAMES if len(better) == 4 else [*NAMES[:3], *(f"S{k}" for k in range(len(better) - 4)), "Joint"]
    results = made(names, scores, np.ones((n_datasets, len(better))))
    runs = results.runs
    runs.loc[runs["strategy"] == "Joint", "estimator"] = "JointClassifier"
    results.scores["n_tested"] = n_tested
    return results, scores[:, :, 0]


# --- gaps --------------------------------------------------------------------------------------------------------


def test_the_gap_closed_is_paired_by_stream_and_seed():
    results, scores = random_results()
    gaps = gap_closed(run_scores(results))
    naive, joint = scores[..., [0]], scores[..., [3]]
    expected = (scores - naive) / (joint - naive)
    found = gaps.table.pivot_table(index=["stream", "seed"], columns="strategy", values="score")[NAMES]
    np.testing.assert_allclose(found.to_numpy().reshape(3, 4, 4), expected)
    assert gaps.left_out == {}
    assert gaps.n_left_out == 0


def test_streams_without_a_gap_are_left_out_and_named():
    results, _ = random_results(better=(0.86, 0.87, 0.88, 0.90), spread=0.0001)
    of_first = results.scores["stream"] == "s0"
    results.scores.loc[of_first & results.scores["cell"].str.endswith("|3"), "score"] += 0.05
    runs = results.runs
    runs.loc[(runs["stream"] == "s2") & (runs["strategy"] == "Naive"), "status"] = "failed"
    found = overall(results)
    assert set(found.left_out) == {"s1", "s2"}
    assert found.left_out["s1"] == "Joint is 4.0 points above Naive"
    assert found.left_out["s2"] == "no run of plain training finished"
    assert gap_closed(run_scores(results)).table["stream"].unique().tolist() == ["s0"]
    assert any("s1 (Joint is 4.0 points above Naive)" in note for note in found.notes)


def test_a_gap_of_errors_is_measured_by_plain_trainings_error():
    results, _ = random_results(better=(-100.0, -70.0, -60.0, -50.0), spread=0.1)
    results.runs["protocol"] = results.runs["protocol"].str.replace("accuracy", "neg_mean_absolute_error")
    results.scores["metric"] = "neg_mean_absolute_error"
    table = overall(results).table.set_index("strategy")
    assert table.loc["A", "gap"] == pytest.approx(0.6, abs=0.01)
    results.scores["score"] = results.scores["score"] / 20 - 95  # 2.5 % better at best
    assert set(overall(results).left_out) == {"s0", "s1", "s2"}


def test_failed_runs_count_as_plain_training_and_are_marked():
    results, scores = random_results()
    runs = results.runs
    failed = (runs["strategy"] == "A") & (runs["stream"] == "s1") & (runs["seed"] == 2)
    runs.loc[failed, "status"] = "failed"
    table = run_scores(results)
    [row] = table[table["failed"]].to_dict("records")
    assert (row["strategy"], row["stream"], row["seed"]) == ("A", "s1", 2)
    assert row["score"] == scores[1, 2, 0]
    gaps = gap_closed(table).table
    assert gaps.loc[gaps["failed"], "score"].tolist() == [0.0]
    found = overall(results)
    assert found.table.set_index("strategy")["n_failed"].to_dict() == {"Naive": 0, "A": 1, "B": 0, "Joint": 0}
    assert any("1 of 48 runs failed" in note for note in found.notes)
    joint = (runs["strategy"] == "Joint") & (runs["stream"] == "s0") & (runs["seed"] == 0)
    runs.loc[joint, "status"] = "failed"
    found = overall(results)
    assert any("leave out 1 run" in note for note in found.notes)
    assert len(gap_closed(run_scores(results)).table) == 44


def test_without_plain_training_failed_runs_count_as_the_lowest():
    results, scores = random_results()
    runs = results.runs[results.runs["strategy"] != "Naive"].copy()
    runs.loc[(runs["strategy"] == "B") & (runs["stream"] == "s0") & (runs["seed"] == 1), "status"] = "failed"
    results.runs = runs
    table = run_scores(results)
    assert table.loc[table["failed"], "score"].tolist() == [scores[0, 1, 1]]
    runs["status"] = "failed"
    assert run_scores(results)["score"].isna().all()
    found = overall(results)
    assert found.table["gap"].isna().all()
    assert found.verdict.leader is None


# --- against other programs --------------------------------------------------------------------------------------


def test_the_interquartile_mean_is_scipys():
    for n in range(1, 30):
        values = np.random.default_rng(n).normal(size=n)
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_bootstrap_interval_is_scipys_moved_outwards():
    values = np.random.default_rng(0).normal(size=12)
    mean, low, high = interquartile_interval(values, ["a"] * 12, n_resamples=40_000)
    found = stats.bootstrap(
        (values,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=40_000, method="percentile", rng=1
    ).confidence_interval
    outwards = math.sqrt(12 / 11) * stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975)
    assert low - mean == pytest.approx(outwards * (found.low - mean), rel=0.05)
    assert high - mean == pytest.approx(outwards * (found.high - mean), rel=0.05)


def wilson(count, n, confidence=0.95):
    return [*stats.binomtest(count, n).proportion_ci(confidence, method="wilson")]


def test_wilsons_interval_is_scipys():
    for count, n in [(0, 6), (3, 7), (27, 30), (200, 200)]:
        np.testing.assert_allclose(wilson_interval(count / n, n, 0.9), wilson(count, n, 0.9), atol=1e-12)


def closed_testing(p):
    """Adjusted p-values by definition: what rejects each set of hypotheses that one is in, by Bonferroni's test."""
    sets = [list(each) for size in range(1, len(p) + 1) for each in itertools.combinations(range(len(p)), size)]
    return [max(min(1, len(each) * min(p[k] for k in each)) for each in sets if own in each) for own in range(len(p))]


def test_holms_correction_is_closed_testing():
    for seed in range(5):
        p = np.random.default_rng(seed).uniform(0, 0.3, 8)
        np.testing.assert_allclose(holm(p), closed_testing(p))
    with_gap = holm([0.01, math.nan, 0.02])
    np.testing.assert_allclose(with_gap, [0.02, math.nan, 0.02])


def test_the_probability_of_improvement_is_benchevals_win_rate():
    winrates = pytest.importorskip("bencheval.winrate_utils")  # not for every Python
    results, _ = random_results(better=(0.5, 0.51, 0.52, 0.5), spread=0.05)
    scores = run_scores(results)
    scores["score"] = scores["score"].round(2)  # there are ties
    expected = winrates.compute_winrate_matrix(
        scores.assign(error=-scores["score"]), "dataset", "strategy", "error", "seed"
    )
    pairs = comparison_matrix(scores)
    assert (scores.groupby(["dataset", "seed"])["score"].nunique() < 4).any()
    for than in NAMES:
        found = probability_of_improvement(scores, than).set_index("strategy")["probability"]
        for name in found.index:
            assert found[name] == pytest.approx(expected.loc[name, than], abs=1e-6)
    for row in pairs.itertuples():
        assert row.probability == pytest.approx(expected.loc[row.strategy, row.other], abs=1e-6)
        assert row.probability_low <= row.probability <= row.probability_high


def test_bencheval_reads_what_is_exported():
    evaluator = pytest.importorskip("bencheval.evaluator")  # not for every Python
    results, scores = random_results()
    results.runs["dataset"] = results.runs["stream"].replace("s2", "s1")
    exported = to_bencheval(run_scores(results))
    bench = evaluator.BenchmarkEvaluator(seed_column="seed", columns_to_agg_extra=None)
    board = bench.leaderboard(exported)
    errors = (1 - scores).mean(axis=1)
    expected = dict(zip(NAMES, np.mean([errors[0], errors[1:].mean(axis=0)], axis=0), strict=True))
    assert board.index.tolist() == ["Joint", "B", "A", "Naive"]
    found = bench.compute_results_per_task(exported).groupby("method")["metric_error"].mean()
    assert found.to_dict() == pytest.approx(expected)
    with pytest.raises(ValueError, match="best possible gap closed is not known"):
        to_bencheval(gap_closed(run_scores(results)).table)


def test_comparisons_over_data_sets_are_scipys():
    results, scores = random_results(n_datasets=9)
    pairs = comparison_matrix(run_scores(results)).set_index(["strategy", "other"])
    means = dict(zip(NAMES, scores.mean(axis=1).T, strict=True))
    for (one, other), row in pairs.iterrows():
        difference = means[one] - means[other]
        interval = stats.ttest_rel(means[one], means[other]).confidence_interval(0.95)
        np.testing.assert_allclose([row["difference"], row["low"], row["high"]], [difference.mean(), *interval])
        assert (row["wins"], row["ties"], row["losses"]) == ((difference > 0).sum(), 0, (difference < 0).sum())
        assert row["p"] == pytest.approx(stats.wilcoxon(difference).pvalue)
        assert row["n_units"] == 9
    np.testing.assert_allclose(pairs["p_holm"], closed_testing(pairs["p"].to_list()))


def test_comparisons_over_seeds_are_scipys_and_wider_with_test_rows():
    results, scores = random_results(n_datasets=1, n_seeds=8)
    pairs = comparison_matrix(run_scores(results)).set_index(["strategy", "other"])
    of = dict(zip(NAMES, scores[0].T, strict=True))
    for (one, other), row in pairs.iterrows():
        test = stats.ttest_rel(of[one], of[other])
        np.testing.assert_allclose([row["low"], row["high"]], test.confidence_interval(0.95))
        assert row["p"] == pytest.approx(test.pvalue, rel=1e-6)
    results.scores["n_tested"] = 200
    table = run_scores(results)
    p = table.groupby("strategy")["score"].mean()
    wider = comparison_matrix(table).set_index(["strategy", "other"])
    for (one, other), row in wider.iterrows():
        narrow = pairs.loc[one, other]
        test_rows = stats.norm.ppf(0.975) * math.sqrt((p[one] * (1 - p[one]) + p[other] * (1 - p[other])) / 200)
        half = math.hypot(narrow["high"] - narrow["difference"], test_rows)
        assert row["high"] - row["difference"] == pytest.approx(half, rel=0.01)
        assert row["p"] > narrow["p"]


def test_ties_and_strategies_without_all_data_sets():
    results, _ = random_results(n_datasets=7)
    same = results.scores["cell"].str.endswith("|1")
    results.scores.loc[same, "score"] = results.scores.loc[
        results.scores["cell"].str.endswith("|2"), "score"
    ].to_numpy()
    runs = results.runs
    results.runs = runs[(runs["strategy"] != "Joint") | (runs["stream"] != "s6")]
    pairs = comparison_matrix(run_scores(results)).set_index(["strategy", "other"])
    assert pairs.loc[("A", "B"), ["wins", "ties", "losses"]].tolist() == [0, 7, 0]
    assert pairs.loc[("A", "B"), ["difference", "p"]].tolist() == [0.0, 1.0]
    assert pairs.loc[("Joint", "A"), ["n_units", "wins"]].tolist() == [6, 6]
    assert pairs.loc[("Joint", "A"), "p"] == pytest.approx(2 * 0.5**6)


# --- what follows from them --------------------------------------------------------------------------------------


def test_a_pair_does_not_depend_on_who_else_is_there():
    results, _ = random_results(n_datasets=7, better=(0.2, 0.5, 0.6, 0.7, 0.65, 0.9))
    table = run_scores(results)
    everything = comparison_matrix(table).set_index(["strategy", "other"]).loc["B", "A"]
    alone = comparison_matrix(table[table["strategy"].isin(["A", "B"])]).set_index(["strategy", "other"]).loc["B", "A"]
    assert everything.drop("p_holm").to_dict() == alone.drop("p_holm").to_dict()
    fewer = results.runs[~results.runs["strategy"].isin(["S0", "S1"])]
    one = overall(results).table
    results.runs = fewer
    other = overall(results).table
    columns = ["strategy", "gap", "gap_low", "gap_high", "probability"]
    pd.testing.assert_frame_equal(
        one[one["strategy"].isin(other["strategy"])][columns].reset_index(drop=True), other[columns]
    )


def test_streams_of_one_data_set_are_averaged_first():
    results, _ = random_results(n_datasets=6)
    results.runs["dataset"] = (
        results.runs["stream"].map(dict.fromkeys(["s0", "s1", "s2", "s3"], "digits")).fillna("iris")
    )
    units = independent_units(run_scores(results))
    assert units.unit == "data sets"
    table = run_scores(results)
    by_hand = table.groupby(["strategy", "dataset", "stream"])["score"].mean().groupby(["dataset", "strategy"]).mean()
    np.testing.assert_allclose(units.averages()["A"], by_hand.loc[:, "A"])
    found = overall(results)
    assert (found.verdict.n_units, found.verdict.winner) == (2, None)
    assert found.notes[0].startswith("2 data sets decide nothing")
    gaps = gap_closed(table).table
    mean = gaps.groupby(["strategy", "dataset", "seed"])["score"].mean()
    expected = stats.trim_mean(mean["A"], 0.25)
    assert found.table.set_index("strategy").loc["A", "gap"] == pytest.approx(expected)
    results.runs["dataset"] = "digits"
    assert overall(results).notes[0].startswith("4 seeds of one data set decide nothing")


def test_data_sets_are_compared_over_the_seeds_that_both_strategies_have():
    scores = np.full((8, 2, 1, 2), 0.5) + 0.01 * np.arange(8)[:, None, None, None]
    scores[:, 1] += 0.4  # the second seed is easy, and A alone has it
    results = made(["A", "B"], scores, np.ones((8, 2)))
    results.runs = results.runs[(results.runs["strategy"] == "A") | (results.runs["seed"] == 0)]
    table = run_scores(results)
    [pair] = comparison_matrix(table).to_dict("records")
    assert (pair["difference"], pair["ties"], pair["n_units"]) == (0.0, 8, 8)
    assert verdict(independent_units(table)).winner is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_plain_training_without_any_score_is_compared_with_nothing(elsewhere):
    results, _ = random_results(n_datasets=2)
    runs = results.runs
    plain = runs["strategy"] == "Naive"
    runs.loc[plain, "status"] = "failed"
    if elsewhere:  # it was run on one stream only, where all failed
        runs.loc[runs["stream"] == "s1", "status"] = "failed"
        results.runs = runs[~plain | (runs["stream"] == "s1")]
    else:
        runs["status"] = "failed"
    found = overall(results).table
    assert found["probability"].isna().all()
    assert "Naive" in found["strategy"].tolist()


def test_a_winner_needs_enough_units_for_so_many_comparisons():
    better = (0.2, *np.linspace(0.3, 0.6, 31), 0.8, 0.9)
    few, _ = random_results(n_datasets=10, n_seeds=2, better=better, spread=0.001)
    found = overall(few)
    assert (found.verdict.winner, found.verdict.leader, found.verdict.n_needed) == (None, "S29", 11)
    assert "11 data sets may decide" in found.notes[0]
    enough, _ = random_results(n_datasets=11, n_seeds=2, better=better, spread=0.001)
    found = overall(enough)
    assert found.verdict.winner == "S29"
    assert found.notes[0].startswith("S29 is shown to be better than each other strategy over 11 data sets")
    one, _ = random_results(n_datasets=1, n_seeds=6)
    assert overall(one).verdict.winner == "B"
    assert "about other data sets this says nothing" in overall(one).notes[0]
    # On 40 test rows, the same difference is none.
    noisy, _ = random_results(n_datasets=1, n_seeds=6, n_tested=40)
    found = overall(noisy)
    assert found.verdict.winner is None
    assert found.verdict.not_worse == ("A",)
    assert "not shown to be better than A over 6 seeds of one data set" in found.notes[0]


def test_what_is_within_noise_of_the_best_is_best_too():
    results, _ = random_results(n_datasets=1, n_seeds=6)

    def best():
        found = best_of_streams(run_scores(results)).set_index("strategy")["best"]
        return set(found.index[found])

    assert best() == {"B"}  # Joint is an upper bound
    results.scores["n_tested"] = 40
    assert best() == {"A", "B"}
    results.scores["n_tested"] = math.nan
    results.runs = results.runs[results.runs["seed"] == 0]
    assert best() == {"Naive", "A", "B"}
    results.runs["status"] = "failed"
    assert best() == set()


def test_profiles_are_shares_of_runs():
    results, _ = random_results(spread=0.1)
    gaps = gap_closed(run_scores(results)).table
    thresholds = [0.0, 0.4, 0.7, 1.0]
    found = performance_profiles(gaps, thresholds)
    for row in found.itertuples():
        values = gaps.loc[gaps["strategy"] == row.strategy, "score"]
        assert row.share == pytest.approx(np.mean(values >= row.threshold))
        expected = wilson(int(np.sum(values >= row.threshold)), len(values))
        np.testing.assert_allclose([row.low, row.high], expected, atol=1e-12)


def test_nothing_depends_on_the_order_of_rows_and_the_same_results_give_the_same_numbers():
    results, _ = random_results(n_tested=100)
    first = overall(results).table
    pd.testing.assert_frame_equal(first, overall(results).table)
    for name, frame in vars(results).items():
        setattr(results, name, frame.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(first, overall(results).table)


def test_streams_with_different_scores_have_gaps_in_common():
    results, _ = random_results(n_datasets=2)
    other = results.runs["stream"] == "s1"
    results.runs.loc[other, "protocol"] = results.runs.loc[other, "protocol"].str.replace("accuracy", "r2")
    results.scores.loc[results.scores["stream"] == "s1", "metric"] = "r2"
    table = overall(results).table
    assert table["gap"].notna().all()
    assert table["score"].isna().all()
    with pytest.raises(ValueError, match="different scores \\(accuracy, r2\\)"):
        comparison_matrix(run_scores(results))
    assert len(comparison_matrix(gap_closed(run_scores(results)).table)) == 6
    results.runs = results.runs[results.runs["strategy"] != "Joint"]
    assert overall(results).notes[0].startswith("The streams have different scores")
    with pytest.raises(ValueError, match="no strategy 'C'"):
        probability_of_improvement(run_scores(results), "C")
    with pytest.raises(ValueError, match="confidence"):
        overall(results, confidence=95)


# --- simulations with known truth --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_seeds", "n_rows", "p", "spread"), [(5, 360, 0.9, 0.01), (10, 360, 0.95, 0), (6, 1000, 0.8, 0.02)]
)
def test_intervals_with_the_noise_of_test_rows_cover(n_seeds, n_rows, p, spread):
    """Seeds share the test rows, on which a strategy is right or wrong."""
    rng = np.random.default_rng(0)
    scores = rng.binomial(n_rows, p, 4000) / n_rows + rng.normal(0, spread, (n_seeds, 4000))
    mean = scores.mean(axis=0)
    _, _, low, high = student_interval(scores, shared_variance=mean * (1 - mean) / n_rows)
    assert 0.93 <= np.mean((low <= p) & (p <= high)) <= 0.97
    if spread:
        _, _, low, high = student_interval(scores)
        assert np.mean((low <= p) & (p <= high)) < 0.9


@pytest.mark.parametrize(
    ("n_datasets", "n_seeds", "spread", "noise"),
    [(1, 5, 0.1, 0.0), (4, 10, 0.05, 0.0), (5, 3, 0.05, 0.0), (6, 6, 0.05, 0.05), (8, 3, 0.1, 0.0)],
)
def test_intervals_of_the_interquartile_mean_cover(n_datasets, n_seeds, spread, noise):
    rng = np.random.default_rng(0)
    levels = np.linspace(0.5, 1.0, n_datasets)[:, None]
    truth = interquartile_mean((levels + rng.normal(0, spread, (n_datasets, 200_000))).ravel())
    datasets = np.repeat(np.arange(n_datasets), n_seeds)
    covered = []
    for _ in range(1000):
        values = levels + rng.normal(0, spread, (n_datasets, n_seeds)) + rng.normal(0, noise, (n_datasets, 1))
        _, low, high = interquartile_interval(values.ravel(), datasets, noise**2, n_resamples=600)
        covered.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("n_datasets", "n_seeds"), [(1, 20), (5, 10)])
def test_intervals_of_the_probability_of_improvement_cover(n_datasets, n_seeds):
    rng = np.random.default_rng(0)
    place = [(f"d{d}", f"s{d}", seed) for d in range(n_datasets) for seed in range(n_seeds)]
    frame = pd.DataFrame(place * 2, columns=["dataset", "stream", "seed"])
    frame = frame.assign(strategy=np.repeat(["A", "B"], len(place)), variance=0.0)
    truth = stats.norm.cdf(0.5 / math.sqrt(2))
    covered = []
    for _ in range(150):
        scores = rng.normal(size=(2, len(place))) + np.array([[0.5], [0.0]])
        [row] = probability_of_improvement(frame.assign(score=scores.ravel()), "B").to_dict("records")
        covered.append(row["low"] <= truth <= row["high"])
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("n_units", "n_strategies", "unit", "noise"),
    [(6, 3, "seeds", 0.0), (6, 8, "seeds", 0.02), (6, 2, "data sets", 0.0), (8, 6, "data sets", 0.0)],
)
def test_without_a_difference_winners_are_rare(n_units, n_strategies, unit, noise):
    rng = np.random.default_rng(0)
    names = [f"S{k}" for k in range(n_strategies)]
    shape = (250, n_units, n_strategies)
    cases = (
        rng.normal(0.7, 0.03, (*shape[:2], 1)) + rng.normal(0, 0.03, shape) + rng.normal(0, noise, (250, 1, shape[2]))
    )
    variances, index = pd.Series(noise**2, index=names), pd.RangeIndex(n_units, name="dataset")
    winners = [verdict(Units(pd.DataFrame(case, index, names), variances, unit)).winner for case in cases]
    assert sum(each is not None for each in winners) < 0.05 * len(cases)


# --- size --------------------------------------------------------------------------------------------------------


def test_8000_runs_take_seconds():
    results, _ = random_results(n_datasets=20, n_seeds=10, better=np.linspace(0.2, 0.9, 40), n_tested=300)
    results.runs["dataset"] = "d" + (results.runs["stream"].str[1:].astype(int) // 2).astype(str)
    clock = time.process_time()
    scores = run_scores(results)
    gaps = gap_closed(scores).table
    comparison_matrix(gaps)
    performance_profiles(gaps)
    best_of_streams(scores)
    found = overall(results)
    assert time.process_time() - clock < 60  # a loop over runs takes minutes; busy machines count slowly
    assert len(found.table) == 40
    assert found.verdict.n_units == 10


def test_differences_without_any_noise_have_a_p_and_no_warning():
    results, _ = random_results(n_datasets=1, n_seeds=8, spread=0.0)
    with warnings.catch_warnings(action="error"):
        found = comparison_matrix(run_scores(results))
    assert found["p"].dropna().between(0, 1).all()
