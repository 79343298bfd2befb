"""GDumb: a greedy balanced memory, and a network trained on it when an answer is asked for."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._compat import Integral, at_least
from ..base import ContinualClassifier
from ..baselines.naive import NaiveClassifier
from ..memory import ReplayMemory
from ..network import NetworkStrategy


class GDumbClassifier(ContinualClassifier):
    r"""Store a class-balanced memory, greedily; train a network from scratch on it when an answer is asked for.

    To learn is only to store: classes get equal shares of the memory, and within its share a class has a uniform sample
    of its rows (in the paper: the first that came, less those that later classes displace at random). The first
    prediction after a call trains a new network on the memory, and nothing else; it is kept until the next call. As in
    the paper, task ids restrict the answers but play no part in training.

    It asks what a method gains over its memory: a strategy with the same memory should do better.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; its ``max_epochs`` is replaced.
    buffer_size : int, default=200
        Rows in memory.
    max_epochs : int, default=100
        Passes over the memory in training (in the paper: 256).
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
        The net trained on the memory; to ask for it trains it.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Prabhu, Torr & Dokania, GDumb: a simple approach that questions our progress in continual learning, 2020.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import GDumbClassifier
    >>> digits, clf = load_digits(), GDumbClassifier(buffer_size=200, random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.8
    True
    """

    _family = "replay"
    _source = "Prabhu et al. 2020"
    _keeps = "samples"
    _constraints = {
        **NetworkStrategy._constraints,
        "buffer_size": [at_least(1, Integral)],
        "max_epochs": [at_least(1, Integral)],
    }

    def __init__(self, net=None, *, buffer_size=200, max_epochs=100, random_state=None):
        self.net = net
        self.buffer_size = buffer_size
        self.max_epochs = max_epochs
        self.random_state = random_state

    def _learn(self, X, y):
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, "class_balanced")
        self.memory_.add(self._rng("memory"), torch.from_numpy(X), torch.from_numpy(y))
        self._trained_ = {}

    def _untrained(self):
        seed = int(self._rng("learner").integers(2**31))
        learner = NaiveClassifier(self.net, active_outputs="all", random_state=seed)
        return learner.set_params(net=learner._prototype().set_params(max_epochs=self.max_epochs))

    @property
    def _learner(self):
        """The network on the memory; trained when asked for, and kept until something is learned."""
        if not self._trained_:
            x, y = (t.numpy() for t in self.memory_.stored())
            learner = self._untrained().partial_fit(x, y, classes=np.arange(len(self.classes_)))
            learner.net_.optimizer_.state.clear()  # it learns no more
            self._trained_["learner"] = learner
        return self._trained_["learner"]

    @property
    def net_(self):
        """The net trained on the memory; to ask for it trains it."""
        check_is_fitted(self)
        return self._learner.net_

    def _scores(self, X):
        return self._learner._scores(X)

    def _memory(self):
        # The same before and after training: an untrained network has as many weights.
        rows = self.memory_.rows[0].numpy()
        network = self._untrained().initialize(rows[:1], np.arange(len(self.classes_))).memory_usage()
        return {"weights": network["weights"], "replay": self.memory_.nbytes()}
