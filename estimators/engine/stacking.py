"""Several estimators that differ only in their seeds, trained as one stacked network.

A small network leaves the machine idle between kernels. Here the parameters of all seeds are rows of one matrix, and a
step of all of them is one call of each kernel. A strategy is written once: its loss works on rows and outputs, the last
two dimensions, and keeps dimensions before them, which is where the seeds are; what it does to the gradient and after
the step is elementwise, so it works on the matrix as it does on a vector. Each seed keeps its own data order, memory
and random state.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .call import Call
from .equality import compared_parameters, same
from .graph import Pinned, Recorded, recorded
from .loop import Batches, check_finite, is_idle, n_batches_of_epochs
from .memory import Drawn, MemoryStack, ReplayMemory
from .optimizer import stepper
from .passes import AutogradPasses, Passes, passes_of, stacked_passes_of
from .rows import Rows, StackedRows, rows_of, stacked
from .vectors import vectors_of


def partial_fit_together(estimators: Sequence[Any], calls: Sequence[Mapping[str, Any]]) -> bool:
    """Let each estimator learn its call, as ``partial_fit`` would; all of them or none.

    Networks that can be stacked are trained as one; results are those of one-by-one training up to rounding. Where
    stacking has no meaning (other strategies, dropout, batch normalisation, callbacks, an optimiser that is not
    elementwise, a module whose forward pass looks at values or draws), estimators learn one by one.

    Parameters
    ----------
    estimators : sequence of estimators
        Equal but for their random states.
    calls : sequence of dict
        The arguments of each estimator's ``partial_fit``, by name.

    Returns
    -------
    bool
        Whether they were trained as one.

    Raises
    ------
    ValueError
        If estimators differ in their class or in a parameter other than ``random_state``; it is named.

    Examples
    --------
    >>> from forgetless.datasets import load_digits
    >>> from forgetless.estimators import EWCClassifier, partial_fit_together
    >>> digits = load_digits()
    >>> seeds = [EWCClassifier(random_state=seed) for seed in range(3)]
    >>> partial_fit_together(seeds, [{"X": digits.X_train, "y": digits.y_train}] * 3)
    True
    >>> [clf.score(digits.X_test, digits.y_test) > 0.9 for clf in seeds]
    [True, True, True]
    """
    _check_alike(estimators)
    with ExitStack() as transactions:
        for estimator in estimators:
            if hasattr(estimator, "transaction"):
                transactions.enter_context(estimator.transaction())
        if not all(getattr(estimator, "pure_steps", False) for estimator in estimators):
            for estimator, arguments in zip(estimators, calls, strict=True):
                estimator.partial_fit(**arguments)
            return False
        started = [e.open_call(**arguments) for e, arguments in zip(estimators, calls, strict=True)]
        for estimator, call in zip(estimators, started, strict=True):
            estimator.start_training(call)
        are_stacked = _can_be_stacked(estimators, started) and _Stack(estimators, started).learn()
        for estimator, call in zip(estimators, started, strict=True):
            if not are_stacked:
                estimator.train(call)
            estimator.finish_training(call)
        return are_stacked


def _check_alike(estimators: Sequence[Any]) -> None:
    """Raise unless estimators are of one class with equal parameters, but for random states."""
    first, *others = estimators
    expected = compared_parameters(first)
    for other in others:
        if type(other) is not type(first):
            raise ValueError(
                f"Only estimators of one class learn stacked, but there are {type(first).__name__} and "
                f"{type(other).__name__}; call partial_fit_together for each class by itself."
            )
        own = compared_parameters(other)
        # Those that both have first, and among them those of nested estimators: where one differs, so does "steps".
        common = sorted(expected.keys() & own.keys(), key=lambda name: (-name.count("__"), name))
        for name in [*common, *sorted(expected.keys() ^ own.keys(), key=lambda name: (name.count("__"), name))]:
            if name not in own or name not in expected or not same(expected[name], own[name]):
                values = " and ".join(repr(p[name]) if name in p else "none" for p in (expected, own))
                raise ValueError(
                    f"Estimators that learn stacked must differ in random_state only, but {name} is {values}; call "
                    "partial_fit_together for those with equal parameters by themselves."
                )


def _can_be_stacked(estimators: Sequence[Any], calls: Sequence[Call]) -> bool:
    """Whether one forward pass can serve all: equal architectures, no randomness or state in it, equal loss."""
    net, call = estimators[0].net_, calls[0]
    if net.callbacks or net.train_split or net.batch_size == -1 or not net.trainable():
        return False
    if any(isinstance(layer, nn.Dropout) for layer in net.module_.modules()) or list(net.module_.buffers()):
        return False
    # Of several tables of embeddings, vmap makes one, which has the row of one padding.
    if any(getattr(layer, "padding_idx", None) is not None for layer in net.module_.modules()):
        return False
    if not all(p.requires_grad for p in net.module_.parameters()):  # what is frozen may differ from seed to seed
        return False
    shape = net.flatten().shape

    def carried(estimator: Any) -> tuple[set[str], bool]:
        vectors = {name for name, _ in vectors_of(estimator, shape)}
        return vectors, bool(len(getattr(estimator, "memory_", ())))

    vectors_of_call = dict(vectors_of(call.state, shape))
    return all(
        other.net_.shapes() == net.shapes()
        and carried(other) == carried(estimators[0])
        and own.objective == call.objective
        and own.rows.names() == call.rows.names()
        and vars(own.state).keys() == vars(call.state).keys()
        and all(n in vectors_of_call or same(v, vars(own.state)[n]) for n, v in vars(call.state).items())
        for other, own in zip(estimators[1:], calls[1:], strict=True)
    )


class _StackedCall(Call):
    """The calls of all as one: where each has a generator, this one has a list of them."""

    calls: Sequence[Call]

    def rng(self, purpose: str) -> list[np.random.Generator]:  # type: ignore[override]
        """The generators for one purpose."""
        return [call.rng(purpose) for call in self.calls]

    @property
    def generator(self) -> list[torch.Generator]:  # type: ignore[override]
        """The generators that hooks draw from."""
        return [call.generator for call in self.calls]


class _Stack:
    """The loop of :func:`train` for several estimators at once."""

    def __init__(self, estimators: Sequence[Any], calls: Sequence[Call]) -> None:
        self.estimators, self.calls = estimators, calls
        self.nets = [e.net_ for e in estimators]
        self.params = [net.trainable() for net in self.nets]
        self.theta = torch.stack([net.flatten() for net in self.nets])
        self.gradient = torch.empty_like(self.theta)
        self.vectors = [(net.adopt(t), g) for net, t, g in zip(self.nets, self.theta, self.gradient, strict=True)]
        self.steps = stepper([net.optimizer_ for net in self.nets], self.params, self.theta)
        x = calls[0].rows.x
        self.passes = stacked_passes_of(self.nets[0], self.theta, self.gradient, x)
        self.passes_of_one = [passes_of(net, g, x) for net, g in zip(self.nets, self.gradient, strict=True)]
        self.is_plain = is_idle(estimators[0], "learn_batch")
        self.prepares = not is_idle(estimators[0], "before_step")
        self.follows = not is_idle(estimators[0], "after_step")
        self.has_plain_loss = is_idle(estimators[0], "loss")
        # The estimators and their calls as one: where each has a vector over the parameters, these have the matrix of
        # which theirs are the rows; where each has a memory, these have all memories.
        self.stacked = copy.copy(estimators[0])
        self.stacked_call = _StackedCall(**{f: getattr(calls[0], f) for f in _FIELDS})
        self.stacked_call.calls = calls
        self.stacked_call.objective = calls[0].objective.stacked()
        self.stacked_call.state = SimpleNamespace(**vars(calls[0].state))
        self.stacked_call.other_passes[1] = stacked_passes_of(self.nets[0], self.theta, torch.empty_like(self.theta), x)
        if self.steps is not None:
            self.stacked_call.rates = self.steps.rates
            for k, call in enumerate(calls):
                call.rates = partial(self.steps.rates, only=k)
        self.memory: MemoryStack | None = None
        if isinstance(getattr(estimators[0], "memory_", None), ReplayMemory):
            self.memory = self.stacked.memory_ = MemoryStack([e.memory_ for e in estimators])
        for each, common in self._states():
            for name, _ in vectors_of(each[0], self.theta[0].shape):
                setattr(common, name, torch.stack([getattr(own, name) for own in each]))
        self._bring_vectors(range(len(self.nets)))

    def _states(self) -> list[tuple[list[Any], Any]]:
        """What has vectors as attributes: of each seed, and as one."""
        return [
            (list(self.estimators), self.stacked),
            ([call.state for call in self.calls], self.stacked_call.state),
        ]

    def learn(self) -> bool:
        """Train all; returns False, and has done nothing, if they cannot be passed or step as one."""
        for net, theta in zip(self.nets, self.theta, strict=True):
            net.module_.train()
            net.move(theta)
        if self.steps is None or not self._can_be_passed():
            self._hand_back()
            return False
        self.move: Callable[[Rows], tuple[torch.Tensor, torch.Tensor | None]]
        self.move = recorded(self._move_all, self.theta, self.steps)
        self.pinned = None
        if self.follows and isinstance(self.move, Recorded):
            self.pinned = Pinned((self.stacked, self.stacked_call.state), self.theta.shape)
        batches = [
            Batches(call.rows, net.batch_size, call.torch_generator("order"))
            for call, net in zip(self.calls, self.nets, strict=True)
        ]
        lengths = [n_batches_of_epochs(net, len(b)) for net, b in zip(self.nets, batches, strict=True)]
        for call, length in zip([*self.calls, self.stacked_call], [*lengths, max(lengths, key=len)], strict=True):
            call.n_epochs = len(length)
        for epoch, counts in enumerate(itertools.zip_longest(*lengths, fillvalue=0)):
            for call, count in zip([*self.calls, self.stacked_call], [*counts, max(counts)], strict=True):
                call.epoch, call.n_batches, call.batch_index = epoch, count, 0
            self._epoch(batches, counts)
        self.steps.finish()
        check_finite(float(self.theta.abs().max()), "a weight")
        self._hand_back()
        return True

    def _can_be_passed(self) -> bool:
        """Whether all can be passed as one, and each then has the outputs and gradients that it has alone.

        A module that looks at values, or draws, in its forward pass cannot be; one that keeps numbers of its own
        besides parameters has other outputs.
        """
        if not isinstance(self.passes, AutogradPasses):
            return True
        n_rows = min(_COMPARED_ROWS, *(len(call.rows.x) for call in self.calls))
        x = torch.stack([call.rows.x[:n_rows] for call in self.calls])
        try:
            outputs, gradients = _outputs_and_gradient(self.passes, x)
            alone = [_outputs_and_gradient(own, rows) for own, rows in zip(self.passes_of_one, x, strict=True)]
        except Exception:  # if the module itself is wrong, it says so where it learns alone
            return False
        return all(
            map(_are_close, [*outputs, *gradients], [*(own for own, _ in alone), *(gradient for _, gradient in alone)])
        )

    def _hand_back(self) -> None:
        """Give each seed tensors of its own again."""
        for each, name, matrix in self._vectors():
            for own, row in zip(each, matrix, strict=True):
                setattr(own, name, row.clone())
        for net in self.nets:
            net.module_.eval()
            net.move(None)
            net.flatten()  # nobody keeps the others' weights alive
        if self.memory:
            self.memory.release()

    def _epoch(self, batches: Sequence[Batches], counts: Sequence[int]) -> None:
        """One epoch of each seed; those with more batches than others go on alone."""
        taking_part = [net for net, count in zip(self.nets, counts, strict=True) if count]
        for net in taking_part:
            net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
        totals, n_rows = torch.zeros(len(self.nets), device=self.theta.device), [0] * len(self.nets)
        nothing: tuple[Rows | None, list[int]] = (None, [])
        chunks = itertools.zip_longest(*map(Batches.chunks, batches, counts), fillvalue=nothing)
        for rows, sizes in (zip(*each, strict=True) for each in chunks):
            n_rows = [n + sum(own) for n, own in zip(n_rows, sizes, strict=True)]
            alike = [n for n, *others in zip(*sizes, strict=False) if set(others) <= {n}]
            if alike:
                common = stacked([own.map(lambda t: t[: sum(alike)]) for own in rows])  # noqa: B023
                for batch in common.split(alike, dim=1):
                    totals.add_(self._learn_batch(batch), alpha=len(batch))
                    for call in (*self.calls, self.stacked_call):
                        call.batch_index += 1
            # Experiences of different sizes end in batches of different sizes.
            for k, (own, own_sizes) in enumerate(zip(rows, sizes, strict=True)):
                if len(own_sizes) > len(alike):
                    rest = own.map(lambda t: t[sum(alike) :])  # noqa: B023
                    for batch in rest.split(own_sizes[len(alike) :]):
                        totals[k].add_(self._learn_batch_of(k, batch), alpha=len(batch))
                        self.calls[k].batch_index += 1
        for net, count, total, n in zip(self.nets, counts, totals.tolist(), n_rows, strict=True):
            if count:
                check_finite(total / n, "the loss")
                net.history[-1].update(train_loss=total / n, train_batch_count=count)
                net.notify("on_epoch_end", dataset_train=None, dataset_valid=None)

    def _learn_batch(self, batch: StackedRows) -> torch.Tensor:
        """A batch of each seed; one by one where hooks hear of other steps, or memories are not equally full."""
        steps = {call.step for call in self.calls}
        self.stacked_call.step = min(steps)
        apart = len(steps) > 1 and (self.prepares or self.follows)
        if not self.is_plain and self.memory is not None:
            apart |= len({len(memory) for memory in self.memory.memories}) > 1
        if apart:
            return torch.stack([self._learn_batch_of(k, rows_of(batch, k)) for k in range(len(self.nets))])
        if self.is_plain:
            return self._step_of_all(batch)
        loss: torch.Tensor = self.stacked.learn_batch(self.stacked_call, self.theta, batch, self._step_of_all)
        return loss.detach()

    def _learn_batch_of(self, k: int, batch: Rows) -> torch.Tensor:
        """A batch of one seed."""
        self._bring_vectors([k])
        estimator, theta = self.estimators[k], self.vectors[k][0]
        loss: torch.Tensor = estimator.learn_batch(self.calls[k], theta, batch, partial(self._step_of_one, k))
        return loss.detach()

    def _step_of_all(self, batch: StackedRows) -> torch.Tensor:
        """One step of each seed: as one, where what they add to their batches has the same shapes."""
        if self.prepares:
            parts = self._prepared_parts(batch)
            common = self._as_one(batch, parts)
            if common is None:
                losses = torch.stack([self._learn_alone(k, part) for k, part in enumerate(parts)])
                self.stacked_call.step += 1
                return losses
            batch = common
        losses, batch.outputs = self.move(batch)
        for call in (*self.calls, self.stacked_call):
            call.step += 1
        if self.follows:
            self.stacked.after_step(self.stacked_call, self.theta, batch)
            if self.pinned:
                self.pinned.restore()
        return losses

    def _prepared_parts(self, batch: StackedRows) -> list[Rows]:
        """The part of each seed, with what it adds."""
        parts, seeds = [rows_of(batch, k) for k in range(len(self.nets))], range(len(self.nets))
        vectors = self._bring_vectors(seeds)
        for estimator, call, part in zip(self.estimators, self.calls, parts, strict=True):
            estimator.before_step(call, part)
        _take_back(vectors, seeds)
        return parts

    def _as_one(self, batch: StackedRows, parts: Sequence[Rows]) -> StackedRows | None:
        """The batch with what was added to its parts; None if they have other shapes, so that it cannot be stacked."""
        draws = [part.memory for part in parts]
        are_drawn = all(isinstance(drawn, Drawn) for drawn in draws)
        if self.memory is not None and are_drawn and len(set(map(len, draws))) == 1:
            for part in parts:
                part.memory = None
            if any(part.names() != batch.names() for part in parts):
                batch = stacked(parts)
            batch.memory = self.memory.gather(draws)
            return batch
        if draws == [None] * len(parts) and all(part.names() == batch.names() for part in parts):
            return batch
        for part in parts:
            if isinstance(part.memory, Drawn):
                part.memory = part.memory.rows()
        return stacked(parts) if all(part.shape() == parts[0].shape() for part in parts) else None

    def _step_of_one(self, k: int, batch: Rows) -> torch.Tensor:
        """One step of one seed on a batch of its own."""
        if self.prepares:
            self.estimators[k].before_step(self.calls[k], batch)
            if isinstance(batch.memory, Drawn):
                batch.memory = batch.memory.rows()
        return self._learn_alone(k, batch)

    def _bring_vectors(self, seeds: Sequence[int]) -> list[_Vectors]:
        """Give seeds their rows of the matrices, which hooks may have replaced; returns which they are."""
        vectors = self._vectors()
        for each, name, matrix in vectors:
            for k in seeds:
                setattr(each[k], name, matrix[k])
        return vectors

    def _vectors(self) -> list[_Vectors]:
        return [
            _Vectors(each, name, matrix)
            for each, common in self._states()
            for name, matrix in vectors_of(common, self.theta.shape)
        ]

    def _learn_alone(self, k: int, batch: Rows) -> torch.Tensor:
        """One step of one seed on a batch that has all it needs."""
        estimator, call = self.estimators[k], self.calls[k]
        loss, batch.outputs = self._move(estimator, call, self.passes_of_one[k], self.vectors[k], batch, only=k)
        call.step += 1
        if self.follows:
            estimator.after_step(call, self.vectors[k][0], batch)
        _take_back(self._vectors(), [k])
        return loss

    def _move_all(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self._move(self.stacked, self.stacked_call, self.passes, (self.theta, self.gradient), batch)

    def _move(
        self,
        estimator: Any,
        call: Call,
        passes: Passes,
        vectors: tuple[torch.Tensor, torch.Tensor],
        batch: Rows,
        only: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One step on a batch, of all seeds or `only` of one; returns losses and outputs."""
        theta, gradient = vectors
        outputs: torch.Tensor | None
        if self.has_plain_loss:
            losses, outputs = passes.descend(call.objective, batch)
        else:
            losses = estimator.loss(call, passes, batch)
            outputs = passes.outputs[0].detach() if passes.outputs else None
            passes.backward(losses.sum())
        estimator.after_backward(call, theta, gradient)
        self.steps.update(gradient, only=only)
        return losses.detach(), outputs


def _outputs_and_gradient(passes: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs for rows, and the gradient of the sum of their squares."""
    outputs = passes.forward(x.clone())
    passes.backward(outputs.square().sum())
    return outputs.detach(), passes.gradient.clone()


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-3 * other.abs().max())


class _Vectors(NamedTuple):
    """The vector of each seed under one name, and the matrix of which they are the rows."""

    each: list[Any]
    name: str
    matrix: torch.Tensor


def _take_back(vectors: Iterable[_Vectors], seeds: Sequence[int]) -> None:
    """Put vectors into the matrices that hooks of single seeds have replaced."""
    for each, name, matrix in vectors:
        for k in seeds:
            value = getattr(each[k], name)
            if value.data_ptr() != matrix[k].data_ptr():
                matrix[k].copy_(value)


_COMPARED_ROWS = 32
# What the stacked call has of the first one.
_FIELDS = ("experience", "opens_experience", "task_id", "entropy")
