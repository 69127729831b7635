"""Fixtures of the tests of layers."""

import pytest

from throughtime.kernels.cpp.training import TrainingPlan


@pytest.fixture
def ran(monkeypatch):
    """The runs of plans, in order."""
    runs = []
    for name in ("forward", "backward"):
        method = getattr(TrainingPlan, name)

        def noted(*args, _method=method, _name=name):
            runs.append(_name)
            return _method(*args)

        monkeypatch.setattr(TrainingPlan, name, noted)
    return runs
