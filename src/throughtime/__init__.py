"""Recurrent neural networks in PyTorch, from the equation to the kernel.

A recurrent network is a *cell*, a few equations for one time step, applied *through time*.

>>> import throughtime as tt
>>> layer = tt.Recurrent("lstm-peephole", input_size=64, hidden_size=128)

The public names are loaded from :mod:`throughtime.public` when the first of them is used, because
they load PyTorch, which takes seconds; ``throughtime --help`` works without it.
"""

# ruff: noqa: F403, F405

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "GRUD",
    "LSTM",
    "RNN",
    "Cell",
    "GRUCell",
    "Input",
    "LSTMCell",
    "MatrixLSTM",
    "Parameter",
    "RNNCell",
    "Recurrent",
    "State",
    "cells",
    "from_pretrained",
    "from_torch",
    "load_onnx",
    "load_run",
    "save_c",
    "save_onnx",
    "save_pretrained",
    "to_torch",
]

if TYPE_CHECKING:
    from throughtime.public import *
else:

    def __getattr__(name: str) -> Any:
        # A module of the package is imported alone: the modules that are loading it may be among
        # those that the public names need.
        is_private = name.startswith("_")
        if not is_private and importlib.util.find_spec(f"{__name__}.{name}") is not None:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.public"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
