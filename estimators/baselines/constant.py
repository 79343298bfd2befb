"""Constant: answers that do not look at the row: the most frequent class or the last, the mean or the last value."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags

from ..base import ContinualClassifier, ContinualEstimator, ContinualRegressor
from ..engine.call import Call

# A difference of log-probabilities beyond what float64 can hold: the less likely class has probability 0.
_CERTAIN = 1e3


class Constant(ContinualEstimator):
    """The rule of answers that are the same for every row; :meth:`answer` says which."""

    family = "baselines"
    keeps = "statistics"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        for own in (tags.classifier_tags, tags.regressor_tags):
            if own is not None:
                own.poor_score = True
        return tags

    def answer(self) -> NDArray[np.float64]:
        """Scores of the outputs, or the predicted targets, shape (n_outputs,)."""
        raise NotImplementedError

    def output_scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """The answer, for each row."""
        return np.tile(self.answer(), (len(X), 1))

    def predictions(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """The answer, for each row."""
        return self.output_scores(X)


class MajorityClassifier(Constant, ContinualClassifier):
    r"""Predict the most frequent class so far.

    Probabilities are the classes' shares of all rows, :math:`n_c / n`. Counts are exact sums, so any order and any
    chunking of the rows gives the same answers. Of classes that are equally frequent the first in ``classes_`` is
    predicted. With a task id, it is the most frequent of the task's classes.

    Attributes
    ----------
    counts_ : ndarray of shape (n_classes,)
        Rows learned of each class, in the order of ``classes_``.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.estimators import MajorityClassifier
    >>> clf = MajorityClassifier().partial_fit([[0.0], [1.0]], ["b", "a"]).partial_fit([[2.0], [3.0]], ["b", "c"])
    >>> clf.predict([[1.0]]), clf.predict_proba([[1.0]])
    (array(['b'], dtype='<U1'), array([[0.25, 0.5 , 0.25]]))
    """

    source = "baseline: most frequent class"
    unlearns = "exact"
    carries = {"output_counts_": "statistics"}

    output_counts_: NDArray[np.int64]

    @property
    def counts_(self) -> NDArray[np.int64]:
        """Rows learned of each class, in the order of ``classes_``."""
        return self.output_counts_[self.class_outputs_]

    def learn(self, call: Call) -> None:
        """Count."""
        self.output_counts_ = self._counted(len(self.classes_)) + np.bincount(call.y, minlength=len(self.classes_))

    def _counted(self, n_outputs: int) -> NDArray[np.int64]:
        """The counts so far, a copy, with room for so many outputs."""
        before = getattr(self, "output_counts_", np.empty(0, dtype=np.int64))
        return np.pad(before, (0, n_outputs - len(before)))

    def take_away(self, X: NDArray[Any], y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Subtract the counts."""
        self.output_counts_ = self._counted(len(self.classes_)) - np.bincount(y, minlength=len(self.classes_))
        return self.output_counts_[None]

    def take_over(self, other: Self, outputs: NDArray[np.int64] | None) -> None:
        """Add the counts of `other`."""
        counts = self._counted(len(self.classes_))
        counts[outputs] += other._counted(len(other.classes_))
        self.output_counts_ = counts

    def answer(self) -> NDArray[np.float64]:
        """Logarithms of the counts; a class of which there was no row is no answer."""
        scores: NDArray[np.float64] = np.log(np.maximum(self.output_counts_, np.finfo(np.float64).tiny))
        return scores


class MeanRegressor(Constant, ContinualRegressor):
    r"""Predict the mean of all targets so far.

    A call of m rows moves the mean of n rows, :math:`\bar y \leftarrow \bar y + \sum_i (y_i - \bar y) / (n + m)`. Any
    order and any chunking of the rows gives the same mean, up to rounding. R² is measured from it: 0 on the rows that
    were learned.

    Attributes
    ----------
    mean_ : ndarray of shape (n_outputs,)
    n_rows_ : int
        Rows learned.
    n_experiences_, n_features_in_, n_outputs_ : int

    Examples
    --------
    >>> from forgetless.estimators import MeanRegressor
    >>> reg = MeanRegressor().partial_fit([[0.0]], [1.0]).partial_fit([[1.0], [2.0]], [3.0, 5.0])
    >>> reg.predict([[9.0]])
    array([3.])
    """

    source = "baseline: mean of the targets"
    unlearns = "exact"
    carries = {"mean_": "statistics"}

    mean_: NDArray[np.float64]
    n_rows_: int

    def learn(self, call: Call) -> None:
        """Move the mean."""
        mean = getattr(self, "mean_", np.zeros(self.n_outputs_))
        self.n_rows_ = getattr(self, "n_rows_", 0) + len(call.y)
        self.mean_ = mean + (call.y - mean).sum(axis=0) / self.n_rows_

    def take_away(self, X: NDArray[Any], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Move the mean back."""
        self.n_rows_ -= len(y)
        if self.n_rows_ > 0:
            self.mean_ = self.mean_ - (y - self.mean_).sum(axis=0) / self.n_rows_
        return np.array([[self.n_rows_]])

    def take_over(self, other: Self, outputs: NDArray[np.int64] | None) -> None:
        """Move the mean by the rows of `other`."""
        self.n_rows_ += other.n_rows_
        self.mean_ = self.mean_ + (other.mean_ - self.mean_) * (other.n_rows_ / self.n_rows_)

    def answer(self) -> NDArray[np.float64]:
        """The mean."""
        return self.mean_


class LastLabelClassifier(Constant, ContinualClassifier):
    """Predict the last label that was learned: hard to beat where rows come in time and labels persist.

    With a task id, it is the label of the task that came last. Learn in small calls: all rows until the next call get
    one answer.

    Attributes
    ----------
    outputs_by_time_ : ndarray of int
        Outputs of the classes seen, in the order in which each was last seen, the last label's at the end.
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    Examples
    --------
    >>> from forgetless.estimators import LastLabelClassifier
    >>> clf = LastLabelClassifier().partial_fit([[0.0], [1.0]], ["down", "up"])
    >>> clf.predict([[0.0], [2.0]])
    array(['up', 'up'], dtype='<U4')
    """

    source = "baseline: last label"
    carries = {"outputs_by_time_": "statistics"}

    outputs_by_time_: NDArray[np.int64]

    def learn(self, call: Call) -> None:
        """Put the outputs of the call last, in the order of their last rows."""
        outputs, rows_after = np.unique(call.y[::-1], return_index=True)
        before = getattr(self, "outputs_by_time_", np.empty(0, dtype=np.int64))
        latest = outputs[np.argsort(-rows_after)]
        self.outputs_by_time_ = np.concatenate([before[~np.isin(before, outputs)], latest])

    def answer(self) -> NDArray[np.float64]:
        """The later a class was seen, the higher; only the latest has a probability."""
        scores = np.full(len(self.classes_), -_CERTAIN)
        scores[self.outputs_by_time_] = _CERTAIN * np.arange(len(self.outputs_by_time_))
        return scores


class LastValueRegressor(Constant, ContinualRegressor):
    """Predict the last targets that were learned: hard to beat where rows come in time and values persist.

    Learn in small calls: all rows until the next call get one answer.

    Attributes
    ----------
    last_ : ndarray of shape (n_outputs,)
    n_experiences_, n_features_in_, n_outputs_ : int

    Examples
    --------
    >>> from forgetless.estimators import LastValueRegressor
    >>> LastValueRegressor().partial_fit([[0.0], [1.0]], [5.0, 7.0]).predict([[0.0], [2.0]])
    array([7., 7.])
    """

    source = "baseline: last value"
    carries = {"last_": "statistics"}

    last_: NDArray[np.float64]

    def learn(self, call: Call) -> None:
        """Note the last targets."""
        self.last_ = call.y[-1].copy()

    def answer(self) -> NDArray[np.float64]:
        """The last targets."""
        return self.last_
