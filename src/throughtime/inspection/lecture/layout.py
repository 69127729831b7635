"""Places the boxes of a graph in layers, from left to right.

A box stands in the layer after the last box that it reads. An edge over several layers gets a
place in each layer that it crosses. The order in a layer follows from the mean place of what the
boxes are connected with (Sugiyama, Tagawa and Toda, "Methods for visual understanding of
hierarchical system structures", 1981), and so do the heights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Place", "Size", "layered"]

_ROUNDS = 12
# How strongly an edge that passes a layer keeps its height, where a box has 1.
_OF_EDGES = 6.0


@dataclass(frozen=True)
class Size:
    """The size of a box; ``last`` puts it into the last layer."""

    width: float
    height: float
    last: bool = False


@dataclass(frozen=True)
class Place:
    """The middle of a box, or a point that an edge passes, with the width of its layer."""

    x: float
    y: float
    layer_width: float


@dataclass(frozen=True)
class Layout:
    """A whole drawing.

    Args:
        places: the place of each box.
        paths: for each edge the places from its source to its target.
        width, height: of the drawing.
    """

    places: list[Place]
    paths: list[list[Place]]
    width: float
    height: float


def layered(
    sizes: Sequence[Size], edges: Sequence[tuple[int, int]], gap_x: float, gap_y: float
) -> Layout:
    """Places boxes so that edges run from left to right.

    Args:
        sizes: the boxes; each stands behind the boxes that it reads.
        edges: pairs of a source and a target.
        gap_x, gap_y: the room between layers, and between the boxes of a layer.
    """
    layer_of = _layers(sizes, edges)
    # The points where edges cross a layer are numbered after the boxes.
    sizes, chains = list(sizes), list[list[int]]()
    for source, target in edges:
        chain = [source]
        for layer in range(layer_of[source] + 1, layer_of[target]):
            chain.append(len(sizes))
            layer_of.append(layer)
            sizes.append(Size(0.0, 0.0))
        chains.append([*chain, target])
    layers = [
        [i for i, of in enumerate(layer_of) if of == layer] for layer in range(max(layer_of) + 1)
    ]
    links = [pair for chain in chains for pair in pairwise(chain)]
    before: dict[int, list[int]] = {i: [] for i in range(len(sizes))}
    after: dict[int, list[int]] = {i: [] for i in range(len(sizes))}
    for source, target in links:
        before[target].append(source)
        after[source].append(target)
    layers = _ordered(layers, links, before, after)
    ys = _heights(layers, sizes, before, after, gap_y)
    top = min(ys[i] - sizes[i].height / 2 for i in range(len(sizes)))
    bottom = max(ys[i] + sizes[i].height / 2 for i in range(len(sizes)))
    places: dict[int, Place] = {}
    x = 0.0
    for layer in layers:
        width = max(sizes[i].width for i in layer)
        places |= {i: Place(x + width / 2, ys[i] - top, width) for i in layer}
        x += width + gap_x
    paths = [[places[i] for i in chain] for chain in chains]
    boxes = [places[i] for i in range(len(sizes) - sum(len(c) - 2 for c in chains))]
    return Layout(boxes, paths, x - gap_x, bottom - top)


def _layers(sizes: Sequence[Size], edges: Iterable[tuple[int, int]]) -> list[int]:
    """The length of the longest path to each box."""
    layer_of = [0] * len(sizes)
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer_of[target] = max(layer_of[target], layer_of[source] + 1)
    end = max(layer_of)
    return [end if size.last else layer for size, layer in zip(sizes, layer_of, strict=True)]


def _ordered(
    layers: list[list[int]],
    links: Sequence[tuple[int, int]],
    before: Mapping[int, list[int]],
    after: Mapping[int, list[int]],
) -> list[list[int]]:
    """The layers in the order with the fewest crossings among those that are tried."""
    best, fewest = layers, _crossings(layers, links)
    for number in range(_ROUNDS):
        neighbours = before if number % 2 == 0 else after
        layers = [list(layer) for layer in layers]
        for layer in layers if number % 2 == 0 else reversed(layers):
            place = {i: n for other in layers for n, i in enumerate(other)}
            layer.sort(key=lambda i: _mean([place[j] for j in neighbours[i]], place[i]))
        count = _crossings(layers, links)
        if count < fewest:
            best, fewest = layers, count
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(layers: Sequence[Sequence[int]], links: Iterable[tuple[int, int]]) -> int:
    place = {i: n for layer in layers for n, i in enumerate(layer)}
    layer_of = {i: n for n, layer in enumerate(layers) for i in layer}
    between: dict[int, list[tuple[int, int]]] = {}
    for source, target in links:
        between.setdefault(layer_of[source], []).append((place[source], place[target]))
    count = 0
    for pairs in between.values():
        for n, (a, b) in enumerate(pairs):
            count += sum((a - c) * (b - d) < 0 for c, d in pairs[n + 1 :])
    return count


def _heights(
    layers: Sequence[Sequence[int]],
    sizes: Sequence[Size],
    before: Mapping[int, list[int]],
    after: Mapping[int, list[int]],
    gap: float,
) -> dict[int, float]:
    """The height of each place: near the mean of what it is connected with, without overlap."""
    ys: dict[int, float] = {}
    for layer in layers:
        y = 0.0
        for i in layer:
            ys[i] = y + sizes[i].height / 2
            y += sizes[i].height + gap
        for i in layer:
            ys[i] -= (y - gap) / 2
    for number in range(2 * _ROUNDS):
        neighbours = before if number % 2 == 0 else after
        for layer in layers if number % 2 == 0 else reversed(layers):
            wanted = [_mean([ys[j] for j in neighbours[i]], ys[i]) for i in layer]
            apart = [(sizes[a].height + sizes[b].height) / 2 + gap for a, b in pairwise(layer)]
            # Boxes make room for the edges that pass, so that these become straight.
            weights = [1.0 if sizes[i].height else _OF_EDGES for i in layer]
            ys |= zip(layer, _spread_out(wanted, weights, apart), strict=True)
    return ys


def _spread_out(
    wanted: Sequence[float], weights: Sequence[float], apart: Sequence[float]
) -> list[float]:
    """The places nearest to the wanted ones (weighted least squares) that are far enough apart.

    Without the distances this is an increasing sequence that is nearest to a given one, and the
    places that would overlap share their mean.
    """
    offsets = [0.0]
    for distance in apart:
        offsets.append(offsets[-1] + distance)
    # Of each group that shares a place: the weighted sum, the sum of the weights, how many.
    groups: list[tuple[float, float, int]] = []
    for value, weight, offset in zip(wanted, weights, offsets, strict=True):
        total, heavy, count = weight * (value - offset), weight, 1
        while groups and groups[-1][0] / groups[-1][1] > total / heavy:
            more, heavier, number = groups.pop()
            total, heavy, count = total + more, heavy + heavier, count + number
        groups.append((total, heavy, count))
    level = [total / heavy for total, heavy, count in groups for _ in range(count)]
    return [y + offset for y, offset in zip(level, offsets, strict=True)]
