"""One thread for torch: the tests' networks are small, and threads only wait for each other."""

import os
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_home():
    """Folder with the real data for tests, or skip."""
    folder = Path(os.environ.get("FORGETLESS_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no real data in {folder}; set FORGETLESS_DATA to a folder that has mnist/*.gz")
    return folder
