"""Draws the graph of a step as inline SVG; lecture.css colours it."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from throughtime.inspection.lecture.diagram import Box, Diagram
from throughtime.inspection.lecture.labels import spans, width_of
from throughtime.inspection.lecture.layout import Place, Size, layered

__all__ = ["drawn"]

# Pixels. The font size of labels is that of lecture.css.
_FONT, _LINE, _MARGIN = 15.0, 21.0, 14.0
_GAP_X, _GAP_Y = 46.0, 22.0
# A name stands above its box.
_NAME = 20.0


def drawn(diagram: Diagram, title: str) -> str:
    """The graph as an ``<svg>`` element.

    Args:
        diagram: the boxes and edges.
        title: what a screen reader reads.
    """
    sizes = [_outer(box) for box in diagram.boxes]
    edges = [(edge.source, edge.target) for edge in diagram.edges]
    layout = layered(sizes, edges, _GAP_X, _GAP_Y)
    places = layout.places
    arrivals = _arrivals(diagram, [path[-2] for path in layout.paths])
    parts = []
    for number, (edge, path) in enumerate(zip(diagram.edges, layout.paths, strict=True)):
        source, target = diagram.boxes[edge.source], diagram.boxes[edge.target]
        start = (path[0].x + _size(source).width / 2, _middle(source, path[0]))
        x = path[-1].x - _size(target).width / 2
        end = (x, _middle(target, path[-1]) + arrivals[number])
        parts.append(f'<path class="edge" d="{_curve(start, path[1:-1], end)}"/>')
        if edge.label:
            parts.append(
                f'<text class="mark" x="{end[0] - 9:.1f}" y="{end[1] - 6:.1f}">'
                f"{spans(edge.label)}</text>"
            )
    parts += [_drawn_box(box, place) for box, place in zip(diagram.boxes, places, strict=True)]
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    return (
        f'<svg class="graph" role="img" aria-label="{escape(title)}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="{-_MARGIN} {-_MARGIN} {width:.1f} {height:.1f}">\n'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="head" d="M0 0.5 L8 4 L0 7.5 z"/></marker>'
        "</defs>\n" + "\n".join(parts) + "\n</svg>"
    )


def _size(box: Box) -> Size:
    """The size of the box itself, without its name."""
    is_round = box.kind == "operation" and len(box.lines[0]) == 1
    if is_round:
        return Size(30.0, 30.0)
    width = max(width_of(line) for line in box.lines) * _FONT + 24
    return Size(max(width, 44.0), len(box.lines) * _LINE + 12)


def _outer(box: Box) -> Size:
    """The size with the room for a name above the box, and as much below."""
    size = _size(box)
    name = ", ".join(box.names)
    width = max(size.width, width_of(name) * _FONT)
    return Size(width, size.height + (_NAME if name else 0), box.kind == "after")


def _middle(box: Box, place: Place) -> float:
    return place.y + (_NAME / 2 if box.names else 0)


def _arrivals(diagram: Diagram, last: list[Place]) -> list[float]:
    """How far above or below the middle of its target each edge arrives: in the order of y."""
    offsets = [0.0] * len(last)
    for target, box in enumerate(diagram.boxes):
        arriving = [n for n, edge in enumerate(diagram.edges) if edge.target == target]
        arriving.sort(key=lambda n: last[n].y)
        room = min(_size(box).height * 0.6, 15.0 * (len(arriving) - 1))
        if box.kind == "operation":
            room = min(room, 16.0)
        for number, n in enumerate(arriving):
            offsets[n] = room * (number / max(len(arriving) - 1, 1) - 0.5) if room else 0.0
    return offsets


def _curve(start: tuple[float, float], through: list[Place], end: tuple[float, float]) -> str:
    """A path that leaves and arrives horizontally, and is level within the layers it crosses."""
    points = [start]
    for place in through:
        points += [(place.x - place.layer_width / 2, place.y)]
        points += [(place.x + place.layer_width / 2, place.y)]
    points.append(end)
    path = f"M{start[0]:.1f} {start[1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        path += f" C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    return path


def _drawn_box(box: Box, place: Place) -> str:
    size, y = _size(box), _middle(box, place)
    left, top = place.x - size.width / 2, y - size.height / 2
    radius = 15 if size.width == size.height == 30.0 else 6
    parts = [
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{size.width:.1f}" '
        f'height="{size.height:.1f}" rx="{radius}"/>'
    ]
    for number, line in enumerate(box.lines):
        baseline = y + (number - (len(box.lines) - 1) / 2) * _LINE + 5
        parts.append(f'<text x="{place.x:.1f}" y="{baseline:.1f}">{spans(line)}</text>')
    if box.names:
        name = spans(", ".join(box.names))
        parts.append(f'<text class="name" x="{place.x:.1f}" y="{top - 6:.1f}">{name}</text>')
    return f'<g class="{box.kind}">{"".join(parts)}</g>'
