"""All tokenisers by their names, and a tokeniser from its JSON form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from throughtime.checks import unknown
from throughtime.data.characters import (
    CharacterTokeniser,
    SymbolTokeniser,
    TaggedCharacterTokeniser,
)
from throughtime.data.subwords import SubwordTokeniser
from throughtime.data.tokeniser import Tokeniser, TokenListTokeniser
from throughtime.data.words import WordTokeniser

__all__ = ["TOKENISERS", "fit_tokeniser", "tokeniser_from_json"]

TOKENISERS: dict[str, type[TokenListTokeniser] | type[SubwordTokeniser]] = {
    kind.kind: kind
    for kind in (
        CharacterTokeniser,
        TaggedCharacterTokeniser,
        SymbolTokeniser,
        WordTokeniser,
        SubwordTokeniser,
    )
}
"""Every way to cut a text, by its name."""


def fit_tokeniser(kind: str, texts: Iterable[str], **options: Any) -> Tokeniser:
    """A tokeniser learned from texts.

    Args:
        kind: one of `TOKENISERS`.
        texts: of the training split.
        options: of the ``fit`` of that kind: min_count, max_size; for words lower_case.

    >>> len(fit_tokeniser("words", ["a man, a plan"]))
    8
    """
    if kind not in TOKENISERS:
        raise unknown("tokenisation", kind, TOKENISERS)
    return TOKENISERS[kind].fit(texts, **options)


def tokeniser_from_json(value: object) -> Tokeniser:
    """The tokeniser that ``to_json`` wrote, with the same ids; no code is run.

    Raises:
        ValueError: not such a form.
    """
    if not isinstance(value, dict) or "kind" not in value:
        raise ValueError(
            f"tokeniser_from_json: expected an object with a kind, got {type(value).__name__}. "
            "Pass what to_json of a tokeniser returned."
        )
    if not isinstance(value["kind"], str) or value["kind"] not in TOKENISERS:
        raise unknown("tokenisation", value["kind"], TOKENISERS)
    return TOKENISERS[value["kind"]].from_json(value)
