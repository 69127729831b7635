"""A traced step with names for its values, weights and biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import replace

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.folded import folds_of
from throughtime.kernels.graph.graph import Graph, Node, Operand, reachable
from throughtime.kernels.graph.trace import Product, trace
from throughtime.kernels.printing.expressions import Name
from throughtime.kernels.printing.local_names import local_names
from throughtime.kernels.printing.text import as_text

__all__ = ["STEP_INPUTS", "NamedStep"]

STEP_INPUTS = ("state", "input", "random", "parameter")
"""The operations of the leaves that a step receives as arguments."""


class NamedStep:
    """The graph of one step, and the names of its values.

    Attributes:
        values: the values that the step returns, by their names in the step.
        products: the products with matrices that the equations show.
        of_leaf: the products by their results.
        live: the nodes from which the states and the output are computed.
        shown, shown_set: the nodes from which all returned values are computed.
        names: the names of nodes; a node without a name is written out where it is used.
        forward: the values that have an equation, by name.
        matrices, of_bias: the names of the weights and biases, by ``W`` or ``R`` and the block.
        bias_is_elsewhere: the results of products whose bias is printed with another product.
        state, x, inputs: the names of the states, of the input x, and of the further inputs.
    """

    def __init__(self, cell: Cell) -> None:
        cell = cell.owning()
        step = trace(cell)
        local_of = local_names(cell)
        # Its own matrices are among the blocks of the traced cell.
        cell = step.cell
        self.cell, self.graph = cell, Graph()
        self.output = cell.output_name
        named = {**step.states, **{self.output: step.output}, **step.others}
        roots = [*named.values(), *(p.operand for p in step.products)]
        in_variables = [n for n in reachable(roots) if repr(n) in local_of]
        copied = self.graph.copy([*roots, *in_variables], {})
        self.values: dict[str, Operand] = dict(zip(named, copied, strict=False))
        self.products = [
            replace(p, operand=v, result=self.graph.leaf("product", p.result.name))
            for p, v in zip(step.products, copied[len(named) :], strict=False)
            if isinstance(v, Node)
        ]
        self.of_leaf = {p.result: p for p in self.products}

        lasting = [self.values[name] for name in dict.fromkeys([*cell.state_specs, self.output])]
        self.live = self._needed(lasting)
        self.shown = self._needed(self.values.values())
        self.shown_set = set(self.shown)
        self.used_names: set[str] = set()
        self._name_weights()
        self._name_values()
        variables = zip(copied[len(roots) :], in_variables, strict=True)
        self._name_locals((value, local_of[repr(n)]) for value, n in variables)

    def _needed(self, roots: Iterable[Operand]) -> list[Node]:
        """The nodes from which the roots are computed, also through products with matrices."""
        roots = list(roots)
        # To the graph a product is a leaf: its operand has to be added as a root.
        while True:
            nodes = reachable(roots)
            operands = [self.of_leaf[n].operand for n in nodes if n in self.of_leaf]
            if set(operands) <= set(nodes):
                return nodes
            roots = [*nodes, *operands]

    def new_name(
        self, base: str, mark: str = "", time: str = "t", avoid: Container[str] = ()
    ) -> Name:
        """An unused name; a number is appended to the base if the plain name is in use.

        Args:
            base, mark, time: the parts of the name.
            avoid: further names, as they are written, that it may not be.
        """
        name, count = Name(base, mark, time), 1
        while (text := as_text(name)) in self.used_names or text in avoid:
            count += 1
            name = Name(f"{base}{count}", mark, time)
        self.used_names.add(as_text(name))
        return name

    def _name_weights(self) -> None:
        """Names parameters, matrices and biases, and finds out which products share a bias."""
        self.loss = replace(self.new_name("Δ"), of_gradient=True)
        self.parameters = {name: self.new_name(name, time="") for name in self.cell.parameter_specs}
        self.products = [p for p in self.products if p.result in self.shown_set]
        self.matrices: dict[tuple[str, str], Name] = {}
        self.of_bias: dict[tuple[str, str], Name] = {}
        self.bias_is_elsewhere: set[Node] = set()
        by_block: dict[tuple[str, str], list[Product]] = {}
        for matrix, blocks in (("W", self.cell.gates), ("R", self.cell.recurrent_block_names)):
            for block in blocks:
                self.matrices[matrix, block] = self.new_name(f"{matrix}_{block}", time="")
                by_block[matrix, block] = [
                    p for p in self.products if (p.matrix, p.block) == (matrix, block)
                ]
        uses, users = self._uses()
        without_bias = {name for *_, name in folds_of(self.cell)}
        for gate in self.cell.gates:
            if gate in without_bias:
                continue
            products = {m: by_block.get((m, gate), []) for m in ("W", "R")}
            matrices = [m for m in ("W", "R") if products[m]]
            if len(matrices) == 1:
                self.of_bias[matrices[0], gate] = self.new_name(f"b_{gate}", time="")
                continue
            # The layer has two biases for a gate. If both products are terms of one sum, only the
            # sum of the biases matters, and the equations show one bias, after W x.
            tops = {self._top(p.result, uses, users) for m in matrices for p in products[m]}
            if all(len(products[m]) == 1 for m in matrices) and len(tops) == 1 and matrices:
                bias = self.new_name(f"b_{gate}", time="")
                self.of_bias["W", gate] = self.of_bias["R", gate] = bias
                self.bias_is_elsewhere.add(products["R"][0].result)
            else:
                for matrix in matrices:
                    bias = self.new_name(f"b_{matrix}{gate}", time="")
                    self.of_bias[matrix, gate] = bias
        self.biases = set(self.of_bias.values())

    def _uses(self) -> tuple[Counter[Node], dict[Node, Node]]:
        """How often each node is used, and the last node that uses it."""
        uses: Counter[Node] = Counter(v for v in self.values.values() if isinstance(v, Node))
        users: dict[Node, Node] = {}
        for node in self.shown:
            for argument in node.args:
                if isinstance(argument, Node):
                    uses[argument] += 1
                    users[argument] = node
        uses.update(p.operand for p in self.products)
        return uses, users

    def _top(self, node: Node, uses: Counter[Node], users: dict[Node, Node]) -> Node:
        """The outermost sum that a value is a term of; the value itself if it is used otherwise."""
        while uses[node] == 1 and node in users and users[node].op == "add":
            node = users[node]
        return node

    def _name_values(self) -> None:
        """Names the values that the step returns, and its arguments."""
        self.names: dict[Node, Name] = {}
        self.forward: dict[Name, Operand] = {}
        written_values = {name: self.new_name(name) for name in self.values}
        for name, value in self.values.items():
            self.forward[written_values[name]] = value
            if isinstance(value, Node) and value.op not in STEP_INPUTS:
                self.names.setdefault(value, written_values[name])
        self.written_output = written_values[self.output]
        self.state = {name: written_values[name] for name in self.cell.state_specs}
        self.x = self.new_name("x")
        self.inputs = {name: self.new_name(name) for name in self.cell.input_specs}
        for name, written in self.parameters.items():
            self.names[self.graph.leaf("parameter", name, "unit")] = written
        for name, written in self.state.items():
            self.names[self.graph.leaf("state", name)] = replace(written, time="t-1")
        self.names[self.graph.leaf("input", "x")] = self.x
        for name, written in self.inputs.items():
            op = "random" if name in self.cell.drawn_inputs else "input"
            self.names[self.graph.leaf(op, name)] = written
        self.names[self.graph.leaf("units", "H", "number")] = Name("H")

    def _name_locals(self, variables: Iterable[tuple[Operand, str]]) -> None:
        """Names the values that the step holds in local variables, and gives each an equation.

        Args:
            variables: the values with the names of their variables, in the order of computation.
        """
        others = [*self.state.values(), self.written_output, self.x, *self.inputs.values()]
        weights = [*self.parameters.values(), *self.matrices.values(), *self.biases]
        avoid = {"H", *(as_text(replace(n, mark="d")) for n in others + weights)}
        for value, variable in variables:
            # The printed name has a time of its own.
            base = variable.strip("_").removesuffix("_t").rstrip("_")
            if not isinstance(value, Node) or value in self.names or not base.isidentifier():
                continue
            if value in self.shown_set and value.op not in STEP_INPUTS:
                # A value that is computed from weights alone is the same in all steps.
                time = "" if value.kind in ("unit", "number") else "t"
                name = self.new_name(base, time=time, avoid=avoid)
                self.names[value] = name
                self.forward[name] = value
