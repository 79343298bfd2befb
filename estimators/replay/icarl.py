"""iCaRL: incremental classifier and representation learning."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .._compat import Integral, at_least
from ..modules import Features, frozen_copy, tensor_bytes
from ..network import NetworkClassifier
from .base import Remembering


class NearestMean(nn.Module):
    """Minus the squared distances between features and means, all of length 1; -4, the least, where there is no mean.

    Parameters
    ----------
    module : torch.nn.Module
    means : torch.Tensor of shape (n_classes, n_features)
        Zeros where there is none.
    """

    def __init__(self, module, means):
        super().__init__()
        self.features = Features(module)
        self.means = means

    def forward(self, x):
        """Scores, shape (n_rows, n_classes), of the rows ``x``."""
        scores = 2 * F.normalize(self.features(x)) @ self.means.T - 2
        return scores.masked_fill(~self.means.any(1), -4.0)


class ICaRL(Remembering):
    """Binary cross-entropy with labels for the experience's classes and the old network's answers for the others."""

    _pure_steps = True
    _loss_state = (*Remembering._loss_state, "_outputs_to_learn_", "_distilled_")
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

    def _ready(self, X, y):
        """Trained on are the new rows and the exemplars."""
        self._n_new_ = len(X)
        rows = super()._ready(X, y)
        if hasattr(self, "memory_"):
            rows = tuple(torch.cat(pair) for pair in zip(rows, self.memory_.stored()[:2], strict=True))
        return rows

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
            targets = targets.index_copy(-1, self._distilled_, answers[0])
        return self._binary_loss(outputs, targets)

    def _task_loss(self, outputs, y, groups=None):
        return self._binary_loss(outputs, self._indicators(y, outputs))

    def _binary_loss(self, outputs, targets):
        """Sum over outputs of the binary cross-entropies, mean over rows."""
        learned = self._outputs_to_learn_
        logits, targets = self._logits(outputs)[..., learned], targets[..., learned]
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1).mean(-1)

    def _indicators(self, y, outputs):
        return (y[..., None] == torch.arange(outputs.shape[-1], device=y.device)).to(outputs.dtype)

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
        return self._outputs(self._to_device(X), NearestMean(self.net_.module_, self.means_)).cpu().numpy()

    def _memory(self):
        teacher = self.teacher_.parameters() if hasattr(self, "teacher_") else ()
        means = tensor_bytes(getattr(self, "means_", None))
        return super()._memory() | {"teacher": tensor_bytes(*teacher), "statistics": means}


class ICaRLClassifier(ICaRL, NetworkClassifier):
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
