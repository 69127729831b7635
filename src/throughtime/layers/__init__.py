"""Sequences: the modules that own weights."""

from throughtime.layers.attention import Attention
from throughtime.layers.matrix_lstm import MatrixLSTM
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.torch_like import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Attention", "MatrixLSTM", "Recurrent"]
