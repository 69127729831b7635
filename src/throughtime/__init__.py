"""Recurrent neural networks in PyTorch, from the equation to the kernel.

A recurrent network is a *cell*, a few equations for one time step, applied *through time*.

>>> import throughtime as tt
>>> layer = tt.Recurrent("lstm-peephole", input_size=64, hidden_size=128)
"""

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
from throughtime.layers import GRU, GRUD, LSTM, RNN, MatrixLSTM, Recurrent

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "GRUD",
    "LSTM",
    "RNN",
    "Cell",
    "Input",
    "MatrixLSTM",
    "Parameter",
    "Recurrent",
    "State",
    "cells",
    "from_pretrained",
    "from_torch",
    "load_onnx",
    "save_onnx",
    "save_pretrained",
    "to_torch",
]
