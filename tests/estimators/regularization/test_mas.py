"""Memory aware synapses against finite differences."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import Normed, X, Y, gradient_at, make_net, make_stream, theta

from forgetless.estimators import MLP, ContinualNet, MASClassifier

make_net = partial(make_net, module__hidden_units=(20,), max_epochs=2)


def sensitivity_by_finite_differences(clf, x, indices, outputs=slice(None), h=1e-6):
    """Mean over rows of |∂‖f‖²/∂θᵢ| by central differences in double precision, for some i."""
    module = copy.deepcopy(clf.net_.module_).double().eval()
    x = torch.as_tensor(x).double()
    params = list(module.parameters())
    found = []
    with torch.no_grad():
        for i in indices:
            for p in params:
                if i < p.numel():
                    break
                i -= p.numel()
            norms, entry = [], p.view(-1)
            for step in (h, -2 * h):
                entry[i] += step
                norms.append((module(x)[:, outputs] ** 2).sum(1))
            entry[i] += h
            found.append(((norms[0] - norms[1]) / (2 * h)).abs().mean())
    return torch.stack(found)


@pytest.mark.parametrize("module", [MLP, Normed])
def test_mas_importance_by_finite_differences(module):
    clf = MASClassifier(ContinualNet(module, max_epochs=3, lr=0.01), random_state=0).partial_fit(X[:90], Y[:90])
    n_parameters = len(clf.sensitivity_)
    indices = [*np.random.default_rng(0).choice(n_parameters, 60, replace=False).tolist(), n_parameters - 1]
    expected = sensitivity_by_finite_differences(clf, X[:90], indices)
    torch.testing.assert_close(clf.sensitivity_[indices].double(), expected, rtol=1e-3, atol=1e-4)
    assert (expected > 0).sum() > 20


def test_mas_knows_only_the_tasks_outputs():
    stream = make_stream("task")
    clf = MASClassifier(make_net(), random_state=0)
    for e in stream:
        clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    own = clf.tasks_[4]
    bias = clf.net_.unflatten(clf.sensitivity_)[-1]
    assert not bias[np.setdiff1d(np.arange(10), own)].any() and (bias[own] > 0).all()
    indices = list(range(0, 1280, 40))
    expected = sensitivity_by_finite_differences(clf, stream[4].X_train, indices, own)
    torch.testing.assert_close(clf.sensitivity_[indices].double(), expected, rtol=1e-3, atol=1e-4)


def test_mas_is_a_mean_over_the_experiences_rows_and_a_sum_over_experiences():
    clf = MASClassifier(make_net(max_epochs=1), random_state=0).partial_fit(X[:90], Y[:90], task_id=0)
    clf.net_.set_params(max_epochs=0)  # the weights stay, so all importances are of one network
    first = clf.sensitivity_
    both = copy.deepcopy(clf).partial_fit(X[90:120], Y[90:120], task_id=0).sensitivity_
    second = clf.partial_fit(X[90:120], Y[90:120], task_id=1).sensitivity_
    # The active outputs are those of all classes in both tasks.
    assert len(np.unique(Y[:90])) == len(np.unique(Y[90:120])) == 10
    torch.testing.assert_close(both, (90 * first + 30 * second) / 120)
    assert torch.equal(clf.importance_, first)
    clf.partial_fit(X[:90], Y[:90], task_id=2)
    torch.testing.assert_close(clf.importance_, first + second)


def test_mas_steps_down_the_penalised_loss_without_a_half():
    net = make_net(optimizer=torch.optim.SGD, lr=0.1, max_epochs=3, batch_size=-1)
    clf = MASClassifier(net, mas_lambda=0.03, random_state=0).partial_fit(X[:300], Y[:300])
    module, anchor, importance = copy.deepcopy(clf.net_.module_), theta(clf).clone(), clf.sensitivity_
    clf.partial_fit(X[300:], Y[300:])
    x, y = torch.as_tensor(X[300:]), torch.as_tensor(Y[300:])
    t = anchor
    for _ in range(3):
        leaf = t.clone().requires_grad_()
        penalty = 0.03 * (importance * (leaf - anchor) ** 2).sum()
        t = t - 0.1 * (gradient_at(module, t, x, y) + torch.autograd.grad(penalty, leaf)[0])
    torch.testing.assert_close(theta(clf), t)
