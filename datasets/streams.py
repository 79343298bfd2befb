"""Streams: data sets divided into experiences that arrive one after another.

Streams are lazy: an experience is computed on access, owns its arrays and is not cached, so a stream of a hundred
permutations of MNIST needs the memory of one.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np

from .base import Dataset, RandomState

Scenario = Literal["class", "task", "domain"]
"""What is incremental in a stream; see :class:`Stream`."""

MOST_EXPERIENCES = 100_000
"""Experiences of a stream whose every permutation is kept."""


@dataclass(frozen=True, eq=False)
class Experience:
    """One step of a stream: the training data, and the test data of the same classes.

    Parameters
    ----------
    index : int
        Position in the stream, from 0.
    task_id : int or None
        Task identifier that the learner is given for training and for prediction; None outside task-incremental
        streams.
    classes : ndarray
        The labels that can occur in this experience, sorted.
    X_train, y_train : ndarray
        Training data.
    X_test, y_test : ndarray
        Test data: the test rows that belong to this experience.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> split_stream(load_digits(), class_order="sorted")[1]
    Experience(index=1, task_id=None, classes=[2, 3], 288 training rows, 72 test rows)
    """

    index: int
    task_id: int | None
    classes: np.ndarray
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def __repr__(self) -> str:
        return (
            f"Experience(index={self.index}, task_id={self.task_id}, classes={self.classes.tolist()}, "
            f"{len(self.X_train)} training rows, {len(self.X_test)} test rows)"
        )


class Stream(ABC):
    """A named sequence of experiences, each computed on access.

    Functions such as :func:`split_stream` build streams. For a stream of your own, derive a class and implement the
    four abstract members; they must return new arrays, so that changing an experience leaves the data set as it is.

    Parameters
    ----------
    name : str
        Name in tables and reports.
    scenario : {"class", "task", "domain"}
        What is incremental. "class": new classes appear, and predictions are made among all classes seen so far.
        "task": new classes appear, and predictions are made among the classes of the task, whose identifier is given.
        "domain": the classes stay the same, the distribution of the inputs changes.
    classes : ndarray
        All labels that occur in the stream, sorted.
    n_features : int
        Number of columns of the inputs.
    n_experiences : int
        Length of the stream.

    Attributes
    ----------
    definition : dict
        Identifies the content of the stream; serialisable as JSON.
    announces_classes : bool
        Whether learners are told all classes of the stream from the start (``partial_fit(..., classes=...)``).

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> stream = split_stream(load_digits(), n_experiences=5, class_order="sorted")
    >>> stream
    Stream('split-digits-5-class': class-incremental, n_experiences=5, n_classes=10, n_features=64)
    >>> [experience.classes.tolist() for experience in stream]
    [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    >>> X_test, y_test = stream.test_set(-1)
    >>> X_test.shape
    (71, 64)
    """

    announces_classes = False

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        classes: np.ndarray,
        n_features: int,
        n_experiences: int,
    ) -> None:
        self.name = name
        self.scenario = scenario
        self.classes = classes
        self.n_features = n_features
        self.n_experiences = n_experiences

    @property
    @abstractmethod
    def definition(self) -> dict[str, Any]:
        """Identifies the content of the stream; serialisable as JSON."""

    @abstractmethod
    def make_classes(self, index: int) -> np.ndarray:
        """Compute the sorted labels that can occur in an experience.

        Parameters
        ----------
        index : int
            Position of the experience, from 0; it exists.

        Returns
        -------
        ndarray
            A new array.
        """

    @abstractmethod
    def make_train_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute the training data of an experience.

        Parameters
        ----------
        index : int
            Position of the experience, from 0; it exists.

        Returns
        -------
        X_train, y_train : ndarray
            New arrays.
        """

    @abstractmethod
    def make_test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute the test data of an experience.

        Parameters
        ----------
        index : int
            Position of the experience, from 0; it exists.

        Returns
        -------
        X_test, y_test : ndarray
            New arrays.
        """

    def __len__(self) -> int:
        return self.n_experiences

    def __getitem__(self, index: int) -> Experience:
        index = self._check_index(index)
        return Experience(
            index,
            index if self.scenario == "task" else None,
            self.make_classes(index),
            *self.make_train_set(index),
            *self.make_test_set(index),
        )

    def __iter__(self) -> Iterator[Experience]:
        for index in range(len(self)):
            yield self[index]

    def test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute the test data of an experience without its training data.

        Parameters
        ----------
        index : int
            Position of the experience; negative counts from the end.

        Returns
        -------
        X_test, y_test : ndarray
            As in ``stream[index]``.

        Raises
        ------
        IndexError
            If there is no such experience.
        """
        return self.make_test_set(self._check_index(index))

    def _check_index(self, index: int) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"There is no experience {index} in a stream of {len(self)}.")
        return position % len(self)

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}: {self.scenario}-incremental, n_experiences={self.n_experiences}, "
            f"n_classes={len(self.classes)}, n_features={self.n_features})"
        )


def split_stream(
    dataset: Dataset,
    n_experiences: int = 5,
    scenario: Scenario = "class",
    class_order: Literal["sorted"] | Sequence[Any] | np.ndarray | None = None,
    random_state: RandomState = None,
    name: str | None = None,
    announce_classes: bool = False,
) -> Stream:
    """Split a data set by class into experiences.

    Parameters
    ----------
    dataset : Dataset
        The data to split.
    n_experiences : int, default=5
        Number of experiences. If the classes cannot be divided equally, the first experiences have one more (not
        possible with ``scenario="domain"``).
    scenario : {"class", "task", "domain"}, default="class"
        "class" and "task" keep the labels; with "task", `task_id` is the index of the experience. "domain" replaces
        each label by the position of its class within its experience, 0 to k - 1: the first class of every experience
        becomes class 0, and so on.
    class_order : None, "sorted" or sequence, default=None
        The order in which classes appear: drawn from `random_state`, sorted, or as given (every class once).
    random_state : int, RandomState instance or None, default=None
        Draws the class order, once, if `class_order` is None. Pass an int for the same order in every call; None uses
        NumPy's global generator.
    name : str, default=None
        Name of the stream; by default composed of the data set's name, `n_experiences` and `scenario`.
    announce_classes : bool, default=False
        Whether learners are told all classes from the start, as in the many papers whose networks have an output for
        every class from the beginning. Otherwise new classes are unknown until they occur. The data are the same.

    Returns
    -------
    Stream
        Its experiences are a partition of the rows of the data set, each in the order of the data set.

    Raises
    ------
    ValueError
        If the classes cannot be divided in this way.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> digits = load_digits()
    >>> for experience in split_stream(digits, 2, class_order=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]):
    ...     print(experience.classes, experience.X_train.shape)
    [5 6 7 8 9] (716, 64)
    [0 1 2 3 4] (721, 64)
    >>> split_stream(digits, scenario="domain", random_state=0)[3].classes
    array([0, 1])
    """
    from sklearn.utils import check_random_state, check_scalar

    classes = dataset.classes
    check_scalar(n_experiences, "n_experiences", Integral, min_val=1)
    if scenario not in ("class", "task", "domain"):
        raise ValueError(f"scenario must be 'class', 'task' or 'domain', got {scenario!r}.")
    if n_experiences > len(classes):
        raise ValueError(
            f"{len(classes)} classes of {dataset.name!r} cannot fill {n_experiences} experiences; "
            f"set n_experiences to {len(classes)} or less."
        )
    if scenario == "domain" and (len(classes) % n_experiences or len(classes) == n_experiences):
        raise ValueError(
            f"{len(classes)} classes of {dataset.name!r} cannot be shared out equally, two or more each, to "
            f"{n_experiences} experiences, which scenario='domain' needs; choose another n_experiences."
        )

    if class_order is None:
        order = check_random_state(random_state).permutation(classes)
    elif isinstance(class_order, str):
        if class_order != "sorted":
            raise ValueError(f"class_order must be None, 'sorted' or a sequence of classes, got {class_order!r}.")
        order = classes
    else:
        order = np.ravel(class_order)
        if not np.array_equal(np.sort(order), classes):
            raise ValueError(f"class_order must name each class of {dataset.name!r} once: {classes.tolist()}.")
        order = order.astype(classes.dtype)

    groups = np.array_split(order, n_experiences)
    unknown = np.setdiff1d(dataset.y_test, classes)
    if len(unknown):
        raise ValueError(f"y_test of {dataset.name!r} has classes that y_train lacks: {unknown.tolist()}.")
    for index, group in enumerate(groups):
        if not np.isin(group, dataset.y_test).any():
            raise ValueError(f"Experience {index} (classes {group.tolist()}) of {dataset.name!r} has no test rows.")
    name = name or f"split-{dataset.name}-{n_experiences}-{scenario}"
    return _SplitStream(name, scenario, dataset, groups, announce_classes)


class _DatasetStream(Stream):
    """A stream over one data set; derived classes say how the rows of an experience are made from all rows."""

    builder: str

    def __init__(
        self, name: str, scenario: Scenario, classes: np.ndarray, n_experiences: int, dataset: Dataset
    ) -> None:
        super().__init__(name, scenario, classes, dataset.X_train.shape[1], n_experiences)
        self.dataset = dataset

    @property
    def definition(self) -> dict[str, Any]:
        return {
            "builder": self.builder,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "n_experiences": self.n_experiences,
        }

    def make_classes(self, index: int) -> np.ndarray:
        return self.classes.copy()

    def make_train_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(index, self.dataset.X_train, self.dataset.y_train)

    def make_test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._rows(index, self.dataset.X_test, self.dataset.y_test)

    @abstractmethod
    def _rows(self, index: int, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of an experience as new arrays; `X` and `y` are all training or all test rows."""


class _SplitStream(_DatasetStream):
    """The stream of :func:`split_stream`: `groups` are the classes of each experience, in order of appearance."""

    builder = "split_stream"

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        dataset: Dataset,
        groups: list[np.ndarray],
        announces_classes: bool,
    ) -> None:
        classes = np.arange(len(groups[0])) if scenario == "domain" else dataset.classes
        super().__init__(name, scenario, classes, len(groups), dataset)
        self.groups = groups
        self.announces_classes = announces_classes

    @property
    def definition(self) -> dict[str, Any]:
        definition = super().definition | {
            "scenario": self.scenario,
            "class_order": np.concatenate(self.groups).tolist(),
        }
        return definition | {"announce_classes": True} if self.announces_classes else definition

    def make_classes(self, index: int) -> np.ndarray:
        return super().make_classes(index) if self.scenario == "domain" else np.sort(self.groups[index])

    def _rows(self, index: int, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        group = self.groups[index]
        rows = np.isin(y, group)
        labels = y[rows]
        if self.scenario == "domain":
            by_label = np.argsort(group)
            labels = by_label[np.searchsorted(group, labels, sorter=by_label)]
        return X[rows], labels


def permuted_stream(
    dataset: Dataset,
    n_experiences: int = 10,
    random_state: RandomState = None,
    permute_first: bool = False,
    name: str | None = None,
) -> Stream:
    """Make experiences that have all rows of a data set, each with another permutation of the features.

    The scenario is "domain": the classes stay the same, the inputs change. Training and test rows of an experience
    share one permutation.

    Parameters
    ----------
    dataset : Dataset
        The data to permute.
    n_experiences : int, default=10
        Number of experiences.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations, once. Pass an int for the same permutations in every call, of which a longer stream has
        those of a shorter one first; None draws a seed from NumPy's global generator.
    permute_first : bool, default=False
        Whether the features of the first experience are permuted as well.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and `n_experiences`.

    Returns
    -------
    Stream
        Each of its experiences has as many rows as the data set.

    Raises
    ------
    ValueError
        If `n_experiences` is less than 1 or more than 100,000.

    References
    ----------
    Goodfellow, I. J. et al. (2013). An empirical investigation of catastrophic forgetting in gradient-based neural
    networks.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, permuted_stream
    >>> stream = permuted_stream(load_digits(), n_experiences=3, random_state=0)
    >>> stream
    Stream('permuted-digits-3': domain-incremental, n_experiences=3, n_classes=10, n_features=64)
    >>> stream[2]
    Experience(index=2, task_id=None, classes=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 1437 training rows, 360 test rows)
    """
    from sklearn.utils import check_random_state, check_scalar

    check_scalar(n_experiences, "n_experiences", Integral, min_val=1, max_val=MOST_EXPERIENCES)
    # An integer in any case: passed as random_state, the seed in the definition rebuilds the stream.
    seed = random_state if isinstance(random_state, Integral) else check_random_state(random_state).randint(2**31 - 1)
    return _PermutedStream(
        name or f"permuted-{dataset.name}-{n_experiences}", dataset, int(n_experiences), int(seed), permute_first
    )


class _PermutedStream(_DatasetStream):
    """The stream of :func:`permuted_stream`: row j of `permutations` is the order of the features in experience j."""

    builder = "permuted_stream"

    def __init__(self, name: str, dataset: Dataset, n_experiences: int, seed: int, permute_first: bool) -> None:
        super().__init__(name, "domain", dataset.classes, n_experiences, dataset)
        self.seed = seed
        self.permute_first = permute_first
        # RandomState, unlike default_rng, promises the same numbers in all versions of NumPy.
        rng = np.random.RandomState(seed)
        self.permutations = np.stack([rng.permutation(self.n_features) for _ in range(n_experiences)])
        if not permute_first:
            self.permutations[0] = np.arange(self.n_features)

    @property
    def definition(self) -> dict[str, Any]:
        return super().definition | {"random_state": self.seed, "permute_first": self.permute_first}

    def _rows(self, index: int, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # take, not X[:, permutation], which returns the transpose of a C-order array
        return X.take(self.permutations[index], axis=1), y.copy()
