"""EWC against Fisher matrices and penalties that are computed in another way."""

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, Deciding, Normed, distance_from_anchor, learned, make_net, make_stream, theta
from torch.nn import functional as F

from forgetless.estimators import MLP, ContinualNet, EWCClassifier, NaiveClassifier


def test_huge_ewc_lambda_holds_the_weights_that_matter():
    clf = EWCClassifier(make_net(), ewc_lambda=1e9, random_state=0)
    moved = distance_from_anchor(clf)
    naive = distance_from_anchor(NaiveClassifier(make_net(), random_state=0))
    important = clf.importance_ > clf.importance_.quantile(0.5)
    # Adam's steps have a length of about lr = 1e-3 whatever the gradient's size: it oscillates around the anchor.
    assert moved[important].median() < 1e-3 < naive[important].median()
    assert moved[important].mean() < naive[important].mean() / 5


def fisher_one_by_one(clf, X, y, kind):
    """The Fisher's diagonal by a loop over samples and labels."""
    module = clf.net_.module_.eval()
    params = list(module.parameters())
    total = [torch.zeros_like(p) for p in params]
    for row, label in zip(torch.as_tensor(X), torch.as_tensor(y), strict=True):
        p = module(row[None]).softmax(1)[0].detach()
        labels = {"exact": range(len(p)), "empirical": [int(label)], "predicted": [int(p.argmax())]}[kind]
        for k in labels:
            grads = torch.autograd.grad(F.cross_entropy(module(row[None]), torch.tensor([k])), params)
            weight = p[k] if kind == "exact" else 1.0
            for t, g in zip(total, grads, strict=True):
                t += weight * g**2
    return torch.cat([t.reshape(-1) for t in total]) / len(X)


@pytest.mark.parametrize("module", [MLP, Normed, Deciding])
@pytest.mark.parametrize("kind", ["exact", "empirical", "predicted"])
def test_fisher_is_the_mean_of_squared_per_sample_gradients(module, kind):
    X, y = DIGITS.X_train[:40], np.arange(40) % 10
    clf = EWCClassifier(ContinualNet(module, max_epochs=2), fisher=kind, random_state=0).fit(X, y)
    expected = fisher_one_by_one(clf, X, y, kind)
    torch.testing.assert_close(clf.fisher_, expected, rtol=1e-4, atol=1e-8)
    assert expected.sum() > 0


def test_sampled_fisher_approaches_the_exact_one():
    X, y = np.repeat(DIGITS.X_train[:100], 30, axis=0), np.repeat(DIGITS.y_train[:100], 30)
    exact, sampled = (
        EWCClassifier(make_net(), fisher=kind, random_state=0).fit(X, y).fisher_ for kind in ("exact", "sampled")
    )
    assert abs(float(sampled.sum() / exact.sum()) - 1) < 0.1
    assert np.corrcoef(exact, sampled)[0, 1] > 0.98


def test_fisher_in_task_scenario_only_knows_the_tasks_outputs():
    clf = learned(EWCClassifier(make_net(), random_state=0), make_stream("task"))
    head = clf.net_.module_.head
    fisher_of_head_bias = clf.fisher_[-head.out_features :]
    own = clf.tasks_[4]
    others = np.setdiff1d(np.arange(10), own)
    assert (fisher_of_head_bias[own] > 0).all() and (fisher_of_head_bias[others] == 0).all()


def test_fisher_of_several_calls_is_that_of_their_rows():
    X, y = DIGITS.X_train[:90], np.arange(90) % 10
    clf = EWCClassifier(make_net(max_epochs=1), random_state=0).partial_fit(X, y, task_id=0)
    clf.net_.set_params(max_epochs=0)  # the weights stay, so the Fisher of all rows is known
    first = fisher_one_by_one(clf, X, y, "exact")
    clf.partial_fit(X[:30] + 0.5, y[:30], task_id=0)
    second = fisher_one_by_one(clf, X[:30] + 0.5, y[:30], "exact")
    torch.testing.assert_close(clf.fisher_, (90 * first + 30 * second) / 120, rtol=1e-4, atol=1e-8)


def test_merged_quadratic_has_the_gradient_of_the_sum():
    clf = learned(EWCClassifier(make_net(), ewc_lambda=3.0, random_state=0), make_stream("domain", 2))
    anchors, fishers = [clf.anchor_], [clf.importance_]
    for seed in range(3):
        anchors.append(theta(clf).clone())
        fishers.append(clf.fisher_.clone())
        rows = np.random.default_rng(seed).permutation(len(DIGITS.X_train))[:200]
        call = clf.open_call(DIGITS.X_train[rows], DIGITS.y_train[rows] % 5)
        clf.learn(call)
    t = torch.randn(anchors[0].shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    penalty = sum(0.5 * 3.0 * (f * (t - a) ** 2).sum() for f, a in zip(fishers, anchors, strict=True))
    expected = torch.autograd.grad(penalty, t)[0]
    gradient = torch.zeros_like(expected)
    clf.after_backward(call, t.detach(), gradient)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


def test_online_ewc_decays_old_fishers_and_moves_the_anchor():
    clf = EWCClassifier(make_net(), online=True, gamma=0.5, random_state=0)
    X, y = DIGITS.X_train, DIGITS.y_train
    fishers = []
    for k in range(3):
        clf.partial_fit(X[k * 300 : (k + 1) * 300], y[k * 300 : (k + 1) * 300])
        fishers.append(clf.fisher_)
        last = theta(clf)
    clf.partial_fit(X[900:], y[900:])
    torch.testing.assert_close(clf.importance_, 0.25 * fishers[0] + 0.5 * fishers[1] + fishers[2])
    assert torch.equal(clf.anchor_, last)


def test_batch_statistics_stand_still_while_the_fisher_is_computed():
    net = ContinualNet(Normed, max_epochs=1)
    X, y = DIGITS.X_train[:200], DIGITS.y_train[:200]
    ewc, naive = (cls(net, random_state=0).fit(X, y).net_.module_ for cls in (EWCClassifier, NaiveClassifier))
    assert torch.equal(ewc.norm.running_mean, naive.norm.running_mean)
