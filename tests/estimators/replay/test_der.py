"""DER and DER++ against their formulas."""

import copy

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, accuracy, learned, loss_of_call, theta
from helpers.replay import index_in, make_net, make_stream
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import MLP, ContinualNet, DERClassifier, NaiveClassifier


def test_der_stores_the_logits_before_the_update():
    """Full batches of gradient descent, done by hand: rows of epoch k have the outputs after k steps."""
    X, y = torch.as_tensor(DIGITS.X_train[:50]), torch.as_tensor(np.arange(50) % 10)
    net = make_net(optimizer=torch.optim.SGD, lr=0.5, batch_size=-1, max_epochs=3)
    clf = DERClassifier(net, buffer_size=60, alpha=0, beta=0, random_state=0)
    untrained = NaiveClassifier(make_net(max_epochs=0), random_state=0).fit(X.numpy(), y.numpy())
    module, outputs = untrained.net_.module_, []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(3):
        outputs.append(module(X).detach())
        optimizer.zero_grad()
        F.cross_entropy(module(X), y).backward()
        optimizer.step()
    clf.fit(X.numpy(), y.numpy())
    stored = clf.memory_.stored()
    rows = index_in(X.numpy(), stored.x.numpy())
    assert torch.equal(stored.y, y[rows])
    distances = torch.stack([(o[rows] - stored.logits).norm(dim=1) for o in outputs])
    assert (distances.min(0).values < 1e-4).all()
    assert set(distances.argmin(0).tolist()) == {0, 1, 2}
    assert (module(X)[rows] - stored.logits).norm(dim=1).min() > 0.01


def test_der_logits_of_a_later_call_are_those_of_the_network_before_it():
    net = make_net(batch_size=-1, max_epochs=1)
    clf = DERClassifier(net, buffer_size=100, random_state=0).partial_fit(DIGITS.X_train[:50], np.arange(50) % 10)
    before = copy.deepcopy(clf.net_.module_)
    clf.partial_fit(DIGITS.X_train[50:100], np.arange(50) % 10)
    _, later = clf.memory_.stored().split([50, 50])
    torch.testing.assert_close(before(later.x).detach(), later.logits)
    assert (clf.net_.module_(later.x) - later.logits).abs().max() > 0.01


def test_der_compares_only_outputs_that_were_stored():
    clf = learned(DERClassifier(make_net(), buffer_size=300, random_state=0), make_stream())
    stored = clf.memory_.stored()
    experience = stored.y // 2
    for row, k in zip(stored.logits, experience, strict=True):
        assert not row[: 2 * k + 2].isnan().any() and row[2 * k + 2 :].isnan().all()
    assert set(experience.tolist()) == set(range(5))


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_der_loss_equals_the_formula(alpha, beta, draws):
    clf = learned(DERClassifier(make_net(), alpha=alpha, beta=beta, random_state=0), make_stream(n_experiences=3))
    x, y = DIGITS.X_test[:20], np.arange(20) % 6
    loss, module = loss_of_call(clf, x, y), clf.net_.module_
    parts = draws[-1].split([20] * (len(draws[-1]) // 20))
    expected = F.cross_entropy(module(torch.as_tensor(x)), torch.as_tensor(y))
    if alpha:
        matched = next(parts)
        squares = [
            sum((a - b) ** 2 for a, b in zip(f, row, strict=True) if not np.isnan(b))
            for f, row in zip(module(matched.x).tolist(), matched.logits.tolist(), strict=True)
        ]
        expected = expected + alpha * np.mean(squares)
    if beta:
        labelled = next(parts)
        expected = expected + beta * F.cross_entropy(module(labelled.x), labelled.y)
    assert not list(parts)
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    assert torch.isfinite(theta(clf)).all()


def test_der_plus_plus_draws_two_independent_batches(draws):
    clf = learned(DERClassifier(make_net(), random_state=0), make_stream(n_experiences=3))
    loss_of_call(clf, DIGITS.X_test[:64], DIGITS.y_test[:64])
    first, second = draws[-1].x.split(64)
    same = (first[:, None] == second[None]).all(-1)
    # By chance, one pair in about 200 is the same row.
    assert same.diagonal().sum() < 5 and 5 < same.sum() < 60


def test_der_works_where_outputs_are_probabilities():
    class Softmax(MLP):
        def forward(self, x):
            return super().forward(x).softmax(1)

    net = ContinualNet(Softmax, criterion=nn.NLLLoss, lr=0.01, max_epochs=5)
    clf = learned(DERClassifier(net, random_state=0), make_stream(n_experiences=2))
    assert accuracy(clf, make_stream(n_experiences=2)) > 0.8
    assert clf.memory_.stored().logits.nan_to_num().min() < -1  # logarithms, not probabilities


def sane_net():
    return make_net(module__hidden_units=(100,), max_epochs=10)


def test_der_alone_needs_announced_classes_to_tell_old_from_new():
    """Logits of classes that came later are not held on old rows, unless their outputs were there from the start."""
    announced = DERClassifier(sane_net(), beta=0, active_outputs="all", random_state=0)
    stream, tasks = make_stream(), make_stream("task")
    for e in stream:
        announced.partial_fit(e.X_train, e.y_train, classes=np.arange(10))
    growing = learned(DERClassifier(sane_net(), beta=0, random_state=0), stream)
    assert accuracy(announced, stream) > 0.8 > 0.5 > accuracy(growing, stream)
    growing = learned(DERClassifier(sane_net(), beta=0, random_state=0), tasks)
    assert accuracy(growing, tasks) > 0.9
