"""What writes a target from a source, token by token, as a search and a task see it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from throughtime.models.memory import DecoderState, Memory

__all__ = ["Writer", "check_specials", "writable"]


class Writer(nn.Module, ABC):
    """A model of P(y_1 … y_T | x), one token after the other.

    Attributes:
        pad, bos, eos: the tokens that fill up, begin and end a target; the first two are never
            written.

    Shapes:
        source: (B, S) int64. target_in: (B, T) int64, ``bos`` and the target. scores: (…, V).
    """

    pad: int
    bos: int
    eos: int

    @abstractmethod
    def encode(self, source: Tensor, lengths: Tensor | list[int] | None = None) -> Memory:
        """Reads the sources; the ``state`` of the memory is the one in which writing begins."""

    @abstractmethod
    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """One token (R) further: the scores of the next, and the state to go on from."""

    @abstractmethod
    def unscored(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        """(B, T, H), of which ``head`` makes the scores of each next token of given targets."""

    @abstractmethod
    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
        *,
        feed: str = "teacher",
        forcing: float | None = None,
        feedback: str | None = None,
    ) -> Tensor:
        """The scores (B, T, V) of each next token.

        Args:
            feed: what is read after the first token: ``teacher``, the true tokens; or what the
                model has written itself, see :meth:`throughtime.models.EncoderDecoder.forward`.
        """

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """From what `unscored` gives to scores."""

    def writable(self, scores: Tensor) -> Tensor:
        """The scores with -inf where a token is never written."""
        return writable(scores, self.pad, self.bos)


def check_specials(who: str, size: int, pad: int, bos: int, eos: int) -> None:
    """Raises unless these are three different tokens of a target vocabulary of that size."""
    if len({pad, bos, eos}) < 3 or not all(0 <= t < size for t in (pad, bos, eos)):
        raise ValueError(
            f"{who}: expected pad, bos and eos as three different tokens of the {size} of the "
            f"target, got {pad}, {bos} and {eos}."
        )


def writable(scores: Tensor, *never: int) -> Tensor:
    """The scores (…, V) with -inf for these tokens."""
    return scores.index_fill(-1, torch.tensor(never, device=scores.device), float("-inf"))
