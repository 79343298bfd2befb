"""Progressive networks: a new column for each task, which reads the features of the frozen earlier ones."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from ..engine.call import Call
from ..engine.modules import frozen_copy, head_of, twin_of
from ..engine.net import FastLoop
from .per_task import Part, PerTaskClassifier


class Columns(nn.Module):
    """Copies of one architecture, where each layer reads what enters it and what enters it in all earlier copies.

    Outputs are those of the last column. The first layer of a column, which reads the inputs, has no lateral links.

    Parameters
    ----------
    columns : sequence of torch.nn.Module
        The k-th has been widened for k columns; all but the last are frozen.
    """

    def __init__(self, columns: Iterable[nn.Module]) -> None:
        super().__init__()
        self.columns = nn.ModuleList(columns)

    @property
    def head(self) -> nn.Linear:
        """The head of the last column."""
        return head_of(self.columns[-1])

    def train(self, mode: bool = True) -> Self:
        """Only the last column is ever in training mode."""
        super().train(mode)
        self.columns[:-1].eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the last column for the rows ``x``."""
        entered: list[dict[str, torch.Tensor]] = []
        for column in self.columns:
            outputs, features = run(column, x, entered)
            entered.append(features)
        return outputs


def run(
    column: nn.Module, x: torch.Tensor, earlier: Sequence[dict[str, torch.Tensor]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Outputs of a column, and what entered each of its linked layers.

    Parameters
    ----------
    column : torch.nn.Module
    x : torch.Tensor
    earlier : list of dict
        What entered the layers of each earlier column, by name.

    Returns
    -------
    outputs : torch.Tensor
    entered : dict of str to torch.Tensor
    """
    entered: dict[str, torch.Tensor] = {}

    def link(name: str, layer: nn.Module, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
        entered[name] = args[0]
        dim = -1 if isinstance(layer, nn.Linear) else 1
        return torch.cat([args[0], *(features[name] for features in earlier)], dim)

    hooks = [layer.register_forward_pre_hook(partial(link, name)) for name, layer in linked_layers(column)]
    try:
        return column(x), entered
    finally:
        for hook in hooks:
            hook.remove()


def linked_layers(module: nn.Module) -> list[tuple[str, Any]]:
    """All linear and convolutional layers but the first, with their names.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    list of (str, torch.nn.Module)
    """
    return [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)][1:]


def widen(module: nn.Module, n_columns: int) -> None:
    """Give each linked layer the weights U with which it reads the earlier columns; its own weights W stay as they are.

    Where W is frozen, U is zero: nothing could learn it.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    n_columns : int
        With this one.
    """
    for name, layer in linked_layers(module):
        if getattr(layer, "groups", 1) != 1 or getattr(layer, "transposed", False):
            raise TypeError(
                f"ProgressiveClassifier cannot link {name!r}, a grouped or transposed convolution, to earlier columns; "
                "use a module with plain convolutions and linear layers."
            )
        own = layer.weight
        wide = own.new_zeros(own.shape[0], n_columns * own.shape[1], *own.shape[2:])
        if own.requires_grad:
            nn.init.kaiming_uniform_(wide, a=math.sqrt(5))  # as torch's layers begin
        wide[:, : own.shape[1]] = own.detach()
        layer.weight = nn.Parameter(wide, requires_grad=own.requires_grad)
        size = "in_features" if isinstance(layer, nn.Linear) else "in_channels"
        setattr(layer, size, wide.shape[1])


class ProgressiveClassifier(PerTaskClassifier):
    r"""Progressive networks: a new column for each task, linked to the features of the frozen columns of earlier tasks.

    Layer i of column k computes
    :math:`h_i^{(k)} = f\big(W_i^{(k)} h_{i-1}^{(k)} + \sum_{j<k} U_i^{(k:j)} h_{i-1}^{(j)}\big)`, where
    :math:`h_{i-1}^{(j)}` is what enters layer i in column j. A column is a fresh copy of the prototype's module,
    whatever that is: every linear and convolutional layer but the first, the head included, has such lateral links, to
    what enters the layer of the same name in earlier columns. These are the plain links of the paper's first equation,
    without the small adapters that it puts into them later. When a task is over, its column is frozen, batch statistics
    included, so nothing is forgotten. The price is the method's: a new column reads all earlier ones, so a step's time
    grows with the number of tasks, and the parameters with its square. With 50 hidden units, a call for the 40th task
    took 5 times as long as for the second, and the pickle had 20 times the bytes.

    A task that comes back after others gets a further column, and its answers come from that one. Without task id, the
    task whose column is most certain answers: the one with the lowest entropy relative to that of a uniform guess over
    its classes.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; cloned for each column.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    parts_ : dict
        For each task its ``outputs`` (classes in the order of their appearance) and the number of its ``column``. Keys
        are task ids, or ``("experience", k)`` for calls without.
    net_ : ContinualNet
        The net of the last task; ``net_.module_.columns`` are all columns.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Rusu et al., Progressive neural networks, 2016.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ProgressiveClassifier
    >>> clf = ProgressiveClassifier(random_state=0)
    >>> stream = split_stream(load_digits(), n_experiences=3, scenario="task", class_order="sorted")
    >>> for e in stream:
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> [column.head.weight.shape[1] for column in clf.net_.module_.columns]
    [100, 200, 300]
    """

    source = "Rusu et al. 2016"

    def open_task(self, call: Call, n_outputs: int, part: Part | None) -> None:
        """Each experience has a new column."""
        if call.opens_experience:
            self.net_ = self.new_network(call, n_outputs)
        else:
            self.net_.start_call()
            with call.seeded("weights"):
                self.net_.resize_head(n_outputs)

    def new_network(self, call: Call, n_outputs: int) -> FastLoop:
        """A net whose module has the columns so far, frozen, and a new one."""
        earlier: list[nn.Module] = []
        if getattr(self, "parts_", {}):
            *earlier, last = self.net_.module_.columns
            earlier.append(frozen_copy(last))
        net = super().new_network(call, n_outputs)
        with call.seeded("links"):
            widen(net.module_, len(earlier) + 1)
        net.module_ = Columns([*earlier, net.module_])
        net.initialize_optimizer()
        return net

    def own_part(self) -> Part:
        """The number of the column."""
        return {"column": len(self.net_.module_.columns) - 1}

    def task_network(self, part: Part) -> nn.Module:
        """The columns up to the task's."""
        # A twin: links are hooks, which others who ask at the same time must not meet.
        return twin_of(Columns(self.net_.module_.columns[: part["column"] + 1]))
