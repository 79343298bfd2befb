"""What methods share that give each task a part of its own: outputs for its classes, and a network that answers."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import nn

from ..base import ContinualClassifier
from ..engine.call import Call
from ..engine.modules import frozen_copy, head_of, twin_of
from ..engine.objective import Classification, Objective, as_logits
from ..engine.rows import Rows
from ..strategy import NetworkStrategy

Part: TypeAlias = dict[str, Any]
# The outputs of a network's classes, and the logarithms of its probabilities.
Answer: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


def task_of(call: Call) -> Hashable:
    """The key of a call's task; a call without task id is a task of its own."""
    return call.task_id if call.task_id is not None else ("experience", call.experience)


class PerTaskClassifier(NetworkStrategy, ContinualClassifier):
    """A network with a part for each task: at least a head of its own, over the task's classes only.

    ``net_`` is the network of the running task; its outputs are the task's classes, in the order of their appearance.
    What belongs to a task alone is kept in ``parts_``, and with it the network of the task can be had again at any
    time. A class that comes in several tasks, as in domain-incremental streams, has an output in each. A call without
    task id opens a task of its own; at a prediction without task id, all tasks' networks are asked, and the most
    certain one answers.
    """

    family = "isolation"

    parts_: dict[Hashable, Part]

    def __init__(self, net: NeuralNet | None = None, *, random_state: Any = None) -> None:
        self.net = net
        self.random_state = random_state

    # --- what methods say ----------------------------------------------------------------------------------------

    def own_part(self) -> Part:
        """What belongs to the running task alone: a dict of tuples of tensors, and of numbers."""
        return {"head": head_tensors(self.net_.module_)}

    def resume(self, part: Part) -> None:
        """A task comes back after others: bring what belongs to it into the network."""
        for p, kept in zip(_head_parameters(self.net_.module_), part["head"], strict=True):
            p.data[: len(kept)] = kept

    def task_network(self, part: Part) -> nn.Module:
        """A module, apart from the one that learns, that gives the outputs of a task."""
        module = frozen_copy(self.net_.module_)
        head = head_of(module)
        for name, kept in zip(("weight", "bias"), part["head"], strict=False):
            setattr(head, name, nn.Parameter(kept, requires_grad=False))
        return module

    def open_task(self, call: Call, n_outputs: int, part: Part | None) -> None:
        """Make ``net_`` the network in which the task of this call learns; `part` is what the task has already."""
        if not hasattr(self, "net_"):
            self.net_ = self.new_network(call, n_outputs)
            return
        self.net_.start_call()
        with call.seeded("weights"):
            if call.opens_experience:
                self.net_.start_experience()
                self.net_.resize_head(0)
            self.net_.resize_head(n_outputs)
        if call.opens_experience and part is not None:
            self.resume(part)

    # --- learning ------------------------------------------------------------------------------------------------

    def ready_network(self, call: Call) -> None:
        """Make ``net_`` the network of the task, with an output for each of the task's classes."""
        self.parts_ = getattr(self, "parts_", {})
        if hasattr(self, "net_"):
            self.follow_prototype()
        part = self.parts_.get(task_of(call))
        known = np.empty(0, dtype=np.int64) if part is None else part["outputs"]
        call.state.outputs = np.concatenate([known, np.setdiff1d(call.y, known)])
        self.open_task(call, len(call.state.outputs), part)

    def new_objective(self, call: Call) -> Objective:
        """The outputs are those of the running task: all are active."""
        return Classification(self.criterion_for(call.state.outputs))

    def device_rows(self, call: Call) -> Rows:
        """Targets are the numbers of the task's outputs."""
        own = np.zeros(len(self.classes_), dtype=np.int64)
        own[call.state.outputs] = np.arange(len(call.state.outputs))
        return Rows(x=self.on_device(call.X), y=self.on_device(own[call.y]))

    def finish_training(self, call: Call) -> None:
        """Keep what belongs to the task alone."""
        super().finish_training(call)
        self.parts_ = {**self.parts_, task_of(call): {"outputs": call.state.outputs, **self.own_part()}}

    # --- predictions ---------------------------------------------------------------------------------------------

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Logarithms of the probabilities of the most certain task's network."""
        parts = getattr(self, "parts_", {})
        if not parts:  # nothing learned yet
            outputs = self.network_outputs(self.on_device(X), twin_of(self.net_.module_))
            return as_logits(outputs, self.net_.criterion_).cpu().numpy()
        return most_certain([self.answer(X, part) for part in parts.values()], len(self.classes_))

    def task_output_scores(self, X: NDArray[Any], task_id: Hashable) -> NDArray[Any]:
        """Logarithms of the probabilities of the task's network."""
        return most_certain([self.answer(X, self.parts_[task_id])], len(self.classes_))

    def answer(self, X: NDArray[Any], part: Part) -> Answer:
        """What the network of a task says of rows."""
        outputs = self.network_outputs(self.on_device(X), self.task_network(part))
        logits = as_logits(outputs, self.net_.criterion_)
        return part["outputs"], logits.double().log_softmax(1).cpu().numpy()

    def carried(self) -> Iterator[tuple[str, Any]]:
        """The network, and the tensors of the tasks' parts."""
        yield from super().carried()
        for part in getattr(self, "parts_", {}).values():
            yield "weights", [kept for kept in part.values() if isinstance(kept, tuple)]


def _head_parameters(module: nn.Module) -> list[torch.Tensor]:
    head = head_of(module)
    return [p for p in (head.weight, head.bias) if p is not None]


def head_tensors(module: nn.Module) -> tuple[torch.Tensor, ...]:
    """Copies of the head's weight and, if it has one, bias.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    tuple of torch.Tensor
    """
    return tuple(p.detach().clone() for p in _head_parameters(module))


def most_certain(answers: Sequence[Answer], n_outputs: int) -> NDArray[np.float64]:
    r"""Scores where, for each row, only the most certain of several networks answers.

    That is the one whose probabilities have the lowest entropy relative to that of a uniform guess over its classes,
    :math:`H(p_k) / \log C_k`. A network with one class only is never certain.

    Parameters
    ----------
    answers : list of (ndarray of int, ndarray of shape (n_rows, n_classes_of_network))
        The outputs of each network's classes, and the logarithms of its probabilities.
    n_outputs : int

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
        Logarithms of probabilities; minus infinity for what the answering network does not know.

    Examples
    --------
    >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.4, 0.6]])
    >>> most_certain([(np.array([0, 1]), unsure), (np.array([2, 3]), sure)], 4).argmax(axis=1)
    array([2])
    """
    return answers_of(np.stack([_relative_entropy(log_p) for _, log_p in answers]).argmin(axis=0), answers, n_outputs)


def answers_of(chosen: NDArray[np.int64], answers: Sequence[Answer], n_outputs: int) -> NDArray[np.float64]:
    """Scores where, for each row, the network `chosen` answers; see :func:`most_certain`.

    Parameters
    ----------
    chosen : ndarray of int, shape (n_rows,)
        Position in `answers`.
    answers, n_outputs
        As for :func:`most_certain`.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
    """
    scores = np.full((len(chosen), n_outputs), -np.inf)
    for k, (outputs, log_p) in enumerate(answers):
        rows = np.flatnonzero(chosen == k)
        scores[np.ix_(rows, outputs)] = log_p[rows]
    return scores


def _relative_entropy(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of each row as a share of the largest that is possible; 1 where there is only one class."""
    if log_p.shape[1] == 1:
        return np.ones(len(log_p))
    entropy: NDArray[np.float64] = -(np.exp(log_p) * log_p).sum(axis=1)
    return entropy / float(np.log(log_p.shape[1]))
