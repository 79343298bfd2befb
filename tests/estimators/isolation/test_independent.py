"""A network per task: old ones stay, and who answers where no task is named."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, learned, make_net, make_stream
from scipy import stats

from forgetless.estimators import IndependentClassifier

make_net = partial(make_net, module__hidden_units=(20, 20), lr=0.01)


def stream(scenario="task", n_experiences=5):
    return list(make_stream(scenario, n_experiences, class_order="sorted"))


def test_independent_networks_of_old_tasks_never_change():
    first, *others = make_stream("task")
    clf = learned(IndependentClassifier(make_net(), random_state=0), [first])
    before = clf.predict_proba(DIGITS.X_test, task_id=0)
    learned(clf, others)
    columns = np.isin(clf.classes_, first.classes)
    assert np.array_equal(clf.predict_proba(DIGITS.X_test, task_id=0)[:, columns], before)
    assert len(clf.learners_) == 5


def test_independent_by_entropy_takes_the_most_certain_network():
    clf = learned(IndependentClassifier(make_net(max_epochs=5), random_state=0), stream("class"))
    entropies, answers = [], []
    for learner in clf.learners_.values():
        p = learner.predict_proba(DIGITS.X_test)
        entropies.append(stats.entropy(p, axis=1) / np.log(p.shape[1]))
        answers.append(learner.predict(DIGITS.X_test))
    expected = np.stack(answers)[np.argmin(entropies, axis=0), np.arange(len(DIGITS.X_test))]
    assert np.array_equal(clf.predict(DIGITS.X_test), expected)


def test_independent_by_task_id_needs_one():
    clf = IndependentClassifier(make_net(max_epochs=1), integration="task_id", random_state=0)
    first, second = stream()[:2]
    learned(clf, [first])
    assert np.array_equal(clf.predict(DIGITS.X_test), clf.predict(DIGITS.X_test, task_id=first.task_id))
    learned(clf, [second])
    assert clf.strategy_info()["needs_task_id"]
    with pytest.raises(ValueError, match="needs the task_id"):
        clf.predict(DIGITS.X_test)


def separable(rng, centre, labels):
    return (centre + 0.3 * rng.normal(size=(120, 6))).astype(np.float32), np.resize(labels, 120)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_gate_finds_the_expert_on_separable_inputs(shuffled):
    """Labels are noise within a task, so the networks are unsure: only inputs tell the task."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 3
    clf = IndependentClassifier(make_net(), integration="gate", gate_units=2, random_state=0)
    for k, centre in enumerate(centres):
        X, y = separable(rng, centre, [2 * k, 2 * k + 1])
        clf.partial_fit(X[:60], y[:60], task_id=k).partial_fit(X[60:], y[60:], task_id=k)
    X = np.vstack([separable(rng, centre, [0])[0] for centre in centres])
    task = np.repeat(np.arange(4), 120)
    order = rng.permutation(len(X)) if shuffled else np.arange(len(X))
    assert (clf.predict(X[order]) // 2 == task[order]).all()
    assert clf.strategy_info()["keeps"] == "statistics"


@pytest.mark.parametrize(("gate_units", "n_units"), [(2, 2), (10, 3)])
def test_a_gate_has_at_most_half_as_many_units_as_inputs(gate_units, n_units):
    X, y = separable(np.random.default_rng(0), 0.0, [0, 1])
    clf = IndependentClassifier(make_net(max_epochs=1), integration="gate", gate_units=gate_units, random_state=0)
    [(_, _, coder)] = clf.partial_fit(X, y, task_id="a").gates_.values()
    assert coder.net_.module_.hidden[0].out_features == n_units


def test_the_gate_that_reconstructs_best_decides():
    experiences = stream("class")
    clf = learned(IndependentClassifier(make_net(), integration="gate", random_state=0), experiences)
    errors, answers = [], []
    for key, (mean, scale, coder) in clf.gates_.items():
        (encoder, _), decoder = coder.net_.module_.hidden, coder.net_.module_.head
        z = torch.from_numpy((DIGITS.X_test - mean) / scale).float()
        reconstruction = decoder(encoder(z).relu()).detach().numpy() * scale + mean
        errors.append(((reconstruction - DIGITS.X_test) ** 2).mean(axis=1))
        answers.append(clf.learners_[key].predict(DIGITS.X_test))
        assert encoder.out_features == 10
    expected = np.stack(answers)[np.argmin(errors, axis=0), np.arange(len(DIGITS.X_test))]
    assert np.array_equal(clf.predict(DIGITS.X_test), expected)


def test_votes_are_means_over_the_networks_that_know_a_class():
    X, y = DIGITS.X_train, DIGITS.y_train
    clf = IndependentClassifier(make_net(), integration="vote", random_state=0)
    known = [[0, 1, 2], [2, 3], [2, 3, 4, 5]]
    for k, classes in enumerate(known):
        rows = np.isin(y, classes)
        clf.partial_fit(X[rows], y[rows], task_id=k)
    expected = np.zeros((len(DIGITS.X_test), 6))
    for k, classes in enumerate(known):
        expected[:, classes] += clf.predict_proba(DIGITS.X_test, task_id=k)[:, classes]
    expected /= [1, 1, 3, 2, 1, 1]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(DIGITS.X_test), expected, atol=1e-9)


@pytest.mark.parametrize("integration", ["entropy", "gate", "vote"])
def test_integrations_do_not_matter_where_the_task_is_known(integration):
    experiences = stream()
    a = learned(IndependentClassifier(make_net(), integration="task_id", random_state=0), experiences)
    b = learned(IndependentClassifier(make_net(), integration=integration, random_state=0), experiences)
    for e in experiences:
        assert np.array_equal(
            a.predict_proba(DIGITS.X_test, task_id=e.task_id), b.predict_proba(DIGITS.X_test, task_id=e.task_id)
        )


def test_a_gate_counts_in_memory():
    plain, gated = (
        learned(IndependentClassifier(make_net(), integration=i, random_state=0), stream()[:2]).memory_usage()
        for i in ("entropy", "gate")
    )
    assert gated["weights"] - plain["weights"] == 2 * 4 * (64 * 10 + 10 + 10 * 64 + 64)
