r"""Encoder and tree decoder, which map a sequence or a tree to a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.checks import unknown, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.models.bridge import Bridge
from throughtime.models.encoder_decoder import ENCODER_ONLY, recurrent_encoder
from throughtime.models.memory import TreeMemory
from throughtime.models.tokens import check_tokens, source_lengths
from throughtime.models.tree_decoder import NodeScores, TreeDecoder
from throughtime.models.tree_encoder import TREE_CELLS, TreeEncoder
from throughtime.models.trees import Trees

__all__ = ["SOURCES", "EncoderTreeDecoder", "Source"]

SOURCES = ("sequence", *TREE_CELLS)

Source = Tensor | Trees
"""Sequences (B, S) of tokens, or trees."""


class EncoderTreeDecoder(nn.Module):
    r"""One network reads a sequence or a tree, and a doubly recurrent decoder writes a tree:

        k_1 … k_S = encoder(E_x[x_1] … E_x[x_S])
        a_0, b_0  = bridges(the encoder's last states)
        P(tree)   = decoder(a_0, b_0, k)

    The encoder of a sequence is recurrent layers. That of a tree is a Tree-LSTM, whose values k are
    those of all nodes and whose last states are those of the root. The states a_0 and b_0, with
    which the two recurrences of the decoder begin, come from one bridge each
    (:class:`throughtime.models.bridge.Bridge`). The equations of the decoder are those of
    :class:`throughtime.models.TreeDecoder`; with equal labels on both sides and a tree as the
    source, the model is a tree autoencoder.

    Args:
        source_size: the number of tokens, or of the labels of source trees.
        num_labels: V, the number of labels of the trees that are written.
        source: what is read: ``sequence``, or a tree by the Tree-LSTM ``child-sum`` or ``n-ary``.
        max_children: the largest number of children in a source tree, for ``n-ary`` only.
        recurrence: ``V``, ``H`` or ``VH``: the recurrences of the decoder.
        topology: ``predicted`` or ``end``: how the decoder ends siblings and branches.
        cell, sibling_cell: the cells of V and H, or their names; a ``sibling_cell`` of None is
            ``cell``.
        encoder_cell: the cell of the encoder of sequences; None is ``cell``.
        hidden_size, num_layers: H and L of encoder and decoder; a Tree-LSTM has one layer.
        embedding_size: E, the width of the embeddings of both sides; None is H.
        bidirectional: whether the encoder also reads a sequence from its end.
        attention: ``none``, ``dot``, ``general`` or ``additive``.
        dropout: the probability of dropping a unit of the embeddings, of the inputs of each
            recurrent layer but the first, and of m~.
        forget_bias, backend, options: of all recurrent layers; see :class:`throughtime.Recurrent`.
            ``merge``, ``independent`` and ``learned_state`` apply to the encoder only.
        encoder_options, decoder_options: settings of one side that differ from the shared ones, by
            name.

    Shapes:
        source: (B, S) int64, or :class:`~throughtime.models.trees.Trees`. lengths: (B).

    Raises:
        ValueError: for an option that is unknown or would have no effect, tokens out of range, or
            an empty source.

    Source: Bednarek, Piaskowski and Krawiec, arXiv 1810.09717 (sequences to trees); Alvarez-Melis
    and Jaakkola, ICLR 2017.

    >>> import torch
    >>> model = EncoderTreeDecoder(11, 7, hidden_size=8)
    >>> trees = Trees.of([([4, 5, 6], [-1, 0, 0]), ([5], [-1])])
    >>> model.log_likelihood(torch.randint(3, 11, (2, 5)), [5, 3], trees).shape
    torch.Size([2])
    >>> autoencoder = EncoderTreeDecoder(7, 7, source="child-sum", hidden_size=8)
    >>> autoencoder.log_likelihood(trees, None, trees).shape
    torch.Size([2])
    """

    def __init__(
        self,
        source_size: int,
        num_labels: int,
        *,
        source: Literal["sequence", "child-sum", "n-ary"] = "sequence",
        max_children: int | None = None,
        recurrence: Literal["V", "H", "VH"] = "VH",
        topology: Literal["predicted", "end"] = "predicted",
        cell: Cell | str = "lstm",
        sibling_cell: Cell | str | None = None,
        encoder_cell: Cell | str | None = None,
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        bidirectional: bool = True,
        attention: str = "general",
        dropout: float = 0.0,
        forget_bias: float | None = None,
        backend: str = "auto",
        encoder_options: Mapping[str, Any] | None = None,
        decoder_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        who = "EncoderTreeDecoder"
        if source not in SOURCES:
            raise unknown("source", source, SOURCES)
        hidden_size = whole_number(who, "hidden_size", hidden_size)
        num_layers = whole_number(who, "num_layers", num_layers)
        source_size = whole_number(who, "source_size", source_size)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number(who, "embedding_size", E)
        common: dict[str, Any] = {
            "cell": cell,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "dropout": dropout,
            "forget_bias": forget_bias,
            "backend": backend,
            **options,
        }
        self.embedding: nn.Embedding | None = None
        if source == "sequence":
            if max_children is not None:
                raise ValueError(
                    f"{who}: max_children={max_children} is of source trees, and would have no "
                    f'effect with source="sequence".'
                )
            settings = common | {"bidirectional": bidirectional}
            settings |= {} if encoder_cell is None else {"cell": encoder_cell}
            settings |= dict(encoder_options or {})
            self.embedding = nn.Embedding(source_size, E)
            self.source_dropout = Dropout(settings["dropout"])
            self.encoder: Any = recurrent_encoder(E, attention, settings)
        else:
            if encoder_cell is not None:
                raise ValueError(
                    f"{who}: encoder_cell is of the encoder of sequences, and would have no effect "
                    f'with source="{source}".'
                )
            settings = {"hidden_size": hidden_size, "dropout": dropout}
            _check_tree_options(source, bidirectional, options, settings, encoder_options or {})
            settings |= dict(encoder_options or {})
            self.encoder = TreeEncoder(
                source_size, cell=source, embedding_size=E, max_children=max_children, **settings
            )
        decoder_settings = {k: v for k, v in common.items() if k not in ENCODER_ONLY}
        decoder_settings |= dict(decoder_options or {})
        self.decoder = TreeDecoder(
            num_labels,
            self.encoder.output_size,
            recurrence=recurrence,
            topology=topology,
            sibling_cell=sibling_cell,
            embedding_size=E,
            attention=attention,
            **decoder_settings,
        )
        self.bridges = nn.ModuleDict(
            {name: Bridge(self.encoder, each) for name, each in self.decoder.layers()}
        )
        self.source_size, self.num_labels, self.source = source_size, num_labels, source
        self.max_children, self.recurrence, self.topology = max_children, recurrence, topology
        self.cell = get(cell) if isinstance(cell, str) else cell
        self.sibling_cell = get(sibling_cell) if isinstance(sibling_cell, str) else sibling_cell
        self.encoder_cell = get(encoder_cell) if isinstance(encoder_cell, str) else encoder_cell
        self.hidden_size, self.num_layers, self.embedding_size = hidden_size, num_layers, E
        self.bidirectional, self.attention, self.dropout = bidirectional, attention, dropout
        self.forget_bias, self.backend, self.options = forget_bias, backend, options
        self.encoder_options, self.decoder_options = encoder_options, decoder_options

    def encode(self, source: Source, lengths: Tensor | list[int] | None = None) -> TreeMemory:
        """Encodes the sources.

        Args:
            source: (B, S) int64, or trees.
            lengths: (B) integers from 1 to S; None is S for each row. None for trees, which have
                their sizes. The tokens past the end of a row have no influence, but must be valid
                ids.

        Returns:
            The memory from which the decoder writes.
        """
        if self.embedding is None:
            if isinstance(source, Tensor) or lengths is not None:
                raise ValueError(
                    "EncoderTreeDecoder: expected trees as the source, with their own sizes and "
                    'without lengths. Use source="sequence" for a model that reads sequences.'
                )
            values, last = self.encoder(source)
            ends = source.sizes
        else:
            if not isinstance(source, Tensor):
                raise ValueError(
                    "EncoderTreeDecoder: expected the source as a tensor (B, S), got trees. Use "
                    'source="child-sum" or "n-ary" for a model that reads trees.'
                )
            check_tokens("EncoderTreeDecoder", "source", source, self.source_size)
            ends = source_lengths("EncoderTreeDecoder", lengths, source)
            x = self.source_dropout(self.embedding(source))  # (B, S, E)
            values, last = self.encoder(x, lengths=ends)  # (B, S, M)
        states = {name: bridge(last) for name, bridge in self.bridges.items()}
        return self.decoder.begin(states, values, ends)

    def forward(
        self, source: Source, lengths: Tensor | list[int] | None, trees: Trees
    ) -> NodeScores:
        """The scores of what is written at each slot of known trees; see :class:`NodeScores`.

        Args:
            source, lengths: see :meth:`encode`.
            trees: the trees, one for each source.
        """
        return self.decoder(trees, self.encode(source, lengths))

    def log_likelihood(
        self, source: Source, lengths: Tensor | list[int] | None, trees: Trees
    ) -> Tensor:
        """log P of each tree (B) given its source, in nats."""
        return self.decoder.log_likelihood(trees, self.encode(source, lengths))


def _check_tree_options(
    source: str,
    is_bidirectional: bool,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    encoder_options: Mapping[str, Any],
) -> None:
    """Raises a ValueError for an option of encoders of sequences, which a Tree-LSTM lacks."""
    without = [name for name in ENCODER_ONLY if options.get(name)]
    without += [] if is_bidirectional else ["bidirectional"]
    without += [f"encoder_options {name}" for name in encoder_options if name not in settings]
    if without:
        raise ValueError(
            f"EncoderTreeDecoder: {without[0]} is of the encoder of sequences, and would have no "
            f'effect with source="{source}", whose encoder has the options '
            f"{' and '.join(settings)}. Leave it out."
        )
