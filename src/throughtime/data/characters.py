"""Tokenisers that split a text into characters, characters and tags, or symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from throughtime.data.tokeniser import TokenListTokeniser

__all__ = ["CharacterTokeniser", "SymbolTokeniser", "TaggedCharacterTokeniser"]


class CharacterTokeniser(TokenListTokeniser):
    """Splits a text into characters, including spaces.

    >>> tokeniser = CharacterTokeniser.fit(["12+345"])
    >>> tokeniser.encode("3+9"), tokeniser.decode(tokeniser.encode("3+9"))
    ([7, 4, 3], '3+<unk>')
    """

    kind: ClassVar[str] = "characters"
    unit: ClassVar[str] = "characters"

    def split(self, text: str) -> list[str]:
        return list(text)

    def join(self, parts: Sequence[str]) -> str:
        return "".join(parts)


class TaggedCharacterTokeniser(CharacterTokeniser):
    """Splits a text into characters and tags; a tag from ``<`` to ``>`` is one token.

    >>> TaggedCharacterTokeniser(()).split("go<V><PST>")
    ['g', 'o', '<V>', '<PST>']
    """

    kind: ClassVar[str] = "tagged"

    def split(self, text: str) -> list[str]:
        return _TAG_OR_CHARACTER.findall(text)


class SymbolTokeniser(TokenListTokeniser):
    """Splits a text at spaces: phonemes, actions, or the words of a text tokenised before.

    >>> tokeniser = SymbolTokeniser.fit(["HH AH0 L OW1"])
    >>> tokeniser.decode(tokeniser.encode(" HH  OW1"))
    'HH OW1'
    """

    kind: ClassVar[str] = "symbols"
    unit: ClassVar[str] = "symbols"

    def split(self, text: str) -> list[str]:
        return text.split()

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts)


_TAG_OR_CHARACTER = re.compile(r"<[^<>\s]+>|.", re.DOTALL)
