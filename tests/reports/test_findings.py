"""Conclusions in words."""

import numpy as np
from helpers.results import made, make_results

from forgetless.reports import findings, leaderboard

NAMES = ["Naive", "Top", "A", "B"]


def found(scores, keeps="nothing", n_seeds=6):
    """Conclusions about four strategies with given scores, which vary little over seeds."""
    noise = np.random.default_rng(1).normal(0, 0.01, (1, n_seeds, 1, 4))
    results = made(NAMES, np.array(scores) + noise, np.array([[1.0, 9.0, 4.0, 2.0]]))
    results.runs["keeps"] = [keeps if name == "A" else "nothing" for name in results.runs["strategy"]]
    results.runs.loc[results.runs["strategy"] == "Top", "estimator"] = "JointClassifier"
    return {each.title: each for each in findings.findings(results, leaderboard(results), "s0")}


def test_findings_recommend_and_say_at_what_price():
    says = found([0.5, 0.9, 0.8, 0.7], keeps="samples")
    assert says["Recommended"].strategy == "A"
    assert "points above Naive; " in says["Recommended"].text
    assert "points above B (6 seeds)" in says["Recommended"].text
    assert "take 4.00 s" in says["Recommended"].text
    assert "keeps samples of the data" in says["Recommended"].text
    assert "points below Top, which sees all data again" in says["Highest score"].text
    assert says["Recommended, without raw data"].strategy == "B"


def test_findings_say_no_more_than_the_numbers_do():
    tie = found([0.6, 0.9, 0.6, 0.6])
    assert tie["Recommended"].strategy == "Naive"
    assert "Nothing is shown to be better than plain training" in tie["Recommended"].text
    few = found([0.5, 0.9, 0.8, 0.7], n_seeds=3)
    assert "Recommended" not in few
    assert "3 seeds give no verdict" in few["No verdict yet"].text
    nothing = make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])
    assert findings.findings(nothing, leaderboard(nothing), "digits") == []
