"""HAT: hard attention to the task, a gate for each hidden unit and task."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from .._compat import at_least
from ..modules import call_with, head_of
from .per_task import PerTaskClassifier

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

    def __init__(self, module, s):
        super().__init__()
        self.module = module
        self.s = s
        self.layers = _chain(module)
        self.widths = [module.get_submodule(name).weight.shape[0] for name in self.layers[:-1]]
        self.embedding = nn.Parameter(torch.randn(sum(self.widths)))

    @property
    def head(self):
        """The head of the module."""
        return head_of(self.module)

    def forward(self, x):
        """Outputs of the gated module for the rows ``x``."""
        gates = F.threshold(torch.sigmoid(self.s * self.embedding), _CLOSED, 0.0).split(self.widths)
        readers = {name: self.module.get_submodule(name).weight for name in self.layers[1:]}
        gated = {_weight(n): w * read_by(w, gate) for (n, w), gate in zip(readers.items(), gates, strict=True)}
        return call_with(self.module, gated, x)


def read_by(weight, gates):
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


def _weight(layer_name):
    return f"{layer_name}.weight" if layer_name else "weight"


def _chain(module):
    """Names of the layers, each of which reads the one before; the head is the last."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    layers.sort(key=lambda named: named[1] is head_of(module))
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
    :math:`s_{\max}` in the last, so that gates end up as 0 or 1; predictions use :math:`s_{\max}`. With
    :math:`A = \max_{\tau \ne t} a^\tau` what other tasks use,

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
        For each task its ``columns`` (classes in the order of their appearance), ``head`` and ``embedding``. Keys are
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

    _source = "Serrà et al. 2018"
    _constraints = {"s_max": [at_least(1)], "sparsity": [at_least(0)]}

    def __init__(self, net=None, *, s_max=400.0, sparsity=0.75, random_state=None):
        self.net = net
        self.s_max = s_max
        self.sparsity = sparsity
        self.random_state = random_state

    def _new_net(self, n_outputs):
        net = super()._new_net(n_outputs)
        with self._seeded("gates"):
            net.module_ = GatedModule(net.module_, self.s_max).to(net.device)
            net._initialize_optimizer()
        return net

    # --- parts of tasks ------------------------------------------------------------------------------------------

    def _open_task(self, n_outputs, part):
        super()._open_task(n_outputs, part)
        if self._opens_experience_ and part is None:
            self._set_embedding(torch.randn(len(self._embedding()), generator=self._torch_generator("embedding")))

    def _resume(self, part):
        super()._resume(part)
        self._set_embedding(*part["embedding"])

    def _embedding(self):
        return self.net_.module_.embedding

    def _set_embedding(self, values):
        """The embedding of another task, of which the optimiser knows nothing."""
        embedding = self._embedding()
        for history in self.net_.optimizer_.state.get(embedding, {}).values():
            if torch.is_tensor(history) and history.shape == embedding.shape:
                history.zero_()
        embedding.data.copy_(values)

    def _own_part(self):
        return {**super()._own_part(), "embedding": (self._embedding().detach().clone(),)}

    def _task_network(self, part):
        module = super()._task_network(part)
        module.embedding.copy_(*part["embedding"])
        return module

    @property
    def _fixes_statistics(self):
        """Batch statistics are learned with the first experience, like all that belongs to no unit."""
        return self.n_experiences_ > 1

    # --- learning ------------------------------------------------------------------------------------------------

    def _begin(self, X, y):
        gates = [torch.sigmoid(self.s_max * part["embedding"][0]) for part in self._others()]
        used = torch.stack(gates).amax(0) if gates else torch.zeros_like(self._embedding())
        self._unused_ = (1 - used) / (1 - used).sum().clamp(min=1e-6)
        self._freedom_ = self._freedom(used.detach())
        sizes = [p.numel() for p in self.net_.trainable()]
        position = [p is self._embedding() for p in self.net_.trainable()].index(True)
        self._place_ = slice(sum(sizes[:position]), sum(sizes[: position + 1]))
        self._before_ = self.net_.flatten()
        return ()

    def _others(self):
        return [part for task, part in self.parts_.items() if task != self._task_]

    def _freedom(self, used):
        """1 − min(A_i, A_j) for each parameter; what belongs to no unit is free only until there are other tasks."""
        gated = self.net_.module_
        freedom = {p: torch.full_like(p, not self._others()) for p in self.net_.trainable()}
        reads = torch.ones((), device=used.device)
        for name, own in zip(gated.layers, used.split(gated.widths), strict=False):
            layer = gated.module.get_submodule(name)
            by_unit = own.view(-1, *(1 for _ in layer.weight.shape[1:]))
            reads = reads if reads.ndim == 0 else read_by(layer.weight, reads)
            freedom[layer.weight] = (1 - torch.minimum(by_unit, reads)).expand_as(layer.weight)
            if layer.bias is not None:
                freedom[layer.bias] = 1 - own
            reads = own
        for p in (gated.embedding, *gated.head.parameters()):
            freedom[p] = torch.ones_like(p)
        return torch.cat([freedom[p].flatten() for p in self.net_.trainable()]).detach()

    def _new_epoch(self, epoch, n_batches):
        self._batch_, self._last_batch_ = 0, n_batches - 1

    def _mix(self, batch):
        """Anneal s: from 1/s_max in the first batch of an epoch to s_max in the last."""
        progress = min(self._batch_ / self._last_batch_, 1.0) if self._last_batch_ else 1.0
        self._batch_ += 1
        self.net_.module_.s = 1 / self.s_max + (self.s_max - 1 / self.s_max) * progress
        return batch

    def _change_gradient(self, theta, gradient):
        """The gradient of c R by the embedding, and the compensation for the slope of σ(s e)."""
        s, e, g = self.net_.module_.s, theta[self._place_], gradient[self._place_]
        a = torch.sigmoid(s * e)
        g.add_(a * (1 - a) * self._unused_, alpha=self.sparsity * s)
        g.mul_((s * e).clamp(-_LARGEST_COSH, _LARGEST_COSH).cosh().add(1)).div_(e.cosh().add(1)).mul_(self.s_max / s)
        self._before_ = theta.clone()

    def _after_step(self, theta):
        torch.lerp(self._before_, theta, self._freedom_, out=theta)
        theta[self._place_].clamp_(-_LARGEST_EMBEDDING, _LARGEST_EMBEDDING)

    def _end(self, X, y):
        self.net_.module_.s = self.s_max
        del self._unused_, self._freedom_, self._before_, self._place_, self._batch_, self._last_batch_
