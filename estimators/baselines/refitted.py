"""Refitted: any estimator of scikit-learn, fitted anew on a memory of rows at each call."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.utils import get_tags

from ..base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from ..engine.call import Call
from ..engine.memory import ReplayMemory
from ..engine.pickling import packed
from ..engine.rows import Rows
from ..parameters import Integral, at_least, one_of

# The score of a class of which the memory has no row; twice it is still a number.
_NO_CHANCE = float(np.finfo(np.float64).min / 2)


class Refitted(ContinualEstimator):
    """The rule of refitting: rows go to the memory, and a clone of the estimator is fitted on what is there then."""

    family = "baselines"
    source = "baseline: refitted on a memory"
    keeps = "samples"
    unlearns = "memory only"
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size", "policy")
    parameter_constraints = {
        "estimator": [None, BaseEstimator],
        "buffer_size": [at_least(1, Integral)],
        "random_state": ["random_state"],
    }
    input_dtype = (np.float64,)
    default_class: ClassVar[type[BaseEstimator]]

    estimator: BaseEstimator | None
    buffer_size: int
    policy: str
    memory_: ReplayMemory
    estimator_: Any

    def __init__(
        self,
        estimator: BaseEstimator | None = None,
        *,
        buffer_size: int = 1000,
        policy: str = "reservoir",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.buffer_size = buffer_size
        self.policy = policy
        self.random_state = random_state

    def learn(self, call: Call) -> None:
        """Offer the rows to the memory, and fit on all that is there."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, self.policy)
        self.memory_.add(call.rng("memory"), Rows(x=torch.tensor(call.X), y=torch.tensor(call.y)))
        self._fit_on_memory(call)

    def _fit_on_memory(self, call: Call) -> None:
        # Copies: models such as nearest neighbours keep the rows, and those of the memory are overwritten.
        stored = self.memory_.stored().map(torch.clone)
        self.estimator_ = self.fitted(self._unfitted(call.rng("estimator")), stored.x.numpy(), stored.y.numpy())

    def drop_rows(self, X: NDArray[Any]) -> None:
        """Fit on the memory without them, with the seed of the last call."""
        super().drop_rows(X)
        if not len(self.memory_):
            raise ValueError("forget_samples would leave no row to fit on; use a new estimator instead.")
        self._fit_on_memory(Call(entropy=(self._entropy_, self._n_calls_)))

    def _unfitted(self, rng: np.random.Generator) -> Any:
        """A clone of the estimator; where its parameters leave a seed open, it has one of ours."""
        estimator = clone(self.default_class() if self.estimator is None else self.estimator)
        kind = get_tags(self).estimator_type
        if get_tags(estimator).estimator_type != kind:
            raise ValueError(f"estimator={estimator!r} is no {kind}; continualize(estimator) chooses the class.")
        open_seeds = [
            name
            for name, value in estimator.get_params().items()
            if name.rpartition("__")[2] == "random_state" and value is None
        ]
        return estimator.set_params(**{name: int(rng.integers(2**31)) for name in open_seeds})

    def fitted(self, estimator: Any, X: NDArray[np.float64], y: NDArray[Any]) -> Any:
        """The estimator, fitted on these rows; `y` are numbers of outputs, or targets (n_rows, n_outputs)."""
        raise NotImplementedError

    def carried(self) -> Iterator[tuple[str, Any]]:
        """The memory, and the fitted estimator as a pickle."""
        yield from super().carried()
        yield "weights", memoryview(packed(self.estimator_))


class RefittedClassifier(Refitted, ContinualClassifier):
    """Fit any classifier of scikit-learn anew at each call, on a bounded memory of the rows so far.

    Every call offers its rows to the memory, and then fits a clone of `estimator` on all that the memory has, with the
    user's labels. By default this is gradient boosting refitted on a memory. A class of which no row is in memory is no
    answer; where there is one class only, that is the answer. Task ids restrict the answers and play no part in
    training.

    :meth:`forget_samples` removes rows from the memory and fits anew, so that no trace of them is in the model, and
    while all rows fit into the memory it is the one that never saw them. Where rows had to leave a full memory, which
    of the others are there may still depend on those that were forgotten.

    Probabilities are those of `estimator`, or else the softmax of its decision function, or else 1 for what it
    predicts.

    Parameters
    ----------
    estimator : classifier, default=None
        Unfitted, maybe a pipeline; cloned before use. Parameters called ``random_state``, at any depth, that are None
        get seeds. None: ``HistGradientBoostingClassifier()``.
    buffer_size : int, default=1000
        Rows in memory.
    policy : {"reservoir", "class_balanced", "recent"}, default="reservoir"
        What stays in memory: a uniform sample of all rows so far; the same of each class, with equal shares for the
        classes; or the last rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the memory and of `estimator`.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the rows in memory.
    memory_ : ReplayMemory
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    See Also
    --------
    continualize : Chooses between this and :class:`RefittedRegressor`.
    GDumbClassifier : The same with a network and a memory balanced by class.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import RefittedClassifier
    >>> digits = load_digits()
    >>> clf = RefittedClassifier(RandomForestClassifier(30), buffer_size=500, random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.85
    True
    """

    parameter_constraints = {"policy": [one_of("reservoir", "class_balanced", "recent")]}
    default_class = HistGradientBoostingClassifier

    def fitted(self, estimator: Any, X: NDArray[np.float64], y: NDArray[np.int64]) -> Any:
        """Fitted on the user's labels; many classifiers refuse a single class."""
        labels = self.labels_of_outputs()[y]
        return (estimator if len(np.unique(y)) > 1 else DummyClassifier()).fit(X, labels)

    def output_scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Logarithms of the estimator's probabilities, or its decision function."""
        scores = np.full((len(X), len(self.classes_)), _NO_CHANCE)
        in_memory = np.searchsorted(self.classes_, self.estimator_.classes_)
        scores[:, self.class_outputs_[in_memory]] = self._scores_in_memory(X)
        return scores

    def _scores_in_memory(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if hasattr(self.estimator_, "predict_proba"):
            p = self.estimator_.predict_proba(X)
        elif hasattr(self.estimator_, "decision_function"):
            decision: NDArray[np.float64] = self.estimator_.decision_function(X)
            return decision if decision.ndim == 2 else np.column_stack([np.zeros(len(X)), decision])
        else:
            p = self.estimator_.predict(X)[:, None] == self.estimator_.classes_
        scores: NDArray[np.float64] = np.log(np.maximum(p, np.finfo(np.float64).tiny))
        return scores


class RefittedRegressor(Refitted, ContinualRegressor):
    """Fit any regressor of scikit-learn anew at each call, on a bounded memory of the rows so far.

    Every call offers its rows to the memory, and then fits a clone of `estimator` on all that the memory has. By
    default this is gradient boosting refitted on a memory. Where there are several targets and `estimator` takes one,
    each target has an estimator of its own (``MultiOutputRegressor``).

    Parameters
    ----------
    estimator : regressor, default=None
        Unfitted, maybe a pipeline; cloned before use. Parameters called ``random_state``, at any depth, that are None
        get seeds. None: ``HistGradientBoostingRegressor()``.
    buffer_size : int, default=1000
        Rows in memory.
    policy : {"reservoir", "recent"}, default="reservoir"
        What stays in memory: a uniform sample of all rows so far, or the last rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the memory and of `estimator`.

    Attributes
    ----------
    estimator_ : regressor
        Fitted on the rows in memory.
    memory_ : ReplayMemory
    n_experiences_, n_features_in_, n_outputs_ : int

    See Also
    --------
    continualize : Chooses between this and :class:`RefittedClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import RefittedRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = RefittedRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    parameter_constraints = {"policy": [one_of("reservoir", "recent")]}
    default_class = HistGradientBoostingRegressor

    def fitted(self, estimator: Any, X: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        """Fitted on one target, or on several."""
        if self.n_outputs_ == 1:
            return estimator.fit(X, y[:, 0])
        several = get_tags(estimator).target_tags.multi_output
        return (estimator if several else MultiOutputRegressor(estimator)).fit(X, y)

    def predictions(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Those of the estimator."""
        return np.reshape(self.estimator_.predict(X), (len(X), self.n_outputs_))


def continualize(
    estimator: BaseEstimator, *, buffer_size: int = 1000, policy: str = "reservoir", random_state: Any = None
) -> RefittedClassifier | RefittedRegressor:
    """Make any classifier, regressor or pipeline of scikit-learn one that learns incrementally, from a bounded memory.

    Parameters
    ----------
    estimator : classifier or regressor
        Unfitted, maybe a pipeline.
    buffer_size : int, default=1000
        Rows in memory.
    policy : {"reservoir", "class_balanced", "recent"}, default="reservoir"
        What stays in memory, see :class:`RefittedClassifier`; regressors have no "class_balanced".
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    RefittedClassifier or RefittedRegressor

    Raises
    ------
    TypeError
        If `estimator` is no classifier or regressor.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import Ridge
    >>> from forgetless.estimators import continualize
    >>> continualize(RandomForestClassifier(), buffer_size=500)
    RefittedClassifier(buffer_size=500, estimator=RandomForestClassifier())
    >>> continualize(Ridge()).partial_fit([[0.0], [1.0]], [0.0, 1.0]).partial_fit([[3.0]], [3.0]).n_experiences_
    2
    """
    kind = get_tags(estimator).estimator_type if isinstance(estimator, BaseEstimator) else None
    if kind not in ("classifier", "regressor"):
        raise TypeError(f"{estimator!r} is no classifier or regressor; give one such as RandomForestClassifier().")
    refitted = RefittedClassifier if kind == "classifier" else RefittedRegressor
    return refitted(estimator, buffer_size=buffer_size, policy=policy, random_state=random_state)
