r"""``graph -> text and LaTeX``: the equations of a cell, and the backward step derived from them.

What is printed is the graph that the kernels are made of and its derivative, not a second
statement. Only the form is worked on: values get the names that the step returns, what is used
more than once and takes more than a glance gets a name of its own, common factors stand before a
bracket.

Letters: ``W_i x_t`` a product of a matrix and a vector, ``*`` elementwise; ``dc_t`` the gradient of
a value, ``δi_t`` that of what enters gate i, before its nonlinearity; ``dc'_t`` the part of dc_t
that step t + 1 sends back; ``Δ_t`` the gradient that the loss sends to the output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from throughtime.cells.cell import Cell
from throughtime.kernels.printing.expressions import write_expression
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.lines import Line, Writer, in_order
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.shorthands import name_what_is_used_twice

__all__ = ["Equations", "describe"]


@dataclass(frozen=True)
class Equations:
    """The equations of a cell and of its backward step.

    Args:
        title: the name of the cell.
        output: the name of what the layer gives out.
        forward_lines: one step, in an order in which it can be computed.
        backward_lines: its backward step, likewise; last what goes to the step before, and dx_t.
        gradient_lines: the gradients of the weights, sums over all steps.
        note: what else is to be known.
    """

    title: str
    output: str
    forward_lines: tuple[Line, ...]
    backward_lines: tuple[Line, ...]
    gradient_lines: tuple[Line, ...]
    note: str = ""

    @property
    def forward(self) -> list[tuple[str, str]]:
        """The forward equations, each a name and a text."""
        return [line.text() for line in self.forward_lines]

    @property
    def backward(self) -> list[tuple[str, str]]:
        """The backward step and then the gradients of the weights, each a name and a text."""
        return [line.text() for line in (*self.backward_lines, *self.gradient_lines)]

    def text(self, width: int = 96) -> str:
        """All equations as text, long ones in several lines."""
        back = (
            f"backward, t = T ... 1; Δ_t comes from the loss to {self.output}, "
            "the primed from step t + 1"
        )
        parts = [
            ("forward, t = 1 ... T", self.forward_lines),
            (back, self.backward_lines),
            ("gradients of the weights", self.gradient_lines),
        ]
        out = [self.title]
        for heading, lines in parts:
            out += ["", heading]
            for name, value in (line.text() for line in lines):
                out += _wrapped(f"  {name} = ", value, width)
        out += ["", self.note] if self.note else []
        return "\n".join(out) + "\n"

    def latex(self) -> str:
        """All equations as an ``align*`` block of amsmath."""
        parts = (self.forward_lines, self.backward_lines, self.gradient_lines)
        blocks = [" \\\\\n".join(f"  {line.latex()}" for line in lines) for lines in parts if lines]
        body = " \\\\[1ex]\n".join(blocks)
        note = f"% {self.note}\n" if self.note else ""
        return f"{note}\\begin{{align*}}\n{body}\n\\end{{align*}}\n"


def _wrapped(start: str, value: str, width: int) -> list[str]:
    lines, line = [], start
    for number, word in enumerate(re.split(r" (?=[+-] )", value)):
        if number and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = " " * (len(start) - 2) + word
        else:
            line += f" {word}" if number else word
    return [*lines, line]


_TRANSFORMED = (
    "The blocks R are those that transform makes of the learned ones; their gradients go on to "
    "those through it."
)


def describe(cell: Cell) -> Equations:
    """The equations of a cell, and the backward step that follows from them.

    Args:
        cell: any cell, registered or not.

    Raises:
        Untraceable: where the step does what no graph can hold; the message says what.

    >>> from throughtime import cells
    >>> for name, value in describe(cells.get("rnn-tanh")).backward[:3]:
    ...     print(name, "=", value)
    dh_t = Δ_t + dh'_t
    δh_t = dh_t * (1 - h_t^2)
    dh'_{t-1} = R_h^T δh_t
    """
    step = NamedStep(cell)
    back = NamedGradients(step)
    name_what_is_used_twice(step, back)
    writer = Writer(step, back)
    title = cell.title
    if cell.constants:
        given = ", ".join(f"{k} = {v}" for k, v in cell.constants.items())
        title += f", {given}"
    return Equations(
        title=title,
        output=write_expression(step.written_output, False),
        forward_lines=tuple(in_order(writer.lines(step.forward))),
        backward_lines=(*in_order(writer.lines(back.backward)), *writer.flows()),
        gradient_lines=tuple(writer.gradient_lines()),
        note=_TRANSFORMED if cell.has_transform else "",
    )
