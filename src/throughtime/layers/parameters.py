"""The names and shapes of a layer's parameters; starts.py initialises their values."""

from __future__ import annotations

from throughtime.cells.cell import Cell
from throughtime.cells.owned import OwnTensor, own_tensors
from throughtime.layers.spec import LayerSpec

__all__ = ["all_suffixes", "initial_names", "kept", "shapes", "state_sizes", "suffixes"]


def state_sizes(cell: Cell, spec: LayerSpec) -> dict[str, int]:
    """The number of units of each state by name."""
    sizes = {name: state.size or spec.hidden_size for name, state in cell.state_specs.items()}
    return sizes | ({cell.output_name: spec.proj_size} if spec.proj_size else {})


def suffixes(spec: LayerSpec, number: int) -> list[str]:
    """The name suffixes of the parameters of layer ``number``: ``_l0``, ``_l0_reverse``."""
    return [f"_l{number}", f"_l{number}_reverse"][: spec.num_directions]


def all_suffixes(spec: LayerSpec) -> list[str]:
    """The suffixes of all layers and directions, in the order of the rows of a state."""
    return [s for number in range(spec.num_layers) for s in suffixes(spec, number)]


def shapes(cell: Cell, spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters by name, named and ordered as ``torch.nn`` does."""
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


def kept(cell: Cell) -> dict[str, OwnTensor]:
    """The tensors of the cell of which each layer and direction has a copy, by name."""
    return {name: own for name, own in own_tensors(cell).items() if own.kind != "constant"}


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
    found |= {
        k: p.size if isinstance(p.size, tuple) else (p.size or H,)
        for k, p in cell.parameter_specs.items()
    }
    return found | {name: tuple(own.value.shape) for name, own in kept(cell).items()}


def initial_names(cell: Cell, spec: LayerSpec) -> dict[str, float]:
    """The names of the parameters of learned initial states, each with its initial value."""
    specs, rows = cell.state_specs, all_suffixes(spec)
    return {f"initial_{k}{s}": state.initial for k, state in specs.items() for s in rows}
