"""The loss of outputs and its gradient, which is written out where the criterion is a plain cross-entropy."""

import pytest
import torch
from torch import nn

from forgetless.estimators.engine.objective import Classification, Regression
from forgetless.estimators.replay.icarl import BinaryClassification

Y = torch.tensor([0, 3, 3, 1, 2, 0])
GROUPS = torch.tensor([0, 1, 1, 0, 1, 0])
INACTIVE = torch.tensor([[False, False, True, True, True], [True, True, False, False, True]])
CRITERIA = {
    "plain": nn.CrossEntropyLoss(),
    "weighted": nn.CrossEntropyLoss(weight=torch.arange(1.0, 6.0)),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "a label left out": nn.CrossEntropyLoss(ignore_index=3),
    "log probabilities": nn.NLLLoss(),
    "margins": nn.MultiMarginLoss(),
}


def outputs_of(*shape):
    return 3 * torch.rand(*shape, 5, generator=torch.Generator().manual_seed(0))


def check(objective, outputs, y, groups):
    leaf = outputs.clone().requires_grad_()
    expected = objective.loss(leaf, y, groups)
    (of_outputs,) = torch.autograd.grad(expected.sum(), leaf)
    loss, gradient = objective.loss_and_gradient(outputs, y, groups)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, of_outputs)


@pytest.mark.parametrize("inactive", [None, INACTIVE], ids=["all active", "groups"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_gradient_of_a_criterion_is_that_of_autograd(criterion, inactive):
    objective = Classification(CRITERIA[criterion], inactive=inactive)
    check(objective, outputs_of(6), Y, GROUPS)
    if inactive is not None:
        check(
            Classification(CRITERIA[criterion], group=1, inactive=inactive),
            outputs_of(3),
            torch.tensor([2, 3, 2]),
            None,
        )
    y = torch.stack([Y, Y.flip(0)])
    groups = torch.stack([GROUPS, GROUPS.flip(0)])
    check(objective.stacked(), outputs_of(2, 6), y, groups)


def test_gradient_of_plain_cross_entropy_by_hand():
    log = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]).log()
    loss, gradient = Classification(nn.CrossEntropyLoss()).loss_and_gradient(log, torch.tensor([2, 0]))
    torch.testing.assert_close(loss, -(torch.tensor(0.5).log() + torch.tensor(0.1).log()) / 2)
    torch.testing.assert_close(gradient, torch.tensor([[0.1, 0.15, -0.25], [-0.45, 0.05, 0.4]]))


def test_gradient_of_other_objectives_is_that_of_autograd():
    check(BinaryClassification(nn.CrossEntropyLoss(), torch.tensor([0, 1, 3])), outputs_of(6), Y % 3, None)
    check(Regression(nn.MSELoss()), outputs_of(6), outputs_of(7)[1:], None)
    check(Regression(nn.HuberLoss()).stacked(), outputs_of(2, 6), outputs_of(2, 7)[:, 1:], None)
