"""The curves of the networks of a table side by side: the means of their repeated trainings."""

from __future__ import annotations

import html
import statistics
from collections.abc import Sequence

from throughtime.inspection.shown_files import curves_svg
from throughtime.inspection.table import Row

__all__ = ["curves_html"]


def curves_html(rows: Sequence[Row], figures: Sequence[str]) -> list[str]:
    """A picture for each title of curves and each figure, with a curve for each network.

    Args:
        rows: the networks.
        figures: the names of the figures that are drawn.
    """
    parts = []
    for title in dict.fromkeys(title for row in rows for title in row.curves):
        some = next(row.curves[title][0] for row in rows if title in row.curves)
        for figure in figures:
            means = {
                row.name: _mean([curves["y"][figure] for curves in row.curves[title]])
                for row in rows
                if title in row.curves and figure in row.curves[title][0]["y"]
            }
            if not means:
                continue
            words = figure.replace("_", " ")
            entry = {"x": some["x"], "y": means, "x_name": some["x_name"], "y_name": words}
            caption = html.escape(f"{title}: {words}, mean of the trainings")
            svg = curves_svg(entry)
            parts.append(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    return ["<h2>Curves</h2>", *parts] if parts else []


def _mean(curves: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.mean(values) for values in zip(*curves, strict=True)]
