"""SLDA: streaming linear discriminant analysis, in closed form."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import nn

from ..base import ContinualClassifier
from ..parameters import between
from .moments import ClosedForm, symmetric

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
    nothing; directions in which columns, scaled to variance 1, have a variance below 1e-8 (collinear columns) are left
    out, as by ``LinearDiscriminantAnalysis(solver="svd")``.

    Parameters
    ----------
    shrinkage : float, default=0.0
        s, between 0 and 1.
    features : torch.nn.Module, default=None
        A trained module whose features are used, as for :class:`NCMClassifier`; None: the inputs themselves.

    Attributes
    ----------
    means_ : ndarray of shape (n_classes, width)
        Class means of the features, in the order of ``classes_``.
    covariance_ : ndarray of shape (width, width)
        Σ, before it is shrunk.
    counts_ : ndarray of shape (n_classes,)
        Rows learned of each class.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Hayes & Kanan, Lifelong machine learning with deep streaming linear discriminant analysis, 2020 (with a fixed
    shrinkage towards the identity).

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
    input_dtype = (np.float64, np.float32)
    parameter_constraints = {"shrinkage": [between(0, 1)]}
    product_dtype = torch.float64

    def __init__(self, shrinkage: float = 0.0, *, features: nn.Module | None = None) -> None:
        self.shrinkage = shrinkage
        self.features = features

    @property
    def means_(self) -> NDArray[np.float64]:
        """Class means of the features, in the order of ``classes_``."""
        return self.moments_[0].means[self.class_outputs_]

    @property
    def covariance_(self) -> NDArray[np.float64]:
        """Covariance within classes."""
        n_rows = float(self.counts_.sum())
        return symmetric(self.moments_[0].upper_scatter()) / n_rows

    def solve(self) -> dict[str, Any]:
        """W = Σ⁻¹ M and b = −½ μᵀ Σ⁻¹ μ + log π, of means less the mean of all rows."""
        counts, means, covariance = self.moments_[0].counts, self.moments_[0].means, self.covariance_
        seen = counts > 0
        centre = counts @ means / counts.sum()
        means = np.where(seen[:, None], means - centre, 0.0)
        mean_variance = np.trace(covariance) / len(covariance)
        covariance *= 1 - self.shrinkage
        covariance.flat[:: len(covariance) + 1] += self.shrinkage * mean_variance
        # In units of each column's deviation, so that no scale is favoured; directions without variance drop out.
        deviations = np.sqrt(np.maximum(covariance.diagonal(), 0))
        deviations = np.where(deviations > 0, deviations, 1.0)
        variances, directions = linalg.eigh(covariance / deviations / deviations[:, None])
        kept = variances > _LEAST_VARIANCE
        whitened = directions[:, kept] / np.sqrt(variances[kept]) / deviations[:, None]
        weights = (means @ whitened) @ whitened.T
        log_priors = np.log(np.where(seen, counts, 1) / counts.sum())
        bias = log_priors - 0.5 * (means * weights).sum(axis=1)
        return {"weights": weights.T, "bias": bias, "centre": centre}
