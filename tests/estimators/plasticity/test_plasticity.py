"""Methods for plasticity against loops in plain torch that follow the papers term by term."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, gradient_at, make_net, theta
from torch import nn
from torch.nn import functional as F

from forgetless.estimators import (
    MLP,
    AnchoredClassifier,
    ContinualBackpropClassifier,
    ContinualBackpropRegressor,
    ContinualNet,
    ContinualRegressionNet,
    NaiveClassifier,
    ShrinkPerturbClassifier,
    UPGDClassifier,
)

X, Y = DIGITS.X_train[:48], DIGITS.y_train[:48]
ROWS, LABELS = torch.as_tensor(X), torch.as_tensor(Y)
LR = 0.1


def full_batches(n_steps, **params):
    """A net that makes so many steps of SGD, each on all rows."""
    return make_net(optimizer=torch.optim.SGD, lr=LR, max_epochs=n_steps, batch_size=-1, **params)


def untrained(clf):
    """The weights that the classifier will begin with, and its module."""
    twin = copy.deepcopy(clf).initialize(X, Y)
    return theta(twin), twin.net_.module_


def test_anchor_initial_descends_l2_init():
    """L + λ‖θ − θ₀‖² of Kumar et al., whose λ is half of the strength, in two calls."""
    clf = AnchoredClassifier(full_batches(3), anchor="initial", strength=2 * 0.05, random_state=0)
    first, module = untrained(clf)
    clf.partial_fit(X, Y).partial_fit(X, Y)
    t = first.clone()
    for _ in range(6):
        leaf = t.clone().requires_grad_()
        [pull] = torch.autograd.grad(0.05 * (leaf - first).square().sum(), leaf)
        t = t - LR * (gradient_at(module, t, ROWS, LABELS) + pull)
    torch.testing.assert_close(theta(clf), t)
    assert torch.equal(clf.anchor_, first)


def test_anchor_initial_holds_new_outputs_at_their_first_weights():
    few = Y < 5
    clf = AnchoredClassifier(full_batches(1), anchor="initial", strength=0.1, random_state=0)
    clf.partial_fit(X[few], Y[few])
    twin = copy.deepcopy(clf)
    anchor = clf.partial_fit(X, Y).anchor_
    # The same call at a rate of 0 shows what the new weights were before the first step.
    drawn = theta(twin.set_params(net__lr=0.0).partial_fit(X, Y))
    of_new = torch.cat([torch.full((n,), new) for n, new in ((64 * 30 + 30 + 5 * 30, False), (150, True), (5, False))])
    of_new = torch.cat([of_new, torch.ones(5, dtype=torch.bool)])
    assert torch.equal(anchor[of_new], drawn[of_new])
    assert not torch.equal(anchor[~of_new], drawn[~of_new])
    assert bool((clf.importance_ == 1).all())


def test_anchor_cannot_change_after_the_first_call():
    clf = AnchoredClassifier(full_batches(1), random_state=0).partial_fit(X, Y)
    with pytest.raises(ValueError, match="anchor was 'previous'"):
        clf.set_params(anchor="initial").partial_fit(X, Y)


def test_shrink_and_perturb_without_noise_is_decay_after_the_step():
    clf = ShrinkPerturbClassifier(full_batches(4), shrink=0.3, noise_std=0.0, random_state=0)
    t, module = untrained(clf)
    for _ in range(4):
        t = (1 - LR * 0.3) * (t - LR * gradient_at(module, t, ROWS, LABELS))
    torch.testing.assert_close(theta(clf.partial_fit(X, Y)), t)


def test_noise_of_shrink_and_perturb_is_normal_and_anew_in_each_step():
    """With a rate of 0 the weights walk at random: after n steps their variance is n σ²."""
    moves = []
    for n_steps in (1, 16):
        net = make_net(optimizer=torch.optim.SGD, lr=0.0, max_epochs=n_steps, batch_size=-1)
        clf = ShrinkPerturbClassifier(net, noise_std=0.01, random_state=0)
        first, _ = untrained(clf)
        moves.append(theta(clf.partial_fit(X, Y)) - first)
    one, sixteen = moves
    n = len(one)
    assert float(one.mean().abs()) < 4 * 0.01 / n**0.5
    assert float(one.std()) == pytest.approx(0.01, rel=4 / (2 * n) ** 0.5)
    assert float(sixteen.std()) == pytest.approx(0.04, rel=4 / (2 * n) ** 0.5)
    assert float((one / 0.01).pow(4).mean()) == pytest.approx(3, rel=0.25)  # kurtosis


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_upgd_follows_the_algorithm(weight_decay):
    """The paper's loop with the correction for bias, which cancels out; twice, so that utilities outlast a call."""
    net = full_batches(4, optimizer__weight_decay=weight_decay)
    clf = UPGDClassifier(net, utility_decay=0.9, noise_std=0.0, random_state=0)
    t, module = untrained(clf)
    utility = torch.zeros_like(t)
    for step in range(1, 9):
        g = gradient_at(module, t, ROWS, LABELS)
        utility = 0.9 * utility + 0.1 * (-g * t)
        corrected = utility / (1 - 0.9**step)
        s = torch.sigmoid(corrected / corrected.max())
        t = (1 - LR * weight_decay) * t - 2 * LR * g * (1 - s)
    clf.partial_fit(X, Y).partial_fit(X, Y)
    torch.testing.assert_close(theta(clf), t)
    torch.testing.assert_close(clf.utility_, utility)


def test_upgd_protects_useful_weights_from_noise():
    """Of the weights that the loss does not reach, noise moves those of utility 0 by 2·½·η·σ."""
    moved = []
    for noise_std in (0.0, 5.0):
        clf = UPGDClassifier(full_batches(1), noise_std=noise_std, random_state=0)
        moved.append(theta(clf.partial_fit(X, Y)))
    s = torch.sigmoid(clf.utility_ / clf.utility_.max())
    noise = (moved[0] - moved[1]) / (2 * LR * (1 - s)) / 5.0
    assert float(noise.std()) == pytest.approx(1, rel=4 / (2 * len(noise)) ** 0.5)
    assert float(noise.mean().abs()) < 4 / len(noise) ** 0.5


class Algorithm:
    """Continual backprop of Dohare et al. for a net of two hidden layers and SGD with momentum, term by term."""

    def __init__(self, module, *, rate, maturity, decay):
        self.layers = [layer for layer in copy.deepcopy(module).modules() if isinstance(layer, nn.Linear)]
        self.momenta = [[torch.zeros_like(p) for p in (layer.weight, layer.bias)] for layer in self.layers]
        self.rate, self.maturity, self.decay = rate, maturity, decay
        self.utility = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.age = [torch.zeros(layer.out_features) for layer in self.layers[:-1]]
        self.due = [0.0 for _ in self.layers[:-1]]
        self.replaced = []

    def step(self, x, y):
        hidden = []
        h = x
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
            hidden.append(h.detach())
        loss = F.cross_entropy(self.layers[-1](h), y)
        params = [p for layer in self.layers for p in (layer.weight, layer.bias)]
        with torch.no_grad():
            gradients = torch.autograd.grad(loss, params)
            for p, m, g in zip(params, [m for pair in self.momenta for m in pair], gradients, strict=True):
                m.mul_(0.5).add_(g)
                p -= LR * m
            for k in range(len(self.layers) - 1):
                self.generate_and_test(k, hidden[k])

    def generate_and_test(self, k, h):
        self.age[k] += 1
        contribution = h.abs().mean(0) * self.layers[k + 1].weight.abs().sum(0)
        self.utility[k] = self.decay * self.utility[k] + (1 - self.decay) * contribution
        eligible = self.age[k] > self.maturity
        self.due[k] += self.rate * int(eligible.sum())
        if self.due[k] >= 1:
            unit = int(torch.where(eligible, self.utility[k], torch.inf).argmin())
            self.due[k] -= 1
            self.replaced.append((k, unit))
            self.age[k][unit] = 0
            self.utility[k][unit] = 0
            self.layers[k + 1].weight[:, unit] = 0
            self.momenta[k + 1][0][:, unit] = 0
            for m in self.momenta[k]:
                m[unit] = 0

    def adopt(self, k, unit, module):
        """What enters the unit is drawn at random: take what was drawn."""
        drawn = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][k]
        with torch.no_grad():
            self.layers[k].weight[unit] = drawn.weight[unit]
            self.layers[k].bias[unit] = drawn.bias[unit]


def test_continual_backprop_follows_the_algorithm():
    """Call after call of one step; what was drawn for new units is taken over, all else must be equal."""
    net = ContinualNet(
        MLP,
        module__hidden_units=(12, 9),
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.5,
        lr=LR,
        max_epochs=1,
        batch_size=-1,
    )
    params = {"replacement_rate": 0.03, "maturity": 5, "utility_decay": 0.8, "active_outputs": "all"}
    clf = ContinualBackpropClassifier(net, **params, random_state=0)
    paper = Algorithm(untrained(clf)[1], rate=0.03, maturity=5, decay=0.8)
    for step in range(40):
        rows = slice(step, step + 8)
        n_before = len(paper.replaced)
        paper.step(ROWS[rows], LABELS[rows])
        clf.partial_fit(X[rows], Y[rows], classes=np.arange(10))
        for k, unit in paper.replaced[n_before:]:
            paper.adopt(k, unit, clf.net_.module_)
        expected = [p.detach().reshape(-1) for layer in paper.layers for p in (layer.weight, layer.bias)]
        torch.testing.assert_close(theta(clf), torch.cat(expected))
        torch.testing.assert_close(clf.utility_, torch.cat(paper.utility))
        assert np.array_equal(clf.ages_, torch.cat(paper.age).numpy())
    assert {k for k, _ in paper.replaced} == {0, 1} and len(paper.replaced) > 10


def test_new_units_are_drawn_as_a_layer_is():
    """All 2,000 units are replaced at once: their weights are uniform between ±1/√n."""
    net = make_net(module__hidden_units=(2000,), optimizer=torch.optim.SGD, lr=0.0, max_epochs=1, batch_size=-1)
    clf = ContinualBackpropClassifier(net, replacement_rate=1.0, maturity=0, random_state=0)
    first, _ = untrained(clf)
    clf.partial_fit(X, Y)
    layer, head = clf.net_.module_.hidden[0], clf.net_.module_.head
    assert not head.weight.any() and bool(head.bias.any())
    for drawn in (layer.weight.detach(), layer.bias.detach()):
        assert float(drawn.abs().max()) <= 1 / 8
        assert float(drawn.var()) == pytest.approx((2 / 8) ** 2 / 12, rel=0.1)
    assert not (theta(clf)[: 64 * 2000] == first[: 64 * 2000]).any()


class Own(nn.Module):
    """Layers in an order that only its forward knows; one of them twice, one frozen."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.head, self.third = nn.Linear(8, n_outputs), nn.Linear(8, 8)
        self.twice, self.frozen = nn.Linear(8, 8), nn.Linear(8, 8).requires_grad_(False)
        self.first, self.second = nn.Linear(n_inputs, 8), nn.Linear(8, 8)

    def forward(self, x):
        h = self.second(self.first(x).relu()).tanh()
        h = self.twice(self.twice(h).relu()).relu()
        return self.head(self.third(self.frozen(h).relu()).relu())


def test_hidden_units_are_found_in_modules_of_any_kind():
    """Units of `first`, which enter `second`, and of `third`, which enter the head; those of no others."""
    net = ContinualNet(Own, optimizer=torch.optim.SGD, lr=0.0, max_epochs=1, batch_size=-1)
    clf = ContinualBackpropClassifier(net, replacement_rate=1.0, maturity=0, random_state=0)
    before = untrained(clf)[1].state_dict()
    after = clf.fit(X, Y).net_.module_.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"first.weight", "first.bias", "second.weight", "third.weight", "third.bias", "head.weight"}
    assert not after["second.weight"].any() and not after["head.weight"].any()


def test_a_network_without_hidden_units_is_told():
    with pytest.warns(UserWarning, match="MLP has no hidden units"):
        clf = ContinualBackpropClassifier(make_net(module__hidden_units=()), random_state=0).fit(X, Y)
    plain = NaiveClassifier(make_net(module__hidden_units=()), random_state=0).fit(X, Y)
    for each in (clf, pickle.loads(pickle.dumps(clf))):
        assert np.array_equal(each.decision_function(X), plain.decision_function(X))
    with pytest.warns(UserWarning, match="MLP has no hidden units"):
        ContinualBackpropRegressor(make_net(ContinualRegressionNet, module__hidden_units=())).fit(X, Y / 10)


def test_layer_norm_stands_before_each_relu():
    module = MLP(n_inputs=64, n_outputs=10, hidden_units=(7, 5), norm="layer")
    kinds = [type(layer).__name__ for layer in module.hidden]
    assert kinds == ["Linear", "LayerNorm", "ReLU", "Linear", "LayerNorm", "ReLU"]
    h = ROWS
    for linear in (module.hidden[0], module.hidden[3]):
        z = linear(h)
        h = ((z - z.mean(1, keepdim=True)) / (z.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()).clamp(min=0)
    torch.testing.assert_close(module(ROWS), module.head(h))
    clf = NaiveClassifier(make_net(module__norm="layer", lr=0.01, max_epochs=20), random_state=0).fit(X, Y)
    assert clf.score(X, Y) > 0.9
    for wrong in ({"norm": "batch"}, {"norm": "layer", "batch_norm": True}):
        with pytest.raises(ValueError, match="norm must be 'layer'"):
            MLP(64, 10, **wrong)


@pytest.mark.parametrize(
    ("init", "hidden", "head"),
    [(None, 1 / (3 * 300), 1 / (3 * 200)), ("he", 2 / 300, 1 / 200), ("xavier", 2 / (300 + 200), 2 / (200 + 100))],
)
def test_variance_of_initial_weights(init, hidden, head):
    torch.manual_seed(0)
    module = MLP(n_inputs=300, n_outputs=100, hidden_units=(200,), init=init)
    for layer, variance in ((module.hidden[0], hidden), (module.head, head)):
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.05)
        assert layer.weight.abs().max().item() <= (3 * variance) ** 0.5  # uniform
        assert bool(layer.bias.any()) == (init is None)
    with pytest.raises(ValueError, match="init must be 'he', 'xavier' or None, got 'zeros'"):
        MLP(300, 100, init="zeros")
