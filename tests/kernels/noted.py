"""Records the runs of the compiled kernels."""

from contextlib import contextmanager

import pytest

from throughtime.kernels.cpp import recurrence


@contextmanager
def noted_runs():
    """The runs of kernels inside the context, in order."""
    runs: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("forward", "backward"):
            method = getattr(recurrence.Kernel, name)

            def noted(*args, _method=method, _name=name, **kwargs):
                runs.append(_name)
                return _method(*args, **kwargs)

            patch.setattr(recurrence.Kernel, name, noted)
        yield runs
