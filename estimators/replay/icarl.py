"""iCaRL: incremental classifier and representation learning."""

import numpy as np
import torch
from torch.nn import functional as F

from .._compat import Integral, at_least
from ..modules import frozen_copy, tensor_bytes
from ..network import NetworkClassifier
from .base import Remembering

# Minus the largest squared distance of two vectors of length 1.
_FARTHEST = -4.0


class ICaRL(Remembering):
    """Binary cross-entropy with labels for the experience's classes and the old network's answers for the others."""

    _source = "Rebuffi et al. 2017"
    _constraints = {"buffer_size": [at_least(1, Integral)]}
    policy = "herding"
    active_outputs = "seen"

    def __init__(self, net=None, *, buffer_size=200, random_state=None):
        self.net = net
        self.buffer_size = buffer_size
        self.random_state = random_state

    def _new_experience(self):
        self.teacher_ = frozen_copy(self.net_.module_)
        self._teacher_columns_ = self._learned_columns_

    def _train(self, X, y):
        """Train on the new rows and the exemplars."""
        self._n_new_ = len(X)
        if hasattr(self, "memory_"):
            x_memory, y_memory, _ = self.memory_.stored()
            X, y = torch.cat([X, x_memory]), torch.cat([y, y_memory])
        super()._train(X, y)

    def _begin(self, X, y):
        super()._begin(X, y)
        self._outputs_to_learn_ = torch.from_numpy(self._seen_columns_).to(X.device)
        if not hasattr(self, "teacher_"):
            return ()
        distilled = np.setdiff1d(self._teacher_columns_, self._experience_columns_)
        self._distilled_ = torch.from_numpy(distilled).to(X.device)
        return (self._logits(self._outputs(X, self.teacher_))[:, self._distilled_].sigmoid(),)

    def _loss(self, forward, batch):
        x, y, *answers = batch
        outputs = forward(x)
        targets = self._indicators(y, outputs)
        if answers:
            targets = targets.index_copy(1, self._distilled_, answers[0])
        return self._binary_loss(outputs, targets)

    def _task_loss(self, outputs, y, groups=None):
        return self._binary_loss(outputs, self._indicators(y, outputs))

    def _binary_loss(self, outputs, targets):
        """Sum over outputs of the binary cross-entropies, mean over rows."""
        learned = self._outputs_to_learn_
        logits, targets = self._logits(outputs)[:, learned], targets[:, learned]
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)

    def _indicators(self, y, outputs):
        return (y[:, None] == torch.arange(outputs.shape[1], device=y.device)).to(outputs.dtype)

    def _end(self, X, y):
        self._remember(X[: self._n_new_], y[: self._n_new_])
        self._learned_columns_ = self._seen_columns_
        x, y, _ = self.memory_.stored()
        features = self._features(x)
        members = (y == torch.arange(self._n_outputs(), device=y.device)[:, None]).to(features.dtype)
        self.means_ = F.normalize(members @ features)

    def _scores(self, X):
        if not hasattr(self, "means_"):  # not trained
            return super()._scores(X)
        features = self._features(self._to_device(X))
        scores = 2 * features @ self.means_.T - 2  # −‖φ − μ‖², for vectors of length 1
        return scores.masked_fill(~self.means_.any(1), _FARTHEST).cpu().numpy()

    def _memory(self):
        teacher = self.teacher_.parameters() if hasattr(self, "teacher_") else ()
        means = tensor_bytes(getattr(self, "means_", None))
        return super()._memory() | {"teacher": tensor_bytes(*teacher), "statistics": means}


class ICaRLClassifier(ICaRL, NetworkClassifier):
    r"""iCaRL: learn features from new rows and exemplars, classify by the nearest mean of exemplars.

    - *Learning*: on the new rows and all exemplars together. The loss is the sum over classes seen of binary
      cross-entropies, one sigmoid each, and a mean over rows. Classes of the running experience are learned from labels,
      all others from the answers of the network after the last experience (distillation). Classes that come again, as
      in domain-incremental streams, are thus learned from labels and exemplars.
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
