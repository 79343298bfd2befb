"""Seeds trained as one stacked network against seeds trained one by one."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    AnchoredClassifier,
    ContinualNet,
    DERClassifier,
    ERACEClassifier,
    EWCClassifier,
    FeatureDistillationClassifier,
    ICaRLClassifier,
    LwFClassifier,
    MASClassifier,
    NaiveClassifier,
    ReplayClassifier,
    SIClassifier,
    SLDAClassifier,
    partial_fit_together,
)
from forgetless.estimators import stacked as stacked_module
from forgetless.estimators.memory import ReplayMemory

DIGITS = load_digits()
N_SEEDS = 3
ROUNDING_OF_RISE = {"rtol": 1e-2, "atol": 2e-6}  # of a difference of two losses of about 1
STRATEGIES = {
    "naive": NaiveClassifier(),
    "l2": AnchoredClassifier(strength=0.1),
    "l1": AnchoredClassifier(penalty="l1", strength=0.1),
    "ewc": EWCClassifier(ewc_lambda=100.0),
    "si": SIClassifier(),
    "mas": MASClassifier(),
    "replay": ReplayClassifier(buffer_size=60),
    "balanced replay": ReplayClassifier(buffer_size=60, policy="class_balanced", replay_weight="balanced"),
    "interfered replay": ReplayClassifier(buffer_size=60, retrieval="mir"),
    "er-ace": ERACEClassifier(buffer_size=60),
    "der++": DERClassifier(buffer_size=60),
    "icarl": ICaRLClassifier(buffer_size=60),
    "lwf": LwFClassifier(),
    "features": FeatureDistillationClassifier(),
}


def make_net(**params):
    return ContinualNet(MLP, **{"module__hidden_units": (30,), "lr": 1e-3, "max_epochs": 3, **params})


def streams(scenario, **params):
    return [split_stream(DIGITS, n_experiences=5, scenario=scenario, random_state=s, **params) for s in range(N_SEEDS)]


def call(e):
    return {"X": e.X_train, "y": e.y_train, "task_id": e.task_id}


def count_stacked_steps(monkeypatch):
    counts = {"all": 0, "one": 0}
    for kind in counts:
        original = getattr(stacked_module._Stack, f"_step_of_{kind}")

        def counted(self, *args, original=original, kind=kind):
            counts[kind] += 1
            return original(self, *args)

        monkeypatch.setattr(stacked_module._Stack, f"_step_of_{kind}", counted)
    return counts


class Retrieval(TorchFunctionMode):
    """Stands where retrieval by interference chooses: notes what seeds choose alone, and lets their twins have that.

    Of two rows that are interfered with nearly alike, rounding decides, and all that comes later differs by it. So the
    twin's choice is held against the one that was noted as far as rounding allows, and both go on with the same rows.
    """

    def __init__(self, alone, together, monkeypatch):
        super().__init__()
        self.alone, self.together, self.memory = alone, together, None
        self.noted, self.n_choices, self.n_same = [[] for _ in alone], 0, 0
        sample = ReplayMemory.sample

        def sample_noting_whose(memory, *args, **kwargs):
            self.memory = memory
            return sample(memory, *args, **kwargs)

        monkeypatch.setattr(ReplayMemory, "sample", sample_noting_whose)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        chosen = function(*args, **(kwargs or {}))
        return self.choice(args[0], chosen) if function is torch.Tensor.topk else chosen

    def choice(self, rise, chosen):
        for noted, one, twin in zip(self.noted, self.alone, self.together, strict=True):
            if self.memory is one.memory_:
                noted.append((rise, chosen))
                return chosen
            if self.memory is twin.memory_:
                rise_alone, chosen_alone = noted.pop(0)
                torch.testing.assert_close(rise, rise_alone, **ROUNDING_OF_RISE)
                # Rows may change places where they rise alike; no row that rises more is left for one that rises less.
                torch.testing.assert_close(rise_alone[chosen.indices], chosen_alone.values, **ROUNDING_OF_RISE)
                self.n_choices += 1
                self.n_same += set(chosen.indices.tolist()) == set(chosen_alone.indices.tolist())
                return chosen_alone
        raise AssertionError("rows were chosen from a memory that belongs to nobody")


def learn_both_ways(alone, together, scenario):
    for experiences in zip(*streams(scenario), strict=True):
        for clf, e in zip(alone, experiences, strict=True):
            clf.partial_fit(**call(e))
        partial_fit_together(together, [call(e) for e in experiences])


def assert_equal_up_to_rounding(alone, together):
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(b.net_.flatten(), a.net_.flatten(), rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(b.predict_proba(DIGITS.X_test), a.predict_proba(DIGITS.X_test), atol=5e-3)
        assert np.mean(a.predict(DIGITS.X_test) == b.predict(DIGITS.X_test)) > 0.99
        assert a.memory_usage() == b.memory_usage()
        assert a.n_experiences_ == b.n_experiences_ == 5
        np.testing.assert_allclose(a.net_.history[:, "train_loss"], b.net_.history[:, "train_loss"], rtol=1e-3)
    assert not torch.equal(together[0].net_.flatten(), together[1].net_.flatten())


def assert_same_memories(alone, together):
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a.memory_.stored(), b.memory_.stored(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, equal_nan=True)
        np.testing.assert_array_equal(a.memory_.keys, b.memory_.keys)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_stacked_equals_one_by_one_up_to_rounding(name, scenario, monkeypatch):
    alone = [copy.deepcopy(STRATEGIES[name]).set_params(net=make_net(), random_state=s) for s in range(N_SEEDS)]
    together = copy.deepcopy(alone)
    counts = count_stacked_steps(monkeypatch)
    with Retrieval(alone, together, monkeypatch) if name == "interfered replay" else nullcontext() as retrieval:
        learn_both_ways(alone, together, scenario)
    assert counts["all"] > counts["one"]
    assert_equal_up_to_rounding(alone, together)
    if name in ("replay", "balanced replay", "interfered replay", "er-ace", "der++"):
        assert_same_memories(alone, together)
    if retrieval:
        assert not any(retrieval.noted)
        assert retrieval.n_same > 0.9 * retrieval.n_choices > 0


def test_stacked_seeds_go_on_alone():
    seeds = [EWCClassifier(make_net(), random_state=s) for s in range(N_SEEDS)]
    first, second = zip(*[list(stream)[:2] for stream in streams("class")], strict=True)
    partial_fit_together(seeds, [call(e) for e in first])
    twin = copy.deepcopy(seeds[1]).partial_fit(**call(second[1]))
    seeds[1].partial_fit(**call(second[1]))
    assert torch.equal(seeds[1].net_.flatten(), twin.net_.flatten())


@pytest.mark.parametrize(
    "estimators",
    [
        [SLDAClassifier(), SLDAClassifier()],
        [NaiveClassifier(make_net(module__dropout=0.5), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(module__batch_norm=True), random_state=s) for s in range(2)],
        [NaiveClassifier(make_net(optimizer=torch.optim.RMSprop), random_state=s) for s in range(2)],
    ],
    ids=["no network", "dropout", "batch norm", "another optimiser"],
)
def test_what_cannot_be_stacked_learns_one_by_one(estimators, monkeypatch):
    counts = count_stacked_steps(monkeypatch)
    alone = copy.deepcopy(estimators)
    calls = [call(stream[0]) for stream in streams("class")[:2]]
    partial_fit_together(estimators, calls)
    for clf, twin, arguments in zip(estimators, alone, calls, strict=True):
        twin.partial_fit(**arguments)
        assert np.array_equal(clf.predict_proba(DIGITS.X_test), twin.predict_proba(DIGITS.X_test))
    assert counts == {"all": 0, "one": 0}


def test_all_or_none_learn():
    seeds = [NaiveClassifier(make_net(), random_state=s) for s in range(2)]
    calls = [call(stream[0]) for stream in streams("class")[:2]]
    partial_fit_together(seeds, calls)
    before = [clf.predict_proba(DIGITS.X_test) for clf in seeds]
    bad = [calls[0], {**calls[1], "X": calls[1]["X"] * np.float32(3e38)}]
    with pytest.raises(FloatingPointError, match="diverged"):
        partial_fit_together(seeds, bad)
    for clf, p in zip(seeds, before, strict=True):
        assert clf.n_experiences_ == 1
        assert np.array_equal(clf.predict_proba(DIGITS.X_test), p)
