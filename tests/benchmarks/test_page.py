"""The ledger for people: the page in Markdown and the tables for the terminal, from outcomes that are made up."""

import math

import pytest
from helpers.claims import ONLINE

from forgetless.benchmarks.replication.claims import choose, load_claims
from forgetless.benchmarks.replication.ledger import Outcome
from forgetless.benchmarks.replication.page import to_list, to_page, to_text


@pytest.fixture
def found(claims):
    good, noted, broken = claims.values()
    return [
        Outcome(good, 3, 95.0, 94.0, 96.0, versions='{"python": "3.11"}'),
        Outcome(noted, 1, 60.0, math.nan, math.nan),
        Outcome(broken, error="ValueError: no"),
    ]


def test_list_says_what_was_published_and_what_a_run_costs(claims):
    assert to_list(claims.values()).splitlines() == [
        "claim                published   seconds a run",
        "flowers/bayes/class  96.0                    1",
        "flowers/bayes/task   50.0 ± 4.0              1",
        "flowers/net-1/task   ≥ 30.0                  2",
    ]


def test_table_of_the_terminal(found):
    rows = [line.split("  ")[-1].strip() for line in to_text(found).splitlines()]
    assert rows == ["verdict", "pass", "fail, explained", "error: ValueError: no"]


def test_page(found):
    lines = to_page(found).splitlines()
    assert lines[0] == "# Replication"
    assert "**1 pass, 1 fail, 1 error.**" in lines
    assert "Measured on the CPU with python 3.11." in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert rows == [
        "| method | stream | published | accepted | measured | seeds | verdict |",
        "| bayes | class | 96.0 | 93.0–99.0 | 95.0 ± 1.0 | 3 | pass |",
        f"| bayes | task | 50.0 ± 4.0 | 46.0–54.0 | {found[1].measured} | 1 | **fail** (1) |",
        "| net-1 | task | ≥ 30.0 | ≥ 30.0 | – | 0 | **error** |",
    ]
    assert "(1) Their Bayes knew no tasks." in lines


def test_page_names_experiences(claims_folder):
    (claims_folder / "online.toml").write_text(ONLINE)
    _, change = choose(load_claims(claims_folder), ["online"])
    page = to_page([Outcome(change, 3, -7.5, -8.5, -6.5)])
    assert "\n| bayes | permuted/2-3-since-0-1 | ≤ −5.0 | ≤ −5.0 | −7.5 ± 1.0 | 3 | pass |\n" in page
