"""Performances as events: notes on and off, shifts of time, and velocities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from throughtime.data.music.notes import Note, key_name

__all__ = [
    "NUM_EVENTS",
    "STEPS_PER_SECOND",
    "EventReader",
    "event_name",
    "events_of",
    "notes_of_events",
    "on_grid",
    "steps_of",
    "stretched",
]

STEPS_PER_SECOND = 100
"""The steps of the grid of events in a second."""

NUM_EVENTS = 388
"""128 notes on, 128 notes off, 100 shifts of 1 to 100 steps, and 32 velocities."""

OFF, SHIFT, VELOCITY = 128, 256, 356
_MOST_SHIFTED = VELOCITY - SHIFT
_VELOCITY_WIDTH = 4
_FIRST_VELOCITY = 16
"""The velocity before the first event of one."""


def on_grid(notes: Iterable[Note]) -> list[Note]:
    """The notes as events can tell them.

    Times are rounded to steps, and a note lasts at least one step. Velocities are rounded to the
    middle of one of 32 ranges. A note that begins while its key sounds ends the note before; of
    notes of one key that begin together, the longest remains, or the loudest of these.

    >>> on_grid([Note(0.004, 0.996, 60, 80), Note(0.5, 2.0, 60, 80)])
    [Note(start=0.0, end=0.5, key=60, velocity=82), Note(start=0.5, end=2.0, key=60, velocity=82)]
    """
    rows: dict[tuple[int, int], tuple[int, int]] = {}
    for start, end, key, velocity in notes:
        first = round(start * STEPS_PER_SECOND)
        last = max(first + 1, round(end * STEPS_PER_SECOND))
        place, row = (key, first), (last, velocity // _VELOCITY_WIDTH)
        rows[place] = max(rows.get(place, row), row)
    ordered = sorted(rows)
    result = []
    for number, (key, first) in enumerate(ordered):
        last, level = rows[key, first]
        following = ordered[number + 1] if number + 1 < len(ordered) else None
        if following is not None and following[0] == key:
            last = min(last, following[1])
        result.append(_note(first, last, key, level))
    return sorted(result)


def _note(first: int, last: int, key: int, level: int) -> Note:
    velocity = level * _VELOCITY_WIDTH + _VELOCITY_WIDTH // 2
    return Note(first / STEPS_PER_SECOND, last / STEPS_PER_SECOND, key, velocity)


def events_of(notes: Sequence[Note]) -> list[int]:
    """The events of notes, of which those that :func:`on_grid` gives can be read again exactly.

    At each step keys are released first, in the order of pitch; then others are struck, from the
    lowest on. A velocity stands before a note that has another one than the note before.

    >>> [event_name(event) for event in events_of([Note(0.0, 1.5, 60, 82)])]
    ['velocity 20', 'on C4', 'shift 100', 'shift 50', 'off C4']
    """
    actions = []
    for start, end, key, velocity in on_grid(notes):
        actions.append((round(start * STEPS_PER_SECOND), 1, key, velocity // _VELOCITY_WIDTH))
        actions.append((round(end * STEPS_PER_SECOND), 0, key, 0))
    events: list[int] = []
    now, level = 0, _FIRST_VELOCITY
    for step, is_on, key, own in sorted(actions):
        events += _shifts(step - now)
        now = step
        if is_on and own != level:
            level = own
            events.append(VELOCITY + level)
        events.append(key if is_on else OFF + key)
    return events


def steps_of(event: int) -> int:
    """The steps by which an event shifts the time; 0 for other events.

    >>> steps_of(256), steps_of(60)
    (1, 0)
    """
    return event - SHIFT + 1 if SHIFT <= event < VELOCITY else 0


def _shifts(steps: int) -> list[int]:
    """The fewest events that shift the time by that number of steps, the longest first."""
    whole, rest = divmod(steps, _MOST_SHIFTED)
    return [VELOCITY - 1] * whole + ([SHIFT + rest - 1] if rest else [])


def stretched(events: Iterable[int], factor: float) -> list[int]:
    """The events of the same music at another tempo.

    The time of each event is multiplied by the factor and rounded to the grid, so that errors of
    rounding do not add up. What happens at different steps still does, in the same order: a shift
    of time remains one step long at least, and so no note loses its duration.

    Args:
        events: the events; what is no shift of time is kept as it is.
        factor: the duration of the result, as a multiple of that of the events.

    >>> [event_name(event) for event in stretched(events_of([Note(0.0, 1.0, 60, 66)]), 1.25)]
    ['on C4', 'shift 100', 'shift 25', 'off C4']
    """
    result: list[int] = []
    read = written = 0
    for is_shift, group in groupby(events, lambda event: steps_of(event) > 0):
        run = list(group)
        if is_shift:
            read += sum(map(steps_of, run))
            steps = max(1, round(read * factor) - written)
            written += steps
            run = _shifts(steps)
        result += run
    return result


class EventReader:
    """Reads events one by one, right or wrong, and gives each note when it ends.

    A note that begins while its key sounds ends the note before. The end of a key that does not
    sound means nothing. What still sounds at the end, ends there.
    """

    def __init__(self) -> None:
        self.now = 0
        """The steps that have passed."""
        self._level = _FIRST_VELOCITY
        self._sounding: dict[int, tuple[int, int]] = {}

    def read(self, event: int) -> Iterator[Note]:
        """Reads an event, and yields the note that it ends, if any."""
        if not 0 <= event < NUM_EVENTS:
            raise ValueError(f"expected an event from 0 to {NUM_EVENTS - 1}, got {event}.")
        if event >= VELOCITY:
            self._level = event - VELOCITY
        elif event >= SHIFT:
            self.now += steps_of(event)
        else:
            key = event % OFF
            yield from self._end(key)
            if event < OFF:
                self._sounding[key] = (self.now, self._level)

    def end(self) -> Iterator[Note]:
        """Yields the notes that still sound, which end one step later at the earliest."""
        for key in list(self._sounding):
            start, _ = self._sounding[key]
            self.now = max(self.now, start + 1)
        for key in sorted(self._sounding):
            yield from self._end(key)

    def _end(self, key: int) -> Iterator[Note]:
        if key in self._sounding:
            start, level = self._sounding.pop(key)
            if self.now > start:
                yield _note(start, self.now, key, level)


def notes_of_events(events: Iterable[int]) -> list[Note]:
    """The notes of events, in order; see :class:`EventReader`."""
    reader = EventReader()
    notes = [note for event in events for note in reader.read(event)]
    return sorted([*notes, *reader.end()])


def event_name(event: int) -> str:
    """The name of an event.

    >>> event_name(60), event_name(188), event_name(256), event_name(387)
    ('on C4', 'off C4', 'shift 1', 'velocity 31')
    """
    if event >= VELOCITY:
        return f"velocity {event - VELOCITY}"
    if event >= SHIFT:
        return f"shift {event - SHIFT + 1}"
    return f"{'on' if event < OFF else 'off'} {key_name(event % OFF)}"
