"""Divides a sequence into chunks of steps."""

from __future__ import annotations

import torch

__all__ = ["chunks", "num_chunks", "rows_of_a_chunk"]

# The products of a chunk should still be in the processor's cache when the kernel reads them, which
# limits its size. A matrix product with few rows is slow, which requires a least number of rows.
_BYTES_OF_A_CHUNK, _FEWEST_ROWS = 1 << 22, 1024


def chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> list[tuple[int, int]]:
    """The first step and the number of steps of each chunk.

    Args:
        T, B: the steps and the rows of the batch.
        bytes_of_a_row: the bytes of the products of one row at one step.
        save: as in :class:`~throughtime.kernels.call.Call`. With ``states``, which saves memory,
            chunks are shorter.
    """
    steps = _steps_of_a_chunk(B, bytes_of_a_row, save)
    return [(t, min(steps, T - t)) for t in range(0, T, steps)]


def num_chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> int:
    """The number of :func:`chunks`; T and B may be symbolic sizes of torch.compile."""
    return -(-T // _steps_of_a_chunk(B, bytes_of_a_row, save))


def rows_of_a_chunk(bytes_of_a_row: int) -> int:
    """The number of rows, over all steps, of a chunk of which all gates are saved."""
    # bytes_of_a_row is 0 if the step has no products with the input.
    return max(_BYTES_OF_A_CHUNK // max(bytes_of_a_row, 1), _FEWEST_ROWS)


def _steps_of_a_chunk(B: int, bytes_of_a_row: int, save: str | None) -> int:
    rows = rows_of_a_chunk(bytes_of_a_row)
    # The backward pass runs such a chunk again, in scratch memory for all its steps: shorter
    # chunks need less of it, and are hardly slower.
    rows = -(-_FEWEST_ROWS // 2) if save == "states" else rows
    # The number of steps is even: an array that keeps two steps alternately has step t at t & 1,
    # and a kernel counts t from the first step of its chunk. sym_max returns a symbolic size if B
    # is one, contrary to its annotation.
    return torch.sym_max(2, -(-rows // torch.sym_max(B, 1)) // 2 * 2)  # type: ignore[return-value]
