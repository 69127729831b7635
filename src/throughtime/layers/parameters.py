"""The parameters of a layer: their names, their shapes, and from what they start."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Start

if TYPE_CHECKING:
    from throughtime.layers.recurrent import Recurrent

__all__ = ["RECURRENT_INITS", "draw", "fill", "initial_names", "shapes", "suffixes"]


def suffixes(layer: Recurrent, number: int) -> list[str]:
    """What stands behind the names of one layer of the stack, for each direction."""
    return [f"_l{number}", f"_l{number}_reverse"][: layer.num_directions]


def all_suffixes(layer: Recurrent) -> list[str]:
    """The same for all layers of the stack, in the order of the states' rows."""
    return [s for number in range(layer.num_layers) for s in suffixes(layer, number)]


def shapes(layer: Recurrent) -> dict[str, tuple[int, ...]]:
    """All parameters by name, as ``torch.nn`` names and orders them."""
    found: dict[str, tuple[int, ...]] = {}
    width = layer.proj_size or layer.hidden_size
    for number in range(layer.num_layers):
        below = width if layer.independent else layer.output_size
        of_one = _of_one(layer, layer.input_size if number == 0 else below, width)
        for suffix in suffixes(layer, number):
            found |= {f"{name}{suffix}": shape for name, shape in of_one.items()}
    if layer.learned_state:
        rows, sizes = all_suffixes(layer), layer.state_sizes
        found |= {f"initial_{k}{s}": (size,) for k, size in sizes.items() for s in rows}
    return found


def _of_one(layer: Recurrent, input_size: int, width: int) -> dict[str, tuple[int, ...]]:
    """Those of one layer of the stack in one direction."""
    cell, H = layer.cell, layer.hidden_size
    found: dict[str, tuple[int, ...]] = {"weight_ih": (len(cell.gates) * H, input_size)}
    if cell.recurrent_block_names:
        found["weight_hh"] = (len(cell.recurrent_block_names) * H, width)
    if layer.bias:
        found["bias_ih"] = (len(cell.gates) * H,)
        if cell.recurrent_bias_names:
            found["bias_hh"] = (len(cell.recurrent_bias_names) * H,)
    if layer.proj_size:
        found["weight_hr"] = (layer.proj_size, H)
    return found | {k: (p.size or H,) for k, p in cell.parameter_specs.items()}


def initial_names(layer: Recurrent) -> dict[str, float]:
    """The parameters of the learned initial states, and what each starts from."""
    specs, rows = layer.cell.state_specs, all_suffixes(layer)
    return {f"initial_{k}{s}": spec.initial for k, spec in specs.items() for s in rows}


@torch.no_grad()
def draw(layer: Recurrent) -> None:
    """Draws all parameters anew; see :meth:`throughtime.Recurrent.reset_parameters`.

    First all are drawn in their order, so that a seed gives the numbers of ``torch.nn``. Then the
    blocks for which the cell declares another start are filled, then those that an option sets.
    """
    bound = 1 / math.sqrt(layer.hidden_size)
    learned = initial_names(layer) if layer.learned_state else {}
    for name, parameter in layer.named_parameters():
        spec = layer.cell.parameter_specs.get(name.rsplit("_l", 1)[0])
        start = learned.get(name, spec.initial if spec else None)
        fill(parameter, (-bound, bound) if start is None else start)
    starts = {**layer.cell.initial_weights, **_starts_of_options(layer)}
    for suffix in all_suffixes(layer):
        for name, start in starts.items():
            if start is not None:
                _start(layer, suffix, name, start)
        if layer.forget_bias == "chrono":
            _start_chrono(layer, suffix)


def fill(weight: Tensor, start: Start) -> None:
    """Fills a weight, or a part of one, as ``start`` says; None leaves it as it is."""
    if callable(start):
        # The decompositions behind orthogonal matrices and eigenvalues know no half precision.
        wide = torch.promote_types(weight.dtype, torch.float32)
        # NaN, so that what the function does not fill cannot pass for a number.
        values = torch.full_like(weight, math.nan, dtype=wide)
        start(values)
        weight.copy_(values)
    elif isinstance(start, tuple):
        weight.uniform_(*start)
    elif start is not None:
        weight.fill_(start)


def _starts_of_options(layer: Recurrent) -> dict[str, Start]:
    """How the options of the layer let weights start, by the names of ``Cell.initial_weights``."""
    starts: dict[str, Start] = {}
    if layer.recurrent_init is not None:
        blocks = layer.cell.recurrent_block_names
        starts |= {f"R.{block}": RECURRENT_INITS[layer.recurrent_init] for block in blocks}
    if layer.forget_bias is not None and not isinstance(layer.forget_bias, str):
        starts["b.f"] = layer.forget_bias
    return starts


RECURRENT_INITS: dict[str, Start] = {
    "uniform": None,
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
}
"""The values of the option ``recurrent_init``, and how a block of R then starts."""


def _start(layer: Recurrent, suffix: str, name: str, start: Start) -> None:
    """Fills one weight of one layer and direction as ``start`` says.

    Args:
        suffix: of the layer and direction.
        name: as in ``Cell.initial_weights`` or ``Cell.chrono``: ``R.f``, ``b.f``, ``p_f``.
    """
    letter, _, block = name.partition(".")
    if not block:
        fill(getattr(layer, f"{name}{suffix}"), start)
    elif letter == "b":
        _start(layer, suffix, f"b_W.{block}", start)
        _start(layer, suffix, f"b_R.{block}", 0.0)
    else:
        of_letter = {
            "W": ("weight_ih", layer.cell.gates),
            "R": ("weight_hh", layer.cell.recurrent_block_names),
            "b_W": ("bias_ih", layer.cell.gates),
            "b_R": ("bias_hh", layer.cell.recurrent_bias_names),
        }
        key, blocks = of_letter[letter]
        weight: Tensor | None = getattr(layer, f"{key}{suffix}", None)
        # A layer without biases has none to start, and no gate needs a recurrent bias.
        if weight is not None and block in blocks:
            fill(weight.chunk(len(blocks))[blocks.index(block)], start)


def _start_chrono(layer: Recurrent, suffix: str) -> None:
    """Sets the biases that the cell names in ``chrono``, for one layer and direction.

    Each unit is to remember a number u of steps, drawn uniformly from 1 to T_max - 1. The bias of a
    gate that keeps is log(u), that of a gate that writes -log(u).

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, arXiv
    1804.11188, section 2.
    """
    assert layer.chrono_steps is not None
    weight: Tensor = getattr(layer, f"weight_ih{suffix}")
    wide = torch.promote_types(weight.dtype, torch.float32)
    steps = torch.empty(layer.hidden_size, dtype=wide, device=weight.device)
    logarithm = steps.uniform_(1, layer.chrono_steps - 1).log()
    for name, sign in layer.cell.chrono.items():
        _start(layer, suffix, name, lambda part, sign=sign: part.copy_(sign * logarithm))
