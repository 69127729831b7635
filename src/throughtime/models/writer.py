"""The interface of a model that writes a target from a source, token by token."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from throughtime.models.memory import DecoderState, Memory
from throughtime.models.tokens import writable

__all__ = ["Writer"]


class Writer(nn.Module, ABC):
    """A model of P(y_1 … y_T | x) that can be searched token by token.

    Attributes:
        pad, bos, eos: the tokens that pad, begin and end a target; the first two are never
            written.

    Shapes:
        source: (B, S) int64. target_in: (B, T) int64, ``bos`` and the target. scores: (…, V).
    """

    pad: int
    bos: int
    eos: int

    @abstractmethod
    def encode(self, source: Tensor, lengths: Tensor | list[int] | None = None) -> Memory:
        """Encodes the sources; the ``state`` of the memory is the initial state of the target."""

    @abstractmethod
    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """Reads the token (R) written last; returns the scores of the next one, and the state."""

    @abstractmethod
    def unscored(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        """The inputs (B, T, H) of the output layer ``head`` for each next token of known targets.

        For a loss that avoids storing all scores.
        """

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
            source, source_lengths: see :meth:`encode`.
            target_in: (B, T), ``bos`` and the target.
            target_lengths: (B), how many steps of ``target_in`` are valid; None is T.
            feed, forcing, feedback: what is read after the first token: with ``teacher`` the true
                tokens, else tokens that the model has written itself; see
                :meth:`throughtime.models.EncoderDecoder.forward`.
        """

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The output layer, which maps the result of `unscored` to scores."""

    def writable(self, scores: Tensor) -> Tensor:
        """The scores, with -inf for the tokens that are never written."""
        return writable(scores, self.pad, self.bos)
