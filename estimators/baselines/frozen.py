"""Frozen: features from the first experience or brought along; afterwards only the head learns."""

from ..network import NetworkClassifier, NetworkStrategy


class Frozen(NetworkStrategy):
    """L, as a function of the head's weights only: everything before the head stands still."""

    _family = "baseline"
    _source = "baseline: frozen features, as in transfer learning"
    _constraints = {"pretrained": ["boolean"]}

    def __init__(self, net=None, *, pretrained=False, active_outputs="auto", random_state=None):
        self.net = net
        self.pretrained = pretrained
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _new_net(self, n_outputs):
        net = super()._new_net(n_outputs)
        if self.pretrained:
            net.freeze_features()
        return net

    def _new_experience(self):
        self.net_.freeze_features()

    @property
    def _fixes_statistics(self):
        """Whether the features stand still in this call, and so the statistics of batch normalisation."""
        return self.pretrained or self.n_experiences_ > 1


class FrozenClassifier(Frozen, NetworkClassifier):
    """Learn features in the first experience, or bring them along; afterwards train the head only.

    The baseline from transfer learning: features that do not move cannot be forgotten, so what is forgotten is
    forgotten by the head, the last linear layer; and what later experiences need beyond them cannot be learned.
    Everything before the head stands still, statistics of batch normalisation included. Dropout goes on in training.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`. Its `module` may be a pretrained module, see
        :class:`ContinualNet`.
    pretrained : bool, default=False
        Whether the features stand still from the start, as `net` brings them, instead of after the first experience.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import FrozenClassifier
    >>> first, second = split_stream(load_digits(), n_experiences=2, class_order="sorted")
    >>> clf = FrozenClassifier(random_state=0).partial_fit(first.X_train, first.y_train)
    >>> before = clf.net_.module_.hidden[0].weight.clone()
    >>> clf = clf.partial_fit(second.X_train, second.y_train)
    >>> bool((clf.net_.module_.hidden[0].weight == before).all()), clf.score(second.X_test, second.y_test) > 0.8
    (True, True)
    """
