"""Recurrent layers and attention: modules that own weights and read whole sequences."""

from throughtime.layers.attention import Attention
from throughtime.layers.crf import CRF
from throughtime.layers.gru_d import GRUD
from throughtime.layers.matrix_lstm import MatrixLSTM
from throughtime.layers.observations import time_gaps
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.single_step import GRUCell, LSTMCell, RNNCell
from throughtime.layers.torch_like import GRU, LSTM, RNN
from throughtime.layers.wiring import Circuit, circuit, wire

__all__ = [
    "CRF",
    "GRU",
    "GRUD",
    "LSTM",
    "RNN",
    "Attention",
    "Circuit",
    "GRUCell",
    "LSTMCell",
    "MatrixLSTM",
    "RNNCell",
    "Recurrent",
    "circuit",
    "time_gaps",
    "wire",
]
