"""Tokens as labels in drawings, with visible signs for what cannot be seen."""

from __future__ import annotations

import unicodedata

__all__ = ["label_width", "token_label"]

_LONGEST_LABEL = 24
_SIGNS = {" ": "␣", "\t": "⇥", "\n": "↵", "\r": "␍", "\u00a0": "⍽", "\x7f": "␡"}


def token_label(token: str) -> str:
    """A token as a label of an axis, with visible signs for white space and control characters."""
    label = "".join(map(_sign, token)) or "∅"
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character < " ":
        # The pictures of the control characters, in their order.
        return chr(0x2400 + ord(character))
    # Joiners are parts of letters and pictures, so they stay.
    is_visible = character.isprintable() or character in "\u200c\u200d"
    if is_visible and not character.isspace():
        return character
    is_surrogate = "\ud800" <= character <= "\udfff"
    return "�" if is_surrogate else f"U+{ord(character):04X}"


def label_width(label: str) -> int:
    """The width of a label in letters; East Asian letters count twice, combining accents not."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in label)
    return len(label) + wide - sum(bool(unicodedata.combining(c)) for c in label)
