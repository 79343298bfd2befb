"""Metrics of continual learning, each a function of the accuracy matrix or of measurements per experience.

``R`` is T×T: ``R[i, j]`` is the accuracy on experience j after learning experience i. ``b[j]`` is the accuracy on
experience j before any learning. ``E`` has R's rows and those of evaluations within experiences, in the order of time:
``t[e]`` is the number of experiences learned at row e, a fraction within an experience. Any score of which more is
better may stand for the accuracy. Experiences weigh equally, whatever the size of their test sets. A metric is NaN if
an entry that it needs is NaN. Other packages use some of these names for other formulas; the definitions used here are
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
    return float(_means(values))


def _means(values: Array) -> Array:
    """Average over the last axis; those before it, here and in all that is given stacks, are of cells."""
    return np.asarray(np.mean(values, axis=-1) if values.shape[-1] else np.full(values.shape[:-1], math.nan))


def _final_means(R: Array) -> Array:
    return _means(R[..., -1, :])


def _forgotten(R: Array) -> Array:
    old = np.fmax.reduce(R[..., :-1, :-1], axis=-2) - R[..., -1, :-1]
    rows, columns = np.tril_indices(R.shape[-1])
    return np.where(np.isnan(R[..., rows, columns]).any(axis=-1), math.nan, _means(old))


def _transferred_back(R: Array) -> Array:
    return _means(R[..., -1, :-1] - np.diagonal(R, axis1=-2, axis2=-1)[..., :-1])


def _learned(R: Array) -> Array:
    return _means(np.diagonal(R, axis1=-2, axis2=-1))


def _future(R: Array) -> Array:
    return _means(_future_curves(R))


def _future_curves(R: Array) -> Array:
    later = [_means(R[..., i, i + 1 :]) for i in range(R.shape[-1] - 1)]
    return np.stack(later, axis=-1) if later else R[..., 0, :0]


def _totals(values: Array) -> Array:
    return np.asarray(np.sum(values, axis=-1))


def _added(*kinds: Array) -> Array:
    carried = np.sum(kinds, axis=0)
    return np.asarray((carried[..., -1] - carried[..., 0]) / (carried.shape[-1] - 1))


def _peaks(values: Array) -> Array:
    return np.asarray(np.max(values, axis=-1))


def _finals(values: Array) -> Array:
    return values[..., -1]


def _evaluations(E: ArrayLike, t: ArrayLike | None) -> tuple[Array, Array]:
    if t is None:
        matrix = _matrix(E)
        return matrix, np.arange(1.0, len(matrix) + 1)
    matrix = np.asarray(E, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"E must have one row per evaluation, one column per experience; got shape {matrix.shape}.")
    times = np.asarray(t, dtype=np.float64)
    if times.shape != (len(matrix),):
        raise ValueError(f"t must have one value per row of E, shape ({len(matrix)},); got shape {times.shape}.")
    return matrix, times


def accuracy_curve(E: ArrayLike, t: ArrayLike | None = None) -> Array:
    """Mean accuracy on all experiences seen so far, at each evaluation.

    Parameters
    ----------
    E : array-like of shape (n, T)
        Accuracies on each experience, one row per evaluation.
    t : array-like of shape (n,), default=None
        How many experiences had been learned; the one that is being learned counts as seen. ``None``: `E` is the
        accuracy matrix, evaluated after each experience.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> accuracy_curve([[1.0, 0.0], [0.5, 1.0]])
    array([1.  , 0.75])
    >>> accuracy_curve([[1.0, 0.0], [0.25, 0.75], [0.5, 1.0]], [1.0, 1.5, 2.0])
    array([1.  , 0.5 , 0.75])
    """
    matrix, times = _evaluations(E, t)
    seen = np.ceil(times).astype(int)
    return np.array([np.mean(row[:count]) for row, count in zip(matrix, seen, strict=True)])


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
    return float(_final_means(_matrix(R)))


def average_incremental_accuracy(R: ArrayLike) -> float:
    """Mean over the experiences of the accuracy on all seen so far: mean_i mean_{j≤i} R[i, j] (Rebuffi et al. 2017).

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


def average_anytime_accuracy(E: ArrayLike, t: ArrayLike | None = None) -> float:
    """Mean over all evaluations of the accuracy on all seen: mean_e mean_{j<⌈t[e]⌉} E[e, j] (Caccia et al. 2021).

    Where models are evaluated after experiences only, it is the average incremental accuracy.

    Parameters
    ----------
    E : array-like of shape (n, T)
        Accuracies on each experience, one row per evaluation.
    t : array-like of shape (n,), default=None
        How many experiences had been learned; see `accuracy_curve`.

    Returns
    -------
    float
        From 0 to 1, higher is better.

    Examples
    --------
    >>> average_anytime_accuracy([[1.0, 0.0], [0.25, 0.75], [0.5, 1.0]], [1.0, 1.5, 2.0])
    0.75
    """
    return _mean(accuracy_curve(E, t))


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
    return float(_forgotten(matrix)) if len(matrix) > 1 else math.nan


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
    return float(_transferred_back(_matrix(R)))


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
    return float(_learned(_matrix(R)))


def intransigence(R: ArrayLike, R_joint: ArrayLike) -> float:
    """Learning accuracy of joint training minus that of the model: mean_k (R*[k, k] − R[k, k]) (Chaudhry et al. 2018).

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.
    R_joint : array-like of shape (T, T)
        Accuracy matrix of joint training on the same stream with the same seed.

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


def gain_over_frozen(R: ArrayLike, R_frozen: ArrayLike) -> float:
    """What training adds to a frozen pretrained model: mean_j R[T−1, j] − mean_j R°[T−1, j].

    The frozen model is SimpleCIL (Zhou et al. 2023): the nearest class mean, by the cosine, of its features.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.
    R_frozen : array-like of shape (T, T)
        Accuracy matrix of ``NCMClassifier(metric="cosine")`` on features of ``FrozenFeatures``, on the same stream with
        the same seed; of several models, that of the best.

    Returns
    -------
    float
        From −1 to 1, higher is better, negative if the frozen model does better.

    Examples
    --------
    >>> gain_over_frozen([[1.0, 0.0], [0.75, 1.0]], [[1.0, 0.0], [0.5, 0.75]])
    0.25
    """
    _vector(_matrix(R_frozen)[-1], "R_frozen's last row", len(_matrix(R)))
    return average_accuracy(R) - average_accuracy(R_frozen)


def parts_against_union(R: ArrayLike, R_joint: ArrayLike) -> float:
    """Learned in parts over learned at once: mean_j R[T−1, j] / mean_j R*[T−1, j].

    The numerator is the model's accuracy over all experiences after the last one; the denominator is that of the same
    prototype network, trained jointly on all of them. What is lost because the data came in parts is 1 minus the ratio.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix.
    R_joint : array-like of shape (T, T)
        Accuracy matrix of joint training on the same stream with the same seed.

    Returns
    -------
    float
        1 where nothing is lost, higher is better, more than 1 if the model does better than joint training. NaN if the
        joint score is not positive, as that of an error.

    Examples
    --------
    >>> parts_against_union([[1.0, 0.0], [0.25, 0.5]], [[1.0, 0.0], [0.5, 1.0]])
    0.5
    """
    parts, union = average_accuracy(R), average_accuracy(R_joint)
    _vector(_matrix(R_joint)[-1], "R_joint's last row", len(_matrix(R)))
    return parts / union if union > 0 else math.nan


def min_accuracy(E: ArrayLike, t: ArrayLike | None = None) -> float:
    """Lowest later accuracy on each old experience: mean_{j<T−1} min_{e: t[e]>j+1} E[e, j] (De Lange et al. 2023).

    Parameters
    ----------
    E : array-like of shape (n, T)
        Accuracies on each experience, one row per evaluation.
    t : array-like of shape (n,), default=None
        How many experiences had been learned; see `accuracy_curve`.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN for a single experience.

    Examples
    --------
    >>> min_accuracy([[1.0, 0.0, 0.0], [0.25, 1.0, 0.0], [0.5, 0.75, 1.0]])
    0.5
    """
    matrix, times = _evaluations(E, t)
    return _mean(np.array([matrix[times > j + 1, j].min() for j in range(matrix.shape[1] - 1)]))


def worst_case_accuracy(E: ArrayLike, t: ArrayLike | None = None) -> float:
    """Trade-off between plasticity and the worst case: E[−1, T−1]/T + (1 − 1/T) min_accuracy (De Lange et al. 2023).

    Parameters
    ----------
    E : array-like of shape (n, T)
        Accuracies on each experience, one row per evaluation; the last after the last experience.
    t : array-like of shape (n,), default=None
        How many experiences had been learned; see `accuracy_curve`.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN for a single experience.

    Examples
    --------
    >>> worst_case_accuracy([[1.0, 0.0], [0.5, 1.0]])
    0.75
    """
    matrix, _ = _evaluations(E, t)
    share = 1.0 / matrix.shape[1]
    return float(share * matrix[-1, -1] + (1.0 - share) * min_accuracy(E, t))


def prequential_score(scores: ArrayLike, n_tested: ArrayLike) -> float:
    """Mean over all rows, each predicted before it was learned: Σ_k n_k s_k / Σ_k n_k (Gama et al. 2013).

    For a score that is no mean over rows, such as R2, it is the mean of the experiences' scores, weighted by rows.

    Parameters
    ----------
    scores : array-like of shape (T,)
        Score on the rows of each experience.
    n_tested : array-like of shape (T,)
        Numbers of rows; experiences without any, whose rows came before there was a model, do not count.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN if no row was tested.

    Examples
    --------
    >>> prequential_score([float("nan"), 0.5, 1.0], [0, 30, 10])
    0.625
    """
    values = np.asarray(scores, dtype=np.float64)
    weights = _vector(n_tested, "n_tested", len(values))
    tested = weights > 0
    return float(np.average(values[tested], weights=weights[tested])) if tested.any() else math.nan


def future_score(R: ArrayLike) -> float:
    """Mean over the experiences of the score on all later ones: mean_{i<T−1} mean_{j>i} R[i, j].

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix; only what is above the diagonal is used.

    Returns
    -------
    float
        From 0 to 1, higher is better; NaN for a single experience.

    Examples
    --------
    >>> future_score([[1.0, 0.5, 1.0], [0.0, 1.0, 0.25], [0.0, 0.0, 1.0]])
    0.5
    """
    return float(_future(_matrix(R)))


def future_curve(R: ArrayLike) -> Array:
    """Mean score on all later experiences, after each but the last.

    Parameters
    ----------
    R : array-like of shape (T, T)
        Accuracy matrix; only what is above the diagonal is used.

    Returns
    -------
    ndarray of shape (T - 1,)

    Examples
    --------
    >>> future_curve([[1.0, 0.5, 1.0], [0.0, 1.0, 0.25], [0.0, 0.0, 1.0]])
    array([0.75, 0.25])
    """
    return _future_curves(_matrix(R))


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
    return float(_totals(np.asarray(values, dtype=np.float64)))


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
    return float(_peaks(np.asarray(values, dtype=np.float64)))


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
    return float(_finals(np.asarray(values, dtype=np.float64)))


def bytes_added(model_bytes: ArrayLike, replay_bytes: ArrayLike, state_bytes: ArrayLike) -> float:
    """Bytes that each experience after the first adds to what is carried on.

    Parameters
    ----------
    model_bytes, replay_bytes, state_bytes : array-like of shape (T,)
        One measurement per experience.

    Returns
    -------
    float
        NaN if one of the first or the last is unknown, or there is one experience only.

    Examples
    --------
    >>> bytes_added([400, 500, 600], [0, 0, 0], [40, 80, 80])
    120.0
    """
    kinds = [np.asarray(values, dtype=np.float64) for values in (model_bytes, replay_bytes, state_bytes)]
    return float(_added(*kinds)) if len(kinds[0]) > 1 else math.nan


def _last_row(R: Array) -> Array:
    weights = np.zeros_like(R)
    weights[-1] = 1 / len(R)
    return weights


def _seen(E: Array, t: Array) -> Array:
    n_seen = np.ceil(t)[:, None]
    return (np.arange(E.shape[1]) < n_seen) / n_seen / len(E)


def _lowest(E: Array, t: Array) -> Array:
    weights = np.zeros_like(E)
    n_old = E.shape[1] - 1
    for j in range(n_old):
        [later] = np.nonzero(t > j + 1)
        weights[later[np.argmin(E[later, j])], j] = 1 / n_old
    return weights


def _worst_case(E: Array, t: Array) -> Array:
    share = 1 / E.shape[1]
    weights: Array = (1 - share) * _lowest(E, t)
    weights[-1, -1] += share
    return weights


def _by_rows(scores: Array, n_tested: Array) -> Array:
    return n_tested / max(float(np.sum(n_tested)), 1.0)


def _later(R: Array) -> Array:
    n_later = np.arange(len(R) - 1, -1, -1)[:, None]
    return np.triu(np.ones_like(R), 1) / np.maximum(n_later, 1) / max(len(R) - 1, 1)


def sampling_variance(scores: ArrayLike, n_tested: ArrayLike, weights: ArrayLike) -> float:
    """Variance of a mean of accuracies because other test rows might have been drawn.

    An accuracy p on n rows has the binomial variance p(1 − p)/n. Entries of one column are about the same rows, so
    they count as fully correlated; columns are independent. A mean of 0 or 1 is not taken for certain: the variance is
    at least that of two wrong answers among all rows.

    Parameters
    ----------
    scores : array-like of shape (..., T)
        Accuracies; a column for each test set.
    n_tested : array-like of shape (..., T)
        Numbers of test rows.
    weights : array-like of shape (..., T)
        Weights of the mean; where one is 0, score and number may be NaN.

    Returns
    -------
    float
        NaN if a number that counts is not known.

    Examples
    --------
    >>> sampling_variance([0.9], [100], [1.0])
    0.0009
    >>> round(sampling_variance([1.0, 1.0], [180, 180], [0.5, 0.5]) ** 0.5, 4)
    0.0039
    """
    p, n, weighted = (np.atleast_2d(np.asarray(each, dtype=np.float64)) for each in (scores, n_tested, weights))
    return float(sampling_variances(p, n, weighted))


def sampling_variances(scores: Array, n_tested: Array, weights: Array) -> Array:
    """Do as `sampling_variance` for a stack of cells.

    Parameters
    ----------
    scores, n_tested : ndarray of shape (..., n, T)
    weights : ndarray of shape (n, T)

    Returns
    -------
    ndarray of shape (...)

    Examples
    --------
    >>> sampling_variances(np.full((2, 1, 1), 0.9), np.full((2, 1, 1), 100.0), np.ones((1, 1))).tolist()
    [0.0009, 0.0009]
    """
    used = weights > 0
    p, n = (np.where(used, each, 1.0) for each in (scores, n_tested))
    rows = weights / np.sqrt(n)
    deviation = rows * np.sqrt(np.clip(p * (1 - p), 0, None))
    deviation, rows = (each.sum(axis=-2) for each in (deviation, rows))
    n_rows = 1 / np.maximum(np.sum(rows**2, axis=-1), 1e-300)
    wrong = np.minimum(2 / n_rows, 0.5)
    variance = np.maximum(np.sum(deviation**2, axis=-1), wrong * (1 - wrong) / n_rows)
    return np.where(np.isfinite(deviation).all(axis=-1), variance, math.nan)


def counts_rows(scorer: str) -> bool:
    """Tell whether a score is a share of rows, so that their number says how certain it is.

    Parameters
    ----------
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    bool
        For the balanced accuracy, whose classes have fewer rows each, it is a lower bound.

    Examples
    --------
    >>> counts_rows("accuracy"), counts_rows("roc_auc_ovr")
    (True, False)
    """
    return scorer in ("accuracy", "balanced_accuracy", "top_k_accuracy")


_SHARES = ("f1", "precision", "recall", "jaccard", "roc_auc", "average_precision", "top_k_accuracy")


def score_bounds(scorer: str) -> tuple[float, float]:
    """Return the smallest and the largest possible score.

    Parameters
    ----------
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    tuple of float
        Infinite where there is no bound, or none is known.

    Examples
    --------
    >>> score_bounds("accuracy"), score_bounds("r2"), score_bounds("neg_log_loss")
    ((0.0, 1.0), (-inf, 1.0), (-inf, 0.0))
    """
    if scorer in ("accuracy", "balanced_accuracy") or scorer.startswith(_SHARES):
        return 0.0, 1.0
    if scorer in ("r2", "explained_variance") or scorer.startswith("d2_"):
        return -math.inf, 1.0
    return -math.inf, 0.0 if scorer.startswith("neg_") else math.inf


@dataclass(frozen=True)
class Metric:
    """A metric with its definition.

    Parameters
    ----------
    name : str
        Name in tables.
    label : str
        Name in reports, where the score is accuracy.
    function : callable
        Takes the inputs that `needs` names.
    needs : tuple of str
        ``"R"``, ``"b"``, ``"R_joint"``, ``"R_frozen"``, ``"E"``, ``"t"``, ``"prequential"``, ``"n_tested"``, or the
        name of a column of ``results.experiences``.
    formula : str
        The formula.
    source : str
        Who defined it; "measured" for measurements of the benchmark.
    unit : str
        ``"score"``, ``"difference of scores"``, ``"ratio of scores"``, or one of `COST_UNITS`.
    higher_is_better : bool
        Whether higher values are better.
    protocols : tuple of str
        What a protocol must evaluate for it; empty: anything.
    min_experiences : int
        Length of the shortest stream for which it is defined.
    weights : callable or None
        Takes what `function` takes; returns the weights of the scores whose mean the metric is. ``None``: it is none.
    stacked : callable or None
        Does the work of `function` for many cells at once: takes what it takes with one more axis, the first, and
        returns one value per cell; the weights are the same for all cells then. ``None``: cells are taken one by one.

    Examples
    --------
    >>> METRICS["forgetting"].higher_is_better, METRICS["forgetting"].bounds("accuracy")
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
    protocols: tuple[str, ...] = ()
    min_experiences: int = 1
    weights: Callable[..., Array] | None = None
    stacked: Callable[..., Array] | None = None

    def bounds(self, scorer: str) -> tuple[float, float]:
        """Return the smallest and the largest possible value; intervals are clipped to them.

        Parameters
        ----------
        scorer : str
            Name of one of scikit-learn's scorers.

        Returns
        -------
        tuple of float
        """
        low, high = score_bounds(scorer)
        if self.unit == "score":
            return low, high
        if self.unit == "ratio of scores":
            return (0.0 if low >= 0 else -math.inf), math.inf
        return (low - high, high - low) if self.unit == "difference of scores" else (0.0, math.inf)

    def label_for(self, scorer: str) -> str:
        """Return the name in reports for a score.

        Parameters
        ----------
        scorer : str
            Name of one of scikit-learn's scorers.

        Returns
        -------
        str

        Examples
        --------
        >>> METRICS["average_accuracy"].label_for("r2")
        'Average R2'
        """
        return self.label.replace("accuracy", "R2" if scorer == "r2" else scorer)


_MATRIX, _DIAGONAL = ("all", "seen"), ("all", "seen", "current")


def _score(
    function: Callable[..., float],
    weights: Callable[..., Array],
    label: str,
    formula: str,
    source: str,
    protocols: tuple[str, ...] = _MATRIX,
    min_experiences: int = 1,
    needs: tuple[str, ...] = ("R",),
    stacked: Callable[..., Array] | None = None,
) -> Metric:
    name = function.__name__
    unit, better = "score", True
    return Metric(
        name, label, function, needs, formula, source, unit, better, protocols, min_experiences, weights, stacked
    )


def _difference(
    function: Callable[..., float],
    label: str,
    formula: str,
    source: str,
    higher_is_better: bool,
    protocols: tuple[str, ...] = _MATRIX,
    extra: str = "",
    stacked: Callable[..., Array] | None = None,
) -> Metric:
    needs = ("R", extra) if extra else ("R",)
    name, unit = function.__name__, "difference of scores"
    # Only comparisons with another run are defined for a single experience.
    min_experiences = 1 if extra in ("R_joint", "R_frozen") else 2
    return Metric(
        *(name, label, function, needs, formula, source, unit, higher_is_better, protocols, min_experiences),
        stacked=stacked,
    )


COST_UNITS = ("seconds", "bytes", "steps", "samples", "operations", "joules")
"""Units of what was measured."""


def _measured(
    name: str, label: str, function: Callable[..., float], stacked: Callable[..., Array], formula: str, unit: str = ""
) -> Metric:
    unit = unit or name.rsplit("_", 1)[1]
    return Metric(name, label, function, (name,), formula, "measured", unit, False, stacked=stacked)


_LOPEZ_PAZ = "Lopez-Paz & Ranzato 2017"
_CHAUDHRY = "Chaudhry et al. 2018"
_DE_LANGE = "De Lange et al. 2023"
_ANYTIME = ("E", "t")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _score(
            average_accuracy,
            _last_row,
            "Average accuracy",
            "mean_j R[T−1, j]",
            _LOPEZ_PAZ,
            stacked=_final_means,
        ),
        _score(
            average_incremental_accuracy,
            lambda R: _seen(R, np.arange(1.0, len(R) + 1)),
            "Average incremental accuracy",
            "mean_i mean_{j≤i} R[i, j]",
            "Rebuffi et al. 2017",
        ),
        _score(
            average_anytime_accuracy,
            _seen,
            "Average anytime accuracy",
            "mean_e mean_{j<⌈t[e]⌉} E[e, j]",
            "Caccia et al. 2021",
            needs=_ANYTIME,
        ),
        _difference(
            forgetting,
            "Forgetting",
            "mean_{j<T−1} (max_{l<T−1} R[l, j] − R[T−1, j])",
            _CHAUDHRY,
            False,
            stacked=_forgotten,
        ),
        _difference(
            backward_transfer,
            "Backward transfer",
            "mean_{j<T−1} (R[T−1, j] − R[j, j])",
            _LOPEZ_PAZ,
            True,
            stacked=_transferred_back,
        ),
        _difference(
            forward_transfer,
            "Forward transfer",
            "mean_{j≥1} (R[j−1, j] − b[j])",
            _LOPEZ_PAZ,
            True,
            ("all", "future"),
            extra="b",
        ),
        _score(
            learning_accuracy,
            lambda R: np.eye(len(R)) / len(R),
            "Learning accuracy",
            "mean_j R[j, j]",
            "Riemer et al. 2019",
            _DIAGONAL,
            stacked=_learned,
        ),
        _difference(
            intransigence, "Intransigence", "mean_k (R*[k, k] − R[k, k])", _CHAUDHRY, False, _DIAGONAL, extra="R_joint"
        ),
        _difference(
            gain_over_frozen,
            "Gain over the frozen model",
            "mean_j R[T−1, j] − mean_j R°[T−1, j]",
            "forgetless",
            True,
            extra="R_frozen",
        ),
        Metric(
            "parts_against_union",
            "Parts against union",
            parts_against_union,
            ("R", "R_joint"),
            "mean_j R[T−1, j] / mean_j R*[T−1, j]",
            "forgetless",
            "ratio of scores",
            True,
            _MATRIX,
        ),
        _score(
            min_accuracy,
            _lowest,
            "Minimum accuracy",
            "mean_{j<T−1} min_{e: t[e]>j+1} E[e, j]",
            _DE_LANGE,
            _MATRIX,
            2,
            _ANYTIME,
        ),
        _score(
            worst_case_accuracy,
            _worst_case,
            "Worst-case accuracy",
            "R[T−1, T−1]/T + (1 − 1/T) minimum accuracy",
            _DE_LANGE,
            _MATRIX,
            2,
            _ANYTIME,
        ),
        _score(
            prequential_score,
            _by_rows,
            "Prequential accuracy",
            "Σ_k n_k R[k−1, k] / Σ_k n_k",
            "Gama et al. 2013",
            ("prequential",),
            needs=("prequential", "n_tested"),
        ),
        _score(
            future_score,
            _later,
            "Future accuracy",
            "mean_{i<T−1} mean_{j>i} R[i, j]",
            "forgetless",
            ("all", "future"),
            2,
            stacked=_future,
        ),
        _measured("fit_seconds", "Fit time", total, _totals, "sum over experiences"),
        _measured("predict_seconds", "Predict time", total, _totals, "sum over experiences"),
        _measured("gradient_steps", "Gradient steps", total, _totals, "batches trained on, sum over experiences"),
        _measured(
            "samples_seen", "Samples seen", total, _totals, "rows of which a gradient was computed, sum", "samples"
        ),
        _measured(
            "flops", "FLOPs", total, _totals, "operations of the networks' passes while learning, sum", "operations"
        ),
        _measured("energy_joules", "Energy", total, _totals, "of the machine's processors while learning, sum"),
        _measured("peak_memory_bytes", "Peak memory", peak, _peaks, "maximum over experiences"),
        _measured("model_bytes", "Model size", final, _finals, "weights, after the last experience"),
        _measured(
            "replay_bytes", "Replay memory", final, _finals, "stored samples or features, after the last experience"
        ),
        _measured("state_bytes", "Other state", final, _finals, "all else carried on, after the last experience"),
        Metric(
            "bytes_added",
            "Bytes added",
            bytes_added,
            ("model_bytes", "replay_bytes", "state_bytes"),
            "(bytes[T−1] − bytes[0]) / (T − 1), of model, memory and state together",
            "measured",
            "bytes",
            False,
            (),
            2,
            stacked=_added,
        ),
        _measured(
            "pickled_bytes", "Pickled size", final, _finals, "the estimator as a pickle, after the last experience"
        ),
    )
}
"""All metrics by name, in the order of the tables."""
