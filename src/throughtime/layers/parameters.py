"""The parameters of a layer: their names, their shapes, and from what they start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell, Start
from throughtime.layers.spec import LayerSpec

__all__ = [
    "RECURRENT_INITS",
    "draw",
    "fill",
    "initial_names",
    "shapes",
    "state_sizes",
    "suffixes",
]


def state_sizes(cell: Cell, spec: LayerSpec) -> dict[str, int]:
    """The units of each state."""
    sizes = {name: state.size or spec.hidden_size for name, state in cell.state_specs.items()}
    return sizes | ({cell.output_name: spec.proj_size} if spec.proj_size else {})


def suffixes(spec: LayerSpec, number: int) -> list[str]:
    """What stands behind the names of one layer of the stack, for each direction."""
    return [f"_l{number}", f"_l{number}_reverse"][: spec.num_directions]


def all_suffixes(spec: LayerSpec) -> list[str]:
    """The same for all layers of the stack, in the order of the states' rows."""
    return [s for number in range(spec.num_layers) for s in suffixes(spec, number)]


def shapes(cell: Cell, spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    """All parameters by name, as ``torch.nn`` names and orders them."""
    found: dict[str, tuple[int, ...]] = {}
    width = spec.proj_size or spec.hidden_size
    for number in range(spec.num_layers):
        below = width if spec.independent else spec.output_size
        of_one = _of_one(cell, spec, spec.input_size if number == 0 else below, width)
        for suffix in suffixes(spec, number):
            found |= {f"{name}{suffix}": shape for name, shape in of_one.items()}
    if spec.learned_state:
        rows, sizes = all_suffixes(spec), state_sizes(cell, spec)
        found |= {f"initial_{k}{s}": (size,) for k, size in sizes.items() for s in rows}
    return found


def _of_one(cell: Cell, spec: LayerSpec, input_size: int, width: int) -> dict[str, tuple[int, ...]]:
    """Those of one layer of the stack in one direction."""
    H = spec.hidden_size
    found: dict[str, tuple[int, ...]] = {"weight_ih": (len(cell.gates) * H, input_size)}
    if cell.recurrent_block_names:
        found["weight_hh"] = (len(cell.recurrent_block_names) * H, width)
    if spec.bias:
        found["bias_ih"] = (len(cell.gates) * H,)
        if cell.recurrent_bias_names:
            found["bias_hh"] = (len(cell.recurrent_bias_names) * H,)
    if spec.proj_size:
        found["weight_hr"] = (spec.proj_size, H)
    return found | {k: (p.size or H,) for k, p in cell.parameter_specs.items()}


def initial_names(cell: Cell, spec: LayerSpec) -> dict[str, float]:
    """The parameters of the learned initial states, and what each starts from."""
    specs, rows = cell.state_specs, all_suffixes(spec)
    return {f"initial_{k}{s}": state.initial for k, state in specs.items() for s in rows}


@torch.no_grad()
def draw(layer: nn.Module, cell: Cell, spec: LayerSpec) -> None:
    """Draws all parameters anew; see :meth:`throughtime.Recurrent.reset_parameters`.

    First all are drawn in their order, so that a seed gives the numbers of ``torch.nn``. Then the
    blocks for which the cell declares another start are filled, then those that an option sets.

    Args:
        layer: the owner of the parameters that :func:`shapes` names.
        cell: the layer's own.
        spec: the layer's sizes and options.
    """
    bound = 1 / math.sqrt(spec.hidden_size)
    learned = initial_names(cell, spec) if spec.learned_state else {}
    for name, parameter in layer.named_parameters():
        own = cell.parameter_specs.get(name.rsplit("_l", 1)[0])
        start = learned.get(name, own.initial if own else None)
        fill(parameter, (-bound, bound) if start is None else start)
    starts = {**cell.initial_weights, **_starts_of_options(cell, spec)}
    for suffix in all_suffixes(spec):
        for name, start in starts.items():
            if start is not None:
                _start(layer, cell, suffix, name, start)
        if spec.forget_bias == "chrono":
            _start_chrono(layer, cell, spec, suffix)


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


def _starts_of_options(cell: Cell, spec: LayerSpec) -> dict[str, Start]:
    """How the options of the layer let weights start, by the names of ``Cell.initial_weights``."""
    starts: dict[str, Start] = {}
    if spec.recurrent_init is not None:
        blocks = cell.recurrent_block_names
        starts |= {f"R.{block}": RECURRENT_INITS[spec.recurrent_init] for block in blocks}
    if spec.forget_bias is not None and not isinstance(spec.forget_bias, str):
        starts["b.f"] = spec.forget_bias
    return starts


RECURRENT_INITS: dict[str, Start] = {
    "uniform": None,
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
}
"""The values of the option ``recurrent_init``, and how a block of R then starts."""


def _start(layer: nn.Module, cell: Cell, suffix: str, name: str, start: Start) -> None:
    """Fills one weight of one layer and direction as ``start`` says.

    Args:
        suffix: of the layer and direction.
        name: as in ``Cell.initial_weights`` or ``Cell.chrono``: ``R.f``, ``b.f``, ``p_f``.
    """
    letter, _, block = name.partition(".")
    if not block:
        fill(getattr(layer, f"{name}{suffix}"), start)
    elif letter == "b":
        _start(layer, cell, suffix, f"b_W.{block}", start)
        _start(layer, cell, suffix, f"b_R.{block}", 0.0)
    else:
        of_letter = {
            "W": ("weight_ih", cell.gates),
            "R": ("weight_hh", cell.recurrent_block_names),
            "b_W": ("bias_ih", cell.gates),
            "b_R": ("bias_hh", cell.recurrent_bias_names),
        }
        key, blocks = of_letter[letter]
        weight: Tensor | None = getattr(layer, f"{key}{suffix}", None)
        # A layer without biases has none to start, and no gate needs a recurrent bias.
        if weight is not None and block in blocks:
            fill(weight.chunk(len(blocks))[blocks.index(block)], start)


def _start_chrono(layer: nn.Module, cell: Cell, spec: LayerSpec, suffix: str) -> None:
    """Sets the biases that the cell names in ``chrono``, for one layer and direction.

    Each unit is to remember a number u of steps, drawn uniformly from 1 to T_max - 1. The bias of a
    gate that keeps is log(u), that of a gate that writes -log(u).

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, arXiv
    1804.11188, section 2.
    """
    assert spec.chrono_steps is not None
    weight: Tensor = getattr(layer, f"weight_ih{suffix}")
    wide = torch.promote_types(weight.dtype, torch.float32)
    steps = torch.empty(spec.hidden_size, dtype=wide, device=weight.device)
    logarithm = steps.uniform_(1, spec.chrono_steps - 1).log()
    for name, sign in cell.chrono.items():
        _start(layer, cell, suffix, name, lambda part, sign=sign: part.copy_(sign * logarithm))
