"""A recurrent network that reads a sequence and gives a score to each class."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.checks import unknown, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent
from throughtime.models.marked import GappedRecurrent, MarkedGRUD
from throughtime.models.stepwise import WindowLayers

__all__ = ["POOLINGS", "Classifier"]

POOLINGS = ("last", "mean", "max", "attention")


class Classifier(nn.Module):
    r"""Scores the classes of a whole sequence:

        h_1 … h_T = Recurrent(E[x_1] … E[x_T])      tokens, or the features x_t themselves
        s = pool(h_1 … h_T);   y = W s + b

    Poolings: ``last``, h_T forward and h_1 backward; ``mean``; ``max``, of each unit;
    ``attention``, sum_t a_t h_t with a = softmax(v^T tanh(U h_t + u)).

    Args:
        num_classes: the number of classes.
        vocab_size: V, the number of tokens; None if the inputs are features.
        input_size: I, the number of features; None if the inputs are tokens.
        pooling: how the states become one vector.
        network: "recurrent"; or "window", the feed-forward network of
            :class:`throughtime.models.stepwise.WindowLayers` instead of the recurrent layers.
        window: the number of steps that the feed-forward network reads.
        cell, hidden_size, num_layers: of the recurrent layers.
        embedding_size: the width of E; None is H. Only for tokens.
        dropout: the probability to drop a unit of the embeddings, of the inputs of each layer but
            the first, and of s.
        word_dropout: the probability to replace a token by the unknown token during the training.
        pad, unk: the ids of padding and of the unknown token.
        has_gaps: whether x has, after its features, the time since the step before, which the cell
            reads as its input ``gap``.
        options: see :class:`throughtime.Recurrent`; all of its options. Of the cell ``gru-d``,
            which is one layer in one direction, those of :class:`throughtime.layers.GRUD`.

    Shapes:
        x: (B, T) int64, or (B, T, I); for ``gru-d``, the values, marks and gaps (B, T, 3*I) of
            :class:`throughtime.models.marked.MarkedGRUD`; with ``has_gaps`` (B, T, I+1). lengths:
            (B). y: (B, num_classes).

    Source: of ``attention``, Yang et al., "Hierarchical attention networks" (2016), equations 5-7.

    >>> model = Classifier(3, vocab_size=50, hidden_size=8)
    >>> model(torch.randint(4, 50, (2, 7)), torch.tensor([7, 4])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        vocab_size: int | None = None,
        input_size: int | None = None,
        network: Literal["recurrent", "window"] = "recurrent",
        window: int = 10,
        pooling: Literal["last", "mean", "max", "attention"] = "max",
        cell: Cell | str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        pad: int = 0,
        unk: int = 3,
        has_gaps: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        if (vocab_size is None) == (input_size is None):
            raise ValueError(
                "Classifier: expected either vocab_size, for tokens, or input_size, for features, "
                f"got vocab_size={vocab_size}, input_size={input_size}."
            )
        num_classes = whole_number("Classifier", "num_classes", num_classes)
        self.num_classes, self.vocab_size, self.input_size = num_classes, vocab_size, input_size
        self.pooling, self.hidden_size, self.num_layers = pooling, hidden_size, num_layers
        self.embedding_size, self.word_dropout = embedding_size, word_dropout
        self.pad, self.unk, self.options = pad, unk, options
        self.embedding = None
        if vocab_size is not None:
            input_size = hidden_size if embedding_size is None else embedding_size
            self.embedding = nn.Embedding(vocab_size, input_size, padding_idx=pad)
            nn.init.normal_(self.embedding.weight[pad + 1 :], std=1 / math.sqrt(input_size))
        assert input_size is not None
        if network not in ("recurrent", "window"):
            raise unknown("network", network, ("recurrent", "window"))
        self.network, self.window = network, window
        self.cell = get(cell) if isinstance(cell, str) else cell
        self.recurrent = self.window_layers = None
        if network == "window":
            if options or has_gaps:
                raise ValueError(
                    "Classifier: expected no options of a recurrent layer with network=window, "
                    f"got {', '.join(options) or 'has_gaps=True'}."
                )
            self.window_layers = WindowLayers(
                input_size, window=window, hidden_size=hidden_size, num_layers=num_layers
            )
        elif "decay" in self.cell.given_inputs:
            if vocab_size is not None or num_layers != 1:
                raise ValueError(
                    "Classifier: gru-d is one layer that reads features, got "
                    f"vocab_size={vocab_size}, num_layers={num_layers}."
                )
            self.recurrent = MarkedGRUD(input_size, hidden_size, **options)
        else:
            layer = Recurrent(
                cell,
                input_size,
                hidden_size,
                num_layers,
                batch_first=True,
                dropout=dropout if num_layers > 1 else 0.0,
                **options,
            )
            self.recurrent = GappedRecurrent(layer) if has_gaps else layer
        self.has_gaps, self.dropout = has_gaps, Dropout(dropout)
        size = hidden_size
        if self.recurrent is not None:
            self.cell, size = self.recurrent.cell, self.recurrent.output_size
        if pooling == "last" and options.get("bidirectional") and size % 2:
            raise ValueError("Classifier: pooling=last needs both directions side by side.")
        self.attention = (
            nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1, bias=False))
            if pooling == "attention"
            else None
        )
        self.output = nn.Linear(size, num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The scores of the classes."""
        return self.output(self.dropout(self.pooled(x, lengths)))

    def pooled(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The vector s of each sequence (B, size)."""
        if self.embedding is not None:
            if self.training and self.word_dropout > 0:
                is_dropped = torch.rand(x.shape, device=x.device) < self.word_dropout
                x = torch.where(is_dropped & (x != self.pad), self.unk, x)
            x = self.dropout(self.embedding(x))
        if self.recurrent is None:
            assert self.window_layers is not None
            h = self.window_layers(x)  # (B, T, size)
        else:
            h, _ = self.recurrent(x, lengths=lengths)  # (B, T, size)
        lengths = lengths.to(h.device)
        is_valid = (torch.arange(h.shape[1], device=h.device) < lengths[:, None])[..., None]
        if self.pooling == "last":
            return self._last(h, lengths)
        if self.pooling == "mean":
            return h.masked_fill(~is_valid, 0).sum(1) / lengths[:, None]
        if self.attention is None:
            return h.masked_fill(~is_valid, -torch.inf).amax(1)
        weights = self.attention(h).masked_fill(~is_valid, -torch.inf).softmax(1)  # (B, T, 1)
        return (weights * h).sum(1)

    def _last(self, h: Tensor, lengths: Tensor) -> Tensor:
        rows = torch.arange(len(h), device=h.device)
        last = h[rows, lengths - 1]
        if not self.options.get("bidirectional"):
            return last
        size = h.shape[-1] // 2
        return torch.cat([last[:, :size], h[:, 0, size:]], -1)
