r"""The encoded source that a decoder reads, and the state that it carries between tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from throughtime.layers.attention import AttentionMemory

__all__ = ["DecoderState", "Memory"]


@dataclass(frozen=True)
class DecoderState:
    """The state of a decoder between two tokens, for R hypotheses.

    Args:
        recurrent: the states of the recurrent layers.
        attended: h~ of the last step, if the decoder feeds it back; else None.
        weights: the attention weights of the last step; None before the first step, and without
            attention.

    Shapes:
        recurrent: each (L, R, H). attended: (R, H). weights: (R, S).
    """

    recurrent: tuple[Tensor, ...]
    attended: Tensor | None = None
    weights: Tensor | None = None

    def rows(self, index: Tensor) -> DecoderState:
        """The state of the rows with these indices, in this order; an index may repeat."""
        recurrent = tuple(s.index_select(1, index) for s in self.recurrent)
        attended, weights = (
            None if m is None else m.index_select(0, index) for m in (self.attended, self.weights)
        )
        return DecoderState(recurrent, attended, weights)


@dataclass(frozen=True)
class Memory:
    """The encoded sources of a batch, from which a decoder writes.

    Args:
        state: the initial state of the decoder, of B rows.
        lengths: the valid steps of each source.
        attention: the keys and values to attend to; None without attention.

    Shapes:
        lengths: (B). attention: (B, S, …).
    """

    state: DecoderState
    lengths: Tensor
    attention: AttentionMemory | None

    def rows(self, index: Tensor) -> Memory:
        """The memory of the rows with these indices, in this order."""
        attention = None if self.attention is None else self.attention.rows(index)
        lengths = self.lengths.index_select(0, index.to(self.lengths.device))
        return Memory(self.state.rows(index), lengths, attention)
