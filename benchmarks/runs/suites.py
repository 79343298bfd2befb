"""Suites: TOML files that say which strategies learn which streams. Reading one executes nothing in it."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from ...datasets.limits import MOST_EXPERIENCES
from .protocol import Budget, Evaluate, Protocol
from .specs import MOST_SEEDS, StrategySpec, StreamSpec, load_class, nearest, short_name

_FOLDER = Path(__file__).parent / "suites"

# Far beyond what anybody runs, and little to read or to plan.
_MOST_BYTES, _MOST_ITEMS, _DEEPEST = 1_000_000, 1_000, 20
# A key of many parts; tomllib takes minutes for ten thousand.
_KEY_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_KEY_PART}){{{_DEEPEST}}}")


class SuiteError(ValueError):
    """A suite does not exist or something in it is wrong; the message names the place."""


def _name(text: str) -> str:
    # Names are chosen on the command line, separated by commas.
    if not text.isprintable() or not text.strip() or "," in text:
        raise ValueError("a name must be printable and have no comma")
    return text


def unique_names(items: list[Any]) -> list[Any]:
    """Validate that no two items have the same name.

    Parameters
    ----------
    items : list of objects with a name

    Returns
    -------
    list
        The same.

    Raises
    ------
    ValueError
        If two have the same name.
    """
    twice = [name for name, count in Counter(item.name for item in items).items() if count > 1]
    if twice:
        raise ValueError(f"two have the name {twice[0]!r}; give each its own name")
    return items


Name = Annotated[str, AfterValidator(_name)]


class TomlTable(BaseModel):
    """A table in a TOML file: read only, without conversions, and without keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NetSettings(TomlTable):
    """The network that all strategies with a network share; the defaults are those of the strategies themselves."""

    hidden_units: list[PositiveInt] = [100]
    lr: PositiveFloat = 0.01
    max_epochs: PositiveInt = 20
    batch_size: PositiveInt = 32
    optimizer: str | None = None
    weight_decay: NonNegativeFloat | None = None
    norm: Literal["layer"] | None = None
    init: Literal["he", "xavier"] | None = None
    model: str | None = None
    lora_rank: PositiveInt | None = None


class Step(TomlTable):
    """A transformer before strategies, with parameters."""

    estimator: str
    params: dict[str, Any] = {}


class Strategy(TomlTable):
    """A row of the leaderboard: what :class:`~forgetless.benchmarks.StrategySpec` takes, and a name.

    `net` has settings of its own in place of the suite's, such as another optimiser. `tune` has values to try for
    parameters; what is chosen is chosen on rows held out of the training rows of the first experiences, so that no row
    decides and is reported.
    """

    estimator: str
    name: Name
    params: dict[str, Any] = {}
    net: NetSettings = NetSettings()
    preprocess: list[str | Step] = []
    tune: dict[str, list[Any]] = {}


class TuneSettings(TomlTable):
    """The budget of strategies that are tuned: how many experiences, and how many settings at most."""

    experiences: Annotated[int, Field(ge=2, le=MOST_EXPERIENCES)] = 2
    candidates: Annotated[PositiveInt, Field(le=_MOST_ITEMS)] = 10


class BudgetSettings(TomlTable):
    """What each strategy may cost, see :class:`~forgetless.benchmarks.runs.protocol.Budget`."""

    state_bytes: PositiveInt | None = None
    fit_seconds: PositiveFloat | None = None


Experiences = Annotated[PositiveInt, Field(le=MOST_EXPERIENCES)]


class _StreamTable(TomlTable):
    name: Name
    dataset: str
    random_state: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    label_noise: float | None = None
    imbalance: float | None = None
    label_delay: PositiveInt | None = None


class SplitStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.split_stream`."""

    builder: Literal["split"]
    n_experiences: Experiences = 5
    scenario: Literal["class", "task", "domain"] = "class"
    class_order: str | list[int] | list[str] | list[float] | None = None


class BlurryStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.blurry_stream`."""

    builder: Literal["blurry"]
    n_experiences: Experiences = 5
    share: float = 0.1
    class_order: str | list[int] | list[str] | list[float] | None = None


class SiteStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.site_stream`."""

    builder: Literal["site"]
    n_experiences: Experiences = 5
    concentration: float = 1.0


class PermutedStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.permuted_stream`."""

    builder: Literal["permuted"]
    n_experiences: Experiences = 5
    permute_first: bool = False
    n_rows: PositiveInt | None = None


class LabelPermutedStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.label_permuted_stream`."""

    builder: Literal["label_permuted"]
    n_experiences: Experiences = 5
    permute_first: bool = False


class RotatedStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.rotated_stream`."""

    builder: Literal["rotated"]
    n_experiences: Experiences = 5
    angles: list[float] | None = None


class ChunkedStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.chunked_stream`."""

    builder: Literal["chunked"]
    n_experiences: Experiences | None = None
    chunk_size: PositiveInt | None = None
    period: str | float | None = None
    time: str | int | None = None
    test_size: float = 0.2


class ColumnStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.column_stream`."""

    builder: Literal["column"]
    column: str | int
    scenario: Literal["domain", "task"] = "domain"
    order: str | list[int] | list[str] | list[float] = "sorted"
    test_size: float = 0.2


class DriftStream(_StreamTable):
    """A stream of :func:`~forgetless.datasets.drift_stream`, whose concepts are permutations of the features."""

    builder: Literal["drift"]
    n_experiences: Experiences = 5
    concepts: PositiveInt = 1
    drift: Literal["abrupt", "gradual", "incremental", "recurring"] = "abrupt"
    width: float = 0.2
    n_cycles: PositiveInt = 2
    test_size: float = 0.2


_STREAMS: dict[str, type[TomlTable]] = {
    "split": SplitStream,
    "blurry": BlurryStream,
    "site": SiteStream,
    "permuted": PermutedStream,
    "label_permuted": LabelPermutedStream,
    "rotated": RotatedStream,
    "chunked": ChunkedStream,
    "column": ColumnStream,
    "drift": DriftStream,
}


def _complete_strategy(value: Any) -> Any:
    """Let a text stand for a strategy without parameters, and the class for the name."""
    if isinstance(value, str):
        value = {"estimator": value}
    if isinstance(value, dict) and isinstance(value.get("estimator"), str):
        return {"name": short_name(value["estimator"]), **value}
    return value


def complete_stream(value: Any) -> Any:
    """Let a stream be a split where nothing is said."""
    return {"builder": "split", **value} if isinstance(value, dict) else value


_AnyStrategy = Annotated[Strategy, BeforeValidator(_complete_strategy)]
_AnyStream = Annotated[
    SplitStream
    | BlurryStream
    | SiteStream
    | PermutedStream
    | LabelPermutedStream
    | RotatedStream
    | ChunkedStream
    | ColumnStream
    | DriftStream,
    Field(discriminator="builder"),
    BeforeValidator(complete_stream),
]


class Suite(TomlTable):
    """What a suite file says.

    Parameters
    ----------
    name : str
    description : str, default=""
    seeds : int, default=3
        Number of seeds.
    evaluate, eval_every, scoring, diagnostics
        How models are tested, as for :class:`~forgetless.benchmarks.runs.protocol.Protocol`.
    preprocess : list of str or Step, default=[]
        Transformers before every strategy that names none of its own.
    net : NetSettings
        The network of all strategies that have one.
    tune : TuneSettings
        The budget of strategies that are tuned; it is part of what they cost.
    budget : BudgetSettings
        What each strategy may carry (``state_bytes``) and how long it may learn (``fit_seconds``): memory sizes and
        epochs are set so that it fits.
    streams : list of SplitStream, BlurryStream and their like
        One table for each builder.
    strategies : list of Strategy

    Examples
    --------
    >>> suite = load_suite("quick")
    >>> list(suite.stream_specs(["digits-class", "iris-class"]))
    ['digits-class', 'iris-class']
    """

    name: Name
    description: str = ""
    seeds: Annotated[PositiveInt, Field(le=MOST_SEEDS)] = 3
    evaluate: Evaluate = "all"
    eval_every: PositiveInt | None = None
    scoring: list[str] = []
    diagnostics: bool = False
    preprocess: list[str | Step] = []
    net: NetSettings = NetSettings()
    tune: TuneSettings = TuneSettings()
    budget: BudgetSettings = BudgetSettings()
    streams: Annotated[list[_AnyStream], Field(max_length=_MOST_ITEMS), AfterValidator(unique_names)]
    strategies: Annotated[list[_AnyStrategy], Field(max_length=_MOST_ITEMS), AfterValidator(unique_names)]

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        self.protocol()
        return self

    def protocol(self) -> Protocol:
        """Say how models are tested.

        Returns
        -------
        Protocol
        """
        budget = Budget(**self.budget.model_dump())
        return Protocol(self.evaluate, self.eval_every, self.scoring, self.diagnostics, budget)

    def strategy_specs(self, names: Sequence[str] | None = None) -> dict[str, StrategySpec]:
        """Say how to make the strategies.

        Parameters
        ----------
        names : sequence of str, default=None
            Those wanted: names in the suite, or other strategies as for
            :func:`~forgetless.benchmarks.runs.specs.load_class`, with import paths into any module. ``None``: all of
            the suite.

        Returns
        -------
        dict of str to StrategySpec

        Raises
        ------
        ValueError
            If there is no such strategy, or two would have one name.
        """
        net = self.net.model_dump(exclude_none=True)
        budget = {"n_experiences": self.tune.experiences, "n_candidates": self.tune.candidates}
        ours = {
            strategy.name: StrategySpec(
                strategy.estimator,
                strategy.params,
                net | strategy.net.model_dump(exclude_unset=True, exclude_none=True),
                steps_of(strategy.preprocess or self.preprocess),
                tune=strategy.tune,
                budget=budget if strategy.tune else {},
            )
            for strategy in self.strategies
        }
        if names is None:
            return ours
        chosen: dict[str, StrategySpec] = {}
        for name in names:
            found = _matching(name, {key: (key,) for key in ours}) or _matching(
                name, {key: (spec.estimator, short_name(spec.estimator)) for key, spec in ours.items()}
            )
            wanted = {key: ours[key] for key in found}
            if not found:
                load_class(name, any_module=True, known=ours)
                other = StrategySpec(name, net=net, preprocess=steps_of(self.preprocess), any_module=True)
                wanted = {short_name(name): other}
            for key, spec in wanted.items():
                known = chosen.setdefault(key, spec)
                if known != spec:
                    raise ValueError(
                        f"Two strategies have the name {key!r}: {known.estimator} and {spec.estimator}; give one of "
                        "them another name, or leave it out."
                    )
        return chosen

    def stream_specs(self, names: Sequence[str] | None = None, data_home: str | None = None) -> dict[str, StreamSpec]:
        """Say how to make the streams.

        Parameters
        ----------
        names : sequence of str, default=None
            Names in the suite of those wanted; ``None``: all.
        data_home : str, default=None
            Folder of downloaded data.

        Returns
        -------
        dict of str to StreamSpec

        Raises
        ------
        ValueError
            If there is no such stream.
        """
        specs = {}
        for stream in self.streams:
            params = stream.model_dump(exclude={"name", "dataset", "builder"}, exclude_none=True)
            specs[stream.name] = StreamSpec(stream.dataset, stream.builder, params, data_home)
        if names is None:
            return specs
        chosen: dict[str, StreamSpec] = {}
        for name in names:
            found = _matching(name, {key: (key,) for key in specs})
            if not found:
                raise ValueError(f"The suite {self.name!r} has no stream {name!r}{nearest(name, specs)}.")
            chosen |= {key: specs[key] for key in found}
        return chosen


def steps_of(preprocess: Iterable[str | Step]) -> tuple[str | dict[str, Any], ...]:
    """What :func:`~forgetless.benchmarks.runs.specs.transformer` takes for each step of a suite."""
    return tuple(step if isinstance(step, str) else step.model_dump() for step in preprocess)


def _matching(name: str, known: Mapping[str, Iterable[str]]) -> list[str]:
    return [key for key, texts in known.items() if name.casefold() in (text.casefold() for text in texts)]


def suite_names() -> list[str]:
    """List the suites that come with forgetless.

    Returns
    -------
    list of str

    Examples
    --------
    >>> suite_names()
    ['domains', 'drift', 'images', 'long', 'mnist', 'plasticity', 'quick', 'text']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_suite(name_or_path: str | os.PathLike[str]) -> Suite:
    """Read a suite.

    Parameters
    ----------
    name_or_path : str or path-like
        Name of a suite that comes with forgetless, or path of a TOML file.

    Returns
    -------
    Suite

    Raises
    ------
    SuiteError
        If it does not exist, cannot be read, or has a wrong key or value.

    Examples
    --------
    >>> load_suite("quick").seeds
    3
    >>> load_suite("quik")
    Traceback (most recent call last):
    ...
    forgetless.benchmarks.runs.suites.SuiteError: There is no suite 'quik' (did you mean 'quick'?), nor a file of that
    name.
    """
    name = os.fspath(name_or_path)
    path = _FOLDER / f"{name}.toml" if name in suite_names() else Path(name)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise SuiteError(f"The suite {name!r} cannot be read: it is no file.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise SuiteError(f"The suite {name!r} has more than {_MOST_BYTES:,} bytes.")
        text = content.decode()
        if _LONG_KEY.search(text):
            raise RecursionError
        table = tomllib.loads(text)
        _check_values(table)
        return Suite.model_validate(table)
    except FileNotFoundError:
        raise SuiteError(
            f"There is no suite {name!r}{nearest(name, suite_names())}, nor a file of that name."
        ) from None
    except OSError as error:
        raise SuiteError(f"The suite {name!r} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise SuiteError(f"In the suite {name!r}, {_sentence(error)}.") from None
    except SuiteError:
        raise
    except RecursionError:
        raise SuiteError(f"The suite {name!r} is nested too deeply.") from None
    except ValueError as error:
        raise SuiteError(f"The suite {name!r} is no TOML file: {error}.") from None


def _check_values(table: dict[str, Any]) -> None:
    """Refuse what could not even be shown in a message: other integers than TOML's, and tables deep in tables."""
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        if any(type(value) is int and not -(2**63) <= value < 2**63 for value in level):
            raise ValueError("an integer has more than 64 bits")
        containers = (
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        )
        level = [value for values in containers for value in values]
    if level:
        raise RecursionError


_MODELS: dict[str, type[TomlTable]] = {
    "net": NetSettings,
    "tune": TuneSettings,
    "budget": BudgetSettings,
    "strategies": Strategy,
    **_STREAMS,
}


def _sentence(error: ValidationError) -> str:
    """Say what is wrong first and foremost: an unknown key is often why another is missing.

    What may be a text or a number, and is NaN, is no text either.
    """
    found = min(error.errors(), key=lambda each: each["type"] not in ("extra_forbidden", "finite_number"))
    place = list(found["loc"])
    model: type[TomlTable] = Suite
    where = ""
    if len(place) > 1 and place[0] in ("streams", "strategies"):
        where = f" in number {int(place[1]) + 1} of {place[0]}"
        model = _MODELS[str(place[2])] if place[0] == "streams" and len(place) > 2 else Strategy
        place = place[3 if place[0] == "streams" else 2 :]
    elif len(place) > 1:
        where, model, place = f" in {place[0]}", _MODELS[str(place[0])], place[1:]
    key = repr(str(place[0])) if place else "what is"
    match found["type"]:
        case "extra_forbidden":
            return f"the key {key}{where} is unknown{nearest(str(place[0]), model.model_fields)}"
        case "missing":
            return f"the key {key}{where} is missing"
        case "union_tag_invalid":
            context = found["ctx"]
            builders = context["expected_tags"].replace(", ", " or ")
            return f"'builder'{where} is wrong: input should be {builders}, not {context['tag']!r:.60}"
        case "value_error":
            said = str(found["ctx"]["error"]).removesuffix(".")
            return f"{key}{where} is wrong: {said}" if place or where else said
        case "model_type" | "dict_type":
            return f"{key}{where} is wrong: input should be a table, not {found['input']!r:.60}"
    return f"{key}{where} is wrong: {found['msg'][0].lower()}{found['msg'][1:]}, not {found['input']!r:.60}"
