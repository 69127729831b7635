"""The names and shapes of a layer's parameters; starts.py initialises their values."""

from __future__ import annotations

from throughtime.cells.cell import Cell
from throughtime.cells.owned import OwnTensor, own_tensors
from throughtime.layers.spec import LayerSpec

__all__ = ["all_suffixes", "copied_tensors", "initial_names", "shapes", "state_sizes", "suffixes"]


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
    all_shapes: dict[str, tuple[int, ...]] = {}
    width = spec.proj_size or spec.hidden_size
    for number in range(spec.num_layers):
        below = width if spec.independent else spec.output_size
        of_layer = _shapes_of_layer(cell, spec, spec.input_size if number == 0 else below, width)
        for suffix in suffixes(spec, number):
            all_shapes |= {f"{name}{suffix}": shape for name, shape in of_layer.items()}
    if spec.learned_state:
        rows, sizes = all_suffixes(spec), state_sizes(cell, spec)
        all_shapes |= {f"initial_{k}{s}": (size,) for k, size in sizes.items() for s in rows}
    return all_shapes


def copied_tensors(cell: Cell) -> dict[str, OwnTensor]:
    """The tensors of the cell, by name, of which each layer and direction has its own copy.

    These are its parameters and buffers. Constants are not copied; all layers share them.
    """
    return {name: own for name, own in own_tensors(cell).items() if own.kind != "constant"}


def _shapes_of_layer(
    cell: Cell, spec: LayerSpec, input_size: int, width: int
) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of one layer in one direction, by names without suffix.

    Args:
        cell: the equations.
        spec: the sizes and options of the whole stack.
        input_size: the number of features that this layer reads.
        width: the number of units of the state that the recurrent matrix reads.
    """
    H = spec.hidden_size
    of_layer: dict[str, tuple[int, ...]] = {"weight_ih": (len(cell.gates) * H, input_size)}
    if cell.recurrent_block_names:
        of_layer["weight_hh"] = (len(cell.recurrent_block_names) * H, width)
    if spec.bias:
        of_layer["bias_ih"] = (len(cell.gates) * H,)
        if cell.recurrent_bias_names:
            of_layer["bias_hh"] = (len(cell.recurrent_bias_names) * H,)
    if spec.proj_size:
        of_layer["weight_hr"] = (spec.proj_size, H)
    of_layer |= {
        k: tuple(
            H if n is None else n for n in (p.size if isinstance(p.size, tuple) else (p.size,))
        )
        for k, p in cell.parameter_specs.items()
    }
    return of_layer | {
        name: tuple(tensor.value.shape) for name, tensor in copied_tensors(cell).items()
    }


def initial_names(cell: Cell, spec: LayerSpec) -> dict[str, float]:
    """The names of the parameters of learned initial states, each with its initial value."""
    specs, rows = cell.state_specs, all_suffixes(spec)
    return {f"initial_{k}{s}": state.initial for k, state in specs.items() for s in rows}
