"""A store of many cells: read a part at a time, each row still with its own run, in seconds and below a gigabyte."""

import contextlib
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
    clock = [time.process_time()]

    def lap(what):
        clock.append(time.process_time())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{n_cells} cells, {what}: {clock[-1] - clock[-2]:.1f} s of CPU, at most {peak:.0f} MiB until here")

    with Store(path) as store:
        lap("opened")
        assert store.finished(names) == names.keys()
        lap("found finished")
        found = store.results()
        lap("read")
        board = leaderboard(found)
        lap("leaderboard")
        assert board["n_seeds"].sum() == len(found.runs) == n_cells
        numbers = {key: number for number, key in enumerate(names)}
        expected = np.concatenate([large.scores_of(numbers[key]) for key in found.runs["cell"]])
        assert (found.scores["score"].to_numpy() == expected).all()
        counts = [large.n_experiences(numbers[key]) for key in found.runs["cell"]]
        assert (found.experiences["cell"].to_numpy() == np.repeat(found.runs["cell"].to_numpy(), counts)).all()
        del found, expected
        wanted = list(names)[::-1]
        clock.append(time.process_time())
        found = store.results(wanted)
        lap("read in another order")
        assert found.runs["cell"].tolist() == wanted
        assert (found.scores["score"].to_numpy() == np.concatenate([*map(large.scores_of, range(n_cells))][::-1])).all()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE cells SET scores = CAST(substr(scores, 1, length(scores) - 1) || x'3e' AS BLOB) WHERE cell = ?",
            [wanted[7]],
        )
    with Store(path) as store, pytest.warns(StoreWarning, match="1 cells"):
        assert names.keys() - store.finished(names) == {wanted[7]}
