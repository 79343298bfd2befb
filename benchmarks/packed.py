"""Rows of a cell's tables in few bytes: numbers as records of fixed width, texts once for each cell.

A store of many cells has millions of such rows. As rows of a database they take seconds per million to read and to
check; packed, a cell is read and checked at once, and NumPy reads the rows of many cells together.
"""

from __future__ import annotations

import functools
import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .results import EVALUATION_COLUMNS, EXPERIENCE_COLUMNS, NAME_COLUMNS, SCORE_COLUMNS


def _without_names(columns: Mapping[str, type]) -> dict[str, type]:
    """Leave out what the run knows already."""
    return {name: kind for name, kind in columns.items() if name not in NAME_COLUMNS}


DETAILS = {
    "experiences": _without_names(EXPERIENCE_COLUMNS),
    "scores": _without_names(SCORE_COLUMNS),
    "evaluations": _without_names(EVALUATION_COLUMNS),
}
"""Columns of the packed tables and their types."""

# A text is its place among the cell's texts; an unknown number is NaN.
_FORMATS = {int: "<i8", float: "<f8", str: "<i4"}
RECORDS = {
    name: np.dtype([(column, _FORMATS[kind]) for column, kind in columns.items()]) for name, columns in DETAILS.items()
}
"""The record of a row of each table."""
_SIZES = [record.itemsize for record in RECORDS.values()]


class Packed(NamedTuple):
    """The tables of a cell: records, one after the other, and the texts in them as a JSON list."""

    texts: str
    experiences: bytes
    scores: bytes
    evaluations: bytes


def pack(tables: Sequence[Sequence[Sequence[Any]]]) -> Packed:
    """Pack the rows of a cell.

    Parameters
    ----------
    tables : sequence of sequences of rows
        Experiences, scores and evaluations; values in the order of the columns, without the names of the cell.

    Returns
    -------
    Packed

    Raises
    ------
    OverflowError
        If a number is too large.

    Examples
    --------
    >>> packed = pack([[], [[0, 0, 20.0, "accuracy", 0.5], [1, 0, None, "accuracy", 0.75]], []])
    >>> packed.texts, len(packed.scores)
    ('["accuracy"]', 72)
    """
    texts: dict[str, int] = {}
    parts = []
    for (name, columns), rows in zip(DETAILS.items(), tables, strict=True):
        records = [
            tuple(
                texts.setdefault(value, len(texts)) if kind is str else math.nan if value is None else value
                for kind, value in zip(columns.values(), row, strict=True)
            )
            for row in rows
        ]
        parts.append(np.array(records, dtype=RECORDS[name]).tobytes())
    return Packed(json.dumps(list(texts)), *parts)


def unpack(packed: Packed) -> list[list[list[Any]]]:
    """Bring back what `pack` took.

    Parameters
    ----------
    packed : Packed

    Returns
    -------
    list of lists of rows

    Examples
    --------
    >>> unpack(pack([[], [[0, 0, None, "accuracy", 0.5]], []]))
    [[], [[0, 0, None, 'accuracy', 0.5]], []]
    """
    texts = json.loads(packed.texts)
    return [
        [
            [
                texts[value] if kind is str else None if value != value else value
                for kind, value in zip(columns.values(), row, strict=True)
            ]
            for row in np.frombuffer(part, RECORDS[name]).tolist()
        ]
        for (name, columns), part in zip(DETAILS.items(), packed[1:], strict=True)
    ]


@functools.lru_cache(maxsize=4096)  # the seeds of a strategy have the same
def _list_of_texts(texts: str) -> tuple[str, ...]:
    found = json.loads(texts)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError("no list of texts")
    return tuple(found)


def can_be_read(packed: Packed) -> bool:
    """Tell whether a packed cell has texts and whole records.

    Parameters
    ----------
    packed : Packed
        As a database gave it back.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_be_read(Packed("[]", b"", b"12", b""))
    False
    """
    try:
        _list_of_texts(packed.texts)
    except (TypeError, ValueError, RecursionError):
        return False
    return not any(map(operator.mod, map(len, packed[1:]), _SIZES))


Tables = dict[str, tuple[NDArray[Any], NDArray[np.intp], dict[str, NDArray[np.int32]]]]
"""By name: records, the position of the cell of each, and for each column of texts their numbers."""


class Rows:
    """Rows of many cells; equal texts get equal numbers over all calls.

    Examples
    --------
    >>> rows, packed = Rows(), pack([[], [[0, 0, None, "accuracy", 0.5]], []])
    >>> records, owner, texts = rows.read([packed, packed])["scores"]
    >>> records["score"].tolist(), owner.tolist(), [rows.words[number] for number in texts["metric"]]
    ([0.5, 0.5], [0, 1], ['accuracy', 'accuracy'])
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[str, list[int]] = {}

    def _numbered(self, texts: str) -> list[int]:
        if texts not in self._known:
            found = []
            for text in _list_of_texts(texts):
                if text not in self._numbers:
                    self._numbers[text] = len(self.words)
                    self.words.append(text)
                found.append(self._numbers[text])
            self._known[texts] = found
        return self._known[texts]

    def read(self, cells: Sequence[Packed]) -> Tables:
        """Read the tables of some cells.

        Parameters
        ----------
        cells : sequence of Packed
            All of which can be read.

        Returns
        -------
        Tables
            The number of a text is its position in `words`; -1 where a record names a text that its cell lacks.
        """
        numbered = [self._numbered(cell.texts) for cell in cells]
        n_texts = np.array([len(each) for each in numbered], dtype=np.intp)
        numbers = np.array([number for each in numbered for number in each] or [-1], dtype=np.int32)
        starts = np.cumsum(n_texts) - n_texts
        tables = {}
        for name, columns in DETAILS.items():
            parts = [getattr(cell, name) for cell in cells]
            counts = np.array([len(part) for part in parts], dtype=np.intp) // RECORDS[name].itemsize
            records, owner = np.frombuffer(b"".join(parts), RECORDS[name]), np.repeat(np.arange(len(cells)), counts)
            texts = {}
            for column, kind in columns.items():
                if kind is str:
                    own = records[column]
                    known = (own >= 0) & (own < n_texts[owner])
                    texts[column] = np.where(known, numbers[np.where(known, starts[owner] + own, 0)], np.int32(-1))
            tables[name] = records, owner, texts
        return tables
