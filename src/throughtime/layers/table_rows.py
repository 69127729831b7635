r"""Runs recurrent layers on rows of a table, such as the embeddings of tokens.

If x_t is row k_t of a table E, the product of the first layer is a row of a smaller product:

    W x_t + b = P[k_t],   P = E W^T + b

so a matrix product over all steps becomes one over the rows of E, and so do its two products in the
backward pass. A one-hot input is a row of the identity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.cells.wrapped import GivenProducts
from throughtime.kernels import BACKENDS, Call, dispatch
from throughtime.kernels.autocast import autocast_dtype
from throughtime.kernels.cpp.backend import FEW_STEPS
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.program import program
from throughtime.kernels.graph.random import new_seed
from throughtime.kernels.transforms import has_tangent, is_direct
from throughtime.layers.incoming import prepared
from throughtime.layers.recurrent import Recurrent, RecurrentState

__all__ = ["on_rows"]

LEAST_SAVED = 60_000_000
"""To look up rows takes time of its own, which is not gained if fewer multiplications are saved."""


def on_rows(
    layer: Recurrent, table: Tensor, rows: Tensor, hx: RecurrentState | None = None
) -> tuple[Tensor, RecurrentState] | None:
    """The result of ``layer(F.embedding(rows, table), hx)``, without the product for each step.

    Args:
        layer: the recurrent layers.
        table: E, (V, I).
        rows: k, the number of the row that is read at each step; integers (T, B), or (B, T) if the
            layer has ``batch_first``.
        hx: the initial states; None uses those of the cell.

    Returns:
        None if the usual way is faster, or the only one.
    """
    cell = GivenProducts(layer.equations)
    if not _is_faster(layer, table, rows) or not _can_run(layer, cell, (table, rows)):
        return None
    # Only its shape, device and dtype are read.
    x = table.new_zeros(()).expand(*rows.shape, table.shape[1])
    incoming = prepared(layer, x, hx)
    rows = incoming.layout.time_first(rows).contiguous()

    def run(x: Tensor, number: int, direction: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        if number > 0:
            return layer._run(incoming, None, x, number, direction)
        seed = new_seed(x.device) if layer.equations.drawn_inputs else None
        call = _with_products(layer._call(incoming, x, 0, direction, seed), cell, table, rows)
        output, states = dispatch.run(call, layer.backend, layer.strict)
        return output, tuple(s.unsqueeze(0) for s in states)

    return layer._completed(incoming, run)


def _is_faster(layer: Recurrent, table: Tensor, rows: Tensor) -> bool:
    """Whether the rows repeat so often that to multiply the table is faster."""
    if rows.dim() != 2 or rows.shape[1 if layer.batch_first else 0] <= FEW_STEPS:
        return False
    # The products of all steps are kept for the backward pass, which save="states" is to avoid.
    V, I = table.shape
    saved = (rows.numel() - V) * I * len(layer.cell.gates) * layer.hidden_size
    return saved >= LEAST_SAVED and layer.save == "gates"


def _can_run(layer: Recurrent, cell: Cell, tensors: tuple[Tensor, Tensor]) -> bool:
    """Whether the compiled kernels run the first layer with given products.

    Args:
        layer: the recurrent layers.
        cell: the equations of the first layer with given products.
        tensors: the table and the rows.
    """
    table = tensors[0]
    if layer.backend not in ("auto", "cpp") or BACKENDS["cpp"].missing():
        return False
    # Such a cell multiplies x with tensors of its own, or has inputs that the tokens do not give.
    if layer._has_own_tensors or layer.cell.given_inputs:
        return False
    if layer.network().refusal or layer.dtype is not table.dtype:
        return False
    # In bfloat16, products that are stored would be rounded, which the kernels avoid.
    is_exact = table.dtype in (torch.float32, torch.float64) and autocast_dtype(table) is None
    involved = (*tensors, *layer.parameters())
    if not is_exact or not is_direct(involved) or has_tangent(involved):
        return False
    try:
        return "x" not in program(cell).inputs
    except Untraceable:
        return False


def _with_products(call: Call, cell: Cell, table: Tensor, rows: Tensor) -> Call:
    """The call of a first layer whose products with x are rows of products of the table.

    Args:
        call: the call, of whose x only the shape is read.
        cell: its equations with given products.
        table, rows: see :func:`on_rows`; the rows are (T, B).
    """
    weights, H = call.weights, call.state[0].shape[-1]
    products = F.linear(table, weights.weight_ih, weights.bias_ih)  # (V, G*H)
    of_block = tuple(F.embedding(rows, part) for part in products.split(H, 1))  # G times (T, B, H)
    # The step reads neither x nor its weights, whose shapes the kernels check.
    zeros = weights.weight_ih.new_zeros(len(weights.weight_ih), 1)
    bias = None if weights.bias_ih is None else zeros[:, 0]
    return replace(
        call,
        cell=cell,
        x=call.x[..., :1],
        weights=replace(weights, weight_ih=zeros, bias_ih=bias),
        inputs=of_block,
    )
