"""Data: named data sets, texts and pairs of texts, tokenisers, and batches of token ids."""

from throughtime.data.batching import ContiguousBatches, rows_for_scoring
from throughtime.data.characters import (
    CharacterTokeniser,
    SymbolTokeniser,
    TaggedCharacterTokeniser,
)
from throughtime.data.download import FILES, ChecksumError, DownloadError, RemoteFile, fetch
from throughtime.data.files import reopenable
from throughtime.data.generated_pairs import addition, prefix_expressions
from throughtime.data.line_ends import lines, one_line, with_line_feeds
from throughtime.data.pair_batches import PairBatch, PairBatches, collate
from throughtime.data.pair_sets import PAIR_SETS
from throughtime.data.pairs import (
    Pair,
    PairSet,
    load_pairs,
    num_read,
    read_pairs,
    warn_of_long_sources,
)
from throughtime.data.ragged_batches import RaggedBatch, RaggedBatches, pad_rows
from throughtime.data.subwords import MissingLibraryError, SubwordTokeniser
from throughtime.data.suspicions import suspicions
from throughtime.data.text import TEXT_SETS, Corpus, fingerprint, load, read_text
from throughtime.data.tokenisation import TOKENISERS, fit_tokeniser, tokeniser_from_json
from throughtime.data.tokeniser import BOS, EOS, PAD, SPECIALS, UNK, Tokeniser, in_words
from throughtime.data.vocabulary import UnknownCharacterError, Vocabulary
from throughtime.data.words import WordTokeniser

__all__ = [
    "BOS",
    "EOS",
    "FILES",
    "PAD",
    "PAIR_SETS",
    "SPECIALS",
    "TEXT_SETS",
    "TOKENISERS",
    "UNK",
    "CharacterTokeniser",
    "ChecksumError",
    "ContiguousBatches",
    "Corpus",
    "DownloadError",
    "MissingLibraryError",
    "Pair",
    "PairBatch",
    "PairBatches",
    "PairSet",
    "RaggedBatch",
    "RaggedBatches",
    "RemoteFile",
    "SubwordTokeniser",
    "SymbolTokeniser",
    "TaggedCharacterTokeniser",
    "Tokeniser",
    "UnknownCharacterError",
    "Vocabulary",
    "WordTokeniser",
    "addition",
    "collate",
    "fetch",
    "fingerprint",
    "fit_tokeniser",
    "in_words",
    "lines",
    "load",
    "load_pairs",
    "num_read",
    "one_line",
    "pad_rows",
    "prefix_expressions",
    "read_pairs",
    "read_text",
    "reopenable",
    "rows_for_scoring",
    "suspicions",
    "tokeniser_from_json",
    "warn_of_long_sources",
    "with_line_feeds",
]
