"""Frozen: features from the first experience or brought along; afterwards only the head learns."""

from typing import Any

from skorch import NeuralNet

from ..engine.call import Call
from ..engine.net import FastLoop
from ..strategy import NetworkClassifier


class FrozenClassifier(NetworkClassifier):
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

    family = "baselines"
    source = "baseline: frozen features, as in transfer learning"
    fixed_parameters = ("pretrained",)
    parameter_constraints = {"pretrained": ["boolean"]}

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        pretrained: bool = False,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.pretrained = pretrained

    def new_network(self, call: Call, n_outputs: int) -> FastLoop:
        """A network whose features stand still from the start, if they are pretrained."""
        net = super().new_network(call, n_outputs)
        if self.pretrained:
            net.freeze_features()
        return net

    def consolidate(self) -> None:
        """L becomes a function of the head's weights only: everything before the head stands still."""
        self.net_.freeze_features()

    @property
    def fixes_statistics(self) -> bool:
        """Whether the features stand still in this call, and so the statistics of batch normalisation."""
        return self.pretrained or self.n_experiences_ > 1
