"""Random results of a benchmark, as reports take them."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd

SCORE_COLUMNS = ["cell", "strategy", "stream", "seed", "trained_on", "tested_on", "score"]
EXPERIENCE_COLUMNS = [
    *("cell", "strategy", "stream", "seed", "experience", "n_train", "fit_seconds", "predict_seconds"),
    *("peak_memory_bytes", "model_bytes", "replay_bytes", "state_bytes", "memory"),
]


def make_results(
    strategies=("Joint", "EWC", "DER++"), streams=("digits",), seeds=(0, 1, 2), n=3, scenario="class", failed=()
):
    """Random results; `failed` holds (strategy, seed)."""
    rng = np.random.default_rng(0)
    about = {
        "Joint": ("JointClassifier", "baselines", "samples"),
        "EWC": ("EWCClassifier", "regularization", "nothing"),
        "DER++": ("DERClassifier", "replay", "samples"),
    }
    runs, experiences, scores = [], [], []
    for stream in streams:
        for strategy in strategies:
            estimator, family, keeps = about.get(strategy, ("SomeClassifier", "external", "nothing"))
            for seed in seeds:
                key = {"cell": f"{stream}|{strategy}|{seed}", "strategy": strategy, "stream": stream, "seed": seed}
                broken = (strategy, seed) in failed
                runs.append(
                    key
                    | {"scenario": scenario, "status": "failed" if broken else "ok", "estimator": estimator}
                    | {"error": "ValueError: the loss is nan" if broken else None, "family": family, "keeps": keeps}
                    | {"source": "Somebody 2018", "needs_task_id": False, "params": "{}", "device": "cpu"}
                    | {"n_experiences": n, "n_parameters": 10, "seconds": 1.0, "started": "2020-02-03T00:00:00+00:00"}
                    | {"versions": json.dumps({"python": "3.11"}), "machine": "a machine"}
                )
                if broken:
                    continue
                for i in range(-1, n):
                    scores += [key | {"trained_on": i, "tested_on": j, "score": rng.random()} for j in range(n)]
                for i in range(n):
                    measured = {"fit_seconds": rng.random(), "predict_seconds": 0.25, "peak_memory_bytes": math.nan}
                    sizes = {"model_bytes": 1000, "replay_bytes": 200, "state_bytes": 30, "memory": "{}"}
                    experiences.append(key | {"experience": i, "n_train": 9} | measured | sizes)
    return SimpleNamespace(
        runs=pd.DataFrame(runs),
        experiences=pd.DataFrame(experiences, columns=EXPERIENCE_COLUMNS),
        scores=pd.DataFrame(scores, columns=SCORE_COLUMNS),
    )


def rename(results, old, new):
    for frame in (results.runs, results.experiences, results.scores):
        frame[["strategy", "stream"]] = frame[["strategy", "stream"]].replace(old, new)
    return results
