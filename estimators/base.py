"""The contract of every estimator: experiences, classes that appear at any time, task ids, all-or-nothing calls."""

from contextlib import contextmanager

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import check_parameters

KEEPS = ("nothing", "statistics", "features", "generator", "samples")


class ContinualEstimator(BaseEstimator):
    """What all estimators share: validation, experiences and tasks, transactions, information.

    A strategy declares `_family`, `_source`, `_keeps` and `_needs_task_id`, and writes ``_learn(X, y)``. State is
    *replaced*, never changed in place, except in objects that have a ``snapshot()`` method returning a function that
    restores them (nets, memories); this is what makes a failed call harmless.
    """

    _constraints: dict[str, list]
    _family: str
    _source: str
    _keeps: str = "nothing"
    _needs_task_id: bool = False
    _dtype: tuple = (np.float32,)

    # --- what users ask ------------------------------------------------------------------------------------------

    def strategy_info(self):
        """What kind of method this is.

        Returns
        -------
        dict
            ``family``, ``source`` (the paper), ``needs_task_id`` (whether predictions need one), and ``keeps``: what
            it carries of the data from call to call, one of "nothing", "statistics", "features", "generator",
            "samples".
        """
        return {
            "family": self._family,
            "source": self._source,
            "needs_task_id": self._needs_task_id,
            "keeps": self._keeps,
        }

    def memory_usage(self):
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
        return {kind: n_bytes for kind, n_bytes in self._memory().items() if n_bytes}

    def _memory(self):
        raise NotImplementedError

    # --- one call = one transaction ------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_experiences_")

    def _mutable_parts(self):
        """Objects whose insides change during a call; each has ``snapshot()``."""
        return [part for name, part in vars(self).items() if name.endswith("_") and hasattr(part, "snapshot")]

    @contextmanager
    def _all_or_nothing(self):
        """Whatever fails inside leaves the estimator as it was."""
        before = vars(self).copy()
        restore = [part.snapshot() for part in self._mutable_parts()]
        try:
            yield
        except BaseException:  # an interrupt, too
            self.__dict__.clear()
            self.__dict__.update(before)
            for undo in restore:
                undo()
            raise

    def _forget_everything(self):
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("__")]:
            delattr(self, name)

    # --- experiences ---------------------------------------------------------------------------------------------

    def fit(self, X, y):
        """Forget everything and learn `X`, `y` as the first experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,); for a regressor also (n_samples, n_outputs)

        Returns
        -------
        self
        """
        with self._all_or_nothing():
            self._forget_everything()
            self._learn_call(X, y)
        return self

    def _learn_call(self, X, y, *, task_id=None):
        raise NotImplementedError

    def _start_call(self, task_id):
        """Note the task, and whether this call opens an experience; a call with the running task's id continues it."""
        check_parameters(self)
        if not self.__sklearn_is_fitted__():
            self.n_experiences_ = 0
            self.tasks_: dict = {}
            self._running_task_ = None
            self._n_calls_ = 0
            self._entropy_ = self._draw_entropy()
        self._opens_experience_ = task_id is None or task_id != self._running_task_ or self.n_experiences_ == 0
        if task_id is not None and task_id not in self.tasks_:
            self.tasks_ = {**self.tasks_, task_id: np.empty(0, dtype=np.int64)}
        self._running_task_ = task_id
        self.n_experiences_ += self._opens_experience_
        self._n_calls_ += 1

    def _draw_entropy(self):
        random_state = getattr(self, "random_state", None)
        if random_state is None:  # fresh entropy, not NumPy's global generator
            return int(np.random.SeedSequence().generate_state(1)[0])
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))

    def _rng(self, purpose):
        """A NumPy generator of this call for one purpose; purposes do not disturb each other's draws."""
        return np.random.default_rng([self._entropy_, self._n_calls_, *purpose.encode()])

    def _known_task(self, task_id):
        try:
            return self.tasks_[task_id]
        except (KeyError, TypeError):
            known = ", ".join(repr(task) for task in self.tasks_) or "none, since no call gave a task_id"
            raise ValueError(f"task_id {task_id!r} was never learned; known task ids: {known}.") from None


class ContinualClassifier(ClassifierMixin, ContinualEstimator):
    """A classifier that learns one experience after another, and new classes whenever they come.

    Within a strategy a class is a *column*: classes get columns in the order of their first appearance, so that nothing
    already learned moves when a class arrives. Users see ``classes_``, sorted, and columns in that order.

    Strategies write ``_learn(X, y)``, with `y` as columns, and ``_scores(X)``: an array (n_rows, n_columns), larger
    where a class is more likely; where scores are logits, ``predict_proba`` is their softmax.
    """

    classes_: np.ndarray
    _columns_: np.ndarray
    _seen_columns_: np.ndarray
    _experience_columns_: np.ndarray

    def partial_fit(self, X, y, classes=None, *, task_id=None):
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of any type; labels not seen before become new classes.
        classes : array-like, default=None
            Classes known to exist, seen or not. Optional: classes may appear at any time.
        task_id : hashable, default=None
            The task of this experience. A call with the id of the call before continues the running experience;
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
        with self._all_or_nothing():
            self._learn_call(X, y, classes=classes, task_id=task_id)
        return self

    def _learn_call(self, X, y, *, classes=None, task_id=None):
        self._learn(*self._read(X, y, classes=classes, task_id=task_id))

    def _read(self, X, y, *, classes=None, task_id=None):
        """Check the rows of a call and note what is new in it; returns the rows, with classes as columns."""
        first = not self.__sklearn_is_fitted__()
        X, y = validate_data(self, X, y, dtype=self._dtype, order="C", reset=first)
        check_classification_targets(y)
        self._start_call(task_id)
        self._meet_classes(y if classes is None else np.concatenate([_labels_like(y, classes), y]))
        y = self._columns_[np.searchsorted(self.classes_, y)]
        columns = np.unique(y)
        self._experience_columns_ = (
            columns if self._opens_experience_ else np.union1d(self._experience_columns_, columns)
        )
        self._seen_columns_ = columns if first else np.union1d(self._seen_columns_, columns)
        if task_id is not None:
            self.tasks_ = {**self.tasks_, task_id: np.union1d(self.tasks_[task_id], columns)}
        return X, y

    def _meet_classes(self, labels):
        """Give new labels the next columns; `classes_` stays sorted."""
        labels = np.unique(labels)
        if not hasattr(self, "classes_"):
            self.classes_, self._columns_ = labels, np.arange(len(labels))
            return
        if (labels.dtype.kind in "OUS") != (self.classes_.dtype.kind in "OUS"):
            raise ValueError(
                f"y has labels like {labels[0]!r}, but the classes so far are like {self.classes_[0]!r}; "
                "use text or numbers for all labels, not both."
            )
        new = np.setdiff1d(labels, self.classes_)
        if len(new):
            together = np.concatenate([self.classes_, new])
            columns = np.concatenate([self._columns_, len(self.classes_) + np.arange(len(new))])
            order = np.argsort(together)
            self.classes_, self._columns_ = together[order], columns[order]

    def _learn(self, X, y):
        raise NotImplementedError

    def _scores(self, X):
        raise NotImplementedError

    # --- predictions ---------------------------------------------------------------------------------------------

    def _class_scores(self, X, task_id):
        """Scores in the order of `classes_`, and which classes are possible answers."""
        check_is_fitted(self)
        columns = None if task_id is None else self._known_task(task_id)
        X = validate_data(self, X, dtype=self._dtype, order="C", reset=False)
        scores = (self._scores(X) if task_id is None else self._task_scores(X, task_id))[:, self._columns_]
        possible = np.isin(self._columns_, self._seen_columns_ if columns is None else columns)
        return scores, possible

    def _task_scores(self, X, task_id):
        """Scores where the task is known; the mask over the task's classes comes on top."""
        return self._scores(X)

    def predict(self, X, task_id=None):
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
        return self.classes_[np.where(possible, scores, -np.inf).argmax(axis=1)]

    def predict_proba(self, X, task_id=None):
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
        return scores / scores.sum(axis=1, keepdims=True)

    def decision_function(self, X, task_id=None):
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

    def score(self, X, y, sample_weight=None, task_id=None):
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
        return float(np.average(self.predict(X, task_id=task_id) == np.asarray(y), weights=sample_weight))


class ContinualRegressor(RegressorMixin, ContinualEstimator):
    """A regressor that learns one experience after another.

    Strategies write ``_learn(X, y)`` and ``_predictions(X)``; there, targets are float64 of shape (n_rows, n_outputs),
    whatever the shape of the user's `y`.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X, y, *, task_id=None):
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        task_id : hashable, default=None
            The task of this experience. A call with the id of the call before continues the running experience;
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
        with self._all_or_nothing():
            self._learn_call(X, y, task_id=task_id)
        return self

    def _learn_call(self, X, y, *, task_id=None):
        self._learn(*self._read(X, y, task_id=task_id))

    def _read(self, X, y, *, task_id=None):
        """Check the rows of a call and note what is new in it; returns the rows and their targets."""
        X, y = self._validate(X, y, first=not self.__sklearn_is_fitted__())
        self._start_call(task_id)
        return X, y

    def _validate(self, X, y, first):
        """Rows and targets as strategies see them; the shape of `y` is noted at the first call, and then demanded."""
        X, y = validate_data(
            self,
            X,
            y,
            validate_separately=(
                {"dtype": self._dtype, "order": "C"},
                {"dtype": np.float64, "ensure_2d": False},
            ),
            reset=first,
        )
        check_consistent_length(X, y)
        if first:
            self.n_outputs_, self._target_shape_ = int(np.prod(y.shape[1:])), y.shape[1:]
        elif y.shape[1:] != self._target_shape_:
            raise ValueError(
                f"y has shape {y.shape}, but in earlier calls its shape was (n_samples, *{self._target_shape_}); "
                "give targets of one shape."
            )
        return X, y.reshape(len(y), self.n_outputs_)

    def _learn(self, X, y):
        raise NotImplementedError

    def _predictions(self, X):
        raise NotImplementedError

    def _task_predictions(self, X, task_id):
        """Predictions where the task is known."""
        return self._predictions(X)

    def predict(self, X, task_id=None):
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
        if task_id is not None:
            self._known_task(task_id)
        X = validate_data(self, X, dtype=self._dtype, order="C", reset=False)
        predictions = self._predictions(X) if task_id is None else self._task_predictions(X, task_id)
        return predictions.astype(np.float64).reshape(len(X), *self._target_shape_)

    def score(self, X, y, sample_weight=None, task_id=None):
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
        return float(r2_score(y, self.predict(X, task_id=task_id), sample_weight=sample_weight))


def _labels_like(y, classes):
    """`classes` as an array that can stand in one array with `y`."""
    classes = np.unique(np.asarray(classes))
    if (classes.dtype.kind in "OUS") != (y.dtype.kind in "OUS"):
        raise ValueError(f"classes has labels like {classes[0]!r}, but y has labels like {y[0]!r}; use one type.")
    missing = np.setdiff1d(y, classes)
    if len(missing):
        raise ValueError(f"y has the label {missing[0]!r}, which is not in classes={classes.tolist()!r}.")
    return classes
