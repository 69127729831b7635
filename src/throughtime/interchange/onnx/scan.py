"""A cell through time as a node Scan, whose body is the graph of a step: for any cell.

What depends on no state is computed before, for all steps at once, and what depends on no input
either only once; the body holds the rest. Products with one value are one product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.interchange.onnx.operations import mapped, operation
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.kernels.graph.folded import folds_of
from throughtime.kernels.graph.graph import Node, Operand, is_mask, reachable
from throughtime.kernels.graph.maps import Map, Size
from throughtime.kernels.graph.trace import Step, Untraceable, trace
from throughtime.layers import Recurrent

__all__ = ["further_inputs", "scan", "traced"]

# What a value depends on: how often it must be computed.
_ONCE, _AHEAD, _INSIDE = 0, 1, 2


def traced(cell: Cell) -> Step:
    """The graph of the cell's step.

    Raises:
        ValueError: where there is none, or it draws random numbers.
    """
    who = f"save_onnx: the cell {cell.title} cannot be exported"
    try:
        step = trace(cell)
    except Untraceable as reason:
        raise ValueError(
            f"{who}: expected a step that can be traced, but {reason}. Write the step with the "
            f"operations of docs/kernels.md."
        ) from reason
    drawn = [n.name for n in _used(step) if n.op == "random"]
    if drawn:
        raise ValueError(
            f"{who}: expected a step that always does the same, but {', '.join(drawn)} is drawn at "
            f"random. Export a cell that draws nothing."
        )
    return step


def further_inputs(cell: Cell) -> list[str]:
    """What enters each step besides x, and is used."""
    found = {node.name for node in _used(traced(cell)) if node.op == "input"}
    return [name for name in cell.given_inputs if name in found]


def _used(step: Step) -> list[Node]:
    """All nodes that the next states and the output are computed from, through products too."""
    operand = {p.result: p.operand for p in step.products}
    roots: list[Operand] = [*step.states.values(), step.output]
    found: dict[Node, None] = {}
    while roots:
        new = [n for n in reachable(roots) if n not in found]
        found |= dict.fromkeys(new)
        roots = [operand[n] for n in new if n in operand]
    return list(found)


def scan(
    graph: GraphWriter,
    layer: Recurrent,
    suffix: str,
    inputs: dict[str, str],
    valid: str,
    states: list[str],
) -> tuple[str, list[str]]:
    """Writes one layer in one direction.

    Args:
        graph: where to.
        layer: whose cell and weights.
        suffix: of its weights, ``_l0`` or ``_l0_reverse``.
        inputs: the names of x and of what else enters each step, each (T, B, …).
        valid: the name of what is true where a step is in its row, (T, B, 1); or nothing.
        states: the names of the initial states, each (B, H).

    Returns:
        The names of the output (T, B, H), and of the last states, each (B, H).
    """
    return _Scan(graph, layer, suffix, inputs).write(valid, states)


class _Scan:
    def __init__(
        self, graph: GraphWriter, layer: Recurrent, suffix: str, inputs: dict[str, str]
    ) -> None:
        self.outer, self.inner = graph, graph.body()
        self.layer, self.suffix, self.inputs = layer, suffix, inputs
        self.step = traced(layer.equations)
        self.weights = _Weights(layer, suffix)
        # The names of values around the body and in it, and what the body gets step by step.
        self.around: dict[Operand, str] = {}
        self.within: dict[Operand, str] = {}
        self.given: list[tuple[str, str, torch.dtype]] = []
        self.when: dict[Node, int] = {}
        self.used = set(_used(self.step))
        self.product = {p.result: p for p in self.step.products}

    def write(self, valid: str, states: list[str]) -> tuple[str, list[str]]:
        """The node, and what comes before it."""
        names = list(self.layer.state_sizes)
        before = [self.inner.name(f"{name}_before{self.suffix}") for name in names]
        of_state = dict(zip(names, before, strict=True))
        self.within |= {node: of_state[node.name] for node in self.used if node.op == "state"}
        is_valid = self._slice(valid, torch.bool) if valid else ""

        after = []
        for name, old in zip(names, before, strict=True):
            new = self._whole(self.step.states[name], old)
            kept = [is_valid, new, old] if valid else [new]
            op = "Where" if valid else "Identity"
            after.append(self.inner.node(op, kept, f"{name}_after{self.suffix}"))
        made = self._whole(self.step.output, before[0])
        shown = [is_valid, made, self.inner.number(0.0)] if valid else [made]
        shown = self.inner.node("Where" if valid else "Identity", shown, f"step{self.suffix}")
        if not self.given:
            # It must be told how many steps there are.
            self._slice(self.inputs["x"], self.outer.dtype)

        declared = self.inner.value
        rows = [["batch", size] for size in self.layer.state_sizes.values()]
        body = self.outer.onnx.helper.make_graph(
            self.inner.nodes,
            f"step_of{self.suffix}",
            [
                *(declared(n, row) for n, row in zip(before, rows, strict=True)),
                *(declared(name, [None, None], dtype) for _, name, dtype in self.given),
            ],
            [
                *(declared(n, row) for n, row in zip(after, rows, strict=True)),
                declared(shown, ["batch", None]),
            ],
            self.inner.initializers,
        )
        backwards = int(self.suffix.endswith("_reverse"))
        *last, output = self.outer.nodes_of(
            "Scan",
            [*states, *(name for name, _, _ in self.given)],
            [*(f"{name}_end{self.suffix}" for name in names), f"steps{self.suffix}"],
            body=body,
            num_scan_inputs=len(self.given),
            scan_input_directions=[backwards] * len(self.given),
            scan_output_directions=[backwards],
        )
        return output, last

    def _whole(self, value: Operand, like: str) -> str:
        """A value in the body, for each row where it is the same for all."""
        name = self._inside(value)
        if isinstance(value, Node) and self._when(value) != _ONCE:
            return name
        shape = self.inner.node("Shape", [like], f"shape_of_{like}")
        return self.inner.node("Expand", [name, shape], f"all_rows{self.suffix}")

    def _when(self, node: Node) -> int:
        if node not in self.when:
            if node in self.product:
                made_of: list[Operand] = [self.product[node].operand]
            else:
                made_of = list(node.args)
            own = {"state": _INSIDE, "input": _AHEAD}.get(node.op, _ONCE)
            below = (self._when(a) for a in made_of if isinstance(a, Node))
            self.when[node] = max(own, *below, _ONCE)
        return self.when[node]

    def _inside(self, value: Operand) -> str:
        """The name of a value as the body knows it."""
        if not isinstance(value, Node):
            return self.inner.number(value)
        if value not in self.within:
            when = self._when(value)
            if when == _INSIDE:
                self._write(value, self.inner, self.within)
            else:
                name = self._outside(value)
                # What is the same at all steps, the body reads where it stands.
                dtype = torch.bool if is_mask(value) else self.outer.dtype
                self.within[value] = self._slice(name, dtype) if when == _AHEAD else name
        return self.within[value]

    def _outside(self, value: Operand) -> str:
        if not isinstance(value, Node):
            return self.outer.number(value)
        if value not in self.around:
            self._write(value, self.outer, self.around)
        return self.around[value]

    def _slice(self, name: str, dtype: torch.dtype) -> str:
        """What the body calls the value of one step."""
        self.given.append((name, self.inner.name(f"{name}_now"), dtype))
        return self.given[-1][1]

    def _write(self, node: Node, graph: GraphWriter, known: dict[Operand, str]) -> None:
        """A value that is not known yet, and those that come with it."""
        find = self._inside if graph is self.inner else self._outside
        if node in self.product:
            operand = find(self.product[node].operand)
            known |= self._products(node, graph, operand)
        elif node.op == "input":
            known[node] = self.inputs[node.name]
        elif node.op == "parameter":
            known[node] = graph.weight(node.name + self.suffix, self.weights.vectors[node.name])
        elif node.op == "units":
            known[node] = graph.number(float(self.layer.hidden_size))
        elif node.op == "size":
            assert isinstance(node.rule, Size)
            known[node] = graph.number(float(node.rule.at(self.layer.hidden_size)))
        elif node.op == "spread":
            known[node] = find(node.args[0])
        elif node.op == "map":
            assert isinstance(node.rule, Map)
            name, H = f"map_{node.index}{self.suffix}", self.layer.hidden_size
            # Around the body there is a dimension of all steps.
            rank = 1 if node.kind == "unit" else 2 if graph is self.inner else 3
            known[node] = mapped(graph, node.rule, find(node.args[0]), H, rank, name)
        else:
            args = [find(a) for a in node.args]
            known[node] = operation(graph, node.op, args, f"{node.op}_{node.index}{self.suffix}")

    def _products(self, node: Node, graph: GraphWriter, operand: str) -> dict[Operand, str]:
        """All blocks that one matrix applies to one value."""
        wanted = self.product[node]
        same = [
            p
            for p in self.step.products
            if p.matrix == wanted.matrix and p.operand is wanted.operand and p.result in self.used
        ]
        name = f"{wanted.matrix}_{'_'.join(p.block for p in same)}{self.suffix}"
        weight, bias = self.weights.blocks(wanted.matrix, [p.block for p in same])
        # (I, n*H), as MatMul wants it.
        stored = self.outer.weight(name, weight.T)
        made = graph.node("MatMul", [operand, stored], f"{name}_product")
        if bias is not None:
            made = graph.node("Add", [made, self.outer.weight(f"b_{name}", bias)], f"{name}_sum")
        parts = [made]
        if len(same) > 1:
            names = [f"{p.matrix}_{p.block}{self.suffix}_part" for p in same]
            sizes = graph.integers(*(self.weights.rows(p.matrix, p.block) for p in same))
            parts = graph.nodes_of("Split", [made, sizes], names, axis=-1)
        return {p.result: part for p, part in zip(same, parts, strict=True)}


class _Weights:
    """The matrices of one layer and direction, block by block, as the step uses them."""

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
            # Kernels want it square; here it is as narrow as it was learned.
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
        """The units that a block gives."""
        return len(self.matrix[matrix][name])

    def blocks(self, matrix: str, names: list[str]) -> tuple[Tensor, Tensor | None]:
        """Some blocks, one below the other, and their biases if any has one."""
        weights = [self.matrix[matrix][name] for name in names]
        known = self.bias[matrix]
        biases = [
            known[n] if n in known else w.new_zeros(len(w))
            for n, w in zip(names, weights, strict=True)
        ]
        has_bias = any(name in known for name in names)
        return torch.cat(weights), torch.cat(biases) if has_bias else None
