"""The objective of a call: the loss of outputs and targets, and what follows from it (logits, likelihoods, draws)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol, Self, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from .rows import Rows

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Objective(Protocol):
    """What a method may ask of the loss; :class:`Classification` and :class:`Regression` are the two kinds.

    All work on the last two dimensions, rows and outputs, and keep dimensions before them, where stacked networks are.
    """

    module: nn.Module

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion, a mean over rows; `groups` None: all rows are of this call."""

    def loss_and_gradient(
        self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and its gradient with respect to the outputs, of which autograd knows nothing."""

    def row_losses(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of each row by itself, shape (n_rows,); not finite for a row that the criterion gives no weight."""

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs as logits; for a regressor the outputs."""

    def active_logits(self, outputs: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """Logits with minus infinity where an output is not active; for a regressor the outputs."""

    def fisher_terms(self, outputs: torch.Tensor, y: torch.Tensor, exact: bool) -> list[torch.Tensor]:
        """Functions of each row, shape (n_rows,), whose squared gradients sum to the row's Fisher information.

        Parameters
        ----------
        outputs : torch.Tensor of shape (n_rows, n_outputs)
            Of the network.
        y : torch.Tensor of shape (n_rows,)
            Targets.
        exact : bool
            In expectation over targets, else at `y`.

        Returns
        -------
        list of torch.Tensor
        """

    def draw_targets(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Targets drawn from the model's distribution."""

    def groups_of(self, y: torch.Tensor) -> torch.Tensor:
        """The group of active outputs of this call, for each of its rows; what a memory stores beside them."""

    @property
    def inactive_outputs(self) -> torch.Tensor | None:
        """Which outputs are not active for the rows of this call, a mask; None: all are."""

    def stacked(self) -> Self:
        """The same for stacked networks: a loss for each."""


def as_logits(outputs: torch.Tensor, criterion: object) -> torch.Tensor:
    """Outputs as logits: where the criterion is NLLLoss, skorch's modules return probabilities."""
    if isinstance(criterion, nn.NLLLoss):
        return (outputs + torch.finfo(outputs.dtype).eps).log()
    return outputs


def with_groups(objective: Objective, rows: Rows) -> Rows:
    """Rows of this call as a memory stores them: inputs, targets, and the group of active outputs of each.

    Parameters
    ----------
    objective : Objective
        That of the call, ``call.objective``.
    rows : Rows
        Rows of the call; what else they have is left out.

    Returns
    -------
    Rows
    """
    return type(rows)(x=rows.x, y=rows.y, groups=objective.groups_of(rows.y))


class _Alike(NamedTuple):
    """Rows with the same active outputs: which they are, the criterion for these classes, and what it is given."""

    rows: torch.Tensor
    criterion: nn.Module
    logits: torch.Tensor
    y: torch.Tensor


class _OfCriterion:
    """What the net's criterion says, of one network or of stacked ones."""

    def __init__(self, criterion: nn.Module) -> None:
        self.criterion: Criterion = criterion
        self.module = criterion

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion."""
        raise NotImplementedError

    def loss_and_gradient(
        self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and its gradient with respect to the outputs: by autograd."""
        outputs = outputs.detach().requires_grad_()
        loss = self.loss(outputs, y, groups)
        (gradient,) = torch.autograd.grad(loss.sum(), outputs, materialize_grads=True)
        return loss.detach(), gradient

    def stacked(self) -> Self:
        """The same for stacked networks: a loss for each."""
        twin = copy.copy(self)
        twin.criterion = stacked_criterion(self.module)
        return twin


class Classification(_OfCriterion):
    """Loss over the active outputs.

    Parameters
    ----------
    criterion : torch.nn.Module
        The net's; what it has for each class is in the order of the outputs, see :func:`criterion_for_outputs`.
    group : int
        The group of outputs that is active for the rows of this call. Groups are numbered, and rows in a memory carry
        the number: there is one group for all rows, or one for each task.
    inactive : torch.Tensor of bool, shape (n_groups, n_outputs), or None
        Outputs that are not active, for each group; None: all are active in all groups.
    """

    def __init__(self, criterion: nn.Module, group: int = 0, inactive: torch.Tensor | None = None) -> None:
        super().__init__(criterion)
        self.group = group
        self.inactive = inactive
        self.is_plain_cross_entropy = _is_plain_cross_entropy(criterion)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Classification) or type(other) is not type(self) or self.group != other.group:
            return False
        own, others = (dict(numbers_of_classes(objective.module)) for objective in (self, other))
        if own.keys() != others.keys() or not all(torch.equal(t, others[name]) for name, t in own.items()):
            return False
        if self.inactive is None or other.inactive is None:
            return self.inactive is other.inactive
        return torch.equal(self.inactive, other.inactive)

    __hash__ = None  # type: ignore[assignment]

    def loss(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None) -> torch.Tensor:
        """The net's criterion over the active outputs."""
        if self.inactive is None:
            return self._criterion_of(self.logits(outputs), y)
        return self.loss_of_logits(self.active_logits(outputs, groups), y)

    def loss_and_gradient(
        self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and its gradient with respect to the outputs: (p − 1[label]) / n for a plain cross-entropy.

        For a small batch, autograd's engine alone takes longer to start than this takes in all.
        """
        if not self.is_plain_cross_entropy:
            return super().loss_and_gradient(outputs, y, groups)
        logits = self.active_logits(outputs, groups)
        dim = _dimension_of_classes(logits)
        log_p, label, weight = (logits if dim == -1 else logits.mT).log_softmax(dim), y.unsqueeze(dim), -1 / y.shape[-1]
        loss = log_p.gather(dim, label).squeeze(dim).sum(-1).mul_(weight)
        of_log_p = torch.zeros_like(log_p).scatter_(dim, label, weight)
        # The kernel that autograd runs: whoever adds nothing to this loss learns the same to the last bit.
        gradient = torch._log_softmax_backward_data(of_log_p, log_p, dim, log_p.dtype)
        return loss, gradient if dim == -1 else gradient.mT

    def loss_of_logits(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The net's criterion over the outputs whose logits are not minus infinity.

        One that sees no more of a row than its label's probability may be given all outputs. Any other is given the
        columns of the outputs that count, and labels that are numbers of these columns; where rows differ in these,
        those that are alike are given together, and the result is the mean over all rows.
        """
        if _sees_label_only(self.module):
            return self._criterion_of(logits, y)
        if type(self.module) is nn.CrossEntropyLoss:
            return _smoothed(self.module, logits, y)
        if logits.ndim > 2:  # stacked networks
            return torch.stack([self.loss_of_logits(*one) for one in zip(logits, y, strict=True)])
        parts = list(self._alike(logits, y))
        losses = [part.criterion(part.logits, part.y) for part in parts]
        if len(parts) > 1 and getattr(self.module, "reduction", "mean") != "sum":
            losses = [loss * (len(part.y) / len(y)) for loss, part in zip(losses, parts, strict=True)]
        loss: torch.Tensor = sum(losses[1:], losses[0])
        return loss

    def _criterion_of(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.criterion(self._given(logits), y)

    def _given(self, logits: torch.Tensor) -> torch.Tensor:
        """What the criterion is given for logits."""
        return logits.log_softmax(-1) if isinstance(self.module, nn.NLLLoss) else logits

    def _alike(self, logits: torch.Tensor, y: torch.Tensor) -> Iterator[_Alike]:
        """Rows that have the same outputs, and what the criterion is given of them."""
        # The label's own output counts, even where training has diverged and its logit is minus infinity.
        active = (logits != -torch.inf).scatter(1, y[:, None], True)
        patterns, kinds = torch.unique(active, dim=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            rows, columns = torch.nonzero(kinds == k).squeeze(1), torch.nonzero(pattern).squeeze(1)
            places = pattern.cumsum(0) - 1
            given = self._given(logits[rows][:, columns])
            yield _Alike(rows, of_classes(self.module, columns), given, places[y[rows]])

    def row_losses(self, outputs: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The loss of each row by itself."""
        criterion, logits = self.module, self.active_logits(outputs, groups)
        if _weighs_rows_alike(criterion) and (self.inactive is None or _sees_label_only(criterion)):
            return F.cross_entropy(logits, y, reduction="none", label_smoothing=criterion.label_smoothing)
        if type(criterion) in (nn.CrossEntropyLoss, nn.NLLLoss):
            losses, weights = _of_rows(criterion, logits, y)
            return losses if criterion.reduction == "sum" else losses / weights
        if self.inactive is None:
            return _row_by_row(self, outputs, y, groups)
        losses = torch.empty_like(logits[:, 0])
        for part in self._alike(logits, y):

            def row_loss(row: torch.Tensor, label: torch.Tensor, part: _Alike = part) -> torch.Tensor:
                loss: torch.Tensor = part.criterion(row[None], label[None])
                return loss

            losses[part.rows] = _for_each(row_loss, part.criterion)(part.logits, part.y)
        return losses

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

    @property
    def inactive_outputs(self) -> torch.Tensor | None:
        """Which outputs are not active for the rows of this call, a mask; None: all are."""
        return None if self.inactive is None else self.inactive[self.group]


def _is_plain_cross_entropy(criterion: nn.Module) -> bool:
    """Whether a criterion is the mean of the labels' negative log probabilities, and nothing else."""
    return _weighs_rows_alike(criterion) and _sees_label_only(criterion)


def _weighs_rows_alike(criterion: nn.Module) -> TypeGuard[nn.CrossEntropyLoss]:
    """Whether a criterion is a cross-entropy, perhaps smoothed, whose value is the mean of those of its rows."""
    is_mean = type(criterion) is nn.CrossEntropyLoss and criterion.reduction == "mean"
    return is_mean and criterion.weight is None and criterion.ignore_index < 0


def _sees_label_only(criterion: nn.Module) -> bool:
    """Whether a criterion sees no more of a row than the probability of its label."""
    if type(criterion) is nn.CrossEntropyLoss:
        return criterion.label_smoothing == 0
    return type(criterion) is nn.NLLLoss


def _smoothed(criterion: nn.CrossEntropyLoss, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of one network or of each of a stack, with labels smoothed over the outputs that count."""
    losses, weights = _of_rows(criterion, logits, y)
    return losses.sum(-1) if criterion.reduction == "sum" else losses.sum(-1) / weights.sum(-1)


def _of_rows(criterion: Any, logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies whose labels are smoothed over the outputs that count, and weights, both of each row.

    (1 − ε) w_y (−log p_y) + ε/K Σ_k w_k (−log p_k), with k among the K outputs that count; as torch has it for all.
    Rows of a label that is to be ignored have 0 for both.
    """
    log_p = logits.log_softmax(-1)
    counts = logits != -torch.inf
    weight = torch.ones_like(logits) if criterion.weight is None else criterion.weight.expand_as(logits)
    of_label = weight.gather(-1, y[..., None]).squeeze(-1)
    label = -log_p.gather(-1, y[..., None]).squeeze(-1)
    smoothing = getattr(criterion, "label_smoothing", 0.0)
    losses = (1 - smoothing) * of_label * label
    if smoothing:
        losses = losses + smoothing * -(log_p.masked_fill(~counts, 0.0) * weight).sum(-1) / counts.sum(-1)
    if criterion.ignore_index < 0:
        return losses, of_label
    ignored = y == criterion.ignore_index
    return losses.masked_fill(ignored, 0.0), of_label.masked_fill(ignored, 0.0)


def numbers_of_classes(criterion: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """What a criterion has for each class, by name: its tensors of one dimension, and those of torch's losses in it.

    Tensors with one element only are numbers for all classes; but the `weight` of torch's losses is for each.
    """
    for path, layer in criterion.named_modules():
        if layer is not criterion and not isinstance(layer, nn.modules.loss._Loss):
            continue
        for name, t in {**vars(layer), **layer._buffers, **layer._parameters}.items():
            if _is_of_classes(layer, name, t):
                yield f"{path}.{name}" if path else name, t


def _is_of_classes(layer: nn.Module, name: str, t: object) -> bool:
    is_weight = name == "weight" and isinstance(layer, nn.modules.loss._WeightedLoss)
    return isinstance(t, torch.Tensor) and t.ndim == 1 and (is_weight or len(t) > 1)


def of_classes(criterion: nn.Module, places: torch.Tensor, is_whole: bool = True) -> nn.Module:
    """A criterion like this one, whose numbers for classes are those at `places`; itself, if it has none."""
    if is_whole and not any(True for _ in numbers_of_classes(criterion)):
        return criterion
    twin = copy.copy(criterion)
    takes_part = is_whole or isinstance(criterion, nn.modules.loss._Loss)

    def chosen(values: dict[str, object]) -> dict[str, object]:
        return {
            name: t[places.to(t.device)] if takes_part and _is_of_classes(criterion, name, t) else t  # type: ignore[index,attr-defined]
            for name, t in values.items()
        }

    contents = chosen(vars(criterion))
    contents |= {name: chosen(vars(criterion)[name]) for name in ("_buffers", "_parameters")}
    contents["_modules"] = {
        name: child if child is None else of_classes(child, places, is_whole=False)
        for name, child in criterion._modules.items()
    }
    vars(twin).update(contents)
    return twin


def criterion_for_outputs(criterion: nn.Module, classes: NDArray[Any], places: NDArray[np.int64]) -> nn.Module:
    """The criterion of a network whose outputs are for the classes at `places` among the known ones.

    What a criterion has for each class (``criterion__weight``, or any one-dimensional tensor of a criterion of one's
    own) is in the order of `classes`, sorted, and there must be a number for each: where another class would stand
    among those to come, nobody can know.

    Raises
    ------
    ValueError
        If there are more or fewer numbers than classes.
    """
    for name, t in numbers_of_classes(criterion):
        if len(t) != len(classes):
            raise ValueError(
                f"criterion__{name.replace('.', '__')} has {len(t)} numbers, but {len(classes)} classes are known: "
                f"{classes.tolist()!r}. It must have one for each, in the order of classes_; announce all classes in "
                "the first call, partial_fit(X, y, classes=...), and give a number for each of them."
            )
    if np.array_equal(places, np.arange(len(classes))):
        return criterion
    return of_classes(criterion, torch.as_tensor(places))


class Regression(_OfCriterion):
    """The net's criterion of outputs and targets.

    Where a method needs a likelihood, it is that of a Gaussian around the outputs with unit variance.

    Parameters
    ----------
    criterion : torch.nn.Module
        The net's.
    """

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

    @property
    def inactive_outputs(self) -> None:
        """None: all are active."""
        return None


def _row_by_row(objective: Objective, *rows: torch.Tensor) -> torch.Tensor:
    """The loss of each row, whatever the criterion: the mean over a batch of that row."""

    def row_loss(*row: torch.Tensor) -> torch.Tensor:
        outputs, y, groups = (t[None] for t in row)
        return objective.loss(outputs, y, groups)

    return _for_each(row_loss, objective.module)(*rows)


def _for_each(function: Callable[..., torch.Tensor], criterion: nn.Module) -> Callable[..., torch.Tensor]:
    """A function of a criterion for each of what is stacked; one of the user's own may do what vmap cannot."""
    if type(criterion).__module__ == nn.modules.loss.__name__:
        return vmap(function)
    return lambda *stacks: torch.stack([function(*each) for each in zip(*stacks, strict=True)])


def stacked_criterion(criterion: nn.Module) -> Criterion:
    """The criterion of each network of a stack, as a function of stacked outputs and targets."""
    if not _weighs_rows_alike(criterion):
        if type(criterion) is nn.CrossEntropyLoss and criterion.label_smoothing:  # which vmap cannot, with weights
            return partial(_smoothed, criterion)
        return _for_each(criterion, criterion)

    def cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        few = _dimension_of_classes(outputs) == -2
        given, labels = (outputs.mT, y) if few else (outputs.flatten(0, 1), y.flatten())
        losses = F.cross_entropy(given, labels, reduction="none", label_smoothing=criterion.label_smoothing)
        return losses.view_as(y).mean(1)

    return cross_entropy


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log probabilities, shape (..., n_rows, n_classes), of one network or of a stack."""
    return logits.log_softmax(-1) if _dimension_of_classes(logits) == -1 else logits.mT.log_softmax(-2).mT


# Of numbers in single precision, the widest registers of processors hold so many.
_REGISTER = 16


def _dimension_of_classes(logits: torch.Tensor) -> int:
    """Where the classes of stacked networks should stand for a softmax: last, or next to last where they are few.

    Along the last dimension torch takes row by row, a register at a time; along the one before it all rows at once.
    With ten classes that is ten times as fast.
    """
    return -2 if logits.ndim > 2 and logits.shape[-1] < _REGISTER else -1
