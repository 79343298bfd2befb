"""Facts of cells that nobody ran, for tests of the store."""

import json
import math

from pandas.testing import assert_frame_equal

from forgetless.benchmarks import Results
from forgetless.benchmarks.results import Facts


def facts(cell="c0", status="ok", score=1 / 3, **changed):
    run = {
        "cell": cell,
        "strategy": "Naive",
        "stream": "toy",
        "scenario": "class",
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
        "device": "cpu",
        "n_experiences": 1,
        "n_parameters": math.nan,
        "seconds": 0.1 + 0.2,
        "started": "2000-01-01T00:00:00+00:00",
        "versions": "{}",
        "machine": "made up",
    }
    if status == "failed":
        return Facts(run | changed, [], [])
    measured = {"fit_seconds": 0.1, "predict_seconds": 0.2, "peak_memory_bytes": math.nan}
    n_bytes = {"model_bytes": 2**40, "replay_bytes": 0, "state_bytes": 1, "memory": "{}"}
    return Facts(
        run | changed,
        [{"experience": 0, "n_train": 3, **measured, **n_bytes}],
        [
            {"trained_on": -1, "tested_on": 0, "score": math.nan},
            {"trained_on": 0, "tested_on": 0, "score": score},
        ],
    )


def assert_same(one: Results, other: Results):
    for name in ("runs", "experiences", "scores"):
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
