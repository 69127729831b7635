"""The options of a layer: which values make sense, and the equations that they lead to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from throughtime.cells.cell import Cell
from throughtime.cells.wrapped import (
    ACTIVATIONS,
    Activated,
    Projected,
    RecurrentDropout,
    Zoneout,
)
from throughtime.checks import unknown, whole_number
from throughtime.kernels.graph import reachable
from throughtime.kernels.trace import Untraceable, trace

if TYPE_CHECKING:
    from throughtime.layers.recurrent import Recurrent

__all__ = ["OF_EQUATIONS", "check", "check_sizes", "equations", "rates_of_zoneout"]

OF_EQUATIONS = ("cell", "zoneout", "recurrent_dropout", "activations", "clip")
"""What changes the equations, and may be set anew at any time."""


def equations(layer: Recurrent, learns: bool) -> Cell:
    """The cell that runs: the layer's own, and around it those that its options ask for.

    Args:
        learns: whether the layer is in training mode, where values are dropped.
    """
    cell = layer.cell
    if layer.activations or layer.clip is not None:
        cell = Activated(cell, layer.activations, layer.clip)
    if layer.recurrent_dropout > 0 and learns:
        cell = RecurrentDropout(cell, layer.recurrent_dropout)
    if layer.proj_size:
        cell = Projected(cell, layer.proj_size)
    rates = rates_of_zoneout(layer)
    return Zoneout(cell, rates, learns) if rates else cell


def rates_of_zoneout(layer: Recurrent) -> dict[str, float]:
    """For each state the probability to keep its value, where that is more than 0."""
    given = layer.zoneout
    of_state = given if isinstance(given, Mapping) else dict.fromkeys(layer.cell.state_specs, given)
    return {name: float(rate) for name, rate in of_state.items() if rate > 0}


def check_sizes(layer: Recurrent, cell: Any) -> None:
    """Makes the sizes Python ints; raises where the cell is none, or a size is no size.

    Args:
        cell: as the layer was given it.
    """
    if not isinstance(layer.cell, Cell):
        hint = f" Write {cell.__name__}()." if isinstance(cell, type) else ""
        raise TypeError(f"Recurrent: expected a cell or the name of one, got {cell!r}.{hint}")
    layer.cell.check()
    for name in ("input_size", "hidden_size", "num_layers", "proj_size"):
        least = 0 if name == "proj_size" else 1
        setattr(layer, name, whole_number(layer.who, name, getattr(layer, name), least))


def check(layer: Recurrent) -> None:
    """Raises a ValueError for an option that is out of range, unknown, or without an effect."""
    _check_rates(layer)
    _check_choices(layer)
    _check_effects(layer)
    _check_start(layer)
    if layer.proj_size:
        _check_projection(layer)
    _check_activations(layer)


def _check_rates(layer: Recurrent) -> None:
    who = layer.who
    if isinstance(layer.dropout, bool) or not 0 <= layer.dropout <= 1:
        raise ValueError(
            f"{who}: expected dropout as a probability from 0 to 1, got {layer.dropout!r}."
        )
    if layer.dropout > 0 and layer.num_layers == 1:
        warnings.warn(
            f"{who}: dropout={layer.dropout} acts between layers, and num_layers is 1: "
            f"nothing will be dropped.",
            stacklevel=4,
        )
    rates: dict[str, Any] = {
        "weight_drop": layer.weight_drop,
        "recurrent_dropout": layer.recurrent_dropout,
    }
    if isinstance(layer.zoneout, Mapping):
        states = layer.cell.state_specs
        for name in layer.zoneout:
            if name not in states:
                raise unknown("state in zoneout", name, states)
        rates |= {f"zoneout of {name}": rate for name, rate in layer.zoneout.items()}
    else:
        rates["zoneout"] = layer.zoneout
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ValueError(
                f"{who}: expected {name} as a probability from 0 to below 1, got {rate!r}."
            )
    clip = layer.clip
    is_number = isinstance(clip, (int, float)) and not isinstance(clip, bool)
    if clip is not None and not (is_number and 0 < clip < math.inf):
        raise ValueError(f"{who}: expected clip as a number above 0, got {clip!r}.")


def _check_choices(layer: Recurrent) -> None:
    for name, known in (
        ("merge", layer.MERGES),
        ("save", ("gates", "states")),
        ("recurrent_init", ("uniform", "orthogonal")),
    ):
        if getattr(layer, name) not in known:
            raise unknown(name, getattr(layer, name), known)
    if layer.merge != "concat" and not layer.bidirectional:
        raise ValueError(
            f'{layer.who}: merge="{layer.merge}" merges two directions; set bidirectional=True.'
        )


def _check_effects(layer: Recurrent) -> None:
    has_no_matrix = not layer.cell.recurrent_block_names
    without_effect = {
        "weight_drop": (
            layer.weight_drop > 0 and has_no_matrix,
            "the cell has no recurrent matrix",
        ),
        "recurrent_dropout": (
            layer.recurrent_dropout > 0 and has_no_matrix,
            "the cell has no recurrent matrix",
        ),
        "locked_dropout": (layer.locked_dropout and layer.dropout == 0, "dropout is 0"),
        "residual": (
            layer.residual and layer.num_layers == 1,
            "num_layers is 1, and the first layer adds nothing",
        ),
        "independent": (
            layer.independent and (layer.num_layers == 1 or not layer.bidirectional),
            "there are not two directions and several layers",
        ),
    }
    for name, (has_none, why) in without_effect.items():
        if has_none:
            raise ValueError(f"{layer.who}: {name} would have no effect, as {why}.")


def _check_start(layer: Recurrent) -> None:
    who, cell = layer.who, layer.cell
    for name, value in (
        ("learned_state=True", layer.learned_state),
        ("zoneout", rates_of_zoneout(layer)),
        ("recurrent_dropout", layer.recurrent_dropout > 0),
    ):
        if value and any(s.size is not None for s in cell.state_specs.values()):
            raise ValueError(f"{who}: {name} needs states of H units.")
    if layer.recurrent_init == "orthogonal" and not cell.recurrent_block_names:
        raise ValueError(f"{who}: the cell has no recurrent block to be orthogonal.")
    if layer.forget_bias is not None:
        if "f" not in cell.gates:
            raise ValueError(
                f"{who}: forget_bias is the bias of block f, and the cell's blocks are "
                f"{', '.join(cell.gates)}."
            )
        if not layer.bias:
            raise ValueError(f"{who}: forget_bias needs bias=True.")


def _check_projection(layer: Recurrent) -> None:
    who, cell, size = layer.who, layer.cell, layer.proj_size
    if size >= layer.hidden_size:
        raise ValueError(
            f"{who}: expected proj_size below hidden_size={layer.hidden_size}, got {size}."
        )
    name = cell.output_name
    why = None
    if name not in cell.state_specs:
        why = f"its output {name} is not fed back"
    elif Projected.block in cell.recurrent_block_names:
        why = f"it has a block {Projected.block} of its own"
    elif cell.has_transform:
        why = "it makes its recurrent blocks of square ones"
    else:
        try:
            step = trace(cell)
        except Untraceable as reason:
            raise ValueError(
                f"{who}: proj_size needs a cell that can be traced: {reason}."
            ) from None
        h, roots = step.graph.leaf("state", name), [*step.states.values(), step.output]
        nodes = reachable([*roots, *(p.operand for p in step.products)])
        if any(h is a for n in nodes for a in n.args) or any(h is r for r in roots):
            why = f"{name} also enters the equations unit by unit, where its H units are missed"
        elif any(p.matrix == "R" and p.operand is not h for p in step.products):
            why = f"blocks of its recurrent matrix are applied to more than {name}"
    if why is not None:
        raise ValueError(f"{who}: proj_size does not go with this cell: {why}.")


def _check_activations(layer: Recurrent) -> None:
    if not isinstance(layer.activations, Mapping):
        raise ValueError(
            f'{layer.who}: expected activations as a dict such as {{"tanh": "relu"}}, got '
            f"{layer.activations!r}."
        )
    for name, other in layer.activations.items():
        for one in (name, other):
            if isinstance(one, str) and one not in ACTIVATIONS:
                raise unknown("activation function", one, ACTIVATIONS)
            if not isinstance(one, str) and (one is name or not callable(one)):
                raise ValueError(
                    f"{layer.who}: expected activations as names of functions, got {one!r}."
                )
    try:
        plain = trace(layer.cell)
        for name, other in layer.activations.items():
            changed = trace(Activated(layer.cell, {name: other}, None))
            if changed.graph.nodes == plain.graph.nodes:
                raise ValueError(
                    f"{layer.who}: activations[{name!r}] would have no effect: the equations "
                    f"call no such function, or the same one."
                )
        if (
            layer.clip is not None
            and trace(Activated(layer.cell, {}, layer.clip)).graph.nodes == plain.graph.nodes
        ):
            raise ValueError(
                f"{layer.who}: clip would have no effect: the equations call none of "
                f"{', '.join(ACTIVATIONS)}."
            )
    except Untraceable:
        # Whether it has an effect cannot be told beforehand; the reference runs it as it is.
        return
