"""Numbers and names formatted for tables."""

import math

from forgetless.reports.formats import plain, scenario, seconds, size


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
