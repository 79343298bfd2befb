"""The number of seeds that a claim takes to be judged."""

import pytest
from helpers.claims import CLAIMS

from forgetless.benchmarks.replication.claims import ClaimError, load_claims, read_source
from forgetless.benchmarks.replication.ledger import Outcome, plan, read_record
from forgetless.benchmarks.replication.page import to_page, to_text


@pytest.fixture
def demanding(tmp_path):
    """Claims of which those on the stream "task" take 3 seeds."""
    (tmp_path / "flowers.toml").write_text(CLAIMS.replace('scenario = "task"', 'scenario = "task"\nseeds = 3'))
    return load_claims(tmp_path)


def test_domain_rows_that_come_along_take_ten_seeds():
    splits = [claim for claim in load_claims().values() if claim.stream.builder == "split"]
    domain = [claim for claim in splits if claim.stream.scenario == "domain"]
    assert len(domain) == 18
    assert {claim.seeds for claim in domain} == {10}
    assert min(claim.seeds for claim in load_claims().values()) == 3


def test_a_row_with_too_few_seeds_is_neither_passed_nor_failed(demanding):
    claim = demanding["flowers/bayes/task"]
    assert (claim.seeds, demanding["flowers/bayes/class"].seeds) == (3, 1)
    for mean in (50.0, 99.0):
        few = Outcome(claim, 2, mean, mean - 9, mean + 9)
        assert (few.verdict, few.holds) == ("not enough seeds", False)
    assert [Outcome(claim, 3, mean).verdict for mean in (50.0, 99.0)] == ["pass", "fail"]
    assert Outcome(claim).verdict == "not run"
    assert Outcome(claim, 2, 50.0, error="ValueError: no").verdict == "error"


def test_page_and_table_say_so(demanding):
    found = [Outcome(claim, 2, 50.0, 49.0, 51.0) for claim in demanding.values()]
    page = to_page(found)
    assert "**1 fail, 2 not enough seeds.**" in page
    assert "| bayes | task | 50.0 ± 4.0 | 46.0–54.0 | 50.0 ± 1.0 | 2 | not enough seeds (1) |" in page
    assert [line.split("  ")[-1].strip() for line in to_text(found).splitlines()][2] == "not enough seeds"


def test_plan_has_as_many_seeds_as_each_claim_takes(demanding, tmp_path):
    nothing = read_record(tmp_path / "none.csv")

    def seeds_of(n):
        cells, missing = plan(demanding.values(), n, nothing)
        assert missing == cells
        assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
        return {
            stream: [cell.seed for cell in cells if cell.stream.endswith(stream) and cell.strategy.endswith("bayes")]
            for stream in ("class", "task")
        }

    assert seeds_of(1) == {"class": [0], "task": [0, 1, 2]}
    assert seeds_of(4) == {"class": [0, 1, 2, 3], "task": [0, 1, 2, 3]}


def test_streams_are_built_without_it(demanding):
    assert "seeds" not in demanding["flowers/bayes/task"].stream_spec().params


def test_it_is_a_number_from_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(CLAIMS.replace('scenario = "task"', 'scenario = "task"\nseeds = 0'))
    with pytest.raises(ClaimError, match="'seeds' in number 2 of streams is wrong: input should be greater than 0"):
        read_source(path)
