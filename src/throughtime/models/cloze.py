"""A missing word from its context: from the words before it, or from both sides."""

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
    r"""Scores of every word of a sentence, each as if it alone were hidden:

        f_t = forward(E[x_t], f_{t-1});      b_t = backward(E[x_t], b_{t+1})
        P(x_t | x_1 … x_{t-1})                   = softmax(W f_{t-1} + c)
        P(x_t | x_1 … x_{t-1}, x_{t+1} … x_T)    = softmax(W [f_{t-1}; b_{t+1}] + c)

    with the begin as x_0 and the end as x_{T+1}. The two directions run through all layers apart:
    f_{t-1} has read nothing behind t-1 and b_{t+1} nothing before t+1, so that x_t is in neither,
    and one pass hides every word in its turn. Were the directions merged between the layers, the
    second forward layer would read through the backward one what it shall predict.

    Args:
        vocab_size: V, the number of tokens.
        bidirectional: whether a word is predicted from both sides, or from those before it only.
        cell: the equations of the recurrent layers, or their name.
        hidden_size, num_layers: H, of each direction, and L.
        embedding_size: the width of E; None is H.
        dropout: of the embeddings, of what enters each layer but the first, and of what is scored.
        tied: whether the score is E (P [f; b]) + c, with the embedding itself, and P of the width
            of E.
        bos, eos: the tokens that stand before and behind a sentence.
        forget_bias, backend, options: see :class:`throughtime.Recurrent`; any of its options but
            ``merge`` and ``independent``, which the equations fix.

    Shapes:
        tokens: (B, T) int64. lengths: (B). scores: (B, T, V), of x_t at t; past a row's end they
        mean nothing.

    Source: Schuster and Paliwal, Bidirectional recurrent neural networks (1997), where the two
        directions are apart; the lecture notes, whose example is the missing word.

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
        vocab_size = whole_number("Cloze", "vocab_size", vocab_size)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("Cloze", "embedding_size", E)
        self.bos, self.eos = bos, eos
        self.embedding = nn.Embedding(vocab_size, E)
        self.recurrent = Recurrent(
            cell,
            E,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            # One layer is apart by itself.
            independent=bidirectional and num_layers > 1,
            forget_bias=forget_bias,
            backend=backend,
            **options,
        )
        self.dropout = Dropout(dropout)
        context_size = self.recurrent.output_size
        self.projection = nn.Linear(context_size, E, bias=False) if tied else nn.Identity()
        self.scores = nn.Linear(E if tied else context_size, vocab_size)
        if tied:
            self.scores.weight = self.embedding.weight
            bound = 1 / math.sqrt(E)
            nn.init.uniform_(self.embedding.weight, -bound, bound)

    def forward(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """The scores of every word, given the others of its sentence."""
        return self.scores(self.unscored(tokens, lengths))

    def unscored(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """What ``scores`` makes scores of, for a loss that does not need all of them at once."""
        return self.projection(self.dropout(self.contexts(tokens, lengths)))

    def contexts(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """What each word is predicted from: f_{t-1}, or [f_{t-1}; b_{t+1}].

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
