"""Descriptions of what is run: equal for equal things, different for different things."""

import functools
import json
import linecache
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
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


def defined_in_a_notebook(monkeypatch, code):
    """A class of ``__main__`` whose source is known line by line, as a cell's is, but not by file."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    name = f"<cell {len(code)} {hash(code)}>"
    monkeypatch.setitem(linecache.cache, name, (len(code), None, code.splitlines(keepends=True), name))
    exec(compile(code, name, "exec"), vars(module))
    return module.Own()


CELL = """
from sklearn.base import BaseEstimator

class Own(BaseEstimator):
    rate = {rate}

    def fit(self, X, y):
        return {fit}
"""


def test_classes_of_a_notebook_are_told_apart_by_methods_and_attributes(monkeypatch):
    cells = [CELL.format(rate=rate, fit=fit) for rate, fit in ((1, "self"), (1, "self"), (2, "self"), (1, "self.fit"))]
    first, again, *others = (describe(defined_in_a_notebook(monkeypatch, cell)) for cell in cells)
    assert first == again
    assert all(other != first for other in others)


def test_classes_without_any_source_are_refused(monkeypatch):
    code = CELL.format(rate=1, fit="self")
    own = defined_in_a_notebook(monkeypatch, code)
    linecache.cache.clear()
    with pytest.raises(ValueError, match="define it in a module"):
        describe(own)
