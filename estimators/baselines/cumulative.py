"""Cumulative: keep everything, and go on training on all of it at each experience."""

from ..base import ContinualClassifier
from .all_rows import AllRows


class CumulativeClassifier(AllRows, ContinualClassifier):
    """Keep all data and go on training on all of it at each call: an upper bound that never starts anew.

    Unlike :class:`JointClassifier` it starts each call from the current weights and optimiser state, so rows of early
    calls are seen in more epochs than rows of late ones.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row of an earlier call has the
        active outputs of its own task.
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
    >>> from forgetless.estimators import CumulativeClassifier
    >>> clf = CumulativeClassifier(random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.memory_usage()["replay"] > 1437 * 64 * 4
    True
    """

    source = "upper bound: cumulative training"
