"""The graph on the lecture page: its boxes, its edges, and where they stand."""

import re
import xml.etree.ElementTree as ET

import torch

import throughtime as tt
from throughtime.inspection.lecture.diagram import diagram
from throughtime.inspection.lecture.drawing import drawn
from throughtime.inspection.lecture.layout import Size, layered
from throughtime.kernels.printing.equations import equations_of, named_graphs


def diagram_of(cell):
    step, back = named_graphs(cell)
    return diagram(step, equations_of(cell, step, back).forward_lines)


def plain(label):
    return re.sub(r"[_^]\{([^}]*)\}", r"\1", label)


def described(cell):
    """For each box what stands in it, its name, and what it reads."""
    graph = diagram_of(cell)
    words = [plain(" ".join(box.lines)) for box in graph.boxes]
    names = [plain(", ".join(box.names)) for box in graph.boxes]
    lines = []
    for number, box in enumerate(graph.boxes):
        reads = [
            plain(edge.label + (names[edge.source] or words[edge.source]))
            for edge in graph.edges
            if edge.target == number
        ]
        name = f"{names[number]} = " if box.names else ""
        lines.append(f"{name}{words[number]} <- {', '.join(reads)}" if reads else words[number])
    return lines


def test_the_peephole_lstm_is_drawn_as_in_the_lecture():
    assert described(tt.cells.get("lstm-peephole")) == [
        "xt",
        "ht−1",
        "ct−1",
        "Wz xt + Rz ht−1 + bz <- xt, ht−1",
        "zt = tanh <- Wz xt + Rz ht−1 + bz",
        "Wi xt + Ri ht−1 + pi ⊙ ct−1 + bi <- xt, ht−1, ct−1",
        "it = σ <- Wi xt + Ri ht−1 + pi ⊙ ct−1 + bi",
        "Wf xt + Rf ht−1 + pf ⊙ ct−1 + bf <- xt, ht−1, ct−1",
        "ft = σ <- Wf xt + Rf ht−1 + pf ⊙ ct−1 + bf",
        "× <- it, zt",
        "× <- ft, ct−1",
        "+ <- ×, ×",
        "Wo xt + Ro ht−1 + po ⊙ ct + bo <- xt, ht−1, +",
        "ot = σ <- Wo xt + Ro ht−1 + po ⊙ ct + bo",
        "tanh <- +",
        "× <- ot, tanh",
        "ht <- ×",
        "ct <- +",
    ]


class Mixed(tt.Cell):
    """Numbers, weights, choices and quotients, a constant, and a state that is handed on."""

    gates, states, parameters = ("h",), ("h", "x_before", "one"), ("p",)
    recurrent_blocks = ("h", "g")

    def step(self, x, W, R, s, p):
        pace = torch.sigmoid(p.p)
        a = torch.tanh(W.h(x) - R.g(pace * s.h * s.x_before))
        b = torch.where(a > 0.5, a, -s.h) / (2 + torch.exp(s.h))
        h = 0.9 * b - pace * a + torch.maximum(a, b) * s.one
        return dict(h=h, x_before=s.h, one=torch.ones_like(h))


def test_numbers_and_weights_stand_in_the_operations_that_use_them():
    # A state that is handed on reads its state, and one that is a number reads that.
    assert described(Mixed()) == [
        "xt",
        "ht−1",
        "xbefore,t−1",
        "onet−1",
        "1",
        "ut = pace × <- xbefore,t−1, ht−1",
        "Wh xt − Rg ut + bh <- xt, ut",
        "at = tanh <- Wh xt − Rg ut + bh",
        "· > 0.5 <- at",
        "− · <- ht−1",
        "choice <- if· > 0.5, thenat, else− ·",
        "exp <- ht−1",
        "2 + · <- exp",
        "bt = ÷ <- abovechoice, below2 + ·",
        "max <- at, bt",
        "× <- onet−1, max",
        "+ <- 0.9bt, −paceat, ×",
        "ht <- +",
        "xbefore,t <- ht−1",
        "onet <- 1",
    ]


def test_no_boxes_overlap_and_all_edges_run_to_the_right():
    for cell in [Mixed(), *map(tt.cells.get, tt.cells.names())]:
        graph = diagram_of(cell)
        svg = ET.fromstring(drawn(graph, cell.title))
        rectangles = [
            [float(box.find("rect").get(key)) for key in ("x", "y", "width", "height")]
            for box in svg.iter("g")
        ]
        assert len(rectangles) == len(graph.boxes)
        for number, (x, y, width, height) in enumerate(rectangles):
            for x2, y2, width2, height2 in rectangles[:number]:
                is_apart = x + width <= x2 or x2 + width2 <= x
                assert is_apart or y + height <= y2 or y2 + height2 <= y
        for edge in graph.edges:
            x, _, width, _ = rectangles[edge.source]
            assert x + width < rectangles[edge.target][0]
        left, top, width, height = map(float, svg.get("viewBox").split())
        for x, y, w, h in rectangles:
            assert left <= x
            assert top <= y
            assert x + w <= left + width
            assert y + h <= top + height


def test_boxes_are_ordered_so_that_few_edges_cross():
    # Two chains whose second boxes are listed the wrong way round.
    box = Size(10, 10)
    layout = layered([box] * 4, [(0, 3), (1, 2)], 20, 20)
    y = [place.y for place in layout.places]
    assert (y[0] < y[1]) == (y[3] < y[2])
    assert y[0] == y[3]
