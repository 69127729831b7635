"""Creates tokenisers by their names, from texts or from JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from throughtime.checks import unknown
from throughtime.data.characters import (
    CharacterTokeniser,
    SymbolTokeniser,
    TaggedCharacterTokeniser,
)
from throughtime.data.subwords import MissingLibraryError, SubwordTokeniser
from throughtime.data.tokeniser import Tokeniser, TokenListTokeniser
from throughtime.data.words import WordTokeniser

__all__ = [
    "TOKENISERS",
    "fit_tokeniser",
    "kind_for_targets",
    "round_trip",
    "tokeniser_from_json",
]

_ENOUGH = 0.9
_ENOUGH_FOR_SUBWORDS = 5000

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


def round_trip(tokeniser: Tokeniser, texts: Iterable[str]) -> tuple[float, tuple[str, str] | None]:
    """How many texts a tokeniser reproduces exactly, if it knows all their tokens.

    Args:
        tokeniser: the tokeniser; its known tokens do not matter.
        texts: the texts.

    Returns:
        The fraction of the texts that are reproduced, and the shortest one that is not, with what
        becomes of it; None if there is none.

    >>> round_trip(WordTokeniser(()), ["a man, asleep", "x[0] == y"])
    (0.5, ('x[0] == y', 'x [0] = = y'))
    """
    texts = list(texts)
    wrong = [(text, out) for text in texts if (out := tokeniser.rewritten(text)) != text]
    example = min(wrong, key=lambda pair: len(pair[0]), default=None)
    return 1 - len(wrong) / max(1, len(texts)), example


def kind_for_targets(targets: Sequence[str]) -> str:
    """The name of the tokeniser that suits the user's own targets, by their round trip.

    That is words, if nine of ten targets are reproduced exactly. Otherwise it is subwords, or
    characters if there are fewer than 5,000 targets, from which few subwords are learned, if the
    library for subwords is not installed, or if subwords do not reproduce the targets.

    Args:
        targets: the targets of the training.
    """
    if round_trip(WordTokeniser(()), targets)[0] >= _ENOUGH:
        return "words"
    if len(targets) >= _ENOUGH_FOR_SUBWORDS:
        try:
            subwords = SubwordTokeniser.fit(targets)
        except MissingLibraryError:
            return "characters"
        if round_trip(subwords, targets[:_ENOUGH_FOR_SUBWORDS])[0] >= _ENOUGH:
            return "subwords"
    return "characters"


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
