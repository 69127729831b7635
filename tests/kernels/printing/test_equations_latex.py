"""`throughtime equations --latex` prints valid TeX in the notation of papers."""

import re
from functools import cache

import throughtime as tt
from throughtime.kernels.printing.equations import describe


@cache
def typeset(line):
    """Raises if matplotlib, which knows a subset of TeX, cannot parse the text."""
    from matplotlib.mathtext import MathTextParser

    MathTextParser("path").parse(f"${line}$")


def test_latex_can_be_typeset_line_by_line(printed_cell):
    equations = describe(printed_cell)
    first, *lines, last = [
        line for line in equations.latex().splitlines() if not line.startswith("%")
    ]
    assert (first, last) == (r"\begin{align*}", r"\end{align*}")
    assert len(lines) == len(equations.forward) + len(equations.backward)
    for number, line in enumerate(lines, 1):
        assert line.count(" &= ") == 1
        assert line.count("&") == 1
        bare = re.sub(r" \\\\(\[1ex\])?$", "", line)
        assert (bare == line) == (number == len(lines))
        assert bare.count("{") == bare.count("}")
        typeset(bare.replace("&", "").strip())


def test_latex_has_the_notation_of_a_paper():
    latex = describe(tt.cells.get("lstm-peephole")).latex()
    assert r"i_{t} &= \sigma(W_{i} x_{t} + R_{i} h_{t-1} + p_{i} \odot c_{t-1} + b_{i}) \\" in latex
    assert r"\delta z_{t} &= \mathrm{d}c_{t} \odot i_{t} \odot (1 - z_{t}^{2}) \\" in latex
    assert r"\mathrm{d}p_{o} &= \sum_t \delta o_{t} \odot c_{t}" in latex
    assert r"\frac{" in describe(tt.cells.get("min-lstm")).latex()
