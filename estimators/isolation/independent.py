"""Independent: a network for each task, integrated at prediction."""

import copy

import numpy as np
from sklearn.base import clone

from .._compat import one_of
from ..base import ContinualClassifier
from ..baselines.naive import NaiveClassifier


class IndependentClassifier(ContinualClassifier):
    r"""A network for each task: nothing is forgotten, nothing is shared, and the price is a network a task.

    With a task id, the task's network answers. Without one, ``integration`` says how the networks' answers become one:

    - ``"task_id"``: not at all; a prediction without task id is an error once there are two tasks;
    - ``"entropy"``: the network that is most certain answers, the one whose softmax has the lowest entropy relative to
      that of a uniform guess over its classes, :math:`H(p_k) / \log C_k`.

    A call without task id opens a task of its own.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; cloned for each task.
    integration : {"task_id", "entropy"}, default="entropy"
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    learners_ : dict of NaiveClassifier
        The classifier of each task; keys are task ids, or ``("experience", k)`` for calls without.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Aljundi, Chakravarty & Tuytelaars, Expert gate: lifelong learning with a network of experts, 2017, compares such
    integrations.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import IndependentClassifier
    >>> clf = IndependentClassifier(random_state=0)
    >>> stream = split_stream(load_digits(), n_experiences=5, scenario="task", class_order="sorted")
    >>> for e in stream:
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> first = stream[0]
    >>> clf.score(first.X_test, first.y_test, task_id=first.task_id) > 0.95
    True
    """

    _family = "isolation"
    _source = "a network per task; integration: Aljundi et al. 2017"
    _constraints = {
        **NaiveClassifier._constraints,
        "integration": [one_of("task_id", "entropy")],
    }

    def __init__(self, net=None, *, integration="entropy", random_state=None):
        self.net = net
        self.integration = integration
        self.random_state = random_state

    @property
    def _needs_task_id(self):
        return self.integration == "task_id"

    def _learn(self, X, y):
        key = self._running_task_ if self._running_task_ is not None else ("experience", self.n_experiences_)
        learners = getattr(self, "learners_", {})
        if key in learners:
            learner = copy.deepcopy(learners[key])
        else:
            seed = int(self._rng("learner").integers(2**31))
            learner = NaiveClassifier(net=None if self.net is None else clone(self.net), random_state=seed)
        learner.partial_fit(X, y, task_id=key)
        self.learners_ = {**learners, key: learner}

    def _scores(self, X):
        if self.integration == "task_id" and len(self.learners_) > 1:
            raise ValueError(
                "integration='task_id' needs the task_id of the rows to predict; give predict(X, task_id=...) or "
                "use integration='entropy'."
            )
        probabilities = [learner.predict_proba(X) for learner in self.learners_.values()]
        uncertainty = np.stack([_relative_entropy(p) for p in probabilities])
        winner = uncertainty.argmin(axis=0)
        scores = np.full((len(X), len(self.classes_)), -np.inf)
        for k, (learner, p) in enumerate(zip(self.learners_.values(), probabilities, strict=True)):
            rows = np.flatnonzero(winner == k)
            scores[np.ix_(rows, learner.classes_)] = _log(p[rows])
        return scores

    def _task_scores(self, X, task_id):
        learner = self.learners_[task_id]
        scores = np.full((len(X), len(self.classes_)), -np.inf)
        scores[:, learner.classes_] = _log(learner.predict_proba(X))
        return scores

    def _memory(self):
        total: dict[str, int] = {}
        for learner in self.learners_.values():
            for kind, n_bytes in learner.memory_usage().items():
                total[kind] = total.get(kind, 0) + n_bytes
        return total


def _relative_entropy(p):
    """Entropy of each row as a share of the largest that is possible; 1 where there is only one class."""
    if p.shape[1] == 1:
        return np.ones(len(p))
    return -(p * _log(p)).sum(axis=1) / np.log(p.shape[1])


def _log(p):
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))
