"""Streams made of other streams: wrong labels, classes out of balance, labels that come late."""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from .base import Inputs, RandomState, Targets
from .streams import Stream, as_seed, take


def with_label_noise(stream: Stream, share: float, random_state: RandomState = None, name: str | None = None) -> Stream:
    """Give a share of the training rows wrong targets.

    Parameters
    ----------
    stream : Stream
    share : float
        Share of each experience's training rows, from 0 to 1. Their labels become another class of the experience, each
        with the same probability; numbers are exchanged among these rows. Test data stay as they are.
    random_state : int, RandomState instance or None, default=None
        Draws rows and labels.
    name : str, default=None
        Name of the new stream; by default that of the old one, and the share.

    Returns
    -------
    Stream

    Raises
    ------
    ValueError
        If `share` is out of range; on access, if an experience has only one class.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream, with_label_noise
    >>> clean = split_stream(load_digits(), class_order="sorted")
    >>> noisy = with_label_noise(clean, 0.25, random_state=0)
    >>> float((noisy[0].y_train != clean[0].y_train).mean())
    0.25
    """
    from sklearn.utils import check_scalar

    check_scalar(share, "share", Real, min_val=0, max_val=1)
    settings = {"share": float(share), "random_state": as_seed(random_state)}
    return _NoisyStream(name or f"{stream.name}-noise-{share:g}", stream, settings)


def with_imbalance(
    stream: Stream, ratio: float = 0.1, random_state: RandomState = None, name: str | None = None
) -> Stream:
    """Leave out training rows, so that the classes of an experience are out of balance, each time in another way.

    Parameters
    ----------
    stream : Stream
        With classes.
    ratio : float, default=0.1
        Share of its rows that the rarest class of an experience keeps, above 0 and up to 1; the most frequent one keeps
        all, and those between them shares that fall geometrically. Which class is which is drawn anew in each
        experience, by its true labels. A class keeps at least one row. Test data stay as they are.
    random_state : int, RandomState instance or None, default=None
        Draws the order of the classes and the rows.
    name : str, default=None
        Name of the new stream; by default that of the old one, and the ratio.

    Returns
    -------
    Stream

    Raises
    ------
    ValueError
        If `ratio` is out of range or the stream has no classes.

    References
    ----------
    Cui, Y. et al. (2019). Class-balanced loss based on effective number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import load_digits, split_stream, with_imbalance
    >>> stream = with_imbalance(split_stream(load_digits(), class_order="sorted"), 0.1, random_state=0)
    >>> [np.unique(experience.y_train, return_counts=True)[1].tolist() for experience in stream][:3]
    [[142, 15], [142, 15], [145, 14]]
    """
    from sklearn.utils import check_scalar

    check_scalar(ratio, "ratio", Real, min_val=0, max_val=1, include_boundaries="right")
    if stream.kind != "classification":
        raise ValueError(f"The targets of {stream.name!r} are numbers; only classes can be out of balance.")
    settings = {"ratio": float(ratio), "random_state": as_seed(random_state)}
    return _ImbalancedStream(name or f"{stream.name}-imbalance-{ratio:g}", stream, settings)


def with_label_delay(stream: Stream, delay: int, name: str | None = None) -> Stream:
    """Let the labels of an experience arrive some experiences later.

    The labels of experience k arrive while experience k + `delay` goes on. The new stream begins when the first ones
    arrive: its experience k has the training data of experience k of `stream`, and the test data (and the
    :meth:`~forgetless.datasets.Stream.arriving_set`) of experience k + `delay`. The last labels arrive after its end.

    Parameters
    ----------
    stream : Stream
        Not task-incremental: rows and labels of a step are of two tasks.
    delay : int
        Number of experiences, at least one.
    name : str, default=None
        Name of the new stream; by default that of the old one, and the delay.

    Returns
    -------
    Stream
        Shorter by `delay`.

    Raises
    ------
    ValueError
        If no labels would arrive within the stream, or it is task-incremental.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream, with_label_delay
    >>> late = with_label_delay(split_stream(load_digits(), class_order="sorted"), 1)
    >>> len(late), sorted(set(late[0].y_train.tolist())), sorted(set(late[0].y_test.tolist()))
    (4, [0, 1], [2, 3])
    """
    from sklearn.utils import check_scalar

    check_scalar(delay, "delay", Integral, min_val=1)
    if delay >= len(stream):
        raise ValueError(
            f"With a delay of {delay}, no label would arrive within the {len(stream)} experiences of {stream.name!r}."
        )
    if stream.scenario == "task":
        raise ValueError("A task-incremental stream cannot have a label delay: rows and labels would be of two tasks.")
    return _DelayedStream(name or f"{stream.name}-delay-{delay}", stream, {"delay": int(delay)})


class AlteredStream(Stream):
    """A stream made of another one, `stream`; derived classes change some of its members."""

    builder: ClassVar[str]

    def __init__(self, name: str, stream: Stream, settings: dict[str, Any]) -> None:
        super().__init__(name, stream.scenario, stream.classes, stream.n_features, stream.n_experiences)
        self.announces_classes = stream.announces_classes
        self.chronological = stream.chronological
        self.stream = stream
        self.settings = settings
        self.delay: int = stream.delay if isinstance(stream, AlteredStream) else 0  # of labels, in experiences

    @property
    def definition(self) -> dict[str, Any]:
        """What was changed, and the definition of the stream that it was changed in."""
        return {"builder": self.builder, **self.settings, "stream": self.stream.definition}

    def make_classes(self, index: int) -> np.ndarray:
        """Compute the labels of an experience, as in `stream`."""
        return self.stream.make_classes(index)

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the test data of an experience, as in `stream`."""
        return self.stream.make_test_set(index)

    def make_true_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the training rows of an experience with their true targets, as in `stream`."""
        if isinstance(self.stream, AlteredStream):
            return self.stream.make_true_set(index)
        return self.stream.arriving_set(index)

    def arriving_set(self, index: int) -> tuple[Inputs, Targets]:
        """Compute the rows that arrive, with true targets: training rows of this experience or of a later one."""
        return self.make_true_set(self.check_index(index) + self.delay)

    def rng(self, index: int) -> np.random.RandomState:
        """Return the generator of an experience."""
        return np.random.RandomState([self.settings["random_state"], index])


class _NoisyStream(AlteredStream):
    """The stream of :func:`with_label_noise`."""

    builder = "with_label_noise"

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        X, y = self.stream.make_train_set(index)
        rng = self.rng(index)
        rows = rng.permutation(len(y))[: round(self.settings["share"] * len(y))]
        if self.kind == "regression":
            y[rows] = y[np.roll(rows, 1)]
            return X, y
        classes = self.stream.make_classes(index)
        if len(classes) < 2 and len(rows):
            raise ValueError(f"Experience {index} of {self.stream.name!r} has one class, so no label can be wrong.")
        others = rng.randint(1, max(len(classes), 2), size=len(rows))
        y[rows] = classes[(np.searchsorted(classes, y[rows]) + others) % len(classes)]
        return X, y


class _ImbalancedStream(AlteredStream):
    """The stream of :func:`with_imbalance`."""

    builder = "with_imbalance"

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        _, y = super().make_true_set(index)
        return take(*self.stream.make_train_set(index), self._kept(index, y))

    def make_true_set(self, index: int) -> tuple[Inputs, Targets]:
        X, y = super().make_true_set(index)
        return take(X, y, self._kept(index, y))

    def _kept(self, index: int, y: Targets) -> np.ndarray:
        """Return the rows of an experience that are not left out, which depends on their true labels alone."""
        rng = self.rng(index)
        classes = rng.permutation(np.unique(y))
        shares = self.settings["ratio"] ** (np.arange(len(classes)) / max(len(classes) - 1, 1))
        kept = [np.empty(0, dtype=np.int64)]
        for label, share in zip(classes, shares, strict=True):
            rows = rng.permutation(np.flatnonzero(y == label))
            kept.append(rows[: max(round(share * len(rows)), 1)])
        return np.sort(np.concatenate(kept))


class _DelayedStream(AlteredStream):
    """The stream of :func:`with_label_delay`."""

    builder = "with_label_delay"

    def __init__(self, name: str, stream: Stream, settings: dict[str, Any]) -> None:
        super().__init__(name, stream, settings)
        self.n_experiences -= settings["delay"]
        self.delay += settings["delay"]

    def make_classes(self, index: int) -> np.ndarray:
        now = index + self.settings["delay"]
        return np.union1d(self.stream.make_classes(index), self.stream.make_classes(now))

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.stream.make_train_set(index)

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self.stream.make_test_set(index + self.settings["delay"])
