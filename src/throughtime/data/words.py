"""A text as words and punctuation, and back to a text as people write it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import ClassVar

from throughtime.data.tokeniser import TokenListTokeniser

__all__ = ["WordTokeniser", "join_words", "split_words"]


class WordTokeniser(TokenListTokeniser):
    """Words and punctuation marks are the tokens, by the rules of :func:`split_words`.

    Args:
        tokens: the words that it knows.
        lower_case: read everything in lower case; what is decoded is in lower case, too.

    >>> tokeniser = WordTokeniser.fit(["A man's dog (brown), asleep."], lower_case=True)
    >>> tokeniser.decode(tokeniser.encode("A dog's man, asleep!"))
    "a dog's man, asleep <unk>"
    """

    kind: ClassVar[str] = "words"
    unit: ClassVar[str] = "words"
    options: ClassVar[tuple[str, ...]] = ("lower_case",)

    def __init__(self, tokens: Sequence[str], lower_case: bool = False) -> None:
        super().__init__(tokens)
        self.lower_case = lower_case

    def split(self, text: str) -> list[str]:
        return split_words(text.lower() if self.lower_case else text)

    def join(self, parts: Sequence[str]) -> str:
        return join_words(parts)


_TOKENS = re.compile(
    r"""
      (?<=\w)['’](?:s|d|m|ll|re|ve)\b   # what English hangs on a word: 's, 'll
    | \d+(?:[.,:]\d+)*                  # a number, 3.14 or 10:30
      \w*(?:-\w+)*                     # that may go on: 3D, 10-year
    | \w+(?:-\w+|['’](?!(?:s|d|m|ll|re|ve)\b)\w+)*   # T-Shirt, don't, l'homme
      (?:-(?=\s|$))?                   # a word of which the end follows later: Zwei- und
    | \.{2,}                            # an ellipsis
    | [^\w\s]                           # any other mark
    """,
    re.VERBOSE,
)
_CLITIC = re.compile(r"['’](?:s|d|m|ll|re|ve)")
_ATTACHED_TO_THE_LEFT = set(".,!?;:%)]}…’”“°")
_ATTACHED_TO_THE_RIGHT = set("([{¿¡$£€#@„‘")
_ATTACHED_TO_BOTH = set("/_")
_PAIRED = "\"'"


def split_words(text: str) -> list[str]:
    """The words and the punctuation marks of a text.

    A word may hold hyphens and apostrophes (*T-Shirt*, *don't*); the English *'s 'd 'm 'll 're
    've* at its end are tokens of their own. A number keeps its points, commas and colons. Every
    other mark is a token. The text is composed first (Unicode NFC), so that a letter and its
    accent are one character.

    >>> split_words("A man's T-shirt, isn't it? 3.5 m (or so)...")
    ['A', 'man', "'s", 'T-shirt', ',', "isn't", 'it', '?', '3.5', 'm', '(', 'or', 'so', ')', '...']
    """
    return _TOKENS.findall(_composed(text))


# The limit of the Stream-Safe Text Format of Unicode (UAX 15), which no word of a language reaches.
_MOST_MARKS = 30


def _composed(text: str) -> str:
    """The text in NFC; more than 30 marks on one letter are composed 30 at a time.

    The time of ``unicodedata.normalize`` grows with the square of the marks on one letter.
    """
    if len(text) <= 1000:
        return unicodedata.normalize("NFC", text)
    pieces, begin, num_marks = [], 0, 0
    for place, character in enumerate(text):
        num_marks = num_marks + 1 if unicodedata.combining(character) else 0
        if num_marks > _MOST_MARKS:
            pieces.append(text[begin:place])
            begin, num_marks = place, 1
    pieces.append(text[begin:])
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces)


def join_words(tokens: Sequence[str]) -> str:
    """The text of words and marks: one space between two, but none where a mark attaches.

    Commas, points and closing brackets attach to what stands before them, opening brackets to
    what stands behind, a slash to both. Straight quotes attach inwards, the first to the right,
    the second to the left, and so on; one without a partner attaches to the left.

    >>> join_words(["He", "said", '"', "no", '"', ",", "the", "boy", "'s", "dog", "(", "5", ")"])
    'He said "no", the boy\\'s dog (5)'
    """
    opens = _opening_quotes(tokens)
    text, glued = "", True
    for place, token in enumerate(tokens):
        is_quote = token in _PAIRED
        to_left = (
            (token in _ATTACHED_TO_THE_LEFT and place not in opens)
            or token in _ATTACHED_TO_BOTH
            or (is_quote and place not in opens)
            or _CLITIC.fullmatch(token) is not None
            or (len(token) > 1 and not token.strip("."))
        )
        text += token if glued or to_left else f" {token}"
        glued = token in _ATTACHED_TO_THE_RIGHT or token in _ATTACHED_TO_BOTH or place in opens
    return text


def _opening_quotes(tokens: Sequence[str]) -> set[int]:
    """The places of the quotes that have a closing one behind them."""
    # “ opens in English, but closes in German what „ opened.
    opens, is_german = set(), False
    for place, token in enumerate(tokens):
        if token == "“" and not is_german:
            opens.add(place)
        is_german = token == "„" or (is_german and token != "“")
    for quote in _PAIRED:
        places = [i for i, token in enumerate(tokens) if token == quote]
        opens.update(places[0 : len(places) // 2 * 2 : 2])
    return opens
