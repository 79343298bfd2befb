"""GDumb: a greedy balanced memory, and a network trained on it when an answer is asked for."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet

from ..base import ContinualClassifier
from ..engine.call import Call
from ..engine.memory import ReplayMemory
from ..engine.net import FastLoop
from ..engine.rows import Rows, tensor_of
from ..parameters import Integral, at_least
from ..strategy import NetworkClassifier

# Several threads may be the first to ask for answers.
_TRAINING = threading.RLock()


class MemoryLearner(NetworkClassifier):
    """The network that learns the memory: with the net's own loss over all classes, and nothing else."""

    pure_steps = True


class GDumbClassifier(ContinualClassifier):
    r"""Store a class-balanced memory, greedily; train a network from scratch on it when an answer is asked for.

    To learn is only to store: classes get equal shares of the memory, and within its share a class has a uniform sample
    of its rows (in the paper: the first that came, less those that later classes displace at random). The first
    prediction after a call trains a new network on the memory, and nothing else; it is kept until the next call. As in
    the paper, task ids restrict the answers but play no part in training.

    After :meth:`forget_samples`, too, a new network is trained, so that no trace of the rows is in the weights, and
    while all rows fit into the memory it is the network that never saw them. Where rows had to leave a full memory,
    which of the others are there may still depend on those that were forgotten.

    It asks what a method gains over its memory: a strategy with the same memory should do better.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; its ``max_epochs`` and ``max_steps`` are replaced.
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

    family = "replay"
    source = "Prabhu et al. 2020"
    keeps = "samples"
    unlearns = "memory only"
    fixed_parameters = ("buffer_size",)
    parameter_constraints = {
        **NetworkClassifier.parameter_constraints,
        "buffer_size": [at_least(1, Integral)],
        "max_epochs": [at_least(1, Integral)],
    }

    memory_: ReplayMemory
    _learner_seed_: int
    # The trained network, once it was asked for: changed inside, since to ask changes no attribute.
    _trained_: dict[str, MemoryLearner]

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        max_epochs: int = 100,
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.buffer_size = buffer_size
        self.max_epochs = max_epochs
        self.random_state = random_state

    def learn(self, call: Call) -> None:
        """Only store."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, "class_balanced")
        self.memory_.add(call.rng("memory"), Rows(x=tensor_of(call.X), y=tensor_of(call.y)))
        self._learner_seed_ = int(call.rng("learner").integers(2**31))
        self._trained_ = {}

    def drop_rows(self, X: NDArray[Any]) -> None:
        """Train anew when asked, on the memory without them."""
        super().drop_rows(X)
        if not len(self.memory_):
            raise ValueError("forget_samples would leave no row to learn from; use a new estimator instead.")
        self._trained_ = {}

    def _untrained(self) -> MemoryLearner:
        learner = MemoryLearner(self.net, active_outputs="all", random_state=self._learner_seed_)
        learner.net = learner.prototype().set_params(max_epochs=self.max_epochs, max_steps=None)
        return learner

    @property
    def _learner(self) -> MemoryLearner:
        """The network on the memory; trained when asked for, and kept until something is learned."""
        with _TRAINING:
            return self._trained_learner()

    def _trained_learner(self) -> MemoryLearner:
        if not self._trained_:
            stored = self.memory_.stored()
            learner = self._untrained()
            learner.labels_ = self.labels_of_outputs()
            learner.partial_fit(stored.x.numpy(), stored.y.numpy(), classes=np.arange(len(self.classes_)))
            learner.net_.optimizer_.state.clear()  # it learns no more
            self._trained_["learner"] = learner
        return self._trained_["learner"]

    @property
    def net_(self) -> FastLoop:
        """The net trained on the memory; to ask for it trains it."""
        check_is_fitted(self)
        return self._learner.net_

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Logits of the network trained on the memory."""
        return self._learner.output_scores(X)

    def carried(self) -> Iterator[tuple[str, Any]]:
        """The network's weights, of which an untrained one has as many as the trained one, and the memory."""
        untrained = self._untrained().initialize(self.memory_.rows.x[:1].numpy(), np.arange(len(self.classes_)))
        yield "weights", untrained.net_.module_
        yield "replay", self.memory_
