"""What tests of replay share: a smaller network, digits in order, herding by its definition."""

from functools import partial

import numpy as np
import torch

from . import estimators

make_net = partial(estimators.make_net, module__hidden_units=(16,), lr=1e-2, max_epochs=2)
make_stream = partial(estimators.make_stream, class_order="sorted")


def greedy(features, n_rows):
    """Herding by its definition: each time, try all rows that are left."""
    features = np.asarray(features, dtype=np.float64)
    mean, chosen = features.mean(axis=0), []
    for k in range(1, n_rows + 1):
        left = [row for row in range(len(features)) if row not in chosen]
        means = [(features[row] + features[chosen].sum(axis=0)) / k for row in left]
        chosen.append(left[int(np.argmin([np.linalg.norm(mean - m) for m in means]))])
    return chosen


def unit_features(module, x):
    features = module.hidden(torch.as_tensor(x)).detach().double().numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def index_in(rows, x):
    return [int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in x]
