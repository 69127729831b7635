"""Groups the products of a step into slots: sums that the equations use as one value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from throughtime.kernels.graph.graph import Graph, Node, Operand, reachable
from throughtime.kernels.graph.trace import Product

__all__ = ["Slot", "SlotFinder"]


@dataclass(frozen=True)
class Slot:
    """A sum of products that enters the equations as one value.

    Args:
        leaf: the node of the graph whose value is the sum.
        gate: the block of W whose product with the input is part of the sum, or None.
        pairs: the recurrent products of the sum, each as its operand and its block of R.
    """

    leaf: Node
    gate: str | None
    pairs: tuple[tuple[Node, str], ...]


class SlotFinder:
    """Groups products that are only added up into slots.

    Args:
        products: the products that the step uses.
        roots: all values that a kernel computes, and the operands of products with R.

    Attributes:
        graph: a new graph, in which each slot is a leaf.
        slots: the slots; their operands are nodes of the step's graph.
    """

    def __init__(self, products: list[Product], roots: list[Operand]) -> None:
        self.graph, self.slots = Graph(), list[Slot]()
        self._products = {p.result: p for p in products}
        self._nodes = reachable(roots)
        arguments = [(a, n) for n in self._nodes for a in n.args if isinstance(a, Node)]
        self._uses: Counter[Node] = Counter(a for a, _ in arguments)
        self._uses.update(r for r in roots if isinstance(r, Node))
        self._user = dict(arguments)

    def find(self) -> dict[Node, Operand]:
        """Adds all slots.

        Returns:
            For each product outside a sum, and each sum that contains a slot, its value in the
            new graph.
        """
        sums: dict[Node, tuple[Slot, list[Operand]]] = {}
        grouped: set[Node] = set()
        for node in self._nodes:
            if node.op != "add" or self._is_inside_sum(node):
                continue
            terms = self._terms(node)
            group = self._group(terms)
            # A product that no other is added to becomes a slot of its own below.
            if len(group) > 1:
                of_group = {p.result for p in group}
                rest: list[Operand] = [
                    a for a in terms if not (isinstance(a, Node) and a in of_group)
                ]
                sums[node] = (self._add_slot(group), rest)
                grouped |= of_group
        replaced: dict[Node, Operand] = {}
        for product in self._products.values():
            if product.result not in grouped:
                replaced[product.result] = self._add_slot([product]).leaf
        for node, (slot, rest) in sums.items():
            value: Operand = slot.leaf
            for term in self.graph.copy(rest, replaced):
                value = self.graph.node("add", value, term)
            replaced[node] = value
        return replaced

    def _is_inside_sum(self, node: Node) -> bool:
        """Whether the node is used once, as a term of a sum: then it needs no value of its own."""
        return self._uses[node] == 1 and node in self._user and self._user[node].op == "add"

    def _terms(self, node: Node) -> list[Operand]:
        """The terms of a sum, with those of the sums inside it."""
        terms: list[Operand] = []
        for a in node.args:
            is_sum = isinstance(a, Node) and a.op == "add" and self._is_inside_sum(a)
            terms += self._terms(a) if is_sum and isinstance(a, Node) else [a]
        return terms

    def _group(self, terms: list[Operand]) -> list[Product]:
        """The products among the terms of a sum that can form one slot."""
        group: list[Product] = []
        for a in terms:
            if isinstance(a, Node) and a in self._products and self._uses[a] == 1:
                product = self._products[a]
                # At most one block of W: the slots with W are one product with the input, in
                # which each slot has one block of rows.
                if product.matrix == "R" or all(p.matrix == "R" for p in group):
                    group.append(product)
        return group

    def _add_slot(self, group: Iterable[Product]) -> Slot:
        gates = [p.block for p in group if p.matrix == "W"]
        pairs = tuple((p.operand, p.block) for p in group if p.matrix == "R")
        name = "+".join(p.result.name for p in group)
        self.slots.append(Slot(self.graph.leaf("slot", name), gates[0] if gates else None, pairs))
        return self.slots[-1]
