"""A tokeniser that splits a text into words and punctuation, and joins them to text again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import ClassVar

from throughtime.data.tokeniser import TokenListTokeniser

__all__ = ["WordTokeniser", "join_words", "split_words"]


class WordTokeniser(TokenListTokeniser):
    """Splits a text into words and punctuation marks, by the rules of :func:`split_words`.

    Args:
        tokens: the known words.
        lower_case: whether texts are converted to lower case, so that decoded texts are, too.

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
      (?<=\w)['’](?:s|d|m|ll|re|ve)\b   # an English clitic: 's, 'll
    | \d+(?:[.,:]\d+)*                  # a number, 3.14 or 10:30
      \w*(?:-\w+)*                     # with letters that follow it: 3D, 10-year
    | \w+(?:-\w+|['’](?!(?:s|d|m|ll|re|ve)\b)\w+)*   # T-Shirt, don't, l'homme
      (?:-(?=\s|$))?                   # a word with a suspended hyphen: Zwei- und Dreirad
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
    """Splits a text into words and punctuation marks.

    A word may contain hyphens and apostrophes (*T-Shirt*, *don't*), but the English clitics *'s 'd
    'm 'll 're 've* at its end are separate tokens. A number includes its points, commas and colons.
    Every other mark is a token. The text is first converted to Unicode NFC, in which a letter and
    its accent are one character.

    >>> split_words("A man's T-shirt, isn't it? 3.5 m (or so)...")
    ['A', 'man', "'s", 'T-shirt', ',', "isn't", 'it', '?', '3.5', 'm', '(', 'or', 'so', ')', '...']
    """
    return _TOKENS.findall(_composed(text))


# The limit of combining marks of Unicode's Stream-Safe Text Format (UAX 15), which exceeds those of
# a letter in any language.
_MOST_MARKS = 30


def _composed(text: str) -> str:
    """The text in Unicode NFC.

    Sequences of more than 30 combining marks are converted in pieces, because the time of
    ``unicodedata.normalize`` is quadratic in the number of marks on a letter.
    """
    if len(text) <= 1000:
        return unicodedata.normalize("NFC", text)
    pieces, begin, num_marks = [], 0, 0
    for i, character in enumerate(text):
        num_marks = num_marks + 1 if unicodedata.combining(character) else 0
        if num_marks > _MOST_MARKS:
            pieces.append(text[begin:i])
            begin, num_marks = i, 1
    pieces.append(text[begin:])
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces)


def join_words(tokens: Sequence[str]) -> str:
    """Joins words and punctuation marks to a text.

    Tokens are separated by a space, except on a side to which a mark attaches. Commas, points and
    closing brackets attach to the token before, opening brackets to the token after, a slash to
    both. Straight quotes are paired: the first of a pair attaches to the token after, the second to
    the token before, as does one without a partner.

    >>> join_words(["He", "said", '"', "no", '"', ",", "the", "boy", "'s", "dog", "(", "5", ")"])
    'He said "no", the boy\\'s dog (5)'
    """
    opening = _opening_quotes(tokens)
    text, attaches_to_next = "", True
    for i, token in enumerate(tokens):
        is_quote = token in _PAIRED
        attaches_to_previous = (
            (token in _ATTACHED_TO_THE_LEFT and i not in opening)
            or token in _ATTACHED_TO_BOTH
            or (is_quote and i not in opening)
            or _CLITIC.fullmatch(token) is not None
            or (len(token) > 1 and not token.strip("."))
        )
        text += token if attaches_to_next or attaches_to_previous else f" {token}"
        attaches_to_next = (
            token in _ATTACHED_TO_THE_RIGHT or token in _ATTACHED_TO_BOTH or i in opening
        )
    return text


def _opening_quotes(tokens: Sequence[str]) -> set[int]:
    """The indices of the quotes that open a quotation."""
    # “ opens a quotation in English, but in German it closes one that „ opened.
    opening, is_german = set(), False
    for i, token in enumerate(tokens):
        if token == "“" and not is_german:
            opening.add(i)
        is_german = token == "„" or (is_german and token != "“")
    for quote in _PAIRED:
        indices = [i for i, token in enumerate(tokens) if token == quote]
        opening.update(indices[0 : len(indices) // 2 * 2 : 2])
    return opening
