"""Sequences: the modules that own weights."""

from throughtime.layers.attention import Attention
from throughtime.layers.gru_d import GRUD, time_gaps
from throughtime.layers.matrix_lstm import MatrixLSTM
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.single_step import GRUCell, LSTMCell, RNNCell
from throughtime.layers.torch_like import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "GRUD",
    "LSTM",
    "RNN",
    "Attention",
    "GRUCell",
    "LSTMCell",
    "MatrixLSTM",
    "RNNCell",
    "Recurrent",
    "time_gaps",
]
