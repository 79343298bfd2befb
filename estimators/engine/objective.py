"""The objective of a call: the loss of outputs and targets, and what follows from it (logits, likelihoods, draws)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from .rows import Rows

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Objective(Protocol):
    """What a method may ask of the loss; :class:`Classification` and :class:`Regression` are the two kinds.

    All work on the last two dimensions, rows and outputs, and keep dimensions before them, where stacked networks are.
    """

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion, a mean over rows; `groups` None: all rows are of this call."""

    def row_losses(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of each row by itself, shape (n_rows,)."""

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs as logits; for a regressor the outputs."""

    def active_logits(self, outputs: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """Logits with minus infinity where an output is not active; for a regressor the outputs."""

    def fisher_terms(self, outputs: torch.Tensor, y: torch.Tensor, exact: bool) -> list[torch.Tensor]:
        """Functions of each row, shape (n_rows,), whose squared gradients sum to the row's Fisher information.

        With `exact` in expectation over targets, else at `y`.
        """

    def draw_targets(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Targets drawn from the model's distribution."""

    def groups_of(self, y: torch.Tensor) -> torch.Tensor:
        """The group of active outputs of this call, for each of its rows; what a memory stores beside them."""

    def stacked(self) -> Self:
        """The same for stacked networks: a loss for each."""


def as_logits(outputs: torch.Tensor, criterion: object) -> torch.Tensor:
    """Outputs as logits: where the criterion is NLLLoss, skorch's modules return probabilities."""
    if isinstance(criterion, nn.NLLLoss):
        return (outputs + torch.finfo(outputs.dtype).eps).log()
    return outputs


def with_groups(objective: Objective, rows: Rows) -> Rows:
    """Rows of this call as a memory stores them: inputs, targets, and the group of active outputs of each."""
    return Rows(x=rows.x, y=rows.y, groups=objective.groups_of(rows.y))


class Classification:
    """Loss over the active outputs.

    Parameters
    ----------
    criterion : torch.nn.Module
        The net's.
    group : int
        The group of outputs that is active for the rows of this call. Groups are numbered, and rows in a memory carry
        the number: there is one group for all rows, or one for each task.
    inactive : torch.Tensor of bool, shape (n_groups, n_outputs), or None
        Outputs that are not active, for each group; None: all are active in all groups.
    """

    def __init__(self, criterion: nn.Module, group: int = 0, inactive: torch.Tensor | None = None) -> None:
        self.criterion: Criterion = criterion
        self.module = criterion
        self.group = group
        self.inactive = inactive

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Classification) or type(other) is not type(self) or self.group != other.group:
            return False
        if self.inactive is None or other.inactive is None:
            return self.inactive is other.inactive
        return torch.equal(self.inactive, other.inactive)

    __hash__ = None  # type: ignore[assignment]

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion over the active outputs."""
        return self.loss_of_logits(self.active_logits(outputs, groups), y)

    def loss_of_logits(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The net's criterion over the outputs whose logits are finite."""
        return self.criterion(logits.log_softmax(-1) if isinstance(self.module, nn.NLLLoss) else logits, y)

    def row_losses(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of each row by itself."""
        criterion = self.module
        if type(criterion) is nn.CrossEntropyLoss and criterion.weight is None and criterion.reduction == "mean":
            logits = self.active_logits(outputs, groups)
            return F.cross_entropy(logits, y, reduction="none", label_smoothing=criterion.label_smoothing)
        return _row_by_row(self, outputs, y, groups)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs as logits, also where the criterion is NLLLoss."""
        return as_logits(outputs, self.module)

    def active_logits(self, outputs: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """Logits with minus infinity where an output is not active; `groups` None: all rows are of this call."""
        logits = self.logits(outputs)
        if self.inactive is None:
            return logits
        return logits.masked_fill(self.inactive[self.group if groups is None else groups], -torch.inf)

    def fisher_terms(self, outputs: torch.Tensor, y: torch.Tensor, exact: bool) -> list[torch.Tensor]:
        """Log p(y), or, for the exact expectation over labels k, √p(k) · log p(k) with the root held constant."""
        log_p = self.active_logits(outputs).log_softmax(1)
        if not exact:
            return [log_p.gather(1, y[:, None]).squeeze(1)]
        active = list(range(log_p.shape[1]))
        if self.inactive is not None:
            active = torch.nonzero(~self.inactive[self.group]).flatten().tolist()
        return [(log_p[:, k].detach() / 2).exp() * log_p[:, k] for k in active]

    def draw_targets(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Labels drawn from the model's probabilities."""
        p = self.active_logits(outputs).softmax(1)
        return torch.multinomial(p.cpu(), 1, generator=generator).squeeze(1).to(outputs.device)

    def groups_of(self, y: torch.Tensor) -> torch.Tensor:
        """The group of this call, for each row."""
        return torch.full_like(y, self.group)

    def stacked(self) -> Self:
        """The same for stacked networks: a loss for each."""
        twin = copy.copy(self)
        twin.criterion = stacked_criterion(self.module)
        return twin


class Regression:
    """The net's criterion of outputs and targets.

    Where a method needs a likelihood, it is that of a Gaussian around the outputs with unit variance.

    Parameters
    ----------
    criterion : torch.nn.Module
        The net's.
    """

    def __init__(self, criterion: nn.Module) -> None:
        self.criterion: Criterion = criterion
        self.module = criterion

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = None  # type: ignore[assignment]

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion; all outputs are active for all rows."""
        return self.criterion(outputs, y)

    def row_losses(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of each row by itself."""
        return _row_by_row(self, outputs, y, groups)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs."""
        return outputs

    def active_logits(self, outputs: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The outputs: all are active."""
        return outputs

    def fisher_terms(self, outputs: torch.Tensor, y: torch.Tensor, exact: bool) -> list[torch.Tensor]:
        """As for classes: log p(y) = −½‖y − f‖², whose squared gradient has the expectation Σₖ (∂fₖ)² over y."""
        return list(outputs.unbind(1)) if exact else [-0.5 * (y - outputs).square().sum(1)]

    def draw_targets(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Targets drawn from the model's Gaussian."""
        return outputs + torch.randn(outputs.shape, generator=generator).to(outputs)

    def groups_of(self, y: torch.Tensor) -> torch.Tensor:
        """Zeros: all rows are of one group."""
        return torch.zeros(y.shape[:-1], dtype=torch.int64, device=y.device)

    def stacked(self) -> Self:
        """The same for stacked networks: a loss for each."""
        twin = copy.copy(self)
        twin.criterion = stacked_criterion(self.module)
        return twin


def _row_by_row(objective: Objective, *rows: torch.Tensor) -> torch.Tensor:
    """The loss of each row, whatever the criterion: the mean over a batch of that row."""

    def row_loss(*row: torch.Tensor) -> torch.Tensor:
        outputs, y, groups = (t[None] for t in row)
        return objective.loss(outputs, y, groups)

    return vmap(row_loss)(*rows)


def stacked_criterion(criterion: nn.Module) -> Criterion:
    """The criterion of each network of a stack, as a function of stacked outputs and targets."""
    if type(criterion) is not nn.CrossEntropyLoss or criterion.reduction != "mean" or criterion.weight is not None:
        return vmap(criterion)

    def cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        smoothing = criterion.label_smoothing
        losses = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=smoothing)
        return torch.unflatten(losses, 0, y.shape).mean(1)

    return cross_entropy
