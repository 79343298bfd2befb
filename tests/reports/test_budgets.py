"""Tables of equal budgets: planned for one, or within it as measured."""

import json

import pytest
from helpers.results import make_results

from forgetless.reports import leaderboard, matched, to_terminal
from forgetless.reports.budgets import said
from forgetless.reports.contents import contents


def planned(results, strategy, **budget):
    """Say that the runs of a strategy were planned for a budget."""
    mine = results.runs["strategy"] == strategy
    texts = [json.dumps(json.loads(text) | {"budget": budget}) for text in results.runs.loc[mine, "protocol"]]
    results.runs.loc[mine, "protocol"] = texts
    return results


def shown(results, *args):
    return sorted(leaderboard(matched(results, *args))["strategy"])


def test_runs_that_were_planned_for_the_budget_they_share():
    results = planned(planned(make_results(), "EWC", state_bytes=900), "Joint", state_bytes=900)
    assert shown(results, "memory") == ["EWC", "Joint"]
    with pytest.raises(ValueError, match="planned for a budget of fit_seconds; name a number"):
        matched(results, "compute")
    planned(results, "Joint", state_bytes=800)
    with pytest.raises(ValueError, match="several budgets of state_bytes: 800, 900; name one"):
        matched(results, "memory")
    assert shown(results, "memory", 800) == ["Joint"]
    with pytest.raises(ValueError, match="'memory' or 'compute', not by 'time'"):
        matched(results, "time")


def test_strategies_come_that_took_no_more_in_any_run():
    results = make_results(failed=[("Joint", 0)])  # each carries 1230 bytes
    assert shown(results, "memory", 1230) == ["DER++", "EWC", "Joint"]
    more = (results.experiences["strategy"] == "EWC") & (results.experiences["seed"] == 1)
    results.experiences.loc[more, "replay_bytes"] += 1
    assert shown(results, "memory", 1230) == ["DER++", "Joint"]
    assert shown(planned(results, "EWC", state_bytes=1230), "memory", 1230) == ["DER++", "EWC", "Joint"]
    with pytest.raises(ValueError, match="No strategy here is within 5 of state_bytes"):
        matched(make_results(), "memory", 5)


def test_seconds_of_runs_beside_others_are_within_no_budget():
    results = make_results()
    results.experiences["fit_seconds"] = 1.0
    results.runs["n_parallel"] = 1.0
    assert shown(results, "compute", 3.0) == ["DER++", "EWC", "Joint"]
    results.runs.loc[results.runs["strategy"] == "EWC", "n_parallel"] = 2.0
    assert shown(results, "compute", 3.0) == ["DER++", "Joint"]


def test_reports_say_what_was_set(capsys):
    results = planned(planned(make_results(), "DER++", state_bytes=900_000), "EWC", fit_seconds=2)
    results.runs.loc[results.runs["strategy"] == "DER++", "params"] = json.dumps({"params": {"a": {"buffer_size": 12}}})
    sentence = (
        "Equal budgets: 900 kB carried, by buffer_size (DER++ 12); 2.00 s of learning, by max_epochs (nothing to be "
        "set)."
    )
    assert said(results.runs) == contents(results)["facts"]["budgets"] == sentence
    to_terminal(leaderboard(results), results.runs, width=200)
    assert sentence in capsys.readouterr().out
    assert said(make_results().runs) == ""
