"""What all pictures share: the figure, the colours, and how they are written to files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.tasks.run import written_whole

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "diverging", "drawing", "new_figure", "plain", "write_figure"]

# Blue, orange, green, purple, yellow, sky, black: tellable apart by colour-blind readers (Okabe and
# Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The colours of curves, in their order."""

_LETTERS = 9


def diverging() -> Colormap:
    """Blue for negative, white for zero, orange for positive values."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", ["#0b5fa5", "#ffffff", "#d55e00"])


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of all pictures: text stays text in an SVG, and missing letters do not warn."""
    import matplotlib

    settings: Any = {
        "font.size": _LETTERS,
        "svg.fonttype": "none",
        # The names of the parts of an SVG, which otherwise are random.
        "svg.hashsalt": "throughtime",
    }
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(axes: Any) -> None:
    """Removes the upper and right border of axes, and adds a faint grid."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def write_figure(path: Path, figure: Figure) -> None:
    """Writes a figure to a file of the format that its name ends with, such as .svg or .pdf."""
    kind = path.suffix.lower().removeprefix(".")
    # Without the date, an equal picture is an equal file.
    no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}

    def write(partial: Path) -> None:
        with drawing():
            figure.savefig(partial, format=kind, dpi=200, metadata=no_date.get(kind))

    written_whole(path, write)
