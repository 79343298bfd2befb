"""Independent: a network for each task, integrated at prediction."""

import copy

import numpy as np
from sklearn.base import clone

from .._compat import Integral, at_least, one_of
from ..base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from ..baselines.naive import NaiveClassifier, NaiveRegressor
from ..modules import MLP
from ..net import ContinualRegressionNet
from ..network import NetworkStrategy
from .per_task import answers_of, most_certain


class Independent(ContinualEstimator):
    """A network of its own for each task; without task ids, the gates that say whose inputs a row looks like."""

    _family = "isolation"
    _learner_class: type[NetworkStrategy]
    _integrations: tuple[str, ...]
    _source = "a network per task; integration: Aljundi et al. 2017"
    _constraints = {
        **NetworkStrategy._constraints,
        "gate_units": [at_least(1, Integral)],
    }

    @property
    def _needs_task_id(self):  # type: ignore[override]
        return self.integration == "task_id"

    @property
    def _keeps(self):  # type: ignore[override]
        """A gate has the mean of its task's inputs."""
        return "statistics" if self.integration == "gate" else "nothing"

    def _learn(self, X, y):
        key = self._running_task_ if self._running_task_ is not None else ("experience", self.n_experiences_)
        learners = getattr(self, "learners_", {})
        if key in learners:
            learner = copy.deepcopy(learners[key])
        else:
            seed = int(self._rng("learner").integers(2**31))
            learner = self._learner_class(net=None if self.net is None else clone(self.net), random_state=seed)
        learner.partial_fit(X, y, task_id=key)
        self.learners_ = {**learners, key: learner}
        if self.integration == "gate":
            gates = getattr(self, "gates_", {})
            self.gates_ = {**gates, key: self._learned_gate(gates.get(key), X, learner.net_)}

    # --- the gate ------------------------------------------------------------------------------------------------

    def _learned_gate(self, gate, X, net):
        """The autoencoder of a task's inputs, trained as long as the task's network; `gate` is the one so far."""
        if gate is None:
            n_units = max(1, min(self.gate_units, X.shape[1] // 2))
            schedule = {name: getattr(net, name) for name in ("max_epochs", "max_steps", "batch_size", "device")}
            coder = ContinualRegressionNet(MLP, module__hidden_units=(n_units,), lr=0.01, **schedule)
            seed = int(self._rng("gate").integers(2**31))
            mean = X.mean(axis=0)
            gate = mean, float(np.std(X - mean)) or 1.0, NaiveRegressor(coder, random_state=seed)
        mean, scale, coder = copy.deepcopy(gate)
        inputs = (X - mean) / scale
        coder.partial_fit(inputs, inputs, task_id="inputs")
        return mean, scale, coder

    def _errors(self, X):
        """Mean squared error of each gate's reconstruction of each row."""
        errors = []
        for mean, scale, coder in self.gates_.values():
            inputs = (X - mean) / scale
            errors.append(scale**2 * np.square(coder.predict(inputs) - inputs).mean(axis=1))
        return np.stack(errors)

    # --- predictions ---------------------------------------------------------------------------------------------

    def _all_learners(self):
        """The networks to be asked where the task is not known."""
        if self.integration == "task_id" and len(self.learners_) > 1:
            others = ", ".join(repr(name) for name in self._integrations if name != "task_id")
            raise ValueError(
                "integration='task_id' needs the task_id of the rows to predict; give predict(X, task_id=...) or "
                f"use another integration: {others}."
            )
        return self.learners_.values()

    def _memory(self):
        total: dict[str, int] = {}
        coders = [coder for _, _, coder in getattr(self, "gates_", {}).values()]
        for learner in (*self.learners_.values(), *coders):
            for kind, n_bytes in learner.memory_usage().items():
                total[kind] = total.get(kind, 0) + n_bytes
        return total


class IndependentClassifier(Independent, ContinualClassifier):
    r"""A network for each task: nothing is forgotten, nothing is shared, and the price is a network a task.

    With a task id, the task's network answers. Without one, ``integration`` says how the networks' answers become one:

    - ``"task_id"``: not at all; a prediction without task id is an error once there are two tasks;
    - ``"entropy"``: the network that is most certain answers, the one whose softmax has the lowest entropy relative to
      that of a uniform guess over its classes, :math:`H(p_k) / \log C_k`;
    - ``"gate"``: the network answers whose task's inputs look most like the row (Expert Gate): each task has an
      autoencoder of its inputs, and the one with the smallest squared error, in the units of the inputs, decides. An
      autoencoder has one hidden layer of ReLU units, fewer than inputs, and learns with Adam at 0.01 for as many epochs
      as the networks, on inputs from which their mean is subtracted and which are divided by one standard deviation
      for all features; so bring features to one scale;
    - ``"vote"``: the probability of a class is the mean over the networks that know it, and probabilities are then
      normalised. Where tasks have the same classes (domain-incremental), this averages an ensemble. Where they have
      not, each network votes for classes of its own although it may never have seen such an input, and networks with
      fewer classes speak louder.

    A call without task id opens a task of its own.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`; cloned for each task.
    integration : {"task_id", "entropy", "gate", "vote"}, default="entropy"
    gate_units : int, default=10
        Hidden units of the autoencoders of "gate"; at most half the number of features are used.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    learners_ : dict of NaiveClassifier
        The classifier of each task; keys are task ids, or ``("experience", k)`` for calls without.
    gates_ : dict of (ndarray, float, NaiveRegressor)
        With "gate": mean and standard deviation of each task's inputs, and the autoencoder.
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

    _integrations = ("task_id", "entropy", "gate", "vote")
    _constraints = {"integration": [one_of(*_integrations)]}
    _learner_class = NaiveClassifier

    def __init__(self, net=None, *, integration="entropy", gate_units=10, random_state=None):
        self.net = net
        self.integration = integration
        self.gate_units = gate_units
        self.random_state = random_state

    def _scores(self, X):
        answers = [self._answer(learner, X) for learner in self._all_learners()]
        if self.integration == "gate":
            return answers_of(self._errors(X).argmin(axis=0), answers, len(self.classes_))
        if self.integration == "vote":
            return self._votes(answers, len(X))
        return most_certain(answers, len(self.classes_))

    def _task_scores(self, X, task_id):
        return most_certain([self._answer(self.learners_[task_id], X)], len(self.classes_))

    def _answer(self, learner, X):
        """Columns of a network's classes, and the logarithms of its probabilities."""
        return learner.classes_, _log(learner.predict_proba(X))

    def _votes(self, answers, n_rows):
        total = np.zeros((n_rows, len(self.classes_)))
        n_voters = np.zeros(len(self.classes_))
        for columns, log_p in answers:
            total[:, columns] += np.exp(log_p)
            n_voters[columns] += 1
        return _log(total / np.maximum(n_voters, 1))


class IndependentRegressor(Independent, ContinualRegressor):
    r"""A network for each task: nothing is forgotten, nothing is shared, and the price is a network a task.

    With a task id, the task's network answers. Without one, ``integration`` says how the networks' answers become one:

    - ``"task_id"``: not at all; a prediction without task id is an error once there are two tasks;
    - ``"gate"``: the network answers whose task's inputs look most like the row, as for
      :class:`IndependentClassifier`;
    - ``"vote"``: the mean of all networks' predictions.

    A call without task id opens a task of its own.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`; cloned for each task.
    integration : {"task_id", "gate", "vote"}, default="gate"
    gate_units : int, default=10
        Hidden units of the autoencoders of "gate"; at most half the number of features are used.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    learners_ : dict of NaiveRegressor
        The regressor of each task; keys are task ids, or ``("experience", k)`` for calls without.
    gates_ : dict of (ndarray, float, NaiveRegressor)
        With "gate": mean and standard deviation of each task's inputs, and the autoencoder.
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Aljundi, Chakravarty & Tuytelaars, Expert gate: lifelong learning with a network of experts, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import IndependentRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = IndependentRegressor(random_state=0)
    >>> for name, part in zip(["left", "right"], np.array_split(x, 2)):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]), task_id=name)
    >>> reg.score(x[:200], np.sin(2 * x[:200, 0]), task_id="left") > 0.9
    True
    """

    _integrations = ("task_id", "gate", "vote")
    _constraints = {"integration": [one_of(*_integrations)]}
    _learner_class = NaiveRegressor

    def __init__(self, net=None, *, integration="gate", gate_units=10, random_state=None):
        self.net = net
        self.integration = integration
        self.gate_units = gate_units
        self.random_state = random_state

    def _predictions(self, X):
        answers = np.stack([learner.predict(X) for learner in self._all_learners()])
        if self.integration == "gate":
            return answers[self._errors(X).argmin(axis=0), np.arange(len(X))]
        return answers.mean(axis=0)

    def _task_predictions(self, X, task_id):
        return self.learners_[task_id].predict(X)


def _log(p):
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))
