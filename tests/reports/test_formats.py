"""Numbers and names formatted for tables."""

import math

import pytest

from forgetless.reports.formats import in_percent, interval, plain, scenario, seconds, size


def test_sizes_and_durations_use_the_unit_that_suits():
    assert [size(value) for value in (0, 999.4, 999.6, 1e6, 5e12)] == ["0 B", "999 B", "1 kB", "1 MB", "5 TB"]
    assert [seconds(value) for value in (0, 0.0012, 0.9996, 59.97, 3599.7)] == [
        "0 ms",
        "1.2 ms",
        "1.00 s",
        "1 min 00 s",
        "1 h 00 min",
    ]
    assert [plain(value) for value in (None, math.nan, "a \n b")] == ["", "", "a b"]


def test_scenarios_have_their_full_names():
    names = ["class-incremental", "task-incremental", "domain-incremental", "online"]
    assert [scenario(name) for name in ("class", "task", "domain", "online")] == names


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ((0.5, 0.48, 0.52), "50.0 ± 2.0"),
        ((1.0, 1.0, 1.0), "100.0 ± 0.0"),
        ((-0.3, -0.4, -0.2), "−30.0 ± 10.0"),
        ((0.5, 0.4796, 0.5199), "50.0 ± 2.0"),  # they differ by less than what is shown
        ((0.995, 0.975, 1.0), "99.5 [97.5, 100.0]"),
        ((0.005, 0.0, 0.025), "0.5 [0.0, 2.5]"),
        ((0.5, 0.0, 1.0), "50.0 ± 50.0"),
        ((-0.9, -1.0, -0.6), "−90.0 [−100.0, −60.0]"),
        ((0.5, math.nan, math.nan), "50.0"),
        ((math.nan, math.nan, math.nan), "–"),
    ],
)
def test_an_interval_is_symmetric_only_where_it_is(limits, text):
    assert interval(*limits) == text


@pytest.mark.parametrize(
    ("scorer", "limits", "text"),
    [
        ("balanced_accuracy", (0.5, 0.48, 0.52), "50.0 ± 2.0"),
        ("r2", (0.5, 0.48, 0.52), "0.5 ± 0.02"),
        ("r2", (-1.25, -3.5, 1.0), "−1.25 ± 2.25"),
        ("r2", (0.9, 0.7, 1.0), "0.9 [0.7, 1]"),
        ("neg_mean_squared_error", (-12345.6, -12400.6, -12290.6), "−12346 ± 55"),
        ("neg_log_loss", (-0.012345, math.nan, math.nan), "−0.0123"),
        ("neg_log_loss", (math.nan, math.nan, math.nan), "–"),
        ("r2", (-999.7, math.nan, math.nan), "−1000"),
        ("r2", (-0.0, math.nan, math.nan), "0"),
        ("r2", (0.1, 0.1, 0.1 + 1.4e-17), "0.1 ± 0"),
    ],
)
def test_only_shares_are_shown_in_percent(scorer, limits, text):
    assert interval(*limits, scorer) == text
    assert in_percent(scorer) == (scorer == "balanced_accuracy")
