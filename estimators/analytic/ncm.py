"""NCM: nearest class mean, with running means."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..base import ContinualClassifier
from ..parameters import one_of
from .moments import ClosedForm


class NCMClassifier(ClosedForm, ContinualClassifier):
    r"""Nearest class mean: a row belongs to the class whose mean is closest.

    Scores are :math:`-\|x-\mu_c\|^2` up to a constant that is the same for all classes, :math:`2 x^\top \mu_c -
    \mu_c^\top \mu_c`, where x are the features and :math:`\mu_c` the running class means, both less one of the
    means, in double precision: values far from zero, such as Unix time, lose nothing. Means are exact sums over the
    data, so any order and any chunking gives the same model; :meth:`unlearn` and :meth:`merge` are exact, too.

    With ``metric="cosine"`` scores are :math:`\cos(x, \mu_c)`, of features and means as they are: on features of a
    frozen pretrained model (:class:`FrozenFeatures`) this is SimpleCIL.

    Parameters
    ----------
    features : torch.nn.Module, default=None
        A trained module whose features, what enters its head, are used in place of the inputs: for example
        ``clf.net_.module_`` of a fitted strategy, or a pretrained network. It is copied at the first call, and frozen.
        None: the inputs themselves.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Which mean is the nearest: by distance, or by angle, whatever the lengths.

    Attributes
    ----------
    means_ : ndarray of shape (n_classes, width)
        Class means of the features, in the order of ``classes_``.
    counts_ : ndarray of shape (n_classes,)
        Rows learned of each class.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Mensink, Verbeek, Perronnin & Csurka, Distance-based image classification: generalizing to new classes at near-zero
    cost, 2013 (with the Euclidean distance). Zhou et al., Revisiting class-incremental learning with pre-trained
    models: generalizability and adaptivity are all you need, 2023 (SimpleCIL, with the cosine).

    Examples
    --------
    >>> from forgetless.estimators import NCMClassifier
    >>> clf = NCMClassifier().partial_fit([[0.0], [2.0]], ["low", "low"]).partial_fit([[9.0], [7.0]], ["high", "top"])
    >>> clf.predict([[4.0], [7.5]])
    array(['low', 'top'], dtype='<U4')
    >>> clf.unlearn([[2.0]], ["low"]).means_.ravel()
    array([9., 0., 7.])
    """

    source = "Mensink et al. 2013"
    input_dtype = (np.float64, np.float32)
    needs_scatter = False
    product_dtype = torch.float64

    parameter_constraints = {"metric": [one_of("euclidean", "cosine")]}

    def __init__(self, features: nn.Module | None = None, *, metric: str = "euclidean") -> None:
        self.features = features
        self.metric = metric

    @property
    def means_(self) -> NDArray[np.float64]:
        """Class means of the features, in the order of ``classes_``."""
        return self.moments_[0].means[self.class_outputs_]

    def solve(self) -> dict[str, Any]:
        """Scores are 2 xᵀμ − μᵀμ, of x and μ less the mean nearest to zero: one class far off spoils no other."""
        seen, means = self.moments_[0].counts > 0, self.moments_[0].means
        if self.metric == "cosine":
            weights, nothing = unit(torch.from_numpy(means)).numpy().T, np.zeros(len(means))
            return {"weights": weights, "bias": nothing, "centre": np.zeros(means.shape[1]), "metric": self.metric}
        centre = means[seen][np.abs(means[seen]).max(axis=1).argmin()]
        means = np.where(seen[:, None], means - centre, 0.0)
        bias = -np.square(means).sum(axis=1)
        return {"weights": 2 * means.T, "bias": bias, "centre": centre, "metric": self.metric}

    def solution(self) -> dict[str, Any]:
        """What :meth:`solve` found for the metric as it is now."""
        if self.solved_ and self.solved_["metric"] != self.metric:
            self.solved_ = {}
        return super().solution()

    def scores_of(self, features: torch.Tensor) -> torch.Tensor:
        """As for the others; for the cosine, of features of length 1."""
        return super().scores_of(unit(features) if self.metric == "cosine" else features)


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows with length 1; zeros stay zeros."""
    return nn.functional.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)
