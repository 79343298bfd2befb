"""Several estimators that differ only in their seeds, trained as one stacked network.

A small network leaves the machine idle between kernels. Here the parameters of all seeds are rows of one matrix, and a
step of all of them is one call of each kernel. A strategy is written once: its loss works on rows and outputs, the last
two dimensions, and keeps dimensions before them, which is where the seeds are; what it does to the gradient and after
the step is elementwise, so it works on the matrix as it does on a vector. Each seed keeps its own data order, memory
and random state.
"""

import copy
import itertools
from contextlib import ExitStack

import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from .graph import recorded
from .memory import MemoryStack
from .net import Batches, check_finite
from .network import NetworkStrategy
from .optimizer import stepper
from .passes import passes_of, stacked_passes_of
from .replay.base import Rehearsing


def partial_fit_together(estimators, calls):
    """Let each estimator learn its call, as ``partial_fit`` would; all of them or none.

    Networks that can be stacked are trained as one; results are those of one-by-one training up to rounding. Where
    stacking has no meaning (other strategies, dropout, batch normalisation, callbacks, an optimiser that is not
    elementwise), estimators learn one by one.

    Parameters
    ----------
    estimators : sequence of estimators
        Equal but for their random states.
    calls : sequence of dict
        The arguments of each estimator's ``partial_fit``, by name.

    Examples
    --------
    >>> from forgetless.datasets import load_digits
    >>> from forgetless.estimators import EWCClassifier, partial_fit_together
    >>> digits = load_digits()
    >>> seeds = [EWCClassifier(random_state=seed) for seed in range(3)]
    >>> partial_fit_together(seeds, [{"X": digits.X_train, "y": digits.y_train}] * 3)
    >>> [clf.score(digits.X_test, digits.y_test) > 0.9 for clf in seeds]
    [True, True, True]
    """
    with ExitStack() as transactions:
        if not all(getattr(estimator, "_pure_steps", False) for estimator in estimators):
            for estimator, call in zip(estimators, calls, strict=True):
                if hasattr(estimator, "_all_or_nothing"):
                    transactions.enter_context(estimator._all_or_nothing())
                estimator.partial_fit(**call)
            return
        for estimator in estimators:
            transactions.enter_context(estimator._all_or_nothing())
        ready = [e._ready(*e._read(**call)) for e, call in zip(estimators, calls, strict=True)]
        rows = [e._open(*tensors) for e, tensors in zip(estimators, ready, strict=True)]
        if not (_can_be_stacked(estimators) and _Stack(estimators, rows[0][0]).learn(rows)):
            for estimator, tensors in zip(estimators, rows, strict=True):
                estimator._run_loop(tensors)
        for estimator, tensors in zip(estimators, ready, strict=True):
            estimator._close(*tensors)


def _can_be_stacked(estimators):
    """Whether one forward pass can serve all: equal architectures, no randomness or state in it, equal loss."""
    first, net = estimators[0], estimators[0].net_
    if net.callbacks or net.train_split or net.batch_size == -1 or not net.trainable():
        return False
    if any(isinstance(layer, nn.Dropout) for layer in net.module_.modules()) or list(net.module_.buffers()):
        return False
    if not all(p.requires_grad for p in net.module_.parameters()):  # what is frozen may differ from seed to seed
        return False
    return all(
        type(other) is type(first)
        and other.net_.shapes() == net.shapes()
        and all(_same(getattr(first, name, None), getattr(other, name, None)) for name in first._loss_state)
        for other in estimators[1:]
    )


def _same(a, b):
    if torch.is_tensor(a) and torch.is_tensor(b):
        return torch.equal(a, b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


class _Stack:
    """The loop of :meth:`FastLoop.learn` for several estimators at once."""

    def __init__(self, estimators, x):
        self.estimators = estimators
        self.nets = [e.net_ for e in estimators]
        self.params = [net.trainable() for net in self.nets]
        self.theta = torch.stack([net.flatten() for net in self.nets])
        self.gradient = torch.empty_like(self.theta)
        self.rows = [(net.adopt(theta), g) for net, theta, g in zip(self.nets, self.theta, self.gradient, strict=True)]
        optimizers = [net.optimizer_ for net in self.nets]
        self.steps = stepper(optimizers, self.params, self.theta)
        # The estimators as one: where each has a vector over the parameters, this one has the matrix, of which theirs
        # are the rows.
        self.together = copy.copy(estimators[0])
        self.vectors = [name for name, value in vars(estimators[0]).items() if self._is_vector(value)]
        for name in self.vectors:
            matrix = torch.stack([getattr(e, name) for e in estimators])
            setattr(self.together, name, matrix)
            for e, row in zip(estimators, matrix, strict=True):
                setattr(e, name, row)
        self.passes = stacked_passes_of(self.nets[0], self.theta, self.gradient, x)
        self.passes_of_one = [passes_of(net, g, x) for net, g in zip(self.nets, self.gradient, strict=True)]
        self.together._criterion = stacked_criterion(self.nets[0].criterion_)
        # What each seed does by itself, if it does it at all.
        self.mixes = type(estimators[0])._mix is not NetworkStrategy._mix
        self.observes = type(estimators[0])._observe is not NetworkStrategy._observe

    def _is_vector(self, value):
        return torch.is_tensor(value) and value.shape == self.theta[0].shape

    def learn(self, rows):
        """Train all on their rows; returns False, and has done nothing, if their optimisers cannot step together."""
        if self.steps is None:
            return False
        self.move = recorded(self._move_all, self.theta, self.steps)
        batches = [
            Batches(tensors, net.batch_size, e._torch_generator("order"))
            for e, net, tensors in zip(self.estimators, self.nets, rows, strict=True)
        ]
        # But rows are drawn from all memories at once.
        memories = [e.memory_ for e in self.estimators if isinstance(e, Rehearsing) and e._draws_uniformly]
        self.memory = MemoryStack(memories) if memories and all(map(len, memories)) else None
        lengths = [net._epochs(len(b), None) for net, b in zip(self.nets, batches, strict=True)]
        for net in self.nets:
            net.module_.train()
        for counts in itertools.zip_longest(*lengths, fillvalue=0):
            self._epoch(batches, counts)
        self.steps.finish()
        check_finite(float(self.theta.abs().max()), "a weight")
        for e in self.estimators:
            e.net_.flatten()  # nobody keeps the others' weights alive
            for name in self.vectors:
                setattr(e, name, getattr(e, name).clone())
        if self.memory:
            self.memory.release()
        return True

    def _epoch(self, batches, counts):
        """One epoch of each seed; those with more batches than others go on alone."""
        taking_part = [net for net, count in zip(self.nets, counts, strict=True) if count]
        for net in taking_part:
            net.notify("on_epoch_begin", dataset_train=None, dataset_valid=None)
        totals, n_rows = torch.zeros(len(self.nets), device=self.theta.device), [0] * len(self.nets)
        chunks = itertools.zip_longest(*map(Batches.chunks, batches, counts), fillvalue=((), []))
        for rows, sizes in (zip(*each, strict=True) for each in chunks):
            n_rows = [n + sum(own) for n, own in zip(n_rows, sizes, strict=True)]
            alike = [n for n, *others in zip(*sizes, strict=False) if set(others) <= {n}]
            if alike:
                fields = [torch.stack([t[: sum(alike)] for t in field]) for field in zip(*rows, strict=True)]
                for batch in zip(*(field.split(alike, dim=1) for field in fields), strict=True):
                    totals.add_(self._step_of_all(batch), alpha=batch[0].shape[1])
            # Experiences of different sizes end in batches of different sizes.
            for k, (own, own_sizes) in enumerate(zip(rows, sizes, strict=True)):
                rest = (t[sum(alike) :].split(own_sizes[len(alike) :]) for t in own)
                for batch in zip(*rest, strict=True):
                    totals[k].add_(self._step_of_one(k, batch), alpha=len(batch[0]))
        for net, count, total, n in zip(self.nets, counts, totals.tolist(), n_rows, strict=True):
            if count:
                check_finite(total / n, "the loss")
                net.history.record("train_loss", total / n)
                net.history.record("train_batch_count", count)
                net.notify("on_epoch_end", dataset_train=None, dataset_valid=None)

    def _step_of_all(self, batch):
        mixed = batch
        if self.memory:
            if n_rows := self.estimators[0]._n_drawn([field[0] for field in batch]):
                mixed = *batch, *self.memory.sample(n_rows, [e._generator_ for e in self.estimators])
        elif self.mixes:
            each = [e._mix(own) for e, own in zip(self.estimators, zip(*batch, strict=True), strict=True)]
            mixed = tuple(torch.stack(field) for field in zip(*each, strict=True))
        losses, outputs = self.move(*mixed)
        # Rows are offered to all memories at once, too.
        if self.memory and (offered := self.together._offered(batch, outputs)):
            self.memory.add([e._offer_rng_ for e in self.estimators], *offered)
        elif self.observes:
            for e, own, own_outputs in zip(self.estimators, zip(*batch, strict=True), outputs, strict=True):
                e._observe(own, own_outputs)
        return losses

    def _step_of_one(self, k, batch):
        mixed = self.estimators[k]._mix(batch)
        loss, outputs = self._move(self.estimators[k], self.passes_of_one[k], self.rows[k], mixed, only=k)
        self.estimators[k]._observe(batch, outputs)
        return loss

    def _move_all(self, *batch):
        return self._move(self.together, self.passes, (self.theta, self.gradient), batch)

    def _move(self, estimator, passes, vectors, batch, only=None):
        """One step on a mixed batch, of all seeds or `only` of one; returns losses and outputs."""
        theta, gradient = vectors
        losses = estimator._loss(passes, batch)
        outputs = passes.outputs[0].detach()
        passes.backward(losses.sum())
        estimator._change_gradient(theta, gradient)
        self.steps.update(gradient, only=only)
        estimator._after_step(theta)
        return losses.detach(), outputs


def stacked_criterion(criterion):
    """The criterion of each seed, as a function of stacked outputs and targets."""
    if type(criterion) is not nn.CrossEntropyLoss or criterion.reduction != "mean" or criterion.weight is not None:
        return vmap(criterion)

    def cross_entropy(outputs, y):
        smoothing = criterion.label_smoothing
        losses = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=smoothing)
        return losses.unflatten(0, y.shape).mean(1)

    return cross_entropy
