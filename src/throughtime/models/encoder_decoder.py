r"""Encoder and decoder, which map a sequence to another one of a different length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.checks import unknown, whole_number
from throughtime.layers import Recurrent
from throughtime.layers.dropout import Dropout
from throughtime.models.bridge import Bridge, MeanBridge
from throughtime.models.decoder import ATTENTIONS, Decoder
from throughtime.models.memory import DecoderState, Memory
from throughtime.models.tokens import check_tokens, source_lengths
from throughtime.models.writer import Writer

__all__ = ["ENCODER_ONLY", "EncoderDecoder", "recurrent_encoder"]

ENCODER_ONLY = ("merge", "independent", "learned_state")
"""Options of the recurrent layers that apply to the encoder and not to the decoder."""


class EncoderDecoder(Writer):
    r"""One recurrent network reads the source, and another one writes the target token by token:

        k_1 … k_S = encoder(E_x[x_1] … E_x[x_S])
        s_0       = bridge(the encoder's last states)

    Without attention (``none``; Sutskever et al.), the decoder knows the source through s_0 only:

        h_t, s_t = decoder(E_y[y_{t-1}], s_{t-1});    h~_t = h_t

    With attention, it is computed after the recurrence (Luong et al.); ``dot``, ``general`` and
    ``additive`` are those of :class:`throughtime.layers.Attention`:

        h_t, s_t = decoder(E_y[y_{t-1}], s_{t-1})
        c_t      = attention(h_t, k);    h~_t = tanh(W_c [c_t; h_t] + b_c)

    With ``input_feeding``, the result of the attention is an input of the decoder, too. For ``dot``
    and ``general`` the decoder reads [E_y[y_{t-1}]; h~_{t-1}], with h~_0 = 0 (Luong et al.). For
    ``additive`` the attention is computed before the recurrence, and its query is the state of the
    top layer (Bahdanau et al.):

        c_t      = attention(s_{t-1}, k)
        h_t, s_t = decoder([E_y[y_{t-1}]; c_t], s_{t-1});    h~_t = tanh(W_c [c_t; h_t] + b_c)

    In all cases

        P(y_t | y_1 … y_{t-1}, x) = softmax(W h~_t + b)

    Without input feeding, one kernel call runs all steps of a known target, and the attention is
    three matrix products. With input feeding, the steps run one after the other.

    Args:
        source_size, target_size: the sizes of the two vocabularies; V is the second.
        cell, encoder_cell: the cells of decoder and encoder, or their names; an ``encoder_cell`` of
            None is the cell of the decoder.
        hidden_size, num_layers: H and L of both networks.
        embedding_size: E, the width of E_x and E_y; None is H.
        bidirectional: whether the encoder also reads the source from its end. The values k then
            have 2H features; for ``dot``, which needs as many as the query has, the two directions
            are summed to H features.
        attention, input_feeding: see above.
        dropout: the probability of dropping a unit of the embeddings, of the inputs of each
            recurrent layer but the first, and of h~.
        tied: whether W is E_y itself; E must be as wide as H.
        shared: whether E_x is E_y, for one vocabulary of both sides.
        pad, bos, eos: the tokens that pad, begin and end a target; a search never writes the first
            two.
        forget_bias, backend, options: options of both recurrent networks; see
            :class:`throughtime.Recurrent`. ``merge``, ``independent`` and ``learned_state`` apply
            to the encoder only, since the decoder has one direction and starts from the bridge.
        encoder: a module of your own in place of the recurrent encoder. The module is called with
            source and lengths, returns the values k (B, S, M) and their valid lengths (B) or None,
            and has M as its ``output_size``. The source may then be anything that the module
            reads, and ``source_size`` is None.
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
    h~ replaces the maxout layer of Bahdanau et al.; W_c has a bias.

    >>> import torch
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
        hidden_size = whole_number("EncoderDecoder", "hidden_size", hidden_size)
        num_layers = whole_number("EncoderDecoder", "num_layers", num_layers)
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
        common: dict[str, Any] = {
            "cell": cell,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "dropout": dropout,
            "forget_bias": forget_bias,
            "backend": backend,
            **options,
        }
        if encoder is not None:
            if encoder_options:
                raise ValueError(
                    "EncoderDecoder: encoder_options would have no effect on an encoder of your "
                    "own."
                )
            self.dropout = Dropout(dropout)
            self.encoder: Any = encoder
        else:
            settings = common | {"bidirectional": bidirectional}
            settings |= {} if encoder_cell is None else {"cell": encoder_cell}
            settings |= dict(encoder_options or {})
            self.dropout = Dropout(settings["dropout"])
            self.encoder = recurrent_encoder(E, attention, settings)
        decoder_settings = {k: v for k, v in common.items() if k not in ENCODER_ONLY}
        decoder_settings |= dict(decoder_options or {})
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
            **decoder_settings,
        )
        self.bridge: Any = (
            Bridge(self.encoder, self.decoder.recurrent)
            if encoder is None
            else MeanBridge(self.encoder.output_size, self.decoder.recurrent)
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
        elif encoder is None:
            if source_size is None:
                raise ValueError(
                    "EncoderDecoder: expected source_size, the number of tokens of the source, "
                    "got None. Give the size, or a module as the encoder, which needs none."
                )
            self.embedding = nn.Embedding(source_size, E)

    @property
    def head(self) -> nn.Linear:
        return self.decoder.scores

    def encode(self, source: Tensor, lengths: Tensor | list[int] | None = None) -> Memory:
        """Encodes the sources.

        Args:
            source: (B, S) int64.
            lengths: (B) integers from 1 to S; None is S for each row. The tokens past the end of a
                row have no influence, but must be valid ids.

        Returns:
            The memory, with the initial state of the decoder as its ``state``.
        """
        if self.embedding is None:
            values, ends = self.encoder(source, lengths)  # (B, S, M)
            return self.decoder.begin(self.bridge(values, ends), values, ends)
        assert self.source_size is not None
        check_tokens("EncoderDecoder", "source", source, self.source_size)
        lengths = source_lengths("EncoderDecoder", lengths, source)
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
            target_lengths: (B) integers, how many steps of ``target_in`` are valid; None is T. The
                scores past the end of a row are those of h~ = 0 and are meaningless.
            feed: what the decoder reads. ``teacher``: the true tokens. ``scheduled``: the true
                token with probability ``forcing``, else a token of the model's own, drawn
                independently for each row and step; no gradient flows through that token.
                ``free``: the first token, and then the model's expected embedding
                softmax(scores_{t-1}) E_y, through which the gradient flows.
            forcing: the probability of the true token, for ``scheduled``.
            feedback: how ``scheduled`` chooses the model's own token: ``sample`` draws it from the
                scores, ``argmax`` takes the likeliest; None is ``sample``. Neither gives ``pad`` or
                ``bos``.

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
        """h~ (B, T, H) of known targets after dropout, the inputs of the output layer ``head``.

        For a loss that avoids storing all scores. The arguments are those of :meth:`forward`.
        """
        memory = self.encode(source, source_lengths)
        attended, _ = self.decoder.forced(target_in, memory, target_lengths)
        return self.decoder.dropout(attended)

    def step(
        self, token: Tensor, state: DecoderState, memory: Memory
    ) -> tuple[Tensor, DecoderState]:
        """Decodes one token.

        Args:
            token: (R) int64, the token written last; ``bos`` at first. R is B, or a multiple of B
                if each source has several hypotheses, whose rows are then consecutive.
            state: the state after that token; ``memory.state`` at first. Its ``rows`` repeats or
                reorders the hypotheses.
            memory: the result of :meth:`encode`.

        Returns:
            The scores (R, V) of the next token, and the next state, with the attention weights of
            this step as its ``weights``.
        """
        return self.decoder.step(token, state, memory)

    def attention_weights(
        self,
        source: Tensor,
        source_lengths: Tensor | list[int] | None,
        target_in: Tensor,
        target_lengths: Tensor | list[int] | None = None,
    ) -> Tensor:
        """The attention weights (B, T, S) for each token of known targets, zero in padding.

        Raises:
            ValueError: if the model has no attention.
        """
        memory = self.encode(source, source_lengths)
        _, weights = self.decoder.forced(target_in, memory, target_lengths)
        if weights is None:
            raise ValueError('EncoderDecoder: attention="none" has no weights to show.')
        return weights


def recurrent_encoder(
    embedding_size: int, attention: str, settings: Mapping[str, Any]
) -> Recurrent:
    """The recurrent layers of the encoder.

    Args:
        settings: the arguments of :class:`throughtime.Recurrent`, also for a single layer with
            dropout, which acts on the embeddings then.
    """
    # dot needs values as wide as the query, so two directions are summed, not concatenated.
    is_summed = settings["bidirectional"] and attention == "dot"
    merge = settings.get("merge", "sum" if is_summed else "concat")
    # The layer's dropout acts between layers, and is refused if there is only one.
    dropout = settings["dropout"] if settings["num_layers"] > 1 else 0.0
    arguments = {**settings, "merge": merge, "dropout": dropout}
    return Recurrent(input_size=embedding_size, batch_first=True, **arguments)
