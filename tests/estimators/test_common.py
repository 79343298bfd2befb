"""Every strategy of the package against the battery."""

import inspect
from importlib.util import find_spec

import pytest
from helpers.battery import battery

from forgetless.estimators import all_estimators

# Classes that need a package of an extra.
EXTRAS = {"AdapterClassifier": "peft"}
MISSING = {name: package for name, package in EXTRAS.items() if find_spec(package) is None}

test_battery = battery(*(cls for name, cls in all_estimators() if name not in MISSING))


@pytest.mark.parametrize("name", EXTRAS)
def test_classes_of_an_extra_are_tested_where_it_is_installed(name):
    if name in MISSING:
        pytest.skip(f"{name} needs forgetless[large]: {MISSING[name]} is not installed")


def test_all_estimators_lists_names_and_classes():
    assert all_estimators() == sorted(all_estimators())
    assert all(name == cls.__name__ and inspect.isclass(cls) for name, cls in all_estimators())
