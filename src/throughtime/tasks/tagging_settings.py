"""The settings of the task tagging."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from throughtime.data.splits import Cut
from throughtime.data.tagged_sets import TAGGED_SETS
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range
from throughtime.tasks.run_data import absolute

__all__ = ["LabellingOptions", "SentencesToJudge", "TaggingConfig"]


@dataclass
class TaggingConfig(NetworkConfig):
    """The sentences, the model, and the batches.

    Args:
        data: name of a data set (conll2003, conll2000, conll2002-es, conll2002-nl, wnut17,
            ewt-upos, ewt-xpos, atis); or path of a file with a word on each line, or of a folder
            with such files for train, valid and test.
        encoding: encoding of the files at that path, as Python names it.
        word_column: column of the word in these files, from 1 (default: the first, and the second
            of CoNLL-U).
        label_column: column of the label, from 1 (default: the last, and the fourth of CoNLL-U).
        labels: what the labels are: spans in IOB1, IOB2 or IOBES, or tags of single words; auto is
            spans if a label looks like B-PER.
        valid_fraction: fraction of the sentences of a single file that is kept for validation
            (default: 0.1).
        test_fraction: fraction of the sentences that is kept for the test (default: 0).
        split: how a single file is cut into training, validation and test: order, one after the
            other; random, single sentences, those with equal words together; or blocks, parts of
            ten blocks.
        lower_case: look words up in lower case; their letters keep the case.
        zero_digits: look words up with 0 for each digit; their letters keep the digits.
        min_count: how often a word must occur in the training split to have an embedding.
        rare_count: words that occur at most so often in the training split are rare.
        rare_dropout: probability that a rare word is read as an unknown one in training.
        vectors: file with pretrained word vectors with which the embeddings start (GloVe, word2vec
            or fastText .vec; .gz too).
        letters: how the letters of a word are read: by a bidirectional layer of the same cell, by a
            convolution, or not at all.
        letter_embedding_size: width of the embedding of a letter.
        letter_size: units of each direction of the layer over letters; a convolution has twice as
            many filters.
        output: crf, which scores whole label sequences, or softmax, which scores each label alone.
        scheme: scheme in which spans are learned: iob2 or iobes.
        constrained: let the CRF predict only sequences that the scheme allows.
        intents: also predict the label of the whole sentence, if the data has one.
        hidden_size: number of units of each recurrent layer over words, in each direction.
        embedding_size: width of the embedding of a word (default: that of the vectors, else 100).
        bidirectional: read the words in both directions.
        dropout: probability to drop a unit of the inputs of each layer, and before the scores.
        longest: largest number of words of a sentence of the training; a longer one is cut.
        batch_size: sentences of a batch, summed over all processes.
        data_seed: seed of the order of the sentences.
    """

    data: str = "conll2003"
    encoding: str = "utf-8"
    word_column: int | None = None
    label_column: int | None = None
    labels: Literal["auto", "spans", "tags"] = "auto"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    lower_case: bool = True
    zero_digits: bool = True
    min_count: int = 1
    rare_count: int = 1
    rare_dropout: float = 0.5
    vectors: str | None = None
    letters: Literal["recurrent", "convolution", "none"] = "recurrent"
    letter_embedding_size: int = 25
    letter_size: int = 25
    output: Literal["crf", "softmax"] = "crf"
    scheme: Literal["iob2", "iobes"] = "iob2"
    constrained: bool = False
    intents: bool = False
    hidden_size: int = 100
    embedding_size: int | None = None
    bidirectional: bool = True
    dropout: float = 0.5
    longest: int = 1000
    batch_size: int = 32
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, TAGGED_SETS)
        if self.vectors is not None:
            self.vectors = absolute(self.vectors, ())
        sizes = ("word_column", "label_column", "min_count", "letter_embedding_size", "letter_size")
        check_range(self, (*sizes, "longest", "batch_size"), most=2**31 - 1)
        check_range(self, ("rare_count",), least=0, most=2**31 - 1)
        if self.rare_dropout == 0 and self.rare_count != 1:
            raise ValueError(
                f"--rare_count {self.rare_count}: rare words are not replaced with --rare_dropout "
                "0, so it would have no effect. Leave it out."
            )
        if not 0 <= self.rare_dropout <= 1:
            raise ValueError(f"--rare_dropout: expected 0 to 1, got {self.rare_dropout}.")
        if self.constrained and self.output != "crf":
            raise ValueError(
                "--constrained: labels that are scored alone cannot be constrained. Leave it out, "
                "or use --output crf."
            )
        if self.letters == "none":
            for name, default in (("letter_embedding_size", 25), ("letter_size", 25)):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"--{name}: no letters are read with --letters none, so it would have no "
                        "effect. Leave it out."
                    )


@dataclass
class SentencesToJudge:
    """Which sentences are labelled and compared with their labels.

    Args:
        data: path of a file with words and labels, instead of a split of the run's own data; its
            columns are those of the training, unless the options below say otherwise.
        encoding: encoding of that file (default: utf-8).
        word_column: column of the word in that file, from 1.
        label_column: column of the label, from 1.
    """

    data: str | None = None
    encoding: str | None = None
    word_column: int | None = None
    label_column: int | None = None

    def __post_init__(self) -> None:
        for name in ("encoding", "word_column", "label_column"):
            if getattr(self, name) is not None and self.data is None:
                raise ValueError(f"--{name} is that of the file at --data, which is not given")


@dataclass
class LabellingOptions:
    """How a sentence is labelled.

    Args:
        tokenisation: how a line is split into words: spaces, for a text that is tokenised already,
            or words, which also separates punctuation marks.
        scheme: scheme in which spans are written: iob1, iob2 or iobes.
    """

    tokenisation: Literal["spaces", "words"] = "spaces"
    scheme: Literal["iob1", "iob2", "iobes"] = "iob2"
