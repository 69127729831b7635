"""The parameters of a layer: their names, their shapes, and from what they start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.layers.spec import LayerSpec

__all__ = ["draw", "initial_names", "shapes", "state_sizes", "suffixes"]


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


def draw(layer: nn.Module, cell: Cell, spec: LayerSpec) -> None:
    """Draws the parameters anew; see :meth:`throughtime.Recurrent.reset_parameters`.

    Args:
        layer: the owner of the parameters that :func:`shapes` names.
        cell: the layer's own.
        spec: the layer's sizes and options.
    """
    bound = 1 / math.sqrt(spec.hidden_size)
    learned = initial_names(cell, spec) if spec.learned_state else {}
    for name, parameter in layer.named_parameters():
        if name in learned:
            nn.init.constant_(parameter, learned[name])
            continue
        start = cell.parameter_specs.get(name.rsplit("_l", 1)[0])
        if start is None or start.initial is None:
            nn.init.uniform_(parameter, -bound, bound)
        elif isinstance(start.initial, tuple):
            nn.init.uniform_(parameter, *start.initial)
        else:
            nn.init.constant_(parameter, start.initial)
    for suffix in all_suffixes(spec):
        if spec.recurrent_init == "orthogonal":
            for block in getattr(layer, f"weight_hh{suffix}").detach().split(spec.hidden_size):
                # The decomposition behind it knows no half precision.
                wide = torch.promote_types(block.dtype, torch.float32)
                block.copy_(nn.init.orthogonal_(torch.empty_like(block, dtype=wide)))
        if spec.forget_bias is not None:
            bias = getattr(layer, f"bias_ih{suffix}")
            _rows_of_f(bias, cell.gates).fill_(spec.forget_bias)
            if "f" in (names := cell.recurrent_bias_names):
                _rows_of_f(getattr(layer, f"bias_hh{suffix}"), names).zero_()


def _rows_of_f(bias: Tensor, names: tuple[str, ...]) -> Tensor:
    return bias.detach().chunk(len(names))[names.index("f")]
