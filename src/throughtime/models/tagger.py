"""A network that labels every word of a sentence, and optionally the sentence as a whole."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import integer_lengths, shape_is, whole_number
from throughtime.layers.crf import CRF, Allowed
from throughtime.layers.dropout import Dropout
from throughtime.layers.label_softmax import LabelSoftmax
from throughtime.layers.recurrent import Recurrent
from throughtime.models.letters import LetterFeature

__all__ = ["LabelScores", "Spelling", "Tagger"]


class Spelling(NamedTuple):
    """The letters of the words of a batch, each different word once.

    Args:
        letters: (U, N) int64, the letters of the different words, padded with 0.
        lengths: (U), the number of letters of each.
        words: (B, T), which of the different words each word is.
    """

    letters: Tensor
    lengths: Tensor
    words: Tensor


class LabelScores(NamedTuple):
    """The scores of a batch.

    Args:
        words: (B, T, K), the score of each label at each word; meaningless past the end of a row.
        sentences: (B, M), the score of each label of a sentence; None if they have none.
    """

    words: Tensor
    sentences: Tensor | None = None


class Tagger(nn.Module):
    r"""Labels the words x of a sentence, whose letter features are v:

        u_t = [E[x_t]; v_t]
        h_t = [forward(u)_t; backward(u)_t]
        e_t = W h_t + b

    and the labels follow from the scores e by ``labels``: a :class:`CRF`, or a softmax at each
    word. A label of the whole sentence has the scores W' m + b', with m the mean of all h_t.

    Args:
        vocab_size: V, the number of words that E knows.
        num_labels: K.
        num_letters: the number of letters, with the padding as letter 0.
        letter_feature: how v is computed, the ``kind`` of
            :class:`~throughtime.models.letters.LetterFeature`; or ``none``.
        letter_embedding_size, letter_size: the widths of the letter feature.
        embedding_size: the width of E.
        output: ``crf`` or ``softmax``.
        allowed: which label sequences a CRF allows, see :data:`throughtime.layers.crf.Allowed`;
            tensors or nested lists.
        num_intents: M, the number of labels of a sentence; 0 is none.
        cell: the cell of the recurrent layers over words and over letters, or its name.
        hidden_size, num_layers: H, the units of each direction, and L, of the layers over words.
        bidirectional: whether the words are read in both directions.
        dropout: the probability to drop a unit of u, of the inputs of each layer but the first, and
            of h.
        options: of the recurrent layers over words; see :class:`throughtime.Recurrent`.

    Shapes:
        words: (B, T) int64. lengths: (B).

    Source: Lample et al., Neural architectures for named entity recognition, arXiv 1603.01360.

    >>> model = Tagger(50, 5, letter_feature="none", hidden_size=8)
    >>> model(torch.randint(4, 50, (2, 7)), [7, 4]).words.shape
    torch.Size([2, 7, 5])
    """

    labels: CRF | LabelSoftmax

    def __init__(
        self,
        vocab_size: int,
        num_labels: int,
        *,
        num_letters: int = 0,
        letter_feature: Literal["recurrent", "convolution", "none"] = "recurrent",
        letter_embedding_size: int = 25,
        letter_size: int = 25,
        embedding_size: int = 100,
        output: Literal["crf", "softmax"] = "crf",
        allowed: Allowed | list[Any] | None = None,
        num_intents: int = 0,
        cell: Cell | str = "lstm",
        hidden_size: int = 100,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        num_layers = whole_number("Tagger", "num_layers", num_layers)
        E = whole_number("Tagger", "embedding_size", embedding_size)
        self.vocab_size, self.num_labels, self.num_letters = vocab_size, num_labels, num_letters
        self.letter_feature, self.letter_size = letter_feature, letter_size
        self.letter_embedding_size, self.embedding_size = letter_embedding_size, embedding_size
        self.output, self.num_intents, self.bidirectional = output, num_intents, bidirectional
        self.hidden_size, self.num_layers, self.options = hidden_size, num_layers, options
        # As nested lists, which a saved configuration can hold.
        self.allowed = (
            None
            if allowed is None
            else [torch.as_tensor(part, device="cpu").tolist() for part in allowed]
        )
        self.embedding = nn.Embedding(whole_number("Tagger", "vocab_size", vocab_size), E)
        self.letters = None
        if letter_feature != "none":
            self.letters = LetterFeature(
                num_letters,
                kind=letter_feature,
                embedding_size=letter_embedding_size,
                size=letter_size,
                cell=cell,
            )
            E += self.letters.output_size
        # As wide as the draws of the other layers; those of nn.Embedding have the variance 1.
        nn.init.uniform_(
            self.embedding.weight, -((3 / embedding_size) ** 0.5), (3 / embedding_size) ** 0.5
        )
        self.dropout = Dropout(dropout)
        self.recurrent = Recurrent(
            cell,
            E,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            **options,
        )
        self.cell = self.recurrent.cell
        self.scores = nn.Linear(self.recurrent.output_size, num_labels)
        self.intents = nn.Linear(self.recurrent.output_size, num_intents) if num_intents else None
        if output == "softmax" and allowed is not None:
            raise ValueError(
                'Tagger: expected allowed only with output="crf"; independent labels cannot '
                "forbid a sequence. Leave it out."
            )
        self.labels = CRF(num_labels, self.allowed) if output == "crf" else LabelSoftmax(num_labels)

    def forward(
        self, words: Tensor, lengths: Tensor | list[int], spelling: Spelling | None = None
    ) -> LabelScores:
        """The scores of the labels of every word, and of every sentence.

        Args:
            words, lengths: see the class.
            spelling: the letters of the words, if the model reads letters.
        """
        shape_is("Tagger", "words", words, ["B", "T"])
        B, T = words.shape
        ends = integer_lengths("Tagger", lengths, B, T).to(words.device)
        x = self.embedding(words)  # (B, T, E)
        if self.letters is not None:
            if spelling is None:
                raise ValueError("Tagger: expected spelling because the model reads letters.")
            features = self.letters(spelling.letters, spelling.lengths)  # (U, F)
            x = torch.cat([x, features[spelling.words]], 2)
        h, _ = self.recurrent(self.dropout(x), lengths=ends)  # (B, T, D*H)
        h = self.dropout(h)
        sentences = None
        if self.intents is not None:
            # Past the end of a row, the output is zero.
            sentences = self.intents(h.sum(1) / ends.clamp_min(1).unsqueeze(1))
        return LabelScores(self.scores(h), sentences)
