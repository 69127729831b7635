r"""``graph -> text, LaTeX, MathML``: a cell's equations, and the backward step derived from them.

The printed equations are read from the graph that the kernels are generated from, so that the two
cannot differ. Only the form changes: values get the names under which the step returns them, or
those of its local variables, a longer expression that occurs more than once gets a name of its own,
and common factors are taken out of brackets.

Notation: ``W_i x_t`` is the product of a matrix and a vector, ``*`` the elementwise product;
``dc_t`` is the gradient of c_t; ``δi_t`` is the gradient of the argument of gate i's nonlinearity;
``dc'_t`` is the part of dc_t that comes from step t + 1; ``Δ_t`` is the gradient of the output that
comes from the loss.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from throughtime.cells.cell import Cell
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.lines import Line, Printer, in_order
from throughtime.kernels.printing.mathml import MATHML, aligned, commented
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.shorthands import name_repeated_values
from throughtime.kernels.printing.text import as_text

__all__ = ["Equations", "describe", "equations_of", "named_graphs"]


@dataclass(frozen=True)
class Equations:
    """The equations of a cell and of its backward step.

    Args:
        title: the name of the cell, with its constants.
        output: the name of the layer's output.
        forward_lines: the equations of one step, in an order in which they can be computed.
        backward_lines: the equations of its backward step, likewise; last come the gradients of
            the previous states and of the inputs.
        gradient_lines: the gradients of the weights, which are sums over all steps.
        note: a remark on the equations; empty if there is none.
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
        """All equations as text; an equation longer than ``width`` is broken into lines."""
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

    def mathml(self) -> str:
        """The equations as ``<math>`` elements: forward, backward, gradients of the weights."""
        parts = (self.forward_lines, self.backward_lines, self.gradient_lines)
        blocks = [aligned(line.written(MATHML) for line in lines) for lines in parts if lines]
        return commented(self.note) + "".join(blocks)


def _wrapped(start: str, value: str, width: int) -> list[str]:
    """The lines of an equation that begins with ``start``, broken before + and -."""
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


def named_graphs(cell: Cell) -> tuple[NamedStep, NamedGradients]:
    """The graph of a step and that of its backward step, with the names of the equations.

    Raises:
        Untraceable: as :func:`describe` does.
    """
    step = NamedStep(cell)
    back = NamedGradients(step)
    name_repeated_values(step, back)
    return step, back


def describe(cell: Cell) -> Equations:
    """The equations of a cell, and the backward step that follows from them.

    Args:
        cell: any cell, registered or not.

    Raises:
        Untraceable: if the step cannot become a graph; the message says why.

    >>> from throughtime import cells
    >>> for name, value in describe(cells.get("rnn-tanh")).backward[:3]:
    ...     print(name, "=", value)
    dh_t = Δ_t + dh'_t
    δh_t = dh_t * (1 - h_t^2)
    dh'_{t-1} = R_h^T δh_t
    """
    return equations_of(cell, *named_graphs(cell))


def equations_of(cell: Cell, step: NamedStep, back: NamedGradients) -> Equations:
    """The equations of a cell from its graphs, which :func:`named_graphs` returns."""
    printer = Printer(step, back)
    title = cell.title
    if cell.constants:
        title += ", " + ", ".join(f"{k} = {v}" for k, v in cell.constants.items())
    return Equations(
        title=title,
        output=as_text(step.written_output),
        forward_lines=tuple(in_order(printer.lines(step.forward))),
        backward_lines=(*in_order(printer.lines(back.backward)), *printer.flows()),
        gradient_lines=tuple(printer.gradient_lines()),
        note=_TRANSFORMED if cell.has_transform else "",
    )
