r"""Conversion of recurrent layers from and to Keras, without importing Keras.

Keras multiplies by its matrices from the right and has another order of blocks. With rows x and h:

    Keras LSTM                                       lstm
    i = sigmoid(x K_i + h U_i + b_i)                 i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
    f = sigmoid(x K_f + h U_f + b_f)                 f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
    c = f * c + i * tanh(x K_c + h U_c + b_c)        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
    o = sigmoid(x K_o + h U_o + b_o)                 o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)

    Keras GRU, reset_after=True                      gru
    z = sigmoid(x K_z + h U_z + b_z + d_z)           z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
    r = sigmoid(x K_r + h U_r + b_r + d_r)           r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
    g = tanh(x K_h + b_h + r * (h U_h + d_h))        n_t = tanh(W_n x_t + b_Wn
                                                                + r_t * (R_n h_{t-1} + b_Rn))
    Keras GRU, reset_after=False                     gru-reset-before
    g = tanh(x K_h + (r * h) U_h + b_h)              n_t = tanh(W_n x_t + R_n (r_t * h_{t-1}) + b_n)
    both: h = z * h + (1 - z) * g                    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Keras SimpleRNN                                  rnn-tanh, rnn-relu, rnn-sigmoid, rnn-linear
    h = g(x K + h U + b)                             h_t = g(W x_t + R h_{t-1} + b)

So W = K^T and R = U^T, block by block. The GRU with reset_after has two biases, b and d, which are
bias_ih and bias_hh. All other layers of Keras have one bias: from Keras it becomes bias_ih, beside
a bias_hh of zeros; to Keras it is the sum of bias_ih and bias_hh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.cells.cell import is_registered
from throughtime.checks import shape_is, unknown
from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.layers import GRU, LSTM, RNN, Recurrent

__all__ = ["from_keras_weights", "layer_from_arrays", "parameter_names", "suffixes", "to_keras"]

# The blocks of each cell in the order of Keras.
_ORDERS = {
    "lstm": ("i", "f", "g", "o"),
    "lstm-np": ("i", "f", "z", "o"),
    "gru": ("z", "r", "n"),
    "gru-reset-before": ("z", "r", "n"),
    **dict.fromkeys(("rnn-tanh", "rnn-relu", "rnn-sigmoid", "rnn-linear"), ("h",)),
}
_ARRAYS = ("kernel", "recurrent_kernel", "bias")
_BIASES = ("bias_ih", "bias_hh")


def from_keras_weights(
    weights: Sequence[Any],
    cell: str,
    *,
    bias: bool = True,
    bidirectional: bool = False,
    merge: str = "concat",
    batch_first: bool = True,
) -> Recurrent:
    """Creates a layer from weights of Keras, as ``get_weights`` returns them or a file holds them.

    Args:
        weights: a list of the arrays kernel, recurrent_kernel and, with ``bias``, bias, for each
            direction (forward, then backward) of each layer.
        cell: ``lstm``; ``gru`` for a GRU with reset_after=True, ``gru-reset-before`` for one with
            reset_after=False; ``rnn-tanh``, ``rnn-relu``, ``rnn-sigmoid`` or ``rnn-linear`` for a
            SimpleRNN with that activation.
        bias: use_bias of Keras.
        bidirectional: whether the layers are in a Bidirectional.
        merge: ``concat``, ``sum``, ``mean`` (ave in Keras) or ``product`` (mul in Keras).
        batch_first: whether the sequences of the layer are (B, T, …), as in Keras.

    Shapes:
        kernel (I, G*H), recurrent_kernel (H, G*H), bias (G*H), for ``gru`` (2, G*H).

    Raises:
        ShapeError: for an array of another shape.
        ValueError: for an unknown cell, a wrong number of arrays, or arrays of mixed types.

    >>> arrays = [np.zeros((3, 20)), np.zeros((5, 20)), np.zeros(20)]
    >>> from_keras_weights(arrays, "lstm")
    LSTM(LSTM(), 3, 5, batch_first=True)
    """
    if cell not in _ORDERS:
        raise unknown("cell for Keras weights", cell, _ORDERS)
    options = dict(bias=bias, bidirectional=bidirectional, merge=merge, batch_first=batch_first)
    return layer_from_arrays("from_keras_weights", weights, cell, **options)


def to_keras(layer: Recurrent) -> list[np.ndarray]:
    """Converts the weights of a layer to the arrays of Keras.

    A weight that is computed in each call, as by ``weight_norm``, has its current value.

    Args:
        layer: a recurrent layer with one of the cells of :func:`from_keras_weights`.

    Returns:
        The list for ``set_weights`` of a layer of Keras, or of a ``keras.Sequential`` with the same
        number of layers; each must be in a Bidirectional if the layer has two directions. bfloat16
        becomes float32, because NumPy has no bfloat16.

    Raises:
        TypeError: if ``layer`` is not a recurrent layer of throughtime.
        ValueError: for a cell or an option that Keras does not have, or a weight without a value.

    >>> [array.shape for array in to_keras(GRU(3, 5))]
    [(3, 15), (5, 15), (2, 15)]
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(
            f"to_keras: expected a recurrent layer of throughtime, got {type(layer).__name__}."
        )
    layer = with_plain_weights("to_keras", layer)
    cell = layer.cell.name
    # A subclass inherits the name, but may have other equations.
    if cell not in _ORDERS or not is_registered(layer.cell):
        raise ValueError(
            f"to_keras: Keras has no layer for the cell {cell or '?'} ({layer.cell}); it "
            f"has those of {', '.join(_ORDERS)}."
        )
    for option in layer.spec.lost_in("keras"):
        raise ValueError(f"to_keras: Keras has no {option}, which this layer uses.")
    arrays = []
    for suffix in suffixes(layer):
        rows = [getattr(layer, f"{name}{suffix}").detach() for name in parameter_names(layer.bias)]
        rows = [_reordered(r, layer.cell.gates, _ORDERS[cell]) for r in rows]
        arrays += [rows[0].T, rows[1].T]
        if layer.bias:
            arrays.append(torch.stack(rows[2:]) if cell == "gru" else rows[2] + rows[3])
    return [_numpy(array) for array in arrays]


def parameter_names(bias: bool) -> tuple[str, ...]:
    """The names of the parameters of one layer and direction, without their suffix."""
    return ("weight_ih", "weight_hh", *(_BIASES if bias else ()))


def suffixes(layer: Recurrent) -> list[str]:
    """The suffixes of the parameters, by layer and then by direction, as Keras orders them."""
    ends = ("", "_reverse")[: layer.num_directions]
    return [f"_l{k}{end}" for k in range(layer.num_layers) for end in ends]


def layer_from_arrays(who: str, weights: Any, cell: str, **options: Any) -> Recurrent:
    """Creates a layer and fills it with arrays of Keras; see :func:`from_keras_weights`.

    Args:
        who: the calling function, with whose name error messages begin.
    """
    bias, bidirectional = options["bias"], options["bidirectional"]
    names = _ARRAYS[: 3 if bias else 2]
    per_layer = len(names) * (2 if bidirectional else 1)
    if not isinstance(weights, (list, tuple)) or not weights or len(weights) % per_layer:
        got = len(weights) if isinstance(weights, (list, tuple)) else type(weights).__name__
        raise ValueError(
            f"{who}: expected a list of {per_layer} arrays for each layer, {', '.join(names)}"
            f"{' of each direction' if bidirectional else ''}, got {got}. See the arguments bias "
            f"({bias}) and bidirectional ({bidirectional})."
        )
    tensors = [_tensor(who, i, array) for i, array in enumerate(weights)]
    if len(types := {t.dtype for t in tensors}) > 1:
        listed = ", ".join(sorted(map(str, types)))
        raise ValueError(f"{who}: expected arrays of one floating-point type, got {listed}.")
    for i in (0, 1):
        shape_is(who, f"array {i}, the {names[i]},", tensors[i], ("IH"[i], "G*H"))
    layer = _empty_layer(cell, tensors, len(weights) // per_layer, options)
    _fill(who, layer, cell, names, tensors)
    return layer


def _empty_layer(
    cell: str, tensors: Sequence[Tensor], num_layers: int, options: dict[str, Any]
) -> Recurrent:
    """A layer of the sizes and dtype of the first two tensors, without values of weights."""
    I, H = tensors[0].shape[0], tensors[1].shape[0]
    # The meta device allocates and draws no weights, all of which _fill replaces.
    options = options | dict(device="meta", dtype=tensors[0].dtype)
    if cell in ("rnn-tanh", "rnn-relu"):
        return RNN(I, H, num_layers, nonlinearity=cell[4:], **options)
    if cell in ("lstm", "gru"):
        return (LSTM if cell == "lstm" else GRU)(I, H, num_layers, **options)
    return Recurrent(cell, I, H, num_layers, **options)


def _fill(
    who: str, layer: Recurrent, cell: str, names: Sequence[str], tensors: Sequence[Tensor]
) -> None:
    """Checks the shapes of the tensors, and sets them as the parameters of the layer.

    Args:
        who: the calling function, with whose name error messages begin.
        layer: the layer, whose parameters are replaced.
        cell: the name of its cell.
        names: the names of the arrays of Keras for one layer and direction.
        tensors: the arrays of all layers and directions as tensors.
    """
    H = layer.hidden_size
    arrays = iter(enumerate(tensors))
    for suffix in suffixes(layer):
        I = layer.input_size if suffix.startswith("_l0") else layer.output_size
        columns = len(layer.cell.gates) * H
        shapes = [(I, columns), (H, columns), (2, columns) if cell == "gru" else (columns,)]
        for name, shape in zip(names, shapes, strict=False):
            i, value = next(arrays)
            why = f"the cell is {cell}, I={I} and H={H}"
            shape_is(who, f"array {i}, the {name} of {suffix[1:]},", value, shape, why)
            if name != "bias":
                converted = {"weight_ih" if name == "kernel" else "weight_hh": value.T}
            else:
                biases = value if cell == "gru" else (value, torch.zeros_like(value))
                converted = dict(zip(_BIASES, biases, strict=True))
            for parameter, rows in converted.items():
                rows = _reordered(rows, _ORDERS[cell], layer.cell.gates).contiguous()
                setattr(layer, f"{parameter}{suffix}", nn.Parameter(rows))


def _reordered(rows: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Changes the order of the blocks of rows (G*H, …) from ``old`` to ``new``."""
    blocks = dict(zip(old, rows.chunk(len(old)), strict=True))
    return torch.cat([blocks[name] for name in new])


def _tensor(who: str, number: int, array: Any) -> Tensor:
    """Converts array ``number`` of the weights to a tensor of the same floating-point type."""
    value = np.asarray(array)
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.astype(np.float32)).to(torch.bfloat16)
    if value.dtype.kind != "f" or value.dtype.itemsize > 8:
        got = value.dtype if value.dtype.kind in "biufc" else type(array).__name__
        raise ValueError(f"{who}: expected array {number} of a floating-point type, got {got}.")
    # A copy in the byte order of this machine, the only one that PyTorch has.
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))


def _numpy(value: Tensor) -> np.ndarray:
    """Converts a tensor to a copy in NumPy; bfloat16 becomes float32."""
    value = value.float() if value.dtype == torch.bfloat16 else value
    return value.contiguous().cpu().numpy().copy()
