"""Creates tokenisers by their names, from texts or from JSON."""

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
"""All tokeniser classes, by name."""


def fit_tokeniser(kind: str, texts: Iterable[str], **options: Any) -> Tokeniser:
    """Creates a tokeniser with the vocabulary of texts.

    Args:
        kind: the name of one of `TOKENISERS`.
        texts: the texts of the training split.
        options: the options of its ``fit`` method: min_count, max_size; for words also lower_case.

    >>> len(fit_tokeniser("words", ["a man, a plan"]))
    8
    """
    if kind not in TOKENISERS:
        raise unknown("tokenisation", kind, TOKENISERS)
    return TOKENISERS[kind].fit(texts, **options)


def tokeniser_from_json(value: object) -> Tokeniser:
    """Restores a tokeniser from the result of its ``to_json``, with the same ids.

    No code from the JSON form is executed.

    Raises:
        ValueError: if the value is not such a form.
    """
    if not isinstance(value, dict) or "kind" not in value:
        raise ValueError(
            f"tokeniser_from_json: expected an object with a kind, got {type(value).__name__}. "
            "Pass what to_json of a tokeniser returned."
        )
    if not isinstance(value["kind"], str) or value["kind"] not in TOKENISERS:
        raise unknown("tokenisation", value["kind"], TOKENISERS)
    return TOKENISERS[value["kind"]].from_json(value)
