r"""What a decoder is given, and what it carries from token to token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from throughtime.layers.attention import AttentionMemory

__all__ = ["DecoderState", "Memory"]


@dataclass(frozen=True)
class DecoderState:
    """What the decoder carries from token to token.

    Shapes:
        recurrent: the states of the layers, each (L, R, H). attended: (R, H), h~ of the last step
        where it is fed back. weights: (R, S), where the last step looked; None before the first.
    """

    recurrent: tuple[Tensor, ...]
    attended: Tensor | None = None
    weights: Tensor | None = None

    def rows(self, index: Tensor) -> DecoderState:
        """The state of the rows with these numbers, in this order; a number may come twice."""
        recurrent = tuple(s.index_select(1, index) for s in self.recurrent)
        attended, weights = (
            None if m is None else m.index_select(0, index) for m in (self.attended, self.weights)
        )
        return DecoderState(recurrent, attended, weights)


@dataclass(frozen=True)
class Memory:
    """What the decoder is given: where it begins, and what it looks at.

    Shapes:
        state: of B rows. lengths: (B), of what is looked at. attention: (B, S, …); None without
        attention.
    """

    state: DecoderState
    lengths: Tensor
    attention: AttentionMemory | None

    def rows(self, index: Tensor) -> Memory:
        """The memory of the rows with these numbers, in this order."""
        attention = None if self.attention is None else self.attention.rows(index)
        lengths = self.lengths.index_select(0, index.to(self.lengths.device))
        return Memory(self.state.rows(index), lengths, attention)
