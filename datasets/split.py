"""Streams by class: sharp borders between the classes of experiences, or blurry ones."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from .base import Dataset, Inputs, RandomState, Targets
from .streams import (
    DatasetStream,
    Scenario,
    Stream,
    as_seed,
    check_is_classification,
    check_is_dataset,
    check_n_experiences,
    check_test_part,
    check_tested_classes,
    take,
)

ClassOrder = Literal["sorted"] | Sequence[Any] | np.ndarray | None


def split_stream(
    dataset: Dataset,
    n_experiences: int = 5,
    scenario: Scenario = "class",
    class_order: ClassOrder = None,
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
    check_is_dataset(dataset)
    if scenario not in ("class", "task", "domain"):
        raise ValueError(f"scenario must be 'class', 'task' or 'domain', got {scenario!r}.")
    groups = _class_groups(dataset, n_experiences, class_order, random_state, "split_stream")
    n_classes = len(dataset.classes)
    if scenario == "domain" and (n_classes % len(groups) or n_classes == len(groups)):
        raise ValueError(
            f"{n_classes} classes of {dataset.name!r} cannot be shared out equally, two or more each, to "
            f"{len(groups)} experiences, which scenario='domain' needs; choose another n_experiences."
        )
    name = name or f"split-{dataset.name}-{len(groups)}-{scenario}"
    return _SplitStream(name, scenario, dataset, groups, announce_classes)


def blurry_stream(
    dataset: Dataset,
    n_experiences: int = 5,
    share: float = 0.1,
    class_order: ClassOrder = None,
    random_state: RandomState = None,
    name: str | None = None,
) -> Stream:
    """Split a data set by class into experiences that share some of their rows.

    Each class has an experience that is its own, as in :func:`split_stream`; a share of its training rows is drawn and
    dealt out evenly to the other experiences. An experience is tested on its own classes.

    Parameters
    ----------
    dataset : Dataset
        The data to split; with a test part.
    n_experiences : int, default=5
        Number of experiences, at least two.
    share : float, default=0.1
        Share of each class's training rows that goes to other experiences, between 0 and 1: 0.1 is "blurry 10".
    class_order : None, "sorted" or sequence, default=None
        As for :func:`split_stream`.
    random_state : int, RandomState instance or None, default=None
        Draws the class order, if `class_order` is None, and the rows that are dealt out.
    name : str, default=None
        Name of the stream; by default composed of the data set's name, `n_experiences` and `share`.

    Returns
    -------
    Stream
        Class-incremental; its experiences are a partition of the rows, each in the order of the data set.

    Raises
    ------
    ValueError
        If the classes cannot be divided in this way.

    References
    ----------
    Bang, J. et al. (2021). Rainbow memory: continual learning with a memory of diverse samples.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import blurry_stream, load_digits
    >>> first, *_ = blurry_stream(load_digits(), share=0.2, class_order="sorted", random_state=0)
    >>> np.bincount(first.y_train).tolist()
    [114, 117, 7, 7, 7, 7, 7, 8, 7, 7]
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    check_scalar(share, "share", Real, min_val=0, max_val=1)
    seed = as_seed(random_state)
    groups = _class_groups(dataset, n_experiences, class_order, seed, "blurry_stream")
    if len(groups) < 2:
        raise ValueError("n_experiences must be 2 or more: with one, there is no other experience to share rows with.")
    settings = {"share": float(share), "random_state": seed, "class_order": np.concatenate(groups).tolist()}
    return _BlurryStream(name or f"blurry-{dataset.name}-{len(groups)}-{share:g}", dataset, groups, settings)


def site_stream(
    dataset: Dataset,
    n_experiences: int = 5,
    concentration: float = 1.0,
    random_state: RandomState = None,
    name: str | None = None,
) -> Stream:
    r"""Deal the rows of each class out to sites in unequal shares: hospitals, shops, phones that see other classes.

    The shares of a class are drawn from a symmetric Dirichlet distribution, :math:`p_c \sim \mathrm{Dir}(\alpha 1)`, as
    is usual in federated learning. A small α gives sites few classes each, a large one gives all the same. A site is
    tested on the same shares of the test rows, so that all sites together have each row once.

    Parameters
    ----------
    dataset : Dataset
        The data; with labels and a test part.
    n_experiences : int, default=5
        Number of sites, at least two.
    concentration : float, default=1.0
        α, more than 0.
    random_state : int, RandomState instance or None, default=None
        Draws the shares and the rows.
    name : str, default=None
        Name of the stream; by default composed of the data set's name, `n_experiences` and `concentration`.

    Returns
    -------
    Stream
        Domain-incremental; its experiences, the sites, are a partition of the rows, each in the order of the data set.

    Raises
    ------
    ValueError
        If the data cannot be divided in this way, or a site gets no training rows or no test rows.

    References
    ----------
    Hsu, T.-M. H., Qi, H. & Brown, M. (2019). Measuring the effects of non-identical data distribution for federated
    visual classification.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import load_digits, site_stream
    >>> first, *_ = site_stream(load_digits(), concentration=0.5, random_state=0)
    >>> np.bincount(first.y_train, minlength=10).tolist()
    [23, 2, 21, 15, 5, 3, 12, 11, 49, 0]
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    check_is_classification(dataset, "site_stream")
    check_test_part(dataset, "site_stream")
    check_tested_classes(dataset, dataset.classes)
    check_scalar(n_experiences, "n_experiences", Integral, min_val=2)
    check_scalar(concentration, "concentration", Real, min_val=0, include_boundaries="neither")
    settings = {"concentration": float(concentration), "random_state": as_seed(random_state)}
    name = name or f"sites-{dataset.name}-{n_experiences}-{concentration:g}"
    return _SiteStream(name, dataset, n_experiences, settings)


def _class_groups(
    dataset: Dataset, n_experiences: int, class_order: ClassOrder, random_state: RandomState, builder: str
) -> list[np.ndarray]:
    """Return the classes of each experience, in order of appearance."""
    from sklearn.utils import check_random_state

    check_is_classification(dataset, builder)
    check_test_part(dataset, builder)
    classes = dataset.classes
    check_n_experiences(n_experiences, len(classes), f"{len(classes)} classes of {dataset.name!r}")
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
    check_tested_classes(dataset, classes)
    for index, group in enumerate(groups):
        if not np.isin(group, dataset.y_test).any():
            raise ValueError(f"Experience {index} (classes {group.tolist()}) of {dataset.name!r} has no test rows.")
    return groups


class _SplitStream(DatasetStream):
    """The stream of :func:`split_stream`: `groups` are the classes of each experience, in order of appearance."""

    builder = "split_stream"

    def __init__(
        self, name: str, scenario: Scenario, dataset: Dataset, groups: list[np.ndarray], announces_classes: bool
    ) -> None:
        classes = np.arange(len(groups[0])) if scenario == "domain" else dataset.classes
        settings = {"scenario": scenario, "class_order": np.concatenate(groups).tolist()}
        if announces_classes:
            settings["announce_classes"] = True
        super().__init__(name, scenario, classes, len(groups), dataset, settings)
        self.groups = groups
        self.announces_classes = announces_classes

    def make_classes(self, index: int) -> np.ndarray:
        return super().make_classes(index) if self.scenario == "domain" else np.sort(self.groups[index])

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._rows(index, self.dataset.X_train, self.dataset.y_train)

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._rows(index, self.dataset.X_test, self.dataset.y_test)

    def _rows(self, index: int, X: Inputs, y: Targets) -> tuple[Inputs, Targets]:
        """Return the rows of an experience as new arrays; `X` and `y` are all training or all test rows."""
        group = self.groups[index]
        X, labels = take(X, y, np.flatnonzero(np.isin(y, group)))
        if self.scenario == "domain":
            by_label = np.argsort(group)
            labels = by_label[np.searchsorted(group, labels, sorter=by_label)]
        return X, labels


class _BlurryStream(DatasetStream):
    """The stream of :func:`blurry_stream`: `owners` are the experiences of the training rows."""

    builder = "blurry_stream"

    def __init__(self, name: str, dataset: Dataset, groups: list[np.ndarray], settings: dict[str, Any]) -> None:
        super().__init__(name, "class", dataset.classes, len(groups), dataset, settings)
        self.groups = groups
        self.owners = np.empty(len(dataset.y_train), dtype=np.int64)
        rng = np.random.RandomState(settings["random_state"])
        for index, group in enumerate(groups):
            others = np.delete(np.arange(len(groups)), index)
            for label in group:
                rows = rng.permutation(np.flatnonzero(dataset.y_train == label))
                dealt = rows[: round(settings["share"] * len(rows))]
                self.owners[rows] = index
                # Not always from the first on: with few rows of each class, it would get them all.
                self.owners[dealt] = np.resize(rng.permutation(others), len(dealt))

    def make_classes(self, index: int) -> np.ndarray:
        return np.union1d(self.groups[index], self.dataset.y_train[self.owners == index])

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return take(self.dataset.X_train, self.dataset.y_train, np.flatnonzero(self.owners == index))

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        rows = np.flatnonzero(np.isin(self.dataset.y_test, self.groups[index]))
        return take(self.dataset.X_test, self.dataset.y_test, rows)


class _SiteStream(DatasetStream):
    """The stream of :func:`site_stream`: `owners` are the sites of training and test rows."""

    builder = "site_stream"

    def __init__(self, name: str, dataset: Dataset, n_experiences: int, settings: dict[str, Any]) -> None:
        super().__init__(name, "domain", dataset.classes, n_experiences, dataset, settings)
        self.owners = np.empty(len(dataset.y_train), dtype=np.int64), np.empty(len(dataset.y_test), dtype=np.int64)
        rng = np.random.RandomState(settings["random_state"])
        for label in dataset.classes:
            edges = rng.dirichlet(np.full(n_experiences, settings["concentration"])).cumsum()[:-1]
            for owners, y in zip(self.owners, (dataset.y_train, dataset.y_test), strict=True):
                rows = rng.permutation(np.flatnonzero(y == label))
                # Rounded around a drawn point, so that a single row may go to any site.
                owners[rows] = np.searchsorted(edges, (np.arange(len(rows)) + rng.rand()) / max(len(rows), 1))
        for owners, part in zip(self.owners, ("training", "test"), strict=True):
            empty = np.setdiff1d(np.arange(n_experiences), owners)
            if len(empty):
                raise ValueError(
                    f"Site {empty[0]} of {n_experiences} would have no {part} rows of {dataset.name!r}; give fewer "
                    "sites, a larger concentration or another random_state."
                )

    def make_classes(self, index: int) -> np.ndarray:
        labels = zip(self.owners, (self.dataset.y_train, self.dataset.y_test), strict=True)
        return np.unique(np.concatenate([y[owners == index] for owners, y in labels]))

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return take(self.dataset.X_train, self.dataset.y_train, np.flatnonzero(self.owners[0] == index))

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return take(self.dataset.X_test, self.dataset.y_test, np.flatnonzero(self.owners[1] == index))
