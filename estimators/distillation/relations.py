"""Relation distillation: the rows of a batch keep the distances and angles that the old network saw between them."""

from typing import Any

import torch
from skorch import NeuralNet
from torch.nn import functional as F

from ..base import ContinualClassifier
from ..parameters import at_least
from .teacher import FeatureTeacher

# Squared distances below this share of their mean are rounding: such rows coincide, and have no direction.
_COINCIDE = 1e-6


class RelationDistillationClassifier(FeatureTeacher, ContinualClassifier):
    r"""Relational distillation: rows keep the distances and angles that the old network saw between them.

    :math:`L + \lambda_D L_D + \lambda_A L_A`, over the pairs and triples of a batch's rows. With the features h, which
    are what enters the head, of the student and of the teacher, and Huber's loss :math:`\ell` with threshold 1:

    - :math:`L_D` is the mean over ordered pairs i ≠ j of :math:`\ell(\psi_{ij}, \psi^*_{ij})`, with
      :math:`\psi_{ij} = \|h_i - h_j\|_2 / \mu`, where μ is the mean of these distances over the batch, for student and
      teacher each;
    - :math:`L_A` is the mean over ordered triples of different rows of :math:`\ell(\cos\phi_{ijk}, \cos\phi^*_{ijk})`,
      where :math:`\phi_{ijk}` is the angle at :math:`h_j` between :math:`h_i` and :math:`h_k`; where rows coincide its
      cosine is taken as 0.

    The teacher is the network after the last experience; its features are computed once a call. No data are kept.
    The relations say nothing of where the features lie as a whole, nor of the head. The cost of a step grows with the
    third power of the batch size.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    distance_weight : float, default=25.0
        λ_D.
    angle_weight : float, default=50.0
        λ_A. With both weights 0 this is :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of L, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    teacher_ : torch.nn.Module
        From the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Park, Kim, Lu & Cho, Relational knowledge distillation, 2019.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import RelationDistillationClassifier
    >>> clf = RelationDistillationClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train[:200], e.y_train[:200], task_id=e.task_id)
    >>> clf.strategy_info()["keeps"]
    'nothing'
    """

    source = "Park et al. 2019 (RKD)"
    later_parameters = ("distance_weight", "angle_weight")
    parameter_constraints = {"distance_weight": [at_least(0)], "angle_weight": [at_least(0)]}

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight
        self.active_outputs = active_outputs
        self.random_state = random_state

    def feature_loss(self, features: torch.Tensor, taught: torch.Tensor) -> torch.Tensor | float:
        """λ_D L_D + λ_A L_A: the distances between two rows, and the angles among three."""
        n = len(features)
        student, teacher = products_and_distances(features), products_and_distances(taught)
        loss: torch.Tensor | float = 0.0
        if self.distance_weight:
            terms = F.smooth_l1_loss(relative(student[1]), relative(teacher[1]), reduction="sum")
            loss = loss + self.distance_weight * terms / max(n * (n - 1), 1)
        if self.angle_weight:
            terms = F.smooth_l1_loss(cosines(*student), cosines(*teacher), reduction="sum")
            loss = loss + self.angle_weight * terms / max(n * (n - 1) * (n - 2), 1)
        return loss


def products_and_distances(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products of rows, seen from their mean, and distances between them.

    Parameters
    ----------
    h : torch.Tensor of shape (n_rows, n_features)

    Returns
    -------
    products, distances : torch.Tensor of shape (n_rows, n_rows)
    """
    h = h - h.mean(0)  # the relations stay, and rounding is smaller
    products = h @ h.T
    norms = products.diagonal()
    squares = norms[:, None] + norms - 2 * products
    apart = squares > _COINCIDE * squares.detach().mean()
    return products, torch.where(apart, squares, 1.0).sqrt() * apart


def relative(distances: torch.Tensor) -> torch.Tensor:
    """Distances in units of the mean distance between two different rows.

    Parameters
    ----------
    distances : torch.Tensor of shape (n_rows, n_rows)

    Returns
    -------
    torch.Tensor of shape (n_rows, n_rows)
    """
    mean = distances.sum() / max(len(distances) * (len(distances) - 1), 1)
    return distances / mean.clamp(min=torch.finfo(distances.dtype).tiny)


def cosines(products: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Cosine of the angle that rows i and k form at row j, as entry (j, i, k); 0 where j coincides with i or k.

    The numerator ⟨hᵢ − hⱼ, hₖ − hⱼ⟩ comes from inner products, so that the differences of all pairs, n² vectors, are
    not needed: with b = (‖hⱼ‖²/2 − ⟨hᵢ, hⱼ⟩) / dᵢⱼ, it is ⟨hᵢ, hₖ⟩ / (dᵢⱼ dₖⱼ) + bᵢⱼ / dₖⱼ + bₖⱼ / dᵢⱼ.

    Parameters
    ----------
    products, distances : torch.Tensor of shape (n_rows, n_rows)

    Returns
    -------
    torch.Tensor of shape (n_rows, n_rows, n_rows)
    """
    apart = distances > 0
    inverse = apart / torch.where(apart, distances, 1.0)
    b = (products.diagonal()[:, None] / 2 - products) * inverse
    left, right = torch.stack([inverse, b], 2), torch.stack([b, inverse], 1)
    return torch.baddbmm(inverse[:, :, None] * inverse[:, None, :] * products, left, right)
