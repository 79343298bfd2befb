"""iCaRL: incremental classifier and representation learning."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from ..engine.call import Call
from ..engine.memory import ReplayMemory
from ..engine.modules import Features, frozen_copy
from ..engine.objective import Classification, with_groups
from ..engine.passes import Passes
from ..engine.rows import Rows
from ..parameters import Integral, above, at_least
from ..strategy import NetworkClassifier


class NearestMean(nn.Module):
    """Minus the squared distances between features and means, all of length 1; -4, the least, where there is no mean.

    Parameters
    ----------
    module : torch.nn.Module
    means : torch.Tensor of shape (n_classes, n_features)
        Zeros where there is none.
    """

    def __init__(self, module: nn.Module, means: torch.Tensor) -> None:
        super().__init__()
        self.features = Features(module)
        self.means = means

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores, shape (n_rows, n_classes), of the rows ``x``."""
        scores = 2 * F.normalize(self.features(x)) @ self.means.T - 2
        return scores.masked_fill(~self.means.any(1), -4.0)


class BinaryClassification(Classification):
    """Sum over outputs of binary cross-entropies, mean over rows.

    Parameters
    ----------
    criterion : torch.nn.Module
        The net's: says whether outputs are logits.
    learned : torch.Tensor of int
        The outputs that are summed over.
    """

    def __init__(self, criterion: nn.Module, learned: torch.Tensor) -> None:
        super().__init__(criterion)
        self.learned = learned
        self.is_plain_cross_entropy = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinaryClassification) and torch.equal(self.learned, other.learned)

    __hash__ = None

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """With labels as targets."""
        return self.binary_loss(outputs, indicators(y, outputs))

    def binary_loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """With targets from 0 to 1, in the shape of the outputs."""
        logits, targets = self.logits(outputs)[..., self.learned], targets[..., self.learned]
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1).mean(-1)


def indicators(y: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """1 where an output is the row's class, else 0; in the shape of `outputs`."""
    return (y[..., None] == torch.arange(outputs.shape[-1], device=y.device)).to(outputs.dtype)


class ICaRLClassifier(NetworkClassifier):
    r"""iCaRL: learn features from new rows and exemplars, classify by the nearest mean of exemplars.

    - *Learning*: on the new rows and all exemplars together. The loss is the sum over classes seen of binary
      cross-entropies, one sigmoid each, and a mean over rows. Classes of the running experience are learned from
      labels, all others from the answers of the network after the last experience (distillation). Classes that come
      again, as in domain-incremental streams, are thus learned from labels and exemplars.
    - *Exemplars*: equal shares of the memory for the classes; chosen by herding (see :class:`ReplayMemory`) when the
      class comes, and thinned out from the end when others come.
    - *Answers*: the class whose exemplars' mean is nearest, in the features of today's network; features and means are
      scaled to length 1. Scores are minus the squared distances.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; its criterion is not used.
    buffer_size : int, default=200
        Exemplars of all classes together. A class that gets none is answered only if no other can be.
    temperature : float, default=1.0
        T: the old network's answers are :math:`\sigma(\text{logit} / T)`. The paper has none; van de Ven et al. have 2.
    renormalize_herding : bool, default=False
        Whether in herding, too, means of exemplars are scaled to length 1, see :func:`herding_order`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
        The exemplars.
    means_ : torch.Tensor of shape (n_classes, n_hidden)
        Their mean features, in the order in which classes appeared.
    teacher_ : torch.nn.Module
        From the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Rebuffi et al., iCaRL: incremental classifier and representation learning, 2017.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ICaRLClassifier
    >>> digits, clf = load_digits(), ICaRLClassifier(buffer_size=100, random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.8
    True
    """

    family = "replay"
    source = "Rebuffi et al. 2017"
    keeps = "samples"
    unlearns = "memory only"
    pure_steps = True
    carries = {"memory_": "replay", "teacher_": "teacher", "means_": "statistics"}
    fixed_parameters = ("buffer_size",)
    later_parameters = ("temperature",)
    parameter_constraints = {
        "buffer_size": [at_least(1, Integral)],
        "temperature": [above(0)],
        "renormalize_herding": ["boolean"],
    }

    memory_: ReplayMemory
    teacher_: nn.Module
    means_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        temperature: float = 1.0,
        renormalize_herding: bool = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs="seen", random_state=random_state)
        self.buffer_size = buffer_size
        self.temperature = temperature
        self.renormalize_herding = renormalize_herding

    def consolidate(self) -> None:
        """The network as it is answers for the classes that it has learned."""
        self.teacher_ = frozen_copy(self.net_.module_)
        self._teacher_outputs_ = self._learned_outputs_

    def before_training(self, call: Call) -> None:
        """Train on the new rows and the exemplars, with labels or the old network's answers."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, "herding", self.renormalize_herding)
        else:
            call.rows = call.rows.joined(self.memory_.stored())
        call.objective = BinaryClassification(self.net_.criterion_, self.on_device(self.seen_outputs_))
        if hasattr(self, "teacher_"):
            call.state.distilled = self.on_device(np.setdiff1d(self._teacher_outputs_, self.experience_outputs_))
            answers = call.objective.logits(self.network_outputs(call.rows.x, self.teacher_))
            call.rows.taught = (answers[:, call.state.distilled] / self.temperature).sigmoid()

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """Binary cross-entropy with labels for the experience's classes and the old network's answers for others."""
        outputs = forward(batch.x)
        targets = indicators(batch.y, outputs)
        if "taught" in batch.names():
            targets = targets.index_copy(-1, call.state.distilled, batch.taught)
        assert isinstance(call.objective, BinaryClassification)
        return call.objective.binary_loss(outputs, targets)

    def after_training(self, call: Call) -> None:
        """Choose exemplars among the new rows, and find the means of all."""
        new = with_groups(call.objective, call.rows).map(lambda t: t[: len(call.X)])
        self.memory_.add(call.rng("memory"), new, features=F.normalize(self.network_features(new.x)))
        self._learned_outputs_ = self.seen_outputs_
        self._find_means()

    def _find_means(self) -> None:
        """The mean of each class's exemplars, in today's features."""
        stored = self.memory_.stored()
        features = F.normalize(self.network_features(stored.x))
        outputs = torch.arange(self.n_network_outputs(), device=stored.y.device)
        members = (stored.y == outputs[:, None]).to(features.dtype)
        self.means_ = F.normalize(members @ features)

    def drop_rows(self, X: NDArray[Any]) -> None:
        """The means are those of the exemplars that are left."""
        super().drop_rows(X)
        if not len(self.memory_):
            raise ValueError("forget_samples would leave no exemplar to classify by; use a new estimator instead.")
        self._find_means()

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Minus the squared distances to the exemplars' means."""
        if not hasattr(self, "means_"):  # not trained
            return super().output_scores(X)
        return self.network_outputs(self.on_device(X), NearestMean(self.net_.module_, self.means_)).cpu().numpy()
