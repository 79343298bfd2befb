"""The work of a call, counted beside it, against counts by hand."""

import math

import numpy as np
import pytest
import torch
from helpers.estimators import make_net

from forgetless.estimators import (
    MLP,
    ContinualNet,
    EWCClassifier,
    LwFClassifier,
    NaiveClassifier,
    ReplayClassifier,
    SLDAClassifier,
    partial_fit_together,
)
from forgetless.estimators.engine.work import counted, note

X, Y = np.eye(8, 3, dtype=np.float32), np.arange(8) % 2
FORWARD = 2 * (3 * 5 + 5 * 2)  # an MLP of 3 inputs, 5 hidden units, 2 outputs
STEP = FORWARD + FORWARD + 2 * 5 * 2  # back to the weights, and to the hidden units


def small_net(**params):
    return make_net(module__hidden_units=(5,), max_epochs=3, batch_size=4, **params)


def second_call(clf):
    clf.partial_fit(X, Y)
    with counted() as work:
        clf.partial_fit(X, Y)
    return work.samples_seen, work.flops()


@pytest.mark.parametrize(
    ("clf", "n_steps", "n_forward"),
    [
        (NaiveClassifier(small_net()), 24, 0),
        (ReplayClassifier(small_net(), buffer_size=8), 48, 0),
        (LwFClassifier(small_net()), 24, 8),  # the teacher's answers
        (EWCClassifier(small_net(), fisher="empirical"), 24 + 8, 0),
    ],
    ids=["naive", "replay", "lwf", "ewc"],
)
def test_operations_are_those_counted_by_hand(clf, n_steps, n_forward):
    assert second_call(clf) == (n_steps, n_steps * STEP + n_forward * FORWARD)


def test_any_module_counts_as_the_chain_does():
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.GELU(), torch.nn.Linear(5, 2))
    assert second_call(NaiveClassifier(ContinualNet(module, max_epochs=3, batch_size=4))) == (24, 24 * STEP)


@pytest.mark.parametrize("kind", [MLP, torch.nn.Sequential])
def test_a_network_that_has_grown_or_was_frozen_is_counted_again(kind):
    if kind is MLP:
        module = MLP(3, 2, hidden_units=(5,))
        first = module.hidden[0]
    else:
        module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
        first = module[0]

    def operations():
        with counted() as work:
            note(module, torch.zeros(4, 3), back=True)
        return work.flops()

    assert operations() == operations() == 4 * STEP
    first.requires_grad_(False)
    assert operations() == 4 * (FORWARD + 2 * 5 * 2)
    head = torch.nn.Linear(5, 3)
    if kind is MLP:
        module.head = head
    else:
        module[2] = head
    assert operations() == 4 * (FORWARD + 2 * 5 + 2 * 5 * 3)


def test_a_stack_counts_each_seed():
    clfs = [NaiveClassifier(small_net(), random_state=seed) for seed in (0, 1)]
    with counted() as work:
        partial_fit_together(clfs, [{"X": X, "y": Y}] * 2)
    assert (work.samples_seen, work.flops()) == (48, 48 * STEP)


def test_what_has_no_network_has_no_count_and_nothing_is_counted_unasked():
    assert all(map(math.isnan, second_call(SLDAClassifier())))
    clf = NaiveClassifier(small_net()).partial_fit(X, Y)
    with counted() as work:
        pass
    clf.partial_fit(X, Y)
    assert math.isnan(work.flops())


def test_recorded_work_counts_at_each_replay():
    module = torch.nn.Linear(3, 2)
    with counted() as recorded:
        note(module, torch.zeros(4, 3), back=True)
    with counted() as work:
        recorded.repeat()
        recorded.repeat()
    assert (work.samples_seen, work.flops()) == (8, 8 * (2 * 3 * 2) * 2)
