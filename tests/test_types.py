"""What a type checker tells a user of the package."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="tox run -e types has mypy")

SCRIPT = """
from forgetless.datasets import split_stream
from forgetless.estimators import EWCClassifier, NaiveClassifier
from forgetless.estimators import NoSuchClassifier

clf = EWCClassifier(ewc_lambda=3)
reveal_type(clf)
reveal_type(clf.partial_fit([[0.0]], [1]))
reveal_type(clf.memory_usage())
EWCClassifier(no_such=3)
"""

# What others' libraries say is no matter here, and takes a minute to read.
SETTINGS = """
[mypy]
[mypy-joblib.*,numpy.*,pandas.*,scipy.*,sklearn.*,skorch.*,torch.*]
follow_imports = skip
"""


def test_classes_and_results_have_types_and_mistakes_are_errors(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = done.stdout.replace("builtins.", "")
    assert told.count('Revealed type is "forgetless.estimators.regularization.ewc.EWCClassifier"') == 2
    assert 'Revealed type is "dict[str, int]"' in told
    no_class, no_parameter = re.findall(r"error: (.+)", told)
    assert 'has no attribute "NoSuchClassifier"' in no_class
    assert 'Unexpected keyword argument "no_such"' in no_parameter
