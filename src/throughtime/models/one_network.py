"""A single recurrent network that reads the source and then writes the target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, integer_lengths, whole_number
from throughtime.layers.attention import not_empty
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent
from throughtime.models.decoder import joined
from throughtime.models.memory import DecoderState, Memory
from throughtime.models.tokens import check_specials, check_tokens
from throughtime.models.writer import Writer

__all__ = ["OneNetwork"]


class OneNetwork(Writer):
    r"""A single recurrent network that maps a sequence of S + T steps to one of the same length:

        input    x_1 … x_S  _   …  _
        output    .  …  .  y_1 … y_T

        h_1 … h_{S+T} = recurrent(E[x_1] … E[x_S], E[_] … E[_])
        P(y_t | x)    = softmax(W h_{S+t} + b)

    The source is followed by T blanks ``_``, in place of which the target is written. The outputs
    at the steps of the source are ignored. The network does not read the target that it writes, so
    the y_t are independent of one another given x.

    Args:
        source_size, target_size: the sizes of the two vocabularies; V is the second.
        cell: the cell of the recurrent layers, or its name.
        hidden_size, num_layers: H and L.
        embedding_size: the width of E; None is H.
        dropout: the probability of dropping a unit of the embeddings, of the inputs of each layer
            but the first, and of the inputs of the output layer.
        pad, bos, eos: see :class:`throughtime.models.EncoderDecoder`; ``bos`` is the blank, too.
        forget_bias, backend, options: see :class:`throughtime.Recurrent`; all of its options except
            ``bidirectional``, because the network writes while it reads.

    Shapes:
        source: (B, S) int64. target_in: (B, T) int64, of which only the shape is used.
        scores: (B, T, V).

    Source: the lecture notes, the simplest variant of sequence to sequence.

    >>> model = OneNetwork(11, 13, hidden_size=8)
    >>> source, target_in = torch.randint(3, 11, (2, 5)), torch.randint(3, 13, (2, 7))
    >>> model(source, [5, 3], target_in).shape
    torch.Size([2, 7, 13])
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        cell: Cell | str = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
        forget_bias: float | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        hidden_size = whole_number("OneNetwork", "hidden_size", hidden_size)
        num_layers = whole_number("OneNetwork", "num_layers", num_layers)
        if options.get("bidirectional"):
            raise ValueError(
                "OneNetwork: bidirectional=True would need the end of the target before it is "
                "written. Use EncoderDecoder, whose encoder may read both directions."
            )
        source_size = whole_number("OneNetwork", "source_size", source_size)
        target_size = whole_number("OneNetwork", "target_size", target_size)
        check_specials("OneNetwork", target_size, pad, bos, eos)
        if bos >= source_size:
            raise ValueError(
                f"OneNetwork: expected bos below source_size={source_size}, as it is the blank "
                f"that is read, got {bos}."
            )
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("OneNetwork", "embedding_size", E)
        self.source_size, self.target_size = source_size, target_size
        self.hidden_size, self.num_layers, self.embedding_size = hidden_size, num_layers, E
        self.pad, self.bos, self.eos = pad, bos, eos
        self.forget_bias, self.backend = forget_bias, backend
        self.embedding = nn.Embedding(source_size, E)
        self.recurrent = Recurrent(
            cell,
            E,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            forget_bias=forget_bias,
            backend=backend,
            **options,
        )
        self.cell, self.options = self.recurrent.cell, options
        self.dropout = Dropout(dropout)
        self.scores = nn.Linear(self.recurrent.output_size, target_size)

    @property
    def head(self) -> nn.Linear:
        return self.scores

    def encode(self, source: Tensor, lengths: Tensor | list[int] | None = None) -> Memory:
        check_tokens("OneNetwork", "source", source, self.source_size)
        B, S = source.shape
        ends = torch.full((B,), S) if lengths is None else lengths
        ends = integer_lengths("OneNetwork", ends, B, S).cpu()
        _, state = self._read(source, lengths=not_empty("OneNetwork", ends))
        return Memory(state, ends, None)

    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        h, state = self._read(torch.full_like(token, self.bos).unsqueeze(1), state)  # (R, 1, H)
        return self.scores(self.dropout(h.squeeze(1))), state

    def unscored(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        check_tokens("OneNetwork", "target_in", target_in, self.target_size)
        if len(source) != len(target_in):
            raise ShapeError(
                f"OneNetwork: expected target_in of {len(source)} row(s), as many as source has, "
                f"got {len(target_in)}."
            )
        memory = self.encode(source, source_lengths)
        h, _ = self._read(torch.full_like(target_in, self.bos), memory.state)
        return self.dropout(h)

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
        """The scores (B, T, V) of each token of the target; meaningless past the end of a row.

        Raises:
            ValueError: if ``feed`` is not ``teacher``, as the network reads no token of a target.
        """
        if feed != "teacher" or forcing is not None or feedback is not None:
            raise ValueError(
                f'OneNetwork: feed="{feed}" would have no effect, as the network does not read '
                "what it writes. Use EncoderDecoder."
            )
        return self.scores(self.unscored(source, source_lengths, target_in, target_lengths))

    def _read(
        self, tokens: Tensor, state: DecoderState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, DecoderState]:
        x = self.dropout(self.embedding(tokens))  # (B, T, E)
        first = None if state is None else joined(state.recurrent)
        h, last = self.recurrent(x, first, lengths=lengths)  # (B, T, H)
        return h, DecoderState((last,) if isinstance(last, Tensor) else tuple(last))
