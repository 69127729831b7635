"""The options of a layer: which values make sense, and the equations that they lead to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch

from throughtime.cells.cell import Cell
from throughtime.cells.wrapped import (
    ACTIVATIONS,
    Activated,
    Projected,
    RecurrentDropout,
    Zoneout,
)
from throughtime.checks import unknown
from throughtime.kernels.graph import reachable
from throughtime.kernels.trace import Untraceable, trace
from throughtime.layers.parameters import RECURRENT_INITS

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
    """Raises where the cell is none, or a size is no size.

    Args:
        cell: as the layer was given it.
    """
    if not isinstance(layer.cell, Cell):
        hint = f" Write {cell.__name__}()." if isinstance(cell, type) else ""
        raise TypeError(f"Recurrent: expected a cell or the name of one, got {cell!r}.{hint}")
    layer.cell.check()
    for name in ("input_size", "hidden_size", "num_layers", "proj_size"):
        size, least = getattr(layer, name), 0 if name == "proj_size" else 1
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{layer.who}: expected {name} as a whole number, got {size!r}.")
        if size < least:
            raise ValueError(f"{layer.who}: expected {name} of at least {least}, got {size}.")


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
    if layer.recurrent_init is not None and layer.recurrent_init not in RECURRENT_INITS:
        raise unknown("recurrent_init", layer.recurrent_init, RECURRENT_INITS)
    if layer.recurrent_init in ("orthogonal", "identity"):
        if not cell.recurrent_block_names:
            raise ValueError(
                f"{who}: the cell has no recurrent block to be {layer.recurrent_init}."
            )
        if layer.recurrent_init == "identity" and (lost := _without_its_diagonal(cell)):
            raise ValueError(
                f'{who}: recurrent_init="identity" would start block {lost} at zero, as the cell '
                f"uses nothing of its diagonal."
            )
    if layer.forget_bias is not None:
        _check_forget_bias(layer)
    if layer.chrono_steps is not None and layer.forget_bias != "chrono":
        raise ValueError(f'{who}: chrono_steps goes with forget_bias="chrono".')


def _without_its_diagonal(cell: Cell) -> str | None:
    """The first recurrent block of which the cell's transform drops the diagonal; None if none."""
    names = cell.recurrent_block_names
    if not cell.has_transform:
        return None
    identities = cell.transform({name: torch.eye(2) for name in names})
    zeros = cell.transform({name: torch.zeros(2, 2) for name in names})
    return next((name for name in names if torch.equal(identities[name], zeros[name])), None)


def _check_forget_bias(layer: Recurrent) -> None:
    who, cell, bias = layer.who, layer.cell, layer.forget_bias
    if isinstance(bias, str):
        if bias != "chrono":
            raise unknown("forget_bias", bias, ("chrono",))
        _check_chrono(layer)
    elif isinstance(bias, bool) or not isinstance(bias, Real) or not math.isfinite(bias):
        raise ValueError(f'{who}: expected forget_bias as a number or "chrono", got {bias!r}.')
    elif "f" not in cell.gates:
        raise ValueError(
            f"{who}: forget_bias is the bias of block f, and the cell's blocks are "
            f"{', '.join(cell.gates)}."
        )
    elif not layer.bias:
        raise ValueError(f"{who}: forget_bias needs bias=True.")


def _check_chrono(layer: Recurrent) -> None:
    who, cell, steps = layer.who, layer.cell, layer.chrono_steps
    if not any(cell.chrono.values()):
        raise ValueError(
            f'{who}: forget_bias="chrono" sets the biases of the sigmoids that decide how long a '
            f"state is kept, and the cell declares none (Cell.chrono)."
        )
    if not layer.bias and any(
        s and name not in cell.parameter_specs for name, s in cell.chrono.items()
    ):
        raise ValueError(f'{who}: forget_bias="chrono" needs bias=True.')
    if "sigmoid" in layer.activations:
        raise ValueError(
            f'{who}: forget_bias="chrono" needs the sigmoids of the gates, which activations '
            f"replaces."
        )
    if isinstance(steps, bool) or not isinstance(steps, Real) or not 2 < float(steps) < math.inf:
        raise ValueError(
            f'{who}: forget_bias="chrono" needs chrono_steps, the longest dependency that is '
            f"expected, as a number of steps above 2; got {steps!r}."
        )


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
