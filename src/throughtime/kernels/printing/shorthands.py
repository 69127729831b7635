"""Shorthands: names for expressions that the equations would otherwise repeat."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from throughtime.kernels.graph.graph import LEAVES, Node, Operand, reachable
from throughtime.kernels.printing.expressions import Name, parts_of
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.lines import Printer, in_order
from throughtime.kernels.printing.names import NamedStep

__all__ = ["name_repeated_values"]


def name_repeated_values(step: NamedStep, back: NamedGradients) -> None:
    """Gives a name and an equation to each longer expression that would be printed repeatedly."""
    _Shorthands(step, back).find()


class _Shorthands:
    """Finds the values that get a name only because they are used more than once.

    Attributes:
        provisional: the names of these values until :meth:`find` has found them all.
    """

    def __init__(self, step: NamedStep, back: NamedGradients) -> None:
        self.step, self.back = step, back
        self.printer = Printer(step, back)
        self.provisional: dict[Node, Name] = {}

    def find(self) -> None:
        """Names the values that are printed more than once.

        How often a value is printed depends on the other names, and on how sums are arranged. So
        values get provisional names first; those that are then printed once lose them again, and
        the search is repeated until no name is lost.
        """
        rejected: set[Node] = set()
        seeds = self.back.operand_of_seed
        while True:
            while (node := self._outermost_used_twice(rejected)) is not None:
                if node in seeds and seeds[node] not in self.step.names:
                    # Such a gradient is named after its operand, which needs a name first.
                    node = seeds[node]
                name = Name(f"?{node.index}", of_gradient=self._has_gradient(node))
                self.provisional[node] = self.step.names[node] = name
                self._equations_with(node)[name] = node
            lines = [
                *self.printer.lines(self.step.forward),
                *self.printer.lines(self.back.backward),
            ]
            lines += [*self.printer.flows(), *self.printer.gradient_lines()]
            written = Counter(part for line in lines for part in parts_of(line.value))
            unneeded = [
                node
                for node, name in self.provisional.items()
                if written[name] < 2 or self._is_simple(node)
            ]
            if not unneeded:
                break
            for node in unneeded:
                name = self.provisional.pop(node)
                del self.step.names[node]
                self._equations_with(node).pop(name)
            rejected.update(unneeded)
        self._assign_final_names()

    def _equations_with(self, node: Node) -> dict[Name, Operand]:
        return self.step.forward if node in self.step.shown_set else self.back.backward

    def _outermost_used_twice(self, rejected: set[Node]) -> Node | None:
        """The last node in the graph that deserves a shorthand and has no name; or None."""
        ahead, back = self._references()
        # A value that is used once forward and once backward gets a name only if the backward
        # equations would otherwise repeat a product with a matrix.
        candidates = [
            n
            for n in {**ahead, **back}
            if n not in self.step.names
            and n not in rejected
            and (max(ahead[n], back[n]) > 1 or (ahead[n] + back[n] > 1 and self._multiplies(n)))
            and not self._is_simple(n)
        ]
        return max(candidates, key=lambda n: n.index, default=None)

    def _multiplies(self, node: Node) -> bool:
        """Whether the written expression of the value contains a product with a matrix."""
        inner = [a for a in node.args if isinstance(a, Node) and a not in self.step.names]
        return node.op == "product" or any(map(self._multiplies, inner))

    def _assign_final_names(self) -> None:
        """Replaces provisional names by descriptive ones, or by letters in the order of lines."""
        node_of = {name: node for node, name in self.provisional.items()}
        bases = {re.split(r"_|\d", name.base)[0] for name in self.step.names.values()}
        letters = [
            next((a for a in options if a not in bases), options[0]) for options in ("uvwsy", "egk")
        ]
        for equations, letter in zip((self.step.forward, self.back.backward), letters, strict=True):
            order = [line.name for line in in_order(self.printer.lines(equations))]
            nodes = [node_of[name] for name in order if isinstance(name, Name) and name in node_of]
            new: dict[Name, Name] = {}
            nameless: list[Node] = []
            for node in nodes:
                description = self._descriptive_name(node)
                if description is None:
                    nameless.append(node)
                else:
                    name = self.step.new_name(*description)
                    new[self.provisional[node]] = self.step.names[node] = name
            for number, node in enumerate(nameless, 1):
                name = self.step.new_name(f"{letter}{number if len(nameless) > 1 else ''}")
                name = replace(name, of_gradient=self._has_gradient(node))
                new[self.provisional[node]] = self.step.names[node] = name
            renamed = [(new.get(name, name), node) for name, node in equations.items()]
            equations.clear()
            equations.update(renamed)

    @staticmethod
    def _has_gradient(node: Node) -> bool:
        return any(n.op == "gradient" for n in reachable([node]))

    def _references(self) -> tuple[Counter[Node], Counter[Node]]:
        """How often each value is referred to, in the forward and in the backward equations."""
        counts: tuple[Counter[Node], Counter[Node]] = Counter(), Counter()
        forward_roots = [*self.step.forward.values()]
        back = [*self.back.backward.values()]
        loose = [d for v, d in self.back.d.items() if v.op in ("state", "parameter", "input")]
        for count, roots in zip(counts, (forward_roots, [*back, *loose]), strict=True):
            visited: set[Node] = set()

            def visit(node: Node, count: Counter[Node] = count, seen: set[Node] = visited) -> None:
                if node in seen:
                    return
                seen.add(node)
                args: list[Operand] = list(node.args)
                if node in self.step.of_leaf:
                    args = [self.step.of_leaf[node].operand]
                for argument in args:
                    if isinstance(argument, Node):
                        count[argument] += 1
                        if argument not in self.step.names:
                            visit(argument)

            for root in dict.fromkeys(r for r in roots if isinstance(r, Node)):
                visit(root)
            for root in loose if count is counts[1] else ():
                if isinstance(root, Node):
                    count[root] += 1
        for product in self.step.products:
            counts[1][product.operand] += product.result in self.back.delta
        return counts

    def _is_simple(self, node: Node) -> bool:
        """Whether the expression is too short for a shorthand: tanh(c_t), 1 - z_t, 1 - n_t^2."""
        never = ("product", "gradient", "row_sum", "row_max", "map", "where")
        if node.op in never:
            return False
        named, waiting, operations = set[Node](), [node], set[Node]()
        while waiting:
            operations.add(operation := waiting.pop())
            for a in operation.args:
                if isinstance(a, Node):
                    if a in self.step.names:
                        named.add(a)
                    elif a.op in never:
                        return False
                    else:
                        waiting.append(a)
        return len(named) <= 1 and len(operations) <= 3

    def _descriptive_name(self, node: Node) -> tuple[str, str] | None:
        """The base and the mark of a name that describes the value; None if there is none."""
        if node in self.step.shown_set:
            return self._name_after_gate(node)
        if node in self.back.operand_of_seed:
            return self.step.names[self.back.operand_of_seed[node]].base, "d"
        names = self.step.names
        values = [
            v for v, d in self.back.d.items() if d is node and v in names and v.op not in LEAVES
        ]
        return (names[values[0]].base, "d") if values else None

    def _name_after_gate(self, node: Node) -> tuple[str, str] | None:
        """A name after the one gate whose products the forward value contains; None otherwise.

        A product is named ``Wi``, a sum with products ``a_i`` (the argument of gate i's
        nonlinearity), and a function of such a sum ``i``.
        """
        if node in self.step.of_leaf:
            return f"{self.step.of_leaf[node].matrix}{self.step.of_leaf[node].block}", ""
        is_sum = node.op in ("add", "sub")
        within = node if is_sum else node.args[0] if len(node.args) == 1 else node
        waiting, blocks = [within], set[str]()
        while waiting:
            a = waiting.pop()
            if isinstance(a, Node) and a in self.step.of_leaf:
                blocks.add(self.step.of_leaf[a].block)
            elif isinstance(a, Node) and a.op in ("add", "sub"):
                waiting += a.args if a not in self.step.names or a is node else ()
        gates = [g for g in self.step.cell.gates if g in blocks]
        if len(gates) == 1 and (is_sum or f"{gates[0]}_t" not in self.step.used_names):
            return (f"a_{gates[0]}" if is_sum else gates[0]), ""
        return None
