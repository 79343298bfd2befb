"""The fixtures that the measurements share with the tests."""

from helpers.data import data_home  # noqa: F401
