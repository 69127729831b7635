"""Charts of curves as SVG, for the report page.

A chart is drawn as wide as a phone. On a wide screen the page places two beside each other, so the
letters have about the same size everywhere.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Points", "chart", "svg_of"]

Points = list[tuple[float, float]]

# Inches. The page scales a chart to its column of 340 to 480 pixels, and the letters with it.
_WIDTH = 4.4
_LETTERS = 9.5


def chart(
    title: str,
    unit: str,
    curves: Mapping[str, Points],
    *,
    levels: Mapping[str, float] | None = None,
    marks: Mapping[str, float] | None = None,
    note: str = "",
    is_log: bool = False,
    height: float = 2.9,
) -> str:
    """A heading, a chart and a note as an HTML element.

    Args:
        title: the heading.
        unit: the label of the vertical axis.
        curves: points (step, value) by the name of the curve.
        levels: values at which a horizontal line is drawn, by their names.
        marks: steps at which a vertical line is drawn, by their names.
        note: a sentence below the chart.
        is_log: whether the vertical axis is logarithmic.
        height: the height of the chart in inches.
    """
    drawn = {name: points for name, points in curves.items() if points}
    heading = f"<h2>{html.escape(title)}</h2>"
    if not drawn:
        return f'<section class="chart">{heading}<p>Nothing recorded yet.</p></section>'
    below = f"<p>{html.escape(note)}</p>" if note else ""
    svg = svg_of(
        lambda axes: _draw_curves(axes, unit, drawn, levels or {}, marks or {}, is_log), height
    )
    return f'<section class="chart">{heading}\n{svg}{below}</section>'


def svg_of(draw: Callable[[Any], None], height: float, width: float = _WIDTH) -> str:
    """A drawing as SVG, in the style of all charts.

    Args:
        draw: draws on the axes (of matplotlib) that it takes. A legend names what has a label, if
            there are two labels or more.
        height, width: the size in inches.
    """
    # Imported here because the import takes long, and most processes never draw.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": _LETTERS, "svg.fonttype": "none"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            for text in axes.legend(frameon=False).get_texts():
                # Otherwise matplotlib would read text between dollar signs as a formula.
                text.set_parse_math(False)
        drawing = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    svg = drawing.getvalue()
    return svg[svg.index("<svg") :]


def _draw_curves(
    axes: Any,
    unit: str,
    curves: Mapping[str, Points],
    levels: Mapping[str, float],
    marks: Mapping[str, float],
    is_log: bool,
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for name, points in curves.items():
        x, y = zip(*_thinned(points), strict=True)
        axes.plot(x, y, label=name, linewidth=1.4, marker="o" if len(points) < 60 else "", ms=3)
    for name, value in levels.items():
        if math.isfinite(value):
            axes.axhline(value, color="#777", linestyle="--", linewidth=1, label=name)
    for name, step in marks.items():
        axes.axvline(step, color="#777", linestyle=":", linewidth=1.2, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    if is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("step")
    axes.set_ylabel(unit, parse_math=False)


def _thinned(points: Points, most: int = 600) -> Points:
    """Reduces a curve to at most ``most`` points, each the mean of consecutive points."""
    size = math.ceil(len(points) / most)

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [(group[-1][0], mean([y for _, y in group])) for group in groups]
