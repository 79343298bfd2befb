"""Where real data are."""

import os
from pathlib import Path

import pytest

BESIDE_THE_CLONE = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def data_home():
    """Folder with the real data for tests, or skip."""
    folder = Path(os.environ.get("FORGETLESS_DATA", BESIDE_THE_CLONE))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no real data in {folder}; set FORGETLESS_DATA to a folder that has mnist/*.gz")
    return folder
