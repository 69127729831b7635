"""The option of ``throughtime predict`` that draws what a model has read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from throughtime.reading import path_of

__all__ = ["MOST_DRAWN", "DrawingOptions"]

MOST_DRAWN = 50
"""The number of inputs that are drawn."""


@dataclass(kw_only=True)
class DrawingOptions:
    """What is drawn.

    Args:
        drawing: a file (.svg) for drawings of the first 50 trajectories of a pen, with the output
            above each.
    """

    drawing: str | None = None

    def check_drawing(self) -> None:
        """Raises a ValueError for a file of another kind."""
        if self.drawing is not None and not self.drawing.lower().endswith(".svg"):
            raise ValueError(f"--drawing: expected a file that ends with .svg, got {self.drawing}.")

    def drawing_file(self, is_drawn: bool, kind: str) -> Path | None:
        """The file; None if nothing is drawn.

        Args:
            is_drawn: whether what the model reads can be drawn.
            kind: the kind of what it reads, for the message.

        Raises:
            ValueError: if it cannot be drawn, or the folder of the file is missing.
        """
        if self.drawing is None:
            return None
        if not is_drawn:
            raise ValueError(
                f"--drawing: draws the ways of a pen, and this run reads another kind of data "
                f"({kind}). Leave it out."
            )
        path = path_of("--drawing", self.drawing)
        if not path.parent.is_dir():
            raise ValueError(f"--drawing: there is no folder {path.parent}. Create it first.")
        return path
