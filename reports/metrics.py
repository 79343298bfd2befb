"""Metrics of continual learning, each a function of the accuracy matrix or of measurements per experience.

``R`` is T×T: ``R[i, j]`` is the accuracy on experience j after learning experience i. ``b[j]`` is the accuracy on
experience j before any learning. Experiences weigh equally, whatever the size of their test sets. A metric is NaN if an
entry that it needs is NaN. Other packages use some of these names for other formulas; the definitions used here are
those in `METRICS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def _matrix(R: ArrayLike) -> Array:
    matrix = np.asarray(R, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"R must be a square matrix, one row and one column per experience; got shape {matrix.shape}.")
    return matrix


def _vector(values: ArrayLike, name: str, length: int) -> Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (length,):
        raise ValueError(f"{name} must have one value per experience, shape ({length},); got shape {vector.shape}.")
    return vector


def _mean(values: Array) -> float:
    return float(np.mean(values)) if values.size else math.nan


def accuracy_curve(R: ArrayLike) -> Array:
    """Mean accuracy on all experiences seen so far, after each experience.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    ndarray of shape (T,)
        Entry i is the mean of ``R[i, j]`` over j ≤ i.

    Examples
    --------
    >>> accuracy_curve([[1.0, 0.0], [0.5, 1.0]])
    array([1.  , 0.75])
    """
    matrix = _matrix(R)
    return np.array([np.mean(row[: i + 1]) for i, row in enumerate(matrix)])


def average_accuracy(R: ArrayLike) -> float:
    """Mean accuracy over all experiences after the last one: mean_j R[T−1, j] (Lopez-Paz & Ranzato 2017).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From 0 to 1, higher is better.

    Examples
    --------
    >>> average_accuracy([[1.0, 0.0], [0.5, 1.0]])
    0.75
    """
    return _mean(_matrix(R)[-1])


def average_incremental_accuracy(R: ArrayLike) -> float:
    """Mean over the experiences of the accuracy on all seen so far: mean_i mean_{j≤i} R[i, j] (Rebuffi et al. 2017).

    It equals the anytime accuracy of Caccia et al. (2021) where, as here, models are evaluated at the end of each
    experience.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From 0 to 1, higher is better.

    Examples
    --------
    >>> average_incremental_accuracy([[1.0, 0.0], [0.5, 1.0]])
    0.875
    """
    return _mean(accuracy_curve(R))


def forgetting(R: ArrayLike) -> float:
    """Best earlier accuracy minus the final one: mean_{j<T−1} (max_{l<T−1} R[l, j] − R[T−1, j]) (Chaudhry et al. 2018).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix. NaN above the diagonal (the model could not predict yet) is ignored by the maximum.

    Returns
    -------
    float
        From −1 to 1, lower is better; NaN for a single experience.

    Examples
    --------
    >>> forgetting([[1.0, 0.0], [0.25, 1.0]])
    0.75
    """
    matrix = _matrix(R)
    if len(matrix) < 2 or np.isnan(matrix[np.tril_indices(len(matrix))]).any():
        return math.nan
    return _mean(np.fmax.reduce(matrix[:-1, :-1], axis=0) - matrix[-1, :-1])


def backward_transfer(R: ArrayLike) -> float:
    """Final accuracy minus that right after learning: mean_{j<T−1} (R[T−1, j] − R[j, j]) (Lopez-Paz & Ranzato 2017).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From −1 to 1, higher is better, negative if earlier experiences were forgotten; NaN for a single experience.

    Examples
    --------
    >>> backward_transfer([[1.0, 0.0], [0.25, 1.0]])
    -0.75
    """
    matrix = _matrix(R)
    return _mean(matrix[-1, :-1] - np.diagonal(matrix)[:-1])


def forward_transfer(R: ArrayLike, b: ArrayLike) -> float:
    """Accuracy before learning, against the untrained model: mean_{j≥1} (R[j−1, j] − b[j]) (Lopez-Paz & Ranzato 2017).

    It is undefined in class-incremental streams, where the classes of the next experience are not known yet; there the
    tables have NaN and this reason.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.
    b : array-like of shape (T,)
        Accuracies of the untrained model.

    Returns
    -------
    float
        From −1 to 1, higher is better; NaN for a single experience or if ``b`` is unknown.

    Examples
    --------
    >>> forward_transfer([[1.0, 0.75], [0.5, 1.0]], [0.5, 0.5])
    0.25
    """
    matrix = _matrix(R)
    return _mean(np.diagonal(matrix, offset=1) - _vector(b, "b", len(matrix))[1:])


def learning_accuracy(R: ArrayLike) -> float:
    """Accuracy on each experience right after learning it: mean_j R[j, j] (Riemer et al. 2019).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From 0 to 1, higher is better.

    Examples
    --------
    >>> learning_accuracy([[1.0, 0.0], [0.25, 0.5]])
    0.75
    """
    return _mean(np.diagonal(_matrix(R)))


def intransigence(R: ArrayLike, R_joint: ArrayLike) -> float:
    """Learning accuracy of joint training minus that of the model: mean_k (R*[k, k] − R[k, k]) (Chaudhry et al. 2018).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.
    R_joint : array-like of shape (T, T)
        Accuracy matrix of ``JointClassifier`` on the same stream with the same seed.

    Returns
    -------
    float
        From −1 to 1, lower is better, negative if the model learns new experiences better than joint training does.

    Examples
    --------
    >>> intransigence([[1.0, 0.0], [0.25, 0.5]], [[1.0, 0.0], [1.0, 1.0]])
    0.25
    """
    matrix = _matrix(R)
    return _mean(_vector(np.diagonal(_matrix(R_joint)), "R_joint's diagonal", len(matrix)) - np.diagonal(matrix))


def min_accuracy(R: ArrayLike) -> float:
    """Lowest later accuracy on each old experience: mean_{j<T−1} min_{i>j} R[i, j] (De Lange et al. 2023).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN for a single experience.

    Examples
    --------
    >>> min_accuracy([[1.0, 0.0, 0.0], [0.25, 1.0, 0.0], [0.5, 0.75, 1.0]])
    0.5
    """
    matrix = _matrix(R)
    return _mean(np.array([matrix[j + 1 :, j].min() for j in range(len(matrix) - 1)]))


def worst_case_accuracy(R: ArrayLike) -> float:
    """Trade-off between plasticity and the worst case: R[T−1, T−1]/T + (1 − 1/T) min_accuracy (De Lange et al. 2023).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN for a single experience.

    Examples
    --------
    >>> worst_case_accuracy([[1.0, 0.0], [0.5, 1.0]])
    0.75
    """
    matrix = _matrix(R)
    share = 1.0 / len(matrix)
    return float(share * matrix[-1, -1] + (1.0 - share) * min_accuracy(matrix))


def total(values: ArrayLike) -> float:
    """Sum over the experiences.

    Parameters
    ----------
    values : array-like of shape (T,)
        One measurement per experience.

    Returns
    -------
    float
        NaN if one is unknown.

    Examples
    --------
    >>> total([1.5, 2.5])
    4.0
    """
    return float(np.sum(np.asarray(values, dtype=np.float64)))


def peak(values: ArrayLike) -> float:
    """Maximum over the experiences.

    Parameters
    ----------
    values : array-like of shape (T,)
        One measurement per experience.

    Returns
    -------
    float
        NaN if one is unknown.

    Examples
    --------
    >>> peak([3, 5, 4])
    5.0
    """
    return float(np.max(np.asarray(values, dtype=np.float64)))


def final(values: ArrayLike) -> float:
    """Value after the last experience.

    Parameters
    ----------
    values : array-like of shape (T,)
        One measurement per experience.

    Returns
    -------
    float
        NaN if it is unknown.

    Examples
    --------
    >>> final([3, 5, 4])
    4.0
    """
    return float(np.asarray(values, dtype=np.float64)[-1])


@dataclass(frozen=True)
class Metric:
    """A metric with its definition.

    Parameters
    ----------
    name : str
        Name in tables.
    label : str
        Name in reports.
    function : callable
        Takes the inputs that `needs` names.
    needs : tuple of str
        ``"R"``, ``"b"``, ``"R_joint"``, or the name of a column of ``results.experiences``.
    formula : str
        The formula.
    source : str
        Who defined it; "measured" for measurements of the benchmark.
    unit : str
        ``"accuracy"``, ``"difference of accuracies"``, ``"seconds"`` or ``"bytes"``.
    higher_is_better : bool
        Whether higher values are better.
    bounds : tuple of float
        Smallest and largest possible value; intervals are clipped to them.
    min_experiences : int
        Length of the shortest stream for which it is defined.

    Examples
    --------
    >>> METRICS["forgetting"].higher_is_better, METRICS["forgetting"].bounds
    (False, (-1.0, 1.0))
    """

    name: str
    label: str
    function: Callable[..., float]
    needs: tuple[str, ...]
    formula: str
    source: str
    unit: str
    higher_is_better: bool
    bounds: tuple[float, float]
    min_experiences: int = 1


def _accuracy(
    function: Callable[..., float], label: str, formula: str, source: str, min_experiences: int = 1
) -> Metric:
    name, unit, bounds = function.__name__, "accuracy", (0.0, 1.0)
    return Metric(name, label, function, ("R",), formula, source, unit, True, bounds, min_experiences)


def _difference(
    function: Callable[..., float], label: str, formula: str, source: str, higher_is_better: bool, extra: str = ""
) -> Metric:
    needs = ("R", extra) if extra else ("R",)
    name, unit, bounds = function.__name__, "difference of accuracies", (-1.0, 1.0)
    # Only the comparison with joint training is defined for a single experience.
    min_experiences = 1 if extra == "R_joint" else 2
    return Metric(name, label, function, needs, formula, source, unit, higher_is_better, bounds, min_experiences)


def _measured(name: str, label: str, function: Callable[..., float], formula: str) -> Metric:
    unit = name.rsplit("_", 1)[1]
    return Metric(name, label, function, (name,), formula, "measured", unit, False, (0.0, math.inf))


_LOPEZ_PAZ = "Lopez-Paz & Ranzato 2017"
_CHAUDHRY = "Chaudhry et al. 2018"
_DE_LANGE = "De Lange et al. 2023"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _accuracy(average_accuracy, "Average accuracy", "mean_j R[T−1, j]", _LOPEZ_PAZ),
        _accuracy(
            average_incremental_accuracy,
            "Average incremental accuracy",
            "mean_i mean_{j≤i} R[i, j]",
            "Rebuffi et al. 2017",
        ),
        _difference(forgetting, "Forgetting", "mean_{j<T−1} (max_{l<T−1} R[l, j] − R[T−1, j])", _CHAUDHRY, False),
        _difference(backward_transfer, "Backward transfer", "mean_{j<T−1} (R[T−1, j] − R[j, j])", _LOPEZ_PAZ, True),
        _difference(forward_transfer, "Forward transfer", "mean_{j≥1} (R[j−1, j] − b[j])", _LOPEZ_PAZ, True, "b"),
        _accuracy(learning_accuracy, "Learning accuracy", "mean_j R[j, j]", "Riemer et al. 2019"),
        _difference(intransigence, "Intransigence", "mean_k (R*[k, k] − R[k, k])", _CHAUDHRY, False, "R_joint"),
        _accuracy(min_accuracy, "Minimum accuracy", "mean_{j<T−1} min_{i>j} R[i, j]", _DE_LANGE, 2),
        _accuracy(
            worst_case_accuracy, "Worst-case accuracy", "R[T−1, T−1]/T + (1 − 1/T) minimum accuracy", _DE_LANGE, 2
        ),
        _measured("fit_seconds", "Fit time", total, "sum over experiences"),
        _measured("predict_seconds", "Predict time", total, "sum over experiences"),
        _measured("peak_memory_bytes", "Peak memory", peak, "maximum over experiences"),
        _measured("model_bytes", "Model size", final, "weights, after the last experience"),
        _measured("replay_bytes", "Replay memory", final, "stored samples or features, after the last experience"),
        _measured("state_bytes", "Other state", final, "all else carried on, after the last experience"),
    )
}
"""All metrics by name, in the order of the tables."""
