"""Choosing parameters on a stream: every setting learns the first experiences one by one, as it will have to."""

import copy
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils import Tags, _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils.validation import check_is_fitted

from .delegation import Method, available_if_has
from .engine.modules import bytes_of
from .inputs import as_task
from .parameters import at_least, check_parameters
from .scores import OfTask, accepted, score_of

Rows = NDArray[np.intp]


class ContinualSplit:
    """A cross-validator over a stream: split k trains on experience k and tests on all experiences up to it.

    The training rows are for one more call of ``partial_fit``, so the same model goes through all splits. No row is
    in a training set and in a test set.

    Parameters
    ----------
    n_experiences : int, default=None
        How many experiences to cut the rows into, in their order, if no groups are given.
    test_size : float, default=0.2
        Share of the rows of each experience that are held out, rounded up: its last ones.
    shuffle : bool, default=False
        Hold out rows at random instead, where the rows of an experience are sorted.
    random_state : int, RandomState instance or None, default=None
        Used if rows are shuffled.

    Examples
    --------
    >>> import numpy as np
    >>> X, y, site = np.zeros((10, 2)), np.arange(10) % 2, np.repeat(["b", "a"], 5)
    >>> for train, test in ContinualSplit().split(X, y, groups=site):
    ...     print(train, test)
    [0 1 2 3] [4]
    [5 6 7 8] [4 9]
    """

    def __init__(
        self,
        n_experiences: int | None = None,
        *,
        test_size: float = 0.2,
        shuffle: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_experiences = n_experiences
        self.test_size = test_size
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of experiences.

        Parameters
        ----------
        X, y : object
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            As for :meth:`split`.

        Returns
        -------
        int
        """
        if groups is not None:
            return len(np.unique(np.asarray(groups)))
        if self.n_experiences is None:
            raise ValueError("Which experience is a row of? Give groups, or say how many n_experiences to cut.")
        return self.n_experiences

    def split(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield the rows to learn and the rows to test on afterwards.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The experience of each row. Experiences come in the order in which their first rows do.

        Yields
        ------
        train, test : ndarray of int
            Positions of the rows.

        Raises
        ------
        ValueError
            If it is not known which experience a row is of, or an experience has fewer than two rows.
        """
        tests: list[Rows] = []
        for train, test in self.experiences(X, groups):
            tests.append(test)
            yield train, np.concatenate(tests)

    def experiences(self, X: Any, groups: ArrayLike | None = None) -> list[tuple[Rows, Rows]]:
        """List the training rows and the held out rows of each experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As for :meth:`split`.

        Returns
        -------
        list of (train, test)
        """
        if not 0 < self.test_size < 1:
            raise ValueError(f"test_size is {self.test_size!r}; give a share between 0 and 1, such as 0.2.")
        n_rows = len(indexable(X, groups)[0]) if not hasattr(X, "shape") else X.shape[0]
        if groups is None:
            parts = np.array_split(np.arange(n_rows), self.get_n_splits())
        else:
            _, first, which = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
            parts = [np.flatnonzero(which == each) for each in np.argsort(first, kind="stable")]
        generator = check_random_state(self.random_state) if self.shuffle else None
        return [self._cut(rows, generator) for rows in parts]

    def _cut(self, rows: Rows, generator: np.random.RandomState | None) -> tuple[Rows, Rows]:
        if len(rows) < 2:
            raise ValueError(f"An experience of {len(rows)} rows cannot be split; it takes two.")
        order = rows if generator is None else generator.permutation(rows)
        n_train = max(len(rows) - math.ceil(self.test_size * len(rows)), 1)
        return np.sort(order[:n_train]), np.sort(order[n_train:])


@dataclass
class _Candidate:
    """A setting, the model that learns with it, and how it does."""

    params: dict[str, Any]
    model: Any
    fit_seconds: list[float] = field(default_factory=list)
    score_seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def score(self) -> float:
        return math.nan if self.error else float(np.mean(self.scores))


@dataclass
class _Call:
    """Rows that were given in a call, what was told with them, and the rows held out of them."""

    X: Any
    y: Any
    told: dict[str, Any]
    train: Rows
    test: Rows

    def rows(self, which: Rows) -> tuple[Any, Any]:
        return _safe_indexing(self.X, which), _safe_indexing(self.y, which)


def _has(name: str) -> Callable[[Method], Method]:
    return available_if_has(name, lambda search: getattr(search, "best_estimator_", search.estimator))


class ContinualSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Choose parameters on the first experiences, then learn on with the best.

    Parameters that act against forgetting do nothing in a single ``fit``, so ``GridSearchCV`` gives all of them the
    same score. Here each setting has a model of its own, which learns the first experiences one after the other; rows
    of each are held out, and the score of a setting is that on the held out rows of all of them, each call weighing the
    same, after the last. Then the best setting learns these experiences again, with all their rows, and whatever comes.

    Until then it keeps all rows and models; until the choice is made, the best setting so far answers. The choice is
    made when the experience after the last of them begins, or at the end of :meth:`fit`. Scores of held out rows are
    for choosing only: judge the result on other rows, such as the test sets of a stream.

    Parameters
    ----------
    estimator : estimator
        Has ``partial_fit``.
    param_grid : dict of str to list
        Values to try, by the names of parameters.
    n_experiences : int, default=2
        How many experiences to choose on.
    n_candidates : int, default=None
        The budget: how many settings to draw from the grid. ``None``: all.
    cv : ContinualSplit, default=None
        Says which rows are held out. ``None``: the last fifth of each experience.
    scoring : str or callable, default=None
        One of scikit-learn's scorers. ``None``: the estimator's own ``score``.
    random_state : int, RandomState instance or None, default=None
        Draws the settings.

    Attributes
    ----------
    best_estimator_ : estimator
        What answers.
    best_params_ : dict
    best_score_ : float
    best_index_ : int
        Position in `cv_results_`.
    cv_results_ : dict of str to sequence
        As that of ``GridSearchCV``, where a split is a call: ``split0_test_score`` is the score on the rows held out of
        the first, after the last one. A setting that failed has NaN.
    n_experiences_ : int
        How many experiences have been learned.
    search_seconds_, refit_time_ : float
        What the choice cost: learning and scoring with all settings, and learning again with the best.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, permuted_stream
    >>> from forgetless.estimators import ContinualSearchCV, SLDAClassifier
    >>> search = ContinualSearchCV(SLDAClassifier(), {"shrinkage": [1e-4, 0.5]}, n_experiences=2)
    >>> for experience in permuted_stream(load_digits(), n_experiences=3, random_state=0):
    ...     search = search.partial_fit(experience.X_train, experience.y_train)
    >>> search.best_params_
    {'shrinkage': 0.0001}
    """

    n_experiences_: int
    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    cv_results_: dict[str, Any]
    search_seconds_: float
    refit_time_: float

    _candidates: list[_Candidate]
    _given: list[_Call]
    _task_id: Hashable

    parameter_constraints = {
        "n_experiences": [at_least(2, Integral)],
        "n_candidates": [at_least(1, Integral), None],
        "cv": [ContinualSplit, None],
        "scoring": [str, callable, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_experiences: int = 2,
        n_candidates: int | None = None,
        cv: ContinualSplit | None = None,
        scoring: str | Callable[..., float] | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.n_experiences = n_experiences
        self.n_candidates = n_candidates
        self.cv = cv
        self.scoring = scoring
        self.random_state = random_state

    # --- learning ------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, groups: ArrayLike | None = None) -> Self:
        """Forget everything, choose on the first experiences, and learn all of them one after the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        groups : array-like of shape (n_samples,), default=None
            The experience of each row; needed unless `cv` cuts the rows itself.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is only one experience, or all settings fail.
        """
        X, y = indexable(X, y)
        parts = self._split().experiences(X, groups)
        if len(parts) < 2:
            raise ValueError("In one experience nothing can be forgotten, and nothing chosen against it; give groups.")
        announced = is_classifier(self.estimator) and not hasattr(self.estimator, "strategy_info")
        fresh = type(self)(**self.get_params(deep=False))
        for train, test in parts:
            rows = np.sort(np.concatenate([train, test]))
            fresh.partial_fit(_safe_indexing(X, rows), _safe_indexing(y, rows), np.unique(y) if announced else None)
        if fresh._running:
            fresh._choose()
        self.__dict__.update(vars(fresh))
        return self

    def partial_fit(self, X: Any, y: Any, classes: ArrayLike | None = None, *, task_id: Hashable = None) -> Self:
        """Learn one experience.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like, default=None
            For the estimator.
        task_id : hashable, default=None
            For the estimator, if it knows tasks; held out rows are then scored with it. A call with the id of the call
            before continues the running experience.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If all settings fail.
        """
        check_parameters(self)
        X, y = indexable(X, y)
        task_id = as_task(task_id, len(y))
        first = not hasattr(self, "n_experiences_")
        opens = first or task_id is None or task_id != self._task_id
        told = {"classes": classes, "task_id": task_id}
        if first:
            self._candidates = [_Candidate(params, self._model(params)) for params in self._settings()]
            self._given = []
        elif opens and self._running and self.n_experiences_ == self.n_experiences:
            self._choose()
        if self._running:
            [(train, test)] = self._split().experiences(X, np.zeros(len(y)))
            everything = np.arange(len(y))  # copies: the rows are learned again
            rows = _safe_indexing(X, everything), _safe_indexing(y, everything)
            given = [*self._given, _Call(*rows, told, train, test)]
            # Copies, so that a call that is interrupted changes nothing.
            candidates = [self._learned(copy.deepcopy(each), given) for each in self._candidates]
            self._publish(candidates, given)
        else:
            _learn(self.best_estimator_, X, y, told)
        self.n_experiences_ = opens + (0 if first else self.n_experiences_)
        self._task_id = task_id
        return self

    @property
    def _running(self) -> bool:
        """Whether the choice is still to be made."""
        return bool(self._candidates)

    def _split(self) -> ContinualSplit:
        return ContinualSplit() if self.cv is None else self.cv

    def _settings(self) -> list[dict[str, Any]]:
        grid = ParameterGrid(self.param_grid)
        if self.n_candidates is None or len(grid) <= self.n_candidates:
            return list(grid)
        return list(ParameterSampler(self.param_grid, self.n_candidates, random_state=self.random_state))

    def _model(self, params: Mapping[str, Any]) -> Any:
        return clone(self.estimator).set_params(**params)

    def _learned(self, candidate: _Candidate, given: Sequence[_Call]) -> _Candidate:
        """Let a setting learn the last of the calls, and score it on what is held out of all; it may fail."""
        if candidate.error:
            return candidate
        last = given[-1]
        try:
            with warnings.catch_warnings(action="ignore"):
                clock = time.perf_counter()
                _learn(candidate.model, *last.rows(last.train), last.told)
                learned = time.perf_counter()
                candidate.scores = [
                    score_of(candidate.model, *each.rows(each.test), each.told["task_id"], self.scoring)
                    for each in given
                ]
            candidate.fit_seconds.append(learned - clock)
            candidate.score_seconds.append(time.perf_counter() - learned)
        except Exception as error:
            candidate.error = f"{type(error).__name__}: {error}"
        return candidate

    def _publish(self, candidates: list[_Candidate], given: list[_Call]) -> None:
        """Say how the settings do, or raise if none does."""
        scores = np.array([candidate.score for candidate in candidates])
        if np.isnan(scores).all():
            raise ValueError(f"All {len(candidates)} settings fail, the first with {candidates[0].error}.")
        self._candidates, self._given = candidates, given
        self.best_index_ = int(np.nanargmax(scores))
        best = candidates[self.best_index_]
        self.best_params_, self.best_score_, self.best_estimator_ = best.params, best.score, best.model
        self.search_seconds_ = sum(sum(each.fit_seconds) + sum(each.score_seconds) for each in candidates)
        by_call = np.array([[math.nan] * len(given) if each.error else each.scores for each in candidates])
        self.cv_results_ = {
            "params": [each.params for each in candidates],
            "mean_fit_time": np.array([np.mean(each.fit_seconds or math.nan) for each in candidates]),
            "mean_score_time": np.array([np.mean(each.score_seconds or math.nan) for each in candidates]),
            **{f"split{k}_test_score": by_call[:, k] for k in range(len(given))},
            "mean_test_score": scores,
            "std_test_score": by_call.std(axis=1),
            "rank_test_score": rankdata(-np.nan_to_num(scores, nan=-math.inf), method="min").astype(int),
        }

    def _choose(self) -> None:
        """Let the best setting learn again what came so far, with all rows, and forget the rest."""
        clock = time.perf_counter()
        model = self._model(self.best_params_)
        for call in self._given:
            _learn(model, call.X, call.y, call.told)
        self.best_estimator_ = model
        self.refit_time_ = time.perf_counter() - clock
        self._candidates, self._given = [], []

    # --- answering -----------------------------------------------------------------------------------------------

    @_has("predict")
    def predict(self, X: Any, task_id: Hashable = None) -> Any:
        """Predict with the best setting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            For the estimator, if it knows tasks.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._answer("predict", X, task_id)

    @_has("predict_proba")
    def predict_proba(self, X: Any, task_id: Hashable = None) -> Any:
        """Predict probabilities with the best setting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            For the estimator, if it knows tasks.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._answer("predict_proba", X, task_id)

    @_has("decision_function")
    def decision_function(self, X: Any, task_id: Hashable = None) -> Any:
        """Decide with the best setting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        task_id : hashable, default=None
            For the estimator, if it knows tasks.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._answer("decision_function", X, task_id)

    def _answer(self, method: str, X: Any, task_id: Hashable) -> Any:
        check_is_fitted(self)
        return getattr(OfTask(self.best_estimator_, task_id), method)(X)

    def score(self, X: Any, y: Any, task_id: Hashable = None) -> float:
        """Score the best setting, as the settings were scored.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        task_id : hashable, default=None
            For the estimator, if it knows tasks.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return score_of(self.best_estimator_, X, y, task_id, self.scoring)

    @property
    def classes_(self) -> Any:
        """Classes that the best setting knows."""
        return self.best_estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return int(self.best_estimator_.n_features_in_)

    @_has("strategy_info")
    def strategy_info(self) -> dict[str, Any]:
        """What kind of method the estimator is; until the choice is made, samples are kept.

        Returns
        -------
        dict
            As from the estimator, with ``keeps`` "samples" and ``unlearns`` "no".
        """
        info: dict[str, Any] = self.estimator.strategy_info()
        return info | {"keeps": "samples", "unlearns": "no"}

    @_has("memory_usage")
    def memory_usage(self) -> dict[str, int]:
        """Bytes that are carried from call to call, by kind: until the choice is made, all rows and all models.

        Returns
        -------
        dict of str to int
        """
        check_is_fitted(self)
        models = [each.model for each in self._candidates if not each.error] or [self.best_estimator_]
        usage = Counter(
            {"replay": sum(bytes_of(np.asarray(part)) for each in self._given for part in (each.X, each.y))}
        )
        for model in models:
            usage.update(model.memory_usage())
        return {kind: n_bytes for kind, n_bytes in usage.items() if n_bytes}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type, tags.classifier_tags, tags.regressor_tags = (
            inner.estimator_type,
            inner.classifier_tags,
            inner.regressor_tags,
        )
        tags.target_tags, tags.input_tags = inner.target_tags, inner.input_tags
        return tags


def _learn(model: Any, X: Any, y: Any, told: Mapping[str, Any]) -> None:
    model.partial_fit(X, y, **accepted(model.partial_fit, told))
