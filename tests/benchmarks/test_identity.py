"""Descriptions of what is run: the same in every process, different for different things."""

import functools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from helpers.processes import environment

from forgetless.benchmarks.runs.identity import describe
from forgetless.estimators import (
    MLP,
    ContinualNet,
)

DESCRIBED = """
import hashlib, numpy as np
from forgetless.benchmarks.runs.identity import describe, digest
from forgetless.estimators import ContinualNet, EWCClassifier, MLP, make_incremental_pipeline
from sklearn.preprocessing import StandardScaler
net = ContinualNet(MLP, module__hidden_units=(8,), train_split=None)
print(digest(describe([make_incremental_pipeline(StandardScaler(), EWCClassifier(net=net)), {"b", "a", "c"}])))
"""


def test_description_is_the_same_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DESCRIBED],
            check=True,
            capture_output=True,
            text=True,
            env=environment(PYTHONHASHSEED=seed),
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1


def test_description_of_values():
    assert describe({"b": np.float64(0.5), "a": (1, None)}) == {"a": [1, None], "b": 0.5}
    assert describe(np.arange(3)) == describe(np.arange(3))
    assert describe(np.arange(3)) != describe(np.arange(3.0))
    assert describe(np.arange(4)) != describe(np.arange(4).reshape(2, 2))
    assert describe(np.array(["a", None], dtype=object))["array"] == ["a", None]
    assert describe(torch.float32) == {"import": "torch.float32"}
    assert describe(functools.partial(math.pow, 2)) == {
        "partial": {"import": "math.pow"},
        "args": [2],
        "kwargs": {},
    }
    assert describe(Path("a/b")) == {"path": "a/b"}
    assert "0x" not in json.dumps(describe(ContinualNet(MLP)))
