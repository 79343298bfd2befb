"""Results as one file to publish, with a card that explains it: a Parquet file that anybody can read without us."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..reports import formats
from ..reports.files import replace_file
from .files import is_same_file
from .results import EVALUATION_COLUMNS, EXPERIENCE_COLUMNS, NAME_COLUMNS, RUN_COLUMNS, SCORE_COLUMNS, Facts
from .store import Store, StoreError

_FORMAT = "forgetless results 1"
_DETAILS = {"experiences": EXPERIENCE_COLUMNS, "scores": SCORE_COLUMNS, "evaluations": EVALUATION_COLUMNS}
_ABOUT = "Results of a benchmark of incremental learning, as forgetless measured them"  # on every card
_MOST_NAMED = 50  # values of a column on the card
# What each column means, with its unit.
MEANINGS = {
    "cell": "key: a hash of all that defines the run, so that equal runs have equal keys",
    "strategy": "name of the strategy",
    "stream": "name of the stream",
    "dataset": "data set that the stream is made of; empty where it is not known",
    "scenario": "task, domain or class: what is told at prediction, and what is asked",
    "seed": "sets weights, order and split together",
    "status": "ok or failed",
    "error": "what a failed run said",
    "estimator": "class of the strategy",
    "family": "family of methods",
    "keeps": "what is kept of the data: nothing, statistics, features, generator or samples",
    "source": "where the method comes from",
    "needs_task_id": "whether prediction needs to be told the task",
    "params": "JSON: all parameters of the strategy, with those of its network",
    "stream_definition": "JSON: how the stream was made",
    "protocol": "JSON: which experiences are tested when, and by which scorers of scikit-learn; the first decides",
    "device": "where the network computed",
    "n_experiences": "length of the stream",
    "n_parameters": "weights of the networks that predict",
    "seconds": "s, the whole run, with its evaluation",
    "n_parallel": "runs that went on at once; where it is not 1, seconds are no measurement",
    "n_stacked": "seeds that were trained in one job, if possible as one network, and share its seconds; 1: alone",
    "started": "ISO 8601, UTC",
    "versions": "JSON: versions of packages",
    "machine": "system, processor architecture, number of processors",
    "experience": "position in the stream, from 0",
    "n_train": "rows learned",
    "fit_seconds": "s, of learning",
    "predict_seconds": "s, of predicting all test sets",
    "peak_memory_bytes": "B, rise of resident memory (on a GPU: allocated memory) during the fit",
    "model_bytes": "B, weights",
    "replay_bytes": "B, rows kept",
    "state_bytes": "B, all else that is carried from call to call",
    "pickled_bytes": "B, length of the pickled estimator",
    "gradient_steps": "batches that the network was trained on",
    "samples_seen": "rows of which a gradient was computed, replayed ones included, each as often as it was",
    "flops": "floating-point operations of the networks' passes while learning",
    "energy_joules": "J, of the machine's processors while learning",
    "pickled_memory": "JSON: bytes of the pickled estimator, by kind",
    "memory": "JSON: bytes carried, by kind",
    "diagnostics": "JSON: numbers about the state of the network, by name",
    "trained_on": "the experience that was learned last; -1: none yet",
    "tested_on": "the experience whose test rows were predicted",
    "metric": "scorer of scikit-learn",
    "score": "by that scorer; accuracies are shares",
    "n_tested": "test rows behind the score",
    "n_rows": "rows of the experience that had been learned",
}


def export_store(store: Store, path: str | os.PathLike[str]) -> Path:
    """Write all cells of a store to a Parquet file, and beside it a card in Markdown that explains it.

    The file has a row for each run, with its experiences, scores and evaluations as lists; nothing is lost, so that
    `import_file` gives the same store again. The same cells give the same bytes.

    Parameters
    ----------
    store : Store
    path : path-like
        Of the file; an existing one is replaced. The card has its name with ``.md``, and replaces only a card.

    Returns
    -------
    Path
        Of the card.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the folder does not exist or cannot be written to.
    ValueError
        If the store is empty, the file would be its own card, or one of the two would replace the store or, for the
        card, a file that is none.

    Examples
    --------
    >>> with Store("results.db") as store:  # doctest: +SKIP
    ...     export_store(store, "runs.parquet")
    """
    from ..datasets.extra import from_extra

    pa, parquet = from_extra("pyarrow"), from_extra("pyarrow.parquet")
    path = Path(path)
    card_path = path.with_suffix(".md")
    if card_path == path:
        raise ValueError(f"{path} would be its own card; give a name that ends with .parquet.")
    for each in (path, card_path):
        if store.file and is_same_file(each, store.file):
            raise ValueError(f"{each} would overwrite the store; name another file.")
    if card_path.is_file() and _ABOUT.encode() not in card_path.read_bytes():
        raise ValueError(f"The card would overwrite {card_path}, which is none; name another file.")
    cells = list(store.cells())
    if not cells:
        raise ValueError(f"The store {store.name} has no cells to export.")
    rows = [each.run | {name: getattr(each, name) for name in _DETAILS} for each in cells]
    schema = _record(pa).with_metadata({"forgetless": _FORMAT})
    table = pa.Table.from_pylist(rows, schema=schema)
    replace_file(path, lambda new: parquet.write_table(table, new, compression="zstd"))
    text = card(path.name, [each.run for each in cells])
    replace_file(card_path, lambda new: new.write_text(text, encoding="utf-8", newline="\n"))
    return card_path


def import_file(path: str | os.PathLike[str], store: Store) -> int:
    """Take over the cells of a file that `export_store` wrote, all of them or nothing.

    Cells that are finished in the store stay.

    Parameters
    ----------
    path : path-like
    store : Store

    Returns
    -------
    int
        How many were taken over.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, or a value in it cannot be what it says.

    Warns
    -----
    StoreWarning
        If cells cannot be what a run leaves; they are left out.
    """
    from ..datasets.extra import from_extra

    pa, parquet = from_extra("pyarrow"), from_extra("pyarrow.parquet")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file.")
    try:
        table = parquet.read_table(path, schema=None)
        rows = table.cast(_record(pa)).to_pylist() if _is_ours(table) else None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as exported results: {' '.join(str(error).split())}") from error
    if rows is None:
        raise ValueError(f"{path} is no file of results that forgetless exported.")
    with Store(":memory:") as found:
        for row in rows:
            details = {name: row.pop(name) for name in _DETAILS}
            try:
                found.write(Facts(run=row, **details))
            except (TypeError, ValueError, KeyError, OverflowError, StoreError) as error:
                raise ValueError(f"{path} has a run that no benchmark can have left: {error}") from error
        return store.merge(found)


def card(title: str, runs: Iterable[Mapping[str, Any]]) -> str:
    """Write what a reader of exported results must know, in Markdown.

    Parameters
    ----------
    title : str
        Name of the file.
    runs : iterable of mapping
        Facts of the runs.

    Returns
    -------
    str
    """
    runs = list(runs)

    def named(column: str) -> str:
        values = sorted({str(run[column]) for run in runs if run[column] not in (None, "")})
        shown = ", ".join(map(formats.markdown, values[:_MOST_NAMED]))
        return shown + (f" and {len(values) - _MOST_NAMED:,} more" if len(values) > _MOST_NAMED else "")

    n_failed = sum(run["status"] == "failed" for run in runs)
    seeds = sorted({run["seed"] for run in runs})
    facts = {
        "runs": f"{len(runs):,}, of which {n_failed:,} failed",
        "strategies": named("strategy"),
        "streams": named("stream"),
        "data sets": named("dataset"),
        "seeds": f"{len(seeds):,}, from {seeds[0]} to {seeds[-1]}",
        "protocols": named("protocol"),
        "versions": named("versions"),
        "machines": named("machine"),
        "devices": named("device"),
    }
    lists = {name: f"list of records: {', '.join(_without_names(columns))}" for name, columns in _DETAILS.items()}
    known = {name: MEANINGS[name] for name in RUN_COLUMNS} | lists
    within = {name: MEANINGS[name] for columns in _DETAILS.values() for name in _without_names(columns)}
    return "\n".join(
        [
            f"# {formats.markdown(title)}",
            "",
            f"{_ABOUT}: a row is a run of one strategy on one stream with one seed. All metrics can be "
            "computed from these facts; `forgetless import` makes a store of them, and `forgetless report` a page.",
            "",
            *_rows(("", ""), facts.items()),
            "",
            "## Columns",
            "",
            *_rows(("column", "meaning and unit"), known.items()),
            "",
            "## Columns of the records",
            "",
            *_rows(("column", "meaning and unit"), within.items()),
            "",
        ]
    )


def _rows(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]


def _without_names(columns: Mapping[str, type]) -> list[str]:
    """Leave out what the run says already."""
    return [name for name in columns if name not in NAME_COLUMNS]


def _record(pa: Any) -> Any:
    types = {str: pa.string(), object: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    details = {
        name: pa.list_(pa.struct([(column, types[columns[column]]) for column in _without_names(columns)]))
        for name, columns in _DETAILS.items()
    }
    return pa.schema([*((column, types[kind]) for column, kind in RUN_COLUMNS.items()), *details.items()])


def _is_ours(table: Any) -> bool:
    return (table.schema.metadata or {}).get(b"forgetless") == _FORMAT.encode()
