"""Joint: keep everything, and train from scratch on it at each experience."""

from ..network import NetworkClassifier
from .cumulative import Cumulative


class Joint(Cumulative):
    """The rule of joint training: every call trains a new network on all rows so far."""

    _source = "upper bound: joint training"

    def _ready_net(self):
        self.net_ = self._new_net(self._n_outputs())


class JointClassifier(Joint, NetworkClassifier):
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
