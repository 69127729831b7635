"""The parameters of a layer: their names and their shapes; starts.py says how they start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime.layers.recurrent import Recurrent

__all__ = ["all_suffixes", "initial_names", "shapes", "suffixes"]


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
