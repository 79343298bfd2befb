"""The passes of a step against autograd, and which modules are chains."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from forgetless.estimators import MLP, ContinualNet
from forgetless.estimators.engine.modules import features_and_outputs
from forgetless.estimators.engine.passes import AutogradPasses, ChainPasses, function_of, passes_of, stacked_passes_of

CHAINS = {
    "MLP": MLP(5, 3, hidden_units=(8, 7)),
    "linear": nn.Sequential(nn.Linear(5, 3)),
    "two in a row": nn.Sequential(nn.Linear(5, 6), nn.Identity(), nn.Linear(6, 3)),
    "elementwise, without bias": nn.Sequential(
        nn.Sequential(nn.Linear(5, 6, bias=False), nn.Tanh()),
        nn.Linear(6, 4),
        nn.Sigmoid(),
        nn.Linear(4, 3, bias=False),
    ),
}


class Forked(nn.Module):
    """Not a chain, though all its layers could stand in one."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.relu(self.left(x)) + self.right(x))


shared = nn.Linear(5, 5)
OTHERS = {
    "forked": Forked(),
    "dropout": MLP(5, 3, dropout=0.5),
    "batch norm": MLP(5, 3, batch_norm=True),
    "one layer twice": nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(5, 3)),
    "elementwise of another kind": nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)),
    "something after the head": nn.Sequential(nn.Linear(5, 3), nn.Tanh()),
}


def make_net(module):
    net = ContinualNet(copy.deepcopy(module)).build(5, 3)
    net.flatten()
    return net


def rows(*shape):
    return torch.randn(*shape, 5, generator=torch.Generator().manual_seed(0))


def loss_of(forward, features_and_outputs, x):
    """A loss of two passes, one of which gives features, too."""
    features, outputs = features_and_outputs(x[..., :4, :])
    return (outputs.sin().sum() + features.square().sum()) + forward(x[..., 4:, :]).exp().sum()


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_gradient_is_that_of_autograd(name):
    net = make_net({**CHAINS, **OTHERS}[name])
    module, x = net.module_.eval(), rows(9)
    gradient = torch.full_like(net.flatten(), torch.nan)
    passes = passes_of(net, gradient, x)
    assert isinstance(passes, ChainPasses if name in CHAINS else AutogradPasses)
    for _ in range(2):  # nothing is left over from the step before
        loss = loss_of(passes, passes.features_and_outputs, x)
        passes.backward(loss)
        expected = loss_of(module, lambda x: features_and_outputs(module, x), x)
        torch.testing.assert_close(loss, expected)
        grads = torch.autograd.grad(expected, net.trainable())
        torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in grads]))
        net.flatten().mul_(0.9)
        passes = passes_of(net, gradient, x)


@pytest.mark.parametrize("name", [*CHAINS, "forked", "elementwise of another kind"])
def test_stacked_gradient_is_that_of_each(name):
    net = make_net({**CHAINS, **OTHERS}[name])
    theta = torch.stack([net.flatten() * s for s in (0.5, 1.0, 2.0)])
    gradient, x = torch.full_like(theta, torch.nan), rows(3, 9)
    passes = stacked_passes_of(net, theta, gradient, x[0])
    assert isinstance(passes, ChainPasses if name in CHAINS else AutogradPasses)
    loss = loss_of(passes, passes.features_and_outputs, x)
    passes.backward(loss)
    for k in range(3):
        leaves = [v.clone().requires_grad_() for v in net.unflatten(theta[k])]
        weights = dict(zip([n for n, _ in net.module_.named_parameters()], leaves, strict=True))
        forward = lambda x, weights=weights: functional_call(net.module_, weights, (x,))  # noqa: E731
        head = net.module_.head if hasattr(net.module_, "head") else net.module_[-1]
        expected = loss_of(forward, lambda x, f=forward, head=head: features_and_outputs(f, x, head), x[k])
        grads = torch.autograd.grad(expected, leaves)
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in grads]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_function_of_a_net_is_its_module(name):
    net = make_net({**CHAINS, **OTHERS}[name])
    module, x = net.module_.eval(), rows(9)
    theta = (net.flatten() * 0.7).requires_grad_()
    outputs = function_of(net)(theta, x)
    (gradient,) = torch.autograd.grad(outputs.sin().sum(), theta, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), theta)
    net.flatten().mul_(0.7)
    torch.testing.assert_close(outputs, module(x))
    grads = torch.autograd.grad(module(x).sin().sum(), net.trainable(), create_graph=True)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in grads]))
    seconds = torch.autograd.grad(sum(g.square().sum() for g in grads), net.trainable())
    torch.testing.assert_close(second, torch.cat([g.flatten() for g in seconds]))


def test_outputs_that_play_no_part_have_no_gradient():
    net = make_net(CHAINS["MLP"])
    gradient = torch.full_like(net.flatten(), torch.nan)
    passes = passes_of(net, gradient, rows(4))
    passes(rows(4))
    passes.backward(torch.ones((), requires_grad=True) * 2)
    assert not gradient.any()


@pytest.mark.parametrize("why", ["frozen", "hook", "images"])
def test_what_the_chain_does_not_see_leaves_it_to_autograd(why):
    module, x = copy.deepcopy(CHAINS["MLP"]), rows(9)
    if why == "frozen":
        module.hidden[0].requires_grad_(False)
    elif why == "hook":
        module.hidden[0].register_forward_hook(lambda *_: None)
    else:
        x = x.view(9, 1, 5)
    net = make_net(module)
    assert isinstance(passes_of(net, torch.empty_like(net.flatten()), x), AutogradPasses)
