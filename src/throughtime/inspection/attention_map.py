"""Attention as a picture: what was read across, what was written down, and the weights between."""

from __future__ import annotations

import html
import io
import math
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from throughtime.tasks.run import written_whole
from throughtime.tasks.uses import AttentionMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention_svg", "can_write_attention", "write_attention"]

_SUFFIXES = (".html", ".png")
_INCHES_WIDE, _INCHES_HIGH, _CELL = 11.0, 14.0, 0.27
_LONGEST_LABEL = 24


def attention_svg(drawn: AttentionMap) -> str:
    """The heat map as an SVG element: rows are what was written, columns what was read.

    Weights go from 0, white, to 1, dark. The words are text, in the fonts of whoever reads it.

    Raises:
        ValueError: nothing was read or written, or the weights are not (T, S).

    >>> attention_svg(AttentionMap(["ein", "Hund"], ["a", "dog"], [[1, 0], [0, 1]]))[:4]
    '<svg'
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    drawing = io.StringIO()
    with _plain():
        figure = _figure(drawn)
        FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :].rstrip()
    # A small map keeps its size on a page whose other drawings fill its width.
    width = figure.get_figwidth()
    return svg.replace("<svg ", f'<svg style="width:{width:.2f}in;max-width:100%" ', 1)


def can_write_attention(path: Path) -> None:
    """Raises a ValueError where :func:`write_attention` could not write there."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{path}: expected a name that ends with {' or '.join(_SUFFIXES)}, got "
            f'"{path.suffix}". Name the file after what it shall be.'
        )
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}. Make it first.")


def write_attention(path: Path, maps: Sequence[AttentionMap]) -> None:
    """Writes heat maps, one below the other: a page that needs nothing else, or a picture.

    Args:
        path: ends with .html or .png.
        maps: at least one for a picture.
    """
    can_write_attention(path)
    if path.suffix.lower() == ".png":
        picture = _stacked([_pixels(drawn) for drawn in maps])

        def write(partial: Path) -> None:
            from matplotlib.image import imsave

            imsave(partial, picture, format="png", dpi=_DOTS_PER_INCH)

    else:
        body = "\n".join(
            f"<figure><figcaption>{html.escape(drawn.title)}</figcaption>\n"
            f"{attention_svg(drawn)}</figure>"
            for drawn in maps
        )
        page = _PAGE.format(body=body or "<p>Nothing was written.</p>")

        def write(partial: Path) -> None:
            partial.write_text(page, encoding="utf-8", errors="backslashreplace")

    written_whole(path, write)


_DOTS_PER_INCH = 150
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>attention</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
         max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
  figure {{ margin: 0 0 3rem }} svg {{ height: auto }}
</style>
<body>
<p>Rows: what was written. Columns: what was read. White is a weight of 0, dark of 1.</p>
{body}
</body></html>
"""


@contextmanager
def _plain() -> Iterator[None]:
    """Words stay text in an SVG, and a font without a letter is no reason to warn."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _figure(drawn: AttentionMap) -> Figure:
    from matplotlib.figure import Figure

    weights = np.asarray(drawn.weights, dtype=float)
    T, S = len(drawn.target), len(drawn.source)
    if weights.shape != (T, S) or not weights.size:
        raise ValueError(
            f"attention map: expected weights of shape ({T}, {S}), a row for each token of the "
            f"target, at least one, got {weights.shape}."
        )
    cell = min(_CELL, _INCHES_WIDE / S, _INCHES_HIGH / T)
    # Labels that would be too small to read are left out, evenly.
    points = cell * 72 * 0.62
    step, points = math.ceil(5.5 / points), max(5.5, points)
    source, target = ([_label(token) for token in side] for side in (drawn.source, drawn.target))
    is_short = all(_width(label) <= 1 for label in source)
    left, top = (max(map(_width, side)) * points / 72 * 0.72 + 0.12 for side in (target, source))
    top = points / 72 + 0.12 if is_short else top
    right, below = 0.75, 0.1
    width, height = left + S * cell + right, top + T * cell + below

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, S * cell / width, T * cell / height))
    image = axes.imshow(
        weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    # A dollar sign begins no formula here.
    plain: dict[str, Any] = {"fontsize": points, "parse_math": False}
    turned = 0 if is_short else 90
    axes.set_xticks(range(0, S, step), source[::step], rotation=turned, va="bottom", **plain)
    axes.set_yticks(range(0, T, step), target[::step], **plain)
    axes.tick_params(length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(S - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(T - 1) + 0.5, minor=True)
    if cell > 0.1:
        axes.grid(which="minor", color="#eee", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color("#bbb")
    # The scale is as high as the map, but no higher than it needs to be.
    scale = min(T * cell, 1.4)
    box = ((left + S * cell + 0.14) / width, (below + T * cell - scale) / height)
    bar = figure.colorbar(image, cax=figure.add_axes((*box, 0.09 / width, scale / height)))
    bar.set_ticks([0, 1] if scale < 0.8 else [0, 0.5, 1])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_edgecolor("#bbb")  # pyright: ignore[reportCallIssue]
    return figure


def _label(token: str) -> str:
    """A token as an axis can show it; a space would not be seen."""
    shown = token.replace(" ", "␣").replace("\t", "⇥")
    shown = "".join(c if c.isprintable() else "�" for c in shown)
    return shown if len(shown) <= _LONGEST_LABEL else shown[: _LONGEST_LABEL - 1] + "…"


def _width(label: str) -> int:
    """In letters; those of East Asia are twice as wide, and accents have no width."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in label)
    return len(label) + wide - sum(bool(unicodedata.combining(c)) for c in label)


def _pixels(drawn: AttentionMap) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _plain():
        figure = _figure(drawn)
        figure.set_dpi(_DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _stacked(pictures: Sequence[np.ndarray], between: int = 40) -> np.ndarray:
    """Pictures one below the other, on white."""
    if not pictures:
        raise ValueError("attention map: expected at least one map for a picture, got none.")
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures) + between * (len(pictures) - 1)
    page = np.full((height, width, 4), 255, dtype=np.uint8)
    row = 0
    for picture in pictures:
        page[row : row + picture.shape[0], : picture.shape[1]] = picture
        row += picture.shape[0] + between
    return page
