"""Imports of the public names of the package, which are attributes of :mod:`throughtime`."""

from throughtime import cells as cells
from throughtime.cells import Cell as Cell
from throughtime.cells import Input as Input
from throughtime.cells import Parameter as Parameter
from throughtime.cells import State as State
from throughtime.interchange import from_pretrained as from_pretrained
from throughtime.interchange import from_torch as from_torch
from throughtime.interchange import load_onnx as load_onnx
from throughtime.interchange import save_onnx as save_onnx
from throughtime.interchange import save_pretrained as save_pretrained
from throughtime.interchange import to_torch as to_torch
from throughtime.layers import GRU as GRU
from throughtime.layers import GRUD as GRUD
from throughtime.layers import LSTM as LSTM
from throughtime.layers import RNN as RNN
from throughtime.layers import MatrixLSTM as MatrixLSTM
from throughtime.layers import Recurrent as Recurrent
