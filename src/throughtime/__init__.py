"""Recurrent neural networks in PyTorch, from the equation to the kernel.

A recurrent network is a *cell*, a few equations for one time step, applied *through time*.

>>> import throughtime as tt
>>> layer = tt.Recurrent("lstm-peephole", input_size=64, hidden_size=128)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from throughtime import cells
from throughtime.cells import Cell, Input, Parameter, State
from throughtime.interchange import (
    from_pretrained,
    from_torch,
    load_onnx,
    save_onnx,
    save_pretrained,
    to_torch,
)
from throughtime.layers import (
    GRU,
    GRUD,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    MatrixLSTM,
    Recurrent,
    RNNCell,
)

if TYPE_CHECKING:
    from throughtime.tasks.loading import LoadedRun

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
    "save_onnx",
    "save_pretrained",
    "to_torch",
]


def load_run(folder: str | Path) -> LoadedRun:
    """Reads a run folder, as ``throughtime train`` writes it: the model, the task, the tokenisers.

    Args:
        folder: ``runs/demo``, for example.

    Returns:
        An object with ``model``, ``task``, ``tokenisers`` and ``config``; see
        :class:`throughtime.tasks.loading.LoadedRun`.

    Raises:
        ValueError: if the folder is no run, has no model yet, or is damaged.
    """
    # The tasks bring the readers of all their data, which a program without a run need not load.
    from throughtime.tasks.loading import load_run

    return load_run(folder)
