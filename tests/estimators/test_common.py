"""Every strategy of the package against the battery."""

import inspect

from helpers.battery import battery

from forgetless.estimators import all_estimators

test_battery = battery(*dict(all_estimators()).values())


def test_all_estimators_lists_names_and_classes():
    assert all_estimators() == sorted(all_estimators())
    assert all(name == cls.__name__ and inspect.isclass(cls) for name, cls in all_estimators())
