"""The time loop in plain PyTorch, which defines the results that every other backend must give.

Products of the input are computed for all steps at once before the loop. All products of one state
are joined into one product per step. Otherwise the equations run as they are written.
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
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.random import uniform
from throughtime.kernels.graph.trace import trace

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
    "unrolled",
]

IS_KERNEL = False
IS_TRACEABLE = True


def missing() -> list[str]:
    """Always empty: plain PyTorch runs on every machine."""
    return []


def reasons(call: Call) -> list[str]:
    """Always empty: the reference can run every call."""
    return []


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time.

    Returns:
        The outputs (T, B, H), zero past a row's end, and the last states, each (B, H), of each
        row's last valid step.
    """
    return _run(call)


def rank(call: Call) -> tuple[int, str]:
    """See :class:`throughtime.kernels.backend.Backend`."""
    return 20, ""


def compiled_identity(cell: Cell, weight: Tensor) -> str:
    """Empty: torch.compile traces the loop, so that it needs no identity."""
    return ""


@torch.no_grad()
def record(call: Call) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """Applies the cell through time, and records all values that the step returns.

    Returns:
        The results of :func:`run`; and for each name that the step returns, its values at all
        steps, (T, B, H), zero past a row's end. None of them has a gradient.
    """
    steps: list[dict[str, Tensor]] = [{}] * call.x.shape[0]
    output, last = _run(call, steps)
    return (
        output,
        last,
        {
            name: torch.stack([_spread(values[name], call.state[0]) for values in steps])
            for name in steps[0]
        },
    )


def unrolled(
    call: Call,
) -> tuple[Tensor, tuple[Tensor, ...], list[dict[str, Tensor]]]:
    """Applies the cell through time, and keeps the states of all steps as nodes of the graph.

    Returns:
        The results of :func:`run`; and for each step, in reading order, the states after it by
        name. Later steps are computed from these very tensors, and so is the output if it is a
        state; no state is computed from another one of its step. The gradient with respect to them
        is thus that with respect to the whole state of the step.
    """
    nodes: list[dict[str, Tensor]] = [{}] * call.x.shape[0]
    return *_run(call, nodes=nodes), nodes


def _node(value: Tensor) -> Tensor:
    """The value as a tensor of its own in the graph, with a gradient also if nothing else has."""
    return value.view_as(value) if value.requires_grad else value.detach().requires_grad_()


def _spread(value: Any, state: Tensor) -> Tensor:
    """Expands a value to the shape (B, H) of a state.

    Args:
        value: a number, or a tensor with one value for each row, each unit, or both. A state with
            a width of its own keeps it.
        state: any state of the call.
    """
    # Only a number goes through new_tensor: torch.jit.trace would take its result for a constant.
    is_tensor = isinstance(value, Tensor)
    value = value.to(state.dtype) if is_tensor else state.new_tensor(value)
    is_wider = value.dim() == 2 and value.shape[0] == state.shape[0] and value.shape[1] != 1
    return value if is_wider else value.expand(state.shape)


def _run(
    call: Call,
    recording: list[dict[str, Tensor]] | None = None,
    nodes: list[dict[str, Tensor]] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time; see :func:`run`.

    Args:
        call: the call.
        recording: a list with one entry for each step, which is replaced by the values that the
            step returns, by name. None if they are not wanted.
        nodes: a list with one entry for each step, which is replaced by the states after the step,
            by name; see :func:`unrolled`. None if they are not wanted.
    """
    cell, T = call.cell, call.x.shape[0]
    x, inputs, valid = _masked_past_ends(call)
    xs = x.unbind(0)
    W, R = _matrices(call)
    H = call.weights.weight_ih.shape[0] // len(cell.gates)
    of_input, of_state = _blocks_by_value(cell)
    hoisted = {name: product.unbind(0) for name, product in W.rows(of_input)(x).items()}
    fused = {k: R.rows(names) for k, names in of_state.items()}
    p = Named(**call.weights.parameters)
    further_inputs = _further_inputs(call, inputs)
    initial = dict(zip(cell.state_specs, call.state, strict=True))
    state, outputs = initial, [call.x] * T
    for t in reversed(range(T)) if call.reverse else range(T):
        state = _reset(call, t, valid, state, initial)
        W.products = {name: [(xs[t], steps[t])] for name, steps in hoisted.items()}
        R.products = {}
        for k, rows in fused.items():
            for name, product in rows(state[k]).items():
                R.products.setdefault(name, []).append((state[k], product))
        s, u = Named(**state), further_inputs(t)
        values = cell.step(xs[t], W.namespace, R.namespace, s, p, *u)
        output, new = _output_and_states(cell, values, state, H)
        if W.rounds:
            output = output.to(call.x.dtype)
            new = {k: v.to(call.x.dtype) for k, v in new.items()}
        if valid is not None:
            new = {k: torch.where(valid[t], v, state[k]) for k, v in new.items()}
        if nodes is not None:
            nodes[t] = new = {k: _node(v) for k, v in new.items()}
            output = new.get(cell.output_name, output)
        if valid is not None:
            output = torch.where(valid[t], output, 0.0)
        state, outputs[t] = new, output
        if recording is not None:
            recording[t] = dict(values)
            if valid is not None:
                recording[t] = {k: torch.where(valid[t], v, 0.0) for k, v in values.items()}
    return torch.stack(outputs), tuple(state.values())


class Named:
    """Values by name, as the step reads them; torch.compile does not know SimpleNamespace."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def _masked_past_ends(call: Call) -> tuple[Tensor, Sequence[Tensor], Tensor | None]:
    """x and the further inputs with zeros past each row's end, and which steps are valid.

    The caller's values there may be anything, NaN included, and must reach neither the outputs
    nor a gradient.

    Shapes: valid (T, B, 1), which broadcasts over the units; None if all steps are valid.
    """
    if call.lengths is None:
        return call.x, call.inputs, None
    steps = torch.arange(call.x.shape[0], device=call.x.device).unsqueeze(1)
    valid = (steps < call.lengths.to(call.x.device)).unsqueeze(-1)
    x, *inputs = (torch.where(valid, value, 0.0) for value in (call.x, *call.inputs))
    return x, inputs, valid


def _further_inputs(call: Call, inputs: Sequence[Tensor]) -> Callable[[int], list[Named]]:
    """A function of t that gives the last argument of the step, in a list.

    The list is empty if the cell has no inputs besides x: then its step has no such argument.
    """
    sequences = {k: v.unbind(0) for k, v in zip(call.cell.given_inputs, inputs, strict=True)}

    def at(t: int) -> list[Named]:
        values = {k: steps[t] for k, steps in sequences.items()} | _drawn(call, t)
        return [Named(**values)] if values else []

    return at


def _matrices(call: Call) -> tuple[_Matrix, _Matrix]:
    """W and R of the call's weights."""
    cell, weights = call.cell, call.weights
    W = _Matrix(cell.gates, weights.weight_ih, cell.gates, weights.bias_ih)
    R = _Matrix(
        cell.recurrent_block_names, weights.weight_hh, cell.recurrent_bias_names, weights.bias_hh
    )
    # Random inputs are float32, and so is every value that is computed from them. The kernels
    # round a value to the weights' dtype before a product; the reference must do the same.
    is_half = call.x.dtype in (torch.bfloat16, torch.float16)
    W.rounds = R.rounds = bool(cell.drawn_inputs) and is_half
    return W, R


def _reset(
    call: Call,
    t: int,
    valid: Tensor | None,
    state: dict[str, Tensor],
    initial: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The states before step t, set back to the initial ones in rows with a reset."""
    starts = _starts_anew(call, t)
    if starts is None:
        return state
    # A reset past a row's end has no effect: the row keeps its last state.
    starts = starts if valid is None else starts & valid[t]
    return {k: torch.where(starts, initial[k], v) for k, v in state.items()}


class _Matrix:
    """A weight matrix as its blocks: ``R.i(value)`` is the product of block i, with its bias.

    Attributes:
        namespace: the functions of the blocks by name, as the step receives them.
        products: results that are known already, by the name of a block and the id of a value.
        rounds: whether a value is rounded to the dtype of the blocks before a product.
    """

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
        # By block: the tensors that it was applied to beforehand, each with its product. A step may
        # apply a block to any tensor, and a product computed here replaces only the one with this
        # very tensor. It is not found by its id, a number on which torch.compile would specialise:
        # each call would be compiled again.
        self.products: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.rounds = False
        # The step does not receive this object itself: a block may have any name, such as "rows".
        self.namespace = Named(**{name: _Block(self, name) for name in names})

    def product(self, name: str, value: Tensor) -> Tensor:
        for known, product in self.products.get(name, ()):
            if known is value:
                return product
        block = self.blocks[name]
        value = value.to(block.dtype) if self.rounds else value
        return F.linear(value, block, self.biases.get(name))

    def rows(self, names: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
        """A function that computes the products of several blocks with one value at once."""
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
    """The blocks of W that the step applies to x, and the blocks of R by the state they apply to.

    Both are empty if the step cannot be traced; then each product is computed when it is called. So
    they are inside torch.compile, which would look into the tracer.
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
    """Which rows return to their initial state before step t, (B, 1); None if none does."""
    if call.resets is None:
        return None
    # A reset stands between the steps t - 1 and t. In the reverse direction the step t is entered
    # from t + 1, and the reset between these two is that of t + 1.
    boundary = t + 1 if call.reverse else t
    return call.resets[boundary].unsqueeze(-1) if boundary < call.resets.shape[0] else None


def _drawn(call: Call, t: int) -> dict[str, Tensor]:
    """The random inputs of step t by name."""
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
    cell: Cell, values: Mapping[str, Tensor], state: Mapping[str, Tensor], H: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Takes the output and the next states from the values that the step returned.

    Args:
        cell: the cell of the step.
        values: the values that the step returned.
        state: the states before the step.
        H: the number of units.

    Raises:
        ValueError: if the step did not return all of them.
        ShapeError: if a state changed its shape, or the output is not (B, H).
    """
    required = [*state, cell.output_name]
    if not isinstance(values, Mapping) or any(name not in values for name in required):
        names = ", ".join(dict.fromkeys(required))
        got = ", ".join(values) if isinstance(values, Mapping) else type(values).__name__
        raise ValueError(f"{cell.title}.step: expected a dict with {names}, got {got}.")
    for name, before in state.items():
        if values[name].shape != before.shape:
            raise ShapeError(
                f"{cell.title}.step: expected {name} of shape {tuple(before.shape)} as "
                f"before the step, got {tuple(values[name].shape)}."
            )
    output, rows = values[cell.output_name], next(iter(state.values())).shape[0]
    if output.shape != (rows, H):
        raise ShapeError(
            f"{cell.title}.step: expected {cell.output_name} of shape ({rows}, {H}), "
            f"as the layer has {H} units, got {tuple(output.shape)}."
        )
    return output, {name: values[name] for name in state}


def runs_compiled(call: Call) -> bool:
    """True: torch.compile traces the loop."""
    return True


def slower_because() -> str:
    """Empty: the speed of the reference does not depend on the machine's tools."""
    return ""
