"""Seeds trained as one stacked network against seeds trained one by one.

The battery proves it for each class as it is; here are parameters of theirs, experiences of different sizes, what
stays in memories, and what is refused.
"""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, STACKABLE, call, make_net, make_stream, seed_streams
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AGEMClassifier,
    ContinualNet,
    EWCClassifier,
    MERClassifier,
    NaiveClassifier,
    NetworkClassifier,
    ReplayClassifier,
    SLDAClassifier,
    make_incremental_pipeline,
    partial_fit_together,
)
from forgetless.estimators.replay.replay import Replay

[DIGITS_AS_ONE] = make_stream(n_experiences=1)
N_SEEDS = 2
ROUNDING_OF_RISE = {"rtol": 1e-2, "atol": 2e-6}  # of a difference of two losses of about 1

# What the battery does not have, and those whose memories are compared.
NAMES = ("l1", "replay", "balanced replay", "interfered replay", "er-ace", "der++", "mer", "a-gem")


class Retrieval:
    """Stands where retrieval by interference chooses: notes what seeds choose alone, and lets their twins have that.

    Of two rows that are interfered with nearly alike, rounding decides, and all that comes later differs by it. So the
    twin's choice is held against the one that was noted as far as rounding allows, and both go on with the same rows.
    """

    def __init__(self, alone, stacked, monkeypatch):
        self.alone, self.stacked = alone, stacked
        self.noted, self.n_choices, self.n_same = [[] for _ in alone], 0, 0
        most_interfered = Replay.most_interfered

        def choose(clf, before, after, n_rows):
            return self.choice(clf, after - before, most_interfered(clf, before, after, n_rows))

        monkeypatch.setattr(Replay, "most_interfered", choose)

    def choice(self, clf, rise, chosen):
        for noted, one, twin in zip(self.noted, self.alone, self.stacked, strict=True):
            if clf is one:
                noted.append((rise, chosen))
                return chosen
            if clf is twin:
                rise_alone, chosen_alone = noted.pop(0)
                torch.testing.assert_close(rise, rise_alone, **ROUNDING_OF_RISE)
                # Rows may change places where they rise alike; no row that rises more is left for one that rises less.
                torch.testing.assert_close(rise_alone[chosen], rise_alone[chosen_alone], **ROUNDING_OF_RISE)
                self.n_choices += 1
                self.n_same += set(chosen.tolist()) == set(chosen_alone.tolist())
                return chosen_alone
        raise AssertionError("rows were chosen by nobody")


def assert_equal_up_to_rounding(alone, stacked, n_experiences):
    for a, b in zip(alone, stacked, strict=True):
        torch.testing.assert_close(b.net_.flatten(), a.net_.flatten(), rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(b.predict_proba(DIGITS.X_test), a.predict_proba(DIGITS.X_test), atol=5e-3)
        assert np.mean(a.predict(DIGITS.X_test) == b.predict(DIGITS.X_test)) > 0.99
        assert a.memory_usage() == b.memory_usage()
        assert a.n_experiences_ == b.n_experiences_ == n_experiences
        np.testing.assert_allclose(a.net_.history[:, "train_loss"], b.net_.history[:, "train_loss"], rtol=1e-3)
    assert not torch.equal(stacked[0].net_.flatten(), stacked[1].net_.flatten())


def assert_same_memories(alone, stacked):
    for a, b in zip(alone, stacked, strict=True):
        one, other = a.memory_.stored(), b.memory_.stored()
        assert one.names() == other.names()
        for mine, yours in zip(one.tensors(), other.tensors(), strict=True):
            torch.testing.assert_close(mine, yours, rtol=1e-3, atol=1e-3, equal_nan=True)
        np.testing.assert_array_equal(a.memory_.keys, b.memory_.keys)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", NAMES)
def test_stacked_equals_one_by_one_up_to_rounding(name, scenario, monkeypatch):
    alone = [copy.deepcopy(STACKABLE[name]).set_params(net=make_net(), random_state=s) for s in range(N_SEEDS)]
    stacked = copy.deepcopy(alone)
    retrieval = Retrieval(alone, stacked, monkeypatch)
    for experiences in list(zip(*seed_streams(scenario, N_SEEDS), strict=True))[:3]:
        for clf, e in zip(alone, experiences, strict=True):
            clf.partial_fit(**call(e))
        assert partial_fit_together(stacked, [call(e) for e in experiences])
    assert_equal_up_to_rounding(alone, stacked, n_experiences=3)
    if name != "l1":
        assert_same_memories(alone, stacked)
    assert not any(retrieval.noted)
    if name == "interfered replay":
        assert retrieval.n_same > 0.9 * retrieval.n_choices > 0


@pytest.mark.parametrize("params", [{"retrieval": "mir"}, {"memory_batch_size": 30}], ids=["retrieval", "a-gem"])
def test_seeds_that_draw_numbers_of_rows_of_their_own(params):
    """With fewer rows in memory than are drawn, all are drawn; here one seed has 20, and the other 25."""
    cls = ReplayClassifier if "retrieval" in params else AGEMClassifier
    alone, stacked = ([cls(make_net(), **params, random_state=seed) for seed in range(2)] for _ in range(2))
    stream, n_rows = make_stream("domain"), [(20, 25), (100, 90)]
    for e, ends in zip(stream, n_rows, strict=False):
        calls = [{"X": e.X_train[:end], "y": e.y_train[:end]} for end in ends]
        for clf, arguments in zip(alone, calls, strict=True):
            clf.partial_fit(**arguments)
        assert partial_fit_together(stacked, calls)
    assert [len(clf.memory_) for clf in stacked] == [120, 115]
    assert_equal_up_to_rounding(alone, stacked, n_experiences=2)
    assert_same_memories(alone, stacked)


class Following(NetworkClassifier):
    """Batches are weighted by how far the weights are from a moving average, which is replaced after each step."""

    family, source, pure_steps = "regularization", "made up", True
    carries = {"average_": "anchors"}

    def before_training(self, call):
        self.average_ = self.net_.flatten().clone()

    def before_step(self, call, batch):
        distance = (self.average_ - self.net_.flatten()).norm()
        assert (distance > 0) == (call.step > 0)
        batch.weights = distance.expand(len(batch))

    def loss(self, call, forward, batch):
        return super().loss(call, forward, batch) * (1 + batch.weights.mean(-1))

    def after_step(self, call, theta, batch):
        self.average_ = torch.lerp(self.average_, theta, 0.01)


class Weighted(ReplayClassifier):
    """Adds to a batch rows of its memory, and numbers of its own."""

    def before_step(self, call, batch):
        super().before_step(call, batch)
        batch.weight = torch.full((len(batch),), 1.0 + self.random_state)

    def loss(self, call, forward, batch):
        return super().loss(call, forward, batch) * batch.weight.mean(-1)


def test_seeds_add_rows_of_a_memory_and_numbers_of_their_own():
    alone, stacked = ([Weighted(make_net(), buffer_size=60, random_state=seed) for seed in range(2)] for _ in range(2))
    for experiences in list(zip(*seed_streams("domain", 2), strict=True))[:2]:
        for clf, e in zip(alone, experiences, strict=True):
            clf.partial_fit(**call(e))
        assert partial_fit_together(stacked, [call(e) for e in experiences])
    assert_equal_up_to_rounding(alone, stacked, n_experiences=2)


def test_each_seed_sees_its_vectors_as_they_are_before_a_step():
    alone, stacked = ([Following(make_net(), random_state=seed) for seed in range(2)] for _ in range(2))
    calls = [call(stream[0]) for stream in seed_streams("domain", 2)]
    for clf, arguments in zip(alone, calls, strict=True):
        clf.partial_fit(**arguments)
    assert partial_fit_together(stacked, calls)
    assert_equal_up_to_rounding(alone, stacked, n_experiences=1)


def test_hooks_are_told_where_the_loop_is():
    """Batches and steps are counted as without a stack, also where a batch has several steps."""
    places = {True: [], False: []}

    class Noting(MERClassifier):
        def learn_batch(self, call, theta, batch, descend):
            places[theta.ndim > 1].append((call.epoch, call.batch_index, call.step))
            return super().learn_batch(call, theta, batch, descend)

    seeds = [Noting(make_net(max_epochs=2), buffer_size=60, random_state=seed) for seed in range(2)]
    e, n_rows = make_stream()[0], (100, 64)
    calls = [{"X": e.X_train[:n], "y": e.y_train[:n]} for n in n_rows]
    assert partial_fit_together(seeds, calls)
    # Of 32 rows each: a step on new rows; from the second batch on, four on rows from memory follow.
    assert places[True] == [(0, 0, 0), (0, 1, 1), (1, 0, 6), (1, 1, 11)]
    assert places[False] == [(0, 2, 6), (0, 3, 11), (1, 2, 26), (1, 3, 31)]


def test_steps_are_counted_on_where_seeds_could_not_make_one_together():
    noted = []

    class Uneven(NetworkClassifier):
        """In the second step, seeds add numbers of their own to their batches."""

        family, source, pure_steps = "baselines", "made up", True

        def before_step(self, call, batch):
            batch.added = torch.zeros(1 + self.random_state * (call.step == 1))

        def after_step(self, call, theta, batch):
            noted.append((theta.ndim > 1, call.step))

    calls = [call(stream[0]) for stream in seed_streams("domain", 2)]
    calls = [{name: value[:96] for name, value in each.items() if name in ("X", "y")} for each in calls]
    assert partial_fit_together([Uneven(make_net(max_epochs=1), random_state=seed) for seed in (1, 2)], calls)
    assert noted == [(True, 1), (False, 2), (False, 2), (True, 3)]


def test_stacked_seeds_go_on_alone():
    seeds = [EWCClassifier(make_net(), random_state=s) for s in range(N_SEEDS)]
    first, second = zip(*[list(stream)[:2] for stream in seed_streams("class", N_SEEDS)], strict=True)
    partial_fit_together(seeds, [call(e) for e in first])
    twin = copy.deepcopy(seeds[1]).partial_fit(**call(second[1]))
    seeds[1].partial_fit(**call(second[1]))
    assert torch.equal(seeds[1].net_.flatten(), twin.net_.flatten())


class Looking(MLP):
    """A module whose forward pass depends on values."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Dropping(MLP):
    """A module that draws in its forward pass, without a layer that says so."""

    def forward(self, x):
        return super().forward(F.dropout(x, 0.5, self.training))


class Fourier(nn.Module):
    """A module with numbers of its own that are neither parameters nor buffers."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.frequencies = torch.randn(n_inputs, 30) / 8
        self.head = nn.Linear(30, n_outputs)

    def forward(self, x):
        return self.head((x @ self.frequencies).cos())


class Embedding(nn.Module):
    def __init__(self, n_outputs, padding=None):
        super().__init__()
        self.embedding, self.head = nn.Embedding(17, 4, padding_idx=padding), nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.head(self.embedding(x.long()).mean(1))


class Scaling(nn.Module):
    """A module with a parameter without a dimension."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.tensor(1.0)), nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.head(self.scale * x)


@pytest.mark.parametrize(
    "net",
    [
        ContinualNet(Embedding, lr=0.01, max_epochs=2),
        ContinualNet(Scaling, lr=0.01, max_epochs=2),
        make_net(criterion__weight=torch.arange(1.0, 11.0), criterion__label_smoothing=0.1),
        make_net(criterion__ignore_index=3),
    ],
    ids=["embedding", "number", "weights and smoothing", "a label left out"],
)
def test_these_are_stacked(net):
    stacked, calls = [NaiveClassifier(net, random_state=s) for s in range(2)], [call(DIGITS_AS_ONE)] * 2
    alone = [copy.deepcopy(clf).partial_fit(**calls[0]) for clf in stacked]
    assert partial_fit_together(stacked, calls)
    assert_equal_up_to_rounding(alone, stacked, 1)


@pytest.mark.parametrize(
    "estimators",
    [
        [SLDAClassifier(), SLDAClassifier()],
        [NaiveClassifier(ContinualNet(Fourier, max_epochs=2), random_state=s) for s in range(2)],
        [NaiveClassifier(ContinualNet(Embedding, module__padding=0, max_epochs=2), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net().set_params(module=Looking), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net().set_params(module=Dropping), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(module__dropout=0.5), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(module__batch_norm=True), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(optimizer=torch.optim.RMSprop), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(batch_size=-1), random_state=s) for s in range(2)],
    ],
    ids=[
        "no network",
        "module with numbers of its own",
        "padding",
        "module that looks",
        "module that draws",
        "dropout",
        "batch norm",
        "another optimiser",
        "all rows in a batch",
    ],
)
def test_what_cannot_be_stacked_learns_one_by_one(estimators):
    assert_learn_one_by_one(estimators, [call(stream[0]) for stream in seed_streams("class", 2)])


def assert_learn_one_by_one(estimators, calls):
    alone = copy.deepcopy(estimators)
    assert not partial_fit_together(estimators, calls)
    for clf, twin, arguments in zip(estimators, alone, calls, strict=True):
        twin.partial_fit(**arguments)
        assert np.array_equal(clf.predict_proba(DIGITS.X_test), twin.predict_proba(DIGITS.X_test))
        if hasattr(clf, "net_"):  # nothing keeps what others have alive
            n_bytes = 4 * len(clf.net_.flatten())
            kept = [t for state in clf.net_.optimizer_.state.values() for t in state.values() if torch.is_tensor(t)]
            assert all(t.untyped_storage().nbytes() <= n_bytes for t in kept)


def test_all_or_none_learn():
    seeds = [NaiveClassifier(make_net(), random_state=s) for s in range(2)]
    calls = [call(stream[0]) for stream in seed_streams("class", 2)]
    partial_fit_together(seeds, calls)
    before = [clf.predict_proba(DIGITS.X_test) for clf in seeds]
    bad = [calls[0], {**calls[1], "X": calls[1]["X"] * np.float32(3e38)}]
    with pytest.raises(FloatingPointError, match="float32"):
        partial_fit_together(seeds, bad)
    for clf in seeds:
        clf.set_params(net__lr=1e38)
    with pytest.raises(FloatingPointError, match="diverged"):
        partial_fit_together(seeds, calls)
    for clf, p in zip(seeds, before, strict=True):
        assert clf.n_experiences_ == 1
        assert np.array_equal(clf.predict_proba(DIGITS.X_test), p)


# --- estimators that differ in more than their random states ----------------------------------------------------------


class Own(ContinualNet):
    """A net of another class."""


class Deep(MLP):
    """A module of another class."""


def pipeline(seed, n_components=8, **params):
    """Scaler and projection, fitted beforehand, and a classifier."""
    projection = make_pipeline(StandardScaler(), PCA(n_components, random_state=seed)).fit(DIGITS.X_train)
    return make_incremental_pipeline(projection, EWCClassifier(make_net(), random_state=seed, **params))


def pretrained(weights_seed, seed):
    """A classifier whose module is an instance, with weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(weights_seed)
        module = MLP(64, 10, hidden_units=(30,))
    return NaiveClassifier(ContinualNet(module, max_epochs=2), random_state=seed)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (EWCClassifier(make_net()), EWCClassifier(make_net(), ewc_lambda=7.0), "ewc_lambda"),
        (EWCClassifier(make_net()), EWCClassifier(make_net(lr=0.5)), "net__lr"),
        (EWCClassifier(make_net()), EWCClassifier(make_net(module__hidden_units=(9,))), "net__module__hidden_units"),
        (EWCClassifier(make_net()), EWCClassifier(make_net(optimizer__betas=(0.5, 0.9))), "net__optimizer__betas"),
        (EWCClassifier(make_net(optimizer__betas=(0.5, 0.9))), EWCClassifier(make_net()), "net__optimizer__betas"),
        (EWCClassifier(make_net()), EWCClassifier(), "net"),
        (EWCClassifier(make_net()), EWCClassifier(make_net(Own)), "net"),
        (EWCClassifier(make_net()), EWCClassifier(make_net().set_params(module=Deep)), "net__module"),
        (ReplayClassifier(make_net()), ReplayClassifier(make_net(), buffer_size=7), "buffer_size"),
        (SLDAClassifier(), SLDAClassifier(shrinkage=0.25), "shrinkage"),
        (EWCClassifier(make_net()), NaiveClassifier(make_net()), "EWCClassifier and NaiveClassifier"),
        (pipeline(0), pipeline(1, ewc_lambda=7.0), "ewcclassifier__ewc_lambda"),
        (pipeline(0), pipeline(1, n_components=9), "pipeline__pca__n_components"),
        (pretrained(0, seed=0), pretrained(1, seed=1), "net__module"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_parameters_are_refused_by_name(one, other, name):
    estimators = [one, copy.deepcopy(one), other]
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        partial_fit_together(estimators, [call(make_stream()[0])] * 3)
    assert not any(hasattr(estimator, "n_experiences_") for estimator in estimators)


def test_pipelines_that_differ_in_their_seeds_learn_one_by_one():
    calls = [{"X": e.X_train, "y": e.y_train} for e in list(make_stream())[:2]]
    assert_learn_one_by_one([pipeline(seed) for seed in range(2)], calls)


def test_modules_with_equal_weights_are_stacked():
    alone, stacked = ([pretrained(0, seed) for seed in range(2)] for _ in range(2))
    calls = [call(stream[0]) for stream in seed_streams("domain", 2)]
    for clf, arguments in zip(alone, calls, strict=True):
        clf.partial_fit(**arguments)
    assert partial_fit_together(stacked, calls)
    assert_equal_up_to_rounding(alone, stacked, n_experiences=1)
