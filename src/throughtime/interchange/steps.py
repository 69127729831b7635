"""The step of a layer as a graph with its weights, for the writers of files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.folded import folds_of
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import Node, Operand, reachable
from throughtime.kernels.graph.trace import Step, trace
from throughtime.layers import Recurrent

__all__ = ["StepWeights", "default_inputs", "further_inputs", "traced", "traced_cell", "used"]


def traced(who: str, layer: Recurrent) -> Step:
    """Traces the step of a layer, with the layer's options applied.

    Args:
        who: the name of the writing function, with which error messages begin.
        layer: the layer.

    Raises:
        ValueError: as :func:`traced_cell` does, or if the step does not fit the layer's units.
    """
    step = traced_cell(who, layer.equations)
    if problem := step.graph.problem(layer.hidden_size):
        raise ValueError(
            f"{who}: the cell {layer.equations.title} cannot be exported: expected parts "
            f"of rows that fit the units of the layer, but {problem}. Change hidden_size or "
            f"the parts."
        )
    return step


def traced_cell(who: str, cell: Cell) -> Step:
    """Traces the step of a cell.

    Raises:
        ValueError: if the step cannot be traced, or draws random numbers.
    """
    refusal = f"{who}: the cell {cell.title} cannot be exported"
    try:
        step = trace(cell)
    except Untraceable as reason:
        raise ValueError(
            f"{refusal}: expected a step that can be traced, but {reason}. Write the step with the "
            f"operations of docs/kernels.md."
        ) from reason
    drawn = [n.name for n in used(step) if n.op == "random"]
    if drawn:
        raise ValueError(
            f"{refusal}: expected a step that always does the same, but {', '.join(drawn)} is "
            f"drawn at random. Export a cell that draws nothing."
        )
    return step


def further_inputs(who: str, cell: Cell) -> list[str]:
    """The names of the further inputs of a step besides x, as far as the step uses them."""
    names = {node.name for node in used(traced_cell(who, cell)) if node.op == "input"}
    return [name for name in cell.given_inputs if name in names]


def default_inputs(
    who: str, title: str, layer: Recurrent, names: Sequence[str]
) -> dict[str, float]:
    """The values of further inputs that a model does not pass to its cell.

    Args:
        who: the name of the writing function, with which error messages begin.
        title: the class of the model.
        names: the names of the inputs that the step reads.

    Raises:
        ValueError: if an input has no default value.
    """
    specs = layer.equations.input_specs
    values: dict[str, float] = {}
    for name in names:
        default = specs[name].default
        if default is None:
            raise ValueError(
                f"{who}: a {title} gives its cell one input alone, and {layer.cell.title} also "
                f"reads {', '.join(names)}."
            )
        values[name] = default
    return values


def used(step: Step) -> list[Node]:
    """All nodes from which the next states and the output are computed, also through products."""
    operand = {p.result: p.operand for p in step.products}
    roots: list[Operand] = [*step.states.values(), step.output]
    nodes: dict[Node, None] = {}
    while roots:
        new = [n for n in reachable(roots) if n not in nodes]
        nodes |= dict.fromkeys(new)
        roots = [operand[n] for n in new if n in operand]
    return list(nodes)


class StepWeights:
    """The matrices and biases of one layer and direction by block, transformed as for the step."""

    def __init__(self, layer: Recurrent, suffix: str) -> None:
        cell = layer.equations
        passed = layer._weights(suffix).parameters
        self.vectors = {name: value.detach() for name, value in passed.items() if value.dim() < 2}

        def split(name: str, of: tuple[str, ...]) -> dict[str, Tensor]:
            whole = getattr(layer, name + suffix, None)
            parts = () if whole is None else whole.detach().chunk(len(of))
            return dict(zip(of, parts, strict=False))

        learned = layer.cell.recurrent_block_names
        recurrent = split("weight_hh", learned)
        if layer.proj_size:
            # Unlike the kernels, a written step needs no padding of the projection to a square
            # block.
            (block,) = set(cell.recurrent_block_names) - set(learned)
            recurrent[block] = getattr(layer, f"weight_hr{suffix}").detach()
        self.matrix = {
            "W": split("weight_ih", cell.gates),
            "R": dict(cell.transform(recurrent)) if recurrent else {},
        }
        for letter, name, is_transposed, block in folds_of(trace(cell).cell):
            value = passed[name].detach()
            self.matrix[letter][block] = value.T if is_transposed else value
        self.bias = {
            "W": split("bias_ih", cell.gates),
            "R": split("bias_hh", cell.recurrent_bias_names),
        }

    def rows(self, matrix: str, name: str) -> int:
        """The number of rows of a block, which is the number of features of its product."""
        return len(self.matrix[matrix][name])

    def blocks(self, matrix: str, names: list[str]) -> tuple[Tensor, Tensor | None]:
        """Blocks stacked along the rows, and their biases, or None if no block has a bias."""
        weights = [self.matrix[matrix][name] for name in names]
        known = self.bias[matrix]
        biases = [
            known[n] if n in known else w.new_zeros(len(w))
            for n, w in zip(names, weights, strict=True)
        ]
        has_bias = any(name in known for name in names)
        return torch.cat(weights), torch.cat(biases) if has_bias else None
