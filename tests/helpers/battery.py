"""The battery that every estimator must pass: scikit-learn's checks, and what they lack.

``test_battery = battery(MyClassifier)`` in a test file is all that a method needs.
"""

import contextlib
import copy
import gc
import inspect
import io
import pickle
import re
import warnings
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone, is_regressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    Call,
    ContinualEstimator,
    ContinualNet,
    ContinualRegressionNet,
    partial_fit_together,
)
from forgetless.estimators.analytic.moments import ClosedForm
from forgetless.estimators.baselines.fresh import Fresh
from forgetless.estimators.parameters import declared, names_declared
from helpers.tape import tape_for_cuda

DIGITS = load_digits()
SCENARIOS = ("class", "task", "domain")


class Subject:
    """A class under test: makes small estimators of it, and feeds them."""

    def __init__(self, cls):
        self.cls = cls
        self.name = cls.__name__
        self.parameters = inspect.signature(cls).parameters
        self.is_regressor = is_regressor(cls())
        self.has_net = "net" in self.parameters
        # A method whose network is trained when an answer is asked for, not when rows are given.
        self.is_lazy = isinstance(inspect.getattr_static(cls, "net_", None), property)
        # A method whose network is trained in the first call only.
        self.trains_once = self.has_net and issubclass(cls, ClosedForm)
        self.is_eager = self.has_net and not self.is_lazy and not self.trains_once
        self.is_seeded = "random_state" in self.parameters
        tags = get_tags(cls())
        # A method that learns to tell rows from each other; others say so in their tags.
        self.is_able = not (tags.regressor_tags if self.is_regressor else tags.classifier_tags).poor_score
        self.is_pure = getattr(self.small(), "pure_steps", False)
        self.later = names_declared(cls, "later_parameters")
        self.known = {}

    def net(self, module=MLP, **params):
        """A net of the kind that the estimator trains."""
        return (ContinualRegressionNet if self.is_regressor else ContinualNet)(module, **params)

    def small(self, n_epochs=10, **params):
        """An estimator that learns fast: small networks and few epochs."""
        settings = {
            "net": self.net(module__hidden_units=(16,), lr=0.01, max_epochs=n_epochs),
            "estimator": (ExtraTreesRegressor if self.is_regressor else ExtraTreesClassifier)(n_epochs),
            "random_state": 0,
            "n_features": 20 * n_epochs,
            "max_epochs": 2 * n_epochs,
            "hidden_units": (50,),
            "latent_size": 5,
            "n_inner_steps": 2,
            "sequence_length": 2,
            "replacement_rate": 0.05,
            "maturity": 3,
        }
        return self.cls(**{name: value for name, value in settings.items() if name in self.parameters} | params)

    def brief(self, **params):
        """An estimator that learns a little, in no time: for all that does not ask how much is learned."""
        return self.small(n_epochs=2, **params)

    def targets(self, labels):
        """What the estimator learns: labels, or for a regressor two numbers made of each."""
        return np.stack([labels / 10, 1 - labels / 5], axis=1) if self.is_regressor else labels

    def call(self, e, n_rows=60):
        """The arguments of ``partial_fit`` for an experience."""
        return {"X": e.X_train[:n_rows], "y": self.targets(e.y_train[:n_rows]), "task_id": e.task_id}

    def learned(self, estimator, experiences, n_rows=60):
        for e in experiences:
            estimator.partial_fit(**self.call(e, n_rows))
        return estimator

    def taught(self, scenario="class", *, n_experiences=5, n_learned):
        """A brief estimator that has learned the first experiences of a stream: a copy of one that was trained once."""
        key = scenario, n_experiences, n_learned
        if key not in self.known:
            self.known[key] = self.learned(self.brief(), stream(scenario, n_experiences)[:n_learned])
        return copy.deepcopy(self.known[key])

    def bits(self, estimator):
        """Everything that an estimator answers, to the bit."""
        return (estimator.predict if self.is_regressor else estimator.predict_proba)(DIGITS.X_test)

    def assert_same(self, estimator, twin, what=""):
        assert np.array_equal(getattr(estimator, "classes_", None), getattr(twin, "classes_", None)), what
        assert estimator.n_experiences_ == twin.n_experiences_, what
        assert estimator.memory_usage() == twin.memory_usage(), what
        assert vars(estimator).keys() == vars(twin).keys(), what
        for name, value in vars(twin).items():
            if torch.is_tensor(value):
                assert torch.equal(getattr(estimator, name), value), (name, what)
        assert np.array_equal(self.bits(estimator), self.bits(twin)), what

    def assert_unchanged(self, estimator, twin, experience):
        self.assert_same(estimator, twin)
        learned = [self.learned(e, [experience]) for e in (estimator, twin)]
        assert np.array_equal(*map(self.bits, learned))


@dataclass
class Check:
    """A check of a subject; `applies` says of which."""

    function: object
    applies: object
    cases: dict


CHECKS = {}


def check(applies=lambda subject: True, **cases):
    """Put a function of a subject into the battery, once for each of the cases, if there are any."""

    def register(function):
        [(parameter, values)] = cases.items() or [(None, {"": None})]
        values = values if isinstance(values, dict) else {value: value for value in values}
        CHECKS[function.__name__] = Check(
            function, applies, {key: {parameter: value} if parameter else {} for key, value in values.items()}
        )
        return function

    return register


def classifies(subject):
    return not subject.is_regressor


def regresses(subject):
    return subject.is_regressor


def is_able(subject):
    return subject.is_able


def has_net(subject):
    return subject.has_net


def is_eager(subject):
    return subject.is_eager


def is_seeded(subject):
    return subject.is_seeded


def is_pure(subject):
    return subject.is_pure


def has_later_parameters(subject):
    return bool(subject.later)


def checks_of(cls, names=None):
    """Pairs of a name and a function without arguments: all checks of a class, or those of these names."""
    subject = Subject(cls)
    for name, each in CHECKS.items():
        if (names is None or name in names) and each.applies(subject):
            for key, arguments in each.cases.items():
                yield f"{name}-{key}" if key else name, partial(each.function, subject, **arguments)


def battery(*classes):
    """A test that runs all checks on each class."""
    cases = [
        pytest.param(function, id=f"{cls.__name__}-{name}") for cls in classes for name, function in checks_of(cls)
    ]

    @pytest.mark.parametrize("passes", cases)
    def test_battery(passes):
        passes()

    return test_battery


@cache
def stream(scenario="class", n_experiences=5, seed=None):
    """Digits by experiences; their classes in order, or as the seed has it."""
    order = {"class_order": "sorted"} if seed is None else {"random_state": seed}
    return tuple(split_stream(DIGITS, n_experiences=n_experiences, scenario=scenario, **order))


# --- what it says of itself ------------------------------------------------------------------------------------------


@check()
def says_what_it_is(subject):
    info = subject.small().strategy_info()
    assert set(info) == {"family", "source", "needs_task_id", "keeps", "unlearns"}
    assert info["unlearns"] in ("exact", "memory only", "no")
    assert info["keeps"] in ("nothing", "statistics", "features", "generator", "samples")
    assert isinstance(info["needs_task_id"], bool)
    assert all(isinstance(info[name], str) and info[name] for name in ("family", "source"))


@check()
def passes_the_checks_of_scikit_learn(subject):
    params = {"net": subject.net(lr=0.03, max_epochs=3)} if subject.has_net else {}
    results = check_estimator(subject.small(n_epochs=5, **params), on_skip=None, on_fail=None)
    failed = [result["exception"] for result in results if result["status"] == "failed"]
    if failed:
        raise ExceptionGroup("checks of scikit-learn fail", failed)


@check(is_able)
def learns_with_its_defaults(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    assert subject.cls().fit(X, y).score(X, y) > 0.3


@check()
def has_few_bases(subject):
    own = [cls for cls in subject.cls.__mro__ if not cls.__module__.startswith(("sklearn.", "builtins"))]
    assert len(own) <= 5, own


# --- learning --------------------------------------------------------------------------------------------------------


@check(lambda subject: subject.is_able and classifies(subject), scenario=SCENARIOS)
def learns_every_scenario(subject, scenario):
    first, *others = stream(scenario)
    clf = subject.learned(subject.small(), [first])
    assert clf.score(first.X_test, first.y_test, task_id=first.task_id) > 0.9
    subject.learned(clf, others)
    assert clf.n_experiences_ == 5
    if issubclass(subject.cls, Fresh):  # by definition it knows the last experience only
        last = others[-1]
        assert clf.score(last.X_test, last.y_test, task_id=last.task_id) > 0.9
        return
    accuracy = np.mean([clf.score(e.X_test, e.y_test, task_id=e.task_id) for e in [first, *others]])
    # Chance is 0.1 among ten classes and 0.5 where the task leaves two.
    assert accuracy > {"class": 0.1, "task": 0.7, "domain": 0.55}[scenario]


@check(lambda subject: subject.is_able and regresses(subject))
def learns_experience_after_experience(subject):
    reg, scores = subject.small(), []
    first, second = stream("task", n_experiences=2)
    for e in (first, second):
        reg.partial_fit(e.X_train, subject.targets(e.y_train), task_id=e.task_id)
        scores.append([reg.score(t.X_test, subject.targets(t.y_test)) for t in (first, second)])
    assert reg.n_experiences_ == 2
    assert scores[0][0] > 0.5 and scores[1][1] > scores[0][1]
    with pytest.raises(ValueError, match="never learned"):
        reg.predict(DIGITS.X_test, task_id="no such task")


@check(regresses)
def predictions_have_the_shape_of_the_targets(subject):
    X, y = DIGITS.X_train[:60], DIGITS.y_train[:60] / 10
    flat, column = subject.small().fit(X, y).predict(X), subject.small().fit(X, y[:, None]).predict(X)
    assert flat.shape == (60,) and column.shape == (60, 1)
    assert np.array_equal(flat, column[:, 0])


@check(classifies)
def classes_may_come_late_and_keep_what_was_learned(subject):
    clf = subject.taught(n_experiences=2, n_learned=1)
    assert clf.classes_.tolist() == [0, 1, 2, 3, 4]
    subject.learned(clf, stream(n_experiences=2)[1:])
    assert clf.classes_.tolist() == list(range(10))
    proba = clf.predict_proba(DIGITS.X_test)
    assert proba.shape == (len(DIGITS.X_test), 10)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@check(classifies)
def text_labels_may_come_out_of_order(subject):
    words = np.array(["nine", "Zero", "four", "a", "zz", "b", "m", "k", "x", "d"])
    clf = subject.small().partial_fit(DIGITS.X_train[:250], words[DIGITS.y_train[:250]])
    assert clf.classes_.tolist() == sorted(words)
    if subject.is_able:
        assert np.mean(clf.predict(DIGITS.X_test) == words[DIGITS.y_test]) > 0.3  # of ten classes
    sorted_words = np.array(sorted(words))
    relabelled = subject.brief()
    for e in stream(n_experiences=2):
        relabelled.partial_fit(e.X_train[:60], sorted_words[e.y_train[:60]])
    numbered = subject.learned(subject.taught(n_experiences=2, n_learned=1), stream(n_experiences=2)[1:])
    assert np.array_equal(subject.bits(numbered), subject.bits(relabelled))


@check(classifies)
def text_and_numbers_do_not_mix(subject):
    clf = subject.brief().fit(DIGITS.X_train[:50], DIGITS.y_train[:50])
    with pytest.raises(ValueError, match="text or numbers"):
        clf.partial_fit(DIGITS.X_train[:50], DIGITS.y_train[:50].astype(str))


@check(classifies)
def task_ids_restrict_the_answers(subject):
    clf = subject.taught("task", n_learned=3)
    for e in stream("task")[:3]:
        assert set(clf.predict(DIGITS.X_test, task_id=e.task_id)) <= set(e.classes)
        proba = clf.predict_proba(DIGITS.X_test, task_id=e.task_id)
        assert not proba[:, ~np.isin(clf.classes_, e.classes)].any()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
    with pytest.raises(ValueError, match="never learned"):
        clf.predict(DIGITS.X_test, task_id="no such task")


@check()
def calls_with_one_task_id_are_one_experience(subject):
    e, estimator = stream()[0], subject.brief()
    X, y = e.X_train[:90], subject.targets(e.y_train[:90])
    estimator.partial_fit(X[:50], y[:50], task_id="a")
    estimator.partial_fit(X[50:], y[50:], task_id="a")
    assert estimator.n_experiences_ == 1
    estimator.partial_fit(X[:50], y[:50], task_id="b")
    assert estimator.n_experiences_ == 2
    estimator.partial_fit(X[:50], y[:50])
    estimator.partial_fit(X[:50], y[:50])
    assert estimator.n_experiences_ == 4


@check(classifies)
def announced_classes_are_not_answered_before_they_are_seen(subject):
    e = stream()[0]
    clf = subject.brief().partial_fit(e.X_train[:60], e.y_train[:60], classes=np.arange(10))
    assert clf.classes_.tolist() == list(range(10))
    assert set(clf.predict(DIGITS.X_test)) <= {0, 1}


# --- the same again, and nothing else ---------------------------------------------------------------------------------


@check()
def same_seed_same_bits_whatever_the_global_generators_do(subject):
    np.random.seed(3)
    torch.manual_seed(3)
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()
    again = subject.learned(subject.brief(), stream("task")[:3])
    answers = subject.bits(again)
    numpy_after = np.random.get_state()
    assert np.array_equal(numpy_before[1], numpy_after[1]) and numpy_before[2:] == numpy_after[2:]
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(subject.bits(subject.taught("task", n_learned=3)), answers)


@check()
def modes_of_the_caller_change_nothing(subject):
    """Neither torch's modes for gradients and inference, nor its types and places of new numbers."""
    first, second = stream("task")[:2]

    def begun():
        return pickle.loads(pickle.dumps(copy.deepcopy(subject.learned(subject.brief(), [first]))))

    twin = subject.learned(begun(), [second])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        estimator = begun()
    with torch.no_grad():
        subject.learned(estimator, [second])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        bits = subject.bits(estimator)
    assert np.array_equal(bits, subject.bits(twin))
    subject.assert_same(estimator, twin)


@check(is_seeded)
def other_seed_other_bits(subject):
    other = subject.learned(subject.brief(random_state=1), stream(n_experiences=2)[:1])
    assert not np.array_equal(subject.bits(subject.taught(n_experiences=2, n_learned=1)), subject.bits(other))


@check()
def copies_continue_as_the_original_would(subject):
    estimator = subject.learned(subject.brief(), stream("task")[:3])  # itself, and no copy
    alike = [estimator, pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)]
    for n_more in (0, 1):
        original, *copies = (subject.bits(subject.learned(each, stream("task")[3 : 3 + n_more])) for each in alike)
        assert all(np.array_equal(original, answers) for answers in copies), n_more


class Searching(pickle.Pickler):
    """Pickles, and looks at every object on the way."""

    def __init__(self, unwanted):
        super().__init__(io.BytesIO())
        self.unwanted, self.found = unwanted, []

    def persistent_id(self, thing):
        if isinstance(thing, self.unwanted):
            self.found.append(thing)
        elif isinstance(thing, ContinualEstimator):  # which packs what it has itself
            self.dump_of(thing)
        return None

    def dump_of(self, estimator):
        """Look at what an estimator has."""
        within = Searching(self.unwanted)
        within.dump(vars(estimator))
        self.found += within.found


@check()
def nothing_of_a_call_stays_behind(subject):
    estimator = subject.brief()
    searching = Searching((Call, torch.Generator, np.random.Generator))
    attributes = []
    for e in stream("domain")[:3]:
        subject.learned(estimator, [e])
        searching.dump_of(estimator)
        attributes.append(set(vars(estimator)))
    assert not searching.found
    assert attributes[-1] == attributes[-2]


@check()
def rows_are_freed_with_their_call(subject):
    """What points to itself keeps them until Python searches for such things, and large rows do not hasten that."""
    # The first call in a process imports, and keeps frames.
    estimator = subject.learned(subject.brief(), stream("domain")[:1])
    gc.disable()
    try:
        arguments = subject.call(stream("domain")[1])
        arguments["X"] = arguments["X"].astype(np.float32)
        rows = weakref.ref(arguments["X"])
        estimator.partial_fit(**arguments)
        del arguments
        assert rows() is None
    finally:
        gc.enable()


@check()
def rows_that_change_after_their_call_change_nothing(subject):
    estimator, twin = subject.brief(), subject.brief()
    for e in stream("domain")[:3]:
        arguments = {name: np.array(value) for name, value in subject.call(e).items() if name != "task_id"}
        arguments["X"] = arguments["X"].astype(np.float32)
        twin.partial_fit(**copy.deepcopy(arguments), task_id=e.task_id)
        estimator.partial_fit(**arguments, task_id=e.task_id)
        arguments["X"][:], arguments["y"][:] = 7, arguments["y"][0]
    subject.assert_same(estimator, twin)


@check()
def rows_that_must_not_be_written_to_are_learned_without_a_warning(subject):
    """Those of a mapped file, for example, or what joblib shares among processes."""
    estimator, twin = subject.brief(), subject.brief()
    torch.set_warn_always(True)  # else only the first time in a process
    try:
        for e in stream("domain")[:2]:
            arguments = {name: np.array(value) for name, value in subject.call(e).items() if name != "task_id"}
            arguments["X"] = arguments["X"].astype(np.float32)
            twin.partial_fit(**copy.deepcopy(arguments), task_id=e.task_id)
            for array in arguments.values():
                array.flags.writeable = False
            with warnings.catch_warnings(action="error", category=UserWarning):
                estimator.partial_fit(**arguments, task_id=e.task_id)
                estimator.predict(arguments["X"])
    finally:
        torch.set_warn_always(False)
    subject.assert_same(estimator, twin)


@check(is_pure, scenario=SCENARIOS)
def stacked_steps_equal_others(subject, scenario):
    """The results of seeds that are trained as one network are theirs alone, up to rounding."""
    # With its own ε, Adam makes a whole step of a gradient that is nothing but rounding.
    net = subject.net(lr=0.01, max_epochs=4, optimizer__eps=1e-3)
    # Memories are full, since rows are drawn as one only where all have equally many.
    full = {"buffer_size": 40} if "buffer_size" in subject.parameters else {}
    alone = [subject.small(random_state=seed, net=net, **full) for seed in range(2)]
    stacked = copy.deepcopy(alone)
    # Batches of other sizes, in the first experience not even as many of them.
    lengths = [(75, 60), (75, 70), (75, 70)]
    streams = (stream(scenario, seed=seed)[:3] for seed in range(2))
    for n_rows, *experiences in zip(lengths, *streams, strict=True):
        calls = [subject.call(e, n) for e, n in zip(experiences, n_rows, strict=True)]
        assert partial_fit_together(stacked, calls)
        for estimator, arguments in zip(alone, calls, strict=True):
            estimator.partial_fit(**arguments)
    for one, other in zip(alone, stacked, strict=True):
        torch.testing.assert_close(other.net_.flatten(), one.net_.flatten(), rtol=1e-3, atol=2e-4)
        assert vars(other).keys() == vars(one).keys()
        for name, value in vars(one).items():
            if torch.is_tensor(value):
                largest = max(1.0, float(value.abs().max()))
                torch.testing.assert_close(getattr(other, name) / largest, value / largest, rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(subject.bits(other), subject.bits(one), atol=5e-3)
        np.testing.assert_allclose(other.net_.history[:, "train_loss"], one.net_.history[:, "train_loss"], rtol=2e-3)
        assert other.memory_usage() == one.memory_usage()


@check(is_pure, scenario=("class", "task"))
def recorded_steps_equal_others(subject, scenario):
    """What a graph of the step does is what the step does, each time."""
    experiences = stream(scenario)[:3]
    plain = subject.learned(subject.brief(), experiences, n_rows=160)
    with tape_for_cuda() as recording:
        recorded = subject.learned(subject.brief(), experiences, n_rows=160)
    assert recording.n_replays > recording.n_made > 0
    torch.testing.assert_close(recorded.net_.flatten(), plain.net_.flatten(), rtol=1e-3, atol=1e-4)


# --- what the user hands in -------------------------------------------------------------------------------------------


@check(has_net, rows=("in batches", "left by a split", "in calls", "in a last batch"))
def one_row_is_learned_with_batch_norm(subject, rows):
    """One row has no variance: normalisation has the statistics so far, in every pass that a method makes."""
    batch_size = {"in batches": 1, "left by a split": 4, "in calls": 4, "in a last batch": 4}[rows]
    n_rows = {"in batches": 6, "left by a split": 2, "in calls": 1, "in a last batch": 9}[rows]
    split = ValidSplit(2) if rows == "left by a split" else None
    net = subject.net(module__hidden_units=(16,), module__batch_norm=True, max_epochs=2)
    net.set_params(batch_size=batch_size, train_split=split)
    small_draws = {name: 1 for name in ("replay_batch_size", "batch_size") if name in subject.parameters}
    estimator = subject.small(net=net, **small_draws)
    X, y = DIGITS.X_train[DIGITS.y_train < 2], DIGITS.y_train[DIGITS.y_train < 2]
    for start in range(0, 3 * n_rows, n_rows):
        part = slice(start, start + n_rows)
        estimator.partial_fit(X[part], subject.targets(y[part]))
    answers = (estimator.predict if subject.is_regressor else estimator.predict_proba)(X)
    assert np.isfinite(answers).all()


@check(lambda subject: subject.is_eager and classifies(subject))
def labels_may_be_smoothed(subject):
    first, second = stream("task", n_experiences=5)[:2]
    net = subject.net(module__hidden_units=(16,), lr=0.01, max_epochs=10, criterion__label_smoothing=0.1)
    clf = subject.learned(subject.small(net=net), [first, second])
    assert clf.score(second.X_test, second.y_test, task_id=second.task_id) > 0.7


@check(lambda subject: subject.is_eager and hasattr(subject.cls, "gradient_on"))
def callbacks_score_its_answers(subject):
    """Each epoch's score, of kept outputs and of new ones, is that of the answers."""
    first, second = stream(n_experiences=5)[:2]
    scoring = "neg_mean_squared_error" if subject.is_regressor else "accuracy"
    callbacks = [
        ("kept", EpochScoring(scoring, name="kept", lower_is_better=False)),
        ("new", EpochScoring(scoring, name="new", lower_is_better=False, use_caching=False)),
        ("train", EpochScoring(scoring, name="train", lower_is_better=False, on_train=True)),
    ]
    net = subject.net(module__hidden_units=(16,), lr=0.03, max_epochs=4)
    net.set_params(callbacks=callbacks, train_split=ValidSplit(4))
    estimator = subject.small(net=net)
    announced = {} if subject.is_regressor else {"classes": np.arange(10)}
    for e in (first, second):
        estimator.partial_fit(e.X_train[:80], subject.targets(e.y_train[:80]), **announced)
        for epoch in estimator.net_.history:
            np.testing.assert_allclose(epoch["kept"], epoch["new"], rtol=1e-4, atol=0.02)
        last = estimator.net_.history[-1]
        assert np.isfinite(last["train"])
        # In later calls a method may put rows in front that it has kept, and they are what is held out.
        assert e is second or last["kept"] > (-0.5 if subject.is_regressor else 0.8)


# --- failed calls -----------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "NaN": (lambda X, y: (np.where(X == X.max(), np.nan, X), y), "NaN"),
    "infinity": (lambda X, y: (np.where(X == X.max(), np.inf, X), y), "infinity"),
    "empty": (lambda X, y: (X[:0], y[:0]), "0 sample"),
    "one dimension": (lambda X, y: (X[0], y), "Expected 2D array"),
    "another number of features": (lambda X, y: (X[:, :-1], y), "features"),
    "text that is no number": (lambda X, y: (np.full(X.shape, "abc"), y), "could not convert|dtype='numeric'"),
    "lengths that differ": (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
}
BAD_LABELS = {
    "labels that are continuous": (lambda X, y: (X, y + 0.5), "continuous|Unknown label type"),
    "labels of which one is None": (lambda X, y: (X, [None, *map(str, y[1:])]), r"missing \(None\); leave"),
    "numbers as objects": (lambda X, y: (X, y.astype(object)), r"Unknown label type: .*dtype object.*y\.astype"),
}
BAD_TARGETS = {
    "targets that are NaN": (lambda X, y: (X, y * np.nan), "y contains NaN"),
    "targets of another shape": (lambda X, y: (X, y[:, 0]), "y has shape"),
    "targets that are text": (lambda X, y: (X, np.full(len(y), "abc")), "y has a value that is no number"),
    "targets that are dates": (lambda X, y: (X, y[:, 0].astype("datetime64[s]")), "y has dates or durations"),
}


@check()
def bad_input_changes_nothing(subject):
    second = stream(n_experiences=2)[1]
    estimator = subject.taught(n_experiences=2, n_learned=1)
    twin = copy.deepcopy(estimator)
    for kind, (spoil, message) in (BAD_INPUT | (BAD_TARGETS if subject.is_regressor else BAD_LABELS)).items():
        refusal = ""
        try:
            estimator.partial_fit(*spoil(second.X_train[:60], subject.targets(second.y_train[:60])))
        except ValueError as error:
            refusal = str(error)
        assert re.search(message, refusal), (kind, refusal)
        subject.assert_same(estimator, twin, kind)
    subject.assert_unchanged(estimator, twin, second)


class Interrupting(torch.nn.Module):
    """A network in which the user presses Ctrl-C when so many batches are left."""

    countdown = 10**9

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.hidden = torch.nn.Linear(n_inputs, n_inputs)
        self.head = torch.nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        if self.training:
            Interrupting.countdown -= 1
            if Interrupting.countdown == 0:
                raise KeyboardInterrupt
        return self.head(self.hidden(x))


@check(lambda subject: subject.has_net and not subject.trains_once)
def interrupt_in_the_third_call_changes_nothing(subject):
    first, second, third, fourth = stream("domain")[:4]
    estimator = subject.learned(subject.small(net=subject.net(Interrupting, max_epochs=4)), [first, second])
    train, rows = estimator.partial_fit, (third.X_train, subject.targets(third.y_train))
    if subject.is_lazy:
        estimator.partial_fit(*rows)
        train, rows = estimator.predict, rows[:1]
    twin = copy.deepcopy(estimator)
    Interrupting.countdown = 12
    try:
        with pytest.raises(KeyboardInterrupt):
            train(*rows)
    finally:
        Interrupting.countdown = 10**9
    subject.assert_unchanged(estimator, twin, fourth)


@check(is_eager)
def divergence_in_the_third_call_is_an_error_and_changes_nothing(subject):
    third, fourth = stream("domain")[2:4]
    estimator = subject.taught("domain", n_learned=2)
    twin = copy.deepcopy(estimator)
    with pytest.raises(FloatingPointError, match="net__lr"):
        estimator.partial_fit(third.X_train * 1e38, subject.targets(third.y_train))
    subject.assert_unchanged(estimator, twin, fourth)


@check(is_eager)
def training_that_diverges_changes_nothing(subject):
    third, fourth = stream("domain")[2:4]
    estimator = subject.taught("domain", n_learned=2)
    twin, rate = copy.deepcopy(estimator), estimator.net.lr
    estimator.set_params(net__lr=1e38)
    with contextlib.suppress(FloatingPointError):
        subject.learned(estimator, [third])
        return  # the rate plays no part
    estimator.set_params(net__lr=rate)
    subject.assert_unchanged(estimator, twin, fourth)


@check(is_eager)
def failed_first_call_leaves_an_unfitted_estimator(subject):
    estimator = subject.brief()
    with pytest.raises(FloatingPointError):
        estimator.partial_fit(DIGITS.X_train[:60] * 1e38, subject.targets(DIGITS.y_train[:60]))
    with pytest.raises(NotFittedError):
        estimator.predict(DIGITS.X_test)


@check()
def fit_forgets_everything(subject):
    second = stream(n_experiences=2)[1]
    X, y = second.X_train[:60], subject.targets(second.y_train[:60])
    used = subject.taught(n_experiences=2, n_learned=1).fit(X, y)
    fresh = subject.brief().fit(X, y)
    assert subject.is_regressor or used.classes_.tolist() == [5, 6, 7, 8, 9]
    assert np.array_equal(subject.bits(used), subject.bits(fresh))


# --- parameters ------------------------------------------------------------------------------------------------------


@check(has_net)
def prototype_stays_unfitted(subject):
    net = subject.net(module__hidden_units=(16,), max_epochs=1)
    estimator = subject.small(net=net)
    subject.learned(estimator, stream(n_experiences=2))
    assert not net.initialized_ and not hasattr(net, "module_")
    assert estimator.net is net


@check(has_net)
def set_params_reaches_the_net(subject):
    estimator = subject.small().set_params(net__lr=0.5, net__module__hidden_units=(7,))
    assert clone(estimator).get_params()["net__lr"] == 0.5
    assert estimator.net.lr == 0.5


@check()
def goes_through_grid_search_and_cross_validation(subject):
    estimator = subject.brief()
    params = [*estimator.get_params(deep=False).items()][:1]
    grid = {"net__lr": [0.001, 0.01]} if subject.has_net else {name: [value] for name, value in params}
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_.keys() == grid.keys()
    assert len(cross_val_score(estimator, X, y, cv=2, error_score="raise")) == 2


@check()
def wrong_parameters_are_named(subject):
    values = subject.brief().get_params(deep=False)
    for parameter in [p for p, v in values.items() if isinstance(v, int | float) and p != "random_state"]:
        with pytest.raises(ValueError, match=parameter):
            subject.brief(**{parameter: "nonsense"}).fit(DIGITS.X_train[:50], subject.targets(DIGITS.y_train[:50]))


def has_initialize(subject):
    return hasattr(subject.cls, "initialize")


@check(has_initialize)
def untrained_network_can_answer(subject):
    estimator = subject.brief()
    estimator.initialize(DIGITS.X_train, subject.targets(np.arange(len(DIGITS.X_train)) % 10))
    assert estimator.score(DIGITS.X_test, subject.targets(DIGITS.y_test)) < 0.5
    assert subject.learned(estimator, stream()[:2]).n_experiences_ == 2


# --- what it carries --------------------------------------------------------------------------------------------------


@check()
def memory_usage_counts_bytes(subject):
    with pytest.raises(NotFittedError):
        subject.brief().memory_usage()
    estimator = subject.taught("task", n_learned=3)
    usage = estimator.memory_usage()
    assert usage and all(isinstance(n, int) and n > 0 for n in usage.values())
    assert ("replay" in usage) == ("samples" in estimator.strategy_info()["keeps"])
    # Every tensor that stands beside the net is counted, as whatever it is.
    tensors = [value for name, value in vars(estimator).items() if torch.is_tensor(value)]
    if tensors and subject.is_eager:
        net = estimator.net_
        state = [t for entry in net.optimizer_.state.values() for t in entry.values() if torch.is_tensor(t)]
        of_net = sum(t.nbytes for t in [*net.module_.parameters(), *net.module_.buffers(), *state])
        assert sum(usage.values()) - of_net >= sum(t.nbytes for t in tensors)


@check()
def what_keeps_nothing_has_no_sample_in_its_pickle(subject):
    estimator = subject.brief()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 64)).astype(np.float32)
    y = subject.targets(np.arange(80) % 4)
    estimator.partial_fit(X[:40], y[:40]).partial_fit(X[40:], y[40:])
    assert bool(found_in_pickle(estimator, X)) == (estimator.strategy_info()["keeps"] == "samples")


def found_in_pickle(estimator, X):
    """Which rows are in an estimator's bytes; eight features in a row are as good as a fingerprint of the sample."""
    pickled = pickle.dumps(estimator)
    return {
        k for k, row in enumerate(X) if row[:8].tobytes() in pickled or row[:8].astype(np.float64).tobytes() in pickled
    }


# --- what it can take away and take over ------------------------------------------------------------------------------


def unlearns(*kinds):
    return lambda subject: subject.small().strategy_info()["unlearns"] in kinds


def in_double(subject, e):
    """The arguments of ``partial_fit`` with rows of float64: sums are as precise as what is summed."""
    call = subject.call(e)
    return call | {"X": call["X"].astype(np.float64)}


def learned_in_double(subject, experiences):
    estimator = subject.brief()
    for e in experiences:
        estimator.partial_fit(**in_double(subject, e))
    return estimator


def assert_same_answers(subject, estimator, twin, rtol=1e-6):
    """Equal to a share of the largest score, and the same labels."""
    if subject.is_regressor:
        found, expected = estimator.predict(DIGITS.X_test), twin.predict(DIGITS.X_test)
    else:
        assert np.array_equal(estimator.predict(DIGITS.X_test), twin.predict(DIGITS.X_test))
        found, expected = (
            e.output_scores(e.checked(DIGITS.X_test, reset=False))[:, np.sort(e.seen_outputs_)]
            for e in (estimator, twin)
        )
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())


@check(unlearns("exact"), scenario=("class", "domain"))
def unlearned_rows_were_never_seen(subject, scenario):
    first, second, third = stream(scenario)[:3]
    estimator = learned_in_double(subject, [first, second, third])
    call = in_double(subject, second)
    for rows in (slice(40, None), slice(40)):  # in another order and other parts than they came in
        assert estimator.unlearn(call["X"][rows], call["y"][rows]) is estimator
    assert_same_answers(subject, estimator, learned_in_double(subject, [first, third]))
    one, other = ([in_double(subject, e)[name] for name in ("X", "y")] for e in (first, third))
    with pytest.raises(ValueError, match="more than there are"):
        estimator.unlearn(*(np.concatenate([rows, rows, rows]) for rows in one))
    estimator.unlearn(*one)
    with pytest.raises(ValueError, match="would leave nothing"):
        estimator.unlearn(*other)
    assert_same_answers(subject, estimator, learned_in_double(subject, [third]))


@check(unlearns("exact"), scenario=("class", "domain"))
def merged_estimators_have_seen_both(subject, scenario):
    first, second, third = stream(scenario)[:3]
    one, other = learned_in_double(subject, [first, second]), learned_in_double(subject, [third])
    assert one.merge(other) is one
    assert_same_answers(subject, one, learned_in_double(subject, [first, second, third]))
    assert one.n_experiences_ == 3


@check(unlearns("memory only"))
def forgotten_samples_are_gone(subject):
    estimator, rng = subject.brief(), np.random.default_rng(0)
    X, y = rng.normal(size=(80, 64)).astype(np.float32), subject.targets(np.arange(80) % 4)
    estimator.partial_fit(X[:40], y[:40]).partial_fit(X[40:], y[40:])
    if estimator.strategy_info()["keeps"] != "samples":  # sums beside trained weights
        estimator.unlearn(X[40:], y[40:])
        assert_same_answers(subject, estimator, subject.brief().partial_fit(X[:40], y[:40]))
        return
    before = found_in_pickle(estimator, X)
    gone = set(range(0, 80, 3))
    assert before & gone
    assert estimator.forget_samples(X[sorted(gone)]) is estimator
    assert found_in_pickle(estimator, X) == before - gone
    assert np.isfinite(subject.bits(estimator)).all()
    twin = copy.deepcopy(estimator)
    subject.assert_same(estimator.forget_samples(X[sorted(gone)]), twin)
    with pytest.raises(ValueError, match="features"):
        estimator.forget_samples(X[:, 1:])
    subject.assert_same(estimator, twin)
    assert found_in_pickle(estimator.partial_fit(X[:40:2], y[:40:2]), X) >= {0}


@check()
def has_no_method_that_it_cannot_keep(subject):
    estimator = subject.small()
    exact, memory_only = unlearns("exact")(subject), unlearns("memory only")(subject)
    assert hasattr(estimator, "forget_samples") == (memory_only and not hasattr(estimator, "unlearn"))
    assert hasattr(estimator, "unlearn") or not exact
    assert hasattr(estimator, "unlearn") == hasattr(estimator, "merge")
    assert exact or memory_only or not hasattr(estimator, "unlearn")


NET_ALTERNATIVES = {
    "net__lr": 0.1,
    "net__max_epochs": 3,
    "net__batch_size": 7,
    "net__optimizer": torch.optim.SGD,
    "net__criterion__reduction": "sum",
    "net__module__hidden_units": (5,),
}


def alternatives(subject):
    """Another value for each parameter."""
    estimator = subject.brief()
    constraints = {}
    for own in declared(subject.cls, "parameter_constraints"):
        constraints |= own
    for name, value in estimator.get_params(deep=False).items():
        if name == "net":
            yield from NET_ALTERNATIVES.items()
        elif name == "random_state":
            yield name, 1
        elif isinstance(value, bool):
            yield name, not value
        elif isinstance(value, int):
            yield name, 2 * value
        elif isinstance(value, float):
            yield name, value / 2
        elif isinstance(value, tuple):
            yield name, (30,)
        for allowed in constraints.get(name, ()):
            for option in getattr(allowed, "options", ()):
                if option != value:
                    yield name, option
            if (value is None or isinstance(value, str)) and hasattr(allowed, "left"):
                yield name, allowed.left + 1  # of an interval


@check()
def changed_parameters_take_effect_or_are_refused(subject):
    """What is set between calls is not ignored, unless it plays no part from the start."""
    first, *later_ones = stream("domain")[:3]
    begun = subject.learned(subject.brief(), [first], n_rows=30)

    def continued(estimator):
        """The answers after each later call."""
        for e in later_ones:
            yield subject.bits(subject.learned(estimator, [e], n_rows=30))

    unchanged = list(continued(copy.deepcopy(begun)))

    def are_unchanged(estimator):
        return all(np.array_equal(*each) for each in zip(continued(estimator), unchanged, strict=True))

    for name, value in alternatives(subject):
        refusal = ""
        try:
            ignored = are_unchanged(copy.deepcopy(begun).set_params(**{name: value}))
        except ValueError as error:
            ignored, refusal = True, str(error)
        if name.removeprefix("net__") in refusal or not ignored:
            continue
        with contextlib.suppress(ValueError):  # there are values that ask for something else, such as task ids
            begun_with = subject.learned(subject.brief().set_params(**{name: value}), [first], n_rows=30)
            assert are_unchanged(begun_with), (name, value, refusal)


@check(has_later_parameters)
def later_parameters_change_nothing_in_fit(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    plain = subject.bits(subject.brief().fit(X, y))
    others = [(name, value) for name, value in alternatives(subject) if name in subject.later]
    assert {name for name, _ in others} == subject.later
    for name, value in others:
        assert np.array_equal(subject.bits(subject.brief(**{name: value}).fit(X, y)), plain), (name, value)


# --- at the door ------------------------------------------------------------------------------------------------------


@check()
def score_checks_what_it_compares(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    estimator = subject.brief().fit(X, y)
    expected = estimator.score(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.score(X, y[:1])
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples|sample_weight"):
        estimator.score(X, y, sample_weight=np.ones(1))
    assert estimator.score(X, y, sample_weight=np.full(60, 2.0)) == pytest.approx(expected)
    if not subject.is_regressor:
        assert estimator.score(X, y[:, None]) == expected
        with pytest.raises(ValueError, match="Mix of label input types"):
            estimator.score(X, y.astype(str))


TASK_IDS = {
    "tensor": lambda n_rows: torch.tensor(3),
    "array without dimensions": lambda n_rows: np.array(3),
    "number of NumPy": lambda n_rows: np.int64(3),
    "array of rows": lambda n_rows: np.full(n_rows, 3),
    "tensor of rows": lambda n_rows: torch.full((n_rows, 1), 3),
    "Series of rows": lambda n_rows: pd.Series([3] * n_rows, index=range(7, 7 + n_rows)),
    "list of rows": lambda n_rows: [3] * n_rows,
}


@check()
def equal_task_ids_are_one_task(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    estimator = subject.brief()
    for make in TASK_IDS.values():
        estimator.partial_fit(X[:30], y[:30], task_id=make(30))
    assert estimator.n_experiences_ == 1
    assert [(type(task), task) for task in estimator.tasks_] == [(int, 3)]
    asked = ["predict", *([] if subject.is_regressor else ["predict_proba", "decision_function"])]
    for twin in (estimator, pickle.loads(pickle.dumps(estimator))):
        expected = {method: getattr(twin, method)(X, task_id=3) for method in asked}
        for kind, make in TASK_IDS.items():
            for method, answer in expected.items():
                assert np.array_equal(getattr(twin, method)(X, task_id=make(60)), answer), kind
            assert twin.score(X, y, task_id=make(60)) == twin.score(X, y, task_id=3), kind


@check()
def task_ids_that_are_none_are_refused(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    estimator = subject.brief()
    for task_id, message in (
        (np.arange(60) % 2, "split the rows"),
        (np.zeros(59), "shape"),
        (float("nan"), "missing"),
        (pd.NA, "missing"),
        (np.full(60, np.nan), "several values|missing"),
        ({}, "give a number"),
    ):
        with pytest.raises(ValueError, match=f"task_id.*({message})"):
            estimator.partial_fit(X, y, task_id=task_id)
    assert not hasattr(estimator, "tasks_")


@check()
def no_accepted_row_spoils_what_is_learned(subject):
    X, y = DIGITS.X_train[:120], subject.targets(DIGITS.y_train[:120])
    fresh = subject.small(n_epochs=5)
    if subject.has_net:
        fresh.set_params(net__lr=0.03)
    taught = clone(fresh).fit(X, y)
    good = taught.score(DIGITS.X_test, subject.targets(DIGITS.y_test))
    for value, n_spoiled, before in (
        *((value, 1, taught) for value in (1e19, 1e30, 3e38)),
        (1e19, 1, None),
        (3e38, 1, None),
        (1e19, len(X), taught),
        (3e38, len(X), taught),
    ):
        estimator, spoiled = copy.deepcopy(before or fresh), X.copy()
        spoiled[7 : 7 + n_spoiled] = value
        with suppress(FloatingPointError):
            estimator.partial_fit(spoiled, y)
        if before and estimator.n_experiences_ == before.n_experiences_:
            assert np.array_equal(subject.bits(estimator), subject.bits(before)), value
        estimator.partial_fit(X, y)
        assert np.isfinite(subject.bits(estimator)).all(), value
        if n_spoiled == 1:
            assert estimator.score(DIGITS.X_test, subject.targets(DIGITS.y_test)) > good - 0.2, value


@check()
def rows_that_cannot_be_learned_are_refused_with_what_to_do(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    table = pd.DataFrame(X[:, :4], columns=list("abcd"))
    missing = table.convert_dtypes()
    missing.iloc[0, 0] = pd.NA
    for rows, message in (
        (X.reshape(60, 8, 8), r"reshape\(len\(X\), -1\)"),
        (table.assign(when=pd.Timestamp("2024-01-01")), "'when' has dates.*numbers"),
        (np.full(X.shape, "2024-01-01", dtype="datetime64[D]"), "dates.*numbers"),
        (missing, "NaN|missing"),
        (X.astype(str).astype(object) + "x", "could not convert"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            subject.brief().partial_fit(rows, y)


@check()
def sparse_rows_are_learned_like_dense_ones(subject):
    X, y = DIGITS.X_train[:60], subject.targets(DIGITS.y_train[:60])
    dense, sparse = subject.brief().fit(X, y), subject.brief().fit(csr_array(X), y)
    assert np.array_equal(dense.predict(X), sparse.predict(csr_array(X)))


@check(classifies)
def labels_of_tables_are_labels(subject):
    X, y = DIGITS.X_train[:60], DIGITS.y_train[:60] % 2
    plain = subject.brief().fit(X, y).predict(X)
    for labels, classes in (
        (pd.Series(y, dtype="Int64"), pd.Series([0, 1], dtype="Int64")),
        (pd.Series(y == 1, dtype="boolean"), pd.Series([False, True], dtype="boolean")),
        (pd.Series(np.array(["a", "b"])[y], dtype="string"), pd.Series(["a", "b"], dtype="string")),
        (pd.Series(np.array(["a", "b"])[y], dtype="category"), pd.Categorical(["a", "b"])),
    ):
        clf = subject.brief().partial_fit(X, labels, classes=classes)
        assert np.array_equal(clf.predict(X) == clf.classes_[1], plain == 1)
        assert clf.score(X, labels) == np.mean(plain == y)
        with pytest.raises(ValueError, match="NaN"):
            subject.brief().partial_fit(X, labels.mask(y == 0))
