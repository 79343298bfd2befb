"""One thread, unless OMP_NUM_THREADS says else: the tests' networks are small, and threads only wait for each other."""

import gc
import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from helpers.data import data_home  # noqa: F401 - a fixture for all tests
from helpers.servers import server  # noqa: F401


def pytest_collection_finish():
    """Leave out of later searches for garbage what stays till the end: thousands of tests, and all modules."""
    gc.collect()
    gc.freeze()
