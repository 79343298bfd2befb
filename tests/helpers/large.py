"""A store of many cells, written faster than by running them."""

import contextlib
import hashlib
import json
import sqlite3

import numpy as np

from forgetless.benchmarks import Store
from forgetless.benchmarks.packed import RECORDS
from forgetless.benchmarks.results import RUN_COLUMNS
from helpers.store import facts

N_SEEDS, N_STRATEGIES = 10, 100
STRATEGIES = [("Naive", "NaiveClassifier"), ("Joint", "JointClassifier")]
STRATEGIES += [(f"Replay {n}", "ReplayClassifier") for n in range(2, N_STRATEGIES)]


def n_experiences(number):
    """Tell how many experiences a cell has: from 5 to 10."""
    return 5 + number // (N_SEEDS * N_STRATEGIES) % 6


def scores_of(number):
    """Return all scores of a cell: before the first and after each experience, on all of them."""
    size = n_experiences(number)
    joint = 60 * (STRATEGIES[number // N_SEEDS % N_STRATEGIES][0] == "Joint")
    return ((number * 31 + np.arange(size * (size + 1)) * 17) % 101 + 39 + joint) / 200


def write(path, n_cells):
    """Write a store of so many cells: a hundred strategies, ten seeds, streams enough; return their names by key."""
    rng, names, records = np.random.default_rng(0), {}, {}
    for size in range(5, 11):
        experiences = np.zeros(size, RECORDS["experiences"])
        experiences["experience"], experiences["n_train"] = np.arange(size), 1000
        experiences["memory"], experiences["diagnostics"] = np.arange(size), size
        scores = np.zeros(size * (size + 1), RECORDS["scores"])
        scores["trained_on"] = np.repeat(np.arange(-1, size), size)
        scores["tested_on"], scores["n_tested"] = np.tile(np.arange(size), size + 1), 200
        scores["metric"] = size + 1
        records[size] = experiences, scores
    with Store(path) as store:
        store.write(facts("pattern"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.row_factory = sqlite3.Row
        [run] = map(dict, connection.execute("SELECT * FROM cells"))
        connection.execute("DELETE FROM cells")
        for number in range(n_cells):
            strategy, estimator = STRATEGIES[number // N_SEEDS % N_STRATEGIES]
            seed, stream, size = number % N_SEEDS, f"stream {number // (N_SEEDS * N_STRATEGIES)}", n_experiences(number)
            key = hashlib.sha256(str(number).encode()).hexdigest()
            names[key] = strategy, stream
            run |= {"cell": key, "strategy": strategy, "stream": stream, "seed": seed, "estimator": estimator}
            run |= {"dataset": f"data of {stream}", "needs_task_id": False, "n_experiences": size}
            run |= {
                "params": json.dumps({"class": f"x.{estimator}", "params": {"strength": strategy, "pad": "x" * 300}})
            }
            run |= {"stream_definition": json.dumps({"builder": stream, "class_order": [seed, *range(100)]})}
            run |= {"versions": json.dumps({f"package{n}": "1.0.0" for n in range(15)})}
            run["seconds"] = float(rng.random())
            experiences, scores = records[size]
            experiences["fit_seconds"], experiences["predict_seconds"] = rng.random((2, size))
            experiences["model_bytes"] = 1000 + number
            scores["score"] = scores_of(number)
            memory = [json.dumps({"weights": 1000, "samples": 100 * n * (len(strategy) + 1)}) for n in range(size)]
            texts = json.dumps([*memory, "{}", "accuracy"])
            tables = [experiences.tobytes(), scores.tobytes(), b""]
            values = [run[name] for name in RUN_COLUMNS]
            head = [each if isinstance(each, str) else f"\0{each}" for each in (*values, texts, *map(len, tables))]
            summed = hashlib.sha256(b"\0".join(["\0".join(head).encode(), *tables])).hexdigest()
            row = [*values, summed, texts, *tables]
            connection.execute(f"INSERT INTO cells VALUES ({', '.join('?' * len(row))})", row)
    return names
