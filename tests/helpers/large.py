"""A store of many cells, written faster than by running them."""

import contextlib
import hashlib
import itertools
import json
import sqlite3

from forgetless.benchmarks import Store
from helpers.store import facts

N_EXPERIENCES = 5
TABLES = ("runs", "experiences", "scores", "evaluations")


def write(path, n_cells):
    """Write a store of so many cells: a hundred strategies, ten seeds, streams enough; return their names by key."""
    pattern = facts()
    experiences = [pattern.experiences[0] | {"experience": k} for k in range(N_EXPERIENCES)]
    scores = [
        pattern.scores[1] | {"trained_on": k, "tested_on": j, "score": 0.5}
        for k, j in itertools.product(range(-1, N_EXPERIENCES), range(N_EXPERIENCES))
    ]
    run = pattern.run | {"cell": "pattern", "n_experiences": N_EXPERIENCES}
    with Store(path) as store:
        store.write(type(pattern)(run, experiences, scores, []))
    names = {}
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.row_factory = sqlite3.Row
        found = {name: list(map(dict, connection.execute(f"SELECT * FROM {name}"))) for name in TABLES}
        for name in TABLES:
            connection.execute(f"DELETE FROM {name}")
        insert = {
            name: f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})" for name, rows in found.items() if rows
        }
        for number in range(n_cells):
            seed, strategy, stream = number % 10, number // 10 % 100, number // 1000
            key = f"{number:064x}"
            names[key] = f"strategy {strategy}", f"stream {stream}"
            [run] = found["runs"]
            run |= {"cell": key, "strategy": names[key][0], "stream": names[key][1], "seed": seed}
            run |= {"dataset": f"data {stream}", "needs_task_id": False}
            run |= {"params": json.dumps({"class": "x.Naive", "params": {"strength": strategy}})}
            run |= {"stream_definition": json.dumps({"builder": "toy", "stream": stream, "seed": seed})}
            for name in TABLES[1:]:
                for position, row in enumerate(found[name]):
                    row["cell"] = key
                    if name == "scores":
                        row["score"] = (number * 31 + position) % 101 / 101
            run["checksum"] = None
            values = [value for name, value in run.items() if name != "checksum"]
            details = [[list(row.values()) for row in found[name]] for name in TABLES[1:]]
            run["checksum"] = hashlib.sha256(json.dumps([values, *details]).encode()).hexdigest()
            for name, statement in insert.items():
                connection.executemany(statement, [tuple(row.values()) for row in found[name]])
    return names
