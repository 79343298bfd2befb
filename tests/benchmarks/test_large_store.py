"""A store of many cells: read a part at a time, and each row still with its own run."""

import resource
import sqlite3
import time

import numpy as np
import pytest
from helpers import large

from forgetless.benchmarks import Store, StoreWarning
from forgetless.reports import leaderboard


@pytest.mark.parametrize("n_cells", [1200, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_cells(tmp_path, n_cells):
    path = tmp_path / "a.db"
    names = large.write(path, n_cells)
    clock = [time.perf_counter()]

    def lap(what):
        clock.append(time.perf_counter())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{n_cells} cells, {what}: {clock[-1] - clock[-2]:.1f} s, at most {peak:.0f} MB until here")

    with Store(path) as store:
        lap("opened")
        assert store.finished(names) == names.keys()
        lap("found finished")
        wanted = list(names)[::-1]
        found = store.results(wanted)
        lap("read")
        assert found.runs["cell"].tolist() == wanted
        assert found.scores["cell"].tolist() == np.repeat(wanted, 30).tolist()
        numbers = found.scores["cell"].map(lambda key: int(key, 16)).to_numpy()
        positions = np.tile(np.arange(30), n_cells)
        assert (found.scores["score"].to_numpy() == (numbers * 31 + positions) % 101 / 101).all()
        everything = store.results()
        lap("read in order")
        per_cell = everything.scores.groupby("cell")["score"].sum()
        assert per_cell.equals(found.scores.groupby("cell")["score"].sum())
    if n_cells > 10_000:
        clock.append(time.perf_counter())
        leaderboard(everything)
        lap("leaderboard")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE scores SET score = score + 1e-9 WHERE cell = ?", [wanted[7]])
    connection.close()
    with Store(path) as store, pytest.warns(StoreWarning, match="1 cells"):
        assert names.keys() - store.finished(names) == {wanted[7]}
