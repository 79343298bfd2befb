"""What tests of estimators may ask for."""

import pytest

from forgetless.estimators.engine.memory import Drawn


@pytest.fixture
def draws(monkeypatch):
    """The rows that are drawn from memories, in the order in which they are drawn."""
    found, rows = [], Drawn.rows

    def noted(drawn):
        found.append(rows(drawn))
        return found[-1]

    monkeypatch.setattr(Drawn, "rows", noted)
    return found
