"""What a stream is: experiences that arrive one after another.

Streams are lazy: an experience is computed on access, owns its arrays and is not cached, so a stream of a hundred
permutations of MNIST needs the memory of one.
"""

import html
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np

from .base import Dataset, Inputs, Kind, RandomState, Targets

Scenario = Literal["class", "task", "domain"]
"""What is incremental in a stream; see :class:`Stream`."""


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
        The labels that can occur in this experience, sorted; empty for regression.
    X_train : ndarray, DataFrame or sparse matrix
        Training inputs.
    y_train : ndarray
        Training targets.
    X_test, y_test
        Test data: the test rows that belong to this experience. No rows where a stream holds none out.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> split_stream(load_digits(), class_order="sorted")[1]
    Experience(index=1, task_id=None, classes=[2, 3], 288 training rows, 72 test rows)
    """

    index: int
    task_id: int | None
    classes: np.ndarray
    X_train: Inputs
    y_train: Targets
    X_test: Inputs
    y_test: Targets

    def __repr__(self) -> str:
        return (
            f"Experience(index={self.index}, task_id={self.task_id}, classes={self.classes.tolist()}, "
            f"{len(self.y_train)} training rows, {len(self.y_test)} test rows)"
        )


class Stream(ABC):
    """A named sequence of experiences, each computed on access.

    Functions such as :func:`split_stream` build streams, :func:`stream_from` makes one from your own data. For a stream
    that computes its data, derive a class and implement the four abstract members; they must return new arrays, so that
    changing an experience leaves the data set as it is.

    Parameters
    ----------
    name : str
        Name in tables and reports.
    scenario : {"class", "task", "domain"}
        What is incremental. "class": new classes appear, and predictions are made among all classes seen so far.
        "task": new classes appear, and predictions are made among the classes of the task, whose identifier is given.
        "domain": the classes stay the same, the distribution of the inputs changes.
    classes : ndarray
        All labels that occur in the stream, sorted; empty if the targets are numbers (regression).
    n_features : int
        Number of columns of the inputs.
    n_experiences : int
        Length of the stream.

    Attributes
    ----------
    definition : dict
        Identifies the content of the stream; serialisable as JSON.
    kind : {"classification", "regression"}
        What the targets are.
    announces_classes : bool
        Whether learners are told all classes of the stream from the start (``partial_fit(..., classes=...)``).
    chronological : bool
        Whether experiences follow each other in time, so that a later one is the future of an earlier one.

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

    announces_classes: bool = False
    chronological: bool = False

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
    def kind(self) -> Kind:
        """What the targets are."""
        return "classification" if len(self.classes) else "regression"

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
    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the training data of an experience.

        Parameters
        ----------
        index : int
            Position of the experience, from 0; it exists.

        Returns
        -------
        X_train, y_train
            New arrays.
        """

    @abstractmethod
    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the test data of an experience.

        Parameters
        ----------
        index : int
            Position of the experience, from 0; it exists.

        Returns
        -------
        X_test, y_test
            New arrays; they may have no rows.
        """

    def __len__(self) -> int:
        return self.n_experiences

    def __getitem__(self, index: int) -> Experience:
        index = self.check_index(index)
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

    def test_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the test data of an experience without its training data.

        Parameters
        ----------
        index : int
            Position of the experience; negative counts from the end.

        Returns
        -------
        X_test, y_test
            As in ``stream[index]``.

        Raises
        ------
        IndexError
            If there is no such experience.
        """
        return self.make_test_set(self.check_index(index))

    def arriving_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the rows that arrive while an experience is learned, with their true targets.

        On these a model can be tested before it learns the experience (prequential evaluation). They are the training
        rows, unless their labels come later or wrong.

        Parameters
        ----------
        index : int
            Position of the experience; negative counts from the end.

        Returns
        -------
        X, y

        Raises
        ------
        IndexError
            If there is no such experience.
        """
        return self.make_train_set(self.check_index(index))

    def check_index(self, index: int) -> int:
        """Return a position from 0; raise IndexError if there is no such experience."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"There is no experience {index} in a stream of {len(self)}.")
        return position % len(self)

    def __repr__(self) -> str:
        return (
            f"Stream({self.name!r}: {self.scenario}-incremental, n_experiences={self.n_experiences}, "
            f"{f'n_classes={len(self.classes)}' if len(self.classes) else self.kind}, n_features={self.n_features})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: no experience is computed for it."""
        told = ("scenario", "n_experiences", "fingerprint")
        facts = {
            "scenario": f"{self.scenario}-incremental",
            "experiences": f"{self.n_experiences:,}",
            "targets": f"{len(self.classes):,} classes" if len(self.classes) else "numbers",
            "features": f"{self.n_features:,}",
            **{str(name): value for name, value in self.definition.items() if name not in told},
        }
        rows = "".join(
            f'<tr><th scope="row" style="text-align: left">{html.escape(name)}</th>'
            f'<td style="text-align: left">{html.escape(_cut(str(value)))}</td></tr>'
            for name, value in facts.items()
        )
        return f"<table><caption>{html.escape(self.name)}</caption>{rows}</table>"


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


class DatasetStream(Stream):
    """A stream over one data set, whose definition is the builder's name, the data and what the builder was told."""

    builder: ClassVar[str]

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        classes: np.ndarray,
        n_experiences: int,
        dataset: Dataset,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(name, scenario, classes, dataset.X_train.shape[1], n_experiences)
        self.dataset = dataset
        self.settings = settings

    @property
    def definition(self) -> dict[str, Any]:
        """What makes the stream again."""
        return {
            "builder": self.builder,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "n_experiences": self.n_experiences,
            **self.settings,
        }

    def make_classes(self, index: int) -> np.ndarray:
        """Compute the labels of an experience: all."""
        return self.classes.copy()


def take(X: Inputs, y: Targets, rows: np.ndarray) -> tuple[Inputs, Targets]:
    """Return some rows as new arrays.

    Parameters
    ----------
    X : ndarray, DataFrame or sparse matrix
    y : ndarray
    rows : ndarray of int

    Returns
    -------
    X, y
    """
    from sklearn.utils import _safe_indexing

    return _safe_indexing(X, rows), y[rows]


def concatenate(parts: Sequence[tuple[Inputs, Targets]]) -> tuple[Inputs, Targets]:
    """Join rows that are alike.

    Parameters
    ----------
    parts : sequence of (X, y)
        At least one.

    Returns
    -------
    X, y
    """
    inputs, targets = zip(*parts, strict=True)
    if hasattr(inputs[0], "iloc"):
        import pandas as pd

        X: Inputs = pd.concat(_with_shared_categories(inputs))
    elif hasattr(inputs[0], "tocsr"):
        from scipy import sparse

        X = sparse.vstack(inputs, format="csr")
    else:
        X = np.concatenate(inputs)
    return X, np.concatenate(targets)


def _with_shared_categories(frames: Sequence[Any]) -> Sequence[Any]:
    """Give columns of different categories those of all frames: pandas would join them as text."""
    import pandas as pd

    shared = {}
    for name in frames[0].select_dtypes("category"):
        dtypes = [frame.dtypes[name] for frame in frames]
        if len(set(dtypes)) > 1 and all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
            first, *others = (dtype.categories for dtype in dtypes)
            shared[name] = pd.CategoricalDtype(first.append(others).unique())
    return [frame.astype(shared) for frame in frames] if shared else frames


def as_seed(random_state: RandomState) -> int:
    """Return an integer in any case: passed as `random_state`, the seed in a definition rebuilds the stream.

    Parameters
    ----------
    random_state : int, RandomState instance or None

    Returns
    -------
    int
    """
    from sklearn.utils import check_random_state

    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))


def check_n_experiences(n_experiences: int, available: int, what: str) -> int:
    """Return a number of experiences that can be filled.

    Parameters
    ----------
    n_experiences : int
    available : int
        How many there can be at most.
    what : str
        What there are so many of, for the message.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is less than one or more than there can be.
    """
    from sklearn.utils import check_scalar

    check_scalar(n_experiences, "n_experiences", Integral, min_val=1)
    if n_experiences > available:
        raise ValueError(f"{what} cannot fill {n_experiences} experiences; set n_experiences to {available} or less.")
    return int(n_experiences)


def check_test_part(dataset: Dataset, builder: str) -> None:
    """Raise ValueError if a data set has no test part.

    Parameters
    ----------
    dataset : Dataset
    builder : str
        What needs it, for the message.
    """
    if not len(dataset.y_test):
        raise ValueError(
            f"{dataset.name!r} has no test part, which {builder} needs; draw one with dataset.split(), or use "
            "chunked_stream or column_stream, whose experiences hold out rows of their own."
        )


def check_is_dataset(dataset: object) -> None:
    """Raise TypeError if something else than a data set is to become a stream, such as arrays.

    Parameters
    ----------
    dataset : object
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset is a {type(dataset).__name__}; give a Dataset, such as Dataset('mine', X_train, y_train, X_test, "
            "y_test), or load_frame(frame, target) of a table."
        )


def check_tested_classes(dataset: Dataset, classes: np.ndarray) -> None:
    """Raise ValueError if a data set is tested on classes that are nowhere learned.

    Parameters
    ----------
    dataset : Dataset
    classes : ndarray
        Those that are learned.
    """
    unknown = np.setdiff1d(dataset.y_test, classes)
    if dataset.kind == "classification" and len(unknown):
        raise ValueError(f"y_test of {dataset.name!r} has classes that y_train lacks: {unknown.tolist()}.")


def check_is_classification(dataset: Dataset, builder: str) -> None:
    """Raise ValueError if a data set has numbers as targets.

    Parameters
    ----------
    dataset : Dataset
    builder : str
        What needs classes, for the message.
    """
    if dataset.kind != "classification":
        raise ValueError(
            f"The targets of {dataset.name!r} are numbers, but {builder} needs classes; chunked_stream, column_stream, "
            "drift_stream, permuted_stream and rotated_stream take numbers."
        )
