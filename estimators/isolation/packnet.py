"""PackNet: train, prune, retrain, freeze; the next task gets what was pruned."""

from typing import Any

import torch
from skorch import NeuralNet
from torch import nn

from ..engine.call import Call
from ..engine.modules import check_own_weight, head_of
from ..engine.rows import Rows
from ..parameters import between
from .per_task import Part, PerTaskClassifier


class PackNetClassifier(PerTaskClassifier):
    r"""PackNet: after each task prune the network, and let the next task learn with the weights that became free.

    A task trains all free weights; then, of each layer's free weights, the ``prune_fraction`` with the smallest
    magnitudes is set to zero and stays free; what was kept is trained on for the rest of the steps, and never changed
    again. Later tasks use the fixed weights of earlier ones. With :math:`m_k` the mask of what was kept by experience
    k, task t answers with the weights :math:`\theta \odot \sum_{k \le t} m_k`, to the bit those that it learned. As
    in the paper, biases and batch normalisation (and all parameters that are not weights of linear or convolutional
    layers) are learned in the first experience only, and each task has a head of its own, which is not pruned.

    Every experience takes :math:`1 - \text{prune\_fraction}` of what is free: a task that comes when little is free
    learns little more than its head. In a further call of the running task its own weights compete again: train, prune,
    retrain. A task that comes back after others goes on with its head and with weights that are still
    free. Without task id, the task whose network is most certain answers: the one with the lowest entropy relative to
    that of a uniform guess over its classes.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    prune_fraction : float, default=0.75
        Share of each layer's free weights that is pruned after each experience (rounded to a number of weights).
    retrain_fraction : float, default=1/3
        Share of a call's steps that comes after pruning.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    owners_ : dict of str to torch.Tensor of int16
        For each weight that may be pruned, by name of the parameter and in its shape: the number of the experience that
        keeps it, or 0 where it is free.
    parts_ : dict
        For each task its ``outputs`` (classes in the order of their appearance), ``head``, and ``last_owner``: the
        largest owner whose weights it uses. Keys are task ids, or ``("experience", k)`` for calls without.
    net_ : ContinualNet
        The network of the last task.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Mallya & Lazebnik, PackNet: adding multiple tasks to a single network by iterative pruning, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import PackNetClassifier
    >>> clf = PackNetClassifier(prune_fraction=0.5, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.owners_["hidden.0.weight"].flatten().bincount().tolist()
    [1600, 3200, 1600]
    """

    source = "Mallya & Lazebnik 2018"
    carries = {"owners_": "weights"}
    parameter_constraints = {
        "prune_fraction": [between(0, 1)],
        "retrain_fraction": [between(0, 1, closed="left")],
    }

    owners_: dict[str, torch.Tensor]

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        prune_fraction: float = 0.75,
        retrain_fraction: float = 1 / 3,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, random_state=random_state)
        self.prune_fraction = prune_fraction
        self.retrain_fraction = retrain_fraction

    @property
    def fixes_statistics(self) -> bool:
        """Batch statistics are learned with the first experience, like all that is not pruned."""
        return self.n_experiences_ > 1

    def before_training(self, call: Call) -> None:
        """Only free weights learn; in a further call of a running experience its own compete again."""
        weights = _prunable(self.net_.module_)
        if not hasattr(self, "owners_"):
            self.owners_ = {name: torch.zeros_like(w, dtype=torch.int16) for name, w in weights.items()}
        call.state.free = {name: (owner == 0) | (owner == call.experience) for name, owner in self.owners_.items()}
        self._fix(call, self.net_.flatten(), call.state.free)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Mask the gradient of what is fixed."""
        gradient.mul_(call.state.learning)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """Optimisers move weights without a gradient, too (momentum, decay): put back what is fixed; prune in time."""
        torch.where(call.state.learning, theta, call.state.fixed, out=theta)
        if call.step == self._pruning_step(call):
            self._prune(call, theta)

    def after_training(self, call: Call) -> None:
        """Prune, if training stopped early."""
        if call.step < self._pruning_step(call):
            self._prune(call, self.net_.flatten())

    def _pruning_step(self, call: Call) -> int:
        """The step after which is pruned."""
        n_steps = self.net_.max_steps or self.net_.max_epochs * call.n_batches
        return max(1, n_steps - round(self.retrain_fraction * n_steps))

    def _prune(self, call: Call, theta: torch.Tensor) -> None:
        """Of each layer's free weights keep the largest, and set the others to zero: they stay free."""
        owners, kept = {}, {}
        parameters = dict(zip(_names(self.net_.module_), self.net_.unflatten(theta), strict=True))
        for name, free in call.state.free.items():
            n_free = int(free.sum())
            magnitudes = parameters[name].abs().masked_fill(~free, -1).flatten()
            largest = magnitudes.topk(n_free - round(self.prune_fraction * n_free)).indices
            kept[name] = torch.zeros_like(free).flatten().index_fill_(0, largest, True).view_as(free)
            owners[name] = self.owners_[name].masked_fill(free, 0).masked_fill(kept[name], call.experience)
            parameters[name].masked_fill_(free & ~kept[name], 0)
        self.owners_ = owners
        self._fix(call, theta, kept)

    def _fix(self, call: Call, theta: torch.Tensor, learning: dict[str, torch.Tensor]) -> None:
        """From now on only these weights learn, and the head, and in the first experience all that is not pruned."""
        head = set(head_of(self.net_.module_).parameters())
        others = [torch.full_like(p, p in head or call.experience == 1) for p in self.net_.trainable()]
        masks = [learning.get(name, o) for name, o in zip(_names(self.net_.module_), others, strict=True)]
        call.state.learning = torch.cat([mask.bool().flatten() for mask in masks])
        call.state.fixed = theta.clone()

    def own_part(self) -> Part:
        """The head, and whose weights the task uses."""
        return {**super().own_part(), "last_owner": self.n_experiences_}

    def task_network(self, part: Part) -> nn.Module:
        """The network with the weights that a task uses."""
        module = super().task_network(part)
        for name, owner in self.owners_.items():
            module.get_parameter(name).mul_((owner > 0) & (owner <= part["last_owner"]))
        return module


def _names(module: nn.Module) -> list[str]:
    """Names of the trained parameters, in the order of ``theta``."""
    return [name for name, p in module.named_parameters() if p.requires_grad]


def _prunable(module: nn.Module) -> dict[str, torch.Tensor]:
    """Trained weights of linear and convolutional layers, without the head's, by name; shared ones once."""
    names: dict[torch.Tensor, str] = {p: name for name, p in module.named_parameters()}
    found: dict[str, torch.Tensor] = {}
    for place, layer in module.named_modules():
        if not isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) or layer is head_of(module):
            continue
        check_own_weight(layer, place)
        if layer.weight.requires_grad:
            found[names[layer.weight]] = layer.weight
    return found
