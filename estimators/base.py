"""The contract of every estimator: experiences, classes that appear at any time, task ids, all-or-nothing calls."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import Tags, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .delegation import available_if_has, available_where
from .engine.call import Call
from .engine.equality import same
from .engine.memory import ReplayMemory
from .engine.modes import plain_modes
from .engine.modules import bytes_of, is_finite
from .engine.pickling import packed
from .inputs import (
    as_labels,
    as_rows,
    as_task,
    check_labels,
    check_magnitude,
    check_same_type,
    explained,
    on_host,
    refuse_masked,
)
from .parameters import check_parameters, declared, names_declared, searched_parameters


class ContinualEstimator(BaseEstimator):
    """What all estimators share: validation, experiences and tasks, transactions, information.

    A strategy declares the class attributes below and writes ``learn(call)``.

    State that outlasts a call is in attributes whose names end with an underscore. A failed call brings them back:
    tensors may be replaced or changed in place, and so may objects with a ``snapshot()`` method that returns a function
    which restores them (nets, memories); everything else is *replaced*, never changed inside.

    Attributes
    ----------
    family : str
        The folder that the method is in.
    source : str
        The paper.
    keeps : {"nothing", "statistics", "features", "generator", "samples"}
        What is carried of the data from call to call.
    needs_task_id : bool
        Whether predictions need one.
    unlearns : {"exact", "memory only", "no"}
        Whether rows can be taken away again. "exact": after :meth:`unlearn` the model is the one that never saw them.
        "memory only": they leave what is kept, and trained weights keep traces of them.
    parameter_constraints : dict of str to list
        What each parameter may be, see :mod:`forgetless.estimators.parameters`; those of bases are inherited.
    fixed_parameters : tuple of str
        Parameters that cannot change between calls, since what was made with them stays; those of bases are inherited.
        All others take effect at the next call.
    later_parameters : tuple of str
        Parameters that change nothing that is answered after one ``fit``: they act from the next call or experience
        on, whatever the others are; those of bases are inherited.
    carries : dict of str to str
        Attributes whose bytes :meth:`memory_usage` counts, each with the kind that it counts as; those of bases are
        inherited.
    input_dtype : tuple of dtype
        Types of `X` that are taken as they are; others are converted to the first.
    """

    family: str
    source: str
    keeps: str = "nothing"
    needs_task_id: bool = False
    unlearns: str = "no"
    parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    fixed_parameters: ClassVar[tuple[str, ...]] = ("random_state",)
    later_parameters: ClassVar[tuple[str, ...]] = ()
    carries: ClassVar[dict[str, str]] = {}
    input_dtype: ClassVar[tuple[type, ...]] = (np.float32,)

    n_features_in_: int
    n_experiences_: int
    tasks_: dict[Hashable, NDArray[np.int64]]

    # What a method has whose rows add and subtract. `take_away` removes rows, checked as in a call, and returns how
    # many are left of each group in each part that is kept apart, shape (n_parts, n_groups). `take_over` adds what
    # another model has, of the same class and inputs; it is told which output each of the other's outputs is here.
    take_away: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    take_over: Callable[[Any, NDArray[np.int64] | None], None]

    # --- what users ask ------------------------------------------------------------------------------------------

    def strategy_info(self) -> dict[str, Any]:
        """What kind of method this is.

        Returns
        -------
        dict
            ``family``, ``source`` (the paper), ``needs_task_id`` (whether predictions need one), ``keeps``: what
            it carries of the data from call to call, one of "nothing", "statistics", "features", "generator",
            "samples"; and ``unlearns``: whether rows can be taken away again, one of "exact", "memory only", "no".
        """
        return {
            "family": self.family,
            "source": self.source,
            "needs_task_id": self.needs_task_id,
            "keeps": self.keeps,
            "unlearns": self.unlearns,
        }

    def memory_usage(self) -> dict[str, int]:
        """Bytes that the estimator carries from one call to the next, by kind.

        Returns
        -------
        dict of str to int
            Kinds are "weights", "optimizer", "replay", "generator", "anchors", "statistics", "teacher"; those not used
            are absent.

        Raises
        ------
        sklearn.exceptions.NotFittedError
        """
        check_is_fitted(self)
        usage: dict[str, int] = {}
        for kind, thing in self.carried():
            usage[kind] = usage.get(kind, 0) + bytes_of(thing)
        return {kind: n_bytes for kind, n_bytes in usage.items() if n_bytes}

    def carried(self) -> Iterator[tuple[str, Any]]:
        """What is carried from one call to the next: pairs of a kind, as in :meth:`memory_usage`, and an object."""
        for own in declared(type(self), "carries"):
            for name, kind in own.items():
                yield kind, getattr(self, name, None)

    # --- to take away and to take over ----------------------------------------------------------------------------

    @available_if_has("take_away", lambda estimator: estimator)
    def unlearn(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take rows away that were learned: the model is then the one that never saw them, up to rounding.

        It is exact if the rows are as they were learned, all of them or any part, in any order. Rounding is that of the
        rows' type; give float64 where many rows go and few stay. Rows that were never learned cannot be told from those
        that were, unless more would be taken than there is. A class of which nothing is left stays in ``classes_`` and
        is no longer an answer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,); for a regressor also (n_samples, n_outputs)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a label was never learned, if more would be taken than was learned, or if nothing would be left. The
            estimator is then as it was before the call.
        """
        check_is_fitted(self)
        with self.transaction():
            left = self.take_away(*self.known_rows(X, y))
            if (left < 0).any():
                raise ValueError("unlearn was given rows that were not learned: of a class, more than there are.")
            counts = left.sum(axis=0)
            if not counts.any():
                raise ValueError("unlearn would leave nothing that was learned; use a new estimator instead.")
            self.keep_outputs(np.flatnonzero(counts > 0))
        return self

    @available_if_has("take_over", lambda estimator: estimator)
    def merge(self, other: Self) -> Self:
        """Take over what another model learned: the model is then the one that saw the data of both, up to rounding.

        Only sums travel, no rows. `other` is not changed. Rows that both have seen count twice.

        Parameters
        ----------
        other : estimator
            Fitted, of the same class, with the same features.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `other` is of another class.
        ValueError
            If `other` has other inputs, other features or other kinds of targets. The estimator is then as it was.
        """
        check_is_fitted(self)
        if type(other) is not type(self):
            raise TypeError(f"merge needs another {type(self).__name__}, not a {type(other).__name__}.")
        check_is_fitted(other)
        if other.n_features_in_ != self.n_features_in_:
            raise ValueError(f"other has {other.n_features_in_} input features, but this has {self.n_features_in_}.")
        with self.transaction():
            self.take_over(other, self.join(other))
            self.n_experiences_ += other.n_experiences_
        return self

    @available_where(lambda estimator: estimator.unlearns == "memory only" and not hasattr(estimator, "take_away"))
    def forget_samples(self, X: ArrayLike) -> Self:
        """Remove rows from the samples that are kept: all that equal one of these, as often as they are there.

        Trained weights keep traces of rows that they learned; only what is fitted anew on the samples, in a method that
        does so, has none. Rows that are not kept change nothing. Places in a full memory that become free go to the
        next rows that come.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` is not what the estimator was fitted on, or nothing would be left of what answers are made from. The
            estimator is then as it was before the call.
        """
        check_is_fitted(self)
        with self.transaction():
            self.drop_rows(self.checked(X, reset=False))
        return self

    def drop_rows(self, X: NDArray[Any]) -> None:
        """Remove checked rows from the samples that are kept, by default in ``memory_``."""
        memory: ReplayMemory = self.memory_
        if len(memory):
            memory.keep(~memory.stored().equals_one_of(X))

    def known_rows(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows and targets like those that were learned, checked."""
        raise NotImplementedError

    def keep_outputs(self, outputs: NDArray[np.int64]) -> None:
        """Note of which outputs there are rows left."""

    def join(self, other: Self) -> NDArray[np.int64] | None:
        """Take over what `other` knows of tasks and classes; returns which output each of its outputs is here."""
        raise NotImplementedError

    # --- one call = one transaction ------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_experiences_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Whatever fails inside leaves the estimator as it was, an interrupt included.

        A state with a number that is not finite is a failure, too: it would spoil every answer from then on. Inside,
        torch is in its plain modes, whatever the caller's are, and what underflows is 0.
        """
        before = vars(self).copy()
        fitted = {name: value for name, value in before.items() if name.endswith("_")}
        restore = [value.snapshot() for value in fitted.values() if hasattr(value, "snapshot")]
        before.update((name, value.clone()) for name, value in fitted.items() if torch.is_tensor(value))
        try:
            with plain_modes(), np.errstate(under="ignore"):
                yield
            self._check_state()
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            for undo in restore:
                undo()
            raise

    def _check_state(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_") and not is_finite(value):
                raise FloatingPointError(
                    f"{name} of {type(self).__name__} would hold numbers that are not finite. The estimator is as it "
                    "was before this call; scale the inputs, leave out rows with extreme values, or lower the learning "
                    "rate (net__lr)."
                )

    def forget(self) -> None:
        """Remove all that was learned."""
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("__")]:
            delattr(self, name)

    # --- copies and pickles --------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: tensors as arrays, so that a pickle made on one device loads on another."""
        state: dict[str, Any] = super().__getstate__()
        return {"_packed": packed(state)}

    @plain_modes()  # tensors of inference mode could not be trained any more
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(pickle.loads(state["_packed"]))

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    @plain_modes()
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self)] = twin = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    # --- experiences ---------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Forget everything and learn `X`, `y` as the first experience.

        Parameters that act between experiences, such as ``ewc_lambda``, change nothing in a single one. Where
        ``GridSearchCV`` or another search of scikit-learn, which only calls ``fit``, tries nothing else, all its scores
        are equal, and a UserWarning says so; :class:`ContinualSearchCV` chooses them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,); for a regressor also (n_samples, n_outputs)

        Returns
        -------
        self
        """
        self._warn_of_search_in_vain()
        with self.transaction():
            self.forget()
            self.learn(self.open_call(X, y))
        return self

    def _warn_of_search_in_vain(self) -> None:
        if not names_declared(type(self), "later_parameters"):
            return
        searched = searched_parameters()
        if searched and all(name in names_declared(type(owner), "later_parameters") for owner, name in searched):
            names = ", ".join(name for _, name in searched)
            warnings.warn(
                f"{names} cannot matter in fit, which is one experience; choose by ContinualSearchCV, which replays a "
                "stream.",
                stacklevel=3,
            )

    def open_call(self, X: ArrayLike, y: ArrayLike, *, task_id: Hashable = None) -> Call:
        """Check the rows of a call, and note what is new in it."""
        raise NotImplementedError

    def learn(self, call: Call) -> None:
        """Learn the rows of a call."""
        raise NotImplementedError

    def checked(self, X: ArrayLike, y: Any = "no_validation", *, reset: bool, **how: Any) -> Any:
        """Rows, alone or with targets, by ``sklearn.utils.validation.validate_data``; errors say what to do."""
        separately = "validate_separately" in how  # then y are numbers to predict
        if not separately:
            how = {"dtype": self.input_dtype, "order": "C"}
        X, y = as_rows(X), on_host(y)
        refuse_masked(X, "X")
        refuse_masked(y, "y")
        with explained(X, y if separately else None):
            rows = validate_data(self, X, y, reset=reset, **how)
        if np.float64 not in self.input_dtype:
            check_magnitude(rows[0] if isinstance(rows, tuple) else rows, X)
        return rows

    def start_call(self, task_id: Hashable) -> Call:
        """Note the task, and whether this call opens an experience; a call with the running task's id continues it."""
        check_parameters(self)
        if not self.__sklearn_is_fitted__():
            self.n_experiences_, self._n_calls_ = 0, 0
            self.tasks_, self._running_task_ = {}, None
            self._entropy_ = self._draw_entropy()
            self._fixed_ = self._fixed_parameters()
        self._check_fixed_parameters()
        opens_experience = task_id is None or task_id != self._running_task_ or self.n_experiences_ == 0
        if task_id is not None and task_id not in self.tasks_:
            self.tasks_ = {**self.tasks_, task_id: np.empty(0, dtype=np.int64)}
        self._running_task_ = task_id
        self.n_experiences_ += opens_experience
        self._n_calls_ += 1
        return Call(
            experience=self.n_experiences_,
            opens_experience=opens_experience,
            task_id=task_id,
            entropy=(self._entropy_, self._n_calls_),
        )

    def _fixed_parameters(self) -> dict[str, Any]:
        names = names_declared(type(self), "fixed_parameters")
        return {name: value for name, value in self.get_params(deep=False).items() if name in names}

    def _check_fixed_parameters(self) -> None:
        for name, value in self._fixed_parameters().items():
            if not same(value, self._fixed_[name]):
                raise ValueError(
                    f"{name} was {self._fixed_[name]!r} when the first experience was learned, and cannot become "
                    f"{value!r} now: what was made with it stays. Set it back, or start anew with fit."
                )

    def _draw_entropy(self) -> int:
        random_state = getattr(self, "random_state", None)
        if random_state is None:  # fresh entropy, not NumPy's global generator
            return int(np.random.SeedSequence().generate_state(1)[0])
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))

    def known_task(self, task_id: Hashable) -> NDArray[np.int64]:
        """Outputs of a task's classes; raises ValueError if the task was never learned."""
        try:
            return self.tasks_[task_id]
        except (KeyError, TypeError):
            known = ", ".join(repr(task) for task in self.tasks_) or "none, since no call gave a task_id"
            raise ValueError(f"task_id {task_id!r} was never learned; known task ids: {known}.") from None


class ContinualClassifier(ClassifierMixin, ContinualEstimator):
    """A classifier that learns one experience after another, and new classes whenever they come.

    Within a strategy a class is the number of an *output*: classes get outputs in the order of their first appearance,
    so that nothing already learned moves when a class arrives. Users see ``classes_``, sorted, and columns in that
    order.

    Strategies write ``learn(call)``, where ``call.y`` are numbers of outputs, and ``output_scores(X)``: an array
    (n_rows, n_outputs), larger where a class is more likely; where scores are logits, ``predict_proba`` is their
    softmax.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes seen or announced, sorted.
    class_outputs_ : ndarray of int, shape (n_classes,)
        The output of each.
    seen_outputs_, experience_outputs_ : ndarray of int
        Outputs of classes of which there were rows: at all, and in the running experience; sorted.
    """

    classes_: NDArray[Any]
    class_outputs_: NDArray[np.int64]
    seen_outputs_: NDArray[np.int64]
    experience_outputs_: NDArray[np.int64]

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, *, task_id: Hashable = None
    ) -> Self:
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of any type; labels not seen before become new classes.
        classes : array-like or set, default=None
            Classes known to exist, seen or not. Optional: classes may appear at any time.
        task_id : hashable, default=None
            The task of this experience: a value, or the same value for each row, as arrays and tensors from loaders
            have it; equal values are one task. A call with the id of the call before continues the running experience;
            any other call opens a new one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, empty, not two-dimensional, or has another number of features than before.
            The estimator is then as it was before the call.
        """
        with self.transaction():
            self.learn(self.open_call(X, y, classes=classes, task_id=task_id))
        return self

    def open_call(
        self, X: ArrayLike, y: ArrayLike, *, classes: ArrayLike | None = None, task_id: Hashable = None
    ) -> Call:
        """Check the rows of a call, and note what is new in it; ``call.y`` are the numbers of outputs."""
        first = not self.__sklearn_is_fitted__()
        rows, labels = self.checked(X, y, reset=first)
        check_labels(labels, y)
        with explained(X):
            check_classification_targets(labels)
        task_id = as_task(task_id, len(rows))
        call = self.start_call(task_id)
        self.meet_classes(labels if classes is None else np.concatenate([_labels_like(labels, classes), labels]))
        call.X, call.y = rows, self.class_outputs_[np.searchsorted(self.classes_, labels)]
        outputs = np.unique(call.y)
        self.experience_outputs_ = outputs if call.opens_experience else np.union1d(self.experience_outputs_, outputs)
        self.seen_outputs_ = outputs if first else np.union1d(self.seen_outputs_, outputs)
        if task_id is not None:
            self.tasks_ = {**self.tasks_, task_id: np.union1d(self.tasks_[task_id], outputs)}
        return call

    def meet_classes(self, labels: NDArray[Any]) -> None:
        """Give new labels the next outputs; `classes_` stays sorted."""
        labels = np.unique(labels)
        if not hasattr(self, "classes_"):
            self.classes_, self.class_outputs_ = labels, np.arange(len(labels))
            return
        check_same_type(labels, "y", self.classes_, "the classes so far")
        new = np.setdiff1d(labels, self.classes_)
        if len(new):
            classes = np.concatenate([self.classes_, new])
            outputs = np.concatenate([self.class_outputs_, len(self.classes_) + np.arange(len(new))])
            order = np.argsort(classes)
            self.classes_, self.class_outputs_ = classes[order], outputs[order]

    def labels_of_outputs(self) -> NDArray[Any]:
        """The label of each output, in their order."""
        return self.classes_[np.argsort(self.class_outputs_)]

    def known_rows(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Rows like those that were learned, checked, and the outputs of their labels, which must be known."""
        rows, labels = self.checked(X, y, reset=False)
        check_labels(labels, y)
        check_same_type(labels, "y", self.classes_, "the classes so far")
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the label {unknown[0]!r}, which was never learned.")
        return rows, self.class_outputs_[np.searchsorted(self.classes_, labels)]

    def keep_outputs(self, outputs: NDArray[np.int64]) -> None:
        """Only the classes of these outputs are answers from now on; tasks without any are not known any more."""
        self.seen_outputs_ = outputs
        tasks = {task: np.intersect1d(known, outputs) for task, known in self.tasks_.items()}
        self.tasks_ = {task: known for task, known in tasks.items() if len(known)}

    def join(self, other: Self) -> NDArray[np.int64]:
        """Take over what `other` knows of classes and tasks; returns which output each of its outputs is here."""
        self.meet_classes(other.classes_)
        outputs = np.empty(len(other.classes_), dtype=np.int64)
        outputs[other.class_outputs_] = self.class_outputs_[np.searchsorted(self.classes_, other.classes_)]
        self.seen_outputs_ = np.union1d(self.seen_outputs_, outputs[other.seen_outputs_])
        nothing = np.empty(0, dtype=np.int64)
        theirs = {
            task: np.union1d(self.tasks_.get(task, nothing), outputs[known]) for task, known in other.tasks_.items()
        }
        self.tasks_ = {**self.tasks_, **theirs}
        return outputs

    def output_scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Scores of checked rows, shape (n_rows, n_outputs)."""
        raise NotImplementedError

    def task_output_scores(self, X: NDArray[Any], task_id: Hashable) -> NDArray[Any]:
        """Scores where the task is known; the mask over the task's classes comes on top."""
        return self.output_scores(X)

    # --- predictions ---------------------------------------------------------------------------------------------

    @plain_modes()
    @np.errstate(under="ignore")
    def _class_scores(self, X: ArrayLike, task_id: Hashable) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Scores in the order of `classes_`, and which classes are possible answers."""
        check_is_fitted(self)
        rows = self.checked(X, reset=False)
        task_id = as_task(task_id, len(rows))
        outputs = self.seen_outputs_ if task_id is None else self.known_task(task_id)
        scores = self.output_scores(rows) if task_id is None else self.task_output_scores(rows, task_id)
        return scores[:, self.class_outputs_], np.isin(self.class_outputs_, outputs)

    def predict(self, X: ArrayLike, task_id: Hashable = None) -> NDArray[Any]:
        """Predict labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            If given, answers come only from the classes of that task.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If the task was never learned, or `X` is not what the estimator was fitted on.
        """
        scores, possible = self._class_scores(X, task_id)
        labels: NDArray[Any] = self.classes_[np.where(possible, scores, -np.inf).argmax(axis=1)]
        return labels

    @np.errstate(under="ignore")
    def predict_proba(self, X: ArrayLike, task_id: Hashable = None) -> NDArray[np.float64]:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            If given, classes of other tasks get probability 0.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns follow ``classes_``.
        """
        scores, possible = self._class_scores(X, task_id)
        scores = np.where(possible, scores.astype(np.float64), -np.inf)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return probabilities

    def decision_function(self, X: ArrayLike, task_id: Hashable = None) -> NDArray[np.float64]:
        """Score of each class: logits or what the method has instead.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            If given, classes of other tasks get minus infinity.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Columns follow ``classes_``; with two classes, the score of the second minus that of the first.
        """
        scores, possible = self._class_scores(X, task_id)
        scores = np.where(possible, scores.astype(np.float64), -np.inf)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, task_id: Hashable = None
    ) -> float:
        """Mean accuracy on `X`, `y`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        task_id : hashable, default=None
            As in :meth:`predict`.

        Returns
        -------
        float
        """
        return float(accuracy_score(on_host(y), self.predict(X, task_id=task_id), sample_weight=sample_weight))


class ContinualRegressor(RegressorMixin, ContinualEstimator):
    """A regressor that learns one experience after another.

    Strategies write ``learn(call)`` and ``predictions(X)``; there, targets are float64 of shape (n_rows, n_outputs),
    whatever the shape of the user's `y`.
    """

    n_outputs_: int

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: ArrayLike, y: ArrayLike, *, task_id: Hashable = None) -> Self:
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        task_id : hashable, default=None
            The task of this experience: a value, or the same value for each row, as arrays and tensors from loaders
            have it; equal values are one task. A call with the id of the call before continues the running experience;
            any other call opens a new one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, empty, not two-dimensional, or has another number of features or outputs than
            before. The estimator is then as it was before the call.
        """
        with self.transaction():
            self.learn(self.open_call(X, y, task_id=task_id))
        return self

    def open_call(self, X: ArrayLike, y: ArrayLike, *, task_id: Hashable = None) -> Call:
        """Check the rows of a call, and note what is new in it; ``call.y`` are targets (n_rows, n_outputs)."""
        rows, targets = self.check_rows(X, y, first=not self.__sklearn_is_fitted__())
        call = self.start_call(as_task(task_id, len(rows)))
        call.X, call.y = rows, targets
        return call

    def check_rows(self, X: ArrayLike, y: ArrayLike, first: bool) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Rows and targets as strategies see them; the shape of `y` is noted at the first call, and then demanded."""
        rows, targets = self.checked(
            X,
            y,
            validate_separately=(
                {"dtype": self.input_dtype, "order": "C"},
                {"dtype": np.float64, "ensure_2d": False},
            ),
            reset=first,
        )
        check_consistent_length(rows, targets)
        if first:
            self.n_outputs_, self._target_shape_ = int(np.prod(targets.shape[1:])), targets.shape[1:]
        elif targets.shape[1:] != self._target_shape_:
            before = str(("n_samples", *self._target_shape_)).replace("'", "")
            raise ValueError(
                f"y has shape {targets.shape}, but in earlier calls its shape was {before}; give targets of one shape."
            )
        return rows, targets.reshape(len(targets), self.n_outputs_)

    def known_rows(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Rows and targets like those that were learned, checked."""
        return self.check_rows(X, y, first=False)

    def join(self, other: Self) -> None:
        """Take over what `other` knows of tasks."""
        if other._target_shape_ != self._target_shape_:
            raise ValueError("The targets of the two have other shapes.")
        self.tasks_ = {**self.tasks_, **other.tasks_}

    def predictions(self, X: NDArray[Any]) -> NDArray[Any]:
        """Predictions for checked rows, shape (n_rows, n_outputs)."""
        raise NotImplementedError

    def task_predictions(self, X: NDArray[Any], task_id: Hashable) -> NDArray[Any]:
        """Predictions where the task is known."""
        return self.predictions(X)

    @plain_modes()
    @np.errstate(under="ignore")
    def predict(self, X: ArrayLike, task_id: Hashable = None) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            The task of the rows, for methods that treat tasks differently.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the shape of the `y` that was learned.

        Raises
        ------
        ValueError
            If the task was never learned, or `X` is not what the estimator was fitted on.
        """
        check_is_fitted(self)
        rows = self.checked(X, reset=False)
        task_id = as_task(task_id, len(rows))
        if task_id is not None:
            self.known_task(task_id)
        predictions = self.predictions(rows) if task_id is None else self.task_predictions(rows, task_id)
        return predictions.astype(np.float64).reshape(len(rows), *self._target_shape_)

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, task_id: Hashable = None
    ) -> float:
        """Coefficient of determination R² on `X`, `y`; the mean over outputs if there are several.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        task_id : hashable, default=None
            As in :meth:`predict`.

        Returns
        -------
        float
        """
        return float(r2_score(on_host(y), self.predict(X, task_id=task_id), sample_weight=sample_weight))


def _labels_like(y: NDArray[Any], classes: ArrayLike) -> NDArray[Any]:
    """`classes` as an array that can stand in one array with `y`."""
    classes = np.unique(as_labels(classes, "classes"))
    check_same_type(classes, "classes", y, "the labels in y")
    missing = np.setdiff1d(y, classes)
    if len(missing):
        raise ValueError(f"y has the label {missing[0]!r}, which is not in classes={classes.tolist()!r}.")
    return classes
