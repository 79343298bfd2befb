"""What tests of estimators may ask for."""

import pytest

from forgetless.estimators.engine.memory import ReplayMemory


@pytest.fixture
def draws(monkeypatch):
    """What is drawn from memories, in the order in which it is drawn."""
    found, sample = [], ReplayMemory.sample

    def noted(*args, **kwargs):
        found.append(sample(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(ReplayMemory, "sample", noted)
    return found
