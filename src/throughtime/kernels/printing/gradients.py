"""The gradients of a named step, and their names."""

from __future__ import annotations

from dataclasses import replace

from throughtime.kernels.graph.differentiate import gradients
from throughtime.kernels.graph.graph import Node, Operand
from throughtime.kernels.graph.trace import Product
from throughtime.kernels.printing.expressions import Name
from throughtime.kernels.printing.names import STEP_INPUTS, NamedStep

__all__ = ["NamedGradients"]


class NamedGradients:
    """The gradients of a step, and their names.

    Attributes:
        d: the gradient of each value.
        operand_of_seed: for each seed that stands for a gradient that comes back through products
            with R, the operand of these products.
        backward: the gradients that have an equation, by name.
        delta: the name of the gradient of each product, by the product's result.
    """

    def __init__(self, step: NamedStep) -> None:
        self.step = step
        self._differentiate()
        self._name_deltas()

    def _differentiate(self) -> None:
        live = set(self.step.live)
        operands = list(
            dict.fromkeys(
                p.operand
                for p in self.step.products
                if p.result in live and p.operand.op not in STEP_INPUTS
            )
        )
        leaf = self.step.graph.leaf
        seeds: list[tuple[Operand, Operand]] = []
        for name, written in self.step.state.items():
            seed = leaf("gradient", f"state:{name}")
            self.step.names[seed] = replace(written, mark="d", prime=True)
            seeds.append((self.step.values[name], seed))
        seed = leaf("gradient", "output")
        self.step.names[seed] = self.step.loss
        seeds.append((self.step.values[self.step.output], seed))
        # The chain rule over the graph does not see the products with R, so that their part of an
        # operand's gradient enters as a seed. Its expression is written out where it is used.
        self.operand_of_seed = {leaf("gradient", f"operand:{i}"): v for i, v in enumerate(operands)}
        seeds += [(v, seed) for seed, v in self.operand_of_seed.items()]
        leaves = [leaf("state", name) for name in self.step.cell.state_specs]
        leaves += [leaf("parameter", name, "unit") for name in self.step.cell.parameter_specs]
        leaves += [leaf("input", name) for name in ("x", *self.step.cell.given_inputs)]
        self.d = gradients(self.step.graph, seeds, [*self.step.live, *leaves])

    def _name_deltas(self) -> None:
        """Names the gradients of the states and of the output, and those of the products."""
        self.backward: dict[Name, Operand] = {}
        for name in dict.fromkeys([*self.step.cell.state_specs, self.step.output]):
            value = self.step.values[name]
            # A next state that is a previous state or an input shares its gradient with that one.
            if not isinstance(value, Node) or value.op in STEP_INPUTS:
                continue
            d = self.d.get(value, 0.0)
            if isinstance(d, Node) and d not in self.step.names and d not in self.operand_of_seed:
                self._define(self.step.new_name(name, "d"), d)
        self.delta: dict[Node, Name] = {}
        # Products that are only added up, like W_i x and R_i h, have the same gradient: one δ.
        groups: dict[Node, list[Product]] = {}
        for product in self.step.products:
            d = self.d.get(product.result, 0.0)
            if isinstance(d, Node):
                groups.setdefault(d, []).append(product)
        order = [*self.step.cell.gates, *self.step.cell.recurrent_block_names]
        used_blocks: set[str] = set()
        for d, group in sorted(
            groups.items(), key=lambda g: min((p.matrix == "R", order.index(p.block)) for p in g[1])
        ):
            first = min(group, key=lambda p: p.matrix == "R")
            is_new = first.block not in used_blocks
            base = first.block if is_new else f"{first.matrix}{first.block}"
            used_blocks.add(first.block)
            name = self.step.new_name(base, "δ")
            self._define(name, d)
            self.delta.update({p.result: name for p in group})

    def _define(self, name: Name, node: Node) -> None:
        self.step.names.setdefault(node, name)
        self.backward[name] = node
