"""Importances are sums of what autograd says of each row alone, whatever the module does between its layers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from forgetless.estimators import ContinualNet, EWCClassifier, MASClassifier

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 3, 40)


class Cosine(nn.Linear):
    """A linear layer with a forward pass of its own."""

    def forward(self, x):
        return 5 * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


class Net(nn.Module):
    def __init__(self, first=None, between=None, head=None, back_again=False):
        super().__init__()
        self.first, self.between = first or nn.Linear(5, 6), between or nn.Tanh()
        self.head = head or nn.Linear(5 if back_again else 6, 3)
        self.back_again = back_again

    def forward(self, x):
        h = self.between(self.first(x))
        return self.head(F.linear(h, self.first.weight.t()).tanh() if self.back_again else h)


def hooked(layer):
    layer.register_forward_hook(lambda layer, args, output: 2 * output)
    return layer


MODULES = {
    "chain": lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
    "in place": lambda: Net(between=nn.ReLU(inplace=True)),
    "in place, other values": lambda: Net(between=nn.SiLU(inplace=True)),
    "in a chain in place": lambda: nn.Sequential(nn.Linear(5, 6), nn.LeakyReLU(inplace=True), nn.Linear(6, 3)),
    "frozen, in place": lambda: Net(nn.Linear(5, 6).requires_grad_(False), nn.ReLU(inplace=True)),
    "weight norm": lambda: Net(weight_norm(nn.Linear(5, 6))),
    "spectral norm": lambda: Net(spectral_norm(nn.Linear(5, 6))),
    "cosine head": lambda: Net(head=Cosine(6, 3, bias=False)),
    "used twice": lambda: Net(back_again=True),
    "hooked": lambda: Net(hooked(nn.Linear(5, 6))),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("strategy", [lambda: EWCClassifier(fisher="empirical"), MASClassifier], ids=["ewc", "mas"])
def test_importances_are_those_of_autograd(name, strategy):
    torch.manual_seed(0)
    clf = strategy().set_params(net=ContinualNet(MODULES[name](), max_epochs=2, lr=0.01), random_state=0)
    clf.partial_fit(X, Y)
    parameters = clf.net_.trainable()
    expected = torch.zeros_like(clf.net_.flatten())
    with torch.random.fork_rng():
        module = clf.net_.module_.eval()
        for x, label in zip(torch.as_tensor(X), torch.as_tensor(Y), strict=True):
            outputs = module(x[None])
            is_ewc = isinstance(clf, EWCClassifier)
            function = F.cross_entropy(outputs, label[None]) if is_ewc else outputs.square().sum()
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(function, parameters)])
            expected += gradient.square() if is_ewc else gradient.abs()
    found = clf.fisher_ if is_ewc else clf.sensitivity_
    torch.testing.assert_close(found, expected / len(X), rtol=1e-4, atol=1e-5 * float(expected.max()) / len(X))
