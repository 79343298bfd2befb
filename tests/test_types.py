"""What a type checker tells a user of the package."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="tox run -e types has mypy")

SCRIPT = """
from forgetless.datasets import split_stream
from forgetless.estimators import EWCClassifier, {name}

clf = EWCClassifier({parameter}=3)
reveal_type(clf)
reveal_type(clf.partial_fit([[0.0]], [1]))
reveal_type(clf.memory_usage())
"""


def errors_of(folder, name="NaiveClassifier", parameter="ewc_lambda"):
    script = folder / "script.py"
    script.write_text(SCRIPT.format(name=name, parameter=parameter))
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder.parent / "mypy"), str(script)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


def test_classes_and_results_have_types(folder):
    told = errors_of(folder)
    assert "error" not in told
    assert told.count('Revealed type is "forgetless.estimators.regularization.ewc.EWCClassifier"') == 2
    assert 'Revealed type is "dict[str, int]"' in told.replace("builtins.", "")


def test_a_wrong_class_is_an_error(folder):
    assert 'has no attribute "NoSuchClassifier"' in errors_of(folder, name="NoSuchClassifier")


def test_a_wrong_parameter_is_an_error(folder):
    assert 'Unexpected keyword argument "no_such"' in errors_of(folder, parameter="no_such")
