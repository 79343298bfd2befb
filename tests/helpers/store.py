"""Facts of cells that nobody ran, for tests of the store."""

import hashlib
import json
import math

import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from forgetless.benchmarks import Results
from forgetless.benchmarks.packed import DETAILS, Packed, pack, unpack
from forgetless.benchmarks.results import RUN_COLUMNS, Facts


def facts(cell="c0", status="ok", score=1 / 3, **changed):
    run = {
        "cell": cell,
        "strategy": "Naive",
        "stream": "toy",
        "scenario": "class",
        "dataset": "toy data",
        "seed": 0,
        "status": status,
        "error": None if status == "ok" else "ValueError: no",
        "estimator": "NaiveClassifier",
        "family": "baselines",
        "keeps": "nothing",
        "source": "made up",
        "needs_task_id": False,
        "params": json.dumps({"class": "x.Naive", "params": {"strength": 1.0}}),
        "stream_definition": json.dumps({"builder": "toy", "class_order": [0, 1]}),
        "protocol": json.dumps({"evaluate": "all", "eval_every": None, "scoring": ["accuracy"]}),
        "device": "cpu",
        "n_experiences": 1,
        "n_parameters": math.nan,
        "seconds": 0.1 + 0.2,
        "n_parallel": 1.0,
        "n_stacked": math.nan,
        "started": "2000-01-01T00:00:00+00:00",
        "versions": "{}",
        "machine": "made up",
    }
    if status == "failed":
        return Facts(run | changed, [], [], [])
    measured = {"fit_seconds": 0.1, "predict_seconds": 0.2, "peak_memory_bytes": math.nan}
    n_bytes = {"model_bytes": 2**40, "replay_bytes": 0, "state_bytes": 1, "memory": "{}", "diagnostics": "{}"}
    n_bytes |= {"pickled_bytes": 2.0**40, "gradient_steps": math.nan}
    n_bytes |= {"samples_seen": 6.0, "flops": 2.0**60, "energy_joules": math.nan, "pickled_memory": "{}"}
    return Facts(
        run | changed,
        [{"experience": 0, "n_train": 3, **measured, **n_bytes}],
        [
            {"trained_on": -1, "tested_on": 0, "n_tested": 0, "metric": "accuracy", "score": math.nan},
            {"trained_on": 0, "tested_on": 0, "n_tested": 3, "metric": "accuracy", "score": score},
        ],
        [{"experience": 0, "n_rows": 2, "tested_on": 0, "n_tested": 3, "metric": "accuracy", "score": score / 3}],
    )


def timeless(facts: Facts):
    """Return facts as text (NaN equals NaN then), without what differs between two runs of the same: times, memory.

    Pickles have some bytes more or less after one of them was read: texts that were the same object are two.
    """
    run = {name: value for name, value in facts.run.items() if name not in ("seconds", "started", "n_parallel")}
    changing = [
        "fit_seconds",
        "predict_seconds",
        "peak_memory_bytes",
        "pickled_bytes",
        "pickled_memory",
        "energy_joules",
    ]
    changing += ["model_bytes", "memory"] if run["family"] == "external" else []
    experiences = [{name: row[name] for name in row if name not in changing} for row in facts.experiences]
    return repr((run, experiences, facts.scores, facts.evaluations))


def assert_same(one: Results, other: Results):
    for name in ("runs", "experiences", "scores", "evaluations"):
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


KEYS = {
    "experiences": "cell, experience",
    "scores": "cell, trained_on, tested_on, metric",
    "evaluations": "cell, experience, n_rows, tested_on, metric",
}
SQL_TYPES = {str: "TEXT NOT NULL", int: "BIGINT NOT NULL", bool: "BOOLEAN NOT NULL"}
SQL_TYPES |= {object: "TEXT", float: "DOUBLE PRECISION"}


def unpack_tables(connection):
    """Change a store's table of cells, in any database, to those that version 5 had: a row for each of theirs."""
    names = ", ".join([*RUN_COLUMNS, "checksum"])
    found = connection.exec_driver_sql(f"SELECT cell, {', '.join(Packed._fields)} FROM cells").all()
    columns = ", ".join(f"{name} {SQL_TYPES[kind]}" for name, kind in {**RUN_COLUMNS, "checksum": object}.items())
    connection.exec_driver_sql(f"CREATE TABLE runs ({columns}, PRIMARY KEY (cell))")
    connection.exec_driver_sql(f"INSERT INTO runs ({names}) SELECT {names} FROM cells")
    for place, (name, columns) in enumerate(DETAILS.items()):
        typed = ", ".join(f"{column} {SQL_TYPES[kind]}" for column, kind in {"cell": str, **columns}.items())
        connection.exec_driver_sql(f"CREATE TABLE {name} ({typed}, PRIMARY KEY ({KEYS[name]}))")
        table = sa.table(name, *map(sa.column, ["cell", *columns]))
        rows = [
            dict(zip(table.c.keys(), [cell, *row], strict=True))
            for cell, *packed in found
            for row in unpack(Packed(*packed))[place]
        ]
        if rows:
            connection.execute(table.insert(), rows)
    connection.exec_driver_sql("DROP TABLE cells")


def pack_tables(connection):
    """Undo `unpack_tables`, with what was changed meanwhile."""
    found = {}
    for place, name in enumerate(DETAILS):
        for cell, *row in connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY {KEYS[name]}"):
            found.setdefault(cell, [[], [], []])[place].append(row)
        connection.exec_driver_sql(f"DROP TABLE {name}")
    columns = {**RUN_COLUMNS, "checksum": object, **dict(zip(Packed._fields, (str, bytes, bytes, bytes), strict=True))}
    kinds = SQL_TYPES | {bytes: "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"}
    typed = ", ".join(f"{name} {kinds[kind]}" for name, kind in columns.items())
    connection.exec_driver_sql(f"CREATE TABLE cells ({typed}, PRIMARY KEY (cell))")
    table = sa.table("cells", *map(sa.column, columns))
    rows = [
        {**run, **pack(found.get(run["cell"], [[], [], []]))._asdict()}
        for run in connection.exec_driver_sql("SELECT * FROM runs").mappings().all()
    ]
    connection.execute(table.insert(), rows)
    connection.exec_driver_sql("DROP TABLE runs")


def make_older(connection, version):
    """Change a store's tables, in any database, to those of an older version.

    Version 5 had a row of the database for each row of a cell's tables, and did not count samples and operations, nor
    energy. Version 4 knew no claims, and not how runs went on beside each other, nor pickles and steps. Version 3 did
    not know data sets and numbers of test rows. Version 2 had one protocol, hence no metrics and no evaluations;
    version 1 had no checksums either.
    """

    run = connection.exec_driver_sql
    unpack_tables(connection)
    columns = [("experiences", name) for name in ("samples_seen", "flops", "energy_joules", "pickled_memory")]
    if version < 5:
        run("DROP TABLE claims")
        columns += [("experiences", name) for name in ("pickled_bytes", "gradient_steps")]
        columns += [("runs", name) for name in ("n_parallel", "n_stacked")]
    for name, column in columns:
        run(f"ALTER TABLE {name} DROP COLUMN {column}")
    if version < 4:
        run("ALTER TABLE runs DROP COLUMN dataset")
        run("ALTER TABLE scores DROP COLUMN n_tested")
    details = {"experiences": "2, 3", "scores": "2, 3, 4", "evaluations": "2, 3, 4, 6"}
    if version < 3:
        details = {"experiences": "2, 3", "scores": "2, 3"}
        run("ALTER TABLE runs DROP COLUMN protocol")
        run("ALTER TABLE experiences DROP COLUMN diagnostics")
        run("CREATE TABLE kept AS SELECT cell, trained_on, tested_on, score FROM scores")
        for name in ("scores", "evaluations"):
            run(f"DROP TABLE {name}")
        run(
            "CREATE TABLE scores (cell TEXT NOT NULL, trained_on BIGINT NOT NULL, tested_on BIGINT NOT NULL, "
            "score DOUBLE PRECISION, PRIMARY KEY (cell, trained_on, tested_on))"
        )
        run("INSERT INTO scores SELECT * FROM kept")
        run("DROP TABLE kept")
    run(f"UPDATE forgetless SET schema_version = {version}")
    if version == 1:
        run("ALTER TABLE runs DROP COLUMN checksum")
        return
    kinds = {"needs_task_id": bool, "seconds": float}
    for row in run("SELECT * FROM runs").mappings().all():
        cell = row["cell"]
        values = [kinds.get(name, lambda value: value)(value) for name, value in row.items() if name != "checksum"]
        rows = [
            [list(found) for found in run(f"SELECT * FROM {name} WHERE cell = '{cell}' ORDER BY {order}")]
            for name, order in details.items()
        ]
        checksum = hashlib.sha256(json.dumps([values, *rows]).encode()).hexdigest()
        run(f"UPDATE runs SET checksum = '{checksum}' WHERE cell = '{cell}'")
