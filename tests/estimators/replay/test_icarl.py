"""iCaRL: its loss, its exemplars and the nearest of their means."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, learned, loss_of_call
from helpers.replay import greedy, index_in, make_net, make_stream, unit_features

from forgetless.estimators import ICaRLClassifier


def binary_cross_entropy(p, target):
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def sigmoid(z):
    return 1 / (1 + np.exp(-z.detach().double().numpy()))


def test_icarl_loss_equals_the_formula():
    clf = ICaRLClassifier(make_net(), buffer_size=40, random_state=0)
    experiences = list(make_stream(n_experiences=3))
    for e in experiences[:2]:
        clf.partial_fit(e.X_train, e.y_train)
    n_old = len(clf.classes_)
    teacher = copy.deepcopy(clf.net_.module_).eval()
    exemplars = clf.memory_.stored().x.numpy()
    batches = []
    clf.loss = lambda call, forward, batch: batches.append(batch) or ICaRLClassifier.loss(clf, call, forward, batch)
    loss = loss_of_call(clf, experiences[2].X_train, experiences[2].y_train)
    (batch,) = batches
    x, y, module = batch.x, batch.y, clf.net_.module_
    assert len(x) == len(experiences[2].X_train) + 40  # new rows and all exemplars
    assert len(index_in(x.numpy(), exemplars)) == 40
    p, q = sigmoid(module(x)), sigmoid(teacher(x))
    total = 0.0
    for row in range(len(x)):
        for output in range(len(clf.classes_)):
            target = q[row, output] if output < n_old else float(y[row] == output)
            total += binary_cross_entropy(p[row, output], target)
    assert loss == pytest.approx(total / len(x), rel=1e-5)


def test_icarl_learns_classes_that_come_again_from_labels():
    clf = ICaRLClassifier(make_net(), buffer_size=40, random_state=0)
    first, second = list(make_stream("domain"))[:2]
    clf.partial_fit(first.X_train, first.y_train)
    for y, distilled in [(second.y_train, []), (np.where(second.y_train == 0, 0, 7), [1])]:
        call = clf.open_call(second.X_train, y)
        clf.learn(call)
        assert call.state.distilled.tolist() == distilled


def test_icarl_loss_ignores_classes_that_were_only_announced():
    e = make_stream()[0]
    clf = ICaRLClassifier(make_net(), random_state=0)
    call = clf.open_call(e.X_train, e.y_train, classes=np.arange(10))
    clf.start_training(call)
    outputs = torch.randn(4, 10, requires_grad=True)
    call.objective.loss(outputs, torch.tensor([0, 1, 0, 1])).backward()
    assert outputs.grad[:, :2].all() and not outputs.grad[:, 2:].any()


def test_icarl_answers_the_nearest_mean_of_exemplars():
    clf = learned(ICaRLClassifier(make_net(), buffer_size=57, random_state=0), make_stream())
    x, y = clf.memory_.stored().x.numpy(), clf.memory_.stored().y.numpy()
    assert set(np.bincount(y)) == {5, 6}
    exemplars, rows = (unit_features(clf.net_.module_, t) for t in (x, DIGITS.X_test))
    means = np.stack([exemplars[y == output].mean(axis=0) for output in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    distances = np.square(rows[:, None] - means).sum(axis=2)
    np.testing.assert_allclose(clf.decision_function(DIGITS.X_test), -distances, atol=1e-5)


def test_icarl_exemplars_are_herded_and_thinned_out_from_the_end():
    clf = ICaRLClassifier(make_net(), buffer_size=24, random_state=0)
    first, second = make_stream(n_experiences=2)
    clf.partial_fit(first.X_train, first.y_train)
    module = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(second.X_train, second.y_train)
    x, y = clf.memory_.stored().x.numpy(), clf.memory_.stored().y.numpy()
    for digit in range(10):
        e, at_the_time = (first, module) if digit < 5 else (second, clf.net_.module_)
        members = e.X_train[e.y_train == digit]
        expected = members[greedy(unit_features(at_the_time, members), (y == digit).sum())]
        assert np.array_equal(np.unique(x[y == digit], axis=0), np.unique(expected, axis=0))


def test_icarl_answers_a_class_without_exemplars_only_where_no_other_can_be():
    clf = learned(ICaRLClassifier(make_net(), buffer_size=6, random_state=0), make_stream("task"))
    without = np.setdiff1d(np.arange(10), clf.memory_.stored().y)
    assert len(without) == 4
    assert not np.isin(clf.predict(DIGITS.X_test), without).any()
    for task, outputs in clf.tasks_.items():  # digits come in order, so outputs are digits
        assert np.isin(clf.predict(DIGITS.X_test, task_id=task), outputs).all()
