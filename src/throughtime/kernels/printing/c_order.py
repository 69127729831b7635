"""In which stage of a printed step each value is computed, and how many units it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from throughtime.kernels.graph.graph import LEAVES, Node, Operand
from throughtime.kernels.graph.maps import Map
from throughtime.kernels.graph.trace import Step
from throughtime.kernels.printing.c_text import identifier
from throughtime.kernels.printing.formulas import in_order

__all__ = ["ACROSS", "Layout", "MatrixUse", "StepOrder"]

ACROSS = ("row_sum", "row_max")
"""The operations that make one number of a row."""


@dataclass(frozen=True)
class MatrixUse:
    """A matrix that the step multiplies with one value, made of blocks of W or of R.

    Args:
        name: the name of its array; that of its biases is the same with ``bias_`` before it.
        letter: ``W`` or ``R``.
        blocks: the names of the blocks, one below the other.
        columns: the number of units of the value.
    """

    name: str
    letter: str
    blocks: tuple[str, ...]
    columns: int


@dataclass(frozen=True)
class Layout:
    """What a step does not know about the layer that runs it.

    Args:
        H: the number of units.
        features: the number of features of x.
        rows: the number of rows of each block, by letter and name of the block.
        states: the number of units of each state.
        suffix: the suffix of the names of the matrices, such as ``_l0``.
        real: the type of all numbers, ``float`` or ``double``.
        prefix: what the names of functions begin with.
        constant: stores a value that follows from the parameters alone, and returns the expression
            of its array.
        product: writes the product of a matrix with an array into another array, with its bias.
    """

    H: int
    features: int
    rows: Mapping[tuple[str, str], int]
    states: Mapping[str, int]
    suffix: str
    real: str
    prefix: str
    constant: Callable[[Node], str]
    product: Callable[[MatrixUse, str, str], list[str]]


class StepOrder:
    """The order of the values of a step.

    Attributes:
        nodes: all values that are needed, in an order in which they can be computed.
        product: the product of each node that is one.
        stages: the stage of each value. What reads whole rows comes first in a stage.
        widths: the number of units of each value; 1 for a single number.
        uses: how often each value is read; one that is read in another loop, as if more often.
        called: the name of each value that the step returns.
    """

    def __init__(self, step: Step, layout: Layout) -> None:
        self.step, self.layout = step, layout
        self.product = {p.result: p for p in step.products}
        self.roots = [*step.states.values(), step.output]
        self.nodes = in_order(self.roots, self.needed_by)
        self.stages: dict[Node, int] = {}
        self.widths: dict[Node, int] = {}
        for node in self.nodes:
            self.stages[node] = self._stage(node)
            self.widths[node] = self._width(node)
        returned = {**step.others, **step.states, step.cell.output_name: step.output}
        self.called = {v: f"{identifier(k)}_t" for k, v in returned.items() if isinstance(v, Node)}
        self.uses = self._uses()

    def needed_by(self, node: Node) -> Sequence[Operand]:
        """The values that have to be computed before a node."""
        if self.is_outside(node):
            return []
        return [self.product[node].operand] if node in self.product else node.args

    def is_constant(self, node: Node) -> bool:
        """Whether the value follows from parameters alone, so that no step has to compute it."""
        return node.kind == "unit" and node.op != "parameter"

    def is_outside(self, node: Operand) -> bool:
        """Whether the value comes from outside the step."""
        if not isinstance(node, Node) or self.is_constant(node):
            return True
        return node.op in LEAVES and node not in self.product

    def is_across(self, node: Node) -> bool:
        """Whether the node reads other units than its own."""
        if self.is_constant(node):
            return False
        return node in self.product or node.op in ACROSS or isinstance(node.rule, Map)

    def _stage(self, node: Node) -> int:
        needed = [a for a in self.needed_by(node) if isinstance(a, Node)]
        latest = max((self.stages[a] for a in needed), default=0)
        is_later = self.is_across(node) and not all(map(self.is_outside, needed))
        return latest + is_later

    def _width(self, node: Node) -> int:
        """The number of units of a row; 1 for a single number."""
        if node in self.product:
            p = self.product[node]
            return self.layout.rows[p.matrix, p.block]
        if node.kind not in ("row", "unit"):
            return 1
        if node.op == "state":
            return self.layout.states[node.name]
        if (node.op, node.name) == ("input", "x"):
            return self.layout.features
        if isinstance(node.rule, Map) or self.is_outside(node) or node.op == "spread":
            return node.width.at(self.layout.H)
        # A projected state has fewer units than its node says.
        rows = [a for a in node.args if isinstance(a, Node) and a.kind in ("row", "unit")]
        return max(self.widths[a] for a in rows)

    def _uses(self) -> Counter[Node]:
        """How often each value is read; one that is read in another loop, as if more often."""
        uses: Counter[Node] = Counter()
        for node in self.nodes:
            for a in self.needed_by(node):
                if isinstance(a, Node):
                    is_near = self.stages[a] == self.stages[node] and not self.is_across(node)
                    uses[a] += 1 if is_near else 2
        # A value that the step returns gets a name, so that the text reads like the equations.
        for root in (*self.roots, *self.called):
            if isinstance(root, Node):
                uses[root] += 2
        return uses

    def readers(self, node: Node) -> list[Node]:
        """The nodes that read a value."""
        return [n for n in self.nodes if any(a is node for a in self.needed_by(n))]
