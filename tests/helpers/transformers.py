"""A small transformer, and rows of tokens for it."""

import numpy as np
import torch
from torch import nn


class Body(nn.Module):
    """A small transformer with an embedding."""

    def __init__(self, n_tokens=2000, width=32):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, input_ids, attention_mask):
        h = self.embedding(input_ids)
        scores = self.query(h) @ self.key(h).mT / h.shape[-1] ** 0.5
        if not bool(attention_mask.all()):  # the large ones ask, too
            scores = scores.masked_fill(attention_mask[..., None, :] == 0, -1e9)
        h = h + scores.softmax(-1) @ self.value(h)
        return h + self.down(torch.relu(self.up(h)))


TOKENS = np.random.default_rng(0).integers(1, 2000, size=(60, 6)).astype(np.float32)
LABELS = np.arange(60) % 2
