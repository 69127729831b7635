"""Performances as events, and back exactly."""

import os
import random
import tarfile
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.mirror import needs_files

from throughtime.data import FILES
from throughtime.data.music import (
    NUM_EVENTS,
    EventReader,
    Note,
    event_name,
    events_of,
    load_performances,
    midi_bytes,
    notes_of_events,
    on_grid,
    read_midi,
)
from throughtime.data.music.events import steps_of, stretched

NOTES = st.lists(
    st.builds(
        lambda start, length, key, velocity: Note(start, start + length, key, velocity),
        st.floats(0, 12),
        st.floats(0.0001, 5),
        st.integers(0, 127),
        st.integers(1, 127),
    ),
    max_size=12,
)


def is_exact(notes):
    """Whether the notes on the grid are read again from their events."""
    grid, events = on_grid(notes), events_of(notes)
    return notes_of_events(events) == grid and events_of(grid) == events and on_grid(grid) == grid


@given(NOTES)
@settings(max_examples=200)
def test_notes_on_the_grid_are_read_again_exactly(notes):
    assert is_exact(notes)
    assert all(0 <= event < NUM_EVENTS for event in events_of(notes))


@given(NOTES)
@settings(max_examples=100)
def test_the_grid_moves_a_note_by_half_a_step_at_most(notes):
    starts = {(note.key, note.start) for note in on_grid(notes)}
    for note in notes:
        assert any(k == note.key and abs(s - note.start) <= 0.005 + 1e-9 for k, s in starts)


@pytest.mark.parametrize("name", ["groove", "pop909"])
def test_files_of_the_data_are_read_again_exactly(name):
    needs_files(name)
    path = Path(os.environ["THROUGHTIME_DATA"], FILES[name]["archive"].mirror)
    with tarfile.open(path) as archive:
        members = [m for m in archive if m.name.endswith((".mid", ".midi"))]
        for member in random.Random(0).sample(members, 6):
            notes = read_midi(member.name, archive.extractfile(member).read(), is_pedalled=True)
            assert notes, member.name
            assert is_exact(notes), member.name


@given(NOTES, st.floats(0.3, 2.0))
@settings(max_examples=100)
def test_stretched_events_have_all_times_multiplied_and_rounded(notes, factor):
    events = events_of(notes)
    new, old = stretched(events, factor), on_grid(notes)
    assert stretched(events, 1.0) == events
    assert [e for e in new if not steps_of(e)] == [e for e in events if not steps_of(e)]
    # Only where steps would fall together does a time move by more than half a step.
    times, expected, time, own = [], [], 0, 0
    for is_shift, run in groupby(new, lambda e: steps_of(e) > 0):
        if is_shift:
            time += sum(map(steps_of, run))
            times.append(time)
    for is_shift, run in groupby(events, lambda e: steps_of(e) > 0):
        if is_shift:
            own += sum(map(steps_of, run))
            expected.append(max(round(own * factor), expected[-1] + 1 if expected else 1))
    assert times == expected
    assert len(notes_of_events(new)) == len(old)


def test_stretching_does_not_sum_errors_of_rounding():
    # 100 shifts of 5 steps, each of which is 5.25 steps afterwards.
    events = [event for _ in range(100) for event in (60, 256 + 4, 188)]
    new = stretched(events, 1.05)
    assert sum(map(steps_of, new)) == 525
    assert {steps_of(event) for event in new} == {0, 5, 6}
    assert stretched([60, 355, 355, 188], 1.05) == [60, 355, 355, 256 + 9, 188]
    assert stretched([355, 300, 60, 256], 0.5) == [256 + 71, 60, 256]


@given(st.lists(st.integers(0, NUM_EVENTS - 1), max_size=60))
@settings(max_examples=200)
def test_any_events_can_be_played(events):
    notes = notes_of_events(events)
    assert all(note.end > note.start >= 0 for note in notes)
    assert all(1 <= note.velocity <= 127 for note in notes)
    # The notes of each key follow one another.
    for key in {note.key for note in notes}:
        own = [note for note in notes if note.key == key]
        assert all(a.end <= b.start for a, b in pairwise(own))
    assert is_exact(notes)


@pytest.mark.parametrize(
    ("events", "notes"),
    [
        # A key without an end, an end without a key, a key that is struck twice.
        ([60, 256 + 9], [(0.0, 0.1, 60)]),
        ([60], [(0.0, 0.01, 60)]),
        ([128 + 60, 256], []),
        ([60, 265, 60, 265, 188], [(0.0, 0.1, 60), (0.1, 0.2, 60)]),
        ([60, 60, 188], []),
    ],
)
def test_events_without_an_end_or_a_beginning(events, notes):
    assert [note[:3] for note in notes_of_events(events)] == notes


def test_an_event_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected an event from 0 to 387, got 388"):
        list(EventReader().read(NUM_EVENTS))
    assert len({event_name(event) for event in range(NUM_EVENTS)}) == NUM_EVENTS


def test_a_folder_is_read_from_the_first_note_of_each_piece(tmp_path):
    for number in range(10):
        # The silence before the first note is left out.
        notes = [Note(1.25 * number, 1.25 * number + 0.5, 50 + number)]
        (tmp_path / f"{number}.mid").write_bytes(midi_bytes(notes))
    pieces = load_performances(str(tmp_path), test_fraction=0.2)
    assert {k: len(v) for k, v in pieces.splits.items()} == {"train": 7, "valid": 1, "test": 2}
    for _, on, shift, off in (piece.tolist() for part in pieces.splits.values() for piece in part):
        assert (shift, off) == (256 + 49, 128 + on)
    with pytest.raises(FileNotFoundError, match='did you mean "groove"'):
        load_performances("grove")
    with pytest.raises(ValueError, match="comes in splits of its own"):
        load_performances("groove", valid_fraction=0.1)
