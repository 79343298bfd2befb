"""What is compared: strategies of the families that fit any table, and plain baselines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...estimators.table import Columns, TableEncoder

if TYPE_CHECKING:
    from ...datasets.base import Kind

PLAIN = "Plain training"
# Methods whose cost grows faster than others' with the number of inputs are left out beyond so many.
_MOST_INPUTS = {"Linear discriminant": 3_000, "Boosting on a sample": 1_000, "Boosting on the last rows": 1_000}
# Of each family; methods that need a task id to predict, or minutes for what others do in seconds, are no candidates.
CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    PLAIN: ("NaiveClassifier", {}),
    "EWC": ("EWCClassifier", {"online": True, "n_fisher_samples": 500}),
    "SI": ("SIClassifier", {}),
    "LwF": ("LwFClassifier", {}),
    "Replay": ("ReplayClassifier", {"buffer_size": 1000}),
    "DER++": ("DERClassifier", {"buffer_size": 1000}),
    "ER-ACE": ("ERACEClassifier", {"buffer_size": 1000}),
    "MER": ("MERClassifier", {"buffer_size": 1000}),
    "A network per experience": ("IndependentClassifier", {}),
    "Nearest class mean": ("NCMClassifier", {}),
    "Linear discriminant": ("SLDAClassifier", {"shrinkage": 0.01}),
    "Random features": ("RandomProjectionClassifier", {"n_features": 1000}),
    "Boosting on a sample": ("RefittedClassifier", {"buffer_size": 5000}),
    "Boosting on the last rows": ("RefittedClassifier", {"buffer_size": 5000, "policy": "recent"}),
    "Linear by SGD": ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}),
    "Naive Bayes": ("sklearn.naive_bayes.GaussianNB", {"var_smoothing": 1e-3}),
    "Most frequent label": ("MajorityClassifier", {}),
    "Last label": ("LastLabelClassifier", {}),
}
REGRESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    PLAIN: ("NaiveRegressor", {}),
    "EWC": ("EWCRegressor", {"online": True, "n_fisher_samples": 500}),
    "SI": ("SIRegressor", {}),
    "LwF": ("LwFRegressor", {}),
    "Replay": ("ReplayRegressor", {"buffer_size": 1000}),
    "Random features": ("RandomProjectionRegressor", {"n_features": 1000}),
    "Boosting on a sample": ("RefittedRegressor", {"buffer_size": 5000}),
    "Boosting on the last rows": ("RefittedRegressor", {"buffer_size": 5000, "policy": "recent"}),
    "Linear by SGD": ("sklearn.linear_model.SGDRegressor", {}),
    "Mean": ("MeanRegressor", {}),
    "Last value": ("LastValueRegressor", {}),
}


def listed(kind: Kind) -> dict[str, tuple[str, dict[str, Any]]]:
    """Class and parameters of the candidates for a kind of targets, by name.

    Parameters
    ----------
    kind : {"classification", "regression"}

    Returns
    -------
    dict of str to (str, dict)
    """
    return CLASSIFIERS if kind == "classification" else REGRESSORS


def net_settings(n_rows: int) -> dict[str, Any]:
    """Settings of the network for experiences of so many rows: about as many steps for small ones as for large.

    Parameters
    ----------
    n_rows : int
        Of an experience.

    Returns
    -------
    dict

    Examples
    --------
    >>> net_settings(4_500)
    {'hidden_units': [100], 'lr': 0.003, 'max_epochs': 3, 'batch_size': 64}
    """
    batch_size = 32 if n_rows < 3_000 else 64 if n_rows < 10_000 else 128
    return {
        "hidden_units": [100],
        "lr": 0.003,
        "max_epochs": max(1, min(10, math.ceil(12_000 / n_rows))),
        "batch_size": batch_size,
    }


def left_aside(kind: Kind, columns: Columns) -> list[str]:
    """Name the candidates that would take minutes for so many inputs.

    Parameters
    ----------
    kind : {"classification", "regression"}
    columns : Columns

    Returns
    -------
    list of str

    Examples
    --------
    >>> left_aside("regression", Columns(text=["remark"]))
    ['Boosting on a sample', 'Boosting on the last rows']
    """
    n_inputs = len(columns.numbers) + 30 * len(columns.categories) + 7 * len(columns.dates) + 1024 * len(columns.text)
    return [name for name in listed(kind) if n_inputs > _MOST_INPUTS.get(name, n_inputs)]


def make_candidates(kind: Kind, columns: Columns, n_rows: int) -> dict[str, Any]:
    """Make the candidates, each a pipeline that takes the table as it is.

    Parameters
    ----------
    kind : {"classification", "regression"}
    columns : Columns
        What the columns of the table are.
    n_rows : int
        Of an experience.

    Returns
    -------
    dict of str to IncrementalPipeline
    """
    from ...estimators import ScaledTargetRegressor, make_incremental_pipeline
    from ..runs.specs import StrategySpec

    settings, aside, made = net_settings(n_rows), left_aside(kind, columns), {}
    for name, (estimator, params) in listed(kind).items():
        if name not in aside:
            learner = StrategySpec(estimator, params, settings).build()
            learner = ScaledTargetRegressor(learner) if kind == "regression" else learner
            made[name] = make_incremental_pipeline(TableEncoder(columns), learner)
    return made
