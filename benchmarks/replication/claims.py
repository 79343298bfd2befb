"""The replication ledger: numbers that others published, run again with their settings and compared.

A published number is a claim: in a TOML file of the folder ``claims``, a file for each source. Nothing in a claim is
tuned here: coefficients are those of the source, brought to the definitions of forgetless by what its program says.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from ..runs.specs import StrategySpec, StreamSpec, nearest
from ..runs.suites import NetSettings, SplitStream, _Table, _unique

# Everything heavy is imported where it is used, so that the list of claims is there at once.
if TYPE_CHECKING:
    from ..runs.cell import Cell
    from ..store import Store

_FOLDER = Path(__file__).parent / "claims"


class ClaimError(ValueError):
    """A claim does not exist, or something in a file of claims is wrong; the message names the place."""


# --- what a file says --------------------------------------------------------------------------------------------


def _part(text: str) -> str:
    if not text or not text.isascii() or not text.replace("-", "").isalnum():
        raise ValueError("a name here has letters, digits and hyphens only")
    return text


Part = Annotated[str, AfterValidator(_part)]


class Net(NetSettings):
    """The network, and how long it learns: epochs, or steps in each experience."""

    max_steps: PositiveInt | None = None


class NetChanges(_Table):
    """In what the network of one method differs."""

    lr: PositiveFloat | None = None
    max_epochs: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None


class ClaimStream(SplitStream):
    """A stream of :func:`~forgetless.datasets.split_stream`."""

    name: Part
    builder: Literal["split"] = "split"
    announce_classes: bool = False


class Number(_Table):
    """A published number, in percent: a mean that is to be met, or bounds."""

    stream: str
    published: float | None = None
    spread: float | None = None
    tolerance: PositiveFloat | None = None
    at_least: float | None = None
    at_most: float | None = None
    params: dict[str, Any] = {}
    seconds: PositiveFloat
    note: str = ""

    @model_validator(mode="after")
    def _is_mean_or_bounds(self) -> Number:
        bounds = (self.at_least, self.at_most) != (None, None)
        if bounds == (self.published is not None):
            raise ValueError("give either 'published', or 'at_least' and 'at_most' or one of them")
        if bounds and (self.spread is not None or self.tolerance is not None):
            raise ValueError("'spread' and 'tolerance' belong to 'published', not to 'at_least' and 'at_most'")
        return self


class Method(_Table):
    """A method of a source, and its numbers."""

    name: Part
    estimator: str
    params: dict[str, Any] = {}
    net: NetChanges = NetChanges()
    preprocess: list[str] = []
    derivation: str = ""
    numbers: Annotated[list[Number], Field(min_length=1)]


class Source(_Table):
    """A file of claims.

    Parameters
    ----------
    title, reference, settings : str
        What the page says about it.
    tolerance : float
        How far a measured mean may be from a published one, in points, if the published spread is not larger.
    notes : dict of str to str
        What was found out about numbers that do not come out, by a name that numbers give as their note.
    net : Net
        The network of all methods that have one.
    streams : list of ClaimStream
    methods : list of Method
    """

    title: str
    reference: str
    settings: str
    tolerance: PositiveFloat = 2.0
    notes: dict[str, str] = {}
    net: Net = Net()
    streams: Annotated[list[ClaimStream], AfterValidator(_unique)]
    methods: Annotated[list[Method], AfterValidator(_unique)]

    @model_validator(mode="after")
    def _has_streams(self) -> Source:
        known = [stream.name for stream in self.streams]
        for method in self.methods:
            streams = [number.stream for number in method.numbers]
            for stream in streams:
                if stream not in known:
                    raise ValueError(f"{method.name} has a number for the stream {stream!r}{nearest(stream, known)}")
                if streams.count(stream) > 1:
                    raise ValueError(f"{method.name} has two numbers for the stream {stream!r}")
        return self


def read_source(path: str | os.PathLike[str]) -> Source:
    """Read a file of claims.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Source

    Raises
    ------
    ClaimError
        If it cannot be read, or has a wrong key or value.

    Examples
    --------
    >>> read_source("no-such-file.toml")
    Traceback (most recent call last):
    ...
    forgetless.benchmarks.replication.claims.ClaimError: The claims 'no-such-file.toml' cannot be read: No such file or directory.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return Source.model_validate(tomllib.load(file))
    except OSError as error:
        raise ClaimError(f"The claims {name!r} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimError(f"The claims {name!r} are no TOML file: {error}.") from None
    except ValidationError as error:
        raise ClaimError(f"In the claims {name!r}, {_sentence(error)}.") from None


_MODELS: dict[str, type[BaseModel]] = {"net": NetChanges, "streams": ClaimStream, "methods": Method, "numbers": Number}


def _sentence(error: ValidationError) -> str:
    """Say what is wrong first and foremost: an unknown key is often why another is missing."""
    found = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    *place, key = found["loc"] or ("",)
    if isinstance(key, int):
        place.append(key)
    inner = "".join(
        f" in number {int(after) + 1} of {each}" if isinstance(after, int) else f" in {each}"
        for each, after in reversed(list(itertools.zip_longest(place, place[1:])))
        if isinstance(each, str)
    )
    container = [each for each in place if isinstance(each, str)][-1:]
    model = Net if place == ["net"] else _MODELS.get("".join(container), Source)
    match found["type"]:
        case "extra_forbidden":
            return f"the key {key!r}{inner} is unknown{nearest(str(key), model.model_fields)}"
        case "missing":
            return f"the key {key!r}{inner} is missing"
    what = f"{key!r}{inner}" if isinstance(key, str) and key else f"what is{inner or ' there'}"
    if found["type"] == "value_error":
        return f"{what} is wrong: {found['ctx']['error']}"
    return f"{what} is wrong: {found['msg'][0].lower()}{found['msg'][1:]}, not {found['input']!r:.60}"


# --- claims ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published number with all that it takes to run it again.

    Parameters
    ----------
    key : str
        Short name of its source.
    source : Source
    method : Method
    number : Number

    Attributes
    ----------
    name : str
        ``source/method/stream``.
    """

    key: str
    source: Source
    method: Method
    number: Number

    @property
    def name(self) -> str:
        """``source/method/stream``."""
        return f"{self.key}/{self.method.name}/{self.number.stream}"

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the strategy."""
        return {**self.method.params, **self.number.params}

    def strategy_spec(self) -> StrategySpec:
        """Say how to make the strategy.

        Returns
        -------
        StrategySpec
        """
        net = {**self.source.net.model_dump(exclude_none=True), **self.method.net.model_dump(exclude_none=True)}
        return StrategySpec(self.method.estimator, self.params, net, tuple(self.method.preprocess))

    def stream_spec(self, data_home: str | None = None) -> StreamSpec:
        """Say how to make the stream.

        Parameters
        ----------
        data_home : str, default=None
            Folder of downloaded data.

        Returns
        -------
        StreamSpec
        """
        [stream] = (each for each in self.source.streams if each.name == self.number.stream)
        params = stream.model_dump(exclude={"name", "dataset", "builder"}, exclude_none=True)
        return StreamSpec(stream.dataset, stream.builder, params, data_home)

    @property
    def note(self) -> str:
        """Why the number does not come out, as far as that is known."""
        return self.source.notes.get(self.number.note, self.number.note)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which percents the mean must lie: the published spread around it, or the tolerance if larger."""
        number = self.number
        if number.published is None:
            low, high = number.at_least, number.at_most
            return -math.inf if low is None else low, math.inf if high is None else high
        tolerance = number.tolerance or max(self.source.tolerance, number.spread or 0.0)
        return number.published - tolerance, min(number.published + tolerance, 100.0)

    @property
    def target(self) -> str:
        """What was published, for people."""
        number = self.number
        if number.published is not None:
            return f"{number.published:.1f}" + ("" if number.spread is None else f" ± {number.spread:.1f}")
        return self.accepted

    @property
    def accepted(self) -> str:
        """The bounds, for people."""
        low, high = self.bounds
        if math.isinf(high):
            return f"≥ {low:.1f}"
        return f"≤ {high:.1f}" if math.isinf(low) else f"{low:.1f}–{high:.1f}"


def load_claims(folder: str | os.PathLike[str] = _FOLDER) -> dict[str, Claim]:
    """Read all claims.

    Parameters
    ----------
    folder : str or path-like
        Folder of TOML files; by default that of forgetless.

    Returns
    -------
    dict of str to Claim
        By name.

    Raises
    ------
    ClaimError
        If something in a file is wrong.

    Examples
    --------
    >>> load_claims()["hsu2018/EWC/task"].target
    '97.7 ± 0.8'
    """
    claims = (
        Claim(path.stem, source, method, number)
        for path in sorted(Path(folder).glob("*.toml"))
        for source in [read_source(path)]
        for method in source.methods
        for number in method.numbers
    )
    return {claim.name: claim for claim in claims}


def choose(claims: Mapping[str, Claim], names: Sequence[str]) -> list[Claim]:
    """Find claims by name.

    Parameters
    ----------
    claims : mapping of str to Claim
    names : sequence of str
        Each ``source``, ``source/method`` or ``source/method/stream``, in any case; none: all claims.

    Returns
    -------
    list of Claim
        In the order of `claims`.

    Raises
    ------
    ClaimError
        If a name stands for nothing.

    Examples
    --------
    >>> [claim.name for claim in choose(load_claims(), ["hsu2018/ewc"])]
    ['hsu2018/EWC/task', 'hsu2018/EWC/domain', 'hsu2018/EWC/class']
    """
    starts = {name: {"/".join(name.split("/")[:n]) for n in (1, 2, 3)} for name in claims}
    found = set()
    for wanted in names:
        matching = {name for name in claims if wanted.casefold() in map(str.casefold, starts[name])}
        if not matching:
            raise ClaimError(f"There is no claim {wanted!r}{_nearest_claim(wanted, set().union(*starts.values()))}.")
        found |= matching
    return [claim for name, claim in claims.items() if name in found or not names]


def _nearest_claim(wanted: str, known: set[str]) -> str:
    """Say which was probably meant; all claims would be too many to name, so else only the sources."""
    guess = nearest(wanted, known)
    return guess if "did you mean" in guess else nearest(wanted, {name.partition("/")[0] for name in known})


def plan(claims: Iterable[Claim], seeds: int, data_home: str | None = None) -> list[Cell]:
    """List the cells that claims need, each once, ordered by seed: all that a stop leaves is a table with fewer seeds.

    Parameters
    ----------
    claims, seeds, data_home
        As for :func:`cells_of`.

    Returns
    -------
    list of Cell
    """
    cells = itertools.chain.from_iterable(cells_of(claims, seeds, data_home).values())
    return sorted({cell.key: cell for cell in cells}.values(), key=lambda cell: cell.seed)


def cells_of(
    claims: Iterable[Claim], seeds: int | Sequence[int], data_home: str | None = None
) -> dict[str, list[Cell]]:
    """List the cells of claims; data are loaded, nothing is learned.

    Parameters
    ----------
    claims : iterable of Claim
    seeds : int or sequence of int
        Seeds, or how many.
    data_home : str, default=None
        Folder of downloaded data.

    Returns
    -------
    dict of str to list of Cell
        By name of the claim; a cell for each seed.

    Raises
    ------
    ValueError
        If a strategy does not exist or has no such parameter.
    OSError
        If data are missing.
    """
    from ..runs.runner import plan_cells

    return {
        claim.name: plan_cells(
            {f"{claim.key}/{claim.method.name}": claim.strategy_spec()},
            {f"{claim.key}/{claim.number.stream}": claim.stream_spec(data_home)},
            seeds=seeds,
            device="cpu",
        )
        for claim in claims
    }


# --- outcomes ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out of a claim; accuracies in percent.

    Parameters
    ----------
    claim : Claim
    n_seeds : int
        Runs that finished.
    mean, low, high : float
        Mean over them and the ends of its 95 % interval (Student's t); NaN where unknown.
    error : str, default=""
        Of a run that failed.
    versions : str, default=""
        Of Python and the packages.
    """

    claim: Claim
    n_seeds: int = 0
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    error: str = ""
    versions: str = ""

    @property
    def verdict(self) -> str:
        """One of "pass", "fail", "error" (a run failed) and "not run"."""
        if self.error:
            return "error"
        if not self.n_seeds:
            return "not run"
        low, high = self.claim.bounds
        return "pass" if low <= self.mean <= high else "fail"

    @property
    def holds(self) -> bool:
        """Whether it passed, or why it does not is known and written down."""
        return self.verdict == "pass" or (self.verdict == "fail" and bool(self.claim.note))

    @property
    def measured(self) -> str:
        """The mean with the half-width of its interval."""
        from ...reports.formats import accuracy

        return accuracy(self.mean / 100, self.low / 100, self.high / 100)


def outcomes(claims: Iterable[Claim], store: Store, data_home: str | None = None) -> list[Outcome]:
    """Compare with what is in a store, all seeds of it.

    Parameters
    ----------
    claims : iterable of Claim
    store : Store
    data_home : str, default=None
        Folder of downloaded data: they are part of what identifies a run.

    Returns
    -------
    list of Outcome
    """
    from ...reports import cell_metrics
    from ...reports.tables import student_interval

    claims = list(claims)
    seeds = sorted(set(store.results().runs["seed"].tolist())) or [0]
    keys = {name: [cell.key for cell in cells] for name, cells in cells_of(claims, seeds, data_home).items()}
    results = store.results(set(itertools.chain.from_iterable(keys.values())))
    runs = results.runs.assign(accuracy=cell_metrics(results)["average_accuracy"]).set_index("cell")
    found = []
    for claim in claims:
        rows = runs.loc[runs.index.intersection(keys[claim.name])]
        done = rows[rows["status"] == "ok"]
        outcome = Outcome(claim, len(done), error="; ".join(rows["error"].dropna().unique()))
        if len(done):
            mean, _, low, high = (float(value) for value in student_interval(100 * done["accuracy"].to_numpy()))
            outcome = dataclasses.replace(outcome, mean=mean, low=low, high=high, versions=done["versions"].max())
        found.append(outcome)
    return found


# --- for people --------------------------------------------------------------------------------------------------


def to_list(claims: Iterable[Claim]) -> str:
    """List claims with what was published and the estimated cost of a run.

    Parameters
    ----------
    claims : iterable of Claim

    Returns
    -------
    str

    Examples
    --------
    >>> print(to_list(choose(load_claims(), ["closed_form/ncm"])))
    claim                  published  seconds a run
    closed_form/NCM/class  82.0                   1
    """
    return _columns(
        ["claim", "published", "seconds a run"],
        [[claim.name, claim.target, f"{claim.number.seconds:.0f}"] for claim in claims],
    )


def to_text(found: Iterable[Outcome]) -> str:
    """Put outcomes into a table for the terminal.

    Parameters
    ----------
    found : iterable of Outcome

    Returns
    -------
    str
    """
    rows = [[each.claim.name, each.claim.target, each.measured, str(each.n_seeds), _verdict(each)] for each in found]
    return _columns(["claim", "published", "measured", "seeds", "verdict"], rows)


def _verdict(found: Outcome) -> str:
    if found.error:
        return f"error: {found.error}"
    return "fail, explained" if found.verdict == "fail" and found.holds else found.verdict


def _columns(head: list[str], rows: list[list[str]]) -> str:
    """Align columns: numbers alone in a column to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = [all(text.isdecimal() for text in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{text:{'>' if r else '<'}{width}}" for text, width, r in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [head, *rows]
    )


_INTRODUCTION = """
Published numbers, run again by `forgetless verify`, which also writes this page: nothing here is written by hand but
what the claims in `benchmarks/replication/claims` say. Numbers that do not come out stay.

Numbers are the average accuracy over all experiences after the last one, in percent. *Published* is a mean, with its
standard deviation over runs where the source has one, or the bounds that we promise ourselves. *Accepted* is what
passes: those bounds, or what is no further from the published mean than the tolerance of the source (2 points, say) or,
if that is larger, the published standard deviation. *Measured* is a mean over seeds with the half-width of its 95 %
interval (Student's t; wide for few seeds); it is the mean that is judged. No coefficient was tuned here: they are those
of the source, brought to our definitions, as *Settings* says.
"""


def to_page(found: Sequence[Outcome]) -> str:
    """Write the ledger as a page in Markdown.

    Parameters
    ----------
    found : sequence of Outcome
        Of all claims.

    Returns
    -------
    str
    """
    counts = {
        verdict: sum(each.verdict == verdict for each in found) for verdict in ("pass", "fail", "error", "not run")
    }
    versions = max((each.versions for each in found), default="")
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    lines = ["# Replication", "", *_INTRODUCTION.strip().splitlines(), "", f"**{tally}.**"]
    if versions:
        named = ", ".join(f"{name} {version}" for name, version in json.loads(versions).items())
        lines += ["", f"Measured on the CPU with {named}."]
    for _, group in itertools.groupby(found, key=lambda each: each.claim.key):
        lines += ["", *_section(list(group))]
    return "\n".join(lines) + "\n"


def _section(found: list[Outcome]) -> list[str]:
    source = found[0].claim.source
    lines = [
        *(f"## {source.title}", "", source.reference.strip(), "", source.settings.strip(), ""),
        "| method | stream | published | accepted | measured | seeds | verdict |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    notes = list(dict.fromkeys(each.claim.note for each in found if each.claim.note))
    for each in found:
        claim, note = each.claim, each.claim.note
        verdict = each.verdict if each.verdict in ("pass", "not run") else f"**{each.verdict}**"
        cells = [claim.method.name, claim.number.stream, claim.target, claim.accepted]
        cells += [each.measured if each.n_seeds else "–", str(each.n_seeds)]
        cells += [f"{verdict} ({notes.index(note) + 1})" if note else verdict]
        lines.append(f"| {' | '.join(cells)} |")
    for number, note in enumerate(notes, 1):
        lines += ["", f"({number}) {' '.join(note.split())}"]
    lines += ["", "Settings:", ""]
    for _, group in itertools.groupby(found, key=lambda each: each.claim.method.name):
        lines.append(_settings([each.claim for each in group]))
    return lines


def _settings(claims: list[Claim]) -> str:
    """One item: the estimator with shared parameters, those that differ, and where they come from."""
    method = claims[0].method
    net = method.net.model_dump(exclude_none=True)
    shared = {**method.params, **{f"net__{name}": value for name, value in net.items()}}
    text = f"- **{method.name}**: `{method.estimator}({_call(shared)})`"
    text += "".join(f"; {c.number.stream}: `{_call(c.number.params)}`" for c in claims if c.number.params)
    if method.preprocess:
        text += f", after {', '.join(f'`{path}`' for path in method.preprocess)}"
    return f"{text}. {' '.join(method.derivation.split())}".rstrip()


def _call(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())
