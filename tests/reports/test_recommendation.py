"""The choice of a strategy, on made results whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from helpers.results import made, make_results

from forgetless.reports import Constraints, recommend
from forgetless.reports.recommendation import paired_interval

STRATEGIES = ["Naive", "A", "B", "C", "D"]
SECONDS = np.array([1.0, 2.0, 4.0, 8.0, 1.5])


def simulated(better, n_cases=10, n_seeds=8, n_blocks=1):
    """One stream per case: seeds, blocks and their pairs with strategies vary; `better` is added to the scores."""
    rng = np.random.default_rng(0)
    shape = (n_cases, n_seeds, n_blocks, len(STRATEGIES))
    shared = rng.normal(0.6, 0.05, shape[:3])[..., None]
    of_seed, of_block = (rng.normal(0, 0.02, s) for s in ((*shape[:2], 1, shape[3]), (n_cases, 1, *shape[2:])))
    scores = shared + of_seed + (of_block if n_blocks > 1 else 0) + rng.normal(0, 0.02, shape)
    return made(STRATEGIES, scores + better, SECONDS * rng.uniform(0.5, 2, (n_cases, len(STRATEGIES))))


def choices(results):
    return [recommend(results, stream=stream) for stream in results.runs["stream"].unique()]


def dominated(found):
    rows = found.strategies.set_index("strategy")
    mine = rows.loc[found.strategy]
    no_worse = (rows["score"] >= mine["score"]) & (rows["seconds"] <= mine["seconds"])
    return (no_worse & ((rows["score"] > mine["score"]) | (rows["seconds"] < mine["seconds"]))).any()


@pytest.mark.parametrize("size", [{}, {"n_seeds": 4, "n_blocks": 12}])
def test_without_a_difference_none_is_shown(size):
    found = choices(simulated(np.zeros(5), **size))
    assert np.mean([each.verdict == "no difference" for each in found]) >= 0.93
    assert not any(map(dominated, found))


@pytest.mark.parametrize("size", [{}, {"n_seeds": 4, "n_blocks": 12}])
def test_a_large_difference_names_the_right_strategy(size):
    found = choices(simulated(np.array([0, 0, 0.2, 0, 0]), **size))
    assert np.mean([each.strategy == "B" and each.verdict == "better" for each in found]) >= 0.95
    assert not any(map(dominated, found))
