"""``graph -> JavaScript``: a step and its derived backward step, for a page that computes them.

The printed module exports ``step(w, u)``, where ``w`` has the weights and ``u`` the input, the
further inputs and the previous states, all by their printed names. It returns

- ``values``: the named values of the step,
- ``states`` and ``output``: the next states by name, and the output,
- ``backward(d)``: the backward step. ``d`` has the gradients that arrive: that of the output from
  the loss, and those of the states from the next step. It returns the named gradients as
  ``values``, the gradients of the new states as ``states``, and those that go on: ``before`` for
  the previous states, and ``inputs`` for x and the further inputs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files

from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import LEAVES, Node, Operand
from throughtime.kernels.graph.maps import Map
from throughtime.kernels.printing.expressions import Name
from throughtime.kernels.printing.formulas import (
    AND,
    CHOICE,
    EQUAL,
    LESS,
    OR,
    PRODUCT,
    SUM,
    Formulas,
    in_brackets,
    in_order,
)
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.names import STEP_INPUTS, NamedStep
from throughtime.kernels.printing.text import as_text

__all__ = ["FUNCTIONS", "arithmetic", "identifier", "javascript"]

_INFIX = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "fmod": ("%", PRODUCT),
    "less": ("<", LESS),
    "less_equal": ("<=", LESS),
    "equal": ("===", EQUAL),
    "both": ("&&", AND),
    "either": ("||", OR),
}
_PREFIX = {"neg": "-", "negate": "!"}
_CALLS = {
    **{
        name: f"Math.{name}"
        for name in ("tanh", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "pow", "abs")
    },
    **{name: f"Math.{name}" for name in ("sign", "floor", "ceil", "trunc")},
    "maximum": "Math.max",
    "minimum": "Math.min",
    "sigmoid": "sigmoid",
    "log_sigmoid": "logSigmoid",
    "softplus": "softplus",
    "erf": "erf",
    "round": "roundHalfToEven",
    "remainder": "remainder",
}
_ACROSS = {"row_sum": "total", "row_max": "largest"}
_OTHER = ("reciprocal", "rsqrt", "relu", "where", "stop")

FUNCTIONS = frozenset({*_INFIX, *_PREFIX, *_CALLS, *_ACROSS, *_OTHER})
"""The operations of the graph that can be printed: all of them."""


def arithmetic() -> str:
    """The module whose functions a printed step calls; they have to be in its scope."""
    return files("throughtime.kernels.printing").joinpath("arithmetic.js").read_text("utf-8")


def javascript(step: NamedStep, back: NamedGradients, H: int) -> str:
    """The function ``step`` as JavaScript; see above.

    Args:
        step, back: the graphs with their names.
        H: the number of units, which the printed step has as a number.

    Raises:
        Untraceable: if the step cannot run with so many units, or multiplies a matrix with a value
            that has one number for all units.
    """
    if problem := step.graph.problem(H):
        raise Untraceable(problem)
    return _Writer(step, back, H).module()


class _Writer(Formulas):
    """Writes the statements of a step.

    Attributes:
        names: the identifier of each node that has a statement, or is an argument.
    """

    infix, prefix = _INFIX, _PREFIX

    def __init__(self, step: NamedStep, back: NamedGradients, H: int) -> None:
        super().__init__(H)
        self.step, self.back = step, back
        self.names: dict[Node, str] = {}
        self._name_arguments()
        self.uses = self._uses()

    def module(self) -> str:
        """The whole text."""
        forward = self._statements(self._forward_roots)
        backward = self._statements(self._backward_roots)
        return "\n".join(
            [
                "export function step(w, u) {",
                *(f"  {line}" for line in forward),
                "  function backward(d) {",
                *(f"    {line}" for line in backward),
                "    return {",
                f"      values: {self._object(_texts(self.back.backward))},",
                f"      states: {self._rows(self._gradients_of_states)},",
                f"      before: {self._object_of(self._flows(self._states))},",
                f"      inputs: {self._object_of(self._flows(self._inputs))},",
                "    };",
                "  }",
                "  return {",
                f"    values: {self._object(_texts(self.step.forward))},",
                f"    states: {self._rows(self._next_states)},",
                f"    output: {self._row(self.step.values[self.step.output])},",
                "    backward,",
                "  };",
                "}\n",
            ]
        )

    # What is computed.

    @property
    def _next_states(self) -> Mapping[str, Operand]:
        return {name: self.step.values[name] for name in self.step.state}

    @property
    def _states(self) -> dict[str, Node]:
        return {name: self.step.graph.leaf("state", name) for name in self.step.state}

    @property
    def _inputs(self) -> dict[str, Node]:
        return {n: self.step.graph.leaf("input", n) for n in ("x", *self.step.cell.given_inputs)}

    @property
    def _gradients_of_states(self) -> Mapping[str, Operand]:
        """The whole gradient of each next state.

        A next state that is an argument of the step, like a previous state, has no gradient of its
        own in the graph: it gets what arrives from the next step, and from the loss.
        """
        totals: dict[str, Operand] = {}
        for name, value in self._next_states.items():
            totals[name] = self.step.graph.leaf("gradient", f"state:{name}")
            if isinstance(value, Node) and value.op not in STEP_INPUTS:
                totals[name] = self.back.d[value]
            elif name == self.step.output:
                loss = self.step.graph.leaf("gradient", "output")
                totals[name] = self.step.graph.node("add", totals[name], loss)
        return totals

    @property
    def _forward_roots(self) -> list[Operand]:
        return [*self.step.forward.values(), *self.step.values.values()]

    @property
    def _backward_roots(self) -> list[Operand]:
        leaves = [*self._states.values(), *self._inputs.values()]
        roots: list[Operand] = [*self.back.backward.values(), *self._gradients_of_states.values()]
        for leaf in leaves:
            roots += [self.back.d[leaf], *(self.back.d[p.result] for p in self._products_of(leaf))]
        return roots

    def _products_of(self, operand: Node) -> Iterable:
        """The products with a value through which a gradient comes back to it."""
        return [
            p for p in self.step.products if p.operand is operand and p.result in self.back.delta
        ]

    def _needed_by(self, node: Node) -> list[Operand]:
        """The values that have to be computed before a node."""
        if node in self.step.of_leaf:
            return [self.step.of_leaf[node].operand]
        if node in self.back.operand_of_seed:
            operand = self.back.operand_of_seed[node]
            return [self.back.d[p.result] for p in self._products_of(operand)]
        return list(node.args)

    def _uses(self) -> Counter[Node]:
        """How often each value is read."""
        roots = [*self._forward_roots, *self._backward_roots]
        uses: Counter[Node] = Counter()
        for node in in_order(roots, self._needed_by):
            times = 2 if node.op in _ACROSS or isinstance(node.rule, Map) else 1
            for a in self._needed_by(node):
                if isinstance(a, Node):
                    uses[a] += times
        # What is returned, or read as a whole row, needs an identifier: it counts twice.
        for root in roots:
            if isinstance(root, Node):
                uses[root] += 2
        for p in self.step.products:
            uses[p.operand] += 2
            if isinstance(d := self.back.d.get(p.result), Node):
                uses[d] += 2
        return uses

    # Names.

    def _name_arguments(self) -> None:
        named = {**self._states, **self._inputs}
        drawn = self.step.cell.drawn_inputs
        named |= {name: self.step.graph.leaf("random", name) for name in drawn}
        for node in named.values():
            self.names[node] = f"u.{identifier(self.step.names[node])}"
        for name, written in self.step.parameters.items():
            node = self.step.graph.leaf("parameter", name, "unit")
            self.names[node] = f"w.{identifier(written)}"
        for name, spec in self.step.cell.given_inputs.items():
            if spec.size == 1:
                # The step reads the number in each unit.
                self.names.pop(named[name])
        for seed in self._arriving:
            self.names[seed] = f"d.{identifier(self.step.names[seed])}"

    @property
    def _arriving(self) -> list[Node]:
        names = [*(f"state:{name}" for name in self.step.state), "output"]
        return [self.step.graph.leaf("gradient", name) for name in names]

    def _new_name(self, node: Node) -> str:
        if node in self.step.names:
            return identifier(self.step.names[node])
        return f"v{len(self.names)}"

    # Statements and expressions.

    def _statements(self, roots: Iterable[Operand]) -> list[str]:
        lines = []
        for node in in_order(roots, self._needed_by):
            if node in self.names or self._is_number(node) or self._is_inside(node):
                continue
            value = self._value(node)
            self.names[node] = self._new_name(node)
            lines.append(f"const {self.names[node]} = {value};")
        return lines

    def _is_number(self, node: Node) -> bool:
        return node.op in ("units", "size")

    def _is_inside(self, node: Node) -> bool:
        """Whether a value is written where it is used: once, and by its own unit alone."""
        own = node.op not in LEAVES and node.op not in (*_ACROSS, "map", "spread")
        return own and node not in self.step.names and self.uses[node] < 2

    def _value(self, node: Node) -> str:
        """The right side of a statement."""
        if node in self.step.of_leaf:
            return self._product(node)
        if node in self.back.operand_of_seed:
            return self._sent_to(self.back.operand_of_seed[node], None)
        if node.op in ("input", "random"):
            return self._repeated(f"u.{identifier(self.step.names[node])}")
        if node.op in _ACROSS:
            return f"{_ACROSS[node.op]}({self._whole(node.args[0])})"
        if isinstance(node.rule, Map):
            written, read = (json.dumps(v.tolist()) for v in node.rule.pairs(self.H))
            width, whole = node.rule.width.at(self.H), self._whole(node.args[0])
            return f"moved({width}, {written}, {read}, {whole})"
        if node.op == "spread":
            return f"row({node.width.at(self.H)}, () => {self.element(node.args[0], CHOICE)})"
        if node.kind in ("row", "unit"):
            return f"row({node.width.at(self.H)}, (k) => {self.formula(node, CHOICE)})"
        return self.formula(node, CHOICE)

    def _product(self, leaf: Node) -> str:
        product = self.step.of_leaf[leaf]
        if product.operand.kind not in ("row", "unit"):
            block = f"{product.matrix}.{product.block}"
            raise Untraceable(f"{block} is applied to a value with one number for all units")
        matrix = self.step.matrices[product.matrix, product.block]
        bias = self.step.of_bias.get((product.matrix, product.block))
        has_bias = bias is not None and leaf not in self.step.bias_is_elsewhere
        arguments = [f"w.{identifier(matrix)}", self._whole(product.operand)]
        arguments += [f"w.{identifier(bias)}"] if has_bias and bias is not None else []
        return f"product({', '.join(arguments)})"

    def _sent_to(self, operand: Node, direct: str | None) -> str:
        """The gradient that comes back through products, added to what comes without any."""
        terms = [] if direct is None else [direct]
        for p in self._products_of(operand):
            matrix = identifier(self.step.matrices[p.matrix, p.block])
            terms.append(f"transposed(w.{matrix}, {self._row(self.back.d[p.result])})")
        return terms[0] if len(terms) == 1 else f"sum({', '.join(terms)})"

    def _whole(self, value: Operand) -> str:
        """The identifier of a row."""
        assert isinstance(value, Node)
        return self.names[value]

    # The parts of a formula; see Formulas.

    def number(self, value: float) -> str:
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return "NaN" if math.isnan(value) else repr(value).removesuffix(".0")

    def known(self, node: Node) -> str | None:
        if node not in self.names:
            return None
        return f"{self.names[node]}[k]" if node.kind in ("row", "unit") else self.names[node]

    def call(self, op: str, args: list[str]) -> str:
        function, more = ("Math.max", ["0"]) if op == "relu" else (_CALLS[op], [])
        return f"{function}({', '.join([*args, *more])})"

    def choice(self, mask: Operand, yes: Operand, no: Operand, level: int) -> str:
        condition, first, second = (self.element(a, OR) for a in (mask, yes, no))
        return in_brackets(f"{condition} ? {first} : {second}", CHOICE, level)

    # What is returned.

    def _row(self, value: Operand) -> str:
        """The value as a row of H units."""
        if isinstance(value, Node) and value.kind in ("row", "unit"):
            return self._whole(value)
        return self._repeated(self.element(value, CHOICE))

    def _repeated(self, number: str) -> str:
        return f"row({self.H}, () => {number})"

    def _flows(self, leaves: Mapping[str, Node]) -> dict[str, str]:
        """The whole gradient of each leaf: from elementwise operations, and from products."""
        flows = {}
        for name, leaf in leaves.items():
            d, direct = self.back.d[leaf], None
            if isinstance(d, Node) or not self._products_of(leaf):
                direct = self._row(d)
            flows[name] = self._sent_to(leaf, direct)
            if leaf.op == "input" and name != "x" and self._is_one_number(name):
                flows[name] = f"total({flows[name]})"
        return flows

    def _is_one_number(self, name: str) -> bool:
        return self.step.cell.given_inputs[name].size == 1

    def _rows(self, values: Mapping[str, Operand]) -> str:
        return self._object_of({name: self._row(value) for name, value in values.items()})

    def _object(self, values: Mapping[str, Operand]) -> str:
        written = {
            name: self._whole(v)
            if isinstance(v, Node) and v in self.names
            else self.element(v, CHOICE)
            for name, v in values.items()
        }
        return self._object_of(written)

    def _object_of(self, values: Mapping[str, str]) -> str:
        inside = ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {v}" for k, v in values.items())
        return f"{{ {inside} }}" if inside else "{}"


def _texts(named: Mapping[Name, Operand]) -> dict[str, Operand]:
    return {as_text(name): value for name, value in named.items()}


def identifier(name: Name) -> str:
    """The name as an identifier: ``c_before`` for c_{t-1}, ``dcʹ_t`` with a letter for the prime.

    A name without a time ends in an underscore if it has no index, since it may be a word of
    JavaScript.
    """
    time = {"": "" if "_" in name.base else "_", "t": "_t", "t-1": "_before"}[name.time]
    return f"{name.mark}{name.base}{'ʹ' * name.prime}{time}"
