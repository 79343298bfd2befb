"""Learning without forgetting against divergences computed by hand."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, learned, make_net, make_stream
from torch.nn import functional as F

from forgetless.estimators import (
    LwFClassifier,
)
from forgetless.estimators.distillation.lwf import distillation_loss


def test_distillation_loss_of_a_case_computed_by_hand():
    # Teacher (2 ln 3, 0) at T = 2: (3/4, 1/4); student (0, 0): (1/2, 1/2).
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120
    teacher, student = torch.tensor([[2 * np.log(3), 0.0]]), torch.zeros(1, 2)
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(0.1308120, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "scaled", "weights"),
    [
        (0.25, True, (0.25, 0.75 * 4)),
        (0.25, False, (0.25, 0.75)),
        ("balanced", True, (0.5, 0.5 * 4)),
    ],
)
def test_lwf_loss_equals_the_formula(alpha, scaled, weights):
    X, y = DIGITS.X_train, DIGITS.y_train
    old, new = y < 6, y >= 6
    clf = LwFClassifier(
        make_net(max_epochs=1), alpha=alpha, temperature=2.0, scale_by_temperature=scaled, random_state=0
    )
    clf.partial_fit(X[old], y[old])
    teacher = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(X[new], y[new])
    x, target = torch.as_tensor(X[new][:30]), torch.as_tensor(y[new][:30])
    loss = clf._loss(clf.net_.module_, (x, target, clf._outputs(x, clf.teacher_)))
    with torch.no_grad():
        p = (teacher(x) / 2).softmax(1)  # six classes were known
        q = (clf.net_.module_(x)[:, :6] / 2).softmax(1)
        kl = (p * (p.log() - q.log())).sum(1).mean()
        expected = weights[0] * F.cross_entropy(clf.net_.module_(x), target) + weights[1] * kl
    torch.testing.assert_close(loss.detach(), expected)


@pytest.mark.parametrize(("active", "n_old"), [("seen", 6), ("all", 10)])
def test_lwf_may_distil_among_all_active_outputs(active, n_old):
    X, y = DIGITS.X_train, DIGITS.y_train
    options = {"temperature": 2.0, "distilled_outputs": "active", "active_outputs": active, "random_state": 0}
    clf = LwFClassifier(make_net(max_epochs=1), **options).partial_fit(X[y < 6], y[y < 6], classes=np.arange(10))
    clf.partial_fit(X[y >= 6], y[y >= 6])
    x = torch.as_tensor(X[y >= 6][:30])
    student, teacher = clf._outputs(x), clf._outputs(x, clf.teacher_)
    # To the teacher, outputs that it had not in its softmax have probability 0; the student's softmax has all ten.
    p, q = (teacher[:, :n_old] / 2).softmax(1), (student / 2).softmax(1)[:, :n_old]
    torch.testing.assert_close(clf._distillation(student, teacher), (p * (p.log() - q.log())).sum(1).mean())


def test_lwf_distils_each_old_task_by_itself():
    clf = learned(LwFClassifier(make_net(max_epochs=1), temperature=1.0, random_state=0), make_stream("task"))
    x = torch.as_tensor(DIGITS.X_test[:30])
    student, teacher = clf._outputs(x), clf._outputs(x, clf.teacher_)
    kls = []
    for task in range(4):
        p, q = teacher[:, clf.tasks_[task]].softmax(1), student[:, clf.tasks_[task]].softmax(1)
        kls.append((p * (p.log() - q.log())).sum(1).mean())
    torch.testing.assert_close(clf._distillation(student, teacher), sum(kls) / 4, rtol=1e-4, atol=1e-6)
