r"""Encoder and decoder: from one sequence to another, of another length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.checks import bounds, integer_lengths, unknown, whole_number
from throughtime.layers import Recurrent
from throughtime.layers.attention import not_empty
from throughtime.layers.dropout import Dropout
from throughtime.models.bridge import Bridge, MeanBridge
from throughtime.models.decoder import ATTENTIONS, Decoder, check_tokens
from throughtime.models.memory import DecoderState, Memory
from throughtime.models.writer import Writer

__all__ = ["EncoderDecoder"]

_OF_ENCODER = ("merge", "independent", "learned_state")
"""Options of the shared settings that a decoder has no use for."""


class EncoderDecoder(Writer):
    r"""One recurrent network reads the source, another writes the target, token by token.

        k_1 … k_S = encoder(E_x[x_1] … E_x[x_S])
        s_0       = bridge(the encoder's last states)

    Without attention (``none``; Sutskever et al.), s_0 is all that is known of the source:

        h_t, s_t = decoder(E_y[y_{t-1}], s_{t-1});    h~_t = h_t

    With attention after the recurrence (Luong et al.), ``dot``, ``general`` or ``additive`` as
    :class:`throughtime.layers.Attention` has them:

        h_t, s_t = decoder(E_y[y_{t-1}], s_{t-1})
        c_t      = attention(h_t, k);    h~_t = tanh(W_c [c_t; h_t] + b_c)

    With ``input_feeding`` the step before is read too. For ``dot`` and ``general`` as Luong et al.
    have it: the decoder reads [E_y[y_{t-1}]; h~_{t-1}], and h~_0 = 0. For ``additive`` as Bahdanau
    et al. have it: attention comes before the recurrence, and is sought by the top layer's state:

        c_t      = attention(s_{t-1}, k)
        h_t, s_t = decoder([E_y[y_{t-1}]; c_t], s_{t-1});    h~_t = tanh(W_c [c_t; h_t] + b_c)

    And in all of them

        P(y_t | y_1 … y_{t-1}, x) = softmax(W h~_t + b)

    Without input feeding the kernel runs all steps of a given target at once, and attention is
    three matrix products; with it the steps follow one another.

    Args:
        source_size, target_size: how many tokens the vocabularies have; V is the second.
        cell, encoder_cell: the equations of decoder and encoder; None is the decoder's.
        hidden_size, num_layers: H and L of both.
        embedding_size: E, the width of E_x and E_y; None is H.
        bidirectional: whether the encoder also reads from the end. The memory k then has 2H
            features; for ``dot``, which needs as many as the query, H: the sum of the directions.
        attention, input_feeding: see above.
        dropout: of embeddings, of what enters each recurrent layer but the first, and of h~.
        tied: whether W is E_y itself; needs E as wide as H.
        shared: whether E_x is E_y, for one vocabulary of both sides.
        pad, bos, eos: the tokens that fill up, begin and end a target; the first two are never
            written by a search.
        forget_bias, backend, options: of both recurrent networks; see
            :class:`throughtime.Recurrent`. ``merge``, ``independent`` and ``learned_state`` are
            the encoder's: the decoder writes in one direction, from a state that it is given.
        encoder: a module of your own in place of the recurrent encoder. It is called with the
            source and its lengths, returns what the decoder looks at (B, S, M) and the valid
            lengths (B) or None, and has M as its ``output_size``. The source is then whatever the
            module reads, and ``source_size`` is None.
        encoder_options, decoder_options: settings of one side that differ from the shared ones, by
            name.

    Shapes:
        source: (B, S) int64. target_in: (B, T) int64, ``bos`` and the target. scores: (B, T, V),
        of y_1 … y_T given y_0 … y_{T-1}.

    Raises:
        ValueError: for an option that is unknown or would have no effect, tokens out of range, or
            an empty source.

    Source: Sutskever, Vinyals and Le, arXiv 1409.3215; Bahdanau, Cho and Bengio, arXiv 1409.0473,
    appendix A; Luong, Pham and Manning, arXiv 1508.04025, equations 5 and 6, section 3.3. Differs:
    where Bahdanau et al. have a maxout there is h~; W_c has a bias.

    >>> model = EncoderDecoder(11, 13, hidden_size=8)
    >>> source, target_in = torch.randint(3, 11, (2, 5)), torch.randint(3, 13, (2, 7))
    >>> model(source, [5, 3], target_in).shape
    torch.Size([2, 7, 13])
    """

    def __init__(
        self,
        source_size: int | None,
        target_size: int,
        *,
        cell: Cell | str = "gru",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        encoder_cell: Cell | str | None = None,
        bidirectional: bool = True,
        attention: str = "general",
        input_feeding: bool = False,
        dropout: float = 0.0,
        tied: bool = False,
        shared: bool = False,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
        forget_bias: float | None = None,
        backend: str = "auto",
        encoder: nn.Module | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        decoder_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise unknown("attention", attention, ATTENTIONS)
        if shared and source_size != target_size:
            raise ValueError(
                f"EncoderDecoder: shared=True is for one vocabulary of both sides, so expected "
                f"source_size and target_size to be the same, got {source_size} and {target_size}."
            )
        target_size = whole_number("EncoderDecoder", "target_size", target_size)
        if source_size is not None:
            source_size = whole_number("EncoderDecoder", "source_size", source_size)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("EncoderDecoder", "embedding_size", E)
        both: dict[str, Any] = {"cell": cell, "hidden_size": hidden_size, "num_layers": num_layers}
        both |= {"dropout": dropout, "forget_bias": forget_bias, "backend": backend, **options}
        ours = {k: v for k, v in both.items() if k not in _OF_ENCODER} | dict(decoder_options or {})
        theirs: dict[str, Any] = both | {"bidirectional": bidirectional}
        theirs |= {} if encoder_cell is None else {"cell": encoder_cell}
        self.dropout = Dropout(dropout)
        is_module = encoder is not None
        if is_module and encoder_options:
            raise ValueError(
                "EncoderDecoder: encoder_options would have no effect on an encoder of your own."
            )
        if is_module:
            self.encoder: Any = encoder
        else:
            theirs |= dict(encoder_options or {})
            self.dropout = Dropout(theirs["dropout"])
            is_summed = theirs["bidirectional"] and attention == "dot"
            theirs.setdefault("merge", "sum" if is_summed else "concat")
            # One layer has nothing between layers to drop.
            theirs["dropout"] = theirs["dropout"] if theirs["num_layers"] > 1 else 0.0
            self.encoder = Recurrent(
                input_size=E,
                batch_first=True,
                **theirs,
            )
        self.decoder = Decoder(
            target_size,
            self.encoder.output_size,
            embedding_size=E,
            attention=attention,
            input_feeding=input_feeding,
            tied=tied,
            pad=pad,
            bos=bos,
            eos=eos,
            **ours,
        )
        self.bridge: Any = (
            MeanBridge(self.encoder.output_size, self.decoder.recurrent)
            if is_module
            else Bridge(self.encoder, self.decoder.recurrent)
        )
        self.source_size, self.target_size, self.shared = source_size, target_size, shared
        self.cell = get(cell) if isinstance(cell, str) else cell
        other = self.cell if encoder_cell is None else encoder_cell
        self.encoder_cell = get(other) if isinstance(other, str) else other
        self.encoder_options, self.decoder_options = encoder_options, decoder_options
        self.forget_bias, self.backend, self.options = forget_bias, backend, options
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.embedding_size, self.bidirectional = E, bidirectional
        self.attention, self.input_feeding, self.tied = attention, input_feeding, tied
        self.pad, self.bos, self.eos = pad, bos, eos
        self.embedding: nn.Embedding | None = None
        if shared:
            self.embedding = self.decoder.embedding
        elif not is_module:
            if source_size is None:
                raise ValueError(
                    "EncoderDecoder: expected source_size, the number of tokens of the source, "
                    "got None. Only an encoder that is a module of its own does without."
                )
            self.embedding = nn.Embedding(source_size, E)

    @property
    def head(self) -> nn.Linear:
        return self.decoder.scores

    def encode(self, source: Tensor, lengths: Tensor | list[int] | None = None) -> Memory:
        """Reads the sources.

        Args:
            source: (B, S) int64.
            lengths: (B) whole numbers from 1 to S; None is S for each. What stands past a row's
                end does not matter, as long as it is a token.

        Returns:
            The memory: its ``state`` is the one in which the decoder begins.
        """
        if self.embedding is None:
            values, ends = self.encoder(source, lengths)  # (B, S, M)
            return self.decoder.begin(self.bridge(values, ends), values, ends)
        assert self.source_size is not None
        check_tokens("EncoderDecoder", "source", source, self.source_size)
        B, S = source.shape
        if lengths is not None:
            lengths = integer_lengths("EncoderDecoder", lengths, B, S).cpu()
            lengths = not_empty("EncoderDecoder", lengths)
            # Rows of one length need no mask; torch.compile does not know whether they are.
            low, _ = bounds(lengths) or (0, S)
            lengths = lengths if low < S else None
        x = self.dropout(self.embedding(source))  # (B, S, E)
        k, last = self.encoder(x, lengths=lengths)  # (B, S, M)
        return self.decoder.begin(self.bridge(last), k, lengths)

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
        r"""The scores of each next token.

        Args:
            source, source_lengths: see :meth:`encode`.
            target_in: (B, T) int64, ``bos`` and the target.
            target_lengths: (B) whole numbers, how many steps of ``target_in`` are valid; None is
                T. Past a row's end the scores are those of h~ = 0, and mean nothing.
            feed: what the decoder reads. ``teacher``: the true tokens. ``scheduled``: at each
                place, drawn for itself, the true token with probability ``forcing``, else the
                model's own; no gradient goes through that choice. ``free``: after the first token
                only its own expectation, softmax(scores_{t-1}) E_y, through which the gradient
                goes.
            forcing: the probability of ``scheduled``.
            feedback: the own token of ``scheduled``: ``sample``, drawn from the scores (None is
                that), or ``argmax``, the likeliest; in both neither ``pad`` nor ``bos``.

        Returns:
            (B, T, V).

        Source: scheduled sampling, Bengio et al., arXiv 1506.03099, section 2.4.
        """
        memory = self.encode(source, source_lengths)
        return self.decoder(
            target_in, memory, target_lengths, feed=feed, forcing=forcing, feedback=feedback
        )

    def unscored(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        """h~ (B, T, H) of given targets, after dropout, of which ``head`` makes scores.

        For a loss that does not need all scores at once; the arguments are those of
        :meth:`forward`.
        """
        memory = self.encode(source, source_lengths)
        attended, _ = self.decoder.forced(target_in, memory, target_lengths)
        return self.decoder.dropout(attended)

    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """One token further.

        Args:
            token: (R) int64, what was written last; ``bos`` at first. R is B, or a multiple of it
                where several hypotheses of one source stand side by side, source by source.
            state: ``memory.state`` at first; its ``rows`` fork it.
            memory: what :meth:`encode` gave.

        Returns:
            The scores (R, V), and the state to go on from; its ``weights`` say where it looked.
        """
        return self.decoder.step(token, state, memory)

    def attention_weights(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        """Where the decoder looks for each token of a given target: (B, T, S), zero in padding.

        Raises:
            ValueError: where there is no attention.
        """
        memory = self.encode(source, source_lengths)
        _, weights = self.decoder.forced(target_in, memory, target_lengths)
        if weights is None:
            raise ValueError('EncoderDecoder: attention="none" has no weights to show.')
        return weights
