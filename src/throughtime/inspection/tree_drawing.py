"""Drawings of written trees, in which a chosen node shows what it attends to in the source.

A drawing is static HTML: it has no script. A rule of its style sheet for each node sets the custom
properties --a0, --a1, … to the attention weights of that node while it is hovered or focused, and
each token of the source is shaded by the one that belongs to it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from throughtime.inspection.token_labels import label_width, token_label
from throughtime.tasks.uses import AttentionMap

__all__ = ["TREE_STYLE", "tree_html"]

_MOST_NODES = 200
"""How many nodes of a tree are drawn; nobody could read a larger drawing."""

_LEAST_WEIGHT = 0.02
"""Weights below this are not shaded, as the eye could not tell them from none."""

# Pixels: the advance of a letter, the space inside a box, between boxes, and between levels.
_LETTER, _PADDING, _GAP, _HEIGHT, _LEVEL = 8.0, 8.0, 12.0, 24.0, 46.0

_ARROW = '<span class="arrow" aria-hidden="true">→</span>'

TREE_STYLE = """
  .tree { --mark: light-dark(#f2a35e, #a2591b); --edge: light-dark(#8b8f94, #7d848d);
          --box: light-dark(#f6f6f4, #24282d); --chosen: light-dark(#1d5fa8, #7db4ee); }
  .tree { display: flex; flex-wrap: wrap; align-items: start; gap: .4rem 1.5rem }
  .tree .source { flex: 1 0 100%; margin: .4rem 0 0 }
  .tree .arrow { color: var(--edge) }
  .tree .drawing { overflow: auto; max-height: 32rem; max-width: 100%; margin: .6rem 0 }
  .tree svg { display: block; width: auto; height: auto; filter: none; font: 13px ui-monospace,
              SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
  .tree svg text { fill: currentColor; text-anchor: middle; dominant-baseline: central }
  .tree path { fill: none; stroke: var(--edge) }
  .tree .box { fill: var(--box); stroke: var(--edge) }
  .tree .shade { fill: var(--mark) }
  .tree [data-node] { cursor: pointer; outline: none }
  .tree [data-node]:is(:hover, :focus) .box { stroke: var(--chosen); stroke-width: 2.5 }
  .tree .token { position: relative; z-index: 0; display: inline-block; margin: .1rem .05rem;
                 padding: 0 .25rem; white-space: pre-wrap }
  .tree .token::before { content: ""; position: absolute; inset: 0; z-index: -1;
                         border-radius: 3px; background: var(--mark); opacity: var(--weight) }
"""
"""The rules that all drawings share, for the style sheet of a page. The page says, by
``color-scheme``, whether it is light or dark."""


def tree_html(drawn: AttentionMap, name: str) -> str:
    """A written tree below its source, as an HTML element.

    Args:
        drawn: the tree and its attention; ``target_parents`` must not be empty.
        name: the id of the element, different from those of all others on the page: a letter, then
            letters, digits and hyphens.

    >>> drawn = AttentionMap(["add", "it"], ["+", "a"], [[1, 0], [0, 1]], target_parents=(-1, 0))
    >>> '[data-node="1"]:hover' in tree_html(drawn, "tree-0")
    True
    """
    labels = [token_label(label) for label in drawn.source]
    rules = (
        f'#{name}:has([data-node="{node}"]:hover), '
        f'#{name}:not(:has([data-node]:hover)):has([data-node="{node}"]:focus) '
        f"{{ {_properties(row)} }}"
        for node, row in enumerate(drawn.weights[:_MOST_NODES])
    )
    about = [
        _about(label, labels, row) for label, row in zip(drawn.target, drawn.weights, strict=True)
    ]
    if drawn.source_parents:
        source = _drawing(drawn.source, drawn.source_parents, None) + _ARROW
    else:
        tokens = (
            f'<span class="token" style="--weight: var(--a{i}, 0)">{html.escape(label)}</span>'
            for i, label in enumerate(labels)
        )
        source = f'<p class="source">{" ".join(tokens)}</p>'
    written = _drawing(drawn.target, drawn.target_parents, about)
    return (
        f'<div class="tree" id="{name}"><style>{" ".join(rules)}</style>\n{source}\n{written}</div>'
    )


def _properties(weights: Sequence[float]) -> str:
    return " ".join(
        f"--a{i}: {weight:.2f};" for i, weight in enumerate(weights) if weight >= _LEAST_WEIGHT
    )


def _about(label: str, source: Sequence[str], weights: Sequence[float]) -> str:
    """A node in words: its label, and the three tokens with the greatest weights."""
    largest = sorted(range(len(weights)), key=lambda i: -weights[i])[:3]
    tokens = [f"{source[i]} {weights[i]:.2f}" for i in largest if weights[i] >= _LEAST_WEIGHT]
    return f"{token_label(label)} attends to {', '.join(tokens)}"


class _Box(NamedTuple):
    """The place of a node: its centre, and the width of its box."""

    x: float
    y: float
    width: float


def _drawing(labels: Sequence[str], parents: Sequence[int], about: Sequence[str] | None) -> str:
    """A tree as SVG, with the root at the top.

    Args:
        labels, parents: the nodes in prefix order.
        about: a text for each node of a tree whose nodes can be chosen; None for a tree whose nodes
            are shaded.
    """
    num, shown = len(labels), [token_label(label) for label in labels[:_MOST_NODES]]
    boxes = _layout(shown, parents[:_MOST_NODES])
    edges = (
        f'<path d="M{boxes[parent].x:.1f} {boxes[parent].y + _HEIGHT / 2:.1f}'
        f'L{box.x:.1f} {box.y - _HEIGHT / 2:.1f}"/>'
        for box, parent in zip(boxes, parents, strict=False)
        if parent >= 0
    )
    nodes = []
    for i, (label, box) in enumerate(zip(shown, boxes, strict=True)):
        place = (
            f'x="{box.x - box.width / 2:.1f}" y="{box.y - _HEIGHT / 2:.1f}" '
            f'width="{box.width:.1f}" height="{_HEIGHT:.0f}" rx="4"'
        )
        text = f'<text x="{box.x:.1f}" y="{box.y:.1f}">{html.escape(label)}</text>'
        rect = f'<rect class="box" {place}/>'
        if about is None:
            shade = f'<rect class="shade" {place} style="opacity: var(--a{i}, 0)"/>'
            nodes.append(f"<g>{rect}{shade}{text}</g>")
        else:
            said = html.escape(about[i])
            nodes.append(
                f'<g data-node="{i}" tabindex="0" role="img" aria-label="{said}">'
                f"<title>{said}</title>{rect}{text}</g>"
            )
    width = max(box.x + box.width / 2 for box in boxes) + 2
    height = max(box.y for box in boxes) + _HEIGHT / 2 + 2
    svg = (
        f'<svg width="{width:.0f}" height="{height:.0f}" role="group" aria-label="tree">'
        f"{''.join(edges)}{''.join(nodes)}</svg>"
    )
    more = f"The first {len(shown)} of {num:,} nodes." if num > len(shown) else ""
    return f'<div class="drawing">{svg}{more}</div>'


def _layout(labels: Sequence[str], parents: Sequence[int]) -> list[_Box]:
    """The places of the nodes: children side by side, and a parent above the middle of them."""
    widths = [label_width(label) * _LETTER + 2 * _PADDING for label in labels]
    below = [0.0] * len(labels)
    for node in range(len(labels) - 1, 0, -1):
        gap = _GAP if below[parents[node]] else 0.0
        below[parents[node]] += max(widths[node], below[node]) + gap
    whole = [max(pair) for pair in zip(widths, below, strict=True)]
    lefts: list[float] = []
    heights: list[float] = []
    # For each node, where its next child begins.
    begins: list[float] = []
    for node, parent in enumerate(parents):
        lefts.append(2.0 if parent < 0 else begins[parent])
        heights.append(_HEIGHT / 2 + 2 if parent < 0 else heights[parent] + _LEVEL)
        if parent >= 0:
            begins[parent] += whole[node] + _GAP
        begins.append(lefts[node] + (whole[node] - below[node]) / 2)
    # The centres of the first and the last child of each node, from the leaves upwards.
    centres = [0.0] * len(labels)
    firsts, lasts = [math.inf] * len(labels), [0.0] * len(labels)
    for node in range(len(labels) - 1, -1, -1):
        half = widths[node] / 2
        middle = lefts[node] + whole[node] / 2
        if below[node]:
            middle = (firsts[node] + lasts[node]) / 2
        # A wide label may not reach into the space of a neighbour.
        centres[node] = min(max(middle, lefts[node] + half), lefts[node] + whole[node] - half)
        if (parent := parents[node]) >= 0:
            firsts[parent] = min(firsts[parent], centres[node])
            lasts[parent] = max(lasts[parent], centres[node])
    return [_Box(*place) for place in zip(centres, heights, widths, strict=True)]
