"""Random results of a benchmark, as reports take them."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd

from forgetless.benchmarks.results import EVALUATION_COLUMNS, EXPERIENCE_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS


def protocol(evaluate="all", *scoring):
    """A protocol as results have it."""
    return json.dumps({"evaluate": evaluate, "eval_every": None, "scoring": scoring or ["accuracy"]})


def cell(matrix, evaluations=(), evaluate="all", scorer="accuracy", n_train=10, **changed):
    """Results of one cell: scores before learning and after each experience, NaN where none was stored.

    Evaluations are (experience, n_rows, tested_on, n_tested, score).
    """
    key = {"cell": f"{changed}", "strategy": "EWC", "stream": "digits", "seed": 0, **changed}
    names = {name: key[name] for name in ("cell", "strategy", "stream", "seed")}
    n = len(matrix[0])
    run = dict.fromkeys(RUN_COLUMNS, "") | {"scenario": "domain", "status": "ok", "estimator": "SomeClassifier"}
    run |= {"protocol": protocol(evaluate, scorer, "other"), "n_experiences": n, "n_parameters": 1, "seconds": 1.0}
    run |= {"keeps": "nothing", "needs_task_id": False, "error": None, "params": "{}", "versions": "{}"} | key
    experience = dict.fromkeys(EXPERIENCE_COLUMNS, 1) | names | {"n_train": n_train, "diagnostics": "{}"}
    scores = [
        names | {"trained_on": i - 1, "tested_on": j, "n_tested": math.nan, "metric": metric, "score": score / part}
        for i, row in enumerate(matrix)
        for j, score in enumerate(row)
        for metric, part in ((scorer, 1), ("other", 3))
        if not math.isnan(score)
    ]
    within = [
        names
        | dict(zip(["experience", "n_rows", "tested_on", "n_tested", "score"], each, strict=True))
        | {"metric": scorer}
        for each in evaluations
    ]
    return SimpleNamespace(
        runs=pd.DataFrame([run]),
        experiences=pd.DataFrame([experience | {"experience": i} for i in range(n)]),
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        evaluations=pd.DataFrame(within, columns=list(EVALUATION_COLUMNS)),
    )


def together(*results):
    """Results of several cells."""
    frames = {name: [vars(each)[name] for each in results] for name in vars(results[0])}
    return SimpleNamespace(**{name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()})


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
                    | {
                        "scenario": scenario,
                        "dataset": stream,
                        "status": "failed" if broken else "ok",
                        "estimator": estimator,
                    }
                    | {"error": "ValueError: the loss is nan" if broken else None, "family": family, "keeps": keeps}
                    | {"source": "Somebody 2018", "needs_task_id": False, "params": "{}", "device": "cpu"}
                    | {"n_experiences": n, "n_parameters": 10, "seconds": 1.0, "started": "2020-02-03T00:00:00+00:00"}
                    | {"protocol": protocol(), "versions": json.dumps({"python": "3.11"}), "machine": "a machine"}
                )
                if broken:
                    continue
                for i in range(-1, n):
                    pairs = [{"trained_on": i, "tested_on": j, "n_tested": 100, "metric": "accuracy"} for j in range(n)]
                    scores += [key | pair | {"score": rng.random()} for pair in pairs]
                for i in range(n):
                    measured = {"fit_seconds": rng.random(), "predict_seconds": 0.25, "peak_memory_bytes": math.nan}
                    sizes = {
                        "model_bytes": 1000,
                        "replay_bytes": 200,
                        "state_bytes": 30,
                        "memory": "{}",
                        "diagnostics": "{}",
                    }
                    experiences.append(key | {"experience": i, "n_train": 9} | measured | sizes)
    return SimpleNamespace(
        runs=pd.DataFrame(runs),
        experiences=pd.DataFrame(experiences, columns=list(EXPERIENCE_COLUMNS)),
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        evaluations=pd.DataFrame(columns=list(EVALUATION_COLUMNS)),
    )


def rename(results, old, new):
    for frame in vars(results).values():
        frame[["strategy", "stream"]] = frame[["strategy", "stream"]].replace(old, new)
    return results


def made(strategies, scores, seconds):
    """Results with given scores (streams, seeds, blocks, strategies) and seconds (streams, strategies).

    Blocks are predicted before they are learned; a single one is a stream of one experience.
    """
    streams, seeds, blocks, of = np.indices(scores.shape).reshape(4, -1)
    ahead = scores.shape[2] > 1
    names = ["cell", "strategy", "stream", "seed"]
    facts = pd.DataFrame({"stream": streams, "seed": seeds, "block": blocks, "of": of, "score": scores.ravel()})
    facts["seconds"] = seconds[streams, of] * (blocks == 0)
    facts["cell"] = [f"{stream}|{seed}|{k}" for stream, seed, k in zip(streams, seeds, of, strict=True)]
    facts = facts.assign(strategy=np.array(strategies)[of], stream=[f"s{stream}" for stream in streams])
    runs = facts.loc[blocks == 0, names].assign(scenario="domain", status="ok", keeps="nothing", needs_task_id=False)
    runs["estimator"] = ["NaiveClassifier" if name == "Naive" else "SomeClassifier" for name in runs["strategy"]]
    runs = runs.assign(dataset=runs["stream"])
    runs = runs.assign(protocol=protocol("prequential" if ahead else "all"), n_experiences=scores.shape[2] + ahead)
    half = facts["seconds"] / 2
    sizes = {"model_bytes": 1, "replay_bytes": 0, "state_bytes": 0, "peak_memory_bytes": 1, "n_train": 9}
    experiences = facts[names].assign(experience=blocks, fit_seconds=half, predict_seconds=half, **sizes)
    if ahead:
        last = experiences[blocks == 0].assign(experience=scores.shape[2], fit_seconds=0, predict_seconds=0)
        experiences = pd.concat([experiences, last])
    tested = facts[[*names, "score"]].assign(metric="accuracy", tested_on=blocks + ahead)
    return SimpleNamespace(
        runs=runs,
        experiences=experiences,
        scores=tested.assign(trained_on=blocks, n_tested=math.nan),
        evaluations=tested.assign(experience=blocks + 1, n_rows=0, n_tested=9)[: len(tested) * ahead],
    )


def incomplete():
    """Results that lack something, each with a name."""
    full = make_results(streams=("digits", "wine"), failed=[("EWC", 0)])
    empty = SimpleNamespace(**{name: frame[:0] for name, frame in vars(full).items()})
    yield "empty", empty
    yield "columns only", SimpleNamespace(**{name: pd.DataFrame(columns=f.columns) for name, f in vars(full).items()})
    yield "runs only", SimpleNamespace(**vars(empty) | {"runs": full.runs})
    rng = np.random.default_rng(1)
    keep = SimpleNamespace(**{name: f[rng.random(len(f)) < 0.6] for name, f in vars(full).items()})
    yield "random rows", keep
    yield (
        "first experience only",
        SimpleNamespace(
            runs=full.runs,
            experiences=full.experiences.query("experience == 0"),
            scores=full.scores.query("trained_on <= 0"),
            evaluations=full.evaluations,
        ),
    )
    unknown = make_results()
    unknown.runs = unknown.runs.assign(
        n_experiences=math.nan, keeps=None, versions="not json", machine=None, error=None
    )
    yield "unknown facts", unknown
    strange = make_results()
    strange.runs["protocol"] = "not json"
    yield "unknown protocol", strange
    yield "everything failed", make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])
    yield "one experience", make_results(n=1)
