r"""The decoder, which writes a sequence token by token and attends to the encoded source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, integer_lengths, unknown, whole_number
from throughtime.layers import Attention, Recurrent
from throughtime.layers.attention import KINDS
from throughtime.layers.dropout import Dropout
from throughtime.layers.live import MOST_ROWS
from throughtime.layers.stream import Stream
from throughtime.models.memory import DecoderState, Memory
from throughtime.models.tokens import check_specials, check_tokens, writable

__all__ = ["ATTENTIONS", "FEEDS", "Decoder", "joined"]

ATTENTIONS = ("none", *KINDS)
FEEDS = ("teacher", "scheduled", "free")
FEEDBACKS = ("sample", "argmax")


class Decoder(nn.Module):
    r"""A language model that starts from passed states, and attends to the values k_1 … k_S.

    The equations, and the arguments that are not listed here, are those of
    :class:`throughtime.models.EncoderDecoder`.

    Args:
        vocab_size: V, the number of tokens.
        memory_size: M, the features of each value k_t.

    Shapes:
        target_in: (B, T) int64. scores: (B, T, V).

    >>> decoder = Decoder(13, memory_size=6, hidden_size=8)
    >>> memory = decoder.begin((torch.zeros(1, 2, 8),), torch.randn(2, 5, 6), torch.tensor([5, 3]))
    >>> scores, state = decoder.step(torch.tensor([1, 1]), memory.state, memory)
    >>> scores.shape, state.weights.shape
    (torch.Size([2, 13]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        vocab_size: int,
        memory_size: int,
        *,
        cell: Cell | str = "gru",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        attention: str = "general",
        input_feeding: bool = False,
        dropout: float = 0.0,
        tied: bool = False,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
        forget_bias: float | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        _check_options(attention, input_feeding, options)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("Decoder", "embedding_size", E)
        width = "proj_size" if options.get("proj_size") else "hidden_size"
        H = whole_number("Decoder", width, options.get("proj_size") or hidden_size)
        M = whole_number("Decoder", "memory_size", memory_size)
        vocab_size = whole_number("Decoder", "vocab_size", vocab_size)
        if tied and E != H:
            raise ValueError(
                f"Decoder: tied=True scores with the embedding itself, so expected "
                f"embedding_size={H} like {width}, got {E}."
            )
        check_specials("Decoder", vocab_size, pad, bos, eos)
        self.vocab_size, self.pad, self.bos, self.eos = vocab_size, pad, bos, eos
        self.input_feeding, self.tied = input_feeding, tied
        self.is_before = input_feeding and attention == "additive"
        """Whether attention is computed before the recurrence, as by Bahdanau et al."""
        fed_size = (M if self.is_before else H) if input_feeding else 0
        self.recurrent = Recurrent(
            cell,
            E + fed_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            forget_bias=forget_bias,
            backend=backend,
            **options,
        )
        self.attention = Attention(attention, H, M) if attention != "none" else None
        self.combine = nn.Linear(M + H, H) if attention != "none" else None
        self.dropout = Dropout(dropout)
        self.embedding = nn.Embedding(vocab_size, E)
        self.scores = nn.Linear(H, vocab_size)
        if tied:
            self.scores.weight = self.embedding.weight
            nn.init.uniform_(self.embedding.weight, -1 / math.sqrt(H), 1 / math.sqrt(H))
        self._query = self._index_of_query()
        self._last_stream: Stream | None = None

    def begin(
        self, states: tuple[Tensor, ...], values: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Memory:
        """Prepares the memory with which decoding starts.

        Args:
            states: the initial states of the recurrent layers, each (L, B, H).
            values: (B, S, M), the values to attend to.
            lengths: (B), how many steps of ``values`` are valid; None is all.
        """
        B, S, _ = values.shape
        attention = None if self.attention is None else self.attention.prepare(values, lengths)
        feeds_attended = self.input_feeding and not self.is_before
        attended = values.new_zeros(B, self.recurrent.output_size) if feeds_attended else None
        lengths = torch.full((B,), S) if lengths is None else torch.as_tensor(lengths)
        return Memory(DecoderState(states, attended), lengths, attention)

    def forward(
        self,
        target_in: Tensor,
        memory: Memory,
        lengths: Tensor | list[int] | None = None,
        *,
        feed: str = "teacher",
        forcing: float | None = None,
        feedback: str | None = None,
    ) -> Tensor:
        """The scores of each next token; see :meth:`throughtime.models.EncoderDecoder.forward`."""
        _check_feed(feed, forcing, feedback)
        if feed == "teacher":
            attended, _ = self.forced(target_in, memory, lengths)
            return self.scores(self.dropout(attended))  # (B, T, V)
        valid = self._valid(target_in, memory, lengths)
        state, scores = memory.state, []
        x = self.embedding(target_in[:, 0])
        for t in range(target_in.shape[1]):
            if t > 0 and feed == "free":
                x = scores[-1].softmax(-1) @ self.embedding.weight  # (B, E)
            elif t > 0:
                written = self._written(scores[-1].detach(), feedback)
                is_forced = torch.rand(written.shape, device=written.device) < (forcing or 0.0)
                x = self.embedding(torch.where(is_forced, target_in[:, t], written))
            attended, state = self._advance(self.dropout(x), state, memory)
            if valid is not None:
                attended = attended.masked_fill(~valid[:, t, None], 0.0)
            scores.append(self.scores(self.dropout(attended)))  # (B, V)
        return torch.stack(scores, 1)

    def forced(
        self, target_in: Tensor, memory: Memory, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Decodes known targets under teacher forcing.

        Returns:
            h~ (B, T, H) and the attention weights (B, T, S) of each step, zero past a row's end;
            None instead of the weights if there is no attention.
        """
        valid = self._valid(target_in, memory, lengths)
        x = self.dropout(self.embedding(target_in))  # (B, T, E)
        if not self.input_feeding:
            # Padding is at the end, where no valid step reads it, so a mask of the results is
            # enough.
            h, _ = self.recurrent(x, joined(memory.state.recurrent))  # (B, T, H)
            attended, weights = self._attended(h, memory)
        else:
            state, attended_steps, weight_steps = memory.state, [], []
            for embedded in x.unbind(1):
                h, state = self._advance(embedded, state, memory)
                attended_steps.append(h)
                weight_steps.append(state.weights)
            attended, weights = torch.stack(attended_steps, 1), torch.stack(weight_steps, 1)
        if valid is not None:
            attended = attended.masked_fill(~valid.unsqueeze(-1), 0.0)
            weights = None if weights is None else weights.masked_fill(~valid.unsqueeze(-1), 0.0)
        return attended, weights

    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """Decodes one token; see :meth:`throughtime.models.EncoderDecoder.step`."""
        rows, B = state.recurrent[0].shape[1], memory.lengths.shape[0]
        if token.shape != (rows,) or rows % B:
            raise ShapeError(
                f"Decoder.step: expected a token for each row of the state, as many for each of "
                f"the {B} row(s) of the memory, got token of shape {tuple(token.shape)} and a "
                f"state of {rows} row(s)."
            )
        attended, state = self._advance(self.dropout(self.embedding(token)), state, memory)
        return self.scores(self.dropout(attended)), state  # (R, V)

    def _advance(
        self, x: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """Decodes one step from embedded tokens (R, E) to h~ (R, H) and the next state."""
        B = memory.lengths.shape[0]
        context_and_weights = None
        if self.is_before:
            assert self.attention is not None
            assert memory.attention is not None
            # The R/B rows of one source are consecutive. The attention takes them as steps, so that
            # the values of a source are not repeated for each of its rows.
            query = state.recurrent[self._query][-1].unflatten(0, (B, -1))  # (B, R/B, H)
            context_and_weights = self.attention(query, memory.attention)
            x = torch.cat([x, context_and_weights[0].flatten(0, 1)], -1)
        elif state.attended is not None:
            x = torch.cat([x, state.attended], -1)
        stream = self._stream_of(x, state)
        if stream is None:
            h, last = self.recurrent(x.unsqueeze(1), joined(state.recurrent))  # (R, 1, H)
            h = h.squeeze(1)
        else:
            h, last = stream.advance(x, joined(state.recurrent))
        h = h.unflatten(0, (B, -1))  # (B, R/B, H)
        attended, weights = self._attended(h, memory, context_and_weights)
        attended = attended.flatten(0, 1)
        return attended, DecoderState(
            recurrent=(last,) if isinstance(last, Tensor) else tuple(last),
            attended=None if state.attended is None else attended,
            weights=None if weights is None else weights.flatten(0, 1),
            stream=stream,
        )

    def _stream_of(self, x: Tensor, state: DecoderState) -> Stream | None:
        """The stream that runs a step by a compiled plan; None if the layers must be called.

        Args:
            x: the input of the step (R, …).
            state: the state before the step, which has the stream of the search that it is part of.
        """
        layer = self.recurrent
        if (
            torch.is_grad_enabled()
            or not x.is_cpu
            or torch.compiler.is_compiling()
            or not isinstance(layer, Recurrent)
            or layer.training
            or len(x) > MOST_ROWS
        ):
            return None
        stream = state.stream
        if stream is None or stream.module is not layer:
            last = self._last_stream
            # Each search has a stream of its own; all share the packed weights of the last one.
            if last is not None and last.module is layer:
                stream = last.fork()
                stream.reset()
            else:
                stream = layer.stream()
            self._last_stream = stream
        return stream

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes a stream of its own.
        return {**vars(self), "_last_stream": None}

    def _attended(
        self,
        h: Tensor,
        memory: Memory,
        context_and_weights: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """h~ (B, T, H) and the attention weights (B, T, S).

        Args:
            h: (B, T, H), the outputs of the recurrent layers.
            memory: the memory to attend to.
            context_and_weights: the result of the attention, if it was computed before the
                recurrence; None computes it with the query h.
        """
        if self.attention is None:
            return h, None
        assert self.combine is not None
        assert memory.attention is not None
        if context_and_weights is None:
            context, weights = self.attention(h, memory.attention)
        else:
            context, weights = context_and_weights
        return self.combine(torch.cat([context, h], -1)).tanh(), weights

    def _written(self, scores: Tensor, feedback: str | None) -> Tensor:
        """The tokens (B) that the model itself writes, drawn or likeliest; never pad or bos."""
        scores = writable(scores, self.pad, self.bos)
        if feedback == "argmax":
            return scores.argmax(-1)
        return torch.multinomial(scores.float().softmax(-1), 1).squeeze(-1)

    def _valid(self, target_in: Tensor, memory: Memory, lengths: Any) -> Tensor | None:
        """Checks target_in; returns the mask (B, T) of its valid steps, or None if all are."""
        check_tokens("Decoder", "target_in", target_in, self.vocab_size)
        B, T = target_in.shape
        if B != memory.lengths.shape[0]:
            raise ShapeError(
                f"Decoder: expected target_in of {memory.lengths.shape[0]} row(s), as many as the "
                f"memory has, got {B}."
            )
        if lengths is None:
            return None
        lengths = integer_lengths("Decoder", lengths, B, T).to(target_in.device)
        return torch.arange(T, device=target_in.device) < lengths.unsqueeze(1)

    def _index_of_query(self) -> int:
        """The index of the state that is the query of attention before the recurrence.

        It is the state that is the cell's output, or the first state if the output is not a state.
        """
        cell = self.recurrent.cell
        names = list(cell.state_specs)
        name = cell.output_name if cell.output_name in names else names[0]
        width = self.recurrent.state_sizes[name]
        if self.is_before and width != self.recurrent.output_size:
            raise ValueError(
                f'Decoder: attention="additive" with input_feeding=True has as its query the '
                f"state {name}, expected of hidden_size={self.recurrent.output_size} features, got "
                f"{width}. Use another cell, or input_feeding=False."
            )
        return names.index(name)


def joined(states: tuple[Tensor, ...]) -> Any:
    """The states of a cell in the form that a recurrent layer takes: one tensor, or a tuple."""
    return states[0] if len(states) == 1 else states


def _check_options(attention: str, input_feeding: bool, options: Mapping[str, Any]) -> None:
    """Raises a ValueError for an unknown attention, or an option without an effect."""
    for name in ("bidirectional", "learned_state"):
        if options.get(name):
            why = "writes in one direction" if name == "bidirectional" else "is given its state"
            raise ValueError(f"Decoder: {name}=True would have no effect, as it {why}.")
    if attention not in ATTENTIONS:
        raise unknown("attention", attention, ATTENTIONS)
    if input_feeding and attention == "none":
        raise ValueError(
            'Decoder: input_feeding=True would have no effect, as attention="none" has '
            "nothing to feed back. Choose an attention, or input_feeding=False."
        )


def _check_feed(feed: str, forcing: float | None, feedback: str | None) -> None:
    """Raises a ValueError if the arguments of :meth:`Decoder.forward` contradict each other."""
    if feed not in FEEDS:
        raise unknown("feed", feed, FEEDS)
    if feed != "scheduled" and (forcing is not None or feedback is not None):
        raise ValueError(
            f'Decoder: forcing and feedback are for feed="scheduled", and would have no effect '
            f'with feed="{feed}".'
        )
    if feed == "scheduled" and (forcing is None or not 0 <= forcing <= 1):
        raise ValueError(
            f'Decoder: expected forcing as a probability from 0 to 1, as feed="scheduled" needs '
            f"one, got {forcing}."
        )
    if feedback not in (None, *FEEDBACKS):
        raise unknown("feedback", feedback, FEEDBACKS)
