"""The package as it is laid out: what is listed, what is imported, what the examples in docstrings say."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import forgetless

ROOT = Path(__file__).parents[1]
MODULES = [
    "forgetless",
    *(m.name for m in pkgutil.walk_packages(forgetless.__path__, "forgetless.") if "__main__" not in m.name),
]
FOLDERS = ("benchmarks", "datasets", "estimators", "reports")
# Tests and tools live beside the package in an editable install; they are no part of it.
MODULES = [name for name in MODULES if name == "forgetless" or name.split(".")[1] in FOLDERS]


def test_pyproject_lists_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join(["forgetless", *path.parent.relative_to(ROOT).parts])
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(["forgetless", *found])


def test_one_version():
    # What the tag of a release must say is checked by tests/release.py.
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert forgetless.__version__ == citation.group(1) == changes.group(1)


def test_hooks_have_the_tested_versions():
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    hooks = re.findall(r"additional_dependencies: \[(.+)\]", (ROOT / ".pre-commit-config.yaml").read_text())
    assert hooks
    assert set(hooks) <= set(tested)


def test_only_two_modules_at_the_root():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert results.failed == 0


@pytest.mark.parametrize("module", ["forgetless", *(f"forgetless.{folder}" for folder in FOLDERS)])
def test_importing_a_package_imports_nothing_heavy(module):
    heavy = {"jinja2", "matplotlib", "pandas", "rich", "scipy", "sklearn", "torch", "tqdm"}
    code = f"import sys, {module}; dir({module}); print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_streams_and_loaders_import_nothing_heavy():
    code = (
        "import sys, forgetless.datasets as d; d.DATASETS, d.Stream, d.load_mnist, d.load_digits, d.load_csv;"
        "d.load_watch, d.file_stream;"
        "print({'pandas', 'pyarrow', 'scipy', 'sklearn', 'torch', 'tqdm'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names(folder):
    package = importlib.import_module(f"forgetless.{folder}")
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing
