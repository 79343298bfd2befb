"""Strategies and streams by name: small descriptions from which each job makes its own objects."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...datasets.streams import Stream

ENTRY_POINTS = "forgetless.strategies"

BUILDERS = ("split", "blurry", "site", "permuted", "label_permuted", "rotated", "chunked", "column", "drift")
"""What ``..._stream`` functions build from one data set."""

ALTERATIONS = {"label_noise": "with_label_noise", "imbalance": "with_imbalance", "label_delay": "with_label_delay"}
"""Options of every stream, and the functions that alter it."""

# Of each cell, something is kept while a run is planned.
MOST_SEEDS = 10_000
# Seconds that a cell may take, unless it is told, and at most.
TIME_LIMIT, LONGEST_TIME_LIMIT = 86_400.0, 1e6


def nearest(name: str, names: Collection[str]) -> str:
    """Suggest the name that was probably meant.

    Parameters
    ----------
    name : str
        The unknown name.
    names : collection of str
        The known ones.

    Returns
    -------
    str
        ``" (did you mean ...?)"``, or the known names if none is near.

    Examples
    --------
    >>> nearest("quik", ["mnist", "quick"])
    " (did you mean 'quick'?)"
    """
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[near[0]]!r}?)" if near else f" (known: {', '.join(sorted(names))})"


def strategy_names() -> list[str]:
    """List the strategies that can be named: ours, and those that installed packages declare.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "EWCClassifier" in strategy_names()
    True
    """
    from ...estimators.registry import strategy_modules

    return [*strategy_modules(), *sorted(importlib.metadata.entry_points(group=ENTRY_POINTS).names)]


def short_name(estimator: str) -> str:
    """Name a strategy by its class: our classifiers without ``Classifier``, all others by the whole name.

    Parameters
    ----------
    estimator : str
        As for :func:`load_class`.

    Returns
    -------
    str

    Examples
    --------
    >>> short_name("EWCClassifier"), short_name("sklearn.linear_model.SGDClassifier")
    ('EWC', 'SGDClassifier')
    """
    return estimator.rpartition(".")[2] if "." in estimator else estimator.removesuffix("Classifier")


# Not strategies by themselves, but around one: params has its name as ``estimator``.
_WRAPPERS = ("DriftBoundaries",)


def load_class(name: str, *, any_module: bool = False, known: Collection[str] = ()) -> type:
    """Find a class by name.

    Parameters
    ----------
    name : str
        One of ours (``"EWCClassifier"`` or ``"EWC"``), a name that an installed package declares in the entry point
        group ``forgetless.strategies``, or an import path in scikit-learn (``"sklearn.naive_bayes.GaussianNB"``).
    any_module : bool, default=False
        Accept an import path into any module; what is installed comes first, then the current folder, which stays on
        ``sys.path`` for the processes that run cells. Importing runs the module, so only a user may ask for it, never
        a file.
    known : collection of str, default=()
        Further names that may have been meant, for the message.

    Returns
    -------
    class

    Raises
    ------
    ValueError
        If there is no such class, its module cannot be imported, or the path leads out of scikit-learn.

    Examples
    --------
    >>> load_class("sklearn.naive_bayes.GaussianNB").__name__
    'GaussianNB'
    """
    from ... import estimators
    from ...estimators.registry import strategy_modules

    for candidate in (name, f"{name}Classifier"):
        if candidate in strategy_modules() or candidate in _WRAPPERS:
            ours: type = getattr(estimators, candidate)
            return ours
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        return _estimator_class(name, entry_point.load)
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        names = {*known, *map(short_name, strategy_names())}
        raise ValueError(f"There is no strategy {name!r}{nearest(short_name(name), names)}.")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name!r} is no import path; give package.module.Class, without a dot in front.")
    if not (any_module or module_name.split(".")[0] == "sklearn"):
        raise ValueError(
            f"{name!r} is neither a strategy of forgetless nor in scikit-learn; a suite file may not import anything "
            "else: name it with --strategies, or declare it in the entry point group 'forgetless.strategies'."
        )
    if any_module and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return _estimator_class(name, lambda: getattr(importlib.import_module(module_name), class_name))


def _estimator_class(name: str, load: Callable[[], Any]) -> type:
    """Load what should be the class of an estimator; what a module does when it is imported is not our fault."""
    try:
        found = load()
    except (Exception, SystemExit) as error:
        looked = f"; modules are looked for in what is installed and in the current folder, {os.getcwd()}"
        raise ValueError(
            f"{name!r} cannot be imported: {_told(error)}{looked * isinstance(error, ModuleNotFoundError)}."
        ) from None
    if not (isinstance(found, type) and hasattr(found, "get_params")):
        raise ValueError(f"{name!r} is no scikit-learn estimator.")
    if inspect.isabstract(found):
        raise ValueError(f"{name!r} is abstract; name a class derived from it.")
    return found


def _made(name: str, cls: type, params: Mapping[str, Any]) -> Any:
    """An object of a class, which may be anybody's; one around another estimator gets that, if it is named."""
    inner = params.get("estimator")
    options = {}
    if isinstance(inner, str) and "estimator" in inspect.signature(cls).parameters:
        options["estimator"] = _made(inner, load_class(inner), {})
    try:
        estimator = cls(**options)
        estimator.get_params()
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{name!r} cannot be made without arguments, as benchmarks make it ({_told(error)}); give all of its "
            "parameters defaults, and __init__ nothing to do but to keep them."
        ) from None
    return estimator


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")


@dataclasses.dataclass(frozen=True)
class StrategySpec:
    """A strategy by name and parameters.

    Parameters
    ----------
    estimator : str
        As for :func:`load_class`.
    params : mapping, default={}
        Parameters for the estimator, nested ones too (``net__lr``). An ``estimator`` in them is an import path in
        scikit-learn.
    net : mapping, default={}
        Settings of the network that strategies with a parameter ``net`` get: ``hidden_units``, ``norm`` ("layer"),
        ``init`` ("he", "xavier"), ``optimizer`` (as for :func:`optimizer_class`), ``weight_decay`` (the optimiser's),
        and parameters of :class:`~forgetless.estimators.ContinualNet` (``lr``, ``max_epochs``, ``batch_size``). With
        ``model`` it is a :class:`~forgetless.estimators.TextNet` of this name instead of an MLP, with ``lora_rank`` one
        with adapters.
    preprocess : sequence of str or mapping, default=()
        Import paths of transformers in scikit-learn, ``"TableEncoder"``, ``"FrozenFeatures"`` or ``"Tokens"``, or
        mappings of such a name as ``estimator`` and of its ``params``; they and the estimator become an incremental
        pipeline.
    any_module : bool, default=False
        Whether ``estimator`` may be an import path into any module.
    tune : mapping of str to list, default={}
        Values to try for parameters, on the first experiences of each stream: the estimator becomes a
        :class:`~forgetless.estimators.ContinualSearchCV`, whose cost is counted as fitting.
    budget : mapping, default={}
        Its ``n_experiences`` and ``n_candidates``.

    Examples
    --------
    >>> StrategySpec("sklearn.linear_model.SGDClassifier", {"alpha": 0.1}).build()
    SGDClassifier(alpha=0.1)
    """

    estimator: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    net: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preprocess: tuple[str | Mapping[str, Any], ...] = ()
    any_module: bool = False
    tune: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    budget: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def build(self) -> Any:
        """Make the unfitted estimator.

        Returns
        -------
        estimator

        Raises
        ------
        ValueError
            If a class or a parameter does not exist, or the class cannot learn incrementally.
        """
        cls = load_class(self.estimator, any_module=self.any_module)
        if not (hasattr(cls, "partial_fit") and hasattr(cls, "predict")):
            raise ValueError(f"{self.estimator!r} cannot learn incrementally: it needs partial_fit and predict.")
        estimator = _made(self.estimator, cls, self.params)
        names = estimator.get_params()
        for name in ("net", "estimator__net"):
            if name in names and self.net:
                estimator.set_params(**{name: _build_net(self.net, estimator)})
        _with_params(self.estimator, estimator, self.params, self.tune)
        if self.tune:
            estimator = self._tuned(estimator)
        if not self.preprocess:
            return estimator
        from ...estimators import make_incremental_pipeline

        return make_incremental_pipeline(*map(transformer, self.preprocess), estimator)

    def _tuned(self, estimator: Any) -> Any:
        from sklearn.base import clone

        from ...estimators import ContinualSearchCV
        from ...estimators.parameters import wrong_parameters

        for name, values in self.tune.items():
            if not values:
                raise ValueError(f"tune gives {name!r} no value to try.")
            for value in values:
                if wrong := wrong_parameters(clone(estimator).set_params(**{name: value})):
                    raise ValueError(f"tune tries what {self.estimator} does not take: {wrong[0]}")
        return ContinualSearchCV(estimator, dict(self.tune)).set_params(**self.budget)


_TRANSFORMERS = ("FrozenFeatures", "TableEncoder", "Tokens")


def transformer(step: str | Mapping[str, Any]) -> Any:
    """Make a transformer of a pipeline.

    Parameters
    ----------
    step : str or mapping
        Import path in scikit-learn, ``"TableEncoder"``, ``"FrozenFeatures"`` or ``"Tokens"``; or a mapping of such a
        name as ``estimator`` and of its ``params``.

    Returns
    -------
    transformer

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> transformer("sklearn.preprocessing.StandardScaler")
    StandardScaler()
    """
    from ... import estimators

    path, params = (step, {}) if isinstance(step, str) else (step["estimator"], step["params"])
    cls = getattr(estimators, path) if path in _TRANSFORMERS else load_class(path, known=_TRANSFORMERS)
    if not hasattr(cls, "transform"):
        raise ValueError(f"{path!r} in preprocess is no transformer.")
    return _with_params(path, _made(path, cls, params), params)


def _with_params(name: str, estimator: Any, params: Mapping[str, Any], others: Collection[str] = ()) -> Any:
    """The estimator with parameters of these names; `others` are names that it must have, too."""
    names = estimator.get_params(deep=True)
    if isinstance(params.get("estimator"), str) and "estimator" in names:  # it has been made
        params = {param: value for param, value in params.items() if param != "estimator"}
    for param in (*params, *others):
        if param not in names:
            raise ValueError(f"{name} has no parameter {param!r}{nearest(param, names)}.")
    try:
        return estimator.set_params(**params)
    except Exception as error:
        raise ValueError(f"{name} does not take its parameters: {_told(error)}.") from None


def optimizer_class(name: str) -> Any:
    """Find an optimiser by the name of its class.

    Parameters
    ----------
    name : str
        One of ``torch.optim``, such as ``"SGD"``, or ``"MuonAdamW"``.

    Returns
    -------
    class

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> optimizer_class("SGD")
    <class 'torch.optim.sgd.SGD'>
    """
    import torch

    from ...estimators import MuonAdamW

    optimizer = torch.optim.Optimizer
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, optimizer) and value is not optimizer
    } | {"MuonAdamW": MuonAdamW}
    if name not in known:
        raise ValueError(f"There is no optimizer {name!r}{nearest(name, known)}.")
    return known[name]


_NET_PARAMETERS = {
    "model": "module__model",
    "lora_rank": "module__lora_rank",
    "hidden_units": "module__hidden_units",
    "norm": "module__norm",
    "init": "module__init",
    "weight_decay": "optimizer__weight_decay",
}


def _build_net(settings: Mapping[str, Any], estimator: Any) -> Any:
    from sklearn.base import is_regressor

    from ...estimators import MLP, ContinualNet, ContinualRegressionNet, TextNet

    if "model" in settings:
        settings = {name: value for name, value in settings.items() if name not in ("hidden_units", "norm", "init")}
    own = {_NET_PARAMETERS.get(name, name): value for name, value in settings.items()}
    if "module__hidden_units" in own:
        own["module__hidden_units"] = tuple(own["module__hidden_units"])
    if "optimizer" in own:
        own["optimizer"] = optimizer_class(own["optimizer"])
    module = TextNet if "model" in settings else MLP
    return (ContinualRegressionNet if is_regressor(estimator) else ContinualNet)(module, **own)


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """A stream by name and parameters; every job builds it for itself.

    Parameters
    ----------
    dataset : str
        A name for :func:`~forgetless.datasets.load_dataset`.
    builder : {"split", "blurry", "site", "permuted", "label_permuted", "rotated", "chunked", "column", "drift"}
    params : mapping, default={}
        Parameters of the builder, ``split_stream`` for "split". ``random_state`` is the run's seed unless it is given
        here. Beside them ``label_noise`` (a share), ``imbalance`` (a ratio) and ``label_delay`` (experiences) alter the
        stream, in this order.
    data_home : str, default=None
        Folder of downloaded data; ``None``: scikit-learn's.

    Examples
    --------
    >>> stream = StreamSpec("digits", "split", {"n_experiences": 5, "scenario": "task"}).build(seed=0)
    >>> len(stream)
    5
    """

    dataset: str
    builder: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data_home: str | None = None

    def build(self, seed: int, name: str | None = None) -> Stream:
        """Build the stream.

        Parameters
        ----------
        seed : int
            The random state, if the parameters do not fix one.
        name : str, default=None
            Its name; ``None``: the builder's choice.

        Returns
        -------
        Stream

        Raises
        ------
        ValueError
            If the dataset or the builder does not exist or a parameter is wrong.
        OSError
            If the data are neither on the disk nor can be downloaded.
        """
        from ... import datasets

        if self.builder not in BUILDERS:
            raise ValueError(f"There is no stream builder {self.builder!r}{nearest(self.builder, BUILDERS)}.")
        params = {"random_state": seed, **self.params}
        changes = {alter: params.pop(option) for option, alter in ALTERATIONS.items() if option in params}
        build, *alter = (getattr(datasets, function) for function in (f"{self.builder}_stream", *changes))
        dataset = _dataset(self.dataset, self.data_home)
        stream: Stream = build(dataset, **_known(build, params))
        for change, value in zip(alter, changes.values(), strict=True):
            stream = change(stream, value, **_known(change, {"random_state": params["random_state"]}))
        if name is not None:
            stream.name = name
        return stream


def _known(function: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the random state where nothing is random."""
    known = inspect.signature(function).parameters
    return {key: value for key, value in params.items() if key in known or key != "random_state"}


# A worker meets the same data in every cell; two cover a suite's current and next dataset.
@functools.lru_cache(maxsize=2)
def _dataset(name: str, data_home: str | None) -> Any:
    from ...datasets import load_dataset

    return load_dataset(name, data_home=data_home)
