"""The error rates of transcripts: of words, characters and phones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from throughtime.data import MissingLibraryError

__all__ = ["error_library", "error_rates", "names_of_rates"]


def names_of_rates(folding: Mapping[str, str] | None) -> tuple[str, ...]:
    """The names of the error rates, the one that selects the best model first."""
    if folding is not None:
        return ("phoneme_error_rate",)
    return ("word_error_rate", "character_error_rate")


def error_rates(
    texts: Sequence[str], outputs: Sequence[str], folding: Mapping[str, str] | None = None
) -> dict[str, float]:
    """The word and the character error rate of outputs, by the library jiwer.

    They are NaN if all transcripts are empty.

    Args:
        texts: the transcripts.
        outputs: what was written for each of them.
        folding: for transcripts of phones, as which phone each phone is judged, or an empty text
            for one that is left out; the phoneme error rate is returned then.

    >>> error_rates(["one two", "three"], ["one too", "three"])["word_error_rate"]
    0.3333333333333333
    >>> error_rates(["sil ah q"], ["sil ax"], {"sil": "sil", "ah": "ah", "ax": "ah", "q": ""})
    {'phoneme_error_rate': 0.0}
    """
    if folding is not None:
        texts, outputs = ([_folded(text, folding) for text in part] for part in (texts, outputs))
    names = names_of_rates(folding)
    if not any(text.split() for text in texts):
        return dict.fromkeys(names, math.nan)
    library = error_library()
    rates = zip(names, (library.wer, library.cer), strict=False)
    return {name: float(rate(list(texts), list(outputs))) for name, rate in rates}


def _folded(text: str, folding: Mapping[str, str]) -> str:
    """Phones as those as which they are judged; a phone without an entry stays as it is."""
    return " ".join(filter(None, (folding.get(phone, phone) for phone in text.split())))


def error_library() -> Any:
    """The library jiwer; raises a MissingLibraryError with the way to install it."""
    try:
        import jiwer
    except ImportError as error:
        raise MissingLibraryError(
            "transcription: needs the library jiwer, for the error rates. Install it: "
            'pip install "throughtime[audio]".'
        ) from error
    return jiwer
