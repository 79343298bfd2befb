"""The runner: plan cells, run those that are not stored yet, store each as soon as it is finished."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import os
import reprlib
import sys
import time
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from numbers import Integral
from typing import Any, Literal

from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from tqdm import tqdm

from ...datasets.streams import Stream
from ...estimators.parameters import wrong_parameters
from ...estimators.pipeline import IncrementalPipeline
from ...estimators.steps import is_fitted
from ..results import Results
from ..store import Store
from .budgets import fitting, with_epochs
from .cell import Cell, Interrupted, StreamSource, open_stream
from .checkpoints import checkpoints_for
from .identity import describe_stream
from .protocol import Budget, Evaluate, Protocol
from .sharing import Claims
from .specs import LONGEST_TIME_LIMIT, MOST_SEEDS, TIME_LIMIT, StrategySpec
from .workers import Conditions, finished, stop_on_ctrl_c

_DEFAULT = Protocol()
MOST_SHARDS = 100_000
PAUSE = 1.0  # seconds between two looks at what other runs do
# Products of one pass of a batch up to which seeds pay as a stack: a larger network keeps its core busy by itself.
MOST_PRODUCTS = 1_000_000
StackSeeds = bool | Literal["auto"]


def run_benchmark(
    strategies: Mapping[str, Any],
    streams: Mapping[str, StreamSource] | Iterable[Stream],
    *,
    seeds: int | Sequence[int] = 3,
    n_jobs: int = -1,
    device: str = "cpu",
    store: Store | str | os.PathLike[str] | None = None,
    stack_seeds: StackSeeds = "auto",
    evaluate: Evaluate = "all",
    eval_every: int | None = None,
    scoring: str | Sequence[str] = (),
    diagnostics: bool = False,
    budget: Mapping[str, float] | None = None,
    time_limit: float = TIME_LIMIT,
    scheduler: str | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    timing: bool = False,
    progress: bool = True,
) -> Results:
    """Let every strategy learn every stream with every seed, and measure scores, time and memory.

    Classifiers learn the streams of labels, regressors those of numbers.

    Parameters
    ----------
    strategies : mapping of str to estimator or StrategySpec
        Unfitted estimators by name: those of forgetless, pipelines, and any classifier of scikit-learn's kind with
        ``partial_fit``. In a clone, every parameter called ``random_state`` is set to the seed, and every parameter
        called ``device`` to the device, at any depth.
    streams : mapping of str to (Stream, StreamSpec or callable), or iterable of Stream
        A callable gets a seed and returns a stream; a :class:`StreamSpec` is the same by name. A ``Stream`` is the
        same for all seeds.
    seeds : int or sequence of int, default=3
        Seeds, or how many: 0, 1, ...
    n_jobs : int, default=-1
        Number of cells that run in parallel, as in joblib; a joblib backend chosen with ``joblib.parallel_config`` is
        used. Each cell has one thread, so scores do not depend on this number.
    device : {"cpu", "cuda", "cuda:1", "mps", "auto"}, default="cpu"
        Where networks compute. "auto": on a GPU if there is one. "cuda" uses all GPUs, "cuda:1" only that one.
    store : Store, str or path-like, default=None
        Where finished cells are kept, as for :class:`Store`. Cells already there are not run again unless they failed,
        and those that another run on the same store does at this time are left to it. ``None``: nothing is kept but
        what is returned.
    stack_seeds : bool or "auto", default="auto"
        Train all seeds of a strategy on a stream as one stacked network, where the strategy allows it: ten small
        networks cost about three times one. "auto": where the network is so small that it pays.
        Scores are those of seeds trained one by one up to rounding; ``n_stacked`` says how a run was trained, and the
        seconds are a seed's share.
    evaluate, eval_every, scoring, diagnostics
        How models are tested, see :class:`~forgetless.benchmarks.runs.protocol.Protocol`; by default on all test sets
        after each experience, by accuracy or R².
    budget : mapping, default=None
        What each strategy may cost, ``state_bytes`` or ``fit_seconds`` or both, see
        :class:`~forgetless.benchmarks.runs.protocol.Budget`: the memory size and the epochs of each cell are set so
        that it fits.
    time_limit : float, default=86400
        Seconds that a cell may take, at most 1,000,000; after that it has failed. With ``n_jobs=1`` cells run in this
        process, where code that never comes back to Python cannot be stopped.
    scheduler : str, default=None
        Address of a Dask scheduler, ``"tcp://host:8786"`` for example, whose workers run the cells, one each at a time;
        needs ``forgetless[dask]``. ``n_jobs`` is not used then.
    checkpoints : str or path-like, default=None
        A folder for the states of cells that take longer than a minute, from which they go on after a kill. ``None``:
        beside the store, if that is a file. What lies there is only read if this user has written it.
    timing : bool, default=False
        Measure seconds: cells run one at a time, in this process and in no stack, and those in the store that did not
        run again. Nothing else should run on the machine.
    progress : bool, default=True
        Show progress and the time left on the standard error stream.

    Returns
    -------
    Results
        Of the cells asked for, also where the store has more. Whatever goes wrong within a cell is its ``error``;
        where its process was killed, it has had a second try.

    Raises
    ------
    ValueError
        If something is wrong with what was asked for; nothing has run then.
    OSError
        If data are missing, or the store cannot be used.
    Interrupted
        On Ctrl-C; finished cells are in the store.

    Examples
    --------
    >>> from forgetless.datasets import load_iris, split_stream
    >>> from sklearn.naive_bayes import GaussianNB
    >>> stream = split_stream(load_iris(), n_experiences=3, random_state=0)
    >>> results = run_benchmark({"Bayes": GaussianNB()}, [stream], seeds=1, n_jobs=1, progress=False)
    >>> results
    <Results: 1 cells (0 failed), 1 strategies, 1 streams, 1 seeds>
    >>> results.scores.tail(3)[["trained_on", "tested_on"]].values.tolist()
    [[2, 0], [2, 1], [2, 2]]
    """
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; give how many cells may run in parallel, or -1 for one per core.")
    if not 0 < time_limit <= LONGEST_TIME_LIMIT:
        raise ValueError(f"time_limit is {time_limit}; give the seconds that a cell may take, at most 1,000,000.")
    limits = {} if budget is None else budget
    if not (isinstance(limits, Mapping) and {*limits} <= {"state_bytes", "fit_seconds"}):
        raise ValueError(f"budget is {reprlib.repr(budget)}; give a mapping with 'state_bytes', 'fit_seconds' or both.")
    protocol = Protocol(evaluate, eval_every, scoring, diagnostics, Budget(**limits))
    cells = plan_cells(strategies, streams, seeds=seeds, device=device, stack_seeds=stack_seeds, protocol=protocol)
    with contextlib.ExitStack() as stack:
        if not isinstance(store, Store):
            store = stack.enter_context(Store(":memory:" if store is None else store))
        conditions = Conditions(n_jobs, time_limit, scheduler, checkpoints_for(store, checkpoints))
        return run_cells(cells, store, conditions, progress=progress, timing=timing)


# --- planning ----------------------------------------------------------------------------------------------------


def plan_cells(
    strategies: Mapping[str, Any],
    streams: Mapping[str, StreamSource] | Iterable[Stream],
    *,
    seeds: int | Sequence[int],
    device: str,
    stack_seeds: StackSeeds = False,
    protocol: Protocol = _DEFAULT,
) -> list[Cell]:
    """List the cells of a benchmark; data are loaded, nothing is learned but a few rows where bytes are limited.

    Parameters
    ----------
    strategies, streams, seeds, device, stack_seeds
        As in :func:`run_benchmark`.
    protocol : Protocol, default=Protocol()
        How models are tested.

    Returns
    -------
    list of Cell
        Ordered by stream, seed, strategy; only those in which the strategy can learn the stream's kind of targets.

    Raises
    ------
    ValueError
        If something asked for does not exist or makes no sense.
    OSError
        If data are missing.
    """
    if not isinstance(strategies, Mapping):
        raise ValueError(f"strategies is a {type(strategies).__name__}; give a mapping of names to estimators.")
    estimators = {name: _estimator(name, strategy) for name, strategy in strategies.items()}
    _check_parameters(estimators)
    named = list(streams.items()) if isinstance(streams, Mapping) else _named(streams)
    sources = dict(named)
    if len(sources) < len(named):
        raise ValueError("Two streams have the same name; give a mapping of names to streams.")
    if not estimators or not sources:
        raise ValueError(
            f"There is nothing to run: {len(estimators)} strategies and {len(sources)} streams were given."
        )
    # What computes on the CPU anyway need not run again for another device, nor wait for torch to look for one.
    on_device = {name for name, each in estimators.items() if any(map(_is_device, each.get_params()))}
    device, gpu = _device(device, needed=bool(on_device))
    seeds = _seeds(seeds)
    cells: dict[str, Cell] = {}
    too_large: dict[tuple[str, str], str] = {}
    kinds = set()
    for stream, source in sources.items():
        fixed = source if isinstance(source, Stream) else None
        definition = describe_stream(fixed) if fixed else {}
        for seed in seeds:
            opened = fixed or open_stream(source, seed)
            definition = definition if fixed else describe_stream(opened)
            kinds.add(opened.kind)
            tested = protocol.for_stream(opened)
            for strategy, estimator in estimators.items():
                if _fits(estimator, opened.kind):
                    tested.check_answers(strategy, estimator)
                    used = device if strategy in on_device else "cpu"
                    try:
                        fitted = fitting(strategy, estimator, opened, seed, protocol.budget)
                    except ValueError as error:
                        too_large.setdefault((strategy, stream), str(error))
                        continue
                    stacked = len(seeds) > 1 and _stacks(estimator, opened, stack_seeds)
                    cell = Cell(strategy, stream, fitted, source, seed, used, definition, stacked, tested, gpu)
                    twin = cells.setdefault(cell.key, cell)
                    if twin is not cell:
                        names = f"{twin.strategy!r} on {twin.stream!r} and {strategy!r} on {stream!r}"
                        raise ValueError(f"{names} are the same thing under two names; leave one out.")
    if too_large:
        raise ValueError(f"Nothing has run. {' '.join(too_large.values())}")
    _check_all_run(estimators, sources, protocol, cells.values(), kinds)
    return list(cells.values())


def _named(streams: Iterable[Stream]) -> list[tuple[str, Stream]]:
    what = "a mapping of names to streams, or a list of streams, which have names"
    if isinstance(streams, Stream) or not isinstance(streams, Iterable):
        one = "one stream" if isinstance(streams, Stream) else f"a {type(streams).__name__}"
        raise ValueError(f"streams is {one}; give {what}.")
    found = list(streams)
    for stream in found:
        if not isinstance(stream, Stream):
            raise ValueError(f"One of the streams is a {type(stream).__name__}; give {what}.")
    return [(stream.name, stream) for stream in found]


def shard_of(cells: Sequence[Cell], shard: str) -> list[Cell]:
    """Return one part of the cells: parts are disjoint, together all, and the same on every machine.

    Parameters
    ----------
    cells : sequence of Cell
    shard : str
        Which of how many parts: "1/100" to "100/100".

    Returns
    -------
    list of Cell
        In their order. Cells that are trained as one stack are in one part.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> shard_of([], "3/2")
    Traceback (most recent call last):
    ...
    ValueError: The shard is '3/2'; give which of how many, from '1/2' to '2/2' for example.
    """
    which, _, of = shard.partition("/")
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of) <= MOST_SHARDS):
        raise ValueError(f"The shard is {shard!r}; give which of how many, from '1/2' to '2/2' for example.")
    of_stack = {cell.key: (cell.strategy, cell.stream) if cell.stacked else cell.key for cell in cells}
    first: dict[Any, str] = {}
    for key in sorted(of_stack):
        first.setdefault(of_stack[key], key)
    mine = {stack for number, stack in enumerate(first) if number % int(of) == int(which) - 1}
    return [cell for cell in cells if of_stack[cell.key] in mine]


def _stacks(estimator: Any, stream: Stream, stack_seeds: StackSeeds) -> bool:
    """Whether seeds of a strategy are to be trained as a stack."""
    if not stack_seeds or not getattr(estimator, "pure_steps", False):
        return False
    if stack_seeds != "auto":
        return True
    from ...estimators.engine.modules import HIDDEN_UNITS, MLP

    settings = estimator.prototype().get_params()
    if settings["module"] is not MLP or settings["batch_size"] == -1:
        return False
    widths = [stream.n_features, *settings.get("module__hidden_units", HIDDEN_UNITS), len(stream.classes)]
    return bool(settings["batch_size"] * sum(map(operator.mul, widths, widths[1:])) <= MOST_PRODUCTS)


def _fits(estimator: Any, kind: str) -> bool:
    """Whether an estimator learns this kind of targets; one that does not say what it is can try."""
    other = is_regressor(estimator) if kind == "classification" else is_classifier(estimator)
    return not other


def _check_all_run(
    estimators: Mapping[str, Any],
    sources: Mapping[str, Any],
    protocol: Protocol,
    cells: Collection[Cell],
    kinds: Collection[str],
) -> None:
    """Raise if no strategy fits a stream; warn of strategies and scores that fit none."""
    idle = sorted(estimators.keys() - {cell.strategy for cell in cells})
    unused = sorted({*protocol.scoring} - {name for cell in cells for name in cell.protocol.scoring})
    learners, targets = ("regressors", "labels") if "classification" in kinds else ("classifiers", "numbers")
    why = f"These strategies are {learners}, but the streams' targets are {targets}: {', '.join(idle)}."
    if idle and not cells:
        raise ValueError(why)
    empty = sorted(sources.keys() - {cell.stream for cell in cells})
    if empty:
        raise ValueError(f"No strategy here can learn the targets of these streams: {', '.join(empty)}.")
    if idle:
        warnings.warn(f"{why} They do not run.", stacklevel=4)
    if unused:
        warnings.warn(f"These scores fit the targets of no stream: {', '.join(unused)}.", stacklevel=4)


def _estimator(name: str, strategy: Any) -> Any:
    estimator = strategy.build() if isinstance(strategy, StrategySpec) else strategy
    if isinstance(estimator, type):
        raise ValueError(f"The strategy {name!r} is a class; give an object of it.")
    if not all(hasattr(estimator, method) for method in ("get_params", "partial_fit", "predict")):
        raise ValueError(
            f"The strategy {name!r}, a {type(estimator).__name__}, cannot learn incrementally: it needs get_params, "
            "partial_fit and predict (for a pipeline, use forgetless.estimators.make_incremental_pipeline)."
        )
    if is_clusterer(estimator) or is_outlier_detector(estimator):  # whose numbers are no labels of the data
        raise ValueError(
            f"The strategy {name!r}, a {type(estimator).__name__}, is neither a classifier nor a regressor, so that "
            "its answers cannot be scored."
        )
    if isinstance(estimator, IncrementalPipeline):
        for step_name, step in estimator.steps[:-1]:
            if step not in (None, "passthrough") and is_fitted(step) and not is_fitted(clone(step)):
                raise ValueError(
                    f"Step {step_name!r} of the strategy {name!r}, a {type(step).__name__}, is fitted, but each run "
                    "learns a copy from the start; give it unfitted, or to keep what it has learned as "
                    "sklearn.frozen.FrozenEstimator(step)."
                )
    return estimator


def _check_parameters(estimators: Mapping[str, Any]) -> None:
    """Raise for all wrong parameters at once, before the first of many cells would find the first of them."""
    wrong = [f"{name!r}: {each}" for name, estimator in estimators.items() for each in wrong_parameters(estimator)]
    if wrong:
        raise ValueError(f"Nothing has run, since parameters are wrong. {' '.join(wrong)}")


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    count = int(seeds) if isinstance(seeds, Integral) else len(seeds) if isinstance(seeds, Sized) else 0
    if 1 <= count <= MOST_SEEDS:  # before as many are written down
        named: Any = range(count) if isinstance(seeds, Integral) else seeds
        chosen = [int(seed) if isinstance(seed, Integral) else -1 for seed in named]
        if len(set(chosen)) == count and all(0 <= seed < 2**32 for seed in chosen):
            return chosen
    raise ValueError(
        f"seeds is {reprlib.repr(seeds)}; give how many (1 to {MOST_SEEDS:,}), or different numbers from 0 to "
        "2**32 - 1."
    )


def _is_device(parameter: str) -> bool:
    return parameter.rpartition("__")[2] == "device"


def _device(device: str, needed: bool) -> tuple[str, int | None]:
    """Return the device that is used, and the number of the only GPU that may be."""
    kind, colon, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"device is {device!r}; give 'auto', 'cpu', 'cuda', 'cuda:1' for one of several, or 'mps'.")
    if device == "cpu" or not needed:
        return "cpu", None
    from torch import cuda
    from torch.backends import mps

    if kind == "auto":
        kind = "cuda" if cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": cuda.is_available(), "mps": mps.is_available()}[kind]
    if not there or (number and int(number) >= cuda.device_count()):
        raise ValueError(f"device is {device!r}, but torch finds no GPU of that name here; use 'auto' or 'cpu'.")
    return kind, int(number) if number else None


# --- running -----------------------------------------------------------------------------------------------------


def run_cells(
    cells: Sequence[Cell], store: Store, conditions: Conditions, *, progress: bool, timing: bool = False
) -> Results:
    """Run the cells that the store lacks and return the results of all.

    Parameters
    ----------
    cells : sequence of Cell
    store : Store
    conditions : Conditions
    progress, timing
        As in :func:`run_benchmark`.

    Returns
    -------
    Results

    Raises
    ------
    Interrupted
        On Ctrl-C.
    StoreError
        If the store cannot be written.
    """
    if any(cell.protocol.budget.fit_seconds is not None for cell in cells):
        cells = with_epochs(cells, store.results().runs.itertuples(index=False))
    claims = Claims(store, cells)  # before a look at what is done: what is done in between must not count as both
    done = store.finished({cell.key: (cell.strategy, cell.stream) for cell in cells})
    if timing:
        conditions = dataclasses.replace(conditions, n_jobs=1, scheduler=None, checkpoints=None)
        cells = [dataclasses.replace(cell, stacked=False) for cell in cells]
        runs = store.results(done).runs
        done = set(runs.loc[(runs["n_parallel"] == 1) & (runs["n_stacked"] == 1), "cell"])
    waiting = [cell for cell in cells if cell.key not in done]
    if progress and done:
        print(f"{len(done)} of {len(cells)} cells are in {store.name} already.", file=sys.stderr)
    n_failed = 0
    bar = tqdm(total=len(cells), initial=len(done), unit="cell", dynamic_ncols=True, disable=not progress)
    try:
        with bar, stop_on_ctrl_c() as asked, claims:
            while waiting:
                free = claims.free(waiting)
                bar.set_description(None if free else f"{len(waiting)} cells are being done by other runs")
                if not free:
                    time.sleep(PAUSE)
                ended = set()
                with finished(free, conditions, store.seconds(), claims.take) as found:
                    for facts in found:
                        if asked.is_set():  # perhaps this cell learned less than it should
                            raise Interrupted
                        facts.run["n_parallel"] = conditions.n_parallel
                        store.write(facts, replace=timing)
                        ended.add(facts.run["cell"])
                        if conditions.checkpoints:
                            conditions.checkpoints.remove({facts.run["cell"]})
                        n_failed += facts.run["status"] == "failed"
                        bar.set_postfix(failed=n_failed, refresh=False)
                        bar.update()
                left = claims.left([cell for cell in waiting if cell.key not in ended])
                bar.update(len(waiting) - len(ended) - len(left))
                waiting = left
    except KeyboardInterrupt:
        store.release()
        raise Interrupted(f"Stopped. {_kept(store, cells)}") from None
    keys = [cell.key for cell in cells]
    if conditions.checkpoints:
        conditions.checkpoints.remove(set(keys))
    return store.results(keys)


def _kept(store: Store, cells: Sequence[Cell]) -> str:
    if store.name == ":memory:":
        return "Nothing was kept; name a store to be able to go on after a stop."
    n_stored = len(store.finished({cell.key: (cell.strategy, cell.stream) for cell in cells}))
    return f"{n_stored} of {len(cells)} cells are kept in {store.name}; do the same again to run only the rest."
