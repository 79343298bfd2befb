"""Definitions in which programs of one method differ, each against numbers computed by hand."""

import math

import numpy as np
import pytest
import torch
from helpers.estimators import X, Y, loss_of_call
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    ContinualNet,
    HATClassifier,
    ICaRLClassifier,
    LwFClassifier,
)
from forgetless.estimators.engine.memory import herding_order
from forgetless.estimators.engine.penalties import distillation_loss

# Teacher (2 ln 3, 0) at T = 2: (3/4, 1/4).
TEACHER = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)


# --- LwF: sum or mean over outputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "n_outputs", "divergence"),
    [
        ([0.0, 0.0], 2, 0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2)),
        ([0.0, 0.0, 0.0], 3, 0.75 * math.log(9 / 4) + 0.25 * math.log(3 / 4)),
        ([0.0, 0.0, -math.inf, 0.0], 3, 0.75 * math.log(9 / 4) + 0.25 * math.log(3 / 4)),  # one is not active
    ],
)
def test_distillation_is_a_sum_or_a_mean_over_the_active_outputs(student, n_outputs, divergence):
    student, old = torch.tensor([student, student], dtype=torch.float64), slice(2)
    teacher = TEACHER.expand(2, 2)
    assert float(distillation_loss(student, teacher, 2.0, old)) == pytest.approx(divergence, rel=1e-12)
    mean = distillation_loss(student, teacher, 2.0, old, "mean")
    assert float(mean) == pytest.approx(divergence / n_outputs, rel=1e-12)


def small_net(**params):
    return ContinualNet(MLP, **{"module__hidden_units": (8,), "lr": 0.01, "max_epochs": 1, **params})


@pytest.mark.parametrize(
    ("options", "tasks", "n_outputs"),
    [
        ({"distilled_outputs": "active"}, (None, None), 10),
        ({"distilled_outputs": "active", "active_outputs": "all"}, (None, None), 12),
        ({"distilled_outputs": "old"}, (None, None), 6),
        ({"distilled_outputs": "active"}, ("a", "b"), 6),
    ],
)
def test_lwf_with_the_mean_is_lwf_with_the_sum_over_the_number_of_outputs(options, tasks, n_outputs):
    def loss(reduction):
        clf = LwFClassifier(small_net(), alpha=0.0, distillation_reduction=reduction, random_state=0, **options)
        clf.partial_fit(X[Y < 6], Y[Y < 6], classes=np.arange(12), task_id=tasks[0])
        return loss_of_call(clf, X[Y >= 6][:30], Y[Y >= 6][:30], task_id=tasks[1])

    rows_of_all_classes = set(Y[Y >= 6][:30])
    assert len(rows_of_all_classes) == 4
    assert loss("mean") == pytest.approx(loss("sum") / n_outputs, rel=1e-5)


# --- HAT: epochs of one batch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "length", "expected"),
    [
        (-1, {"max_epochs": 5}, [0.01, 25.0075, 50.005, 75.0025, 100.0]),
        (-1, {"max_steps": 3}, [0.01, 50.005, 100.0]),
        (-1, {"max_epochs": 1}, [100.0]),
        (20, {"max_epochs": 2}, [0.01, 50.005, 100.0] * 2),
        (20, {"max_steps": 4}, [0.01, 50.005, 100.0, 100.0]),
    ],
)
def test_hat_anneals_in_each_epoch_or_over_epochs_of_one_batch(batch_size, length, expected):
    seen = []

    class Watched(HATClassifier):
        def after_backward(self, call, theta, gradient):
            seen.append(self.net_.module_.s)
            super().after_backward(call, theta, gradient)

    Watched(small_net(batch_size=batch_size, **length), s_max=100.0, random_state=0).fit(X[:60], Y[:60])
    assert seen == pytest.approx(expected)


# --- iCaRL: temperature of targets, herding with renormalised means --------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_icarl_targets_of_old_classes_have_a_temperature(temperature):
    clf = ICaRLClassifier(small_net(), buffer_size=20, temperature=temperature, random_state=0)
    clf.partial_fit(X[Y < 6], Y[Y < 6])
    rows, exemplars = torch.from_numpy(X[Y >= 6][:30]), clf.memory_.stored()
    x = torch.cat([rows, exemplars.x.clone()])
    y = torch.cat([torch.from_numpy(Y[Y >= 6][:30]), exemplars.y.clone()])
    with torch.no_grad():
        taught = clf.net_.module_(x)
    loss = loss_of_call(clf, X[Y >= 6][:30], Y[Y >= 6][:30])
    with torch.no_grad():
        targets = torch.cat([(taught / temperature).sigmoid(), F.one_hot(y, 10)[:, 6:].float()], dim=1)
        expected = F.binary_cross_entropy_with_logits(clf.net_.module_(x), targets, reduction="none").sum(1).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_herding_with_renormalised_means_by_hand():
    # Points of the unit circle at 10°, 30°, 100°, 170°; their mean has the direction 69.3° and the length 0.49.
    # Directions of sums: 100° is nearest; then 65° with 30°, 55° with 10°; then 44.7° with 10°, 100° with 170°.
    # Not renormalised, what counts second is the distance to the mean: 0.26 for 10°, 0.33 for 30°.
    angles = np.radians([10.0, 30.0, 100.0, 170.0])
    features = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert herding_order(features, 4, renormalize=True).tolist() == [2, 1, 0, 3]
    assert herding_order(features, 4).tolist() == [2, 0, 3, 1]


class Identity(torch.nn.Module):
    """Features are the rows themselves."""

    def __init__(self, n_outputs=1):
        super().__init__()
        self.head = torch.nn.Linear(2, n_outputs)

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize(("renormalize", "second"), [(True, 30.0), (False, 10.0)])
def test_icarl_may_renormalise_means_in_herding(renormalize, second):
    angles = np.radians([10.0, 30.0, 100.0, 170.0])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    clf = ICaRLClassifier(ContinualNet(Identity, max_epochs=1), buffer_size=2, renormalize_herding=renormalize)
    clf.fit(3 * x, np.zeros(4, dtype=int))
    kept = clf.memory_.stored().x.numpy()
    found = sorted(np.degrees(np.arctan2(kept[:, 1], kept[:, 0])).round().tolist())
    assert found == [second, 100.0]
