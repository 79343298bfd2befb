"""Independent: a network for each task, integrated at prediction."""

import copy
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from ..engine.call import Call
from ..engine.modules import MLP
from ..engine.net import ContinualRegressionNet, FastLoop, copied
from ..parameters import Integral, at_least, one_of
from ..strategy import NetworkClassifier, NetworkRegressor
from .per_task import Answer, answers_of, most_certain, task_of

# Mean and standard deviation of a task's inputs, and their autoencoder.
Gate = tuple[NDArray[np.float32], float, NetworkRegressor]


class Independent(ContinualEstimator):
    """A network of its own for each task; without task ids, the gates that say whose inputs a row looks like."""

    family = "isolation"
    source = "a network per task; integration: Aljundi et al. 2017"
    fixed_parameters = ("gate_units",)
    later_parameters = ("gate_units",)
    parameter_constraints = {
        **NetworkClassifier.parameter_constraints,
        "gate_units": [at_least(1, Integral)],
    }
    integrations: ClassVar[tuple[str, ...]]
    learner_class: ClassVar[type[NetworkClassifier] | type[NetworkRegressor]]

    net: NeuralNet | None
    integration: str
    gate_units: int
    learners_: dict[Hashable, Any]
    gates_: dict[Hashable, Gate]

    @property
    def needs_task_id(self) -> bool:  # type: ignore[override]
        """Whether only a task id says who answers."""
        return self.integration == "task_id"

    @property
    def keeps(self) -> str:  # type: ignore[override]
        """A gate has the mean of its task's inputs."""
        return "statistics" if self.integration == "gate" else "nothing"

    def learn(self, call: Call) -> None:
        """Train the network of the call's task, and its gate."""
        key, learners = task_of(call), getattr(self, "learners_", {})
        if key in learners:
            learner = copy.deepcopy(learners[key])
            learner.set_params(net=copied(self.net))
        else:
            seed = int(call.rng("learner").integers(2**31))
            learner = self.learner_class(net=copied(self.net), random_state=seed)
            learner.pure_steps = True  # it only trains
        if isinstance(self, ContinualClassifier):
            learner.labels_ = self.labels_of_outputs()
        learner.partial_fit(call.X, call.y, task_id=key)
        self.learners_ = {**learners, key: learner}
        if self.integration == "gate":
            gates = getattr(self, "gates_", {})
            self.gates_ = {**gates, key: self._learned_gate(call, gates.get(key), learner.net_)}

    # --- the gate ------------------------------------------------------------------------------------------------

    def _learned_gate(self, call: Call, gate: Gate | None, net: FastLoop) -> Gate:
        """The autoencoder of a task's inputs, trained as long as the task's network; `gate` is the one so far."""
        X = call.X
        schedule = {name: getattr(net, name) for name in ("max_epochs", "max_steps", "batch_size", "device")}
        if gate is None:
            n_units = max(1, min(self.gate_units, X.shape[1] // 2))
            coder = ContinualRegressionNet(MLP, module__hidden_units=(n_units,), lr=0.01, **schedule)
            seed = int(call.rng("gate").integers(2**31))
            mean = X.mean(axis=0)
            gate = mean, float(np.std(X - mean)) or 1.0, NetworkRegressor(coder, random_state=seed)
            gate[2].pure_steps = True
        mean, scale, learner = copy.deepcopy(gate)
        if learner.net is not None:
            learner.net.set_params(**schedule)
        inputs = (X - mean) / scale
        learner.partial_fit(inputs, inputs, task_id="inputs")
        return mean, scale, learner

    def gate_errors(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Mean squared error of each gate's reconstruction of each row, shape (n_gates, n_rows)."""
        if getattr(self, "gates_", {}).keys() != self.learners_.keys():
            raise ValueError(
                "integration='gate' needs a gate for each task, and tasks were learned with another integration; set "
                "that back, or start anew with fit."
            )
        errors = []
        for mean, scale, coder in self.gates_.values():
            inputs = (X - mean) / scale
            errors.append(scale**2 * np.square(coder.predict(inputs) - inputs).mean(axis=1))
        return np.stack(errors)

    # --- predictions ---------------------------------------------------------------------------------------------

    def all_learners(self) -> Iterable[Any]:
        """The networks to be asked where the task is not known."""
        if self.integration == "task_id" and len(self.learners_) > 1:
            others = ", ".join(repr(name) for name in self.integrations if name != "task_id")
            raise ValueError(
                "integration='task_id' needs the task_id of the rows to predict; give predict(X, task_id=...) or "
                f"use another integration: {others}."
            )
        return self.learners_.values()

    def carried(self) -> Iterator[tuple[str, Any]]:
        """What the networks carry, and those of the gates."""
        coders = [coder for _, _, coder in getattr(self, "gates_", {}).values()]
        for learner in (*self.learners_.values(), *coders):
            yield from learner.carried()


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
    learners_ : dict of NetworkClassifier
        The classifier of each task; keys are task ids, or ``("experience", k)`` for calls without.
    gates_ : dict of (ndarray, float, NetworkRegressor)
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

    integrations = ("task_id", "entropy", "gate", "vote")
    parameter_constraints = {"integration": [one_of(*integrations)]}
    learner_class = NetworkClassifier

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        integration: str = "entropy",
        gate_units: int = 10,
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.integration = integration
        self.gate_units = gate_units
        self.random_state = random_state

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Logarithms of probabilities: of the network that answers, or of the mean."""
        answers = [self._answer(learner, X) for learner in self.all_learners()]
        if self.integration == "gate":
            return answers_of(self.gate_errors(X).argmin(axis=0), answers, len(self.classes_))
        if self.integration == "vote":
            return self._votes(answers, len(X))
        return most_certain(answers, len(self.classes_))

    def task_output_scores(self, X: NDArray[Any], task_id: Hashable) -> NDArray[Any]:
        """Logarithms of the probabilities of the task's network."""
        return most_certain([self._answer(self.learners_[task_id], X)], len(self.classes_))

    def _answer(self, learner: NetworkClassifier, X: NDArray[Any]) -> Answer:
        return learner.classes_, _log(learner.predict_proba(X))

    def _votes(self, answers: Sequence[Answer], n_rows: int) -> NDArray[np.float64]:
        total = np.zeros((n_rows, len(self.classes_)))
        n_voters = np.zeros(len(self.classes_))
        for outputs, log_p in answers:
            total[:, outputs] += np.exp(log_p)
            n_voters[outputs] += 1
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
    learners_ : dict of NetworkRegressor
        The regressor of each task; keys are task ids, or ``("experience", k)`` for calls without.
    gates_ : dict of (ndarray, float, NetworkRegressor)
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

    integrations = ("task_id", "gate", "vote")
    parameter_constraints = {"integration": [one_of(*integrations)]}
    learner_class = NetworkRegressor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        integration: str = "gate",
        gate_units: int = 10,
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.integration = integration
        self.gate_units = gate_units
        self.random_state = random_state

    def predictions(self, X: NDArray[Any]) -> NDArray[Any]:
        """Predictions of the network that answers, or the mean."""
        answers: NDArray[Any] = np.stack([learner.predict(X) for learner in self.all_learners()])
        if self.integration == "gate":
            chosen: NDArray[Any] = answers[self.gate_errors(X).argmin(axis=0), np.arange(len(X))]
            return chosen
        mean: NDArray[Any] = answers.mean(axis=0)
        return mean

    def task_predictions(self, X: NDArray[Any], task_id: Hashable) -> NDArray[Any]:
        """Predictions of the task's network."""
        predictions: NDArray[Any] = self.learners_[task_id].predict(X)
        return predictions


def _log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))
