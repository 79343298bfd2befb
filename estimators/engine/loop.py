"""The training loop over rows in memory: epochs, batches, steps, and the hooks of whoever learns."""

from __future__ import annotations

import copy
import dis
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from skorch.callbacks import Callback, Checkpoint, PassthroughScoring, TrainEndCheckpoint
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import Subset

from .call import Call
from .graph import Pinned, Recorded, recorded
from .memory import Drawn
from .modules import batch_norm_layers, fixed_statistics, is_frozen, lone_rows
from .optimizer import stepper
from .passes import Passes, passes_of
from .rows import Rows

if TYPE_CHECKING:
    from .net import FastLoop

_BATCH_EVENTS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
Descend = Callable[[Rows], torch.Tensor]
"""A step on rows: backward pass, hooks, optimiser; what it returns is the loss."""
F = TypeVar("F", bound=Callable[..., Any])


def idle(hook: F) -> F:
    """Mark a hook that the loop need not call: it does nothing of its own, or what the loop does without it."""
    hook.is_idle = True  # type: ignore[attr-defined]
    return hook


def is_idle(learner: object, hook: str) -> bool:
    """Whether a hook of the learner need not be called."""
    return getattr(getattr(type(learner), hook), "is_idle", False)


class Learner(Protocol):
    """What the loop asks of whoever learns; :class:`NetworkStrategy` says when each hook is called."""

    @property
    def pure_steps(self) -> bool:
        """Whether a step is the same work each time, so that it can be recorded and stacked."""

    @property
    def fixes_statistics(self) -> bool:
        """Whether batch normalisation uses the statistics so far, in training too, and leaves them as they are."""

    def before_step(self, call: Call, batch: Rows) -> None:
        """Add to the batch what its step needs."""

    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """Learn from a batch; returns the loss."""

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """Loss of the batch."""

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Change the gradient in place."""

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The optimiser has moved `theta`."""

    def validation_loss(self, call: Call, module: nn.Module, rows: Rows) -> torch.Tensor:
        """Loss of held-out rows."""


class PlainLearning:
    """The hooks of a net that learns alone: the net's own loss, nothing against forgetting."""

    pure_steps = False
    fixes_statistics = False

    def __init__(self, net: FastLoop) -> None:
        self.net = net

    @idle
    def before_step(self, call: Call, batch: Rows) -> None:
        """Nothing."""

    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """One step of the optimiser."""
        return descend(batch)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """Loss of the batch under the net's criterion."""
        loss: torch.Tensor = self.net.get_loss(forward(batch.x), batch.y, X=batch.x, training=True)
        return loss

    @idle
    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Nothing."""

    @idle
    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """Nothing."""

    def validation_loss(self, call: Call, module: nn.Module, rows: Rows) -> torch.Tensor:
        """Loss of held-out rows under the net's criterion."""
        loss: torch.Tensor = self.net.get_loss(module(rows.x), rows.y, X=rows.x, training=False)
        return loss


class Batches:
    """Rows of tensors in batches: one permutation per epoch, then views; no copy on the host, no synchronisation.

    Parameters
    ----------
    rows : Rows
    batch_size : int
        Rows per batch; -1 means all.
    generator : torch.Generator or None
        Draws the permutations; None keeps the order.
    min_last : int
        A last batch with fewer rows joins the one before it (batch normalisation cannot learn from one row).
    """

    # Bytes of rows that are gathered at a time: bounds the copy that a permutation needs.
    chunk_bytes = 1 << 24

    def __init__(self, rows: Rows, batch_size: int, generator: torch.Generator | None, min_last: int = 1) -> None:
        self.rows = rows
        self.n_rows = len(rows)
        self.batch_size = self.n_rows if batch_size == -1 else batch_size
        self.generator = generator
        n_batches = max(1, -(-self.n_rows // self.batch_size))
        last = self.n_rows - (n_batches - 1) * self.batch_size
        if n_batches > 1 and last < min_last:
            n_batches -= 1
        self.n_batches = n_batches
        row_bytes = sum(t[:1].numel() * t.element_size() for t in rows.tensors())
        self.per_chunk = max(1, self.chunk_bytes // (row_bytes * self.batch_size))

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Rows]:
        return self.epoch(self.n_batches)

    def epoch(self, n_batches: int) -> Iterator[Rows]:
        """Iterate over the first `n_batches` batches in a new order."""
        for rows, sizes in self.chunks(n_batches):
            yield from rows.split(sizes)

    def chunks(self, n_batches: int) -> Iterator[tuple[Rows, list[int]]]:
        """The same, several batches at a time: yields rows, and the number of rows of each batch."""
        order = None if self.generator is None else torch.randperm(self.n_rows, generator=self.generator)
        for first in range(0, n_batches, self.per_chunk):
            last = min(first + self.per_chunk, n_batches)
            chunk = slice(first * self.batch_size, self.n_rows if last == self.n_batches else last * self.batch_size)
            if order is None:
                rows = self.rows.map(lambda t, chunk=chunk: t[chunk])
            else:
                rows = self.rows.take(order[chunk].to(self.rows.x.device))
            sizes = [self.batch_size] * (last - first)
            sizes[-1] = len(rows) - self.batch_size * (len(sizes) - 1)
            yield rows, sizes


def n_batches_of_epochs(net: FastLoop, n_batches: int, epochs: int | None = None) -> list[int]:
    """Number of batches in each epoch: all of them, unless the net's `max_steps` ends the last epoch early."""
    if epochs is not None or net.max_steps is None:
        return [n_batches] * (net.max_epochs if epochs is None else epochs)
    whole, rest = divmod(net.max_steps, n_batches)
    return [n_batches] * whole + [rest] * (rest > 0)


def train(net: FastLoop, learner: Learner, call: Call, order: torch.Generator, epochs: int | None = None) -> None:
    """Train a net for some epochs on the rows of a call, asking `learner` for the loss and the gradient of each step.

    Parameters
    ----------
    net : FastLoop
    learner : Learner
        The hooks.
    call : Call
        Its `rows` are trained on; `epoch`, `n_epochs`, `n_batches`, `batch_index` and `step` say where the loop
        is.
    order : torch.Generator
        Draws the order of the rows.
    epochs : int, default=None
        None: the net's ``max_epochs`` or ``max_steps``.

    Raises
    ------
    FloatingPointError
        If the loss or a weight is no longer a finite number.
    RuntimeError
        If a callback freezes or unfreezes parameters, or replaces the optimiser.
    ValueError
        If `train_split` gives rows that are not of the call.
    """
    rows, valid, data, held_out = parts_of(net, call)
    norms = batch_norm_layers(net.module_)
    batches = Batches(rows, net.batch_size, order, min_last=2 if norms else 1)
    loop = _Loop(net, learner, call)
    step, datasets = loop.step, {"dataset_train": data, "dataset_valid": held_out}
    net.module_.train()
    for layer in norms:  # one row has no variance: use the statistics so far
        if batches.n_rows == 1 or learner.fixes_statistics or is_frozen(layer):
            layer.eval()
    lengths = n_batches_of_epochs(net, len(batches), epochs)
    call.n_epochs = len(lengths)
    net.move(step.theta)
    try:
        for epoch, n_batches in enumerate(lengths):
            call.epoch, call.n_batches = epoch, n_batches
            net.notify("on_epoch_begin", **datasets)
            step.check_parameters()
            total, n_rows = torch.zeros((), device=step.theta.device), 0
            with lone_rows(norms):
                for index, batch in enumerate(batches.epoch(n_batches)):
                    call.batch_index, n = index, len(batch)
                    if loop.announces:
                        loss = loop.learn_announced(batch)
                    else:
                        loss = learner.learn_batch(call, step.theta, batch, step.descend).detach()
                    total.add_(loss, alpha=n)
                    n_rows += n
            # The only number that is read back from the device.
            mean = float(total) / n_rows
            check_finite(mean, "the loss")
            net.history[-1].update(train_loss=mean, train_batch_count=n_batches)
            if valid is not None:
                net.history.record("valid_loss", loop.validated(valid))
            step.steps.finish()  # a callback may save the optimiser
            net.notify("on_epoch_end", **datasets)
    except KeyboardInterrupt as interrupt:
        if not _says_enough(interrupt):
            raise
    finally:
        net.move(None)
        step.steps.finish()
        del step.move  # a method of its own: a cycle, by which the rows of the call would outlive it
    net.module_.eval()  # as it stays: whoever asks for answers, in whatever thread, changes nothing
    check_finite(float(step.theta.abs().max()), "a weight")


class _Loop:
    """What one net does beside its steps: callbacks hear of batches, and held-out rows are looked at."""

    def __init__(self, net: FastLoop, learner: Learner, call: Call) -> None:
        self.net, self.learner, self.call = net, learner, call
        self.announces = _has_batch_listeners(net)
        self.step = Step(net, learner, call, self.announces)
        self.parts = nn.ModuleList(part for part in (net.module_, net.criterion_) if isinstance(part, nn.Module))

    def learn_announced(self, batch: Rows) -> torch.Tensor:
        """Learn from a batch, of which callbacks hear; returns the loss."""
        net, call, step = self.net, self.call, self.step
        announced, n = (batch.x, batch.y), len(batch)
        net.notify("on_batch_begin", batch=announced, training=True)
        loss = self.learner.learn_batch(call, step.theta, batch, step.descend).detach()
        if call.step == 0:
            _check_own_steps(net, self.learner)
        outputs = batch.outputs
        if outputs is None:  # a method that makes its own steps
            with fixed_statistics(net.module_) as module, torch.no_grad():
                outputs = module(batch.x)
        net.history.record_batch("train_loss", loss.item())
        net.history.record_batch("train_batch_size", n)
        y_pred = net.answers(outputs[:n].detach())
        net.notify("on_batch_end", batch=announced, training=True, loss=loss, y_pred=y_pred)
        return loss

    def validated(self, rows: Rows) -> float:
        """The loss of held-out rows."""
        with fixed_statistics(self.parts), torch.no_grad():
            return self._validation_loss(rows)

    def _validation_loss(self, rows: Rows) -> float:
        net, module = self.net, self.net.module_
        if not self.announces:
            return self.learner.validation_loss(self.call, module, rows).item()
        total, n_batches = 0.0, 0
        for batch in Batches(rows, net.batch_size, None):
            announced = (batch.x, batch.y)
            net.notify("on_batch_begin", batch=announced, training=False)
            loss = self.learner.validation_loss(self.call, module, batch)
            net.history.record_batch("valid_loss", loss.item())
            net.history.record_batch("valid_batch_size", len(batch))
            y_pred = net.answers(module(batch.x))
            net.notify("on_batch_end", batch=announced, training=False, loss=loss, y_pred=y_pred)
            total += loss.item() * len(batch)
            n_batches += 1
        net.history.record("valid_batch_count", n_batches)
        return total / len(rows)


class Parts(NamedTuple):
    """Rows that are learned and rows that are held out, and the datasets of both as skorch has them."""

    rows: Rows
    held_out: Rows | None
    data: Any
    held_out_data: Any


def parts_of(net: FastLoop, call: Call) -> Parts:
    """Part the rows of a call as the net's `train_split` says; once for the same rows, since it may draw.

    Parameters
    ----------
    net : FastLoop
    call : Call

    Returns
    -------
    Parts

    Raises
    ------
    ValueError
        If `train_split` gives rows that are not of the call.
    """
    if call.parts[0] is not call.rows:
        data, held_out = _split(net, call)
        parts = Parts(call.rows, None, data, held_out)
        if held_out is not None:
            parts = parts._replace(rows=_part(call.rows, data), held_out=_part(call.rows, held_out))
        call.parts = call.rows, parts
    found: Parts = call.parts[1]
    return found


def _part(rows: Rows, data: Any) -> Rows:
    return rows.take(_places(data, rows.x).to(rows.x.device))


def _split(net: FastLoop, call: Call) -> tuple[Any, Any]:
    """The datasets that the net's `train_split` makes; a random one is drawn from the call's seed."""
    split = net.train_split
    if isinstance(split, ValidSplit) and isinstance(split.cv, float) and split.random_state is None:
        seeded = copy.copy(split)
        seeded.random_state = int(call.rng("split").integers(2**31))
        net.train_split = seeded
    try:
        train_rows, held_out = net.get_split_datasets(call.rows.x, call.rows.y)
        return train_rows, held_out
    except ValueError as error:
        raise ValueError(
            f"The net's train_split cannot part the {len(call.rows.x)} rows of this call: {str(error).rstrip('.')}. "
            "With train_split=None, the net learns all rows."
        ) from error
    finally:
        net.train_split = split


def _places(part: Any, x: torch.Tensor) -> torch.Tensor:
    """Which of the rows `x` are in a part of them that the net's `train_split` has made."""
    chain = []
    while isinstance(part, Subset):
        chain.append(torch.as_tensor(np.asarray(part.indices, dtype=np.int64)))
        part = part.dataset
    if getattr(part, "X", None) is not x:
        raise ValueError(
            "train_split must hold out rows of the call, since rows of its own may have classes that are not known "
            "yet (predefined_split is such a one); use skorch.dataset.ValidSplit, with a splitter of scikit-learn as "
            "its cv if the parts should be chosen, or a function that returns two torch.utils.data.Subset."
        )
    places = torch.arange(len(x))
    while chain:
        places = places[chain.pop()]
    return places


def _says_enough(interrupt: KeyboardInterrupt) -> bool:
    """Whether a callback has raised it, skorch's way of ending training (EarlyStopping); else it is the user's Ctrl-C.

    That one is raised wherever the program happens to be, or by a handler of signals; so what counts is that the last
    frame is a callback's, and stands at a ``raise``.
    """
    trace = interrupt.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    is_raise = dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    return is_raise and isinstance(trace.tb_frame.f_locals.get("self"), Callback)


def _listens(callback: Callback, event: str) -> bool:
    """Whether a callback overrides an event."""
    return getattr(type(callback), event) is not getattr(Callback, event)


def _check_own_steps(net: FastLoop, learner: Learner) -> None:
    """Raise if a callback waits for gradients of a method that makes its own steps."""
    for name, callback in net.callbacks_:
        if _listens(callback, "on_grad_computed"):
            raise ValueError(
                f"The callback {name}, a {type(callback).__name__}, would never hear of a gradient, since "
                f"{type(learner).__name__} makes its own steps; leave it out, and use the method's own parameters "
                "(clip_norm, for example)."
            )


# They read of batches what the loop records for those who hear of them.
_READS_BATCHES = (PassthroughScoring, Checkpoint, TrainEndCheckpoint)


def _has_batch_listeners(net: FastLoop) -> bool:
    """Whether a callback hears or reads of batches; usually none does, and then no batch is announced."""
    return any(
        type(callback) in _READS_BATCHES or any(_listens(callback, event) for event in _BATCH_EVENTS)
        for _, callback in net.callbacks_
    )


def check_finite(value: float, what: str) -> None:
    """Raise FloatingPointError if `value`, a number that stands for `what`, is not finite."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"Training diverged: {what} is no longer a finite number. The estimator is as it was before this call; "
            "lower the learning rate (net__lr) or the strength of the penalty, or scale the inputs."
        )


def check_unchanged(
    net: FastLoop, params: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Raise RuntimeError if `params` are not those that the net trains any more, or `optimizer` not its optimiser."""
    if list(map(id, net.trainable())) != list(map(id, params)):
        raise RuntimeError(
            "A callback has frozen, unfrozen or replaced parameters (skorch's Freezer, perhaps, or InputShapeSetter), "
            "which a strategy against forgetting cannot follow; give the net a module whose parameters have "
            "requires_grad=False, and which takes its number of inputs as n_inputs."
        )
    if optimizer is not None and net.optimizer_ is not optimizer:
        raise RuntimeError(
            "A callback has replaced the optimiser during training; change lr or another of its settings instead, "
            "net.set_params(lr=...)."
        )


class Step:
    """One step of learning: what is added to the batch, loss, gradient and its change, optimiser, what follows.

    Parameters
    ----------
    net : FastLoop
    learner : Learner
    call : Call
    announces : bool
        Whether a callback hears of each batch.
    """

    def __init__(self, net: FastLoop, learner: Learner, call: Call, announces: bool) -> None:
        self.net, self.learner, self.call, self.announces = net, learner, call, announces
        self.theta: torch.Tensor = net.flatten()
        self.params = net.trainable()
        self.optimizer = net.optimizer_
        self.gradient = torch.empty_like(self.theta)
        self.passes = passes_of(net, self.gradient, call.rows.x)
        self.steps = stepper([net.optimizer_], [self.params], self.theta)
        call.rates = partial(self.steps.rates, only=0) if self.steps.is_flat else self.steps.rates
        self.prepares, self.follows = not is_idle(learner, "before_step"), not is_idle(learner, "after_step")
        self.changes, self.has_plain_loss = not is_idle(learner, "after_backward"), is_idle(learner, "loss")
        self.move: Callable[[Rows], tuple[torch.Tensor, torch.Tensor | None]]
        self.move = self._move if self.steps.is_flat else self._move_by_closure
        if learner.pure_steps and not announces:
            self.move = recorded(self.move, self.theta, self.steps)
        self.pinned = None
        if self.follows and isinstance(self.move, Recorded):
            self.pinned = Pinned((learner, call.state), self.theta.shape)

    def check_parameters(self) -> None:
        """Raise if a callback has changed which parameters are trained: what a strategy remembers is about these."""
        check_unchanged(self.net, self.params, self.optimizer)

    def descend(self, batch: Rows) -> torch.Tensor:
        """One step of the optimiser down the loss of a batch; returns the loss."""
        if self.prepares:
            self.learner.before_step(self.call, batch)
            if isinstance(batch.memory, Drawn):
                batch.memory = batch.memory.rows()
        loss, batch.outputs = self.move(batch)
        self.call.step += 1
        if self.follows:
            self.learner.after_step(self.call, self.theta, batch)
            if self.pinned:
                self.pinned.restore()
        return loss

    def _move(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Loss, gradient, optimiser; returns the loss, and the outputs of the first forward pass if there was one."""
        outputs: torch.Tensor | None
        if self.has_plain_loss:
            loss, outputs = self.passes.descend(self.call.objective, batch)
        else:
            loss = self.learner.loss(self.call, self.passes, batch)
            outputs = self.passes.outputs[0].detach() if self.passes.outputs else None
            self.passes.backward(loss)
        if self.changes:
            self.learner.after_backward(self.call, self.theta, self.gradient)
        if self.announces:
            self._announce_gradient(batch)
        self.steps.update(self.gradient)
        return loss.detach(), outputs

    def _move_by_closure(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As :meth:`_move`, by an optimiser that decides itself how often it evaluates the loss."""
        first: list[torch.Tensor] = []

        def evaluate() -> torch.Tensor:
            loss = self.learner.loss(self.call, self.passes, batch)
            first.extend(self.passes.outputs[:1])
            self.passes.backward(loss)
            self.learner.after_backward(self.call, self.theta, self.gradient)
            if self.announces:
                self._announce_gradient(batch)
            self.call.evaluation += 1
            return loss

        self.call.evaluation = 0
        loss = self.steps.step(evaluate, self.gradient)
        return loss.detach(), first[0].detach() if first else None

    def _announce_gradient(self, batch: Rows) -> None:
        views = self.net.unflatten(self.gradient)
        for p, view in zip(self.params, views, strict=True):
            p.grad = view
        named = list(self.net.get_all_learnable_params())  # each callback goes through them
        self.net.notify("on_grad_computed", named_parameters=named, batch=(batch.x, batch.y), training=True)
        for p, view in zip(self.params, views, strict=True):
            if p.grad is None:
                view.zero_()
            elif p.grad is not view:
                view.copy_(p.grad)
