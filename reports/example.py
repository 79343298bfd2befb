"""Artificial results, for examples and for a first look at a report."""

import json
from types import SimpleNamespace

import pandas as pd

_MATRICES = {
    # strategy: estimator, family, keeps, accuracies before learning and after each experience
    "Naive": ("NaiveClassifier", "baselines", "nothing", [[0.5, 0.0], [1.0, 0.0], [0.25, 1.0]]),
    "Replay": ("ReplayClassifier", "replay", "samples", [[0.5, 0.0], [1.0, 0.0], [0.75, 1.0]]),
    "Joint": ("JointClassifier", "baselines", "samples", [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0]]),
}


def example_results() -> SimpleNamespace:
    """Make artificial results: three strategies, one class-incremental stream of two experiences, two seeds.

    Returns
    -------
    SimpleNamespace
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations`` with the columns of a benchmark's
        results.

    Examples
    --------
    >>> example_results().runs[["strategy", "stream", "seed", "keeps"]].head(2)
      strategy stream  seed    keeps
    0    Naive    toy     0  nothing
    1    Naive    toy     1  nothing
    """
    runs: list[dict[str, object]] = []
    experiences: list[dict[str, object]] = []
    scores: list[dict[str, object]] = []
    evaluations: list[dict[str, object]] = []
    for strategy, (estimator, family, keeps, rows) in _MATRICES.items():
        for seed in (0, 1):
            key: dict[str, object] = {"cell": f"{strategy}-{seed}", "strategy": strategy, "stream": "toy", "seed": seed}
            runs.append(
                {
                    **key,
                    "scenario": "class",
                    "dataset": "toy",
                    "status": "ok",
                    "error": None,
                    "estimator": estimator,
                    "family": family,
                }
                | {"keeps": keeps, "source": "made up", "needs_task_id": False, "params": "{}", "device": "cpu"}
                | {"n_experiences": 2, "n_parameters": 1000, "seconds": 1.0, "started": "2000-01-01T00:00:00+00:00"}
                | {"protocol": json.dumps({"evaluate": "all", "eval_every": 50, "scoring": ["accuracy"]})}
                | {"versions": json.dumps({"forgetless": "0"}), "machine": "an example"}
            )
            replay = 6400 if keeps == "samples" else 0
            for index in range(2):
                measured: dict[str, object] = {
                    "fit_seconds": 0.5,
                    "predict_seconds": 0.125,
                    "peak_memory_bytes": 2**20,
                    "memory": "{}",
                    "diagnostics": "{}",
                }
                sizes = {"model_bytes": 4000, "replay_bytes": replay, "state_bytes": 8000, "peak_memory_bytes": 2**20}
                experiences.append({**key, "experience": index, "n_train": 100, **measured, **sizes})
            for i, row in enumerate(rows):
                # The second seed ends with lower accuracies, so that the intervals are not empty.
                change = 0.125 * seed * (i == 2)
                scores += [
                    {
                        **key,
                        "trained_on": i - 1,
                        "tested_on": j,
                        "n_tested": 8,
                        "metric": "accuracy",
                        "score": max(score - change, 0.0),
                    }
                    for j, score in enumerate(row)
                ]
            # In the middle of the second experience all have forgotten more than they have at its end.
            evaluations += [
                {
                    **key,
                    "experience": 1,
                    "n_rows": 50,
                    "tested_on": j,
                    "n_tested": 8,
                    "metric": "accuracy",
                    "score": score,
                }
                for j, score in enumerate([rows[2][0] / 2, 0.5])
            ]
    tables = {"runs": runs, "experiences": experiences, "scores": scores, "evaluations": evaluations}
    return SimpleNamespace(**{name: pd.DataFrame(rows) for name, rows in tables.items()})
