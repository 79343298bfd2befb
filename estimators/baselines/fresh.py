"""Fresh: a new network at each experience, which learns that experience and nothing else."""

from typing import Any

from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..strategy import NetworkStrategy


class Fresh(NetworkStrategy):
    """The rule of starting anew: the first call of an experience builds a new network, which learns its rows alone."""

    family = "baselines"
    source = "baseline: from scratch at each experience"
    pure_steps = True

    def __init__(self, net: NeuralNet | None = None, *, active_outputs: str = "auto", random_state: Any = None) -> None:
        self.net = net
        self.active_outputs = active_outputs
        self.random_state = random_state

    def ready_network(self, call: Call) -> None:
        """Start anew where an experience opens; later calls of it go on."""
        if call.opens_experience:
            self.net_ = self.new_network(call, self.n_network_outputs())
        else:
            super().ready_network(call)


class FreshClassifier(Fresh, ContinualClassifier):
    r"""Train a new network at each experience, on its rows alone: neither knowledge nor damage is carried over.

    Each experience k has :math:`\theta_k`, minimising :math:`L(\theta; D_k)` from new random weights. On the running
    experience it shows what the network can learn without a past: a strategy that does worse there has lost plasticity,
    or is held back by what it keeps; one that does better has transferred. Of earlier experiences it knows nothing,
    unless it happens to be the same.

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
        Of the running experience.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    See Also
    --------
    NaiveClassifier : The same from the weights that are there.
    JointClassifier : From scratch, too, on all rows so far.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import FreshClassifier
    >>> first, second = split_stream(load_digits(), n_experiences=2, class_order="sorted")
    >>> clf = FreshClassifier(random_state=0)
    >>> for e in (first, second):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(second.X_test, second.y_test) > 0.9, clf.score(first.X_test, first.y_test)
    (True, 0.0)
    """


class FreshRegressor(Fresh, ContinualRegressor):
    """Train a new network at each experience, on its rows alone: neither knowledge nor damage is carried over.

    As :class:`FreshClassifier`, with the squared error as the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualRegressionNet
        Of the running experience.
    n_experiences_, n_features_in_, n_outputs_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import FreshRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = FreshRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(part, np.sin(2 * part[:, 0])) > 0.9
    True
    """

    def __init__(self, net: NeuralNet | None = None, *, random_state: Any = None) -> None:
        super().__init__(net, random_state=random_state)
