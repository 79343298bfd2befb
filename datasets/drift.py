"""Streams with drift: what is learned changes, at once, by and by, step by step, or again and again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from .base import Dataset, Inputs, RandomState, Targets, fingerprint, type_of_labels
from .ordered import equal_starts, held_out
from .streams import DatasetStream, Stream, as_seed, check_is_dataset, check_tested_classes, concatenate, take

Drift = Literal["abrupt", "gradual", "incremental", "recurring"]
Concept = Dataset | Callable[[Inputs], Any]
"""Other rows, or a function that gives the same inputs other targets."""


def drift_stream(
    dataset: Dataset,
    concepts: int | Sequence[Concept] = 1,
    n_experiences: int = 10,
    drift: Drift = "abrupt",
    width: float = 0.2,
    n_cycles: int = 2,
    test_size: float = 0.2,
    random_state: RandomState = None,
    name: str | None = None,
) -> Stream:
    """Let concepts rule the rows of a stream one after the other.

    Row r of the stream is row r of the concept that rules it, so no row occurs twice. The scenario is "domain".
    ``stream.concepts(k)`` says which concept rules each training row of experience k, ``stream.concepts(k, "test")``
    each test row.

    Parameters
    ----------
    dataset : Dataset
        Concept 0: the data as they are, in their order.
    concepts : int or sequence of Dataset or callable, default=1
        The further concepts, from 1. A data set has other rows with the same features (all are used as far as the
        shortest one goes). A function is called with the inputs of `dataset` and returns other targets for them. A
        number stands for so many permutations of the features.
    n_experiences : int, default=10
        Number of experiences, of equal size (the first ones may have one row more).
    drift : {"abrupt", "gradual", "incremental", "recurring"}, default="abrupt"
        The stream is divided into equal stretches, one for each concept. "abrupt": at a border the next concept rules
        at once. "gradual": around a border, rows of both are mixed, with the probability of the next one growing
        linearly. "incremental": around a border the one becomes the other: inputs, and targets that are numbers, are
        interpolated linearly; labels must be the same in both. "recurring": abrupt, and after the last concept the
        first comes again.
    width : float, default=0.2
        Share of the stream over which a gradual or incremental change extends; at most that of a stretch.
    n_cycles : int, default=2
        How often each concept rules in a recurring drift.
    test_size : float, default=0.2
        Share of an experience that is held out where the data sets have no test part: its last rows, rounded up. Where
        they have one, the same drift runs through its rows.
    random_state : int, RandomState instance or None, default=None
        Draws permutations and the rows of a gradual drift.
    name : str, default=None
        Name of the stream; by default composed of the data set's name and `drift`.

    Returns
    -------
    Stream
        Chronological; with a method ``concepts``.

    Raises
    ------
    ValueError
        If the concepts do not fit together.

    References
    ----------
    Gama, J. et al. (2014). A survey on concept drift adaptation.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import Dataset, drift_stream
    >>> data = Dataset("line", np.linspace(-1, 1, 40)[:, None], [0] * 20 + [1] * 20)
    >>> stream = drift_stream(data, [lambda X: 1 * (X[:, 0] < 0)], 5, drift="gradual", random_state=0)
    >>> [stream.concepts(k).tolist() for k in (1, 2, 3)]
    [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]
    """
    from sklearn.utils import check_scalar

    check_is_dataset(dataset)
    if drift not in ("abrupt", "gradual", "incremental", "recurring"):
        raise ValueError(f"drift must be 'abrupt', 'gradual', 'incremental' or 'recurring', got {drift!r}.")
    check_scalar(n_cycles, "n_cycles", Integral, min_val=1)
    seed = as_seed(random_state)
    made = _make_sources(dataset, concepts, np.random.RandomState([seed, 0]))
    settings: dict[str, Any] = {"drift": drift, "random_state": seed}
    if drift in ("gradual", "incremental"):
        check_scalar(width, "width", Real, min_val=0, include_boundaries="neither")
        if width > 1 / len(made):
            raise ValueError(
                f"width must be at most {1 / len(made):.3g}, the share of one of {len(made)} concepts, got {width:g}."
            )
        settings["width"] = float(width)
    if drift == "recurring":
        settings["n_cycles"] = int(n_cycles)
    if drift == "incremental":
        _check_interpolable(made)
    return _DriftStream(name or f"drift-{dataset.name}-{drift}", made, n_experiences, test_size, settings)


@dataclass(frozen=True)
class _Source:
    """Where the rows of a concept come from."""

    dataset: Dataset
    permutation: np.ndarray | None = None

    def rows(self, part: str, rows: np.ndarray) -> tuple[Inputs, Targets]:
        X, y = take(getattr(self.dataset, f"X_{part}"), getattr(self.dataset, f"y_{part}"), rows)
        return X if self.permutation is None else X.take(self.permutation, axis=1), y

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint if self.permutation is None else fingerprint(self.permutation)


class _DriftStream(DatasetStream):
    """The stream of :func:`drift_stream`: rows that experiences have of each part, and what rules these rows.

    A rule is the number of a concept; on the way from one to the next, the number of the one and the share of the next.
    """

    builder = "drift_stream"
    chronological = True

    def __init__(
        self, name: str, sources: list[_Source], n_experiences: int, test_size: float, settings: dict[str, Any]
    ) -> None:
        dataset = sources[0].dataset
        n_train, n_test = (
            min(len(y) for y in each)
            for each in zip(*((source.dataset.y_train, source.dataset.y_test) for source in sources), strict=True)
        )
        experiences = _divided(n_train, n_experiences, dataset.name)
        rules = _rules(n_train, len(sources), settings, stage=1)
        if n_test:
            parts = experiences, _divided(n_test, n_experiences, f"{dataset.name} (test part)")
            self.rules = {"train": rules, "test": _rules(n_test, len(sources), settings, stage=2)}
        else:
            parts = held_out(experiences, test_size)
            self.rules = {"train": rules, "test": rules}
            settings["test_size"] = float(test_size)
        classes = np.unique(np.concatenate([source.dataset.classes for source in sources]))
        for source in sources:
            check_tested_classes(source.dataset, classes)
        super().__init__(name, "domain", classes, len(experiences), dataset, settings)
        self.sources = sources
        self.rows = dict(zip(("train", "test"), parts, strict=True))

    @property
    def definition(self) -> dict[str, Any]:
        return super().definition | {"concepts": [source.fingerprint for source in self.sources[1:]]}

    def concepts(self, index: int, part: Literal["train", "test"] = "train") -> np.ndarray:
        """Return which concept rules each row of an experience; 0.25 is a quarter of the way from 0 to 1."""
        rules: np.ndarray = self.rules[part][self.rows[part][self.check_index(index)]]
        return rules

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._make("train", index, "train")

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._make("test", index, "test" if len(self.dataset.y_test) else "train")

    def _make(self, part: Literal["train", "test"], index: int, source_part: str) -> tuple[Inputs, Targets]:
        rows, rules = self.rows[part][index], self.concepts(index, part)
        before = np.floor(rules).astype(np.int64)
        made, places = [], []
        for concept in np.unique(before) if len(rows) else [0]:
            place = np.flatnonzero(before == concept)
            X, y = self.sources[concept].rows(source_part, rows[place])
            shares = (rules - before)[place]
            if shares.any():
                next_X, next_y = self.sources[concept + 1].rows(source_part, rows[place])
                X = (X + shares[:, np.newaxis] * (next_X - X)).astype(X.dtype)
                y = y + shares * (next_y - y) if self.kind == "regression" else y
            made.append((X, y))
            places.append(place)
        return made[0] if len(made) == 1 else take(*concatenate(made), np.argsort(np.concatenate(places)))


def _divided(n_rows: int, n_experiences: int, name: str) -> list[np.ndarray]:
    return np.split(np.arange(n_rows), equal_starts(n_rows, n_experiences, name)[1:])


def _rules(n_rows: int, n_concepts: int, settings: dict[str, Any], stage: int) -> np.ndarray:
    """Return the concept of each row."""
    position = (np.arange(n_rows) + 0.5) / n_rows
    if "width" not in settings:
        stretch: np.ndarray = (position * n_concepts * settings.get("n_cycles", 1)).astype(np.int64)
        return stretch % n_concepts
    borders = np.arange(1, n_concepts) / n_concepts
    ramps = (position[:, np.newaxis] - borders) / settings["width"] + 0.5
    way: np.ndarray = np.clip(ramps, 0, 1).sum(axis=1)
    if settings["drift"] == "incremental":
        return way
    # RandomState, unlike default_rng, promises the same numbers in all versions of NumPy.
    drawn = np.random.RandomState([settings["random_state"], stage]).uniform(size=n_rows)
    return (way + drawn).astype(np.int64)


def _make_sources(dataset: Dataset, concepts: int | Sequence[Concept], rng: np.random.RandomState) -> list[_Source]:
    from sklearn.utils import check_scalar

    sources = [_Source(dataset)]
    if not isinstance(concepts, Sequence):
        check_scalar(concepts, "concepts", Integral, min_val=1)
        if not isinstance(dataset.X_train, np.ndarray):
            raise ValueError(f"Features of a {type(dataset.X_train).__name__} are not permuted; give concepts.")
        return sources + [_Source(dataset, rng.permutation(dataset.X_train.shape[1])) for _ in range(concepts)]
    for concept in concepts:
        if not isinstance(concept, Dataset):
            tested = {"y_test": concept(dataset.X_test)} if len(dataset.y_test) else {}
            concept = replace(dataset, y_train=concept(dataset.X_train), **tested)
        sources.append(_Source(concept))
    for source in sources[1:]:
        _check_fits(dataset, source.dataset)
    if len(sources) < 2:
        raise ValueError("Give one or more concepts beside the data set itself.")
    return sources


def _check_fits(first: Dataset, other: Dataset) -> None:
    """Raise ValueError if rows of one cannot follow those of the other."""
    aspects: dict[str, Callable[[Dataset], Any]] = {
        "features": lambda each: each.X_train.shape[1],
        "columns": lambda each: each.feature_names,
        "kind of inputs": lambda each: type(each.X_train).__name__,
        "kind of targets": lambda each: each.kind,
        "type of labels": lambda each: type_of_labels(each.y_train),
        "test part": lambda each: "yes" if len(each.y_test) else "no",
    }
    for what, of in aspects.items():
        a, b = of(first), of(other)
        if a != b:
            raise ValueError(f"The concepts differ in their {what}: {a} and {b}.")


def _check_interpolable(sources: list[_Source]) -> None:
    first = sources[0].dataset
    if not isinstance(first.X_train, np.ndarray):
        raise ValueError("An incremental drift interpolates inputs, so it needs arrays of numbers.")
    for source in sources[1:]:
        for name in ("y_train", "y_test"):
            pairs = zip(getattr(first, name), getattr(source.dataset, name), strict=False)
            if first.kind == "classification" and any(a != b for a, b in pairs):
                raise ValueError(
                    "An incremental drift interpolates inputs, so each row must have the same label in all concepts; "
                    "use a gradual drift where labels change."
                )
