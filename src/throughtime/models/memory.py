r"""The encoded source that a decoder reads, and the state that it carries between tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

from throughtime.layers.attention import AttentionMemory
from throughtime.layers.stream import Stream

__all__ = ["DecoderState", "EncodedSources", "Memory", "TreeDecoderState", "TreeMemory"]


@dataclass(frozen=True)
class DecoderState:
    """The state of a decoder between two tokens, for R hypotheses.

    Args:
        recurrent: the states of the recurrent layers.
        attended: h~ of the last step, if the decoder feeds it back; else None.
        weights: the attention weights of the last step; None before the first step, and without
            attention.
        stream: what has run the last step, and runs the next one in less time; or None.

    Shapes:
        recurrent: each (L, R, H). attended: (R, H). weights: (R, S).
    """

    recurrent: tuple[Tensor, ...]
    attended: Tensor | None = None
    weights: Tensor | None = None
    stream: Stream | None = field(default=None, repr=False, compare=False)

    def rows(self, index: Tensor) -> DecoderState:
        """The state of the rows with these indices, in this order; an index may repeat."""
        recurrent = _rows_of(self.recurrent, index)
        attended, weights = (
            None if m is None else m.index_select(0, index) for m in (self.attended, self.weights)
        )
        return DecoderState(recurrent, attended, weights, self.stream)


@dataclass(frozen=True)
class TreeDecoderState:
    """The state with which a decoder of trees begins, for R trees.

    Args:
        recurrent: the states of each recurrence, by its name.

    Shapes:
        recurrent: each (L, R, H).
    """

    recurrent: Mapping[str, tuple[Tensor, ...]]

    def rows(self, index: Tensor) -> TreeDecoderState:
        """The state of the rows with these indices, in this order; an index may repeat."""
        return TreeDecoderState({k: _rows_of(v, index) for k, v in self.recurrent.items()})


def _rows_of(states: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
    """Some rows of recurrent states, each (L, R, H)."""
    return tuple(s.index_select(1, index) for s in states)


class _HasRows(Protocol):
    def rows(self, index: Tensor, /) -> Self: ...


State = TypeVar("State", bound=_HasRows)


@dataclass(frozen=True)
class EncodedSources(Generic[State]):
    """The encoded sources of a batch, from which a decoder writes.

    Args:
        state: the initial state of the decoder, of B rows: a :class:`DecoderState`, or a
            :class:`TreeDecoderState`.
        lengths: the valid steps of each source.
        attention: the keys and values to attend to; None without attention.

    Shapes:
        lengths: (B). attention: (B, S, …).
    """

    state: State
    lengths: Tensor
    attention: AttentionMemory | None

    def rows(self, index: Tensor) -> Self:
        """The memory of the rows with these indices, in this order."""
        attention = None if self.attention is None else self.attention.rows(index)
        lengths = self.lengths.index_select(0, index.to(self.lengths.device))
        return type(self)(self.state.rows(index), lengths, attention)


@dataclass(frozen=True)
class Memory(EncodedSources[DecoderState]):
    """What a decoder of sequences reads."""


@dataclass(frozen=True)
class TreeMemory(EncodedSources[TreeDecoderState]):
    """What a decoder of trees reads."""
