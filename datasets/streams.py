"""Streams: data sets cut into experiences that arrive one after another.

A stream is lazy. An experience is computed when it is asked for, owns its arrays and is not kept by the stream: a
hundred permutations of MNIST cost the memory of one.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np

from .base import Dataset

_RandomState = int | np.random.RandomState | None


@dataclass(frozen=True, eq=False)
class Experience:
    """What a learner gets at one step of a stream, and what it is tested on.

    Parameters
    ----------
    index : int
        Place in the stream, from 0.
    task_id : int or None
        Identifier that the learner is told, at training and at testing; None outside task-incremental streams.
    classes : ndarray
        The labels that can occur in this experience, sorted.
    X_train, y_train : ndarray
        What to learn.
    X_test, y_test : ndarray
        What to be tested on: the test rows that belong to this experience.

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
    """A named sequence of experiences, each computed when it is asked for.

    Builders such as :func:`split_stream` make streams. For one of your own, inherit and write the four abstract
    members; an experience must own its arrays, so that nobody can change the data behind it.

    Parameters
    ----------
    name : str
        Name in tables and reports.
    scenario : {"class", "task", "domain"}
        What is incremental. "class": new classes appear, and the learner must tell all of them apart. "task": the
        same, but it is told the task and answers with the classes of that task. "domain": the classes stay, the inputs
        change.
    classes : ndarray
        All labels that occur in the stream, sorted.
    n_features : int
        Number of columns of the inputs.
    n_experiences : int
        Length of the stream.

    Attributes
    ----------
    definition : dict
        What identifies the content of the stream; can be written as JSON.
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
        scenario: Literal["class", "task", "domain"],
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
        """What identifies the content of the stream; can be written as JSON."""

    @abstractmethod
    def _experience_classes(self, index: int) -> np.ndarray:
        """Return the sorted labels that can occur in an experience."""

    @abstractmethod
    def _train_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the training part of an experience, as new arrays."""

    @abstractmethod
    def _test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test part of an experience, as new arrays."""

    def __len__(self) -> int:
        return self.n_experiences

    def __getitem__(self, index: int) -> Experience:
        index = self._check_index(index)
        return Experience(
            index,
            index if self.scenario == "task" else None,
            self._experience_classes(index),
            *self._train_set(index),
            *self._test_set(index),
        )

    def __iter__(self) -> Iterator[Experience]:
        for index in range(len(self)):
            yield self[index]

    def test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute the test part of an experience without its training part.

        Parameters
        ----------
        index : int
            Place of the experience; negative counts from the end.

        Returns
        -------
        X_test, y_test : ndarray
            As in ``stream[index]``.

        Raises
        ------
        IndexError
            If there is no such experience.
        """
        return self._test_set(self._check_index(index))

    def _check_index(self, index: int) -> int:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"There is no experience {index} in a stream of {len(self)}.")
        return place % len(self)

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}: {self.scenario}-incremental, n_experiences={self.n_experiences}, "
            f"n_classes={len(self.classes)}, n_features={self.n_features})"
        )


def split_stream(
    dataset: Dataset,
    n_experiences: int = 5,
    scenario: Literal["class", "task", "domain"] = "class",
    class_order: Literal["sorted"] | Sequence[Any] | np.ndarray | None = None,
    random_state: _RandomState = None,
    name: str | None = None,
    announce_classes: bool = False,
) -> Stream:
    """Deal the classes of a data set out to experiences.

    Parameters
    ----------
    dataset : Dataset
        The data to split.
    n_experiences : int, default=5
        Number of experiences. If the classes cannot be shared out equally, the first experiences have one more (not
        possible with ``scenario="domain"``).
    scenario : {"class", "task", "domain"}, default="class"
        "class" and "task" keep the labels; with "task", `task_id` is the index of the experience. "domain" replaces
        each label by the place of its class within its experience, 0 to k - 1: the first class of every experience
        becomes class 0, and so on.
    class_order : None, "sorted" or sequence, default=None
        The order in which classes appear: drawn from `random_state`, sorted, or as given (every class once).
    random_state : int, RandomState instance or None, default=None
        Draws the class order, once, if `class_order` is None. An int makes it the same in every call; None takes it
        from NumPy's global generator.
    name : str, default=None
        Name of the stream; by default made of the data set's name, `n_experiences` and `scenario`.
    announce_classes : bool, default=False
        Whether learners are told all classes from the start, as many papers do when they build a network with an
        output for each class; else classes are news when they come. The data are the same.

    Returns
    -------
    Stream
        Its experiences hold disjoint rows that together are the data set, in the order in which they have there.

    Raises
    ------
    ValueError
        If the classes cannot be dealt out as asked.

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


class _SplitStream(Stream):
    """The stream of :func:`split_stream`: `groups` are the classes of each experience, in order of appearance."""

    def __init__(
        self,
        name: str,
        scenario: Literal["class", "task", "domain"],
        dataset: Dataset,
        groups: list[np.ndarray],
        announces_classes: bool,
    ) -> None:
        classes = np.arange(len(groups[0])) if scenario == "domain" else dataset.classes
        super().__init__(name, scenario, classes, dataset.X_train.shape[1], len(groups))
        self.dataset = dataset
        self.groups = groups
        self.announces_classes = announces_classes

    @property
    def definition(self) -> dict[str, Any]:
        definition = {
            "builder": "split_stream",
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "n_experiences": self.n_experiences,
            "scenario": self.scenario,
            "class_order": np.concatenate(self.groups).tolist(),
        }
        return definition | {"announce_classes": True} if self.announces_classes else definition

    def _experience_classes(self, index: int) -> np.ndarray:
        return self.classes.copy() if self.scenario == "domain" else np.sort(self.groups[index])

    def _train_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._select(index, self.dataset.X_train, self.dataset.y_train)

    def _test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._select(index, self.dataset.X_test, self.dataset.y_test)

    def _select(self, index: int, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    random_state: _RandomState = None,
    permute_first: bool = False,
    name: str | None = None,
) -> Stream:
    """Show all the data in every experience, with the features in another order each time.

    The scenario is "domain": the classes stay, the inputs change. Training and test rows of an experience share one
    permutation.

    Parameters
    ----------
    dataset : Dataset
        The data to permute.
    n_experiences : int, default=10
        Number of experiences.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations, once. An int makes them the same in every call, and a longer stream then begins like a
        shorter one; None takes a seed from NumPy's global generator.
    permute_first : bool, default=False
        Whether the features of the first experience are permuted as well.
    name : str, default=None
        Name of the stream; by default made of the data set's name and `n_experiences`.

    Returns
    -------
    Stream
        Each of its experiences has as many rows as the data set.

    Raises
    ------
    ValueError
        If `n_experiences` is less than one.

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

    check_scalar(n_experiences, "n_experiences", Integral, min_val=1)
    # One integer says all: given as random_state, the seed in the definition rebuilds the stream.
    seed = random_state if isinstance(random_state, Integral) else check_random_state(random_state).randint(2**31 - 1)
    return _PermutedStream(
        name or f"permuted-{dataset.name}-{n_experiences}", dataset, int(n_experiences), int(seed), permute_first
    )


class _PermutedStream(Stream):
    """The stream of :func:`permuted_stream`: row j of `permutations` is the order of the features in experience j."""

    def __init__(self, name: str, dataset: Dataset, n_experiences: int, seed: int, permute_first: bool) -> None:
        n_features = dataset.X_train.shape[1]
        super().__init__(name, "domain", dataset.classes, n_features, n_experiences)
        self.dataset = dataset
        self.seed = seed
        self.permute_first = permute_first
        # RandomState, unlike default_rng, promises the same numbers in all versions of NumPy.
        rng = np.random.RandomState(seed)
        self.permutations = np.stack([rng.permutation(n_features) for _ in range(n_experiences)])
        if not permute_first:
            self.permutations[0] = np.arange(n_features)

    @property
    def definition(self) -> dict[str, Any]:
        return {
            "builder": "permuted_stream",
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "n_experiences": self.n_experiences,
            "random_state": self.seed,
            "permute_first": self.permute_first,
        }

    def _experience_classes(self, index: int) -> np.ndarray:
        return self.classes.copy()

    def _train_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._permute(index, self.dataset.X_train, self.dataset.y_train)

    def _test_set(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._permute(index, self.dataset.X_test, self.dataset.y_test)

    def _permute(self, index: int, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # take, not X[:, permutation], which returns the transpose of a C-order array
        return X.take(self.permutations[index], axis=1), y.copy()
