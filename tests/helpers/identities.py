"""Things whose identity must not depend on the process."""

import collections
import random

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks.runs.identity import describe, digest
from forgetless.estimators import MLP, ContinualNet, EWCClassifier, make_incremental_pipeline


def digests(n_hooks):
    """Identities of such things, in a process in which so many hooks were made before: they are numbered."""
    for _ in range(n_hooks):
        torch.nn.Identity().register_forward_hook(max)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    module.register_forward_hook(max)
    net = ContinualNet(MLP, module__hidden_units=(8,), train_split=None)
    things = [
        *(module, make_incremental_pipeline(StandardScaler(), EWCClassifier(net=net))),
        *({1, "a", (2, 3), None}, {"b", "a", "c"}, collections.OrderedDict(a=1), {1: 2, "1": 3}, range(3), 1j),
        *(np.random.default_rng(0), random.Random(0), torch.Generator()),
        *(pd.DataFrame({"a": ["x"]}), torch.relu, np.add),
    ]
    return [digest(describe(thing)) for thing in things]
