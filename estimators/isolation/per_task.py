"""What methods share that give each task a part of its own: outputs for its classes, and a network that answers."""

import numpy as np
from torch import nn

from ..modules import frozen_copy, head_of, tensor_bytes
from ..network import NetworkClassifier


class PerTaskClassifier(NetworkClassifier):
    """A network with a part for each task: at least a head of its own, over the task's classes only.

    ``net_`` is the network of the running task; its outputs are the task's classes, in the order of their appearance.
    What belongs to a task alone is kept in ``parts_``, and with it the network of the task can be had again at any
    time. A class that comes in several tasks, as in domain-incremental streams, has an output in each. A call without
    task id opens a task of its own; at a prediction without task id, all tasks' networks are asked, and the most
    certain one answers.
    """

    _family = "isolation"
    # The outputs are those of the running task: all are active.
    _inactive_ = None

    def __init__(self, net=None, *, random_state=None):
        self.net = net
        self.random_state = random_state

    # --- hooks ---------------------------------------------------------------------------------------------------

    def _own_part(self):
        """What belongs to the running task alone: a dict of tuples of tensors, and of numbers."""
        return {"head": head_tensors(self.net_.module_)}

    def _resume(self, part):
        """A task comes back after others: bring what belongs to it into the network."""
        for p, kept in zip(_head_parameters(self.net_.module_), part["head"], strict=True):
            p.data[: len(kept)] = kept

    def _task_network(self, part):
        """A module, apart from the one that learns, that gives the outputs of a task."""
        module = frozen_copy(self.net_.module_)
        head = head_of(module)
        for name, kept in zip(("weight", "bias"), part["head"], strict=False):
            setattr(head, name, nn.Parameter(kept, requires_grad=False))
        return module

    # --- learning ------------------------------------------------------------------------------------------------

    def _ready(self, X, y):
        self.parts_ = getattr(self, "parts_", {})
        self._task_ = self._running_task_ if self._running_task_ is not None else ("experience", self.n_experiences_)
        part = self.parts_.get(self._task_)
        known = np.empty(0, dtype=np.int64) if part is None else part["columns"]
        self._task_columns_ = np.concatenate([known, np.setdiff1d(y, known)])
        self._open_task(len(self._task_columns_), part)
        outputs = np.zeros(len(self.classes_), dtype=np.int64)
        outputs[self._task_columns_] = np.arange(len(self._task_columns_))
        return self._to_device(X), self._to_device(outputs[y])

    def _close(self, X, y):
        super()._close(X, y)
        self.parts_ = {**self.parts_, self._task_: {"columns": self._task_columns_, **self._own_part()}}

    def _open_task(self, n_outputs, part):
        """Make ``net_`` the network in which the task of this call learns; `part` is what the task has already."""
        if not hasattr(self, "net_"):
            self.net_ = self._new_net(n_outputs)
            return
        with self._seeded("weights"):
            if self._opens_experience_:
                self.net_.start_experience()
                self.net_.resize_head(0)
            self.net_.resize_head(n_outputs)
        if self._opens_experience_ and part is not None:
            self._resume(part)

    def _ready_net(self):
        """The untrained network of :meth:`initialize`, with an output for each announced class."""
        self.net_ = self._new_net(self._n_outputs())

    # --- predictions ---------------------------------------------------------------------------------------------

    def _scores(self, X):
        parts = getattr(self, "parts_", {})
        if not parts:  # nothing learned yet
            return super()._scores(X)
        answers = [(part["columns"], self._log_probabilities(X, part)) for part in parts.values()]
        return most_certain(answers, len(self.classes_))

    def _task_scores(self, X, task_id):
        part = self.parts_[task_id]
        return most_certain([(part["columns"], self._log_probabilities(X, part))], len(self.classes_))

    def _log_probabilities(self, X, part):
        outputs = self._outputs(self._to_device(X), self._task_network(part))
        return self._logits(outputs).double().log_softmax(1).cpu().numpy()

    def _memory(self):
        usage = super()._memory()
        for part in getattr(self, "parts_", {}).values():
            usage["weights"] += sum(tensor_bytes(*kept) for kept in part.values() if isinstance(kept, tuple))
        return usage


def _head_parameters(module):
    head = head_of(module)
    return [p for p in (head.weight, head.bias) if p is not None]


def head_tensors(module):
    """Copies of the head's weight and, if it has one, bias.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    tuple of torch.Tensor
    """
    return tuple(p.detach().clone() for p in _head_parameters(module))


def most_certain(answers, n_columns):
    r"""Scores where, for each row, only the most certain of several networks answers.

    That is the one whose probabilities have the lowest entropy relative to that of a uniform guess over its classes,
    :math:`H(p_k) / \log C_k`. A network with one class only is never certain.

    Parameters
    ----------
    answers : list of (ndarray of int, ndarray of shape (n_rows, n_classes_of_network))
        The columns of each network's classes, and the logarithms of its probabilities.
    n_columns : int

    Returns
    -------
    ndarray of shape (n_rows, n_columns)
        Logarithms of probabilities; minus infinity for what the answering network does not know.

    Examples
    --------
    >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.4, 0.6]])
    >>> most_certain([(np.array([0, 1]), unsure), (np.array([2, 3]), sure)], 4).argmax(axis=1)
    array([2])
    """
    return answers_of(np.stack([_relative_entropy(log_p) for _, log_p in answers]).argmin(axis=0), answers, n_columns)


def answers_of(chosen, answers, n_columns):
    """Scores where, for each row, the network `chosen` answers; see :func:`most_certain`.

    Parameters
    ----------
    chosen : ndarray of int, shape (n_rows,)
        Position in `answers`.
    answers, n_columns
        As for :func:`most_certain`.

    Returns
    -------
    ndarray of shape (n_rows, n_columns)
    """
    scores = np.full((len(chosen), n_columns), -np.inf)
    for k, (columns, log_p) in enumerate(answers):
        rows = np.flatnonzero(chosen == k)
        scores[np.ix_(rows, columns)] = log_p[rows]
    return scores


def _relative_entropy(log_p):
    """Entropy of each row as a share of the largest that is possible; 1 where there is only one class."""
    if log_p.shape[1] == 1:
        return np.ones(len(log_p))
    return -(np.exp(log_p) * log_p).sum(axis=1) / np.log(log_p.shape[1])
