"""
A transformer with adapters
===========================

A small transformer has learned something before; now new classes come, two at a time. Train all of its weights, or
leave them as they are and train low-rank adapters beside them (LoRA)? The transformer, its pretraining on noisy digits
and the adapters are made here, in some seconds. For a large one, ``AdapterClassifier`` of ``forgetless[large]`` makes
the adapters by itself.
"""

import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import ContinualNet, NaiveClassifier, ReplayClassifier

# %%
# The transformer
# ---------------
#
# An image of 8 x 8 is a sentence of eight words, its rows.


class Block(nn.Module):
    """Attention and a multilayer perceptron, each added to what comes in."""

    def __init__(self, width):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x):
        """Transform words, shape (n, words, width)."""
        heads = self.qkv(self.norms[0](x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + self.out(attended)
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Transformer(nn.Module):
    """Words are embedded, go through the blocks, and their mean is classified."""

    def __init__(self, n_outputs, width=48):
        super().__init__()
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(torch.zeros(8, width))
        self.blocks = nn.Sequential(Block(width), Block(width), Block(width))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x):
        """Classify rows of 64 pixels."""
        return self.head(self.blocks(self.embed(x.unflatten(-1, (8, 8))) + self.place).mean(1))


# %%
# Pretraining
# -----------

digits = load_digits()
net = ContinualNet(Transformer, lr=0.002, max_epochs=6, batch_size=32)
noise = np.random.default_rng(0).normal(0, 0.2, digits.X_train.shape)
X_before = (digits.X_train.max() - digits.X_train + noise).astype("float32")  # dark on bright, and the test is not
pretrained = NaiveClassifier(net, random_state=0).fit(X_before, digits.y_train).net_.module_

# %%
# Adapters
# --------


class LoRA(nn.Module):
    """A linear layer that stays, and a product of two thin matrices that learns; in the beginning it is zero."""

    def __init__(self, layer, rank):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down, self.up = (
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features, bias=False),
        )
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        """What the layer gives, and what the adapter adds."""
        return self.layer(x) + self.up(self.down(x))


class Pretrained(nn.Module):
    """The transformer with what it knows, and a new head; with a rank, only adapters and head learn."""

    def __init__(self, n_outputs, transformer, rank=None):
        super().__init__()
        self.body = copy.deepcopy(transformer)
        if rank is not None:
            self.body.requires_grad_(False)
            for block in self.body.blocks:
                for name in ("qkv", "out", "up", "down"):
                    setattr(block, name, LoRA(getattr(block, name), rank))
        self.body.head = nn.Identity()
        self.head = nn.Linear(transformer.head.in_features, n_outputs)

    def forward(self, x):
        """Classify rows of 64 pixels."""
        return self.head(self.body(x))


# %%
# Two classes at a time
# ---------------------


def prototype(rank):
    """The pretrained transformer as `net`."""
    settings = {"lr": 0.002, "max_epochs": 6, "batch_size": 32}
    return ContinualNet(Pretrained, module__transformer=pretrained, module__rank=rank, **settings)


models = {
    "all weights, plain": NaiveClassifier(prototype(None), random_state=0),
    "all weights, replay": ReplayClassifier(prototype(None), buffer_size=200, random_state=0),
    "adapters, plain": NaiveClassifier(prototype(2), random_state=0),
    "adapters, replay": ReplayClassifier(prototype(2), buffer_size=200, random_state=0),
}
stream = split_stream(digits, random_state=0)
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, model in models.items():
    curve = []
    for i, experience in enumerate(stream):
        model.partial_fit(experience.X_train, experience.y_train)
        curve.append(np.mean([model.score(*stream.test_set(j)) for j in range(i + 1)]))
    weights = list(model.net_.module_.parameters())
    trained, total = sum(p.numel() for p in weights if p.requires_grad), sum(p.numel() for p in weights)
    print(f"{name}: trains {trained} of {total} weights ({100 * trained / total:.0f} %), ends at {curve[-1]:.2f}")
    ax.plot(range(1, 6), curve, marker="o", label=name, linestyle="--" if "plain" in name else "-")
ax.set(xlabel="experiences learned", ylabel="accuracy on all seen", xticks=range(1, 6), ylim=(0, 1.02))
ax.legend(frameon=False)

# %%
# The memory does most against forgetting; adapters train a few weights of the network, and leave all others as they
# were.

kept = models["adapters, replay"].net_.module_.body.blocks[0].qkv.layer.weight
assert torch.equal(kept, pretrained.blocks[0].qkv.weight)
plt.show()
