"""Names for what is used more than once and takes more than a glance."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from throughtime.kernels.graph.graph import LEAVES, Node, Operand, reachable
from throughtime.kernels.printing.expressions import Name, parts_of
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.lines import Writer, in_order
from throughtime.kernels.printing.names import NamedStep

__all__ = ["name_what_is_used_twice"]


def name_what_is_used_twice(step: NamedStep, back: NamedGradients) -> None:
    """Gives names, and equations, to what would be written more than once."""
    _Shorthands(step, back).find()


class _Shorthands:
    """What has a name only because it is used twice; ``held`` while it is not yet certain."""

    def __init__(self, step: NamedStep, back: NamedGradients) -> None:
        self.step, self.back = step, back
        self.writer = Writer(step, back)
        self.held: dict[Node, Name] = {}

    def find(self) -> None:
        """Names for what is written more than once; those that turn out not to be, go again."""
        once: set[Node] = set()
        while True:
            while (node := self._outermost_used_twice(once)) is not None:
                if node in self.back.sent and self.back.sent[node] not in self.step.names:
                    # What is sent to a value is called after the value, so that needs a name.
                    node = self.back.sent[node]
                name = Name(f"?{node.index}", of_gradient=self._has_gradient(node))
                self.held[node] = self.step.names[node] = name
                self._equations_with(node)[name] = node
            lines = [*self.writer.lines(self.step.forward), *self.writer.lines(self.back.backward)]
            lines += [*self.writer.flows(), *self.writer.gradient_lines()]
            written = Counter(part for line in lines for part in parts_of(line.value))
            again = [n for n, h in self.held.items() if written[h] < 2 or self._is_simple(n)]
            if not again:
                break
            for node in again:
                name = self.held.pop(node)
                del self.step.names[node]
                self._equations_with(node).pop(name)
            once.update(again)
        self._name_for_good()

    def _equations_with(self, node: Node) -> dict[Name, Operand]:
        return self.step.forward if node in self.step.shown_set else self.back.backward

    def _outermost_used_twice(self, once: set[Node]) -> Node | None:
        ahead, back = self._references()
        wanted = [
            n
            for n in {**ahead, **back}
            if n not in self.step.names
            and n not in once
            and (max(ahead[n], back[n]) > 1 or (ahead[n] + back[n] > 1 and self._multiplies(n)))
            and not self._is_simple(n)
        ]
        return max(wanted, key=lambda n: n.index, default=None)

    def _multiplies(self, node: Node) -> bool:
        """Whether a matrix stands in the value as it would be written."""
        inner = [a for a in node.args if isinstance(a, Node) and a not in self.step.names]
        return node.op == "product" or any(map(self._multiplies, inner))

    def _name_for_good(self) -> None:
        """Names that say what the values are where there are such, else letters in their order."""
        of_held = {name: node for node, name in self.held.items()}
        bases = {re.sub(r"\d+$", "", name.base) for name in self.step.names.values()}
        letters = [
            next((a for a in options if a not in bases), options[0]) for options in ("uvwsy", "egk")
        ]
        for equations, letter in zip((self.step.forward, self.back.backward), letters, strict=True):
            order = [line.name for line in in_order(self.writer.lines(equations))]
            held = [of_held[name] for name in order if isinstance(name, Name) and name in of_held]
            new: dict[Name, Name] = {}
            nameless: list[Node] = []
            for node in held:
                wish = self._wish(node)
                if wish is None:
                    nameless.append(node)
                else:
                    new[self.held[node]] = self.step.names[node] = self.step.take(*wish)
            for number, node in enumerate(nameless, 1):
                name = self.step.take(f"{letter}{number if len(nameless) > 1 else ''}")
                name = replace(name, of_gradient=self._has_gradient(node))
                new[self.held[node]] = self.step.names[node] = name
            renamed = [(new.get(name, name), node) for name, node in equations.items()]
            equations.clear()
            equations.update(renamed)

    @staticmethod
    def _has_gradient(node: Node) -> bool:
        return any(n.op == "gradient" for n in reachable([node]))

    def _references(self) -> tuple[Counter[Node], Counter[Node]]:
        """How often each value is written, in the forward equations and in the backward ones."""
        counts: tuple[Counter[Node], Counter[Node]] = Counter(), Counter()
        forward_roots = [*self.step.forward.values()]
        back = [*self.back.backward.values()]
        loose = [d for v, d in self.back.d.items() if v.op in ("state", "parameter", "input")]
        for count, roots in zip(counts, (forward_roots, [*back, *loose]), strict=True):
            seen: set[Node] = set()

            def visit(node: Node, count: Counter[Node] = count, seen: set[Node] = seen) -> None:
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
        """Whether it takes no more than a glance: tanh(c_t), 1 - z_t, 1 - n_t^2."""
        never = ("product", "gradient", "row_sum", "row_max", "map", "where")
        if node.op in never:
            return False
        inner, waiting, made = set[Node](), [node], set[Node]()
        while waiting:
            made.add(found := waiting.pop())
            for a in found.args:
                if isinstance(a, Node):
                    if a in self.step.names:
                        inner.add(a)
                    elif a.op in never:
                        return False
                    else:
                        waiting.append(a)
        return len(inner) <= 1 and len(made) <= 3

    def _wish(self, node: Node) -> tuple[str, str] | None:
        """The base and the mark of a name that says what the value is, if there is one."""
        if node in self.step.shown_set:
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
            if len(gates) == 1 and (is_sum or f"{gates[0]}_t" not in self.step.taken):
                return (f"a_{gates[0]}" if is_sum else gates[0]), ""
            return None
        names = self.step.names
        found = [v for v, d in self.back.d.items() if d is node and v in names]
        of = [v for v in found if v.op not in LEAVES]
        of = [self.back.sent[node]] if node in self.back.sent else of
        return (names[of[0]].base, "d") if of else None
