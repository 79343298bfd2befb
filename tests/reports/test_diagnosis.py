"""What usually goes wrong is found where it was made, with its evidence, and nowhere else."""

import json

import numpy as np
import pytest
from helpers.results import cell, make_results, together

from forgetless.reports import describe, diagnose

T = 6


def matrix(new, kept):
    """Scores before and after each experience: `new` when it was learned, `kept` ever after; of all, or of each."""
    R = np.zeros((T + 1, T))
    for k in range(T):
        R[k + 1 :, k] = kept[k] if np.ndim(kept) else kept
        R[k + 1, k] = new[k] if np.ndim(new) else new
    return R.tolist()


def params(**values):
    return json.dumps({"class": "some.Class", "params": values})


PLAIN = {"strategy": "Naive", "estimator": "NaiveClassifier", "family": "baselines"}
JOINT = {"strategy": "Joint", "estimator": "JointClassifier", "family": "baselines"}


def seeds(table, n_seeds=3, noise=0.002, **about):
    rng = np.random.default_rng(len(about["strategy"]))
    tables = [np.clip(np.array(table) + rng.normal(0, noise, np.shape(table)), 0, 1).tolist() for _ in range(n_seeds)]
    return together(*(cell(each, seed=seed, **about) for seed, each in enumerate(tables)))


def stream(*patients, scenario="class", **about):
    return together(*(seeds(table, scenario=scenario, **each, **about) for table, each in patients))


BOUNDS = [(matrix(1.0, 0.02), PLAIN), (matrix(0.98, 0.95), JOINT)]


def only(results, strategy):
    """The one diagnosis there is."""
    (found,) = diagnose(results)
    assert found.strategy == strategy
    return found


def test_a_regulariser_that_collapses():
    ewc = {"strategy": "EWC", "family": "regularization", "params": params(ewc_lambda=100.0)}
    found = only(stream(*BOUNDS, (matrix(0.99, 0.01), ewc)), "EWC")
    assert found.problem == "collapse of a regulariser"
    assert found.parameter == ""
    assert "99." in found.evidence and "of the rest" in found.evidence
    assert diagnose(stream(*BOUNDS, (matrix(0.99, 0.6), ewc), scenario="domain")) == []


def test_a_memory_that_is_too_small_and_one_that_is_not():
    small = {"strategy": "Replay", "family": "replay", "params": params(buffer_size=20)}
    found = only(stream(*BOUNDS, (matrix(0.95, 0.4), small), n_train=100), "Replay")
    assert (found.problem, found.parameter) == ("memory too small", "buffer_size")
    assert "holds 20 of 600 rows" in found.evidence and "to 40" in found.change
    # As many rows serve another one well: it is the method.
    other = {"strategy": "Other", "family": "replay", "params": params(buffer_size=20)}
    found = only(stream(*BOUNDS, (matrix(0.95, 0.4), small), (matrix(0.95, 0.9), other), n_train=100), "Replay")
    assert found.problem == "recency bias" and "large enough" in found.change
    # All rows are held.
    all_rows = small | {"params": params(buffer_size=600)}
    found = only(stream(*BOUNDS, (matrix(0.95, 0.4), all_rows), n_train=100), "Replay")
    assert found.problem == "recency bias"


def test_recency_bias_of_distillation_names_its_strength():
    lwf = {"strategy": "LwF", "family": "distillation", "params": params(alpha=0.5)}
    found = only(stream(*BOUNDS, (matrix(0.98, 0.3), lwf)), "LwF")
    assert (found.problem, found.parameter) == ("recency bias", "alpha")
    assert found.change.startswith("Raise alpha, now 0.5;")


def test_a_strength_that_freezes_learning():
    stiff = {"strategy": "MAS", "family": "regularization", "params": params(mas_lambda=10.0)}
    bounds, held = [(matrix(0.95, 0.4), PLAIN), (matrix(0.97, 0.95), JOINT)], [0.95, *[0.4] * (T - 1)]
    found = only(stream(*bounds, (matrix(held, held), stiff), scenario="domain"), "MAS")
    assert (found.problem, found.parameter) == ("strength that freezes learning", "mas_lambda")
    assert "now 10.0" in found.change
    assert diagnose(stream(*bounds, (matrix(0.9, 0.85), stiff), scenario="domain")) == []


@pytest.mark.parametrize("error", ["ValueError: The loss is not finite", "The loss diverged"])
def test_runs_that_diverged(error):
    results = make_results(strategies=["EWC"], failed=[("EWC", 1)])
    results.runs.loc[results.runs["status"] == "failed", "error"] = error
    found = next(each for each in diagnose(results) if each.problem == "diverged")
    assert found.parameter == "net__lr" and f"1 of 3 runs failed: {error}." == found.evidence
    results.runs["error"] = error + " for a long time" * 10
    [evidence] = [each.evidence for each in diagnose(results) if each.problem == "diverged"]
    assert evidence.endswith("...")
    results.runs["error"] = "OSError: the disk is full"
    assert all(each.problem != "diverged" for each in diagnose(results))


@pytest.mark.parametrize(
    ("estimator", "problem"),
    [("NCMClassifier", "below the nearest class mean"), ("LastLabelClassifier", "below the last label")],
)
def test_a_strategy_below_a_simple_baseline(estimator, problem):
    simple = {"strategy": "Simple", "estimator": estimator, "family": "analytic"}
    net = {"strategy": "Net", "family": "isolation"}
    bounds = [(matrix(0.9, 0.5), PLAIN), (matrix(0.95, 0.9), JOINT)]
    found = only(stream(*bounds, (matrix(0.8, 0.8), simple), (matrix(0.7, 0.7), net), scenario="domain"), "Net")
    assert found.problem == problem and "10." in found.evidence and "3 seeds" in found.evidence
    noisy = stream(*bounds, (matrix(0.8, 0.8), simple), (matrix(0.79, 0.79), net), scenario="domain", noise=0.1)
    assert diagnose(noisy) == []


def test_loss_of_plasticity_is_told_from_experiences_that_become_harder():
    fading, steady = np.linspace(0.95, 0.7, T), np.full(T, 0.93)
    net = {"strategy": "Net", "family": "external"}
    kept = {"strategy": "L2-Init", "family": "plasticity"}
    results = stream((matrix(fading, 0.6), net), (matrix(steady, 0.6), kept), scenario="domain")
    last = results.experiences["experience"] == T - 1
    results.experiences["diagnostics"] = json.dumps({"dead_units": 0.1, "effective_rank": 40.0})
    results.experiences.loc[last, "diagnostics"] = json.dumps({"dead_units": 0.75, "effective_rank": 9.0})
    found = only(results, "Net")
    assert found.problem == "loss of plasticity" and "with L2-Init" in found.evidence
    assert "dead units 10% after the first, 75% after the last" in found.evidence
    harder = stream((matrix(fading, 0.6), net), (matrix(fading, 0.6), kept), scenario="domain")
    assert diagnose(harder) == []


def test_text_of_a_foreign_store_stays_text_and_unreadable_facts_are_nothing():
    results = make_results(streams=["a\x1b[31m"], failed=[("EWC", 0)])
    results.runs["params"] = "[" * 100_000
    results.runs.loc[results.runs["status"] == "failed", "error"] = "not finite \x07\u202e"
    results.experiences["diagnostics"] = "no JSON"
    said = describe(diagnose(results))
    assert "diverged" in said and not set("\x1b\x07\u202e") & set(said)
    assert "No sign" in describe([])
