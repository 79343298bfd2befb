"""What may give different scores has different identities, in every process; what has none is refused by name."""

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import math
import pathlib
import random
import re
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from helpers.benchmarks import NET, Spy, iris, run
from helpers.processes import environment
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import EpochScoring

from forgetless.benchmarks.runs.identity import describe, describe_stream, digest
from forgetless.datasets import with_label_noise
from forgetless.datasets.streams import Stream
from forgetless.estimators import NaiveClassifier, make_incremental_pipeline


@dataclasses.dataclass
class Point:
    x: float = 0.0
    y: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class SlottedPoint:
    x: float = 0.0


class Slots:
    __slots__ = ("__dict__", "a")

    def __init__(self, a, b):
        self.a, self.b = a, b

    def method(self):
        return self.a

    def other_method(self):
        return self.b


class Pair(collections.namedtuple("Pair", "a b")):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Holder(BaseEstimator):
    """An estimator whose parameter may be anything."""

    def __init__(self, what=None, random_state=None):
        self.what = what
        self.random_state = random_state

    def partial_fit(self, X, y, classes=None):
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def by_hand(x):
    return x


def filled(module, value):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def with_(thing, **attributes):
    thing = copy.deepcopy(thing)
    for name, value in attributes.items():
        setattr(thing, name, value)
    return thing


def tied(same):
    one, two = (filled(torch.nn.Linear(2, 2), 1.0) for _ in range(2))
    if same:
        two.weight = one.weight
    return torch.nn.Sequential(one, two)


def with_buffer(value, persistent):
    module = torch.nn.Identity()
    module.register_buffer("mean", torch.tensor([value]), persistent=persistent)
    return module


def with_hook(*hooks):
    module = torch.nn.Identity()
    for hook in hooks:
        module.register_forward_hook(hook)
    return module


def layers(*names):
    known = {"a": torch.nn.ReLU(), "b": torch.nn.Tanh()}
    return torch.nn.Sequential(collections.OrderedDict((name, known[name]) for name in names))


def advanced(rng):
    rng.random()
    return rng


def masked(mask):
    return np.ma.array([1.0, 2.0], mask=mask)


DTYPE = [("a", "i4"), ("b", "f4")]
linear = torch.nn.Linear(2, 2, bias=False)
fitted = [GaussianNB().fit([[0.0], [1.0 + shift]], [0, 1]) for shift in range(2)]

# The things of a line are different from each other, and each is the same as a copy of itself.
DIFFERENT = {
    "truth and numbers": [True, 1, 1.0, "1", "True", None, "None", b"1", 1 + 0j, np.float32(1), np.int8(1), Level.LOW],
    "floats": [0.0, -0.0, math.nan, math.inf, -math.inf, "nan", np.float32(0.0), np.complex64(0)],
    "bytes": [b"a", bytearray(b"a"), "a", b"b", Text("a")],
    "dict keys": [{1: 0}, {"1": 0}, {True: 0}, {1.0: 0}, {None: 0}, {"None": 0}, {(1,): 0}, {1: 1}],
    "dicts": [
        {"a": 1},
        {"a": 2},
        {"class": "builtins.set"},
        set(),
        collections.OrderedDict(a=1),
        collections.defaultdict(int, a=1),
        collections.defaultdict(list, a=1),
        collections.Counter(a=1),
    ],
    "ordered dicts": [collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)],
    "sets": [{1, 2}, frozenset({1, 2}), [1, 2], {1, 2, 3}, {"set": [1, 2]}, {1, (2,)}],
    "ranges and slices": [range(3), range(0, 3, 2), [0, 1, 2], slice(3), slice(0, 3), Ellipsis],
    "dataclasses": [Point(), Point(1.0), Point(0, 0), {"x": 0.0, "y": 0.0}, SlottedPoint(), SlottedPoint(1.0)],
    "slots": [Slots(1, 2), Slots(2, 2), Slots(1, 3)],
    "namedtuples": [Pair(1, 2), Pair(2, 2), (1, 2)],
    "enums": [Colour.RED, Colour.BLUE, 1, "Colour.RED", Colour],
    "other values": [
        decimal.Decimal("1.0"),
        decimal.Decimal("1.00"),
        datetime.date(2000, 1, 1),
        datetime.datetime(2000, 1, 1),
        re.compile("a"),
        re.compile("a", re.IGNORECASE),
        pathlib.PurePosixPath("a"),
        "a",
    ],
    "methods": [Slots(1, 2).method, Slots(2, 2).method, Slots(1, 2).other_method, Slots.method, [1].append, [2].append],
    "functions": [math.pow, "math.pow", math.sin, by_hand, np.add, np.multiply, torch.relu, torch.tanh, max],
    "partials": [
        functools.partial(pow, 2),
        functools.partial(pow, 3),
        functools.partial(pow, exp=2),
        functools.partial(max, 2),
        functools.partial(pow, np.float32(2)),
    ],
    "classes": [Point, SlottedPoint, "Point", pathlib.Path, collections.OrderedDict],
    "arrays": [
        np.zeros(2),
        np.zeros(2, np.float32),
        np.zeros(2, ">f8"),
        np.zeros((2, 1)),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "M8[D]"),
        np.array([0.0, -0.0]),
        np.array([0.0, 0.0], object),
        np.array([0, 0], object),
        np.array([[0.0], [0.0]], object),
        [0.0, 0.0],
        np.matrix([[0.0], [0.0]]),
        masked([True, False]),
        masked([False, True]),
    ],
    "structured arrays": [
        np.zeros(2, DTYPE),
        np.ones(2, DTYPE),
        np.zeros(2, [("c", "i4"), ("b", "f4")]),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, "V8"),
        np.zeros(2, DTYPE).view(np.recarray),
        np.zeros((), DTYPE)[()],
    ],
    "dtypes": [np.dtype("f4"), np.dtype("f8"), np.dtype(DTYPE), np.dtype([("a", "i4")]), np.float32, "float32"],
    "sparse": [scipy.sparse.eye(2).tocsr(), scipy.sparse.eye(2).tocsc(), 2 * scipy.sparse.eye(2).tocsr(), np.eye(2)],
    "pandas": [
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"b": [1, 2]}),
        pd.DataFrame({"a": [1, 3]}),
        pd.DataFrame({"a": [1.0, 2.0]}),
        pd.DataFrame({"a": [1, 2]}, index=[1, 2]),
        pd.Series([1, 2]),
        pd.Series([1, 2], name="a"),
        pd.Categorical(["a", "b"]),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
        pd.Timestamp("2000-01-01"),
        pd.Index([1, 2]),
    ],
    "tensors": [
        torch.ones(2),
        torch.zeros(2),
        torch.ones(2, dtype=torch.float64),
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, 1),
        torch.ones(2).requires_grad_(),
        torch.nn.Parameter(torch.ones(2)),
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.ones(2), requires_grad=False),
        torch.tensor(1.0),
        torch.ones(2).to_sparse(),
        np.ones(2, np.float32),
    ],
    "torch": [
        torch.float32,
        torch.float64,
        "torch.float32",
        torch.device("cpu"),
        torch.device("cuda"),
        torch.Size([1]),
    ],
    "modules": [
        filled(torch.nn.Linear(2, 2), 0.0),
        filled(torch.nn.Linear(2, 2), 1.0),
        filled(torch.nn.Linear(2, 2), 1.0).eval(),
        filled(torch.nn.Linear(2, 2), 1.0).requires_grad_(False),
        filled(torch.nn.Linear(2, 2), 1.0).double(),
        filled(torch.nn.Linear(2, 2, bias=False), 1.0),
        tied(True),
        tied(False),
        layers("a", "b"),
        layers("b", "a"),
        torch.nn.ModuleDict({"a": filled(torch.nn.Linear(2, 2), 1.0)}),
        torch.nn.ModuleDict({"a": filled(torch.nn.Linear(2, 2), 0.0)}),
        torch.nn.ParameterList([torch.ones(1)]),
        torch.nn.ParameterList([torch.zeros(1)]),
        torch.nn.LazyLinear(2),
        torch.nn.LazyLinear(3),
        torch.nn.Dropout(0.1),
        torch.nn.Dropout(0.2),
    ],
    "buffers": [
        with_buffer(0.0, True),
        with_buffer(1.0, True),
        with_buffer(0.0, False),
        with_buffer(1.0, False),
        torch.nn.Identity(),
    ],
    "hooks": [
        with_hook(),
        with_hook(by_hand),
        with_hook(math.sin),
        with_hook(by_hand, math.sin),
        with_hook(math.sin, by_hand),
        with_hook(functools.partial(pow, 2)),
    ],
    "random states": [
        Holder([np.random.RandomState(0)]),
        Holder([np.random.RandomState(1)]),
        Holder([np.random.default_rng(0)]),
        Holder([np.random.default_rng(1)]),
        Holder([advanced(np.random.default_rng(0))]),
        Holder([np.random.Generator(np.random.MT19937(0))]),
        Holder([np.random.SeedSequence(0)]),
        Holder([random.Random(0)]),
        Holder([advanced(random.Random(0))]),
        Holder([torch.Generator().manual_seed(0)]),
        Holder([torch.Generator().manual_seed(1)]),
    ],
    "random states that the runner does not set": [
        Holder({"a": SGDClassifier(random_state=0)}),
        Holder({"a": SGDClassifier(random_state=1)}),
        Holder([SGDClassifier(random_state=0)]),
        Holder([SGDClassifier(random_state=1)]),
    ],
    "fitted estimators that a clone keeps": [
        *(FrozenEstimator(each) for each in fitted),
        *(Holder({"a": each}) for each in fitted),
        Holder({"a": GaussianNB()}),
        Holder(fitted[0].predict),
        Holder(fitted[1].predict),
    ],
    "callbacks": [
        with_(NET, callbacks=[EpochScoring("accuracy")]),
        with_(NET, callbacks=[EpochScoring("accuracy", lower_is_better=False)]),
        with_(NET, callbacks=[("a", EpochScoring("accuracy"))]),
        with_(NET, callbacks=[EpochScoring(by_hand)]),
        NET,
    ],
    "transformers": [FunctionTransformer(np.log1p), FunctionTransformer(np.exp), FunctionTransformer(None)],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_different_things_have_different_identities(kind):
    things = DIFFERENT[kind]
    digests = [digest(describe(thing)) for thing in things]
    twins = [(a, b) for a in range(len(things)) for b in range(a) if digests[a] == digests[b]]
    assert not [(things[a], things[b]) for a, b in twins]


@pytest.mark.parametrize("kind", [kind for kind in DIFFERENT if kind != "methods"])
def test_a_copy_has_the_same_identity(kind):
    for thing in DIFFERENT[kind]:
        assert describe(copy.deepcopy(thing)) == describe(thing) or math.isnan(thing), thing


SAME = {
    "dicts in any order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "mixed keys in any order": ({"a": 1, 2: 3}, {2: 3, "a": 1}),
    "sets in any order": (set("abcdefg"), set("gfedcba")),
    "scalars of numpy": ([1, 0.5, True, "a"], [np.int64(1), np.float64(0.5), np.bool_(True), np.str_("a")]),
    "lists and tuples": ([1, [2]], (1, (2,))),
    "padding of structured arrays": (
        np.zeros(1, np.dtype(DTYPE, align=True)),
        np.empty(1, np.dtype(DTYPE, align=True)),
    ),
    "memory order": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "what the runner sets": (SGDClassifier(random_state=0), SGDClassifier(random_state=1)),
    "what the runner sets in a part": (
        make_incremental_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
        make_incremental_pipeline(StandardScaler(), SGDClassifier(random_state=1)),
    ),
    "fitted state that a clone loses": (fitted[0], GaussianNB()),
    "fitted state that a clone loses in a list": (Holder([fitted[0]]), Holder([GaussianNB()])),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_thing_has_one_identity(kind):
    one, other = SAME[kind]
    if kind.startswith("padding"):
        other["a"], other["b"] = 0, 0
    assert digest(describe(one)) == digest(describe(other))


def test_things_that_contain_themselves():
    one, other = [1], [2]
    one.append(one)
    other.append(other)
    assert describe(one) != describe(other)
    assert describe(one) == [1, {"again": 1}]


def impostor():
    def by_hand(x):
        return -x

    by_hand.__qualname__ = "by_hand"
    return by_hand


NAMELESS = {
    "lambda": lambda x: x,
    "closure": functools.wraps(math.pow)(lambda x: x),
    "of another's name": impostor(),
    "class in a function": type("Point", (), {"__module__": __name__})(),
    "lock": threading.Lock(),
    "generator": (x for x in ()),
    "module": math,
    "meta tensor": torch.ones(2, device="meta"),
    "method of a nameless thing": functools.partial(lambda x: x),
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_what_cannot_be_identified_is_refused_by_name(kind):
    with pytest.raises(ValueError, match=re.escape("The parameter what[1]['part']")) as caught:
        describe(Holder([0, {"part": NAMELESS[kind]}]))
    assert "found again in a store" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_nested_parameters():
    pipeline = make_incremental_pipeline(StandardScaler(), Holder(Slots(1, lambda x: x)))
    with pytest.raises(ValueError, match=r"The parameter steps\[1\]\[1\]__what\.b"):
        describe(pipeline)
    with pytest.raises(ValueError, match="The parameter net__callbacks"):
        describe(NaiveClassifier(net=with_(NET, callbacks=[EpochScoring(lambda x: x)])))


# --- the same in every process -----------------------------------------------------------------------------------

PROGRAM = """
import collections, torch, numpy as np, pandas as pd, random
from forgetless.benchmarks.runs.identity import describe, digest
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
for _ in range({extra}):  # hooks are numbered through the life of a process
    torch.nn.Identity().register_forward_hook(max)
module.register_forward_hook(max)
things = [module, {{1, "a", (2, 3), None}}, np.random.default_rng(0), random.Random(0), pd.DataFrame({{"a": ["x"]}}),
          torch.relu, np.add, collections.OrderedDict(a=1), {{1: 2, "1": 3}}, torch.Generator(), range(3), 1j]
print([digest(describe(thing)) for thing in things])
"""


def test_identities_are_the_same_in_every_process():
    printed = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(extra=seed)],
            check=True,
            capture_output=True,
            text=True,
            env=environment(PYTHONHASHSEED=str(seed)),
        ).stdout
        for seed in range(2)
    }
    assert len(printed) == 1


SCRIPT = """
import sys
from sklearn.linear_model import SGDClassifier
from forgetless.benchmarks import run_benchmark
from forgetless.datasets import load_iris, split_stream
class Mine(SGDClassifier):
    def predict(self, X):
        return {what}
if __name__ == "__main__":
    stream = split_stream(load_iris(), n_experiences=3, class_order=[0, 1, 2])
    results = run_benchmark({{"mine": Mine()}}, [stream], seeds=1, n_jobs=1, store="a.db", progress=False)
    print(results.runs["error"][0], results.scores["score"].iloc[-1])
"""


def test_a_class_of_a_script_is_known_by_its_source(tmp_path):
    printed = []
    for what in ("super().predict(X) * 0 + 2", "super().predict(X) * 0 + 9", "super().predict(X) * 0 + 2"):
        (tmp_path / "script.py").write_text(SCRIPT.format(what=what))
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True, text=True, env=environment()
        )
        printed.append(done.stdout)
    assert printed[0] == printed[2] != printed[1]
    assert printed[1] == "None 0.0\n"


def test_classes_of_one_name_in_two_modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    classes = []
    for name in ("one", "other"):
        (tmp_path / f"{name}_module.py").write_text("class Mine: pass\ndef mine(x): return x\n")
        module = __import__(f"{name}_module")
        classes.append([module.Mine, module.Mine(), module.mine])
    for one, other in zip(*classes, strict=True):
        assert describe(one) != describe(other)


# --- in a store --------------------------------------------------------------------------------------------------


class Pretrained(torch.nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, X):
        return self.body(X)


def test_pretrained_modules_that_differ_have_their_own_scores(tmp_path):
    def holder(value):
        return Holder(filled(copy.deepcopy(linear), value))

    first = run({"a": holder(0.0)}, [iris()], store=tmp_path / "a.db")
    second = run({"a": holder(1.0)}, [iris()], store=tmp_path / "a.db")
    again = run({"a": holder(0.0)}, [iris()], store=tmp_path / "a.db")
    assert first.runs["cell"][0] == again.runs["cell"][0] != second.runs["cell"][0]


class OwnStream(Stream):
    """A stream that says the same about itself, whatever its data are."""

    def __init__(self, shift=0.0, dtype="f4", **changed):
        settings = {"name": "own", "scenario": "domain", "classes": np.arange(2), "n_features": 2, "n_experiences": 2}
        super().__init__(**(settings | changed))
        self.shift, self.dtype = shift, dtype

    @property
    def definition(self):
        return {"builder": "own"}

    def make_classes(self, index):
        return np.arange(2)

    def make_train_set(self, index):
        return np.full((4, 2), index, self.dtype) + self.dtype_of(self.shift), np.array([0, 1, 0, 1])

    def make_test_set(self, index):
        return self.make_train_set(index)

    def dtype_of(self, value):
        return np.asarray(value, self.dtype)


class TestOwnStream:
    def test_its_data_are_part_of_its_identity(self):
        changed = (
            {"scenario": "class"},
            {"classes": np.arange(3)},
            {"n_experiences": 1},
            {"shift": 1.0},
            {"dtype": "f8"},
        )
        described = [digest(describe_stream(OwnStream(**each))) for each in ({}, *changed)]
        assert len(set(described)) == len(described)
        announces = OwnStream()
        announces.announces_classes = True
        assert describe_stream(announces) != describe_stream(OwnStream()) == describe_stream(OwnStream())

    def test_other_data_are_not_given_the_old_scores(self, tmp_path, log):
        for n_calls, shift in ((2, 0.0), (4, 1.0), (4, 0.0)):
            run({"spy": Spy()}, {"own": OwnStream(shift)}, store=tmp_path / "a.db")
            assert sum(call[0] == "partial_fit" for call in log) == n_calls
        run({"spy": Spy()}, {"own": lambda seed: OwnStream(2.0)}, store=tmp_path / "a.db")
        assert sum(call[0] == "partial_fit" for call in log) == 6

    def test_its_data_are_part_of_what_is_made_of_it(self):
        described = [describe_stream(with_label_noise(OwnStream(shift), 0.5, 0)) for shift in (0.0, 1.0, 0.0)]
        assert described[0] == described[2] != described[1]

    def test_a_class_derived_from_ours_is_not_ours(self):
        stream = iris()
        own = copy.copy(stream)
        own.__class__ = type("Derived", (type(stream),), {"__module__": __name__})
        assert "data" in describe_stream(own)
        assert describe_stream(stream) == stream.definition

    def test_a_definition_that_cannot_be_described(self):
        stream = OwnStream()
        stream.__class__ = type("Odd", (OwnStream,), {"definition": property(lambda self: {"f": lambda x: x})})
        with pytest.raises(ValueError, match="The stream 'own' cannot be identified"):
            describe_stream(stream)
