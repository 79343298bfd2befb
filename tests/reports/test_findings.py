"""Conclusions in words."""

from helpers.results import make_results

from forgetless.reports import findings, leaderboard


def scored(accuracies, fit_seconds, keeps, estimators=None):
    """Build results of one experience in which each strategy has the given accuracies, one per seed."""
    results = make_results(strategies=list(accuracies), n=1, seeds=range(len(next(iter(accuracies.values())))))
    for frame, column in ((results.scores, "score"), (results.experiences, "fit_seconds")):
        frame[column] = [
            accuracies[row.strategy][row.seed] if column == "score" else fit_seconds[row.strategy]
            for row in frame.itertuples()
        ]
    results.runs["keeps"] = results.runs["strategy"].map(keeps)
    results.runs["estimator"] = [(estimators or {}).get(name, "SomeClassifier") for name in results.runs["strategy"]]
    return results


def found(results):
    return {f.title: f for f in findings.findings(results, leaderboard(results), "digits")}


def test_findings_name_the_best_the_cheapest_and_the_most_private():
    results = scored(
        {"Top": [0.99, 0.99, 0.99], "A": [0.90, 0.92, 0.94], "B": [0.89, 0.91, 0.93], "C": [0.5, 0.5, 0.51]},
        {"Top": 50.0, "A": 10.0, "B": 2.0, "C": 1.0},
        {"Top": "samples", "A": "samples", "B": "features", "C": "nothing"},
        {"Top": "JointClassifier"},
    )
    says = found(results)
    assert says["Most accurate"].strategy == "A"
    assert "below Top" in says["Most accurate"].text
    assert says["Cheapest that keeps up"].strategy == "B"
    assert "5.0 times faster than A" in says["Cheapest that keeps up"].text
    assert says["Best that keeps nothing of the data"].strategy == "C"
    assert "41.7 points below A, which keeps samples" in says["Best that keeps nothing of the data"].text


def test_findings_say_no_more_than_the_numbers_do():
    one_seed = scored({"A": [0.9], "B": [0.8]}, {"A": 2.0, "B": 1.0}, {"A": "samples", "B": "samples"})
    assert set(found(one_seed)) == {"Most accurate"}
    upper = scored({"Top": [0.9]}, {"Top": 1.0}, {"Top": "samples"}, {"Top": "CumulativeClassifier"})
    assert found(upper) == {}
    assert found(make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])) == {}
