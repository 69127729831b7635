"""A model that predicts each word of a sentence from the words before it, or from both sides."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import integer_lengths, shape_is, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent

__all__ = ["Cloze"]


class Cloze(nn.Module):
    r"""Predicts every word of a sentence from its context, without reading the word itself:

        f_t = forward(E[x_t], f_{t-1});      b_t = backward(E[x_t], b_{t+1})
        P(x_t | x_1 … x_{t-1})                   = softmax(W f_{t-1} + c)
        P(x_t | x_1 … x_{t-1}, x_{t+1} … x_T)    = softmax(W [f_{t-1}; b_{t+1}] + c)

    with x_0 the begin token and x_{T+1} the end token. The two directions stay separate through all
    layers: f_{t-1} has read nothing after step t-1 and b_{t+1} nothing before step t+1, so neither
    has read x_t, and one pass over the sentence predicts every word. If the directions were merged
    between the layers, the second forward layer would read, through the first backward layer, the
    word that it must predict.

    Args:
        vocab_size: V, the number of tokens.
        bidirectional: whether a word is predicted from both sides, or only from the words before.
        cell: the cell of the recurrent layers, or its name.
        hidden_size, num_layers: H, the units of each direction, and L.
        embedding_size: the width of E; None is H.
        dropout: the probability of dropping a unit of the embeddings, of the inputs of each layer
            but the first, and of the inputs of the output layer.
        tied: whether the embedding E is also the weight of the output layer. The scores are then
            E P [f; b] + c, with a matrix P that maps to the width of E.
        bos, eos: the begin token and the end token of a sentence.
        forget_bias, backend, options: see :class:`throughtime.Recurrent`; all of its options except
            ``merge`` and ``independent``, which the equations fix.

    Shapes:
        tokens: (B, T) int64. lengths: (B). scores: (B, T, V), the scores of x_t at t; those past
        the end of a row are meaningless.

    Source: Schuster and Paliwal, Bidirectional recurrent neural networks (1997), whose directions
        are separate; the lecture notes, whose example is the missing word.

    >>> model = Cloze(50, hidden_size=8, num_layers=2)
    >>> model(torch.randint(4, 50, (2, 7)), torch.tensor([7, 4])).shape
    torch.Size([2, 7, 50])
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        bidirectional: bool = True,
        cell: Cell | str = "lstm",
        hidden_size: int = 200,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        tied: bool = False,
        bos: int = 1,
        eos: int = 2,
        forget_bias: float | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        hidden_size = whole_number("Cloze", "hidden_size", hidden_size)
        num_layers = whole_number("Cloze", "num_layers", num_layers)
        vocab_size = whole_number("Cloze", "vocab_size", vocab_size)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("Cloze", "embedding_size", E)
        self.vocab_size, self.bidirectional = vocab_size, bidirectional
        self.hidden_size, self.num_layers, self.embedding_size = hidden_size, num_layers, E
        self.tied, self.bos, self.eos = tied, bos, eos
        self.forget_bias, self.backend = forget_bias, backend
        self.embedding = nn.Embedding(vocab_size, E)
        self.recurrent = Recurrent(
            cell,
            E,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            # The directions of a single layer are separate anyway, and the option is refused there.
            independent=bidirectional and num_layers > 1,
            forget_bias=forget_bias,
            backend=backend,
            **options,
        )
        self.cell, self.options = self.recurrent.cell, options
        self.dropout = Dropout(dropout)
        context_size = self.recurrent.output_size
        self.projection = nn.Linear(context_size, E, bias=False) if tied else nn.Identity()
        self.scores = nn.Linear(E if tied else context_size, vocab_size)
        if tied:
            self.scores.weight = self.embedding.weight
            bound = 1 / math.sqrt(E)
            nn.init.uniform_(self.embedding.weight, -bound, bound)

    def forward(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """The scores of every word of each sentence."""
        return self.scores(self.unscored(tokens, lengths))

    def unscored(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """The inputs of the output layer ``scores``, for a loss that avoids storing all scores."""
        return self.projection(self.dropout(self.contexts(tokens, lengths)))

    def contexts(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """The context from which each word is predicted: f_{t-1}, or [f_{t-1}; b_{t+1}].

        Shapes:
            returns (B, T, H), or (B, T, 2H) for both sides.
        """
        shape_is("Cloze", "tokens", tokens, ["B", "T"])
        B, T = tokens.shape
        ends = integer_lengths("Cloze", torch.full((B,), T) if lengths is None else lengths, B, T)
        framed = tokens.new_full((B, T + 2), self.eos)
        framed[:, 0], framed[:, 1:-1] = self.bos, tokens
        framed[torch.arange(B), ends.cpu() + 1] = self.eos
        x = self.dropout(self.embedding(framed))  # (B, T+2, E)
        hidden, _ = self.recurrent(x, lengths=ends + 2)  # (B, T+2, D*H)
        before = hidden[:, :-2]  # at t - 1
        if not self.recurrent.bidirectional:
            return before
        H = self.recurrent.output_size // 2
        return torch.cat([before[..., :H], hidden[:, 2:, H:]], -1)  # (B, T, 2H)
