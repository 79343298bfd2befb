"""Joint: keep everything, and train from scratch on it at each experience."""

from typing import Any

from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from .all_rows import AllRows


class JointClassifier(AllRows, ContinualClassifier):
    """Keep all data and train from scratch on all of it at each call: the upper bound that strategies are held to.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import JointClassifier
    >>> clf = JointClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_usage()["replay"] > 1437 * 64 * 4
    True
    """

    source = "upper bound: joint training"

    def ready_network(self, call: Call) -> None:
        """Start anew."""
        self.net_ = self.new_network(call, self.n_network_outputs())


class JointRegressor(AllRows, ContinualRegressor):
    """Keep all data and train from scratch on all of it at each call: the upper bound that strategies are held to.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import JointRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = JointRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    source = "upper bound: joint training"

    def __init__(self, net: NeuralNet | None = None, *, random_state: Any = None) -> None:
        super().__init__(net, random_state=random_state)

    def ready_network(self, call: Call) -> None:
        """Start anew."""
        self.net_ = self.new_network(call, self.n_network_outputs())
