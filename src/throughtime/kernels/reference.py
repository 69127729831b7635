"""The time loop in plain PyTorch: the meaning of every other backend.

Products of the input are taken for all steps at once before the loop, and the products of one
state are one product per step; otherwise the equations run as they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError
from throughtime.kernels.call import Call
from throughtime.kernels.graph.random import uniform
from throughtime.kernels.graph.trace import Untraceable, trace

__all__ = [
    "IS_KERNEL",
    "IS_TRACEABLE",
    "compiled_identity",
    "missing",
    "rank",
    "reasons",
    "record",
    "run",
    "runs_compiled",
    "slower_because",
]

IS_KERNEL = False
IS_TRACEABLE = True


def missing() -> list[str]:
    """What this machine lacks: never anything."""
    return []


def reasons(call: Call) -> list[str]:
    """Why this backend cannot run the call: it always can."""
    return []


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time.

    Returns:
        The outputs (T, B, H), zero past a row's end, and the last states, each (B, H), of each
        row's last valid step.
    """
    return _run(call, None)


def rank(call: Call) -> tuple[int, str]:
    """See :class:`throughtime.kernels.backend.Backend`."""
    return 20, ""


def compiled_identity(cell: Cell, weight: Tensor) -> str:
    """Nothing: torch.compile looks into the loop."""
    return ""


@torch.no_grad()
def record(call: Call) -> dict[str, Tensor]:
    """All that the step returns by name, of all steps, each (T, B, H); zero past a row's end."""
    steps: list[dict[str, Tensor]] = [{}] * call.x.shape[0]
    _run(call, steps)
    return {
        name: torch.stack([_spread(made[name], call.state[0]) for made in steps])
        for name in steps[0]
    }


def _spread(value: Any, state: Tensor) -> Tensor:
    """A number, or one for each row or unit, as one for each of both; a state's own width stays."""
    # Not as_tensor for both: torch.jit.trace takes what it returns for a constant.
    is_tensor = isinstance(value, Tensor)
    value = value.to(state.dtype) if is_tensor else state.new_tensor(value)
    is_wider = value.dim() == 2 and value.shape[0] == state.shape[0] and value.shape[1] != 1
    return value if is_wider else value.expand(state.shape)


def _run(call: Call, seen: list[dict[str, Tensor]] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same; what the step returns at each step is put into seen."""
    cell, weights = call.cell, call.weights
    T = call.x.shape[0]

    # (T, B, 1), so that it spreads over the units. What lies past a row's end may be anything,
    # NaN included, and must reach neither the outputs nor a gradient.
    x, inputs, valid = call.x, call.inputs, None
    if call.lengths is not None:
        steps = torch.arange(T, device=call.x.device).unsqueeze(1)
        valid = (steps < call.lengths.to(call.x.device)).unsqueeze(-1)
        x, *inputs = (torch.where(valid, value, 0.0) for value in (x, *inputs))
    xs = x.unbind(0)

    H = weights.weight_ih.shape[0] // len(cell.gates)
    W = _Matrix(cell.gates, weights.weight_ih, cell.gates, weights.bias_ih)
    R = _Matrix(
        cell.recurrent_block_names, weights.weight_hh, cell.recurrent_bias_names, weights.bias_hh
    )
    of_input, of_state = _blocks_by_value(cell)
    hoisted = {name: product.unbind(0) for name, product in W.rows(of_input)(x).items()}
    fused = {k: R.rows(names) for k, names in of_state.items()}
    p = Named(**weights.parameters)
    given = {k: v.unbind(0) for k, v in zip(cell.given_inputs, inputs, strict=True)}

    # As the kernels do: what is drawn is wide, and would widen all that it enters.
    rounds = bool(cell.drawn_inputs) and call.x.dtype in (torch.bfloat16, torch.float16)
    W.rounds = R.rounds = rounds
    initial = dict(zip(cell.state_specs, call.state, strict=True))
    state, outputs = initial, [call.x] * T
    for t in reversed(range(T)) if call.reverse else range(T):
        starts = _starts_anew(call, t)
        if starts is not None:
            # A row that has ended keeps its last state.
            starts = starts if valid is None else starts & valid[t]
            state = {k: torch.where(starts, initial[k], v) for k, v in state.items()}

        W.ready = {name: [(xs[t], products[t])] for name, products in hoisted.items()}
        R.ready = {}
        for k, rows in fused.items():
            for name, product in rows(state[k]).items():
                R.ready.setdefault(name, []).append((state[k], product))
        entering = {k: values[t] for k, values in given.items()} | _drawn(call, t)
        u = [Named(**entering)] if entering else []
        made = cell.step(xs[t], W.seen, R.seen, Named(**state), p, *u)
        output, new = _output_and_states(cell, made, state, H)
        if rounds:
            output = output.to(call.x.dtype)
            new = {k: v.to(call.x.dtype) for k, v in new.items()}
        if valid is not None:
            new = {k: torch.where(valid[t], v, state[k]) for k, v in new.items()}
            output = torch.where(valid[t], output, 0.0)
        state, outputs[t] = new, output
        if seen is not None:
            kept = dict(made)
            seen[t] = {
                k: v if valid is None else torch.where(valid[t], v, 0.0) for k, v in kept.items()
            }
    return torch.stack(outputs), tuple(state.values())


class Named:
    """Values by name, as the step reads them; torch.compile does not know SimpleNamespace."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class _Matrix:
    """A weight matrix as its blocks: ``R.i(value)`` is the product of block i, with its bias."""

    def __init__(
        self,
        names: Sequence[str],
        weight: Tensor | None,
        bias_names: Sequence[str],
        bias: Tensor | None,
    ) -> None:
        self.weight, self.bias, self.names = weight, bias, tuple(names)
        self.blocks = _chunks(names, weight)
        self.biases = _chunks(bias_names, bias)
        # By block: the values that it was applied to beforehand, each with its product. A value is
        # found by being the same object. Its id would be a number on which torch.compile
        # specialises, and the step would be compiled again for each call.
        self.ready: dict[str, list[tuple[Tensor, Tensor]]] = {}
        # Whether what the blocks are applied to is rounded to their type.
        self.rounds = False
        # What the step sees has no names but those of the blocks.
        self.seen = Named(**{name: _Block(self, name) for name in names})

    def product(self, name: str, value: Tensor) -> Tensor:
        for known, product in self.ready.get(name, ()):
            if known is value:
                return product
        block = self.blocks[name]
        value = value.to(block.dtype) if self.rounds else value
        return F.linear(value, block, self.biases.get(name))

    def rows(self, names: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
        """The products of several blocks with one value, taken as a single product."""
        if not names:
            return lambda value: {}
        weight, bias = self.weight, self.bias
        if weight is None or tuple(names) != self.names:
            weight = torch.cat([self.blocks[name] for name in names])
        if tuple(names) != tuple(self.biases) and self.biases:
            zero = torch.zeros_like(self.blocks[names[0]][:, 0])
            bias = torch.cat([self.biases.get(name, zero) for name in names])
        return lambda value: dict(
            zip(names, F.linear(value, weight, bias).chunk(len(names), -1), strict=True)
        )


class _Block:
    """One block of a matrix, as the step applies it.

    Attributes:
        weight: the block itself, which a folded cell reads; see graph/folded.py.
    """

    def __init__(self, matrix: _Matrix, name: str) -> None:
        self.matrix, self.name, self.weight = matrix, name, matrix.blocks.get(name)

    def __call__(self, value: Tensor) -> Tensor:
        return self.matrix.product(self.name, value)


def _chunks(names: Sequence[str], whole: Tensor | None) -> dict[str, Tensor]:
    if whole is None:
        return {}
    return dict(zip(names, whole.chunk(len(names)), strict=True))


def _blocks_by_value(cell: Cell) -> tuple[list[str], dict[str, list[str]]]:
    """Which blocks the step applies to its input, and which to each of its states.

    Nothing is known of a step that cannot be traced: its products are taken one by one. Inside
    torch.compile, which would look into the tracer, they are too.
    """
    if torch.compiler.is_compiling():
        return [], {}
    try:
        traced = trace(cell)
    except Untraceable:
        return [], {}
    # A matrix that the cell holds is no block here, unless the cell is the folded one.
    own = {*cell.gates, *cell.recurrent_block_names}
    products = [p for p in traced.products if p.block in own]
    x = ("input", "x")
    of_input = [
        p.block for p in products if p.matrix == "W" and (p.operand.op, p.operand.name) == x
    ]
    of_state: dict[str, list[str]] = {}
    for p in products:
        if p.matrix == "R" and p.operand.op == "state":
            of_state.setdefault(p.operand.name, []).append(p.block)
    order, blocks = cell.gates.index, cell.recurrent_block_names.index
    return sorted(of_input, key=order), {k: sorted(v, key=blocks) for k, v in of_state.items()}


def _starts_anew(call: Call, t: int) -> Tensor | None:
    """Which rows (B, 1) are set back before step t; in reverse the step read before is t + 1."""
    if call.resets is None:
        return None
    boundary = t + 1 if call.reverse else t
    return call.resets[boundary].unsqueeze(-1) if boundary < call.resets.shape[0] else None


def _drawn(call: Call, t: int) -> dict[str, Tensor]:
    """The random inputs of step t."""
    specs = call.cell.drawn_inputs
    if not specs:
        return {}
    assert call.seed is not None
    (rows, units), dtype = call.state[0].shape, call.state[0].dtype
    return {
        name: uniform(call.seed, i, t if spec.drawn == "step" else None, rows, units, dtype)
        for i, (name, spec) in enumerate(specs.items())
    }


def _output_and_states(
    cell: Cell, made: Mapping[str, Tensor], state: Mapping[str, Tensor], H: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the step returned, sorted into the output and the next states, and checked."""
    wanted = [*state, cell.output_name]
    if not isinstance(made, Mapping) or any(name not in made for name in wanted):
        got = ", ".join(made) if isinstance(made, Mapping) else type(made).__name__
        raise ValueError(
            f"{cell.title}.step: expected a dict with {', '.join(dict.fromkeys(wanted))}, "
            f"got {got}."
        )
    for name, before in state.items():
        if made[name].shape != before.shape:
            raise ShapeError(
                f"{cell.title}.step: expected {name} of shape {tuple(before.shape)} as "
                f"before the step, got {tuple(made[name].shape)}."
            )
    output, rows = made[cell.output_name], next(iter(state.values())).shape[0]
    if output.shape != (rows, H):
        raise ShapeError(
            f"{cell.title}.step: expected {cell.output_name} of shape ({rows}, {H}), "
            f"as the layer has {H} units, got {tuple(output.shape)}."
        )
    return output, {name: made[name] for name in state}


def runs_compiled(call: Call) -> bool:
    """Not needed: torch.compile looks into this backend."""
    return True


def slower_because() -> str:
    """Nothing on any machine."""
    return ""
