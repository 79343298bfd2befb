"""SLDA: streaming linear discriminant analysis, in closed form."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import nn

from ..base import ContinualClassifier
from ..parameters import between, one_of
from .moments import ClosedForm, Moments, Which, symmetric

# Least variance of a direction, where columns have the variance 1: what LinearDiscriminantAnalysis takes for none.
_LEAST_VARIANCE = 1e-8


class SLDAClassifier(ClosedForm, ContinualClassifier):
    r"""Streaming linear discriminant analysis: running class means and one covariance within classes.

    Scores are :math:`x^\top W + b`, of features x, with :math:`W = \Sigma^{-1} M` and
    :math:`b_c = -\tfrac12 \mu_c^\top \Sigma^{-1} \mu_c + \log \pi_c`, where :math:`\mu_c` are the class means,
    :math:`\pi_c` the shares of the classes, and Σ the covariance within classes, shrunk to
    :math:`(1-s)\Sigma + s \frac{\operatorname{tr}\Sigma}{p} I`. All are exact sums over the data, so any order and any
    chunking of the data give the model of one fit on everything, the one that
    ``LinearDiscriminantAnalysis(solver="lsqr")`` finds; :meth:`unlearn` and :meth:`merge` are exact, too. Products are
    in double precision, since a covariance that nothing shrinks may be nearly singular. Scores are those of x and
    :math:`\mu_c` less the mean of all rows, which is the same for all classes, so that values far from zero lose
    nothing; columns that do not vary within classes and directions in which columns, scaled to variance 1, have a
    variance below 1e-8 (collinear columns) are left out, as by ``LinearDiscriminantAnalysis(solver="svd")``.

    ``shrinkage="oas"`` is the oracle approximating shrinkage of n rows and p features, :math:`s = \min\big(1,
    \frac{\operatorname{tr}\Sigma^2 + (\operatorname{tr}\Sigma)^2}{(n+1)(\operatorname{tr}\Sigma^2 -
    (\operatorname{tr}\Sigma)^2 / p)}\big)`. It follows from Σ and n alone, so that the model stays a function of exact
    sums.

    ``covariance="per_class"`` gives each class a covariance of its own, shrunk by itself: scores are
    :math:`-\tfrac12 (x-\mu_c)^\top \Sigma_c^{-1} (x-\mu_c) - \tfrac12 \log\det\Sigma_c + \log\pi_c`, those of quadratic
    discriminant analysis (FeCAM has the first term only, of covariances scaled to variances of 1). A class whose rows
    are all equal has the covariance of all classes. Directions keep a variance of at least 1e-8, where columns are
    scaled to variance 1 within classes. It needs many rows for each class, or shrinkage.

    Parameters
    ----------
    shrinkage : float or "oas", default=0.0
        s, between 0 and 1.
    covariance : {"shared", "per_class"}, default="shared"
        Memory grows with the square of the width, by 8 bytes each; with "per_class" for each class.
    features : torch.nn.Module, default=None
        A trained module whose features are used, as for :class:`NCMClassifier`; None: the inputs themselves.

    Attributes
    ----------
    means_ : ndarray of shape (n_classes, width)
        Class means of the features, in the order of ``classes_``.
    covariance_ : ndarray of shape (width, width), or (n_classes, width, width)
        Σ, or that of each class, before it is shrunk.
    shrinkage_ : float or ndarray of shape (n_classes,)
        The s in use.
    counts_ : ndarray of shape (n_classes,)
        Rows learned of each class.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Hayes & Kanan, Lifelong machine learning with deep streaming linear discriminant analysis, 2020 (with a fixed
    shrinkage towards the identity). Chen, Wiesel, Eldar & Hero, Shrinkage algorithms for MMSE covariance estimation,
    2010 (OAS, without the terms 2/p, as in scikit-learn). Goswami et al., FeCAM: exploiting the heterogeneity of class
    distributions in exemplar-free continual learning, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    >>> from forgetless.datasets import load_wine, split_stream
    >>> from forgetless.estimators import SLDAClassifier
    >>> wine, clf = load_wine(), SLDAClassifier()
    >>> for e in split_stream(wine, n_experiences=3, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> lda = LinearDiscriminantAnalysis(solver="lsqr").fit(wine.X_train, wine.y_train)
    >>> bool((clf.predict(wine.X_test) == lda.predict(wine.X_test)).all())
    True
    """

    source = "Hayes & Kanan 2020"
    input_dtype: ClassVar[tuple[type, ...]] = (np.float64, np.float32)
    fixed_parameters = ("covariance",)
    parameter_constraints = {
        "shrinkage": [between(0, 1), one_of("oas")],
        "covariance": [one_of("shared", "per_class")],
    }
    product_dtype = torch.float64

    def __init__(
        self, shrinkage: float | str = 0.0, *, covariance: str = "shared", features: nn.Module | None = None
    ) -> None:
        self.shrinkage = shrinkage
        self.covariance = covariance
        self.features = features

    @property
    def means_(self) -> NDArray[np.float64]:
        """Class means of the features, in the order of ``classes_``."""
        return self._shared().means[self.class_outputs_]

    @property
    def covariance_(self) -> NDArray[np.float64]:
        """Covariance within classes, or of each class."""
        if self.covariance == "shared":
            return _covariance(self._shared())
        return np.stack([_covariance(self.moments_[k]) for k in self.class_outputs_])

    @property
    def shrinkage_(self) -> float | NDArray[np.float64]:
        """The shrinkage that predictions are made with."""
        used = self.solution()["shrinkage"]
        return float(used[0]) if self.covariance == "shared" else used[self.class_outputs_]

    def parts_of(self, X: NDArray[Any], y: NDArray[Any]) -> Sequence[Which]:
        """All rows, or those of each class."""
        return [slice(None)] if self.covariance == "shared" else [y == k for k in range(self.n_groups())]

    def parts_of_other(self, other: Self, groups: NDArray[np.int64]) -> Sequence[int]:
        """The parts of classes follow the classes."""
        if self.covariance != other.covariance:
            raise ValueError(
                "One of the two has a covariance for each class and the other has not; give both the same."
            )
        return range(1) if self.covariance == "shared" else groups.tolist()

    def solve(self) -> dict[str, Any]:
        """W = Σ⁻¹ M and b = −½ μᵀ Σ⁻¹ μ + log π, of means less the mean of all rows."""
        shared = self._shared()
        counts, means, covariance = shared.counts, shared.means, _covariance(shared)
        seen = counts > 0
        centre = counts @ means / counts.sum()
        means = np.where(seen[:, None], means - centre, 0.0)
        log_priors = np.log(np.where(seen, counts, 1) / counts.sum())
        if self.covariance == "per_class":
            return {"centre": centre} | self._solve_each(means, log_priors, covariance)
        covariance, shrinkage = self._shrunk(covariance, counts.sum())
        deviations = _deviations(covariance)
        variances, directions = _directions(covariance, deviations)
        kept = variances > _LEAST_VARIANCE
        whitened = directions[:, kept] / np.sqrt(variances[kept]) / deviations[:, None]
        weights = (means @ whitened) @ whitened.T
        bias = log_priors - 0.5 * (means * weights).sum(axis=1)
        return {"weights": weights.T, "bias": bias, "centre": centre, "shrinkage": np.array([shrinkage])}

    def _solve_each(
        self, means: NDArray[np.float64], log_priors: NDArray[np.float64], shared: NDArray[np.float64]
    ) -> dict[str, Any]:
        """For each class A with A Aᵀ = Σ⁻¹, and Aᵀ μ; and b = −½ log det Σ + log π, in units that classes share."""
        deviations = _deviations(shared)
        n_classes, width = means.shape
        whitening, bias, shrinkages = np.zeros((n_classes, width, width)), np.zeros(n_classes), np.zeros(n_classes)
        for k, moments in enumerate(self.moments_):
            n = moments.counts.sum()
            if not n:
                continue
            own = _covariance(moments)
            covariance, shrinkages[k] = self._shrunk(own if own.trace() > 0 else shared.copy(), n)
            variances, directions = _directions(covariance, deviations)
            variances = np.maximum(variances, _LEAST_VARIANCE)
            whitening[k] = directions / np.sqrt(variances) / deviations[:, None]
            bias[k] = log_priors[k] - 0.5 * np.log(variances).sum()
        whitened_means = np.einsum("kij,ki->kj", whitening, means)
        return {"whitening": whitening, "means": whitened_means, "bias": bias, "shrinkage": shrinkages}

    def scores_of(self, features: torch.Tensor) -> torch.Tensor:
        """Linear, or −½ ‖Aᵀ(x − μ)‖² + b with the A of each class."""
        if self.covariance == "shared":
            return super().scores_of(features)
        found = {name: torch.from_numpy(value) for name, value in self.solution().items()}
        centred = features - found["centre"]
        distances = [
            (centred @ whitening - mean).square().sum(1)
            for whitening, mean in zip(found["whitening"], found["means"], strict=True)
        ]
        return torch.stack(distances, 1) / -2 + found["bias"]

    def _shared(self) -> Moments:
        """Moments of all classes, with the scatter within them."""
        if self.covariance == "shared":
            return self.moments_[0]
        counts, means, scatter = (
            np.sum([getattr(moments, name) for moments in self.moments_], axis=0)
            for name in ("counts", "means", "scatter")
        )
        return Moments(counts, means, scatter)

    def _shrunk(self, covariance: NDArray[np.float64], n: float) -> tuple[NDArray[np.float64], float]:
        """(1 − s) Σ + s tr(Σ)/p I in the place of Σ, the covariance of n rows, and s."""
        shrinkage = oas(covariance, n) if isinstance(self.shrinkage, str) else self.shrinkage
        mean_variance = np.trace(covariance) / len(covariance)
        covariance *= 1 - shrinkage
        covariance.flat[:: len(covariance) + 1] += shrinkage * mean_variance
        return covariance, shrinkage


def oas(covariance: NDArray[np.float64], n: float) -> float:
    """Oracle approximating shrinkage of the covariance of n rows.

    Parameters
    ----------
    covariance : ndarray of shape (width, width)
    n : float

    Returns
    -------
    float
        From 0 to 1; 1 for a multiple of the identity.
    """
    trace, squares = np.trace(covariance), np.square(covariance).sum()
    excess = (n + 1) * (squares - trace**2 / len(covariance))
    return float(min((squares + trace**2) / excess, 1.0)) if excess > 0 else 1.0


def _covariance(moments: Moments) -> NDArray[np.float64]:
    """Scatter within groups, a mean over rows; 0 for columns that vary by rounding alone."""
    scatter = moments.upper_scatter()
    covariance: NDArray[np.float64] = symmetric(scatter) / max(float(moments.counts.sum()), 1.0)
    constant = scatter.diagonal() < moments.noise(np.float64)
    covariance[constant] = covariance[:, constant] = 0.0
    return covariance


def _deviations(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column; 1 where it has none."""
    deviations = np.sqrt(np.maximum(covariance.diagonal(), 0))
    return np.where(deviations > 0, deviations, 1.0)


def _directions(
    covariance: NDArray[np.float64], deviations: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances and directions, in units of columns' deviations, so that no scale is favoured."""
    variances, directions = linalg.eigh(covariance / deviations / deviations[:, None])
    return variances, directions
