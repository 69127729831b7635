"""Initialises the weights of a layer: as torch.nn does, as the cell declares, or by options."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell, Start
from throughtime.cells.owned import own_tensors
from throughtime.layers import parameters
from throughtime.layers.option_checks import a_number_of_steps
from throughtime.layers.spec import LayerSpec

__all__ = ["RECURRENT_INITS", "check", "draw", "fill"]

RECURRENT_INITS: dict[str, Start] = {
    "uniform": None,
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
}
"""For each value of the option ``recurrent_init``, how a block of R is initialised."""


@torch.no_grad()
def draw(layer: nn.Module, cell: Cell, spec: LayerSpec) -> None:
    """Draws all parameters anew; see :meth:`throughtime.Recurrent.reset_parameters`.

    First all parameters are drawn in their order, so that a seed gives the numbers of ``torch.nn``.
    Then the blocks for which the cell declares other values are overwritten, then those that an
    option sets.

    Args:
        layer: the module that owns the parameters listed by ``parameters.shapes``.
        cell: the cell of the layer.
        spec: the layer's sizes and options.
    """
    bound = 1 / math.sqrt(spec.hidden_size)
    learned = parameters.initial_names(cell, spec) if spec.learned_state else {}
    of_cell = own_tensors(cell)
    for name, parameter in [*layer.named_parameters(), *layer.named_buffers()]:
        base = name.rsplit("_l", 1)[0]
        own = cell.parameter_specs.get(base)
        start = learned.get(name, own.initial if own else None)
        if base in of_cell:
            start = of_cell[base].copy_into
        fill(parameter, (-bound, bound) if start is None else start)
    starts = {**cell.initial_weights, **_starts_of_options(cell, spec)}
    for suffix in parameters.all_suffixes(spec):
        for name, start in starts.items():
            if start is not None:
                _start(layer, cell, suffix, name, start)
        if spec.forget_bias == "chrono":
            _start_chrono(layer, cell, spec, suffix)


def fill(weight: Tensor, start: Start) -> None:
    """Initialises a weight, or a slice of one, in place.

    Args:
        weight: the tensor to fill.
        start: a number, the bounds of a uniform distribution, a function that fills a tensor in
            place, or None, which leaves the weight unchanged.
    """
    if callable(start):
        # The decompositions behind orthogonal matrices and eigenvalues do not run in half
        # precision.
        wide = torch.promote_types(weight.dtype, torch.float32)
        # Start from NaN, so that elements that the function does not fill are noticed.
        values = torch.full_like(weight, math.nan, dtype=wide)
        start(values)
        weight.copy_(values)
    elif isinstance(start, tuple):
        weight.uniform_(*start)
    elif start is not None:
        weight.fill_(start)


def _starts_of_options(cell: Cell, spec: LayerSpec) -> dict[str, Start]:
    """The initial values that the options set, by the names that ``Cell.initial_weights`` uses."""
    starts: dict[str, Start] = {}
    if spec.recurrent_init is not None:
        blocks = cell.recurrent_block_names
        starts |= {f"R.{block}": RECURRENT_INITS[spec.recurrent_init] for block in blocks}
    if spec.forget_bias is not None and not isinstance(spec.forget_bias, str):
        starts["b.f"] = spec.forget_bias
    return starts


def _start(layer: nn.Module, cell: Cell, suffix: str, name: str, start: Start) -> None:
    """Initialises one block or per-unit parameter of one layer and direction; see :func:`fill`.

    Args:
        suffix: the suffix of the layer and direction in parameter names, such as ``_l0_reverse``.
        name: a name as in ``Cell.initial_weights`` or ``Cell.chrono``: ``R.f``, ``b.f``, ``p_f``.
            ``b.f`` sets the input bias and zeros the recurrent bias, which is added to it.
    """
    letter, _, block = name.partition(".")
    if not block:
        fill(getattr(layer, f"{name}{suffix}"), start)
    elif letter == "b":
        _start(layer, cell, suffix, f"b_W.{block}", start)
        _start(layer, cell, suffix, f"b_R.{block}", 0.0)
    else:
        # For each letter of the equations the parameter that holds its blocks, and their names.
        parameter_blocks = {
            "W": ("weight_ih", cell.gates),
            "R": ("weight_hh", cell.recurrent_block_names),
            "b_W": ("bias_ih", cell.gates),
            "b_R": ("bias_hh", cell.recurrent_bias_names),
        }
        key, blocks = parameter_blocks[letter]
        weight: Tensor | None = getattr(layer, f"{key}{suffix}", None)
        # A layer may have been built without biases, and a block may have no recurrent bias.
        if weight is not None and block in blocks:
            fill(weight.chunk(len(blocks))[blocks.index(block)], start)


def _start_chrono(layer: nn.Module, cell: Cell, spec: LayerSpec, suffix: str) -> None:
    """Sets the biases that the cell names in ``chrono``, for one layer and direction.

    For each unit a time constant u is drawn uniformly from 1 to T_max - 1 steps. The bias of a gate
    that keeps the state becomes log(u), that of a gate that overwrites it -log(u).

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


def check(who: str, cell: Cell, spec: LayerSpec) -> None:
    """Raises a ValueError if the initialisation that the options ask for does not fit the cell.

    Args:
        who: the name of the layer in error messages.
        cell: the cell of the layer.
        spec: the options; each by itself has passed :meth:`LayerSpec.check`.
    """
    if spec.recurrent_init in ("orthogonal", "identity"):
        if not cell.recurrent_block_names:
            raise ValueError(f"{who}: the cell has no recurrent block to be {spec.recurrent_init}.")
        if spec.recurrent_init == "identity" and (lost := _without_its_diagonal(cell)):
            raise ValueError(
                f'{who}: recurrent_init="identity" would start block {lost} at zero, as the cell '
                f"uses nothing of its diagonal."
            )
    if spec.forget_bias is not None:
        _check_forget_bias(who, cell, spec)
    if spec.chrono_steps is not None and spec.forget_bias != "chrono":
        raise ValueError(f'{who}: chrono_steps goes with forget_bias="chrono".')


def _without_its_diagonal(cell: Cell) -> str | None:
    """The first recurrent block whose diagonal the cell's transform ignores; None if none."""
    names = cell.recurrent_block_names
    if not cell.has_transform:
        return None
    identities = cell.transform({name: torch.eye(2) for name in names})
    zeros = cell.transform({name: torch.zeros(2, 2) for name in names})
    return next((name for name in names if torch.equal(identities[name], zeros[name])), None)


def _check_forget_bias(who: str, cell: Cell, spec: LayerSpec) -> None:
    if spec.forget_bias == "chrono":
        _check_chrono(who, cell, spec)
    elif "f" not in cell.gates:
        raise ValueError(
            f"{who}: forget_bias is the bias of block f, and the cell's blocks are "
            f"{', '.join(cell.gates)}."
        )
    elif not spec.bias:
        raise ValueError(f"{who}: forget_bias needs bias=True.")


def _check_chrono(who: str, cell: Cell, spec: LayerSpec) -> None:
    if not any(cell.chrono.values()):
        raise ValueError(
            f'{who}: forget_bias="chrono" sets the biases of the sigmoids that decide how long a '
            f"state is kept, and the cell declares none (Cell.chrono)."
        )
    if not spec.bias and any(
        s and name not in cell.parameter_specs for name, s in cell.chrono.items()
    ):
        raise ValueError(f'{who}: forget_bias="chrono" needs bias=True.')
    if "sigmoid" in spec.activations:
        raise ValueError(
            f'{who}: forget_bias="chrono" needs the sigmoids of the gates, which activations '
            f"replaces."
        )
    if spec.chrono_steps is None:
        a_number_of_steps(who, "chrono_steps", spec.chrono_steps)
