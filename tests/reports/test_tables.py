"""Metrics of cells, their means over seeds, and the leaderboard."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.results import cell, make_results, together
from scipy import stats

from forgetless.reports import METRICS, cell_metrics, leaderboard, summarize
from forgetless.reports.tables import LEADERBOARD_COLUMNS, SUMMARY_COLUMNS, accuracy_curves, block_scores


def matrix(results, cell):
    scores = results.scores[results.scores["cell"] == cell]
    return scores.pivot_table(index="trained_on", columns="tested_on", values="score").to_numpy()


def test_cell_metrics_agree_with_the_functions():
    results = make_results(scenario="domain")
    frame = cell_metrics(results).set_index("cell")
    table, joint = matrix(results, "digits|EWC|1"), matrix(results, "digits|Joint|1")
    row = frame.loc["digits|EWC|1"]
    assert row["average_accuracy"] == pytest.approx(table[-1].mean())
    assert row["forward_transfer"] == pytest.approx(METRICS["forward_transfer"].function(table[1:], table[0]))
    assert row["intransigence"] == pytest.approx(np.mean(np.diag(joint[1:]) - np.diag(table[1:])))
    own = results.experiences[results.experiences["cell"] == "digits|EWC|1"]
    assert row["fit_seconds"] == pytest.approx(own["fit_seconds"].sum())
    assert row["model_bytes"] == 1000
    assert len(frame) == len(results.runs)


def test_undefined_metrics_are_nan_with_a_reason():
    results = make_results(strategies=["EWC"])
    summary = summarize(results).set_index("metric")
    assert "class-incremental" in summary.loc["forward_transfer", "note"]
    assert "needs joint training" in summary.loc["intransigence", "note"]
    assert summary.loc["peak_memory_bytes", "note"] == "not measured"
    assert summary.loc[["forward_transfer", "intransigence", "peak_memory_bytes"], "mean"].isna().all()
    assert summary.loc["average_accuracy", "note"] == ""


def test_forward_transfer_needs_the_untrained_accuracy():
    results = make_results(strategies=["EWC"], scenario="task")
    results.scores.loc[results.scores["trained_on"] == -1, "score"] = math.nan
    row = summarize(results, ["forward_transfer"]).iloc[0]
    assert math.isnan(row["mean"])
    assert "before learning" in row["note"]


def test_intransigence_compares_with_the_same_seed_and_stream_only():
    results = make_results(strategies=["Joint", "EWC"], seeds=(0, 1), failed=[("Joint", 1)])
    frame = cell_metrics(results).set_index("cell")
    assert not math.isnan(frame.loc["digits|EWC|0", "intransigence"])
    assert math.isnan(frame.loc["digits|EWC|1", "intransigence"])
    row = summarize(results, ["intransigence"]).set_index("strategy").loc["EWC"]
    assert row["n_seeds"] == 1
    assert "needs joint training" in row["note"]
    results.runs["estimator"] = results.runs["estimator"].str.replace("Classifier", "Regressor")
    assert cell_metrics(results).set_index("cell")["intransigence"].equals(frame["intransigence"])


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_students(confidence):
    results = make_results(seeds=range(5))
    values = cell_metrics(results).query("strategy == 'EWC'")["fit_seconds"]
    row = summarize(results, ["fit_seconds"], confidence).set_index("strategy").loc["EWC"]
    low, high = stats.t.interval(confidence, 4, loc=values.mean(), scale=stats.sem(values))
    assert row["mean"] == pytest.approx(values.mean())
    assert row["std"] == pytest.approx(values.std(ddof=1))
    assert row["ci_low"] == pytest.approx(low)
    assert row["ci_high"] == pytest.approx(high)


def test_intervals_are_clipped_and_unknown_for_one_seed():
    two = summarize(make_results(seeds=(0, 1)))
    for row in two.itertuples():
        low, high = METRICS[row.metric].bounds(row.scorer)
        assert row.n_seeds == 0 or low <= row.ci_low <= row.ci_high <= high
    one = summarize(make_results(seeds=(0,)))
    assert one[["std", "ci_low", "ci_high"]].isna().all(axis=None)
    assert one.query("metric == 'average_accuracy'")["mean"].notna().all()


def test_summary_columns_and_order():
    results = make_results(streams=("b", "a"))
    shuffled = SimpleNamespace(
        runs=results.runs,
        experiences=results.experiences.sample(frac=1, random_state=0),
        scores=results.scores.sample(frac=1, random_state=0),
        evaluations=results.evaluations,
    )
    summary = summarize(results)
    assert list(summary.columns) == SUMMARY_COLUMNS
    assert list(summary["stream"].unique()) == ["b", "a"]
    assert list(summary["strategy"].unique()) == ["Joint", "EWC", "DER++"]
    assert list(summary["metric"].unique()) == list(METRICS)
    pd.testing.assert_frame_equal(summary, summarize(shuffled))


def test_summarize_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"Unknown metric 'accuracy'; choose from average_accuracy"):
        summarize(make_results(), ["accuracy"])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        summarize(make_results(), confidence=95)


def test_failed_cells_leave_the_means_but_not_the_tables():
    broken = make_results(failed=[("EWC", 0), ("DER++", 0), ("DER++", 1), ("DER++", 2)])
    summary = summarize(broken, ["average_accuracy"]).set_index("strategy")
    assert list(summary.loc["EWC", ["n_seeds", "n_failed"]]) == [2, 1]
    assert list(summary.loc["DER++", ["n_seeds", "n_failed", "note"]]) == [0, 3, "all seeds failed"]
    board = leaderboard(broken).set_index("strategy")
    assert board.index[-1] == "DER++"
    assert board.loc["DER++", "n_seeds"] == 0
    assert math.isnan(board.loc["DER++", "average_accuracy"])
    finished = cell_metrics(broken).query("strategy == 'EWC' and status == 'ok'")["average_accuracy"]
    assert board.loc["EWC", "average_accuracy"] == pytest.approx(finished.mean())


def test_leaderboard_columns_and_order():
    results = make_results(streams=("b", "a"))
    # As a harness that goes round by seed would store it.
    results.runs = results.runs.sort_values("seed", kind="stable").reset_index(drop=True)
    board = leaderboard(results)
    assert list(board.columns) == LEADERBOARD_COLUMNS
    assert set(board["headline"]) == {"average_accuracy"}
    assert board["score"].equals(board["average_accuracy"])
    assert list(board["stream"]) == ["b"] * 3 + ["a"] * 3
    for _, rows in board.groupby("stream"):
        assert rows["average_accuracy"].is_monotonic_decreasing
    assert board["average_accuracy"].between(0, 1).all()


def test_two_runs_of_one_seed_are_one_observation():
    results = make_results(strategies=["EWC"], seeds=(0, 1))
    again = make_results(strategies=["EWC"], seeds=(0, 1))
    for frame in vars(again).values():
        frame["cell"] = frame["cell"] + "|again"
    both = together(results, again)
    row, once = summarize(both, ["average_accuracy"]).iloc[0], summarize(results, ["average_accuracy"]).iloc[0]
    assert row["n_seeds"] == 2
    assert row["ci_low"] == pytest.approx(once["ci_low"])
    assert "share a seed" in row["note"]


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, 1.5, -0.5, 1e308])
def test_what_no_accuracy_can_be_is_unknown(wrong):
    results = make_results(strategies=["EWC"])
    scores = results.scores
    scores.loc[(scores["seed"] == 1) & (scores["trained_on"] == 2) & (scores["tested_on"] == 0), "score"] = wrong
    row = summarize(results, ["average_accuracy"]).iloc[0]
    assert (row["n_seeds"], row["note"]) == (2, "some measurements are missing")
    results.experiences.loc[results.experiences["seed"] == 0, "fit_seconds"] = -wrong if wrong > 0 else wrong
    assert summarize(results, ["fit_seconds"]).iloc[0]["n_seeds"] == 2
    scores["score"] = wrong
    assert summarize(results, ["average_accuracy", "forgetting"])["mean"].isna().all()


# --- protocols and scorers ---------------------------------------------------------------------------------------

NAN = math.nan


def of(results):
    """The metrics of the only cell, and the notes."""
    summary = summarize(results).set_index("metric")
    return summary["mean"], summary["note"]


def test_the_anytime_metrics_take_evaluations_within_experiences():
    matrix = [[0.5, 0.5], [1.0, 0.25], [0.5, 1.0]]
    within = [(0, 5, 0, 9, 0.75), (0, 5, 1, 9, 0.25), (1, 5, 0, 9, 0.125), (1, 5, 1, 9, 0.625)]
    results = cell(matrix, within)
    mean, _ = of(results)
    assert mean["average_accuracy"] == 0.75
    assert mean["average_incremental_accuracy"] == (1.0 + 0.75) / 2
    assert mean["average_anytime_accuracy"] == (0.75 + 1.0 + (0.125 + 0.625) / 2 + 0.75) / 4
    assert mean["min_accuracy"] == 0.125
    assert mean["worst_case_accuracy"] == (1.0 + 0.125) / 2
    curve = accuracy_curves(results)
    assert curve["experience"].tolist() == [0.5, 1.0, 1.5, 2.0]
    assert curve["mean"].tolist() == [0.75, 1.0, 0.375, 0.75]
    plain, _ = of(cell(matrix))
    assert plain["average_anytime_accuracy"] == plain["average_incremental_accuracy"]
    assert plain["min_accuracy"] == 0.5


def test_seeds_evaluated_at_other_times_share_a_curve():
    matrix = [[NAN, NAN], [1.0, NAN], [0.5, 0.5]]
    one = cell(matrix, [(1, 5, 0, 9, 0.0), (1, 5, 1, 9, 0.0)], "seen", cell="a")
    two = cell(matrix, evaluate="seen", cell="b", seed=1)
    curve = accuracy_curves(together(one, two))
    assert curve["experience"].tolist() == [1.0, 1.5, 2.0]
    assert curve["mean"].tolist() == [1.0, (0.0 + 0.75) / 2, 0.5]


def test_seen_gives_all_but_what_looks_ahead():
    mean, note = of(cell([[NAN, NAN], [1.0, NAN], [0.5, 0.75]], evaluate="seen"))
    assert (mean["average_accuracy"], mean["forgetting"], mean["learning_accuracy"]) == (0.625, 0.5, 0.875)
    assert note["forward_transfer"] == note["future_score"] == 'needs evaluate="all" or "future"'
    assert note["prequential_score"] == 'needs evaluate="prequential"'


def test_current_gives_what_was_learned():
    results = cell([[NAN, NAN], [1.0, NAN], [NAN, 0.5]], evaluate="current")
    mean, note = of(results)
    assert mean["learning_accuracy"] == 0.75
    assert note["average_accuracy"] == note["min_accuracy"] == 'needs evaluate="all" or "seen"'
    [row] = leaderboard(results).to_dict("records")
    assert (row["headline"], row["score"]) == ("learning_accuracy", 0.75)
    assert math.isnan(row["average_accuracy"])
    assert accuracy_curves(results)["mean"].tolist() == [1.0, 0.5]


def test_prequential_weighs_by_rows():
    # The first four rows came before there was a model; 8 + 2 rows of the second experience, 30 of the third.
    matrix = [[0.25, NAN, NAN], [NAN, 0.8, NAN], [NAN, NAN, 0.5], [NAN, NAN, NAN]]
    chunks = [(0, 4, 0, 6, 0.25), (1, 0, 1, 8, 0.75), (1, 8, 1, 2, 1.0), (2, 0, 2, 30, 0.5)]
    results = cell(matrix, chunks, "prequential")
    mean, note = of(results)
    assert mean["prequential_score"] == pytest.approx((6 * 0.25 + 8 * 0.75 + 2 * 1.0 + 30 * 0.5) / 46)
    assert note[["average_accuracy", "learning_accuracy"]].str.startswith("needs evaluate=").all()
    [row] = leaderboard(results).to_dict("records")
    assert (row["headline"], row["score"]) == ("prequential_score", mean["prequential_score"])
    blocks = block_scores(results)
    assert blocks["block"].tolist() == [0, 1, 2]
    assert blocks["score"].mean() == pytest.approx(row["score"])
    curve = accuracy_curves(results)
    assert curve["experience"].tolist() == [1.0, 1.8, 2.0, 3.0]
    assert curve["mean"].tolist() == [0.25, 0.75, 1.0, 0.5]


def test_future_is_the_mean_over_what_comes():
    results = cell([[0.0, 0.5, 0.0], [NAN, 1.0, 0.5], [NAN, NAN, 0.25], [NAN] * 3], evaluate="future")
    mean, _ = of(results)
    assert mean["future_score"] == (0.75 + 0.25) / 2
    assert mean["forward_transfer"] == ((1.0 - 0.5) + (0.25 - 0.0)) / 2
    assert leaderboard(results)["headline"].tolist() == ["future_score"]


def test_scores_without_bounds_keep_their_sign():
    first = cell([[NAN, NAN], [-2.0, NAN], [-5.0, -1.0]], evaluate="seen", scorer="neg_mean_absolute_error", cell="a")
    second = cell([[NAN, NAN], [-2.0, NAN], [-9.0, -1.0]], [], "seen", "neg_mean_absolute_error", cell="b", seed=1)
    summary = summarize(together(first, second)).set_index("metric")
    assert summary.loc["average_accuracy", "mean"] == -4.0
    assert summary.loc["forgetting", "mean"] == 5.0
    assert summary.loc["backward_transfer", "mean"] == -5.0
    assert summary.loc["average_accuracy", "ci_high"] == 0.0
    assert summary.loc["forgetting", "ci_low"] == pytest.approx(5.0 - stats.t.ppf(0.975, 1) * 2)
    assert set(summary["scorer"]) == {"neg_mean_absolute_error"}


def test_scores_of_two_kinds_are_in_no_mean():
    both = together(cell([[0.5], [0.5]], cell="a"), cell([[0.5], [-3.0]], scorer="r2", cell="b", seed=1))
    row = summarize(both, ["average_accuracy"]).iloc[0]
    assert (row["mean"], row["n_seeds"], row["scorer"]) == (0.5, 1, "accuracy")
    assert "the score is r2" in row["note"]


def test_accuracies_have_the_noise_of_their_test_rows():
    """SLDA with every seed the same score on 360 rows: not ± 0.0 but ± 2."""
    results = make_results(strategies=["EWC"], seeds=range(3), n=5)
    results.scores["score"], results.scores["n_tested"] = 0.96, 72
    row = summarize(results, ["average_accuracy"]).iloc[0]
    half = 1.96 * math.sqrt(0.96 * 0.04 / 360)
    assert row["std"] == pytest.approx(0)
    assert row["ci_high"] - row["mean"] == pytest.approx(half, rel=1e-3)
    curve = accuracy_curves(results)
    assert curve.loc[curve["experience"] == 5, "ci_high"].item() == pytest.approx(row["ci_high"])
    assert curve.loc[curve["experience"] == 1, "ci_low"].item() == pytest.approx(0.96 - half * math.sqrt(5))
    # Scores that are no shares of rows, differences and old stores have none.
    assert summarize(results, ["forgetting"]).iloc[0]["ci_high"] == 0
    for scores in (results.scores.assign(n_tested=math.nan), results.scores.drop(columns="n_tested")):
        results.scores = scores
        row = summarize(results, ["average_accuracy"]).iloc[0]
        assert row["ci_high"] == pytest.approx(0.96)
