"""Claims: published numbers, with the settings that it takes to run them again.

Claims stand in the TOML files beside this module, a file for each source. Nothing in a claim is tuned here:
coefficients are those of the source, converted to the definitions of forgetless by what its program says.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from ..runs.protocol import Protocol
from ..runs.specs import StrategySpec, StreamSpec, nearest
from ..runs.suites import NetSettings, PermutedStream, SplitStream, TomlTable, complete_stream, unique_names

_FOLDER = Path(__file__).parent


class ClaimError(ValueError):
    """A claim does not exist, or something in a file of claims is wrong; the message names the place."""


# --- a file of claims --------------------------------------------------------------------------------------------


def _part(text: str) -> str:
    if not text or not text.isascii() or not text.replace("-", "").isalnum():
        raise ValueError("a name here has letters, digits and hyphens only")
    return text


Part = Annotated[str, AfterValidator(_part)]


class Net(NetSettings):
    """The network, and how long it learns: epochs, or steps in each experience."""

    max_steps: PositiveInt | None = None


class NetChanges(TomlTable):
    """Settings of the network that one method changes."""

    lr: PositiveFloat | None = None
    weight_decay: PositiveFloat | None = None
    max_epochs: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None


class ClaimStream(TomlTable):
    """What claims ask of a stream: a short name, how many runs it takes to judge a number, and how models are tested.

    Without `eval_every` they are tested after each experience; with it, so many rows at a time are predicted, then
    learned.
    """

    name: Part
    seeds: PositiveInt = 1
    eval_every: PositiveInt | None = None


class ClaimSplit(ClaimStream, SplitStream):
    """A stream of :func:`~forgetless.datasets.split_stream`."""

    announce_classes: bool = False


class ClaimPermuted(ClaimStream, PermutedStream):
    """A stream of :func:`~forgetless.datasets.permuted_stream`."""


AnyStream = Annotated[ClaimSplit | ClaimPermuted, Field(discriminator="builder"), BeforeValidator(complete_stream)]


def _range(experiences: list[int]) -> list[int]:
    if sorted(experiences) != experiences:
        raise ValueError("give the first experience, then the last")
    return experiences


Range = Annotated[list[NonNegativeInt], Field(min_length=2, max_length=2), AfterValidator(_range)]


class Number(TomlTable):
    """A published number, in percent: a mean that is to be met, or bounds.

    It is the average accuracy after the last experience, or, where rows are predicted before they are learned, the
    accuracy on those of `experiences`, the first and the last of which are given, and counted from 0; with `since` it
    is by how much that is more than on those.
    """

    stream: str
    experiences: Range | None = None
    since: Range | None = None
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
        if self.since is not None and self.experiences is None:
            raise ValueError("'since' needs 'experiences'")
        return self

    @property
    def place(self) -> str:
        """The stream, and which of its experiences."""
        if self.experiences is None:
            return self.stream
        since = "" if self.since is None else f"-since-{_span(self.since)}"
        return f"{self.stream}/{_span(self.experiences)}{since}"


def _span(experiences: list[int]) -> str:
    return "-".join(map(str, dict.fromkeys(experiences)))


class Method(TomlTable):
    """A method of a source, and its numbers."""

    name: Part
    estimator: str
    params: dict[str, Any] = {}
    net: NetChanges = NetChanges()
    preprocess: list[str] = []
    derivation: str = ""
    numbers: Annotated[list[Number], Field(min_length=1)]


class Source(TomlTable):
    """A file of claims.

    Parameters
    ----------
    title, reference, settings : str
        What the page says about it.
    tolerance : float
        How far a measured mean may be from a published one, in points, if the published spread is not larger.
    notes : dict of str to str
        What is known about numbers that are not reproduced, by the name that numbers give as their note.
    net : Net
        The network of all methods that have one.
    streams : list of ClaimSplit or ClaimPermuted
    methods : list of Method
    """

    title: str
    reference: str
    settings: str
    tolerance: PositiveFloat = 2.0
    notes: dict[str, str] = {}
    net: Net = Net()
    streams: Annotated[list[AnyStream], AfterValidator(unique_names)]
    methods: Annotated[list[Method], AfterValidator(unique_names)]

    @model_validator(mode="after")
    def _has_streams(self) -> Source:
        known = {stream.name: stream for stream in self.streams}
        for method in self.methods:
            places = [number.place for number in method.numbers]
            for number in method.numbers:
                name = number.stream
                if name not in known:
                    raise ValueError(f"{method.name} has a number for the stream {name!r}{nearest(name, known)}")
                if places.count(number.place) > 1:
                    raise ValueError(f"{method.name} has two numbers for the stream {number.place!r}")
                if (number.experiences is None) != (known[name].eval_every is None):
                    raise ValueError(
                        f"{method.name} has a number for the stream {name!r}: 'experiences' belong to a stream with "
                        "'eval_every', and only to one"
                    )
                last = max(*(number.experiences or [0]), *(number.since or [0]))
                if last >= known[name].n_experiences:
                    raise ValueError(f"{method.name} has a number for experience {last} of the stream {name!r}")
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
    >>> read_source("no.toml")
    Traceback (most recent call last):
    ...
    forgetless.benchmarks.replication.claims.ClaimError: The claims 'no.toml' cannot be read: No such file or directory.
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


_MODELS: dict[str, type[BaseModel]] = {"net": NetChanges, "methods": Method, "numbers": Number}
_STREAMS: dict[str, type[ClaimStream]] = {"split": ClaimSplit, "permuted": ClaimPermuted}


def _sentence(error: ValidationError) -> str:
    """Say what is wrong first and foremost: an unknown key is often why another is missing."""
    found = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    *place, key = found["loc"] or ("",)
    if isinstance(key, int):
        place.append(key)
    stream = _STREAMS[str(place.pop(2))] if place[:1] == ["streams"] and len(place) > 2 else None
    inner = "".join(
        f" in number {int(after) + 1} of {each}" if isinstance(after, int) else f" in {each}"
        for each, after in reversed(list(itertools.zip_longest(place, place[1:])))
        if isinstance(each, str)
    )
    container = [each for each in place if isinstance(each, str)][-1:]
    model = stream or (Net if place == ["net"] else _MODELS.get("".join(container), Source))
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
    """A published number with all settings that it takes to run it again.

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
        ``source/method/stream``, and, where the number is about some experiences, which.
    """

    key: str
    source: Source
    method: Method
    number: Number

    @property
    def name(self) -> str:
        """``source/method/stream``, and, where the number is about some experiences, which."""
        return f"{self.key}/{self.method.name}/{self.number.place}"

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
        stream = self.stream
        own = {"name", "dataset", "builder", *ClaimStream.model_fields}
        return StreamSpec(stream.dataset, stream.builder, stream.model_dump(exclude=own, exclude_none=True), data_home)

    def protocol(self) -> Protocol:
        """Say how the model is tested.

        Returns
        -------
        Protocol
        """
        every = self.stream.eval_every
        return Protocol() if every is None else Protocol("prequential", eval_every=every)

    @property
    def stream(self) -> ClaimSplit | ClaimPermuted:
        """What is learned."""
        [stream] = (each for each in self.source.streams if each.name == self.number.stream)
        return stream

    @property
    def seeds(self) -> int:
        """How many runs it takes to judge the number."""
        return self.stream.seeds

    @property
    def note(self) -> str:
        """Why the number is not reproduced, as far as that is known."""
        return self.source.notes.get(self.number.note, self.number.note)

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the measured mean must lie, in percent: within the published spread or, if larger, the tolerance."""
        number = self.number
        if number.published is None:
            low, high = number.at_least, number.at_most
            return -math.inf if low is None else low, math.inf if high is None else high
        tolerance = number.tolerance or max(self.source.tolerance, number.spread or 0.0)
        return number.published - tolerance, min(number.published + tolerance, 100.0)

    @property
    def target(self) -> str:
        """What was published, as text."""
        number = self.number
        if number.published is not None:
            return _percent(number.published) + ("" if number.spread is None else f" ± {number.spread:.1f}")
        return self.accepted

    @property
    def accepted(self) -> str:
        """The bounds, as text."""
        low, high = self.bounds
        if math.isinf(high):
            return f"≥ {_percent(low)}"
        return f"≤ {_percent(high)}" if math.isinf(low) else f"{_percent(low)}–{_percent(high)}"


def _percent(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def load_claims(folder: str | os.PathLike[str] = _FOLDER) -> dict[str, Claim]:
    """Read all claims.

    Parameters
    ----------
    folder : str or path-like
        Folder of TOML files; by default the claims that come with forgetless.

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
        Each the name of a claim or what it begins with, up to a slash, in any case; none: all claims.

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
    starts = {name: set(itertools.accumulate(name.split("/"), "{}/{}".format)) for name in claims}
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
