"""Fixtures of the tests of benchmarks."""

import pytest
from helpers.benchmarks import Spy
from helpers.claims import CLAIMS

from forgetless.benchmarks.replication.claims import load_claims


@pytest.fixture
def log(monkeypatch):
    """The calls of all spies, in order."""
    monkeypatch.setattr(Spy, "log", [])
    return Spy.log


@pytest.fixture
def claims_folder(tmp_path):
    """A folder with one file of claims."""
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "flowers.toml").write_text(CLAIMS)
    return folder


@pytest.fixture
def claims(claims_folder):
    return load_claims(claims_folder)
