"""Results in an experiment tracker: one small interface, and MLflow behind it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from .results import Results


class Tracker(Protocol):
    """What an experiment tracker is asked for."""

    def log(
        self,
        name: str,
        key: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        courses: Mapping[str, Mapping[int, float]],
    ) -> bool:
        """Keep a run.

        Parameters
        ----------
        name : str
            For people: strategy, stream and seed.
        key : str
            Of the cell. A run of that key that is kept already stays as it is.
        params : mapping
            What was run: strategy, stream, seed, and the parameters that can be told in some words.
        metrics : mapping
            By name; numbers that are not known are left out.
        courses : mapping
            Of a metric's name to its values after so many experiences.

        Returns
        -------
        bool
            Whether it is new.
        """


_LONGEST = 500  # characters of a parameter that MLflow takes


def _name(text: str) -> str:
    """Bring a name to what MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", text, flags=re.ASCII)


@contextlib.contextmanager
def _sentence() -> Iterator[None]:
    """Say in a line what MLflow says in a page."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise OSError(f"MLflow cannot be used: {' '.join(str(error).split())[:300]}") from error


class MLflowTracker:
    """Keep runs in MLflow: the package ``mlflow`` or ``mlflow-skinny``.

    Parameters
    ----------
    uri : str
        Of the tracking server, a database (``sqlite:///mlflow.db``) or a folder.
    experiment : str, default="forgetless"
        Name of the experiment; made if it is not there.

    Raises
    ------
    ImportError
        If MLflow is not installed.
    OSError
        If MLflow cannot be used there.

    Examples
    --------
    >>> tracker = MLflowTracker("sqlite:///mlflow.db")  # doctest: +SKIP
    >>> track(results, tracker)  # doctest: +SKIP
    """

    def __init__(self, uri: str, experiment: str = "forgetless") -> None:
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError as error:
            raise ImportError('This needs MLflow: run pip install "forgetless[mlflow]".', name="mlflow") from error
        with _sentence():
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)

    def log(
        self,
        name: str,
        key: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        courses: Mapping[str, Mapping[int, float]],
    ) -> bool:
        """Keep a run; see :class:`Tracker`."""
        from mlflow.entities import Metric, Param

        key = key if key.isalnum() else hashlib.sha256(key.encode()).hexdigest()  # it stands in a query
        same = f"tags.`forgetless.cell` = '{key}'"
        with _sentence():
            if self._client.search_runs([self._experiment], same, max_results=1):
                return False
            run = self._client.create_run(self._experiment, run_name=name, tags={"forgetless.cell": key}).info.run_id
            values = [Metric(_name(metric), value, 0, 0) for metric, value in metrics.items()]
            values += [
                Metric(_name(metric), value, 0, step)
                for metric, course in courses.items()
                for step, value in course.items()
            ]
            self._client.log_batch(
                run, values, [Param(_name(param), value[:_LONGEST]) for param, value in params.items()], []
            )
            self._client.set_terminated(run)
        return True


def track(results: Results, tracker: Tracker) -> int:
    """Hand all runs that finished to a tracker, with their metrics and how the accuracy went.

    Parameters
    ----------
    results : Results
    tracker : Tracker

    Returns
    -------
    int
        How many were new to it.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> class Printer:
    ...     def log(self, name, key, params, metrics, courses):
    ...         print(name, "|", metrics["average_accuracy"], "|", courses)
    ...         return True
    >>> track(example_results(), Printer())
    Naive, toy, seed 0 | 0.625 | {'accuracy': {1: 1.0, 2: 0.625}}
    Naive, toy, seed 1 | 0.5 | {'accuracy': {1: 1.0, 2: 0.5}}
    Replay, toy, seed 0 | 0.875 | {'accuracy': {1: 1.0, 2: 0.875}}
    Replay, toy, seed 1 | 0.75 | {'accuracy': {1: 1.0, 2: 0.75}}
    Joint, toy, seed 0 | 1.0 | {'accuracy': {1: 1.0, 2: 1.0}}
    Joint, toy, seed 1 | 0.875 | {'accuracy': {1: 1.0, 2: 0.875}}
    6
    """
    from ..reports import METRICS, cell_metrics
    from ..reports.tables import own_parameters

    measured = cell_metrics(results).set_index("cell")[list(METRICS)].to_dict("index")
    courses = _courses(results)
    new = 0
    for run in results.runs[results.runs["status"] == "ok"].to_dict("records"):
        key, about = str(run["cell"]), ("strategy", "stream", "dataset", "scenario", "seed", "estimator", "family")
        own = own_parameters(run["params"]).items()
        told = {name: str(value) for name, value in own if isinstance(value, str | int | float | bool)}
        params = {name: str(run[name]) for name in about} | told
        metrics = {str(name): float(value) for name, value in measured[key].items() if not math.isnan(value)}
        name = f"{run['strategy']}, {run['stream']}, seed {run['seed']}"
        new += tracker.log(name, key, params, metrics, courses.get(key, {}))
    return new


def _courses(results: Results) -> dict[str, dict[str, dict[int, float]]]:
    """The primary score after each experience: of those seen so far, where they are tested; else of what is."""
    from ..reports.tables import protocol

    found: dict[str, dict[str, dict[int, float]]] = {}
    protocols = dict(zip(results.runs["cell"], map(protocol, results.runs["protocol"]), strict=True))
    for cell, rows in results.scores.groupby("cell", sort=False):
        evaluate, scorer = protocols[cell]
        rows = rows[(rows["metric"] == scorer) & (rows["trained_on"] >= 0)]
        if evaluate in ("all", "seen"):
            rows = rows[rows["tested_on"] <= rows["trained_on"]]
        course = rows.groupby("trained_on")["score"].mean().dropna()
        found[str(cell)] = {scorer: {int(step) + 1: float(score) for step, score in course.items()}}
    return found
