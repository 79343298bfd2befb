"""Streams over files that are larger than memory: an experience is a batch of rows, read when it is asked for."""

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .base import Dataset, Inputs, Kind, Targets
from .extra import from_extra
from .files import as_names, inputs_and_target, read_csv, reading_parquet
from .ordered import n_held_out
from .streams import Experience, Stream

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 1 << 24  # bytes of a record of a CSV file; more is a quotation mark that was never closed


def file_stream(
    path: str | os.PathLike[str],
    target: str,
    *,
    batch_rows: int = 10_000,
    test_size: float = 0.2,
    drop: str | Sequence[str] = (),
    kind: Kind | None = None,
    allow_nan: bool = False,
    name: str | None = None,
) -> Stream:
    r"""Make a stream of a CSV or Parquet file of any size: each experience is the next `batch_rows` rows.

    The file is gone through once, for its digest, its number of rows, its labels and the types of its columns, or twice
    if labels look like numbers in some batches only. After that, memory holds one batch. Parquet files are read fastest
    if their row groups are no longer than a few batches.

    Parameters
    ----------
    path : str or path-like
        The file: ``.parquet``, or ``.csv`` with a line of names, commas between values and double quotation marks
        around text where needed.
    target : str
        The column to predict.
    batch_rows : int, default=10_000
        Number of rows of an experience; the last one may have fewer.
    test_size : float, default=0.2
        Share of an experience that is held out: its last rows, rounded up, but never all. 0: nothing, for prequential
        evaluation.
    drop : str or sequence of str, default=()
        Columns to leave out.
    kind, allow_nan
        As for :class:`Dataset`.
    name : str, default=None
        Name of the stream; ``None``: the file's name, up to the first dot.

    Returns
    -------
    Stream
        Domain-incremental and chronological. Inputs are DataFrames; in every experience, a column has the same type.
        Categories are text.

    Raises
    ------
    ImportError
        If pyarrow is needed and not installed.
    OSError
        If the file cannot be read.
    ValueError
        If the file is of another kind, has no such column or no rows, or targets are missing. Also when an experience
        is asked for, if inputs are missing or the file has changed since.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from forgetless.datasets import file_stream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "clicks.csv")
    ...     _ = path.write_text("hour,clicked\n" + "9,yes\n10,no\n" * 5)
    ...     stream = file_stream(path, "clicked", batch_rows=5)
    ...     [len(experience.y_train) for experience in stream]
    [4, 4]
    """
    from sklearn.utils import check_scalar

    check_scalar(batch_rows, "batch_rows", Integral, min_val=1)
    check_scalar(test_size, "test_size", Real, min_val=0, max_val=1, include_boundaries="left")
    path = Path(path)
    tables: dict[str, type[_Table]] = {".csv": _Csv, ".parquet": _Parquet}
    if path.suffix.lower() not in tables:
        raise ValueError(f"{path} is neither a .csv nor a .parquet file; unpack it if it is compressed.")
    table = tables[path.suffix.lower()](path, int(batch_rows))
    inputs, _ = inputs_and_target(table.empty, target, drop)
    kind, classes = _kind_and_classes(table.scan(target), target, kind)
    if not table.n_batches:
        raise ValueError(f"{path} has no rows.")
    if table.scanned_other_targets:
        _, classes = _kind_and_classes(table.batches(), target, kind)
    name = name or path.name.split(".")[0]
    columns = target, tuple(as_names(drop))
    return _FileStream(name, table, classes, inputs.shape[1], columns, float(test_size), allow_nan)


def _kind_and_classes(
    frames: Iterator["pd.DataFrame"], target: str, kind: Kind | None
) -> tuple[Kind | None, np.ndarray]:
    """Return what the targets of all batches are, and the labels among them, sorted."""
    classes: np.ndarray | None = None
    for frame in frames:
        _, y = inputs_and_target(frame, target, ())
        part = Dataset("", np.zeros((len(y), 1)), y, kind=kind)  # type: ignore[arg-type]  # None: it finds out
        classes = part.classes if classes is None else np.union1d(classes, part.classes)
        if part.kind == "regression":  # numbers, by chance without fractions in the batches before
            kind = part.kind
    return kind, np.empty(0) if kind == "regression" or classes is None else classes


class _Table(ABC):
    """A file of rows and columns; derived classes read one format.

    `n_batches` and types are known after :meth:`scan` was gone through, and nothing is read before.
    """

    empty: "pd.DataFrame"
    n_batches = 0
    scanned_other_targets = False  # some of other types than those that they are read with

    def __init__(self, path: Path, batch_rows: int) -> None:
        self.path = path
        self.batch_rows = batch_rows
        self._stamp = self._current_stamp()
        with path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()

    @abstractmethod
    def scan(self, target: str) -> Iterator["pd.DataFrame"]:
        """Yield batches that have at least the target, and note where they are."""

    @abstractmethod
    def batches(self, start: int = 0) -> Iterator["pd.DataFrame"]:
        """Yield the batches from one on."""

    def _current_stamp(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def _check_unchanged(self) -> None:
        if self._current_stamp() != self._stamp:
            raise ValueError(f"{self.path} has changed since the stream was made; make it again.")


class _Csv(_Table):
    def __init__(self, path: Path, batch_rows: int) -> None:
        super().__init__(path, batch_rows)
        with path.open("rb") as file:
            self._header = next(_records(file, path), b"")
        self.empty = self._parsed(b"")
        self._spans: list[tuple[int, int]] = []
        self._types: dict[Any, Any] = {}

    def scan(self, target: str) -> Iterator["pd.DataFrame"]:
        scanned = set()
        with self.path.open("rb") as file:
            records = _records(file, self.path)
            end = len(next(records, b""))
            while content := b"".join(islice(records, self.batch_rows)):
                begin, end = end, end + len(content)
                frame = self._parsed(content, where=f", from row {len(self._spans) * self.batch_rows + 1} on,")
                if len(frame):
                    self._spans.append((begin, end))
                    self._types = {
                        name: _common_type(self._types.get(name, dtype), dtype) for name, dtype in frame.dtypes.items()
                    }
                    scanned.add(frame.dtypes[target])
                    yield frame
        self.n_batches = len(self._spans)
        self.scanned_other_targets = len(scanned) > 1 and self._types[target] == "str"

    def batches(self, start: int = 0) -> Iterator["pd.DataFrame"]:
        with self.path.open("rb") as file:
            for begin, end in self._spans[start:]:
                self._check_unchanged()
                file.seek(begin)
                yield self._parsed(file.read(end - begin), self._types)

    def _parsed(self, content: bytes, types: dict[Any, Any] | None = None, where: str = "") -> "pd.DataFrame":
        source = io.BytesIO(self._header + content)
        return read_csv(source, f"{self.path}{where}", dtype=types, low_memory=False)


def _records(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the records of a CSV file: lines, empty ones before, and further ones while a quotation mark is open."""
    lines: list[bytes] = []
    size, is_open = 0, False
    while line := file.readline(_LONGEST):
        lines.append(line)
        size += len(line)
        is_open ^= line.count(b'"') % 2 == 1
        if size >= _LONGEST:
            raise ValueError(f"{path} has a row of {_LONGEST} bytes or more: is a quotation mark never closed?")
        if not is_open and line.strip():
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _common_type(one: Any, other: Any) -> Any:
    """Return a type that holds the values of a column in all batches: what is not always a number is text."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if one == other:
        return one
    numbers = all(is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in (one, other))
    return np.result_type(one, other) if numbers else "str"


class _Parquet(_Table):
    def __init__(self, path: Path, batch_rows: int) -> None:
        super().__init__(path, batch_rows)
        with reading_parquet(path), from_extra("pyarrow.parquet").ParquetFile(path) as file:
            self.empty = _without_categories(file.schema_arrow.empty_table().to_pandas())
            groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._ends = np.cumsum(groups, dtype=int)
        self.n_batches = -(-sum(groups) // batch_rows)
        self._types: dict[Any, Any] = {}

    def scan(self, target: str) -> Iterator["pd.DataFrame"]:
        whole = self.empty.select_dtypes(["integer", "bool"])  # a missing value makes other types of these
        with from_extra("pyarrow.parquet").ParquetFile(self.path) as file:
            for batch in file.iter_batches(self.batch_rows, columns=list({target, *whole})):
                frame = _without_categories(batch.to_pandas())
                types = frame[list(whole)].dtypes
                self._types |= types[types != whole.dtypes].to_dict()
                yield frame

    def batches(self, start: int = 0) -> Iterator["pd.DataFrame"]:
        pyarrow = from_extra("pyarrow")
        first = start * self.batch_rows
        group = int(np.searchsorted(self._ends, first, side="right"))
        skip = first - int(self._ends[group - 1] if group else 0)
        with from_extra("pyarrow.parquet").ParquetFile(self.path) as file:
            waiting = file.schema_arrow.empty_table()
            for piece in file.iter_batches(self.batch_rows, row_groups=range(group, len(self._ends))):
                self._check_unchanged()
                # A piece ends where its row group does.
                waiting = pyarrow.concat_tables([waiting, pyarrow.Table.from_batches([piece[skip:]])])
                skip = max(skip - len(piece), 0)
                if len(waiting) >= self.batch_rows:
                    yield self._as_frame(waiting[: self.batch_rows])
                    waiting = waiting[self.batch_rows :]
            if len(waiting):
                yield self._as_frame(waiting)

    def _as_frame(self, table: Any) -> "pd.DataFrame":
        return _without_categories(table.to_pandas()).astype(self._types)


def _without_categories(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Write categories out: batches may have different ones."""
    written_out: dict[Any, np.ndarray] = {
        name: np.asarray(column) for name, column in frame.select_dtypes("category").items()
    }
    return frame.assign(**written_out)


class _FileStream(Stream):
    """The stream of :func:`file_stream`."""

    chronological = True

    def __init__(
        self,
        name: str,
        table: _Table,
        classes: np.ndarray,
        n_features: int,
        columns: tuple[str, Sequence[str]],
        test_size: float,
        allow_nan: bool,
    ) -> None:
        super().__init__(name, "domain", classes, n_features, table.n_batches)
        self._table = table
        self._target, self._drop = columns
        self._test_size = test_size
        self._allow_nan = allow_nan

    @property
    def definition(self) -> dict[str, Any]:
        return {
            "builder": "file_stream",
            "digest": self._table.digest,
            "target": self._target,
            "drop": list(self._drop),
            "kind": self.kind,
            "batch_rows": self._table.batch_rows,
            "test_size": self._test_size,
        }

    def __iter__(self) -> Iterator[Experience]:
        for index, frame in enumerate(self._table.batches()):
            (X_train, y_train), (X_test, y_test) = self._parts(frame)
            yield Experience(index, None, self.make_classes(index), X_train, y_train, X_test, y_test)

    def make_classes(self, index: int) -> np.ndarray:
        return self.classes.copy()

    def make_train_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._parts(next(self._table.batches(index)))[0]

    def make_test_set(self, index: int) -> tuple[Inputs, Targets]:
        return self._parts(next(self._table.batches(index)))[1]

    def _parts(self, frame: "pd.DataFrame") -> list[tuple[Inputs, Targets]]:
        """Return the rows for training and those for testing, as inputs and targets."""
        X, y = inputs_and_target(frame, self._target, self._drop)
        data = Dataset(self.name, X, y, kind=self.kind, allow_nan=self._allow_nan)
        n_train = len(frame) - n_held_out(len(frame), self._test_size)
        return [(data.X_train.iloc[rows], data.y_train[rows]) for rows in (slice(n_train), slice(n_train, None))]
