"""What the tokens of a tune mean: its bars, what is wrong with them, and its notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from throughtime.data.music.abc_tokens import BARS, duration_of, is_ending
from throughtime.data.music.notes import Note

__all__ = ["Tone", "TuneScore", "score_of"]

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# The number of sharps of the major key on each letter, and the number that a mode adds; flats count
# as negative sharps.
_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_MODE_FIFTHS = {"maj": 0, "min": -3, "dor": -2, "mix": -1, "phr": -4, "lyd": 1, "loc": -5}
_SHARPS = "FCGDAEB"
_ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
_PITCH = re.compile(r"(\^\^|__|[\^_=])?([A-Ga-g])([,']*)")
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
_MOST_PLAYED = 2000
_LEAST_IN_KEY = 0.9


@dataclass
class Tone:
    """Keys that are struck together.

    Args:
        keys: their MIDI numbers; none is a rest.
        duration: in eighth notes.
        is_tied: whether the next tone of the same keys continues this one.
    """

    keys: tuple[int, ...]
    duration: Fraction
    is_tied: bool = False


@dataclass
class _Bar:
    """A bar.

    Args:
        number: its number, from 1.
        metre: its length by the metre, in eighth notes; None if there is no metre.
        tones: what sounds in it.
        opens, closes: whether a repeated part begins or ends with it.
        is_edge: whether it lies beside a repeat, a double bar, or an end, where it may be shorter.
        endings: the numbers of the times at which it is played in a repeat, if it belongs to an
            ending; empty if it is played each time.
        end: the place of the bar line after it; None if there is none.
    """

    number: int
    metre: Fraction | None
    tones: list[Tone] = field(default_factory=list)
    opens: bool = False
    closes: bool = False
    is_edge: bool = False
    endings: tuple[int, ...] = ()
    end: int | None = None

    @property
    def duration(self) -> Fraction:
        return sum((tone.duration for tone in self.tones), Fraction(0))


@dataclass
class TuneScore:
    """The bars of a tune, and what is wrong with it.

    Args:
        bars: its bars.
        problems: what a player would stumble over; none for a valid tune.
        beats: the places of the tokens with which a beat begins that is not the first of its bar.
    """

    bars: list[_Bar]
    problems: list[str]
    beats: list[int]

    def notes(self, seconds_per_eighth: float = 0.2) -> list[Note]:
        """The notes of the tune with its repeats played, each with a small gap after it."""
        notes: list[Note] = []
        now = Fraction(0)
        tied: dict[int, Fraction] = {}
        for bar in self._played():
            for tone in bar.tones:
                for key in tone.keys:
                    start = tied.pop(key, now)
                    if tone.is_tied:
                        tied[key] = start
                    else:
                        end = now + tone.duration * Fraction(19, 20)
                        notes.append(_note(start, end, key, seconds_per_eighth))
                # A tie to another key holds nothing.
                for key in [key for key in tied if key not in tone.keys]:
                    notes.append(_note(tied.pop(key), now, key, seconds_per_eighth))
                now += tone.duration
        notes += [_note(start, now, key, seconds_per_eighth) for key, start in tied.items()]
        return sorted(notes)

    def _played(self) -> list[_Bar]:
        """The bars in the order in which they are played."""
        played: list[_Bar] = []
        place = start = 0
        turn = 1
        while place < len(self.bars) and len(played) < _MOST_PLAYED:
            bar = self.bars[place]
            if bar.opens and place != start:
                start, turn = place, 1
            if bar.endings and turn not in bar.endings:
                place += 1
                continue
            played.append(bar)
            following = self.bars[place + 1] if place + 1 < len(self.bars) else None
            # A part is played twice, or as often as its endings say.
            endings = {number for own in self.bars[start : place + 2] for number in own.endings}
            if bar.closes and (turn == 1 or turn + 1 in endings):
                place, turn = start, turn + 1
                continue
            if bar.closes or (bar.endings and (not following or not following.endings)):
                start, turn = place + 1, 1
            place += 1
        return played


def _note(start: Fraction, end: Fraction, key: int, seconds: float) -> Note:
    return Note(float(start) * seconds, float(end) * seconds, key)


def score_of(tokens: Sequence[str]) -> TuneScore:
    """Reads the tokens of a tune, right or wrong.

    A tune is valid if it begins with a metre and a key, and: each bar fills the metre, but one
    beside a repeat, a double bar or an end may be shorter; each repeat that is opened is closed,
    and endings come in order; tuplets, chords and broken rhythms are complete; and nine of ten
    notes have no accidental that is foreign to the key.
    """
    return _Reader(tokens).read()


def _beat(metre: str) -> Fraction:
    """The eighth notes that are beamed together in a metre such as ``6/8``.

    >>> [int(_beat(metre)) for metre in ("6/8", "9/8", "4/4", "2/2", "3/4", "2/4", "3/8")]
    [3, 3, 4, 4, 2, 2, 3]
    """
    count, unit = map(int, metre.split("/"))
    if unit >= 8:
        return Fraction(3 if count % 3 == 0 else count, unit) * 8
    return Fraction(4 if unit < 4 or count == 4 else 2)


class _Reader:
    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.problems: list[str] = []
        self.key: dict[str, int] = {}
        self.in_bar: dict[str, int] = {}
        # The length of a bar, and of a beat, in eighth notes.
        self.metre: Fraction | None = None
        self.beat: Fraction | None = None
        self.beats: list[int] = []
        self.bars = [_Bar(1, None, is_edge=True)]
        self.endings: tuple[int, ...] = ()
        self.is_open = False
        # Of a tuplet: how many tones are left of it, and the factor of their durations.
        self.num_left, self.factor = 0, Fraction(1)
        # The factor that a broken rhythm gives the next tone.
        self.broken: Fraction | None = None
        self.num_notes = self.num_foreign = 0
        self.chord: Tone | None = None

    def problem(self, text: str) -> None:
        self.problems.append(f"bar {self.bars[-1].number}: {text}")

    def read(self) -> TuneScore:
        fields = [token[:2] for token in self.tokens[:2]]
        if fields != ["M:", "K:"]:
            self.problems.append("a tune begins with a metre and a key")
        for place, token in enumerate(self.tokens):
            if self._begins_beat(token):
                self.beats.append(place)
            self._read(token, place)
        self._end_of_bar()
        if self.is_open:
            self.problem("the repeat that was opened is not closed")
        if not self.bars[-1].tones:
            self.bars.pop()
        else:
            self.bars[-1].is_edge = True
        for bar in self.bars:
            self._check_length(bar)
        if not any(tone.keys for bar in self.bars for tone in bar.tones):
            self.problems.append("there is no note")
        elif self.num_foreign > (1 - _LEAST_IN_KEY) * self.num_notes:
            self.problems.append(
                f"{self.num_foreign} of {self.num_notes} notes are foreign to the key"
            )
        return TuneScore(self.bars, self.problems, self.beats)

    def _begins_beat(self, token: str) -> bool:
        """Whether a token begins a tone or a tuplet, and a beat within a bar with it."""
        is_inside = self.chord is not None or self.num_left or self.broken is not None
        position = self.bars[-1].duration
        if is_inside or self.beat is None or position == 0 or position % self.beat:
            return False
        return token in ("z", "[") or token[0] == "(" or _PITCH.fullmatch(token) is not None

    def _check_length(self, bar: _Bar) -> None:
        if bar.metre is None or bar.duration == bar.metre:
            return
        if bar.duration > bar.metre or not bar.is_edge:
            self.problems.append(
                f"bar {bar.number}: {bar.duration} eighths in a metre of {bar.metre}"
            )

    def _read(self, token: str, place: int) -> None:
        pitch, duration = _PITCH.fullmatch(token), duration_of(token)
        if token.startswith("M:"):
            value = token[2:]
            self.metre = None if value == "none" else Fraction(value) * 8
            self.beat = None if value == "none" else _beat(value)
            if not self.bars[-1].tones:
                self.bars[-1].metre = self.metre
        elif token.startswith("K:"):
            self._read_key(token[2:])
        elif pitch is not None:
            self._read_pitch(pitch)
        elif token == "z":
            self._add(Tone((), Fraction(1)))
        elif duration is not None:
            self._read_duration(duration, self.tokens[place - 1] if place else "")
        elif token in BARS:
            self._read_bar(token, place)
        elif is_ending(token):
            self._read_ending(tuple(map(int, token[1:].split(","))))
        elif token.startswith("("):
            self._read_tuplet(token)
        elif token == "[" and self.chord is None:
            self.chord = Tone((), Fraction(0))
        elif token == "]" and self.chord is not None and self.chord.keys:
            chord, self.chord = self.chord, None
            self._add(chord)
        elif token == "-" and self._last is not None and self._last.keys:
            self._last.is_tied = True
        elif token[:1] in "<>" and self._last is not None and self.broken is None:
            less = Fraction(1, 2 ** len(token))
            more = 2 - less
            self._last.duration *= more if token[0] == ">" else less
            self.broken = less if token[0] == ">" else more
        else:
            self.problem(f"{token!r} has no place here")

    @property
    def _last(self) -> Tone | None:
        tones = self.bars[-1].tones
        return self.chord if self.chord is not None else tones[-1] if tones else None

    def _add(self, tone: Tone) -> None:
        if self.chord is not None:
            self.problem("a rest or a chord stands in a chord")
            return
        if self.num_left:
            tone.duration *= self.factor
            self.num_left -= 1
        if self.broken is not None:
            tone.duration *= self.broken
            self.broken = None
        self.bars[-1].tones.append(tone)

    def _read_duration(self, duration: Fraction, before: str) -> None:
        last = self._last
        if last is None or not (before in ("z", "]") or _PITCH.fullmatch(before)):
            self.problem(f"the duration {duration} stands after no note")
        elif self.chord is None:
            last.duration *= duration
        elif len(last.keys) == 1:
            # The first note of a chord determines its duration.
            last.duration = duration

    def _read_pitch(self, pitch: re.Match[str]) -> None:
        accidental, letter, octave = pitch.groups()
        # An accidental holds for its octave, to the end of the bar.
        place = letter + octave
        if accidental is not None:
            self.in_bar[place] = _ACCIDENTALS[accidental]
        own = self.key.get(letter.upper(), 0)
        shift = self.in_bar.get(place, own)
        self.num_notes += 1
        self.num_foreign += shift != own
        number = 60 + _STEPS[letter.upper()] + shift + 12 * letter.islower()
        number += 12 * (octave.count("'") - octave.count(","))
        if not 0 <= number <= 127:
            self.problem(f"{pitch[0]} is no key of a MIDI instrument")
            return
        if self.chord is not None:
            is_first = not self.chord.keys
            self.chord.keys += (number,)
            self.chord.duration = Fraction(1) if is_first else self.chord.duration
        else:
            self._add(Tone((number,), Fraction(1)))

    def _read_key(self, value: str) -> None:
        match = re.fullmatch(r"([A-G])([#b]?)(maj|min|dor|mix|phr|lyd|loc)", value)
        if match is None:
            self.problem(f"{value} is no key")
            return
        fifths = _FIFTHS[match[1]] + {"": 0, "#": 7, "b": -7}[match[2]] + _MODE_FIFTHS[match[3]]
        if abs(fifths) > 7:
            self.problem(f"{value} is no key of at most seven sharps or flats")
            return
        letters = _SHARPS[:fifths] if fifths >= 0 else _SHARPS[fifths:]
        self.key = dict.fromkeys(letters, 1 if fifths > 0 else -1)

    def _read_tuplet(self, token: str) -> None:
        match = re.fullmatch(r"\((\d)(?::(\d?):(\d?))?", token)
        p = int(match[1]) if match else 0
        if match is None or p < 2 or self.num_left:
            self.problem(f"{token!r} has no place here")
            return
        # 5, 7 and 9 notes have the time of 3 in a compound metre, else of 2.
        is_compound = self.metre is not None and self.metre % 3 == 0 and self.metre > 3
        q = int(match[2]) if match[2] else _TUPLETS.get(p, 3 if is_compound else 2)
        self.num_left, self.factor = int(match[3]) if match[3] else p, Fraction(q, p)

    def _end_of_bar(self) -> None:
        if self.num_left:
            self.problem("a tuplet is not complete")
        if self.broken is not None:
            self.problem("a broken rhythm has no second note")
        if self.chord is not None:
            self.problem("a chord is not closed")
        self.num_left, self.broken, self.chord = 0, None, None
        self.in_bar = {}

    def _read_bar(self, token: str, place: int) -> None:
        self._end_of_bar()
        bar, closes, opens = self.bars[-1], token in (":|", "::"), token in ("|:", "::")
        is_edge = token != "|"
        if opens and not closes and self.is_open:
            self.problem("a repeat is opened in a repeat")
        if closes:
            self.is_open = False
        self.is_open = self.is_open or opens
        if is_edge:
            self.endings = ()
        if bar.tones:
            bar.closes, bar.is_edge, bar.end = closes, bar.is_edge or is_edge, place
            self.bars.append(_Bar(bar.number + 1, self.metre))
            bar = self.bars[-1]
        elif closes:
            if len(self.bars) < 2:
                self.problem("a repeat of nothing is closed")
            else:
                self.bars[-2].closes = True
                self.bars[-2].is_edge = True
        bar.opens = bar.opens or opens
        bar.is_edge = bar.is_edge or is_edge
        bar.endings = self.endings

    def _read_ending(self, numbers: tuple[int, ...]) -> None:
        first = min(numbers)
        if self.bars[-1].tones:
            self.problem(f"the ending {first} begins within a bar")
        before = self.bars[-2] if len(self.bars) > 1 else None
        if first > 1 and not (before and first - 1 in before.endings and before.closes):
            self.problem(f"the ending {first} follows no ending {first - 1}")
        self.endings = self.bars[-1].endings = numbers
        self.bars[-1].is_edge = True
        if before is not None:
            before.is_edge = True
