"""La-MAML and MER against computations by hand."""

import numpy as np
import pytest
import torch
from helpers.estimators import accuracy, learned, make_stream
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    ContinualNet,
    LaMAMLClassifier,
    MERClassifier,
    ReplayClassifier,
    Rows,
    with_groups,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2, 0, 1])
X2, Y2 = RNG.normal(size=(8, 3)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2, 2, 2])


class Linear(nn.Module):
    """Softmax regression: gradients can be written down."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.head(x)


def linear_net(**params):
    return ContinualNet(Linear, **{"optimizer": torch.optim.SGD, "lr": 0.1, "max_epochs": 1, "batch_size": 8, **params})


def weights(clf):
    head = clf.net_.module_.head
    return np.hstack([head.weight.detach().double().numpy(), head.bias.detach().double().numpy()[:, None]])


def gradient(W, x, y):
    """Of the mean cross-entropy of softmax(W (x, 1)): (p − onehot)ᵀ (x, 1) / n."""
    inputs = np.hstack([x, np.ones((len(x), 1))]).astype(np.float64)
    p = np.exp(inputs @ W.T)
    p /= p.sum(axis=1, keepdims=True)
    return (p - np.eye(len(W))[y]).T @ inputs / len(x)


# --- MER ---------------------------------------------------------------------------------------------------------


def test_reptile_by_hand(draws):
    """Two sequences of three steps of SGD on softmax regression, pulled back within and across."""
    beta, gamma, lr = 0.3, 0.6, 0.1
    clf = MERClassifier(
        linear_net(), n_sequences=2, sequence_length=3, beta=beta, gamma=gamma, buffer_size=5, random_state=0
    )
    clf.initialize(X, [0, 1, 2])
    W = weights(clf)
    clf.partial_fit(X, Y)
    # No memory yet: a sequence is the one step on the new rows.
    start = W
    for _ in range(2):
        W = W + beta * (-lr * gradient(W, X, Y))
    W = start + gamma * (W - start)
    np.testing.assert_allclose(weights(clf), W, atol=1e-6)

    clf.partial_fit(X2, Y2)
    assert len(draws) == 2 * 2
    memory = iter(draws)
    start = W
    for _ in range(2):
        within = W
        W = W - lr * gradient(W, X2, Y2)
        for _ in range(2):
            rows = next(memory)
            W = W - lr * gradient(W, rows.x.numpy(), rows.y.numpy())
        W = within + beta * (W - within)
    W = start + gamma * (W - start)
    np.testing.assert_allclose(weights(clf), W, atol=1e-6)


def test_reptile_that_never_pulls_back_is_sgd_and_that_always_does_stands_still():
    for beta, gamma in [(0, 1), (1, 0)]:
        clf = MERClassifier(linear_net(), beta=beta, gamma=gamma, random_state=0).initialize(X, [0, 1, 2])
        before = weights(clf)
        clf.partial_fit(X, Y)
        assert np.array_equal(weights(clf), before)
    clf = MERClassifier(linear_net(), beta=1.0, gamma=1.0, random_state=0).initialize(X, [0, 1, 2])
    before = weights(clf)
    clf.partial_fit(X, Y)
    np.testing.assert_allclose(weights(clf), before - 0.1 * gradient(before, X, Y), atol=1e-6)


@pytest.mark.parametrize("cls", [MERClassifier, LaMAMLClassifier])
def test_rows_are_offered_to_the_memory_once(cls):
    clf = cls(linear_net(max_epochs=3, batch_size=2), buffer_size=100, random_state=0)
    clf.partial_fit(X, Y).partial_fit(X2, Y2)
    kept = clf.memory_.stored().x.numpy()
    everything = np.vstack([X, X2])
    assert len(kept) == len(everything)
    assert np.array_equal(kept[np.lexsort(kept.T)], everything[np.lexsort(everything.T)])


@pytest.mark.parametrize("cls", [MERClassifier, LaMAMLClassifier])
def test_the_memory_is_a_uniform_sample_of_the_stream(cls):
    clf = cls(linear_net(batch_size=50), buffer_size=500, random_state=0)
    clf.fit(np.zeros((1000, 3)), np.arange(1000) % 2)
    for _ in range(3):
        clf.partial_fit(np.ones((1000, 3)), np.arange(1000) % 2)
    share = float(clf.memory_.stored().x.mean())
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 500)


# --- La-MAML -----------------------------------------------------------------------------------------------------


def look_ahead(theta, alpha, parts, rows, first_order):
    """M and its gradients by autograd, with the two linear maps of a small MLP written out."""

    def loss(theta, x, y):
        W1, b1, W2, b2 = (
            t.view(shape) for t, shape in zip(theta.split([12, 4, 12, 3]), [(4, 3), (4,), (3, 4), (3,)], strict=True)
        )
        return F.cross_entropy(torch.tanh(x @ W1.T + b1) @ W2.T + b2, y)

    theta, alpha = theta.clone().requires_grad_(), alpha.clone().requires_grad_()
    fast, total = theta, 0.0
    for x, y in parts:
        (g,) = torch.autograd.grad(loss(fast, x, y), fast, create_graph=True)
        fast = fast - alpha * (g.detach() if first_order else g)
        total = total + loss(fast, *rows) / len(parts)
    return total.detach(), *torch.autograd.grad(total, (theta, alpha))


class Tanh(nn.Module):
    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_inputs, 4)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x)))


@pytest.mark.parametrize("first_order", [False, True])
def test_look_ahead_step_by_hand(monkeypatch, draws, first_order):
    """The step sizes move first, and the weights with the new ones."""
    eta, clip = 50.0, 0.1
    clf = LaMAMLClassifier(
        ContinualNet(Tanh, max_epochs=1, batch_size=8),
        alpha_init=0.2,
        alpha_lr=eta,
        n_inner_steps=4,
        clip_norm=clip,
        first_order=first_order,
        random_state=0,
    )
    clf.partial_fit(X, Y)
    theta, alpha = clf.net_.flatten().clone(), clf.alpha_.clone()
    batches, learn_batch = [], clf.learn_batch

    def noting(call, theta, batch, descend):
        batches.append(batch)
        return learn_batch(call, theta, batch, descend)

    monkeypatch.setattr(LaMAMLClassifier, "learn_batch", staticmethod(noting))
    clf.partial_fit(X2, Y2)
    [batch], [memory] = batches, draws
    parts = [(batch.x[k : k + 2], batch.y[k : k + 2]) for k in range(0, 8, 2)]
    rows = torch.cat([batch.x, memory.x]), torch.cat([batch.y, memory.y])
    _, by_theta, by_alpha = look_ahead(theta, alpha, parts, rows, first_order)

    def cut(g):
        return g * min(1.0, clip / float(g.norm()))

    assert float(by_theta.norm()) > clip  # or the cut would not be tested
    alpha = alpha - eta * cut(by_alpha)
    assert (alpha < 0).any()
    assert (alpha > 0.2).any()
    torch.testing.assert_close(clf.alpha_, alpha, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(clf.net_.flatten(), theta - torch.relu(alpha) * cut(by_theta), rtol=1e-4, atol=1e-6)


def test_exact_gradients_are_those_of_finite_differences():
    """∂M/∂θ and ∂M/∂α go through the inner steps."""
    clf = LaMAMLClassifier(ContinualNet(Tanh, max_epochs=1), n_inner_steps=3, random_state=0).partial_fit(X, Y)
    clf.net_.module_.double()
    call = clf.open_call(X2, Y2)
    call.objective = clf.new_objective(call)
    rows = with_groups(call.objective, Rows(x=torch.from_numpy(X2).double(), y=torch.from_numpy(Y2)))
    theta = clf.net_.flatten()
    alpha = torch.linspace(0.1, 1.0, len(theta), dtype=torch.float64)
    new = rows.take(torch.arange(6))
    _, by_theta, by_alpha = clf.meta_gradients(call, theta, alpha, new, rows)
    for vector, found in [(theta, by_theta), (alpha, by_alpha)]:
        for k in range(0, len(theta), 5):
            step = torch.zeros_like(theta)
            step[k] = 1e-5
            low, high = (
                clf.meta_gradients(call, *(v + sign * step if v is vector else v for v in (theta, alpha)), new, rows)[0]
                for sign in (-1, 1)
            )
            assert abs((high - low).item() / 2e-5 - found[k].item()) < 1e-7


def test_step_sizes_of_new_classes_begin_at_alpha_init():
    clf = LaMAMLClassifier(linear_net(), alpha_init=0.25, alpha_lr=1.0, random_state=0).partial_fit(X, Y)
    old = clf.alpha_.clone()
    assert (old != 0.25).any()
    clf.alpha_lr = 0.0
    clf.partial_fit(X, Y + 3)
    head = clf.alpha_.split([18, 6])
    assert torch.equal(head[0].view(6, 3)[:3], old[:9].view(3, 3)) and torch.equal(head[1][:3], old[9:])
    assert (head[0].view(6, 3)[3:] == 0.25).all() and (head[1][3:] == 0.25).all()


def test_optimiser_and_its_rate_play_no_part_in_look_ahead():
    nets = [ContinualNet(MLP, lr=lr, optimizer=o) for lr, o in [(1e-3, torch.optim.Adam), (10.0, torch.optim.SGD)]]
    a, b = (LaMAMLClassifier(net, random_state=0).fit(X, Y).net_.flatten() for net in nets)
    assert torch.equal(a, b)


# --- both --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MERClassifier, LaMAMLClassifier])
def test_batch_norm_and_dropout(cls):
    net = ContinualNet(
        MLP, module__hidden_units=(30,), module__batch_norm=True, module__dropout=0.2, lr=0.01, max_epochs=3
    )
    stream = make_stream(n_experiences=2)
    assert accuracy(learned(cls(net, random_state=0), stream), stream) > 0.7


@pytest.mark.parametrize("cls", [MERClassifier, LaMAMLClassifier])
@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_remembers_what_naive_training_forgets(cls, scenario):
    net = ContinualNet(MLP, module__hidden_units=(30,), lr=0.01, max_epochs=5)
    stream = make_stream(scenario)
    naive = accuracy(learned(ReplayClassifier(net, buffer_size=0, random_state=0), stream), stream)
    better = {"class": 0.4, "domain": 0.05}[scenario]
    assert accuracy(learned(cls(net, random_state=0), stream), stream) > naive + better
