"""A traced step whose values have names: those that the step returns, and of weights and biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.folded import folds_of
from throughtime.kernels.graph.graph import Graph, Node, Operand, reachable
from throughtime.kernels.graph.trace import Product, trace
from throughtime.kernels.printing.expressions import Name, write_expression

__all__ = ["GIVEN", "NamedStep"]

GIVEN = ("state", "input", "random", "parameter")
"""The leaves that the step is given: it makes none of these."""


class NamedStep:
    """The graph of one step, and how its values are called.

    Attributes:
        values: what the step returns, by its own names.
        products: the products of matrices that the equations show; ``of_leaf`` by their results.
        live: what the states and the output are computed from; ``shown``: what all values are.
        names: how nodes are called; what is written out where it is used is not there.
        forward: the values that have an equation, by name.
        matrices, of_bias: the names of the weights by ``W`` or ``R`` and block.
        x, inputs: the name of the input, and those of what else enters the step.
    """

    def __init__(self, cell: Cell) -> None:
        step = trace(cell.owning())
        # Its own matrices are among the blocks of the traced cell.
        cell = step.cell
        self.cell, self.graph = cell, Graph()
        self.output = cell.output_name
        named = {**step.states, **{self.output: step.output}, **step.others}
        operands = [p.operand for p in step.products]
        copied = self.graph.copy([*named.values(), *operands], {})
        self.values: dict[str, Operand] = dict(zip(named, copied, strict=False))
        self.products = [
            replace(p, operand=v, result=self.graph.leaf("product", p.result.name))
            for p, v in zip(step.products, copied[len(named) :], strict=True)
            if isinstance(v, Node)
        ]
        self.of_leaf = {p.result: p for p in self.products}

        lasting = [self.values[name] for name in dict.fromkeys([*cell.state_specs, self.output])]
        self.live = self._needed(lasting)
        self.shown = self._needed(self.values.values())
        self.shown_set = set(self.shown)
        self.taken: set[str] = set()
        self._name_weights()
        self._name_values()

    def _needed(self, roots: Iterable[Operand]) -> list[Node]:
        """What the roots are computed from, through the products too."""
        roots = list(roots)
        while True:
            found = reachable(roots)
            more = [self.of_leaf[n].operand for n in found if n in self.of_leaf]
            if set(more) <= set(found):
                return found
            roots = [*found, *more]

    def take(self, base: str, mark: str = "", time: str = "t") -> Name:
        """A name that nothing has yet: with a number behind it where the plain one is taken."""
        name, count = Name(base, mark, time), 1
        while write_expression(name, False) in self.taken:
            count += 1
            name = Name(f"{base}{count}", mark, time)
        self.taken.add(write_expression(name, False))
        return name

    def _name_weights(self) -> None:
        """Matrices, biases, parameters; which products share one bias."""
        self.loss = replace(self.take("Δ"), of_gradient=True)
        self.parameters = {name: self.take(name, time="") for name in self.cell.parameter_specs}
        self.products = [p for p in self.products if p.result in self.shown_set]
        self.matrices: dict[tuple[str, str], Name] = {}
        self.of_bias: dict[tuple[str, str], Name] = {}
        # The product after which a bias stands; that of the partner is part of it.
        self.silent: set[Node] = set()
        by_block: dict[tuple[str, str], list[Product]] = {}
        for matrix, blocks in (("W", self.cell.gates), ("R", self.cell.recurrent_block_names)):
            for block in blocks:
                self.matrices[matrix, block] = self.take(f"{matrix}_{block}", time="")
                found = [p for p in self.products if (p.matrix, p.block) == (matrix, block)]
                by_block[matrix, block] = found
        uses, users = self._uses()
        without_bias = {name for *_, name in folds_of(self.cell)}
        for gate in self.cell.gates:
            if gate in without_bias:
                continue
            own = {m: by_block.get((m, gate), []) for m in ("W", "R")}
            alone = [m for m in ("W", "R") if own[m]]
            if len(alone) == 1:
                self.of_bias[alone[0], gate] = self.take(f"b_{gate}", time="")
                continue
            tops = {self._top(p.result, uses, users) for m in alone for p in own[m]}
            if all(len(own[m]) == 1 for m in alone) and len(tops) == 1 and alone:
                bias = self.take(f"b_{gate}", time="")
                self.of_bias["W", gate] = self.of_bias["R", gate] = bias
                self.silent.add(own["R"][0].result)
            else:
                for matrix in alone:
                    bias = self.take(f"b_{matrix}{gate}", time="")
                    self.of_bias[matrix, gate] = bias
        self.biases = set(self.of_bias.values())

    def _uses(self) -> tuple[Counter[Node], dict[Node, Node]]:
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
        """The sum that the value is a term of; itself where it is none of one sum alone."""
        while uses[node] == 1 and node in users and users[node].op == "add":
            node = users[node]
        return node

    def _name_values(self) -> None:
        """What the step returns, what it is given, and its names by node."""
        self.names: dict[Node, Name] = {}
        self.forward: dict[Name, Operand] = {}
        given = {name: self.take(name) for name in self.values}
        for name, value in self.values.items():
            self.forward[given[name]] = value
            if isinstance(value, Node) and value.op not in GIVEN:
                self.names.setdefault(value, given[name])
        self.written_output = given[self.output]
        self.state = {name: given[name] for name in self.cell.state_specs}
        self.x = self.take("x")
        self.inputs = {name: self.take(name) for name in self.cell.input_specs}
        for name, written in self.parameters.items():
            self.names[self.graph.leaf("parameter", name, "unit")] = written
        for name, written in self.state.items():
            self.names[self.graph.leaf("state", name)] = replace(written, time="t-1")
        self.names[self.graph.leaf("input", "x")] = self.x
        for name, written in self.inputs.items():
            op = "random" if name in self.cell.drawn_inputs else "input"
            self.names[self.graph.leaf(op, name)] = written
        self.names[self.graph.leaf("units", "H", "number")] = Name("H")
