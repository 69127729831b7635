"""Counts the tokens of an input that the training never saw."""

from __future__ import annotations

from collections import Counter

from throughtime.data import Tokeniser, in_words

__all__ = ["UnknownTokens"]


class UnknownTokens:
    """The tokens of a stream of texts that a tokeniser does not know.

    Args:
        tokeniser: of the training.
    """

    MOST = 10_000
    """How many different ones are kept; an endless input may hold an endless number."""

    LONGEST = 100
    """How many characters of a token are kept; a line without spaces is one word."""

    def __init__(self, tokeniser: Tokeniser) -> None:
        self.tokeniser = tokeniser
        self.counts: Counter[str] = Counter()
        self.num_tokens = self.num_not_kept = 0

    def add(self, text: str) -> int:
        """Counts the tokens of a text; returns how many it has."""
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
        """A sentence for a person; empty if every token is known."""
        if not self.counts:
            return ""
        told = in_words(self.counts, self.num_tokens, self.tokeniser.unit, most=10)
        more = f"; and {self.num_not_kept:,} others" if self.num_not_kept else ""
        return f"{told}{more}. The model cannot tell them apart."
