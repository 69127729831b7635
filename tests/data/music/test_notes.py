"""Notes and piano rolls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from throughtime.data.music import FIRST_KEY, NUM_KEYS, Note, notes_of_roll, roll_of_notes


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.just(NUM_KEYS))))
def test_a_roll_becomes_notes_and_the_roll_again(roll):
    notes = notes_of_roll(roll, 0.25)
    again = roll_of_notes(notes, 0.25)
    assert np.array_equal(again, roll[: len(again)])
    assert not roll[len(again) :].any()
    assert all(note.end > note.start for note in notes)


def test_a_short_note_sounds_in_the_frame_in_which_it_begins():
    roll = roll_of_notes([Note(0.30, 0.35, 60), Note(0.0, 1.0, 64)], 0.25)
    assert np.flatnonzero(roll[:, 60 - FIRST_KEY]).tolist() == [1]
    assert roll[:, 64 - FIRST_KEY].all()
    assert roll.shape == (4, NUM_KEYS)


def test_a_key_is_on_in_the_frames_in_whose_middle_it_sounds():
    # Notes of a frame's length that begin in the middle of a frame, one after the other.
    notes = [Note(t + 0.5, t + 1.5, 60 + t) for t in range(5)]
    roll = roll_of_notes(notes, 1.0)
    assert [np.flatnonzero(row).tolist() for row in roll] == [[60 + t - 21] for t in range(5)]


@pytest.mark.parametrize("key", [0, FIRST_KEY - 1, FIRST_KEY + NUM_KEYS, 127])
def test_keys_that_a_piano_lacks_are_left_out(key):
    assert not roll_of_notes([Note(0.0, 1.0, key)], 0.25).any()
