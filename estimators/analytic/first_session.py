"""First-session adaptation: a network learns the first rows, then a closed form on its features learns all."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.modules import Features
from ..engine.net import FastLoop, changed_settings, settings_of
from ..engine.randomness import own_draws
from ..strategy import NetworkClassifier
from .moments import features_by
from .slda import SLDAClassifier


class FirstSessionClassifier(SLDAClassifier):
    r"""A network learns the first experience; on its features, which then stand still, SLDA learns all experiences.

    In the first call the network is trained as :class:`NaiveClassifier` trains it. From then on, and for the rows of
    that call, too, :class:`SLDAClassifier` keeps exact sums over the features, what enters the network's head: the
    order and the chunks of later rows do not matter, nothing is forgotten, and :meth:`unlearn` and :meth:`merge` (of
    models with the same network) are exact, but for what the network learned in the first call. Features that the first
    classes did not need are not learned later. Give a first call with many classes, or rows.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`. It cannot change after the first call.
    shrinkage : float or "oas", default="oas"
        As for :class:`SLDAClassifier`.
    covariance : {"shared", "per_class"}, default="shared"
        As for :class:`SLDAClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualNet
        Trained in the first call.
    means_, covariance_, shrinkage_, counts_
        As for :class:`SLDAClassifier`.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Panos, Kobe, Olmeda Reino, Aljundi & Turner, First session adaptation: a strong replay-free baseline for
    class-incremental learning, 2023 (they adapt a pretrained network, by FiLM layers or as a whole).

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import FirstSessionClassifier
    >>> digits, clf = load_digits(), FirstSessionClassifier(random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.85
    True
    """

    source = "Panos et al. 2023"
    unlearns = "memory only"  # the network keeps traces of the rows of the first call
    input_dtype = (np.float32,)
    parameter_constraints = {"net": [None, NeuralNet], "random_state": ["random_state"]}

    net_: FastLoop

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        shrinkage: float | str = "oas",
        covariance: str = "shared",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.shrinkage = shrinkage
        self.covariance = covariance
        self.random_state = random_state

    def prepare_features(self, call: Call) -> None:
        """The network learns the rows of the first call."""
        learner = NetworkClassifier(self.net, random_state=int(call.rng("network").integers(2**31)))
        learner.labels_ = self.labels_of_outputs()
        self.net_ = learner.partial_fit(call.X, call.y).net_
        self.net_.optimizer_.state.clear()  # it makes no further step
        self.net_.given_ = settings_of(learner.prototype())

    def learn(self, call: Call) -> None:
        """Add the rows to the sums, of features of the network as it was prepared."""
        if hasattr(self, "net_"):
            now = settings_of(NetworkClassifier(self.net).prototype())
            for name in changed_settings(self.net_.given_, now):
                raise ValueError(
                    f"net__{name} has changed since the first call, in which alone the network learns; set it back, or "
                    "start anew with fit."
                )
        super().learn(call)

    def fixed_tensors(self) -> list[torch.Tensor]:
        """The network's."""
        return [*self.net_.module_.parameters(), *self.net_.module_.buffers()]

    def features_of(self, x: torch.Tensor) -> torch.Tensor:
        """What enters the network's head."""
        with own_draws(self._entropy_, in_loop=True) if self.net_.draws_in_evaluation_ else nullcontext():
            return features_by(Features(self.net_.module_), x)
