"""The tokeniser of a task whose texts have one side, from its settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from throughtime.data import Tokeniser, fit_tokeniser

__all__ = ["tokeniser_of_texts"]


def tokeniser_of_texts(config: Any, usual: str, texts: Iterable[str], min_count: int) -> Tokeniser:
    """Creates a tokeniser with the vocabulary of texts.

    Args:
        config: the settings, with ``tokenisation``, ``lower_case`` and ``vocab_size``.
        usual: the kind of tokeniser that ``--tokenisation auto`` means for these texts.
        texts: the texts of the training split.
        min_count: how often a token must occur to be in the vocabulary.

    Raises:
        ValueError: if ``lower_case`` is set for another kind than words.
    """
    kind = usual if config.tokenisation == "auto" else config.tokenisation
    if config.lower_case and kind != "words":
        raise ValueError(
            f"--lower_case is for words, and would have no effect on {kind}. Leave it out, or use "
            "--tokenisation words."
        )
    options = {"lower_case": config.lower_case} if kind == "words" else {}
    return fit_tokeniser(kind, texts, min_count=min_count, max_size=config.vocab_size, **options)
