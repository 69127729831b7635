"""The small network of the lecture page: its weights, its inputs, and its step as JavaScript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.call import Call, Weights
from throughtime.kernels.graph.folded import fold, folds_of
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import reachable
from throughtime.kernels.graph.random import uniform
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.javascript import identifier, javascript
from throughtime.kernels.printing.names import NamedStep
from throughtime.layers.recurrent import Recurrent

__all__ = ["SmallNetwork", "small_network"]

_T = 5
# A number of units for which a step works: most work with any.
_FEWEST, _MOST = 3, 8


@dataclass(frozen=True)
class SmallNetwork:
    """A layer of a few units, as a page needs it.

    Args:
        code: the step and the backward step, as a module in JavaScript.
        data: the sizes, weights, inputs and names, for JSON.
        layer: the layer itself, in float64.
    """

    code: str
    data: dict[str, Any]
    layer: Recurrent


def small_network(step: NamedStep, back: NamedGradients, cell: Cell) -> SmallNetwork:
    """A network of the cell with weights and inputs that are the same each time.

    Args:
        step, back: the graphs of the cell, with their names.
        cell: the cell itself.

    Raises:
        Untraceable: if no network of at most 8 units can be computed in a page, with the reason.
    """
    I, H = _sizes(step, cell)
    code = javascript(step, back, H)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layer = Recurrent(cell, I, H, dtype=torch.float64, backend="reference")
        x = torch.randn(_T, I, dtype=torch.float64).clamp(-2, 2).round(decimals=1)
    data = {
        "steps": _T,
        "units": H,
        "weights": {k: v.tolist() for k, v in _weights(step, layer).items()},
        "x": {"name": identifier(step.x), "values": x.tolist()},
        "inputs": [_further_input(step, name, H) for name in step.cell.given_inputs],
        "drawn": _drawn(step, H),
        "states": [_state(step, name, H) for name in step.state],
        "loss": identifier(step.loss),
    }
    for name, values in data["weights"].items():
        if not torch.tensor(values).isfinite().all():
            raise Untraceable(f"the weight {name} starts from numbers that are not finite")
    return SmallNetwork(code, data, layer)


def _sizes(step: NamedStep, cell: Cell) -> tuple[int, int]:
    """I and H: what the cell demands, or 2 features and 3 units.

    Raises:
        Untraceable: if no network of at most 8 units and features meets the demands.
    """
    hidden, inputs = set[int](), set[int]()
    shapes = {k: v.size for k, v in cell.owning().parameter_specs.items()}
    for letter, name, is_transposed, _ in folds_of(step.cell):
        shape = shapes[name]
        assert isinstance(shape, tuple)
        units, operands = reversed(shape) if is_transposed else shape
        # None is the number of units, whatever it is.
        if units is not None:
            hidden.add(units)
        if operands is not None:
            (inputs if letter == "W" else hidden).add(operands)
    # A vector of one number is repeated for all units.
    vectors = [v[0] for v in shapes.values() if isinstance(v, tuple) and len(v) == 1]
    hidden.update(size for size in vectors if size is not None and size > 1)
    if _input_has_the_units(step):
        hidden, inputs = hidden | inputs, set()
    choices = [H for H in range(_FEWEST, _MOST + 1) if not step.graph.problem(H)]
    if hidden:
        choices = [H for H in sorted(hidden) if hidden == {H} and not step.graph.problem(H)]
    if not choices or max(choices[0], *inputs, 0) > _MOST or len(inputs) > 1:
        sizes = sorted(hidden | inputs)
        demands = f"its own tensors demand the sizes {', '.join(map(str, sizes))}"
        reason = demands if sizes else step.graph.problem(_FEWEST)
        raise Untraceable(f"the page shows at most {_MOST} units and features, but {reason}")
    H = choices[0]
    return H if _input_has_the_units(step) else next(iter(inputs), 2), H


def _input_has_the_units(step: NamedStep) -> bool:
    """Whether x has as many features as the layer has units: it meets values of H units."""
    x = step.graph.leaf("input", "x")
    roots = [*step.values.values(), *(p.operand for p in step.products)]
    if any(x in node.args for node in reachable(roots)) or x in step.values.values():
        return True
    return any((p.matrix == "W") != (p.operand is x) for p in step.products)


def _weights(step: NamedStep, layer: Recurrent) -> dict[str, Tensor]:
    """The blocks of the weight matrices, the biases and the parameters by their identifiers."""
    cell, blocks = step.cell, folds_of(step.cell)
    weights = layer._weights("_l0")
    x = weights.weight_ih.new_zeros(1, 1, layer.input_size)
    weights = fold(Call(cell, x, weights, ()), cell, blocks).weights
    values = {
        **_chunks("W", cell.gates, weights.weight_ih),
        **_chunks("R", cell.recurrent_block_names, weights.weight_hh),
    }
    named = {identifier(name): values[key].detach() for key, name in step.matrices.items()}
    for name, bias in _biases(step, weights).items():
        named[name] = bias
    for name, written in step.parameters.items():
        named[identifier(written)] = weights.parameters[name].detach()
    return named


def _biases(step: NamedStep, weights: Weights) -> dict[str, Tensor]:
    """The biases that the equations show; one that two products share is the sum of both."""
    cell = step.cell
    values = {
        **_chunks("W", cell.gates, weights.bias_ih),
        **_chunks("R", cell.recurrent_bias_names, weights.bias_hh),
    }
    sums: dict[str, Tensor] = {}
    for key, name in step.of_bias.items():
        bias, written = values[key].detach(), identifier(name)
        sums[written] = sums[written] + bias if written in sums else bias
    return sums


def _chunks(
    matrix: str, names: tuple[str, ...], whole: Tensor | None
) -> dict[tuple[str, str], Tensor]:
    if whole is None:
        return {}
    return {(matrix, n): v for n, v in zip(names, whole.chunk(len(names)), strict=True)}


def _further_input(step: NamedStep, name: str, H: int) -> dict[str, Any]:
    """A further input: a number for each step, such as a time, or shares between 0 and 1."""
    is_number = step.cell.given_inputs[name].size == 1
    values = [[t + 1.0] if is_number else [0.5] * H for t in range(_T)]
    return {
        "name": identifier(step.inputs[name]),
        "isNumber": is_number,
        "most": float(_T) if is_number else 1.0,
        "values": values,
    }


def _drawn(step: NamedStep, H: int) -> dict[str, list[list[float]]]:
    """The random inputs of each step, drawn once as a layer with the seed 0 draws them."""
    seed, drawn = torch.tensor(0), {}
    for i, (name, spec) in enumerate(step.cell.drawn_inputs.items()):
        steps = [t if spec.drawn == "step" else None for t in range(_T)]
        values = [uniform(seed, i, t, 1, H, torch.float64)[0].tolist() for t in steps]
        drawn[identifier(step.inputs[name])] = values
    return drawn


def _state(step: NamedStep, name: str, H: int) -> dict[str, Any]:
    before = step.names[step.graph.leaf("state", name)]
    arrives = step.names[step.graph.leaf("gradient", f"state:{name}")]
    initial = step.cell.state_specs[name].initial
    return {
        "name": name,
        "before": identifier(before),
        "arrives": identifier(arrives),
        "initial": [initial] * H,
    }
