import math
import warnings

import numpy as np
import pytest

from forgetless.reports import METRICS
from forgetless.reports import metrics as m

R = np.array([[0.9, 0.2, 0.1], [0.5, 0.8, 0.3], [0.6, 0.4, 0.7]])
R_JOINT = np.array([[0.9, 0.0, 0.0], [0.9, 0.9, 0.0], [0.9, 0.9, 0.9]])
E, t = np.array([R[0], [0.4, 0.6, 0.0], R[1], R[2]]), np.array([1.0, 1.5, 2.0, 3.0])
b = np.array([0.3, 0.1, 0.05])


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("average_accuracy", (R,), (0.6 + 0.4 + 0.7) / 3),
        ("average_incremental_accuracy", (R,), (0.9 + (0.5 + 0.8) / 2 + (0.6 + 0.4 + 0.7) / 3) / 3),
        ("forgetting", (R,), ((0.9 - 0.6) + (0.8 - 0.4)) / 2),
        ("backward_transfer", (R,), ((0.6 - 0.9) + (0.4 - 0.8)) / 2),
        ("forward_transfer", (R, b), ((0.2 - 0.1) + (0.3 - 0.05)) / 2),
        ("learning_accuracy", (R,), (0.9 + 0.8 + 0.7) / 3),
        ("intransigence", (R, R_JOINT), (0.0 + 0.1 + 0.2) / 3),
        ("gain_over_frozen", (R, R_JOINT), (0.6 + 0.4 + 0.7) / 3 - 0.9),
        ("parts_against_union", (R, R_JOINT), ((0.6 + 0.4 + 0.7) / 3) / 0.9),
        ("average_anytime_accuracy", (E, t), (0.9 + (0.4 + 0.6) / 2 + (0.5 + 0.8) / 2 + (0.6 + 0.4 + 0.7) / 3) / 4),
        ("min_accuracy", (R,), (0.5 + 0.4) / 2),
        ("min_accuracy", (E, t), (0.4 + 0.4) / 2),
        ("worst_case_accuracy", (R,), 0.7 / 3 + 2 / 3 * 0.45),
        ("worst_case_accuracy", (E, t), 0.7 / 3 + 2 / 3 * 0.4),
        ("prequential_score", ([0.5, 0.8], [30, 10]), (15 + 8) / 40),
        ("future_score", (R,), ((0.2 + 0.1) / 2 + 0.3) / 2),
        ("fit_seconds", ([1.0, 2.0, 4.0],), 7.0),
        ("predict_seconds", ([1.0, 2.0, 4.0],), 7.0),
        ("peak_memory_bytes", ([1.0, 5.0, 4.0],), 5.0),
        ("model_bytes", ([1.0, 5.0, 4.0],), 4.0),
        ("replay_bytes", ([1.0, 5.0, 4.0],), 4.0),
        ("state_bytes", ([1.0, 5.0, 4.0],), 4.0),
        ("bytes_added", ([4.0, 5.0, 8.0], [0.0, 2.0, 2.0], [1.0, 1.0, 3.0]), 4.0),
        ("pickled_bytes", ([1.0, 5.0, 4.0],), 4.0),
        *((name, ([1.0, 2.0, 4.0],), 7.0) for name in ("gradient_steps", "samples_seen", "flops", "energy_joules")),
    ],
)
def test_by_hand(name, args, expected):
    assert METRICS[name].function(*args) == pytest.approx(expected, abs=1e-12)


def test_every_metric_is_computed_by_hand():
    marks = test_by_hand.pytestmark[0].args[1]
    assert {case[0] for case in marks} == set(METRICS)


def test_forgetting_takes_the_best_of_all_earlier_rows_but_not_the_last():
    # Experience 1 was answered best before it was learned; the last row is no candidate.
    rows = np.array([[0.5, 0.9, 0.0], [0.5, 0.6, 0.0], [0.8, 0.7, 1.0]])
    assert m.forgetting(rows) == pytest.approx(((0.5 - 0.8) + (0.9 - 0.7)) / 2)


def test_forgetting_ignores_only_what_could_not_be_answered():
    rows = R.copy()
    rows[0, 1:] = math.nan
    assert m.forgetting(rows) == pytest.approx(m.forgetting(R))
    rows[1, 0] = math.nan
    assert math.isnan(m.forgetting(rows))


def test_a_single_experience_is_nan_where_undefined_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {
            name: metric.function(*([[0.5]] if need[0] in "RE" else [0.5] for need in metric.needs))
            for name, metric in METRICS.items()
        }
    undefined = {name for name, value in values.items() if math.isnan(value)}
    assert undefined == {name for name, metric in METRICS.items() if metric.min_experiences > 1}
    assert undefined == {
        "bytes_added",
        "forgetting",
        "backward_transfer",
        "forward_transfer",
        "min_accuracy",
        "worst_case_accuracy",
        "future_score",
    }


def test_missing_entries_make_nan_and_are_silent():
    gaps = np.full((3, 3), math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in METRICS.values():
            args = [gaps if need[0] in "RE" else t[1:] if need == "t" else gaps[0] for need in metric.needs]
            assert math.isnan(metric.function(*args)), metric.name


def test_bounds_hold_for_random_matrices():
    rng = np.random.default_rng(0)
    for _ in range(200):
        matrix, joint, before = rng.random((4, 4)), rng.random((4, 4)), rng.random(4)
        inputs = {"R": matrix, "R_joint": joint, "R_frozen": joint, "b": before}
        for metric in METRICS.values():
            if metric.needs[0] == "R":
                low, high = metric.bounds("accuracy")
                assert low <= metric.function(*(inputs[need] for need in metric.needs)) <= high


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros(3), np.zeros((0, 0))])
def test_a_matrix_must_be_square(bad):
    with pytest.raises(ValueError, match="square matrix"):
        m.average_accuracy(bad)


def test_vectors_must_fit_the_matrix():
    with pytest.raises(ValueError, match="b must have one value per experience"):
        m.forward_transfer(R, [0.1, 0.2])


def test_parts_against_a_union_that_scores_nothing_are_not_known():
    assert math.isnan(m.parts_against_union(R, np.zeros((3, 3))))
    assert math.isnan(m.parts_against_union(-R, -R_JOINT))  # errors, which are better where they are smaller
    assert m.parts_against_union(-R, R_JOINT) == pytest.approx(-17 / 27)  # R2 may be negative
    assert METRICS["parts_against_union"].bounds("accuracy") == (0, math.inf)
    assert METRICS["parts_against_union"].bounds("r2") == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="R_joint's last row"):
        m.parts_against_union(R, R_JOINT[:2, :2])


def test_the_registry_says_sign_scale_and_source():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.label
        assert metric.formula
        assert metric.source
        assert metric.unit in {"score", "difference of scores", "ratio of scores", *m.COST_UNITS}
    lower = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    assert {"forgetting", "intransigence", "fit_seconds", "model_bytes"} <= lower


@pytest.mark.parametrize(
    ("scorer", "bounds", "of_differences"),
    [
        ("roc_auc_ovr", (0, 1), (-1, 1)),
        ("f1_macro", (0, 1), (-1, 1)),
        ("explained_variance", (-math.inf, 1), (-math.inf, math.inf)),
        ("neg_log_loss", (-math.inf, 0), (-math.inf, math.inf)),
        ("matthews_corrcoef", (-math.inf, math.inf), (-math.inf, math.inf)),
    ],
)
def test_bounds_by_scorer(scorer, bounds, of_differences):
    assert METRICS["average_accuracy"].bounds(scorer) == bounds
    assert METRICS["backward_transfer"].bounds(scorer) == of_differences
    assert METRICS["fit_seconds"].bounds(scorer) == (0, math.inf)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.weights])
def test_the_weights_of_a_mean_of_scores_give_it(name):
    metric, rng = METRICS[name], np.random.default_rng(0)
    t = np.array([0.5, 1.0, 1.25, 2.0, 2.75, 3.0, 3.5, 4.0])
    inputs = {"R": rng.random((4, 4)), "E": rng.random((8, 4)), "t": t}
    inputs |= {"prequential": rng.random(4), "n_tested": np.array([0.0, 10, 30, 20])}
    arrays = [inputs[need] for need in metric.needs]
    weights = metric.weights(*arrays)
    assert weights.sum() == pytest.approx(1)
    assert np.sum(weights * arrays[0]) == pytest.approx(metric.function(*arrays))


def test_every_mean_of_scores_has_weights():
    assert {name for name, metric in METRICS.items() if metric.unit == "score"} == {
        name for name, metric in METRICS.items() if metric.weights
    }


def test_the_variance_of_an_accuracy_is_that_of_drawing_test_rows():
    rng, n = np.random.default_rng(0), np.array([50, 200])
    p, weights = np.array([0.7, 0.9]), np.array([0.5, 0.5])
    drawn = rng.binomial(n, p, (100_000, 2)) / n @ weights
    assert m.sampling_variance(p, n, weights) == pytest.approx(drawn.var(), rel=0.02)
    # The same rows tested twice, with the same model, are no more rows.
    assert m.sampling_variance([p, p], [n, n], [weights / 2, weights / 2]) == pytest.approx(
        m.sampling_variance(p, n, weights)
    )
    # Of 360 rows without a mistake, the interval is about that of the rule of three.
    assert 1.96 * m.sampling_variance([1.0], [360], [1.0]) ** 0.5 == pytest.approx(3 / 360, rel=0.1)
    assert math.isnan(m.sampling_variance([0.5, 0.5], [10, math.nan], weights))
    assert m.sampling_variance([0.5, math.nan], [10, math.nan], [1, 0]) == 0.025
