"""Heat maps of attention weights, with source tokens as columns and target tokens as rows."""

from __future__ import annotations

import html
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from throughtime.inspection.token_labels import label_width, token_label
from throughtime.inspection.tree_drawing import TREE_STYLE, tree_html
from throughtime.tasks.run import written_whole
from throughtime.tasks.uses import AttentionMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ATTENTION_STYLE",
    "HOW_TO_READ",
    "attention_figure",
    "attention_svg",
    "can_write_attention",
    "write_attention",
]

_SUFFIXES = (".html", ".png")
# Inches: the largest width and height of the cells together, and the usual size of one cell.
_INCHES_WIDE, _INCHES_HIGH, _CELL = 7.5, 14.0, 0.27
# Points: the largest and the smallest letters. A phone shows a wide map at half its size.
_LARGEST_LETTERS, _SMALLEST_LETTERS = 12.5, 7.5
_DOTS_PER_INCH = 150


def attention_svg(drawn: AttentionMap) -> str:
    """The heat map as an SVG element: a row for each target token, a column for each source token.

    Weights are shaded from white for 0 to dark for 1. The tokens are text, shown in the fonts of
    the reader's system.

    Raises:
        ValueError: if there are no tokens, or the weights are not of shape (T, S).

    >>> attention_svg(AttentionMap(["ein", "Hund"], ["a", "dog"], [[1, 0], [0, 1]]))[:4]
    '<svg'
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    drawing = io.StringIO()
    with _drawing_settings():
        figure = _figure(drawn)
        FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :].rstrip()
    # The style sheet of a page widens its drawings; a small map should keep its size.
    width = figure.get_figwidth()
    return svg.replace("<svg ", f'<svg style="width:{width:.2f}in;max-width:100%" ', 1)


def can_write_attention(path: Path) -> None:
    """Raises a ValueError if :func:`write_attention` cannot write to this path."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{path}: expected a name that ends with {' or '.join(_SUFFIXES)}, got "
            f'"{path.suffix}". The ending selects the format of the file.'
        )
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}. Create it first.")


def write_attention(path: Path, maps: Sequence[AttentionMap]) -> None:
    """Writes heat maps, one below the other, as a self-contained web page or as a picture.

    Args:
        path: a file name that ends with .html or .png.
        maps: the maps; at least one for a picture.
    """
    can_write_attention(path)
    if path.suffix.lower() == ".png":
        picture = _stacked([_pixels(attention) for attention in maps])

        def write(partial: Path) -> None:
            from matplotlib.image import imsave

            imsave(partial, picture, format="png", dpi=_DOTS_PER_INCH)

    else:
        body = "\n".join(attention_figure(drawn, f"map-{i}") for i, drawn in enumerate(maps))
        page = _PAGE.format(
            style=ATTENTION_STYLE,
            how=HOW_TO_READ,
            body=body or "<p>There are no attention maps.</p>",
        )

        def write(partial: Path) -> None:
            partial.write_text(page, encoding="utf-8", errors="backslashreplace")

    written_whole(path, write)


ATTENTION_STYLE = f"""
  :root {{ color-scheme: light dark }}
  /* A drawing by matplotlib has a white ground. A dark page inverts it and keeps its hues. */
  @media (prefers-color-scheme: dark) {{ svg {{ filter: invert(.93) hue-rotate(180deg) }} }}
{TREE_STYLE}"""
"""The rules of a page with attention maps, for its style sheet."""

HOW_TO_READ = """Rows: tokens of the target. Columns: tokens of the source. The stronger the
colour, the greater the weight. A node of a tree shows what it attends to while the pointer is on
it, or while it is chosen, by a tap or with the Tab key."""
"""How to read attention maps, for people."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>attention</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: light-dark(#222, #e6e4df);
         background: light-dark(#fff, #121212);
         max-width: 72rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }}
  figure {{ margin: 0 0 3rem }} svg {{ height: auto }} summary {{ cursor: pointer }}
{style}</style>
<body>
<p>{how}</p>
{body}
</body></html>
"""


def attention_figure(drawn: AttentionMap, name: str) -> str:
    """A map with its title as an HTML figure; a written tree is drawn, and its map unfolds.

    Args:
        drawn: the map.
        name: an id that no other figure of the page has.
    """
    caption = f"<figcaption>{html.escape(drawn.title)}</figcaption>"
    if not drawn.target_parents:
        return f"<figure>{caption}\n{attention_svg(drawn)}</figure>"
    weights = f"<details><summary>All weights</summary>{attention_svg(drawn)}</details>"
    return f"<figure>{caption}\n{tree_html(drawn, name)}\n{weights}</figure>"


@contextmanager
def _drawing_settings() -> Iterator[None]:
    """Makes matplotlib keep words as text in an SVG, and not warn of letters its font lacks."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _figure(attention: AttentionMap) -> Figure:
    """Draws a map with its labels and a colour scale; see :func:`attention_svg`."""
    from matplotlib.figure import Figure

    weights = np.asarray(attention.weights, dtype=float)
    T, S = len(attention.target), len(attention.source)
    if weights.shape != (T, S) or not weights.size:
        raise ValueError(
            f"attention map: expected weights of shape ({T}, {S}), a row for each token of the "
            f"target, at least one, got {weights.shape}."
        )
    cell = min(_CELL, _INCHES_WIDE / S, _INCHES_HIGH / T)
    # The letters fit the cells. Where they would be too small to read, only every step-th label is
    # drawn.
    points = min(_LARGEST_LETTERS, cell * 72 * 0.85)
    step, points = math.ceil(_SMALLEST_LETTERS / points), max(_SMALLEST_LETTERS, points)
    source = [token_label(token) for token in attention.source]
    target = [token_label(token) for token in attention.target]
    # Labels of one letter fit above the columns; longer ones are turned.
    is_short = all(label_width(label) <= 1 for label in source)
    left, top = (
        max(map(label_width, side)) * points / 72 * 0.72 + 0.12 for side in (target, source)
    )
    top = points / 72 + 0.12 if is_short else top
    right, below = 0.55, 0.1
    width, height = left + S * cell + right, top + T * cell + below

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, S * cell / width, T * cell / height))
    image = axes.imshow(
        weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    # Otherwise matplotlib would read text between dollar signs as a formula.
    text_options: dict[str, Any] = {"fontsize": points, "parse_math": False}
    angle = 0 if is_short else 90
    axes.set_xticks(range(0, S, step), source[::step], rotation=angle, va="bottom", **text_options)
    axes.set_yticks(range(0, T, step), target[::step], **text_options)
    axes.tick_params(length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(S - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(T - 1) + 0.5, minor=True)
    if cell > 0.1:
        axes.grid(which="minor", color="#eee", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color("#bbb")
    # The colour scale is as high as the map, but at most 1.4 inches.
    scale = min(T * cell, 1.4)
    box = ((left + S * cell + 0.14) / width, (below + T * cell - scale) / height)
    bar = figure.colorbar(image, cax=figure.add_axes((*box, 0.09 / width, scale / height)))
    bar.set_ticks([0, 1] if scale < 0.8 else [0, 0.5, 1])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_edgecolor("#bbb")  # pyright: ignore[reportCallIssue]
    return figure


def _pixels(attention: AttentionMap) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _drawing_settings():
        figure = _figure(attention)
        figure.set_dpi(_DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _stacked(pictures: Sequence[np.ndarray], between: int = 40) -> np.ndarray:
    """Stacks pictures one below the other on a white background."""
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
