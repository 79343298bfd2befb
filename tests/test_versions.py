"""Every package that the project names has its version in constraints.txt."""

import re
import tomllib
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:])


def named():
    """The packages that pyproject.toml and tox.ini name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    names += [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for section in tox.values():
        names += section.get("deps", "").split()
        names += " ".join(re.findall(r"pip install --no-deps (.+)", section.get("commands_pre", ""))).split()
    return {canonicalize_name(Requirement(name).name) for name in [*names, "tox"]}


def needed(names):
    """These packages and all that those of them that are installed need here."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needs = [Requirement(each) for each in requires(name) or []]
        except PackageNotFoundError:
            continue
        waiting |= {
            canonicalize_name(each.name) for each in needs if not each.marker or each.marker.evaluate({"extra": ""})
        } - found
    return found


def test_every_package_has_a_version():
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in PINS)
    assert list(PINS) == sorted(PINS)
    # What torch for a GPU needs, torch itself names with versions.
    missing = {name for name in needed(named()) if not name.startswith(("nvidia-", "cuda-", "triton"))} - set(PINS)
    assert not missing


def test_tox_is_installed_in_the_version_that_is_tested():
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"):
        installs = re.findall(r"pip install (.*?)tox\b", (ROOT / name).read_text())
        assert installs, name
        assert set(installs) == {"-c constraints.txt "}
