"""The method that CONTRIBUTING shows is one."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from helpers.battery import checks_of

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")


def test_the_snippet_passes_the_battery(monkeypatch):
    [snippet] = re.findall(r"^ *```python\n(.*?)^ *```", TEXT, flags=re.DOTALL | re.MULTILINE)
    module = ModuleType("decay")
    monkeypatch.setitem(sys.modules, "decay", module)  # where pickle finds the class
    exec(textwrap.dedent(snippet), vars(module))
    for name, passes in checks_of(module.DecayClassifier):
        try:
            passes()
        except pytest.skip.Exception:
            continue
        except Exception as error:
            raise AssertionError(f"{name} fails") from error


@pytest.mark.parametrize("path", re.findall(r"`((?:estimators|tests)/[\w/]+(?:\.\w+|/))`", TEXT))
def test_paths_exist(path):
    assert (Path(__file__).parents[2] / path).exists() or path == "estimators/regularization/decay.py"
