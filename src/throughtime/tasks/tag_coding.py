"""Sentences with labels as numbers: the words, letters and labels that a tagger knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from throughtime.data import UNK
from throughtime.data.characters import CharacterTokeniser, SymbolTokeniser
from throughtime.data.label_schemes import spans_of, to_labels
from throughtime.data.tagged_batches import CodedSentence
from throughtime.data.tagged_sets import Sentence
from throughtime.tasks.labels import Labels

__all__ = ["TagCoding", "looked_up"]

_LONGEST_SPELLING = 30


def looked_up(word: str, lower_case: bool, zero_digits: bool) -> str:
    """The form in which a word is looked up in the vocabulary; it has no spaces.

    >>> looked_up("10 May", lower_case=True, zero_digits=True)
    '00_may'
    """
    word = "_".join(word.split()) or "_"
    word = word.lower() if lower_case else word
    if zero_digits and any(map(str.isdigit, word)):
        word = "".join("0" if letter.isdigit() else letter for letter in word)
    return word


@dataclass(frozen=True)
class TagCoding:
    """Converts sentences with labels to numbers.

    Args:
        words: the words that have an embedding, in the form of :func:`looked_up`.
        letters: the letters.
        labels: the labels of words, in the scheme that is learned.
        intents: the labels of sentences; None if they are not predicted.
        has_spans: whether the labels of words mark spans.
        scheme: the scheme in which spans are learned.
        lower_case, zero_digits: see :func:`looked_up`.
    """

    words: SymbolTokeniser
    letters: CharacterTokeniser
    labels: Labels
    intents: Labels | None
    has_spans: bool
    scheme: Literal["iob2", "iobes"]
    lower_case: bool
    zero_digits: bool

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word that is known; the special tokens are no words."""
        return {word: i for i, word in enumerate(self.words.tokens) if i > UNK}

    def in_scheme(self, labels: Sequence[str]) -> Sequence[str]:
        """Labels, which are in IOB2 if they mark spans, in the scheme that is learned."""
        if not self.has_spans or self.scheme == "iob2":
            return labels
        return to_labels(spans_of(labels), len(labels), self.scheme)

    def encode(self, sentence: Sentence) -> CodedSentence:
        """The numbers of a sentence; without labels, those of the labels are missing.

        Of a word of more than 30 letters, such as a URL, only the first and last 15 are read.
        """
        spellings = [
            word if len(word) <= _LONGEST_SPELLING else f"{word[:15]}{word[-15:]}"
            for word in sentence.words
        ]
        forms = (looked_up(word, self.lower_case, self.zero_digits) for word in sentence.words)
        return CodedSentence(
            [self.ids.get(form, UNK) for form in forms],
            [tuple(self.letters.encode(word)) for word in spellings],
            self.labels.numbers(self.in_scheme(sentence.labels)),
            0 if self.intents is None else self.intents.numbers([sentence.intent])[0],
        )

    def to_json(self) -> dict[str, Any]:
        """What follows from the data, as a JSON object."""
        intents = {} if self.intents is None else {"intents": self.intents.to_json()}
        return {
            "has_spans": self.has_spans,
            "labels": self.labels.to_json(),
            **intents,
            "letters": self.letters.to_json(),
            "words": self.words.to_json(),
        }
