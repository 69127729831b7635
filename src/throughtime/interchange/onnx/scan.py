"""Writes any cell as a Scan node, whose body is the graph of a step.

Values that depend on no state are computed before the Scan, for all steps at once; values that also
depend on no input are computed once. The body contains the rest. Products of blocks of one matrix
with one value are joined to a single product.
"""

from __future__ import annotations

from typing import Any

import torch

from throughtime.interchange.onnx.operations import mapped, operation
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.interchange.steps import StepWeights, traced, used
from throughtime.kernels.graph.graph import Node, Operand, is_mask
from throughtime.kernels.graph.maps import Map, Size
from throughtime.layers import Recurrent

__all__ = ["scan"]

# Where a value is computed: once; ahead of the Scan for all steps, as it depends on inputs; or
# inside the body in each step, as it depends on a state.
_ONCE, _AHEAD, _INSIDE = 0, 1, 2


def scan(
    graph: GraphWriter,
    layer: Recurrent,
    suffix: str,
    inputs: dict[str, str],
    valid: str,
    states: list[str],
) -> tuple[str, list[str]]:
    """Writes one layer in one direction as a Scan node.

    Args:
        graph: the graph to write into.
        layer: the layer, which provides cell and weights.
        suffix: the suffix of the weights, such as ``_l0`` or ``_l0_reverse``.
        inputs: the names of the values (T, B, …) in the graph by the names of the step's inputs.
        valid: the name of the mask (T, B, 1) of valid steps; empty if all are valid.
        states: the names of the initial states, each (B, H).

    Returns:
        The names of the output (T, B, H), and of the last states, each (B, H).
    """
    return _Scan(graph, layer, suffix, inputs).write(valid, states)


class _Scan:
    """Writes one Scan node; ``outer`` is the graph around it, ``inner`` its body."""

    def __init__(
        self, graph: GraphWriter, layer: Recurrent, suffix: str, inputs: dict[str, str]
    ) -> None:
        self.outer, self.inner = graph, graph.body()
        self.layer, self.suffix, self.inputs = layer, suffix, inputs
        self.step = traced("save_onnx", layer)
        self.weights = StepWeights(layer, suffix)
        # The names of values in the graph around the body, and of values in the body.
        self.around: dict[Operand, str] = {}
        self.within: dict[Operand, str] = {}
        # The sequences that the Scan slices: name around the body, name in the body, and dtype.
        self.scanned: list[tuple[str, str, torch.dtype]] = []
        self.when: dict[Node, int] = {}
        self.used = set(used(self.step))
        self.product = {p.result: p for p in self.step.products}

    def write(self, valid: str, states: list[str]) -> tuple[str, list[str]]:
        """Writes the node and the nodes before it; see :func:`scan`."""
        names = list(self.layer.state_sizes)
        before = [self.inner.name(f"{name}_before{self.suffix}") for name in names]
        state_names = dict(zip(names, before, strict=True))
        self.within |= {node: state_names[node.name] for node in self.used if node.op == "state"}
        is_valid = self._slice(valid, torch.bool) if valid else ""

        op, after = "Where" if valid else "Identity", []
        for name, old in zip(names, before, strict=True):
            new = self._whole(self.step.states[name], old)
            state = [is_valid, new, old] if valid else [new]
            after.append(self.inner.node(op, state, f"{name}_after{self.suffix}"))
        output = self._whole(self.step.output, before[0])
        masked = [is_valid, output, self.inner.number(0.0)] if valid else [output]
        output = self.inner.node(op, masked, f"step{self.suffix}")
        if not self.scanned:
            # Without any sequence the Scan would not know the number of steps.
            self._slice(self.inputs["x"], self.outer.dtype)
        *last, outputs = self._node(self._body(before, after, output), states)
        return outputs, last

    def _body(self, before: list[str], after: list[str], output: str) -> Any:
        """The body as a graph of ONNX.

        Args:
            before, after: the names of the states before and after the step.
            output: the name of the output of the step.
        """
        declared = self.inner.value
        rows = [["batch", size] for size in self.layer.state_sizes.values()]
        return self.outer.onnx.helper.make_graph(
            self.inner.nodes,
            f"step_of{self.suffix}",
            [
                *(declared(n, row) for n, row in zip(before, rows, strict=True)),
                *(declared(name, [None, None], dtype) for _, name, dtype in self.scanned),
            ],
            [
                *(declared(n, row) for n, row in zip(after, rows, strict=True)),
                declared(output, ["batch", None]),
            ],
            self.inner.initializers,
        )

    def _node(self, body: Any, states: list[str]) -> list[str]:
        """The Scan node itself; returns the names of the last states and of the outputs."""
        backwards = int(self.suffix.endswith("_reverse"))
        ends = [f"{name}_end{self.suffix}" for name in self.layer.state_sizes]
        return self.outer.nodes_of(
            "Scan",
            [*states, *(name for name, _, _ in self.scanned)],
            [*ends, f"steps{self.suffix}"],
            body=body,
            num_scan_inputs=len(self.scanned),
            scan_input_directions=[backwards] * len(self.scanned),
            scan_output_directions=[backwards],
        )

    def _whole(self, value: Operand, like: str) -> str:
        """A value in the body with a row for each row of the batch.

        A value that is computed once is expanded to the shape of the value named ``like``.
        """
        name = self._inside(value)
        if isinstance(value, Node) and self._when(value) != _ONCE:
            return name
        shape = self.inner.node("Shape", [like], f"shape_of_{like}")
        return self.inner.node("Expand", [name, shape], f"all_rows{self.suffix}")

    def _when(self, node: Node) -> int:
        """Where the node is computed: ``_ONCE``, ``_AHEAD`` or ``_INSIDE``."""
        if node not in self.when:
            if node in self.product:
                operands: list[Operand] = [self.product[node].operand]
            else:
                operands = list(node.args)
            leaf = {"state": _INSIDE, "input": _AHEAD}.get(node.op, _ONCE)
            below = (self._when(a) for a in operands if isinstance(a, Node))
            self.when[node] = max(leaf, *below, _ONCE)
        return self.when[node]

    def _inside(self, value: Operand) -> str:
        """The name of a value in the body; writes the value if necessary."""
        if not isinstance(value, Node):
            return self.inner.number(value)
        if value not in self.within:
            when = self._when(value)
            if when == _INSIDE:
                self._write(value, self.inner, self.within)
            else:
                name = self._outside(value)
                # The body may read a value that is constant over the steps from the outer graph.
                dtype = torch.bool if is_mask(value) else self.outer.dtype
                self.within[value] = self._slice(name, dtype) if when == _AHEAD else name
        return self.within[value]

    def _outside(self, value: Operand) -> str:
        """The name of a value in the graph around the body; writes the value if necessary."""
        if not isinstance(value, Node):
            return self.outer.number(value)
        if value not in self.around:
            self._write(value, self.outer, self.around)
        return self.around[value]

    def _slice(self, name: str, dtype: torch.dtype) -> str:
        """Makes the Scan slice a sequence; returns the name of one step's value in the body."""
        self.scanned.append((name, self.inner.name(f"{name}_now"), dtype))
        return self.scanned[-1][1]

    def _write(self, node: Node, graph: GraphWriter, known: dict[Operand, str]) -> None:
        """Writes the nodes of a value into a graph and adds its name to ``known``.

        A product adds the names of all products that are joined with it.
        """
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
            # A row has the dimensions (rows, units) in the body, (steps, rows, units) around it.
            rank = 1 if node.kind == "unit" else 2 if graph is self.inner else 3
            known[node] = mapped(graph, node.rule, find(node.args[0]), H, rank, name)
        else:
            args = [find(a) for a in node.args]
            known[node] = operation(graph, node.op, args, f"{node.op}_{node.index}{self.suffix}")

    def _products(self, node: Node, graph: GraphWriter, operand: str) -> dict[Operand, str]:
        """Writes all products of one matrix with one value as a single product.

        Args:
            node: the result of one of the products.
            graph: the graph to write into.
            operand: the name of the value.

        Returns:
            The names of the results of all these products.
        """
        first = self.product[node]
        matrix = first.matrix
        joined = [
            p
            for p in self.step.products
            if p.matrix == matrix and p.operand is first.operand and p.result in self.used
        ]
        name = f"{matrix}_{'_'.join(p.block for p in joined)}{self.suffix}"
        weight, bias = self.weights.blocks(matrix, [p.block for p in joined])
        # (I, n*H), the layout that MatMul reads.
        stored = self.outer.weight(name, weight.T)
        result = graph.node("MatMul", [operand, stored], f"{name}_product")
        if bias is not None:
            stored_bias = self.outer.weight(f"b_{name}", bias)
            result = graph.node("Add", [result, stored_bias], f"{name}_sum")
        parts = [result]
        if len(joined) > 1:
            names = [f"{matrix}_{p.block}{self.suffix}_part" for p in joined]
            sizes = graph.integers(*(self.weights.rows(matrix, p.block) for p in joined))
            parts = graph.nodes_of("Split", [result, sizes], names, axis=-1)
        return {p.result: part for p, part in zip(joined, parts, strict=True)}
