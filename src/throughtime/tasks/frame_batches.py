"""Batches of excerpts of pieces that are sequences of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.data import RaggedBatches, pad_rows
from throughtime.data.music import excerpts_of

__all__ = ["FrameBatch", "frame_batches"]


class FrameBatch(NamedTuple):
    """Rows of frames.

    Args:
        frames: (B, T + 1, K): the frame before the first one, and the T frames to predict.
        lengths: (B), the number of frames to predict of each row.
    """

    frames: Tensor
    lengths: Tensor

    @property
    def is_valid(self) -> Tensor:
        """(B, T), whether a frame is one of its row."""
        T = self.frames.shape[1] - 1
        return torch.arange(T, device=self.lengths.device) < self.lengths[:, None]


def frame_batches(
    pieces: Sequence[np.ndarray], excerpt: int | None, size: int, **options: Any
) -> RaggedBatches[FrameBatch]:
    """The batches of excerpts of pieces, each with the frame before it.

    Before the first frame of a piece stands one of zeros.

    Args:
        pieces: the frames (T, K) of each piece, all of one dtype.
        excerpt: the largest number of frames of an excerpt; None leaves the pieces whole.
        size: the largest number of frames of a batch.
        options: see :class:`throughtime.data.RaggedBatches`.
    """
    places = excerpts_of(list(map(len, pieces)), excerpt)

    def collate(rows: Sequence[int]) -> FrameBatch:
        excerpts = []
        for number, start, end in (places[row] for row in rows):
            piece = pieces[number]
            before = piece[start - 1 : start] if start else np.zeros_like(piece[:1])
            excerpts.append(torch.from_numpy(np.concatenate([before, piece[start:end]])))
        padded = pad_rows(excerpts, excerpts[0].dtype)
        return FrameBatch(padded.rows, padded.lengths - 1)

    lengths = [end - start for _, start, end in places]
    return RaggedBatches(lengths, collate, size, by="tokens", **options)
