"""SLDA: streaming linear discriminant analysis, in closed form."""

import numpy as np
from scipy import linalg

from .._compat import between
from ..base import ContinualClassifier


class SLDAClassifier(ContinualClassifier):
    r"""Streaming linear discriminant analysis: running class means and one covariance within classes.

    Scores are :math:`x^\top W + b` with :math:`W = \Sigma^{-1} M` and
    :math:`b_c = -\tfrac12 \mu_c^\top \Sigma^{-1} \mu_c + \log \pi_c`, where :math:`\mu_c` are the class means,
    :math:`\pi_c` the shares of the classes, and Σ the covariance within classes, shrunk to
    :math:`(1-s)\Sigma + s \frac{\operatorname{tr}\Sigma}{p} I`. All are exact sums over the data, so any order and any
    chunking of the data give the model of one fit on everything, the one that
    ``LinearDiscriminantAnalysis(solver="lsqr")`` finds.

    Parameters
    ----------
    shrinkage : float, default=0.0
        s, between 0 and 1.

    Attributes
    ----------
    counts_ : ndarray of shape (n_classes,)
        Rows seen of each class, in the order of ``means_``.
    means_ : ndarray of shape (n_classes, n_features)
        Class means, in the order in which classes appeared.
    scatter_ : ndarray of shape (n_features, n_features)
        Sum over rows of the outer product of (row − mean of its class).
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

    _family = "analytic"
    _source = "Hayes & Kanan 2020"
    _keeps = "statistics"
    _dtype = (np.float64, np.float32)
    _constraints = {"shrinkage": [between(0, 1)]}

    def __init__(self, shrinkage=0.0):
        self.shrinkage = shrinkage

    def _learn(self, X, y):
        n_classes, n_features = len(self.classes_), X.shape[1]
        counts, means, scatter = np.zeros(n_classes), np.zeros((n_classes, n_features)), 0.0
        if hasattr(self, "counts_"):
            counts[: len(self.counts_)], means[: len(self.counts_)] = self.counts_, self.means_
            scatter = self.scatter_
        for column in np.unique(y):
            rows = X[y == column].astype(np.float64)
            mean = rows.mean(axis=0)
            centred = rows - mean
            n_old, n_new = counts[column], len(rows)
            shift = mean - means[column]
            # Two groups of rows: their scatters, and that of their means around the common mean.
            scatter = scatter + centred.T @ centred + (n_old * n_new / (n_old + n_new)) * np.outer(shift, shift)
            means[column] += shift * n_new / (n_old + n_new)
            counts[column] += n_new
        self.counts_, self.means_, self.scatter_ = counts, means, scatter
        self._solved_ = {}

    def _solve(self):
        """W and b; solved when asked for, and kept until something is learned."""
        if not self._solved_:
            seen = self.counts_ > 0
            covariance = self.scatter_ / self.counts_.sum()
            mean_variance = np.trace(covariance) / len(covariance)
            covariance = (1 - self.shrinkage) * covariance
            covariance.flat[:: len(covariance) + 1] += self.shrinkage * mean_variance
            weights = np.zeros_like(self.means_)
            weights[seen] = linalg.lstsq(covariance, self.means_[seen].T)[0].T
            priors = np.where(seen, self.counts_, np.nan) / self.counts_.sum()
            self._solved_["W"] = weights
            self._solved_["b"] = np.nan_to_num(np.log(priors)) - 0.5 * (self.means_ * weights).sum(axis=1)
        return self._solved_["W"], self._solved_["b"]

    def _scores(self, X):
        weights, bias = self._solve()
        return X @ weights.T + bias

    def _memory(self):
        return {"statistics": self.counts_.nbytes + self.means_.nbytes + self.scatter_.nbytes}
