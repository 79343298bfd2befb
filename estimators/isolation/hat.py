"""HAT: hard attention to the task, a gate for each hidden unit and task."""

from itertools import pairwise
from typing import Any

import torch
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from ..engine.call import Call
from ..engine.modules import call_with, check_own_weight, head_of
from ..engine.net import FastLoop
from ..engine.rows import Rows
from ..parameters import at_least
from .per_task import Part, PerTaskClassifier, task_of

# As in the authors' code: e stays where the sigmoid has a slope, and cosh where it is finite.
_LARGEST_EMBEDDING = 6.0
_LARGEST_COSH = 50.0
# Smaller gates are 0: far below the rounding of what they let through, and products with them would be subnormal
# numbers, with which processors take many times as long.
_CLOSED = 1e-26


class GatedModule(nn.Module):
    """A module of linear and convolutional layers one after another, with a gate on each hidden unit (or channel).

    Gates are σ(s e), with e the embedding of the running task. A gate acts where its unit enters the next layer: on the
    weights with which that layer reads the unit, which is the same as acting on the unit's activation.

    Parameters
    ----------
    module : torch.nn.Module
    s : float
    """

    def __init__(self, module: nn.Module, s: float) -> None:
        super().__init__()
        self.module = module
        self.s = s
        self.layers = _chain(module)
        self.widths: list[int] = [self.layer(name).weight.shape[0] for name in self.layers[:-1]]
        self.embedding = nn.Parameter(torch.randn(sum(self.widths)))

    @property
    def head(self) -> nn.Linear:
        """The head of the module."""
        return head_of(self.module)

    def layer(self, name: str) -> Any:
        """A layer of the module, linear or convolutional."""
        return self.module.get_submodule(name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the gated module for the rows ``x``."""
        gates = torch.split(F.threshold(torch.sigmoid(self.s * self.embedding), _CLOSED, 0.0), self.widths)
        readers: dict[str, torch.Tensor] = {name: self.layer(name).weight for name in self.layers[1:]}
        gated = {_weight(n): w * read_by(w, gate) for (n, w), gate in zip(readers.items(), gates, strict=True)}
        return call_with(self.module, gated, x)


def read_by(weight: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """Gates of the units that a layer reads, in a shape that multiplies its weight.

    Flattened channels have one gate for all their positions.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_units, n_inputs, ...)
    gates : torch.Tensor of shape (n_gates,)

    Returns
    -------
    torch.Tensor of shape (1, n_inputs, ...)
    """
    gates = gates.repeat_interleave(weight.shape[1] // len(gates))
    return gates.view(1, -1, *(1 for _ in weight.shape[2:]))


def _weight(layer_name: str) -> str:
    return f"{layer_name}.weight" if layer_name else "weight"


def _chain(module: nn.Module) -> list[str]:
    """Names of the layers, each of which reads the one before; the head is the last."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    layers.sort(key=lambda named: named[1] is head_of(module))
    for name, layer in layers:
        check_own_weight(layer, name)
    if len({layer.weight for _, layer in layers}) < len(layers):
        raise TypeError("HATClassifier gates each layer by itself, but two layers share a weight; give each its own.")
    for (name, layer), (next_name, reader) in pairwise(layers):
        n_units, n_read = layer.weight.shape[0], reader.weight.shape[1]
        fits = n_read % n_units == 0 if isinstance(reader, nn.Linear) else n_read == n_units
        if not fits or getattr(reader, "transposed", False) or getattr(layer, "transposed", False):
            raise TypeError(
                f"HATClassifier gates linear and convolutional layers that follow each other, but {next_name!r}, which "
                f"has {n_read} inputs, cannot read the {n_units} units of {name!r}; use a module without branches."
            )
    return [name for name, _ in layers]


class HATClassifier(PerTaskClassifier):
    r"""Hard attention to the task: each task learns which hidden units it uses, and they are kept for it.

    Unit i has in task t the gate :math:`a^t_i = \sigma(s\, e^t_i)` on its activation, with an embedding :math:`e^t`
    learned by gradient descent. In each epoch s grows linearly from :math:`1/s_{\max}` in the first batch to
    :math:`s_{\max}` in the last, so that gates end up as 0 or 1; where an epoch is one batch, s grows over the epochs
    of the call. Predictions use :math:`s_{\max}`. With :math:`A = \max_{\tau \ne t} a^\tau` what other tasks use,

    - the loss is :math:`L + c\, R`, with :math:`R = \sum_i a^t_i (1 - A_i) / \sum_i (1 - A_i)`: a task pays for units
      that no other one uses;
    - the step of the weight from unit j to unit i is multiplied by :math:`1 - \min(A_i, A_j)`, and that of a bias by
      :math:`1 - A_i`. With plain SGD this is the paper's masked gradient; an optimiser that scales gradients or has
      momentum, like Adam, would move a weight whose gradient is masked, and so it is the step that is masked;
    - the gradient by :math:`e` is multiplied by
      :math:`\frac{s_{\max}}{s} \frac{\cosh(s e) + 1}{\cosh(e) + 1}`, which replaces the slope of :math:`\sigma(s e)`
      by :math:`s_{\max}` times that of :math:`\sigma(e)`; s e is held within ±50 there, and e within ±6.

    Where gates are 0 or 1, an old task's answers do not change; gates in between protect in part. Each task has a head
    of its own. Parameters and statistics that belong to no such unit (batch normalisation) are learned in the first
    experience only. A task that comes back after others goes on with its embedding and head. Without task id, the task
    whose network is most certain answers: the one with the lowest entropy relative to that of a uniform guess over its
    classes.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`. Its linear and convolutional layers must follow each other
        without branches, in the order in which the module has them; TypeError if their sizes say that they do not.
    s_max : float, default=400.0
    sparsity : float, default=0.75
        c.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    parts_ : dict
        For each task its ``outputs`` (classes in the order of their appearance), ``head`` and ``embedding``. Keys are
        task ids, or ``("experience", k)`` for calls without.
    net_ : ContinualNet
        The network of the last task; ``net_.module_`` is a gated module, which has the prototype's as ``module``.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Serrà, Surís, Miron & Karatzoglou, Overcoming catastrophic forgetting with hard attention to the task, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import HATClassifier
    >>> clf = HATClassifier(random_state=0)
    >>> stream = split_stream(load_digits(), n_experiences=5, scenario="task", class_order="sorted")
    >>> for e in stream:
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.score(stream[0].X_test, stream[0].y_test, task_id=0) > 0.9
    True
    """

    source = "Serrà et al. 2018"
    parameter_constraints = {"s_max": [at_least(1)], "sparsity": [at_least(0)]}

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        s_max: float = 400.0,
        sparsity: float = 0.75,
        random_state: Any = None,
    ) -> None:
        super().__init__(net, random_state=random_state)
        self.s_max = s_max
        self.sparsity = sparsity

    def new_network(self, call: Call, n_outputs: int) -> FastLoop:
        """A network whose module is gated."""
        net = super().new_network(call, n_outputs)
        with call.seeded("gates"):
            net.module_ = GatedModule(net.module_, self.s_max).to(net.device)
            net.initialize_optimizer()
        return net

    # --- parts of tasks ------------------------------------------------------------------------------------------

    def open_task(self, call: Call, n_outputs: int, part: Part | None) -> None:
        """A new task has an embedding of its own."""
        super().open_task(call, n_outputs, part)
        if call.opens_experience and part is None:
            self._set_embedding(torch.randn(len(self._embedding()), generator=call.torch_generator("embedding")))

    def resume(self, part: Part) -> None:
        """A task comes back after others: bring its head and its embedding into the network."""
        super().resume(part)
        self._set_embedding(*part["embedding"])

    def _embedding(self) -> nn.Parameter:
        embedding: nn.Parameter = self.net_.module_.embedding
        return embedding

    def _set_embedding(self, values: torch.Tensor) -> None:
        """The embedding of another task, of which the optimiser knows nothing."""
        embedding = self._embedding()
        for history in self.net_.optimizer_.state.get(embedding, {}).values():
            if torch.is_tensor(history) and history.shape == embedding.shape:
                history.zero_()
        embedding.data.copy_(values)

    def own_part(self) -> Part:
        """The head and the embedding."""
        return {**super().own_part(), "embedding": (self._embedding().detach().clone(),)}

    def task_network(self, part: Part) -> nn.Module:
        """The network with the gates of a task."""
        module = super().task_network(part)
        module.get_parameter("embedding").copy_(*part["embedding"])
        return module

    @property
    def fixes_statistics(self) -> bool:
        """Batch statistics are learned with the first experience, like all that belongs to no unit."""
        return self.n_experiences_ > 1

    # --- learning ------------------------------------------------------------------------------------------------

    def before_training(self, call: Call) -> None:
        """Find what the other tasks use: what it costs to use more, and which weights are free to move."""
        others = [part for task, part in self.parts_.items() if task != task_of(call)]
        gates = [torch.sigmoid(self.s_max * part["embedding"][0]) for part in others]
        used = torch.stack(gates).amax(0) if gates else torch.zeros_like(self._embedding())
        call.state.unused = (1 - used) / (1 - used).sum().clamp(min=1e-6)
        call.state.freedom = self._freedom(used.detach(), is_first=not others)
        sizes = [p.numel() for p in self.net_.trainable()]
        position = [p is self._embedding() for p in self.net_.trainable()].index(True)
        call.state.place = slice(sum(sizes[:position]), sum(sizes[: position + 1]))

    def _freedom(self, used: torch.Tensor, is_first: bool) -> torch.Tensor:
        """1 − min(A_i, A_j) for each parameter; what belongs to no unit is free only until there are other tasks."""
        gated: GatedModule = self.net_.module_
        freedom: dict[torch.Tensor, torch.Tensor] = {p: torch.full_like(p, is_first) for p in self.net_.trainable()}
        reads = torch.ones((), device=used.device)
        for name, own in zip(gated.layers, torch.split(used, gated.widths), strict=False):
            layer = gated.layer(name)
            by_unit = own.view(-1, *(1 for _ in layer.weight.shape[1:]))
            reads = reads if reads.ndim == 0 else read_by(layer.weight, reads)
            freedom[layer.weight] = (1 - torch.minimum(by_unit, reads)).expand_as(layer.weight)
            if layer.bias is not None:
                freedom[layer.bias] = 1 - own
            reads = own
        for p in (gated.embedding, *gated.head.parameters()):
            freedom[p] = torch.ones_like(p)
        return torch.cat([freedom[p].flatten() for p in self.net_.trainable()]).detach()

    def before_step(self, call: Call, batch: Rows) -> None:
        """Anneal s: from 1/s_max in the first batch of an epoch (or in the first of epochs of one batch) to s_max."""
        done, last = call.batch_index, call.n_batches - 1
        if not last:
            done, last = call.epoch, call.n_epochs - 1
        progress = min(done / last, 1.0) if last else 1.0
        self.net_.module_.s = 1 / self.s_max + (self.s_max - 1 / self.s_max) * progress

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """The gradient of c R by the embedding, and the compensation for the slope of σ(s e)."""
        place = call.state.place
        s, e, g = self.net_.module_.s, theta[place], gradient[place]
        a = torch.sigmoid(s * e)
        g.add_(a * (1 - a) * call.state.unused, alpha=self.sparsity * s)
        g.mul_((s * e).clamp(-_LARGEST_COSH, _LARGEST_COSH).cosh().add(1)).div_(e.cosh().add(1)).mul_(self.s_max / s)
        if not call.evaluation:
            call.state.before = theta.clone()

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """Mask the step: what other tasks use moves less, or not at all."""
        torch.lerp(call.state.before, theta, call.state.freedom, out=theta)
        theta[call.state.place].clamp_(-_LARGEST_EMBEDDING, _LARGEST_EMBEDDING)

    def after_training(self, call: Call) -> None:
        """Predictions use the hardest gates."""
        self.net_.module_.s = self.s_max
