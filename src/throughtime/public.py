"""Imports of the public names of the package, which are attributes of :mod:`throughtime`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from throughtime import cells as cells
from throughtime.cells import Cell as Cell
from throughtime.cells import Input as Input
from throughtime.cells import Parameter as Parameter
from throughtime.cells import State as State
from throughtime.interchange import from_pretrained as from_pretrained
from throughtime.interchange import from_torch as from_torch
from throughtime.interchange import load_onnx as load_onnx
from throughtime.interchange import save_c as save_c
from throughtime.interchange import save_onnx as save_onnx
from throughtime.interchange import save_pretrained as save_pretrained
from throughtime.interchange import to_torch as to_torch
from throughtime.layers import GRU as GRU
from throughtime.layers import GRUD as GRUD
from throughtime.layers import LSTM as LSTM
from throughtime.layers import RNN as RNN
from throughtime.layers import GRUCell as GRUCell
from throughtime.layers import LSTMCell as LSTMCell
from throughtime.layers import MatrixLSTM as MatrixLSTM
from throughtime.layers import Recurrent as Recurrent
from throughtime.layers import RNNCell as RNNCell

if TYPE_CHECKING:
    from throughtime.tasks.loading import LoadedRun


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
