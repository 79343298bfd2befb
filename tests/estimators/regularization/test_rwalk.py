"""Riemannian walk against a slow one."""

import copy
from functools import partial

import numpy as np
import torch
from helpers.estimators import X, Y, gradient_at, make_net, theta

from forgetless.estimators import RWalkClassifier

make_net = partial(make_net, module__hidden_units=(20,), max_epochs=2)


def unit(v):
    return (v - v.min()) / (v.max() - v.min())


def test_rwalk_equals_a_slow_walk():
    """Two experiences of plain gradient descent, with a loop over the rows for each Fisher."""
    lr, lam, alpha, every, eps, n_epochs = 0.2, 0.4, 0.7, 3, 1e-3, 2
    net = make_net(module__hidden_units=(6,), optimizer=torch.optim.SGD, lr=lr, max_epochs=n_epochs, batch_size=16)
    clf = RWalkClassifier(
        net, rwalk_lambda=lam, fisher_decay=alpha, update_after=every, damping=eps, random_state=0
    ).initialize(X, np.arange(10))
    module = copy.deepcopy(clf.net_.module_)
    t, fisher, score, importance, anchor = theta(clf).clone(), None, None, None, None
    for k, part in enumerate([slice(0, 64), slice(64, 144)]):
        call = clf.open_call(X[part], Y[part])
        clf.learn(call)
        x, y = torch.as_tensor(X[part]), torch.as_tensor(Y[part])
        generator = call.torch_generator("order")
        batches = [rows for _ in range(n_epochs) for rows in torch.randperm(len(x), generator=generator).split(16)]
        walked, omega, opened = torch.zeros_like(t), torch.zeros_like(t), t
        for step, rows in enumerate(batches):
            if step % every == 0:
                now = torch.stack([gradient_at(module, t, x[r : r + 1], y[r : r + 1]) ** 2 for r in rows]).mean(0)
                fisher = now if fisher is None else alpha * now + (1 - alpha) * fisher
            plain = gradient_at(module, t, x[rows], y[rows])
            penalty = 0.0 if k == 0 else 2 * lam * importance * (t - anchor)
            after = t - lr * (plain + penalty)
            omega = omega - plain * (after - t)
            t = after
            if step % every == every - 1 or step == len(batches) - 1:
                walked = walked + (omega / (0.5 * fisher * (t - opened) ** 2 + eps)).clamp(min=0)
                omega, opened = torch.zeros_like(t), t
        assert len(batches) % every  # the last segment is a short one
        torch.testing.assert_close(theta(clf), t, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(clf.fisher_, fisher, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(clf.path_score_, walked, rtol=1e-3, atol=1e-5)
        score = walked if k == 0 else (score + walked) / 2
        importance, anchor = unit(fisher) + unit(score), t
    clf.partial_fit(X[:16], Y[:16])
    torch.testing.assert_close(clf.score_, score, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(clf.importance_, importance, rtol=1e-3, atol=1e-5)
    assert 1 <= float(clf.importance_.max()) <= 2 and float(clf.importance_.min()) == 0


def test_rwalk_closes_its_segments_with_the_call():
    """Rows that come one batch a call are walked as well."""
    clf = RWalkClassifier(make_net(max_epochs=1), update_after=10, random_state=0)
    scores = []
    for k in range(4):
        clf.partial_fit(X[32 * k : 32 * k + 32], Y[32 * k : 32 * k + 32], task_id=0)
        scores.append(float(clf.path_score_.sum()))
    assert scores == sorted(scores) and scores[0] > 0 and len(set(scores)) == 4


def test_rwalk_importances_begin_at_zero_wherever_fisher_and_scores_do():
    clf = RWalkClassifier(make_net(max_epochs=1), random_state=0).partial_fit(X[:64], Y[:64], task_id=0)
    raised = copy.deepcopy(clf)
    raised.fisher_, raised.path_score_ = raised.fisher_ + 0.5, raised.path_score_ + 2.0
    expected = unit(clf.fisher_) + unit(clf.path_score_)
    for each in (clf, raised):
        each.partial_fit(X[64:96], Y[64:96], task_id=1)
        torch.testing.assert_close(each.importance_, expected, rtol=1e-3, atol=1e-5)
