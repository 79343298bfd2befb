"""The choice of a strategy by paired differences, in arrays: strategies are known by their positions."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import Array


def paired_interval(
    pairs: Array, confidence: float, shared_variance: ArrayLike = 0.0
) -> tuple[Array, Array, Array, Array]:
    """Compute the mean of paired differences, its interval, and how often they are above zero.

    The variance of the mean is the sum of what seeds and blocks show, with Welch-Satterthwaite degrees of freedom. What
    all pairs share they do not show: its half-width is added in quadrature.

    Parameters
    ----------
    pairs : ndarray of shape (n_seeds, n_blocks, ...)
        Differences.
    confidence : float
        Between 0 and 1.
    shared_variance : array-like, default=0.0
        Of what all pairs share, the test rows; of the shape of the mean.

    Returns
    -------
    tuple of ndarray
        Mean, lower and upper limit, and the share above zero, in which ties count half. Both limits are NaN for a
        single difference.

    Examples
    --------
    >>> mean, low, high, share = paired_interval(np.array([[1.0], [3.0]]), 0.5)
    >>> float(mean), round(float(low), 6), round(float(high), 6), float(share)
    (2.0, 1.0, 3.0, 1.0)
    """
    from scipy.special import stdtrit

    mean = pairs.mean(axis=(0, 1))
    variance, weight = np.zeros_like(mean), np.zeros_like(mean)
    for axis in (0, 1):
        n = pairs.shape[axis]
        if n > 1:
            of_mean = pairs.mean(axis=1 - axis).var(axis=0, ddof=1) / n
            variance += of_mean
            weight += of_mean**2 / (n - 1)
    freedom = np.full_like(mean, max(pairs.shape[:2]) - 1)
    np.divide(variance**2, weight, out=freedom, where=weight > 0)
    level = 0.5 + confidence / 2
    shared = stdtrit(math.inf, level) * np.sqrt(np.asarray(shared_variance, dtype=np.float64))
    half = np.hypot(stdtrit(freedom, level) * np.sqrt(variance), shared)
    return mean, mean - half, mean + half, np.mean((1 + np.sign(pairs)) / 2, axis=(0, 1))


def within_noise(scores: Array, noise: Array, candidates: NDArray[np.intp], confidence: float) -> NDArray[np.bool_]:
    """Tell which strategies are the best or not shown to be worse: a table should not tell them apart.

    Parameters
    ----------
    scores : ndarray of shape (n_seeds, n_strategies)
        NaN where a strategy was not run.
    noise : ndarray of shape (n_strategies,)
        Variances of the mean scores because of the test rows, which all seeds share.
    candidates : ndarray of int
        Those among which the best is looked for.
    confidence : float
        Of all comparisons with the best together (Bonferroni).

    Returns
    -------
    ndarray of shape (n_strategies,)
        False for all that are no candidates. With a single seed nothing is known of what another one would show, so
        nothing is shown to be worse.

    Examples
    --------
    >>> scores = np.array([[0.9, 0.8, 0.5], [0.8, 0.9, 0.5], [0.85, 0.85, 0.4]])
    >>> within_noise(scores, np.zeros(3), np.arange(3), 0.95)
    array([ True,  True, False])
    """
    found = np.zeros(scores.shape[1], dtype=bool)
    known = ~np.isnan(scores)
    means = np.full(scores.shape[1], -math.inf)
    for same in _alike(known):
        means[same] = np.ascontiguousarray(scores[known[:, same[0]]][:, same].T).mean(axis=1)
    if not candidates.size or not np.isfinite(means[candidates]).any():
        return found
    best = int(candidates[np.argmax(means[candidates])])
    each = 1 - (1 - confidence) / max(len(candidates) - 1, 1)
    found[candidates] = np.isfinite(means[candidates])
    pairs = scores[:, [best]] - scores
    known = ~np.isnan(pairs)
    known[:, np.setdiff1d(np.arange(scores.shape[1]), candidates[candidates != best])] = False
    for others in _alike(known):
        stack = np.ascontiguousarray(pairs[known[:, others[0]]][:, others].T).T  # seeds are added up as those of one
        if len(stack) > 1:
            _, low, _, _ = paired_interval(stack[:, None], each, noise[best] + noise[others])
            found[others] = low <= 0
    return found


def _alike(known: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Put columns together that are known in the same rows, if in any."""
    masks: dict[bytes, list[int]] = {}
    for column, mask in enumerate(np.packbits(known, axis=0).T):
        masks.setdefault(mask.tobytes(), []).append(column)
    return [np.array(columns) for columns in masks.values() if known[:, columns[0]].any()]


def dominance(score: Array, seconds: Array) -> NDArray[np.bool_]:
    """Tell which strategies dominate which: score no less, take no longer, and are better in one.

    Parameters
    ----------
    score, seconds : ndarray of shape (n,)
        Where the seconds are not known (NaN), they are taken for infinite.

    Returns
    -------
    ndarray of shape (n, n)
        Row i is true where strategy i dominates.

    Examples
    --------
    >>> dominance(np.array([0.9, 0.8, 0.7]), np.array([2.0, 3.0, 1.0]))[0]
    array([False,  True, False])
    """
    cost = np.nan_to_num(seconds, nan=math.inf, posinf=math.inf)
    no_worse = (score[:, None] >= score) & (cost[:, None] <= cost)
    return no_worse & ~no_worse.T


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Parameters
    ----------
    chosen, leader : int
        The choice, and the candidate with the highest mean score.
    against : int or None
        What the choice is judged against: plain training or, where that is not there or is the choice, the best of the
        other candidates.
    confidence : float
        Of each interval, so that all together have the one asked for.
    shown : bool
        Whether the choice is shown to be better than `against`.
    """

    chosen: int
    leader: int
    against: int | None
    confidence: float
    shown: bool


def choose(
    scores: Array,
    seconds: Array,
    candidates: NDArray[np.intp],
    plain: int | None,
    confidence: float,
    noise: ArrayLike = 0.0,
) -> Choice:
    """Choose among candidates.

    From plain training (or, if that is no candidate or dominated, the cheapest that scores no less) go to the cheapest
    that is shown to be better, as long as there is one; dominated candidates do not count.

    Parameters
    ----------
    scores : ndarray of shape (n_seeds, n_blocks, n_strategies)
    seconds : ndarray of shape (n_strategies,)
    candidates : ndarray of int
        Those that may be chosen, at least one.
    plain : int or None
        Plain training.
    confidence : float
        Of all comparisons together; Bonferroni's correction is for one with each of the other candidates.
    noise : array-like of shape (n_strategies,), default=0.0
        Variances of the mean scores because of the test rows, which all seeds share.

    Returns
    -------
    Choice

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal([0.5, 0.8, 0.8], 0.01, size=(6, 1, 3))
    >>> choose(scores, np.array([1.0, 4.0, 2.0]), np.arange(3), 0, 0.95).chosen
    2
    """
    mean = scores.mean(axis=(0, 1))
    noises = np.broadcast_to(np.asarray(noise, dtype=np.float64), mean.shape)
    dominated = dominance(mean[candidates], seconds[candidates]).any(axis=0)
    front = candidates[~dominated]
    front = front[np.lexsort((front, seconds[front]))]
    each = 1 - (1 - confidence) / max(len(candidates) - 1, 1)

    def shown(names: NDArray[np.intp], than: int) -> NDArray[np.bool_]:
        shared = np.where(names == than, 0.0, noises[names] + noises[than])
        _, low, _, _ = paired_interval(scores[:, :, names] - scores[:, :, [than]], each, shared)
        better: NDArray[np.bool_] = low > 0
        return better

    # The front's scores rise with its seconds: plain training, if it is there, is the first that scores no less.
    no_worse = front[mean[front] >= mean[plain]] if plain is not None else front
    chosen = int((no_worse if no_worse.size else front)[0])
    while (better := front[shown(front, chosen)]).size:
        chosen = int(better[0])
    best_first = candidates[np.argsort(-mean[candidates], kind="stable")]
    others = best_first[best_first != chosen]
    against = plain if plain not in (None, chosen) else int(others[0]) if others.size else None
    return Choice(
        chosen,
        leader=int(front[np.argmax(mean[front])]),
        against=against,
        confidence=each,
        shown=against is not None and bool(shown(np.array([chosen]), against)[0]),
    )
