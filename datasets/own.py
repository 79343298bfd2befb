"""Streams of one's own data, in one call."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, get_args

import numpy as np

from .base import Dataset, Inputs, Kind, Targets, fingerprint, form, type_of_labels
from .ordered import chunked_stream, column_stream, held_out
from .streams import Scenario, Stream, take


def stream_from(
    data: Any,
    target: Hashable | None = None,
    by: Hashable | None = None,
    time: Hashable | None = None,
    n_experiences: int | None = None,
    chunk_size: int | None = None,
    period: str | float | None = None,
    scenario: Scenario = "domain",
    kind: Kind | None = None,
    test_size: float = 0.2,
    name: str = "own",
) -> Stream:
    """Make a stream of your own data.

    Parameters
    ----------
    data : DataFrame, or iterable of tuples
        A table with a column `target`, or experiences in their order: each ``(X, y)``, of which the last rows are held
        out for testing, or ``(X_train, y_train, X_test, y_test)``. A generator is read to its end, into memory.
    target : str or int, default=None
        For a table: the column that is to be predicted.
    by : str or int, default=None
        For a table: make an experience of each value of this column, as :func:`column_stream` does.
    time, n_experiences, chunk_size, period
        For a table, without `by`: cut it as :func:`chunked_stream` does.
    scenario : {"class", "task", "domain"}, default="domain"
        What is incremental; see :class:`Stream`. A table is domain-incremental, or with `by` task-incremental.
    kind : {"classification", "regression"}, default=None
        What the targets are, as for :class:`Dataset`.
    test_size : float, default=0.2
        Share of an experience that is held out for testing, where it brings no test rows: its last rows, rounded up. 0:
        nothing, for prequential evaluation.
    name : str, default="own"
        Name of the stream.

    Returns
    -------
    Stream
        A digest of the data is part of its definition, so results of changed data are never taken for these.

    Raises
    ------
    ValueError
        If the data make no stream.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import stream_from
    >>> rng = np.random.default_rng(0)
    >>> stream = stream_from((rng.normal(shift, 1, (10, 3)), [0, 1] * 5) for shift in range(4))
    >>> stream
    Stream('own': domain-incremental, n_experiences=4, n_classes=2, n_features=3)
    >>> stream[3]
    Experience(index=3, task_id=None, classes=[0, 1], 8 training rows, 2 test rows)

    >>> import pandas as pd
    >>> table = pd.DataFrame({"shop": ["a", "b"] * 10, "price": range(20), "sold": range(20)})
    >>> stream_from(table, target="sold", by="shop", kind="regression")
    Stream('own': domain-incremental, n_experiences=2, regression, n_features=1)
    """
    if scenario not in get_args(Scenario):
        raise ValueError(f"scenario must be 'class', 'task' or 'domain', got {scenario!r}.")
    cuts = {"time": time, "n_experiences": n_experiences, "chunk_size": chunk_size, "period": period}
    if hasattr(data, "columns"):
        if target is None or list(data.columns).count(target) != 1:
            raise ValueError(f"target must name the column to predict, one of {list(data.columns)}, got {target!r}.")
        table = Dataset(name, data.drop(columns=target), data[target], kind=kind, allow_nan=True)  # type: ignore[arg-type]
        if by is None:
            if scenario != "domain":
                raise ValueError("A table that is cut into pieces is domain-incremental; name a column with by.")
            return chunked_stream(table, **cuts, test_size=test_size, name=name)  # type: ignore[arg-type]
        given = [key for key, value in cuts.items() if value is not None]
        if given or scenario == "class":
            raise ValueError(f"With by, {given[0] if given else 'the scenario class'} has no meaning.")
        return column_stream(table, by, scenario, test_size=test_size, name=name)
    given = [key for key, value in {"target": target, "by": by, **cuts}.items() if value is not None]
    if given:
        raise ValueError(f"Without a table, {given[0]} has no meaning; give a DataFrame, or leave it out.")
    return _OwnStream(name, scenario, _experiences(data, kind), test_size)


def _experiences(data: Iterable[Any], kind: Kind | None) -> list[Dataset]:
    """Return a data set for each experience, all of one kind."""
    try:
        items = list(data)
        if any(isinstance(each, Mapping) for each in (data, *items)):
            raise ValueError("A dict is no experience; give (X, y), or for rows of a table, pandas.DataFrame(data).")
        items = [tuple(item) for item in items]
    except TypeError:
        raise ValueError(
            f"A {type(data).__name__} makes no stream; give a DataFrame with target, or a list or generator of (X, y)."
        ) from None
    options: Any = {"kind": kind, "allow_nan": True}
    made = []
    for index, item in enumerate(items):
        if len(item) not in (2, 4):
            raise ValueError(
                f"Experience {index} has {len(item)} parts; give (X, y) or (X_train, y_train, X_test, y_test)."
            )
        try:
            made.append(Dataset(f"experience {index}", *item, **options))
        except ValueError as error:
            raise ValueError(f"Experience {index}: {error}") from error
    if not made:
        raise ValueError("There is no experience in the data.")
    if len({each.kind for each in made}) > 1:  # numbers, by chance without fractions in some
        return _experiences(items, "regression")
    aspects: dict[str, Callable[[Dataset], Any]] = {
        "inputs": lambda each: form(each.X_train),
        "features": lambda each: each.feature_names or each.X_train.shape[1],
        "labels": lambda each: type_of_labels(each.y_train),
    }
    for index, each in enumerate(made):
        for what, of in aspects.items():
            if of(each) != of(made[0]):
                raise ValueError(f"Experience {index} has other {what} than the first: {of(each)}, not {of(made[0])}.")
    return made


class _OwnStream(Stream):
    """The stream of :func:`stream_from`, each of whose experiences is a data set."""

    def __init__(self, name: str, scenario: Scenario, experiences: list[Dataset], test_size: float) -> None:
        labels = np.concatenate([y for each in experiences for y in (each.y_train, each.y_test)])
        classes = np.unique(labels) if experiences[0].kind == "classification" else np.empty(0)
        super().__init__(name, scenario, classes, experiences[0].X_train.shape[1], len(experiences))
        self.experiences = experiences
        rows = [np.arange(len(each.y_train)) for each in experiences]
        brings_none = [index for index, each in enumerate(experiences) if not len(each.y_test)]
        train, test = held_out([rows[index] for index in brings_none], test_size)
        self.train_rows = dict(enumerate(rows)) | dict(zip(brings_none, train, strict=True))
        self.held_out = dict(zip(brings_none, test, strict=True))

    @property
    def definition(self) -> dict[str, Any]:
        # Not kept, so that data that were changed in place are seen.
        parts = [(each.X_train, each.y_train, each.X_test, each.y_test) for each in self.experiences]
        held_out = [len(self.held_out.get(index, ())) for index in range(len(self))]
        digest = fingerprint(*(array for part in parts for array in part), np.array(held_out))
        return {
            "builder": "stream_from",
            "scenario": self.scenario,
            "n_experiences": len(self),
            "kind": self.kind,
            "fingerprint": digest,
        }

    def make_classes(self, index: int) -> np.ndarray:
        if self.scenario == "domain":
            return self.classes.copy()
        return np.union1d(self.experiences[index].y_train, self.experiences[index].y_test)

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        data = self.experiences[index]
        return take(data.X_train, data.y_train, self.train_rows[index])

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        data = self.experiences[index]
        if index in self.held_out:
            return take(data.X_train, data.y_train, self.held_out[index])
        return take(data.X_test, data.y_test, np.arange(len(data.y_test)))
