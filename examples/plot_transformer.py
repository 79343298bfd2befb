"""
A transformer with adapters
===========================

A small transformer has learned something before; now new classes come, two at a time. Train all of its weights, or
leave them as they are and train a low-rank adapter for each pair beside them (LoRA)? The transformer and its
pretraining on noisy digits are made here, in some seconds; ``AdapterClassifier`` needs
``pip install "forgetless[large]"``.
"""

import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import AdapterClassifier, ContinualNet, NaiveClassifier, ReplayClassifier

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


class Pretrained(nn.Module):
    """The transformer with what it knows, and a new head."""

    def __init__(self, n_outputs, transformer):
        super().__init__()
        self.body = copy.deepcopy(transformer)
        self.body.head = nn.Identity()
        self.head = nn.Linear(transformer.head.in_features, n_outputs)

    def forward(self, x):
        """Classify rows of 64 pixels."""
        return self.head(self.body(x))


# %%
# Two classes at a time
# ---------------------


net = ContinualNet(Pretrained, module__transformer=pretrained, lr=0.002, max_epochs=6, batch_size=32)
models = {
    "all weights, plain": NaiveClassifier(net, random_state=0),
    "all weights, replay": ReplayClassifier(net, buffer_size=200, random_state=0),
    "an adapter for each pair": AdapterClassifier(net, rank=2, random_state=0),
    "at most two adapters, merged": AdapterClassifier(net, rank=2, max_adapters=2, random_state=0),
}
stream = split_stream(digits, random_state=0)
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, model in models.items():
    curve = []
    for i, experience in enumerate(stream):
        model.partial_fit(experience.X_train, experience.y_train)
        curve.append(np.mean([model.score(*stream.test_set(j)) for j in range(i + 1)]))
    kilobytes = sum(model.memory_usage().values()) / 1e3
    print(f"{name}: {curve[-1]:.2f} in the end, keeps {kilobytes:.0f} kB")
    ax.plot(range(1, 6), curve, marker="o", label=name, linestyle="--" if "adapter" in name else "-")
ax.set(xlabel="experiences learned", ylabel="accuracy on all seen", xticks=range(1, 6), ylim=(0, 1.02))
ax.legend(frameon=False)

# %%
# Adapters keep no old rows: which pair a row belongs to is found by the nearest class mean of the frozen features, and
# what those cannot tell apart, no adapter repairs. The transformer itself is as it was.

kept = models["an adapter for each pair"].net_.module_.state_dict()
before = pretrained.state_dict()
assert all(
    any(torch.equal(value, each) for each in kept.values()) for name, value in before.items() if "head" not in name
)
plt.show()
