"""Records the runs of the compiled kernels."""

from contextlib import contextmanager
from itertools import product

import pytest

from throughtime.kernels.cpp.recurrence import Kernel
from throughtime.kernels.cpp.training import TrainingPlan


@contextmanager
def noted_runs():
    """The runs of kernels inside the context, in order."""
    runs: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in product((Kernel, TrainingPlan), ("forward", "backward")):
            method = getattr(kind, name)

            def noted(*args, _method=method, _name=name, **kwargs):
                runs.append(_name)
                return _method(*args, **kwargs)

            patch.setattr(kind, name, noted)
        yield runs
