"""Checks of token ids, and the tokens that a search may write."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.checks import ShapeError, bounds, integer_lengths
from throughtime.layers.attention import not_empty

__all__ = ["check_specials", "check_tokens", "source_lengths", "writable"]


def check_tokens(who: str, name: str, tokens: Tensor, size: int) -> None:
    """Raises unless ``tokens`` are integers (B, T) from 0 to size - 1, with T of at least 1."""
    if not isinstance(tokens, Tensor) or tokens.dtype not in (torch.int64, torch.int32):
        got = tokens.dtype if isinstance(tokens, Tensor) else repr(tokens)
        raise ValueError(f"{who}: expected {name} as a tensor of torch.int64, got {got}.")
    if tokens.dim() != 2 or tokens.shape[1] == 0:
        raise ShapeError(
            f"{who}: expected {name} of shape (B, T) with at least one step, got "
            f"{tuple(tokens.shape)}."
        )
    # On a GPU this check would wait for all kernels queued before it. There the embedding fails
    # with an error of its own.
    low, high = (bounds(tokens) if tokens.device.type == "cpu" else None) or (0, 0)
    if low < 0 or high >= size:
        raise ValueError(
            f"{who}: expected tokens from 0 to {size - 1} in {name}, got {low} to {high}. Padding "
            f"is a token too: fill up with pad."
        )


def source_lengths(who: str, lengths: Tensor | list[int] | None, source: Tensor) -> Tensor | None:
    """The lengths (B) of sources (B, S) on the CPU; None if all rows have the full length.

    Raises:
        ValueError: unless the lengths are integers from 1 to S.
    """
    if lengths is None:
        return None
    B, S = source.shape
    lengths = not_empty(who, integer_lengths(who, lengths, B, S).cpu())
    # Rows that all have the full length need no mask. Under torch.compile, bounds() does not know
    # the lengths, and the mask is kept.
    low, _ = bounds(lengths) or (0, S)
    return lengths if low < S else None


def check_specials(who: str, size: int, pad: int, bos: int, eos: int) -> None:
    """Raises a ValueError unless pad, bos and eos are three different ids below ``size``."""
    if len({pad, bos, eos}) < 3 or not all(0 <= t < size for t in (pad, bos, eos)):
        raise ValueError(
            f"{who}: expected pad, bos and eos as three different tokens of the {size} of the "
            f"target, got {pad}, {bos} and {eos}."
        )


def writable(scores: Tensor, *never: int) -> Tensor:
    """The scores (…, V), with -inf for the tokens ``never``."""
    return scores.index_fill(-1, torch.tensor(never, device=scores.device), float("-inf"))
