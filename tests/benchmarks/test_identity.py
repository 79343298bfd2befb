"""Descriptions of what is run: equal for equal things, different for different things."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import torch

from forgetless.benchmarks.runs.identity import describe
from forgetless.estimators import MLP, ContinualNet


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
