"""Writes the tokens of a tune as ABC."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.data.music.abc_score import TuneScore, score_of
from throughtime.data.music.abc_tokens import BARS, is_ending

__all__ = ["abc_text"]


def abc_text(tokens: Sequence[str], number: int = 1, title: str = "") -> str:
    """A tune as ABC.

    A space ends the beam of each beat: of three eighth notes in 6/8, and of four in 4/4 and 2/2. A
    line of text ends after four whole bars, and with each part of the tune.

    Args:
        tokens: the tokens of a tune; fields in its middle are written in brackets.
        number: the number of the tune in its file.
        title: its title.

    >>> print(abc_text(["M:6/8", "K:Gmaj", "|:", *"GABc", "2", "d", ":|"], 7, "A song"))
    X:7
    T:A song
    M:6/8
    L:1/8
    K:Gmaj
    |: GAB c2d :|
    """
    num_fields = next((n for n, t in enumerate(tokens) if t[:2] not in ("M:", "K:")), len(tokens))
    fields = {token[0]: token for token in tokens[:num_fields]}
    score = score_of(tokens)
    beats, line_ends = set(score.beats), _line_ends(tokens, score)
    body: list[str] = []
    for place, token in enumerate(tokens[num_fields:], num_fields):
        is_bar = token in BARS
        if token[:2] in ("M:", "K:"):
            body.append(f"[{token}]")
        elif is_ending(token) or is_bar:
            body.append(f" {token}{' ' if is_bar else ''}")
            body += ["\n"] if place in line_ends else []
        else:
            body.append(f" {token}" if place in beats else token)
    head = [f"X:{number}", f"T:{title}", fields.get("M", "M:none"), "L:1/8"]
    melody = [" ".join(line.split()) for line in "".join(body).strip().split("\n")]
    return "\n".join([*head, fields.get("K", "K:Cmaj"), *melody])


def _line_ends(tokens: Sequence[str], score: TuneScore) -> set[int]:
    """The places of the bar lines that end a line of text; two endings share a line."""
    places = set()
    number = 0
    for bar in score.bars:
        number += bar.metre is None or bar.duration >= bar.metre
        if bar.end is None or (tokens[bar.end] == "|" and number < 4):
            continue
        if not any(map(is_ending, tokens[bar.end + 1 : bar.end + 2])):
            places.add(bar.end)
            number = 0
    return places
