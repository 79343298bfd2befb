"""Learning without forgetting against divergences computed by hand."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import X, Y, learned, loss_of_call, make_net, make_stream
from torch.nn import functional as F

from forgetless.estimators import LwFClassifier
from forgetless.estimators.engine.penalties import distillation_loss

OLD, NEW = Y < 6, Y >= 6


def test_distillation_loss_of_a_case_computed_by_hand():
    # Teacher (2 ln 3, 0) at T = 2: (3/4, 1/4); student (0, 0): (1/2, 1/2).
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120
    teacher, student = torch.tensor([[2 * np.log(3), 0.0]]), torch.zeros(1, 2)
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(0.1308120, abs=1e-6)


def divergence(p, q):
    """Of softmaxes; the mean over rows."""
    return (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize(
    ("alpha", "scaled", "weights"),
    [
        (0.25, True, (0.25, 0.75 * 4)),
        (0.25, False, (0.25, 0.75)),
        ("balanced", True, (0.5, 0.5 * 4)),
    ],
)
def test_lwf_loss_equals_the_formula(alpha, scaled, weights):
    options = {"alpha": alpha, "temperature": 2.0, "scale_by_temperature": scaled, "random_state": 0}
    clf = LwFClassifier(make_net(max_epochs=1), **options).partial_fit(X[OLD], Y[OLD])
    teacher, x, y = copy.deepcopy(clf.net_.module_), X[NEW][:30], Y[NEW][:30]
    loss = loss_of_call(clf, x, y)
    with torch.no_grad():
        student, taught = clf.net_.module_(torch.as_tensor(x)), teacher(torch.as_tensor(x))
        kl = divergence((taught / 2).softmax(1), (student[:, :6] / 2).softmax(1))  # six classes were known
        expected = weights[0] * F.cross_entropy(student, torch.as_tensor(y)) + weights[1] * kl
    assert loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("active", "n_old"), [("seen", 6), ("all", 10)])
def test_lwf_may_distil_among_all_active_outputs(active, n_old):
    options = {"distilled_outputs": "active", "active_outputs": active, "random_state": 0}
    clf = LwFClassifier(make_net(max_epochs=1), alpha=0, temperature=2.0, scale_by_temperature=False, **options)
    clf.partial_fit(X[OLD], Y[OLD], classes=np.arange(10))
    teacher, x = copy.deepcopy(clf.net_.module_), X[NEW][:30]
    loss = loss_of_call(clf, x, Y[NEW][:30])
    with torch.no_grad():
        student, taught = clf.net_.module_(torch.as_tensor(x)), teacher(torch.as_tensor(x))
    # To the teacher, outputs that it had not in its softmax have probability 0; the student's softmax has all ten.
    expected = divergence((taught[:, :n_old] / 2).softmax(1), (student / 2).softmax(1)[:, :n_old])
    assert loss == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("active", "first", "groups"),
    [("auto", None, [range(4), (2, 3)]), ("auto", "b", [(0, 1), (2, 3)]), ("seen", "b", [range(4)])],
)
def test_lwf_distils_all_old_classes_also_where_calls_had_no_task(active, first, groups):
    clf = LwFClassifier(make_net(max_epochs=1), alpha=0, temperature=1.0, active_outputs=active, random_state=0)
    for outputs, task in [((0, 1), first), ((2, 3), "a")]:
        clf.partial_fit(X[np.isin(Y, outputs)], Y[np.isin(Y, outputs)], task_id=task)
    teacher, rows = copy.deepcopy(clf.net_.module_), np.isin(Y, (4, 5))
    # The second call continues the experience, so that the student is no longer what the teacher is.
    clf.set_params(alpha=1, net__lr=0.1).partial_fit(X[rows], Y[rows], task_id="c").set_params(alpha=0)
    loss = loss_of_call(clf, X[rows], Y[rows], task_id="c")
    with torch.no_grad():
        student, taught = clf.net_.module_(torch.as_tensor(X[rows])), teacher(torch.as_tensor(X[rows]))
    kls = [divergence(taught[:, own].softmax(1), student[:, own].softmax(1)) for own in map(list, groups)]
    assert loss == pytest.approx(float(sum(kls)) / len(kls), rel=1e-3)


def test_lwf_distils_each_old_task_by_itself():
    *old, new = make_stream("task")
    clf = learned(LwFClassifier(make_net(max_epochs=1), alpha=0, temperature=1.0, random_state=0), old)
    teacher, x = copy.deepcopy(clf.net_.module_), new.X_train[:30]
    # The second call continues the experience, so that the student is no longer what the teacher is.
    clf.set_params(alpha=1, net__lr=0.1).partial_fit(x, new.y_train[:30], task_id=new.task_id).set_params(alpha=0)
    loss = loss_of_call(clf, x, new.y_train[:30], task_id=new.task_id)
    with torch.no_grad():
        student, taught = clf.net_.module_(torch.as_tensor(x)), teacher(torch.as_tensor(x))
    outputs = [clf.tasks_[e.task_id] for e in old]
    kls = [divergence(taught[:, own].softmax(1), student[:, own].softmax(1)) for own in outputs]
    assert min(kls) > 1e-4
    assert loss == pytest.approx(float(sum(kls)) / 4, rel=1e-3)
