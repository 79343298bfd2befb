"""Streams by transformation: the same rows in each experience, their inputs permuted or rotated, or their labels."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from .base import Dataset, Inputs, RandomState, Targets
from .limits import MOST_EXPERIENCES
from .streams import (
    DatasetStream,
    Stream,
    as_seed,
    check_is_classification,
    check_is_dataset,
    check_test_part,
    check_tested_classes,
    take,
)


def permuted_stream(
    dataset: Dataset,
    n_experiences: int = 10,
    random_state: RandomState = None,
    permute_first: bool = False,
    name: str | None = None,
    n_rows: int | None = None,
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
    n_rows : int, default=None
        Training rows of each experience, drawn without replacement, for each experience anew; ``None``: all.

    Returns
    -------
    Stream
        Each of its experiences has as many rows as the data set, or `n_rows` of its training rows.

    Raises
    ------
    ValueError
        If `n_experiences` is less than 1 or more than 100,000, there are less than `n_rows` training rows, or the test
        part has other classes.

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
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    check_scalar(n_experiences, "n_experiences", Integral, min_val=1, max_val=MOST_EXPERIENCES)
    _check_transformable(dataset, "permuted_stream")
    settings = {"random_state": as_seed(random_state), "permute_first": permute_first}
    if n_rows is not None:
        check_scalar(n_rows, "n_rows", Integral, min_val=1, max_val=len(dataset.y_train))
        settings["n_rows"] = int(n_rows)
    return _PermutedStream(name or f"permuted-{dataset.name}-{n_experiences}", dataset, int(n_experiences), settings)


def label_permuted_stream(
    dataset: Dataset,
    n_experiences: int = 10,
    random_state: RandomState = None,
    permute_first: bool = False,
    name: str | None = None,
) -> Stream:
    """Make experiences that have all rows of a data set, each with another permutation of the labels.

    The scenario is "domain": the classes stay the same, and so do the inputs, but what they are called changes, so that
    nothing of the last layer is right any more. Training and test rows of an experience share one permutation. What a
    network loses there is not only memory: it is measured how well it still learns.

    Parameters
    ----------
    dataset : Dataset
        With classes, and a test part.
    n_experiences : int, default=10
        Number of experiences.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations, as for :func:`permuted_stream`.
    permute_first : bool, default=False
        Whether the labels of the first experience are permuted as well.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and `n_experiences`.

    Returns
    -------
    Stream
        Each of its experiences has as many rows as the data set.

    Raises
    ------
    ValueError
        If `n_experiences` is less than 1 or more than 100,000, the targets are numbers, or the test part has other
        classes.

    References
    ----------
    Kumar, S., Marklund, H., Van Roy, B. (2023). Maintaining plasticity in continual learning via regenerative
    regularization.

    Examples
    --------
    >>> from forgetless.datasets import label_permuted_stream, load_digits
    >>> first, second = label_permuted_stream(load_digits(), n_experiences=2, random_state=0)
    >>> bool((first.X_train == second.X_train).all())
    True
    >>> first.y_train[:6].tolist(), second.y_train[:6].tolist()
    ([3, 9, 1, 3, 1, 9], [2, 4, 5, 2, 5, 4])
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    check_scalar(n_experiences, "n_experiences", Integral, min_val=1, max_val=MOST_EXPERIENCES)
    check_test_part(dataset, "label_permuted_stream")
    check_is_classification(dataset, "label_permuted_stream")
    check_tested_classes(dataset, dataset.classes)
    return _LabelPermutedStream(
        name or f"label-permuted-{dataset.name}-{n_experiences}",
        "domain",
        dataset.classes,
        int(n_experiences),
        dataset,
        {"random_state": as_seed(random_state), "permute_first": permute_first},
    )


def rotated_stream(
    dataset: Dataset,
    n_experiences: int = 10,
    angles: Sequence[float] | None = None,
    random_state: RandomState = None,
    name: str | None = None,
) -> Stream:
    """Make experiences that have all images of a data set, each rotated by another angle.

    The scenario is "domain". Training and test images of an experience are rotated counter-clockwise by one angle,
    with linear interpolation; what turns in from outside is 0.

    Parameters
    ----------
    dataset : Dataset
        Images: rows with an `image_shape`, and a test part.
    n_experiences : int, default=10
        Number of experiences; the number of `angles` where they are given.
    angles : sequence of float, default=None
        The angles in degrees. ``None``: the half circle is divided into `n_experiences` equal parts, and from each one
        angle is drawn, in their order.
    random_state : int, RandomState instance or None, default=None
        Draws the angles.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and the number of experiences.

    Returns
    -------
    Stream
        Each of its experiences has as many rows as the data set.

    Raises
    ------
    ValueError
        If the data are no images, there is no angle, or the test part has other classes.

    References
    ----------
    Lopez-Paz, D., Ranzato, M. (2017). Gradient episodic memory for continual learning.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, rotated_stream
    >>> stream = rotated_stream(load_digits(), angles=[0, 90])
    >>> stream
    Stream('rotated-digits-2': domain-incremental, n_experiences=2, n_classes=10, n_features=64)
    >>> upright, turned = (experience.X_train.reshape(-1, 8, 8) for experience in stream)
    >>> bool((abs(turned[:, 0] - upright[:, :, -1]) < 1e-6).all())
    True
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    check_scalar(n_experiences, "n_experiences", Integral, min_val=1, max_val=MOST_EXPERIENCES)
    _check_transformable(dataset, "rotated_stream")
    if dataset.image_shape is None:
        raise ValueError(
            f"The rows of {dataset.name!r} are no images; give the data set its image_shape (channels, height, width)."
        )
    if angles is None:
        settings: dict[str, Any] = {"random_state": as_seed(random_state)}
    else:
        settings = {"angles": [float(angle) for angle in angles]}
        n_experiences = len(settings["angles"])
        if not n_experiences or not np.isfinite(settings["angles"]).all():
            raise ValueError(f"angles must be one or more numbers of degrees, got {angles!r}.")
    return _RotatedStream(name or f"rotated-{dataset.name}-{n_experiences}", dataset, int(n_experiences), settings)


def _check_transformable(dataset: Dataset, builder: str) -> None:
    check_test_part(dataset, builder)
    check_tested_classes(dataset, dataset.classes)
    if not isinstance(dataset.X_train, np.ndarray):
        raise ValueError(
            f"{builder} takes arrays, but {dataset.name!r} has a {type(dataset.X_train).__name__}; give "
            "arrays (to_numpy, toarray)."
        )


class _TransformedStream(DatasetStream):
    """A stream whose experiences have all rows; derived classes say what becomes of their inputs."""

    def __init__(self, name: str, dataset: Dataset, n_experiences: int, settings: dict[str, Any]) -> None:
        super().__init__(name, "domain", dataset.classes, n_experiences, dataset, settings)

    def transform(self, index: int, X: np.ndarray) -> np.ndarray:
        """Return the inputs of an experience as a new array."""
        raise NotImplementedError

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.transform(index, self.dataset.X_train), self.dataset.y_train.copy()

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.transform(index, self.dataset.X_test), self.dataset.y_test.copy()


class _Permutations:
    """Permutations by number, drawn as they are asked for; the first is the identity unless it is to be permuted."""

    def __init__(self, length: int, n_permutations: int, settings: dict[str, Any]) -> None:
        self.length = length
        self.n_permutations = n_permutations
        self.settings = settings
        self._drawn = np.empty((0, length), dtype=np.int64)

    def __getitem__(self, index: int) -> np.ndarray:
        drawn = self._drawn
        if index >= len(drawn):
            # All from the first on, twice as many each time: another thread that does the same finds the same.
            # RandomState, unlike default_rng, promises the same numbers in all versions of NumPy.
            rng = np.random.RandomState(self.settings["random_state"])
            n_drawn = min(max(index + 1, 2 * len(drawn)), self.n_permutations)
            drawn = self._drawn = np.stack([rng.permutation(self.length) for _ in range(n_drawn)])
        stays = index == 0 and not self.settings["permute_first"]
        return np.arange(self.length) if stays else drawn[index]


class _PermutedStream(_TransformedStream):
    """The stream of :func:`permuted_stream`."""

    builder = "permuted_stream"

    def __init__(self, name: str, dataset: Dataset, n_experiences: int, settings: dict[str, Any]) -> None:
        super().__init__(name, dataset, n_experiences, settings)
        self.permutations = _Permutations(self.n_features, n_experiences, settings)

    def transform(self, index: int, X: np.ndarray) -> np.ndarray:
        # take, not X[:, permutation], which returns the transpose of a C-order array
        return X.take(self.permutations[index], axis=1)

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        if "n_rows" not in self.settings:
            return super().make_train_set(index)
        rng = np.random.RandomState([self.settings["random_state"], index])
        rows = rng.permutation(len(self.dataset.y_train))[: self.settings["n_rows"]]
        X, y = take(self.dataset.X_train, self.dataset.y_train, rows)
        return self.transform(index, X), y


class _LabelPermutedStream(DatasetStream):
    """The stream of :func:`label_permuted_stream`."""

    builder = "label_permuted_stream"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.permutations = _Permutations(len(self.classes), self.n_experiences, self.settings)

    def labels(self, index: int, y: Targets) -> Targets:
        """Return what the rows are called in an experience."""
        return self.classes[self.permutations[index]][np.searchsorted(self.classes, y)]

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.dataset.X_train.copy(), self.labels(index, self.dataset.y_train)

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.dataset.X_test.copy(), self.labels(index, self.dataset.y_test)


class _RotatedStream(_TransformedStream):
    """The stream of :func:`rotated_stream`."""

    builder = "rotated_stream"

    def angle(self, index: int) -> float:
        """Return the degrees by which the images of an experience are rotated."""
        if "angles" in self.settings:
            given: float = self.settings["angles"][index]
            return given
        within = np.random.RandomState([self.settings["random_state"], index]).uniform()
        return 180 * (index + within) / self.n_experiences

    def transform(self, index: int, X: np.ndarray) -> np.ndarray:
        from scipy.ndimage import rotate

        images = X.reshape(-1, *self.dataset.image_shape)  # type: ignore[misc]  # was checked
        turned: np.ndarray = rotate(images, self.angle(index), axes=(2, 3), reshape=False, order=1)
        return turned.reshape(X.shape)
