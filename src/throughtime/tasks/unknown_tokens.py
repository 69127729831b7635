"""Counts the tokens of an input that are not in the vocabulary of the training."""

from __future__ import annotations

from collections import Counter

from throughtime.data import Tokeniser, in_words

__all__ = ["UnknownTokens"]


class UnknownTokens:
    """Counts the unknown tokens of a stream of texts, in bounded memory.

    Args:
        tokeniser: the tokeniser of the training.
    """

    MOST = 10_000
    """How many different tokens are counted by name, since an endless input may have any number."""

    LONGEST = 100
    """The length in characters to which a token is cut; a line without spaces is one long word."""

    def __init__(self, tokeniser: Tokeniser) -> None:
        self.tokeniser = tokeniser
        self.counts: Counter[str] = Counter()
        self.num_tokens = self.num_not_kept = 0

    def add(self, text: str) -> int:
        """Counts the tokens of a text and returns their number, known and unknown."""
        length = len(self.tokeniser.encode(text))
        self.num_tokens += length
        for token in self.tokeniser.unknown(text):
            token = token[: self.LONGEST]
            if token in self.counts or len(self.counts) < self.MOST:
                self.counts[token] += 1
            else:
                self.num_not_kept += 1
        return length

    def __str__(self) -> str:
        """A sentence for the user; empty if every token is known."""
        if not self.counts:
            return ""
        summary = in_words(self.counts, self.num_tokens, self.tokeniser.unit, most=10)
        more = f"; and {self.num_not_kept:,} others" if self.num_not_kept else ""
        return f"{summary}{more}. The model cannot tell them apart."
