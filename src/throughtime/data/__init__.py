"""Where sequences come from: named data sets, texts, characters as numbers, batches."""

from throughtime.data.batching import ContiguousBatches, rows_for_scoring
from throughtime.data.download import FILES, ChecksumError, DownloadError, RemoteFile, fetch
from throughtime.data.text import TEXT_SETS, Corpus, fingerprint, load
from throughtime.data.vocabulary import UnknownCharacterError, Vocabulary

__all__ = [
    "FILES",
    "TEXT_SETS",
    "ChecksumError",
    "ContiguousBatches",
    "Corpus",
    "DownloadError",
    "RemoteFile",
    "UnknownCharacterError",
    "Vocabulary",
    "fetch",
    "fingerprint",
    "load",
    "rows_for_scoring",
]
