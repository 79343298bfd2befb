"""Processes of their own that import the same forgetless as the tests."""

import os
import sys


def environment(*folders, **variables):
    """Return the variables of this process, and others; modules are found in the folders, then where they are here."""
    path = [*map(str, folders), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables}
