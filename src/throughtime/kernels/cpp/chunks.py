"""How a sequence is cut into chunks of steps."""

from __future__ import annotations

import torch

__all__ = ["chunks", "num_chunks"]

# A chunk's products should still be in the cache when the kernel reads them, and its rows should
# be enough for a large product to be fast.
_BYTES_OF_A_CHUNK, _FEWEST_ROWS = 1 << 22, 1024


def chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> list[tuple[int, int]]:
    """The first step and the number of steps of each chunk.

    Args:
        T, B: steps and rows of the batch.
        bytes_of_a_row: the bytes that a chunk writes for each row of each step.
        save: chunks are shorter with ``states``, which is to save memory.
    """
    steps = _steps_of_a_chunk(B, bytes_of_a_row, save)
    return [(t, min(steps, T - t)) for t in range(0, T, steps)]


def num_chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> int:
    """How many :func:`chunks` there are; T and B may be symbols of torch.compile."""
    return -(-T // _steps_of_a_chunk(B, bytes_of_a_row, save))


def _steps_of_a_chunk(B: int, bytes_of_a_row: int, save: str | None) -> int:
    # A step without products writes no bytes.
    rows = max(_BYTES_OF_A_CHUNK // max(bytes_of_a_row, 1), _FEWEST_ROWS)
    # Short chunks need little memory when they are run again, and are hardly slower.
    rows = -(-_FEWEST_ROWS // 2) if save == "states" else rows
    # An even number, so that an array that keeps two steps in turns, step t at t & 1, can be
    # addressed from each chunk's first step. sym_max returns a symbol where B is one, which its
    # type does not say.
    return torch.sym_max(2, -(-rows // torch.sym_max(B, 1)) // 2 * 2)  # type: ignore[return-value]
