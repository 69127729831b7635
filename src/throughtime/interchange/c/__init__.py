"""Writing a trained network as a C99 file, for programs without Python."""

from throughtime.interchange.c.save import save_c

__all__ = ["save_c"]
