"""One thread for torch: the tests' networks are small, and threads only wait for each other."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")

import torch
from helpers.data import data_home  # noqa: F401 - a fixture for all tests

torch.set_num_threads(1)
