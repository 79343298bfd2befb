"""Names of strategies and streams that tell runs apart: where one name has several definitions, what differs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from .results import texts


def tell_apart(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Make names unambiguous: to a name with several definitions, add the values in which they differ.

    Parameters
    ----------
    runs : DataFrame
        One row per cell.

    Returns
    -------
    runs : DataFrame
        Of what has the same names all the same, those that began last.
    shared : list of str
        Names of strategies and streams of which others are left out.

    Examples
    --------
    >>> columns = ["strategy", "stream", "seed", "params", "device", "stream_definition", "protocol", "started"]
    >>> rows = [["EWC", "toy", 0, '{"ewc_lambda": 1}', "cpu", "{}", "{}", ""]]
    >>> rows += [["EWC", "toy", 0, '{"ewc_lambda": 9}', "cpu", "{}", "{}", ""]]
    >>> told, _ = tell_apart(pd.DataFrame(rows, columns=columns))
    >>> told["strategy"].tolist()
    ['EWC (ewc_lambda=1)', 'EWC (ewc_lambda=9)']
    """
    streams, unclear = runs["stream"], pd.Series(True, runs.index)
    for drawn in _DRAWN:
        some = runs[unclear]
        read = functools.partial(_of_stream, drawn)
        labels = _labels(streams[unclear], read, some["stream_definition"], some["protocol"])
        streams = labels if unclear.all() else streams.mask(unclear, labels)
        several = runs.groupby([streams, "seed"])["stream_definition"].transform("nunique") > 1
        unclear = streams.isin(streams[several])
        if not unclear.any():
            break
    strategies = _labels(runs["strategy"], _of_strategy, runs["params"], runs["device"])
    return _newest(runs.assign(strategy=strategies, stream=streams))


def _newest(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Of what has the same names all the same (an older protocol of the runner did it), keep what began last.

    Not seed by seed, for seeds of two definitions make no mean: what began before the newest is gone as a whole.
    """
    row, cell = ["strategy", "stream"], ["strategy", "stream", "seed"]
    runs = runs.sort_values("started")
    twice = runs[runs.duplicated(cell, keep=False)]
    if twice.empty:
        return runs, []
    since = twice.drop_duplicates(cell, keep="last").groupby(row)["started"].min().rename("since")
    began = runs.join(since, on=row)["since"]
    kept = runs[began.isna() | (runs["started"] >= began)].drop_duplicates(cell, keep="last")
    return kept, [" on ".join(names) for names in since.index]


def _of_strategy(params: str, device: str) -> dict[str, Any]:
    """Return what defines a strategy; what a search chose differs between seeds by design."""
    found = {name: value for name, value in json.loads(params).items() if name != "best_params_"}
    return found | {"device": device}


# What differs between the seeds of a stream by design, unless a seed has several of them.
_DRAWN: tuple[Callable[[str, Any], bool], ...] = (
    lambda key, value: key == "random_state" or isinstance(value, list),
    lambda key, _: key == "random_state",
    lambda *_: False,
)


def _of_stream(drawn: Callable[[str, Any], bool], definition: str, protocol: str) -> dict[str, Any]:
    """Return what defines a stream, without what is drawn for each seed."""

    def fixed(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: fixed(value) if isinstance(value, dict) else value
            for key, value in found.items()
            if not drawn(key, value)
        }

    found: dict[str, Any] = json.loads(protocol)
    return fixed(json.loads(definition)) | found


def _labels(names: pd.Series, read: Callable[..., dict[str, Any]], *columns: pd.Series) -> pd.Series:
    """Name what JSON objects define; hundreds of cells have the same.

    `read` makes of the values of a row what defines its name.
    """
    named = list(zip(names, zip(*columns, strict=True), strict=True))
    labels = dict.fromkeys(named, "")
    known: dict[str, dict[tuple[str, ...], dict[str, str]]] = defaultdict(dict)
    for name, definition in labels:
        known[name][definition] = {key: json.dumps(value) for key, value in _values(read(*definition))}
    for name, definitions in known.items():
        classes = _differing("class", definitions.values())
        for of_class in {values.get("class"): None for values in definitions.values()}:  # others differ in all
            alike = {key: values for key, values in definitions.items() if values.get("class") == of_class}
            shown = _differences(list(alike.values()))
            for definition, what in zip(alike, shown, strict=True):
                what = ([f"class={classes[of_class]}"] if classes and of_class else []) + what
                labels[name, definition] = f"{name} ({', '.join(what)})" if what else name
    return pd.Series(texts([labels[each] for each in named]), names.index)


def _differences(definitions: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Write for each definition the values in which it differs from the others."""
    keys = dict.fromkeys(key for values in definitions for key in values)
    common = [key for key in keys if all(key in values for values in definitions)]
    found: list[list[str]] = []
    for some in (common, keys):  # what some lack is only of use where the rest does not do
        written = {key: shown for key in some if (shown := _differing(key, definitions))}
        found = [
            [f"{key}={shown[values[key]]}" for key, shown in written.items() if key in values] for values in definitions
        ]
        if len(set(map(tuple, found))) == len(definitions):
            break
    return found


def _differing(key: str, definitions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Write the values of a key, as short as tells them apart; nothing if they are all the same."""
    found = {values.get(key) for values in definitions}
    if len(found) == 1:
        return {}
    values = {text: json.loads(text) for text in found if text is not None}
    ways: tuple[Callable[[Any], str], ...] = (
        _short,
        lambda value: _plain(value)[:40],
        lambda value: f"{_short(value)}#{hashlib.sha256(json.dumps(value).encode()).hexdigest()[:6]}",
    )
    for write in ways:
        written = {text: write(value) for text, value in values.items()}
        if len(set(written.values())) == len(written):
            break
    return written


def _short(value: Any) -> str:
    return _plain(value).rpartition(".")[2] if isinstance(value, dict) else _plain(value)[:12]


def _plain(value: Any) -> str:
    return str(value["import"] if isinstance(value, dict) else value)


def _is_step(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Walk through the single values of a definition; lists are values, but for those of steps with names."""
    if isinstance(value, list) and value and all(map(_is_step, value)):
        value = dict(value)
    if not isinstance(value, dict) or "import" in value:
        yield name, value
        return
    for key, each in value.items():
        inner = name if key in ("params", "steps") else f"{name}.{key}".lstrip(".")
        yield from _values({"import": each} if key == "class" else each, inner)
