"""Steps recorded as graphs against steps that are not; the battery has this for every class by itself.

Where there is no GPU, a stand-in takes the place of CUDA's recording, see ``helpers.tape``.
"""

import copy
import warnings

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, STACKABLE, call, learned, make_net, make_stream, seed_streams
from helpers.tape import tape_for_cuda
from skorch.callbacks import Callback

from forgetless.estimators import GenerativeReplayClassifier, NaiveClassifier, PackNetClassifier, partial_fit_together
from forgetless.estimators.engine import graph as graph_module

# What the battery's own networks do not have.
RECORDED = {
    "balanced replay": STACKABLE["balanced replay"],
    "interfered replay": STACKABLE["interfered replay"],
    "l1": STACKABLE["l1"],
    "generative replay": GenerativeReplayClassifier(hidden_units=(20,), latent_size=5),
    "batch norm": NaiveClassifier(),
    "momentum": NaiveClassifier(),
}
NETS = {
    "batch norm": {"module__batch_norm": True},
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "lr": 0.05},
}


@pytest.fixture
def tape():
    """Make the CPU a device that has graphs; returns the class that counts recordings."""
    with tape_for_cuda() as recording:
        yield recording


def learn(clf, scenario="class", n_experiences=3):
    return learned(clf, list(make_stream(scenario))[:n_experiences])


def assert_alike(clf, twin):
    torch.testing.assert_close(clf.net_.flatten(), twin.net_.flatten(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(clf.net_.history[:, "train_loss"], twin.net_.history[:, "train_loss"], rtol=1e-4)
    for one, other in zip(clf.net_.optimizer_.state.values(), twin.net_.optimizer_.state.values(), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scenario", ["class", "task"])
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_steps_equal_others(name, scenario, request):
    clf = copy.deepcopy(RECORDED[name]).set_params(net=make_net(**NETS.get(name, {})), random_state=0)
    twin = learn(copy.deepcopy(clf), scenario)
    tape = request.getfixturevalue("tape")
    learn(clf, scenario)
    assert tape.n_replays > 3 * tape.n_made > 0
    assert_alike(clf, twin)


@pytest.mark.parametrize("name", ["naive", "ewc", "replay", "der++"])
def test_recorded_stacks_equal_others(name, request):
    alone = [copy.deepcopy(STACKABLE[name]).set_params(net=make_net(), random_state=s) for s in range(3)]
    together = copy.deepcopy(alone)
    experiences = list(zip(*seed_streams("class", 3), strict=True))[:3]
    for seeds in experiences:
        partial_fit_together(alone, [call(e) for e in seeds])
    tape = request.getfixturevalue("tape")
    for seeds in experiences:
        partial_fit_together(together, [call(e) for e in seeds])
    assert tape.n_replays > 3 * tape.n_made > 0
    for clf, twin in zip(together, alone, strict=True):
        assert_alike(clf, twin)


class Halving(Callback):
    """Halves the rate after each epoch, without hearing of batches."""

    def on_epoch_end(self, net, **kwargs):
        net.optimizer_.param_groups[0]["lr"] /= 2


def test_a_new_rate_is_recorded_anew(request):
    clf = NaiveClassifier(make_net(callbacks=[("rate", Halving())]), random_state=0)
    twin = learn(copy.deepcopy(clf), n_experiences=1)
    tape = request.getfixturevalue("tape")
    learn(clf, n_experiences=1)
    assert tape.n_made == 3  # one for each epoch; the last, smaller batch comes once in each
    assert_alike(clf, twin)


class Listener(Callback):
    """Hears of every batch."""

    def on_batch_end(self, net, **kwargs):
        pass


@pytest.mark.parametrize(
    "clf",
    [
        PackNetClassifier(make_net()),
        NaiveClassifier(make_net(optimizer=torch.optim.RMSprop)),
        NaiveClassifier(make_net(callbacks=[("batches", Listener())])),
    ],
    ids=["steps are not pure", "the optimiser's own steps", "somebody looks at each batch"],
)
def test_other_steps_are_not_recorded(clf, tape):
    learn(clf, "task", n_experiences=1)
    assert tape.n_made == 0


def test_what_cannot_be_recorded_is_done_as_it_is(tape, monkeypatch):
    def refuse(work, batch):
        raise RuntimeError("operation not permitted when stream is capturing\nand so on")

    clf = NaiveClassifier(make_net(), random_state=0)
    twin = copy.deepcopy(clf)
    monkeypatch.setattr(graph_module, "Recording", refuse)
    with pytest.warns(UserWarning, match="without CUDA graphs, more slowly: operation not permitted"):
        learn(clf, n_experiences=1)
    monkeypatch.undo()
    assert_alike(clf, learn(twin, n_experiences=1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", STACKABLE | RECORDED)
def test_on_a_gpu(name, monkeypatch):
    net = make_net(device="cuda", **NETS.get(name, {}))
    clf = copy.deepcopy((STACKABLE | RECORDED)[name]).set_params(net=net, random_state=0)
    twin = copy.deepcopy(clf)
    with warnings.catch_warnings(action="error"):
        learn(clf)
    monkeypatch.setattr(graph_module, "can_record", lambda theta, steps: False)
    learn(twin)
    torch.testing.assert_close(clf.net_.flatten(), twin.net_.flatten(), rtol=1e-2, atol=1e-3)
    assert np.mean(clf.predict(DIGITS.X_test) == twin.predict(DIGITS.X_test)) > 0.98
