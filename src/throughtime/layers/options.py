"""The options of a layer: whether they fit its cell, and the equations that they lead to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from throughtime.cells.cell import Cell
from throughtime.cells.wrapped import (
    ACTIVATIONS,
    Activated,
    Projected,
    RecurrentDropout,
    Zoneout,
)
from throughtime.checks import unknown
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import reachable
from throughtime.kernels.graph.trace import trace
from throughtime.layers import starts
from throughtime.layers.spec import LayerSpec

__all__ = ["changes_equations", "check", "check_cell", "equations", "rates_of_zoneout"]

# The options that wrap the cell.
_CHANGING = ("zoneout", "recurrent_dropout", "activations", "clip", "proj_size")


def changes_equations(before: LayerSpec, after: LayerSpec) -> bool:
    """Whether :func:`equations` would return different cells for the two sets of options."""
    return any(getattr(before, name) != getattr(after, name) for name in _CHANGING)


def equations(cell: Cell, spec: LayerSpec, learns: bool) -> Cell:
    """Wraps the cell of a layer in the cells that apply the layer's options, such as zoneout.

    Args:
        cell: the cell of the layer.
        spec: the options.
        learns: whether the layer is in training mode, in which values are dropped.

    Returns:
        The cell that the backends run.
    """
    rates = rates_of_zoneout(cell, spec)
    cell = cell.owning(learns)
    if spec.activations or spec.clip is not None:
        cell = Activated(cell, spec.activations, spec.clip)
    if spec.recurrent_dropout > 0 and learns:
        cell = RecurrentDropout(cell, spec.recurrent_dropout)
    if spec.proj_size:
        cell = Projected(cell, spec.proj_size)
    return Zoneout(cell, rates, learns) if rates else cell


def rates_of_zoneout(cell: Cell, spec: LayerSpec) -> dict[str, float]:
    """The zoneout probability of each state by name; states with probability 0 are left out."""
    rate = spec.zoneout
    rates = rate if isinstance(rate, Mapping) else dict.fromkeys(cell.state_specs, rate)
    return {name: float(rate) for name, rate in rates.items() if rate > 0}


def check_cell(cell: Any, argument: Any) -> None:
    """Raises if ``cell`` is not a Cell, or declares something that the contract forbids.

    Args:
        cell: the candidate, after a name was looked up.
        argument: the constructor's argument as the caller wrote it, for the message.
    """
    if not isinstance(cell, Cell):
        hint = f" Write {argument.__name__}()." if isinstance(argument, type) else ""
        raise TypeError(f"Recurrent: expected a cell or the name of one, got {argument!r}.{hint}")
    cell.check()


def check(who: str, cell: Cell, spec: LayerSpec) -> None:
    """Raises a ValueError if options do not fit the cell or each other, or have no effect.

    Args:
        who: the name of the layer in error messages.
        cell: the cell of the layer.
        spec: the options; each by itself has passed :meth:`LayerSpec.check`.
    """
    _check_states(cell, spec)
    _check_effects(who, cell, spec)
    _check_start(who, cell, spec)
    if spec.proj_size:
        _check_projection(who, cell, spec)
    _check_activations(who, cell, spec)
    if spec.dropout > 0 and spec.num_layers == 1:
        warnings.warn(
            f"{who}: dropout={spec.dropout} acts between layers, and num_layers is 1: "
            f"nothing will be dropped.",
            stacklevel=5,
        )


def _check_states(cell: Cell, spec: LayerSpec) -> None:
    if isinstance(spec.zoneout, Mapping):
        for name in spec.zoneout:
            if name not in cell.state_specs:
                raise unknown("state in zoneout", name, cell.state_specs)


def _check_effects(who: str, cell: Cell, spec: LayerSpec) -> None:
    if spec.merge != "concat" and not spec.bidirectional:
        raise ValueError(
            f'{who}: merge="{spec.merge}" merges two directions; set bidirectional=True.'
        )
    has_no_matrix = not cell.recurrent_block_names
    # By option: whether it is in use without an effect, and why it has none.
    without_effect = {
        "weight_drop": (
            spec.weight_drop > 0 and has_no_matrix,
            "the cell has no recurrent matrix",
        ),
        "recurrent_dropout": (
            spec.recurrent_dropout > 0 and has_no_matrix,
            "the cell has no recurrent matrix",
        ),
        "locked_dropout": (spec.locked_dropout and spec.dropout == 0, "dropout is 0"),
        "residual": (
            spec.residual and spec.num_layers == 1,
            "num_layers is 1, and the first layer adds nothing",
        ),
        "independent": (
            spec.independent and (spec.num_layers == 1 or not spec.bidirectional),
            "there are not two directions and several layers",
        ),
    }
    for name, (is_useless, why) in without_effect.items():
        if is_useless:
            raise ValueError(f"{who}: {name} would have no effect, as {why}.")


def _check_start(who: str, cell: Cell, spec: LayerSpec) -> None:
    for name, value in (
        ("learned_state=True", spec.learned_state),
        ("zoneout", rates_of_zoneout(cell, spec)),
        ("recurrent_dropout", spec.recurrent_dropout > 0),
    ):
        if value and any(s.size is not None for s in cell.state_specs.values()):
            raise ValueError(f"{who}: {name} needs states of H units.")
    starts.check(who, cell, spec)


def _check_projection(who: str, cell: Cell, spec: LayerSpec) -> None:
    size = spec.proj_size
    if size >= spec.hidden_size:
        raise ValueError(
            f"{who}: expected proj_size below hidden_size={spec.hidden_size}, got {size}."
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
            step = trace(cell.owning())
        except Untraceable as reason:
            raise ValueError(
                f"{who}: proj_size needs a cell that can be traced: {reason}."
            ) from None
        # Only matrix products may read the projected state: its P units fit W.h, but not c * h.
        h, roots = step.graph.leaf("state", name), [*step.states.values(), step.output]
        nodes = reachable([*roots, *(p.operand for p in step.products)])
        if any(h is a for n in nodes for a in n.args) or any(h is r for r in roots):
            why = f"{name} also enters the equations unit by unit, where its H units are missed"
        elif any(p.matrix == "R" and p.operand is not h for p in step.products):
            why = f"blocks of its recurrent matrix are applied to more than {name}"
    if why is not None:
        raise ValueError(f"{who}: proj_size does not go with this cell: {why}.")


def _check_activations(who: str, cell: Cell, spec: LayerSpec) -> None:
    cell = cell.owning()
    try:
        plain = trace(cell)
        for name, other in spec.activations.items():
            changed = trace(Activated(cell, {name: other}, None))
            if changed.graph.nodes == plain.graph.nodes:
                raise ValueError(
                    f"{who}: activations[{name!r}] would have no effect: the equations "
                    f"call no such function, or the same one."
                )
        if (
            spec.clip is not None
            and trace(Activated(cell, {}, spec.clip)).graph.nodes == plain.graph.nodes
        ):
            raise ValueError(
                f"{who}: clip would have no effect: the equations call none of "
                f"{', '.join(ACTIVATIONS)}."
            )
    except Untraceable:
        # Without a graph the effect of the options is unknown; the reference runs them anyway.
        return
