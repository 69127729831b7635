"""The recurrent language model, which scores each next token from all tokens before it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from throughtime.cells.cell import Cell
from throughtime.checks import whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.planning import Network
from throughtime.layers.recurrent import Recurrent, RecurrentState
from throughtime.layers.stream import Stream
from throughtime.layers.table_rows import on_rows

__all__ = ["LanguageModel", "OneHot"]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_observed(part: nn.Module) -> bool:
    """Whether a hook, or a forward that replaces the module's own, must see its calls."""
    has_hooks = any(getattr(part, name) for name in _HOOKS)
    return has_hooks or bool(every_module._has_any_global_hook()) or "forward" in vars(part)


class OneHot(nn.Module):
    """Turns tokens into vectors of zeros with a single 1, as an embedding without weights.

    Args:
        vocab_size: V, the number of tokens.

    Shapes:
        tokens: (…) int64. returns: (…, V), in the default dtype, or in that of :meth:`to`.
    """

    weight: Tensor

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.num_embeddings = vocab_size
        self.register_buffer("weight", torch.eye(vocab_size), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight[tokens]


class LanguageModel(nn.Module):
    r"""A language model of an embedding, recurrent layers and a linear output layer:

        h_t = recurrent(E[x_t], h_{t-1})
        P(x_{t+1} | x_1 … x_t) = softmax(W h_t + b)

    Args:
        vocab_size: V, the number of tokens.
        cell: the cell of the recurrent layers, or its name.
        embedding_size: the width of E; None is the hidden size if ``tied``, else the smaller one
            of 64 and V.
        hidden_size, num_layers: H and L of the recurrent layers.
        dropout: the probability of dropping a unit of the inputs of every recurrent layer but the
            first, and of the inputs of the output layer.
        one_hot: whether E is the identity of width V, which has no weights.
        tied: whether W is E itself (Press and Wolf, arXiv 1608.05859); E must be as wide as H.
        forget_bias, backend, options: see :class:`throughtime.Recurrent`; all of its options except
            ``bidirectional``.

    Shapes:
        tokens: (B, T) int64. scores: (B, T, V). state: that of the recurrent layers.

    >>> scores, state = LanguageModel(65)(torch.zeros(2, 7, dtype=torch.long))
    >>> scores.shape
    torch.Size([2, 7, 65])
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        cell: Cell | str = "lstm",
        embedding_size: int | None = None,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout: float = 0.0,
        tied: bool = False,
        one_hot: bool = False,
        forget_bias: float | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        hidden_size = whole_number("LanguageModel", "hidden_size", hidden_size)
        num_layers = whole_number("LanguageModel", "num_layers", num_layers)
        if options.get("bidirectional"):
            raise ValueError(
                "LanguageModel: bidirectional=True would let the model read the tokens that it "
                "must predict. Leave it out."
            )
        width = "proj_size" if options.get("proj_size") else "hidden_size"
        output_size = whole_number("LanguageModel", width, options.get("proj_size") or hidden_size)
        vocab_size = whole_number("LanguageModel", "vocab_size", vocab_size)
        if one_hot:
            if tied or embedding_size not in (None, vocab_size):
                raise ValueError(
                    "LanguageModel: one_hot=True has no embedding, so expected no embedding_size "
                    f"and no tied, got embedding_size={embedding_size}, tied={tied}. Leave them "
                    "out."
                )
            embedding_size = vocab_size
        if embedding_size is None:
            embedding_size = output_size if tied else min(64, vocab_size)
        embedding_size = whole_number("LanguageModel", "embedding_size", embedding_size)
        if tied and embedding_size != output_size:
            raise ValueError(
                f"LanguageModel: tied=True scores with the embedding itself, so expected "
                f"embedding_size={output_size} like {width}, got {embedding_size}."
            )
        self.vocab_size, self.embedding_size = vocab_size, embedding_size
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.tied, self.forget_bias, self.backend = tied, forget_bias, backend
        self.one_hot = one_hot
        self.embedding = OneHot(vocab_size) if one_hot else nn.Embedding(vocab_size, embedding_size)
        self.recurrent = Recurrent(
            cell,
            embedding_size,
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
        self.scores = nn.Linear(output_size, vocab_size)
        if isinstance(self.embedding, nn.Embedding) and tied:
            self.scores.weight = self.embedding.weight
            bound = 1 / math.sqrt(output_size)
            nn.init.uniform_(self.embedding.weight, -bound, bound)

    def stream(self, weights: str | None = None) -> Stream:
        """A stream that reads tokens one step at a time, (B) each, and keeps the state.

        Args:
            weights: ``bfloat16`` or ``int8`` for smaller, less precise weights; see
                :class:`throughtime.layers.stream.Stream`.
        """
        # Recurrent layers of another kind, which replaced these, have no plan.
        describe = self.network if isinstance(self.recurrent, Recurrent) else None
        return Stream(self, True, describe, weights)

    def network(self) -> Network:
        """The parts of the model that the compiled plan of a stream runs."""
        refusal = self.recurrent.network().refusal
        if type(self).forward is not LanguageModel.forward or "forward" in vars(self):
            refusal = "forward is overridden"
        elif type(self.embedding) not in (nn.Embedding, OneHot):
            refusal = f"the embedding is a {type(self.embedding).__name__}"
        elif type(self.dropout) is not Dropout or "forward" in vars(self.dropout):
            refusal = "the dropout is another module"
        return Network(self.recurrent, self.embedding, self.scores, refusal)

    def _reads_rows(self) -> bool:
        """Whether the recurrent layers read rows of the embedding's weight, unseen by others."""
        embedding, recurrent = self.embedding, self.recurrent
        is_plain = type(embedding) is OneHot or (
            type(embedding) is nn.Embedding
            and (embedding.max_norm, embedding.padding_idx) == (None, None)
            and not (embedding.sparse or embedding.scale_grad_by_freq)
        )
        is_seen = _is_observed(embedding) or _is_observed(recurrent)
        return is_plain and isinstance(recurrent, Recurrent) and not is_seen

    def forward(
        self, tokens: Tensor, state: RecurrentState | None = None
    ) -> tuple[Tensor, RecurrentState]:
        """The scores of the token that follows each token, and the final recurrent state."""
        results = None
        if self._reads_rows():
            results = on_rows(self.recurrent, self.embedding.weight, tokens, state)
        hidden, last = results or self.recurrent(self.embedding(tokens), state)  # (B, T, H)
        return self.scores(self.dropout(hidden)), last  # (B, T, V)
