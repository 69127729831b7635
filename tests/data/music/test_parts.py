"""Music of several parts: MIDI files with a track for each, and steps of one key a part."""

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.mirror import needs_files

from throughtime.data.music import (
    SILENT,
    Note,
    load_parts,
    midi_bytes,
    midi_of_parts,
    notes_of_parts,
    read_part_steps,
    read_parts,
    steps_of_parts,
)

from .test_midi import file_of, off, on

KEYS = st.one_of(st.just(SILENT), st.integers(0, 127))


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(KEYS, min_size=k, max_size=k), min_size=1)
    )
)
@settings(max_examples=60)
def test_steps_are_written_as_midi_and_read_again(rows):
    steps = np.array(rows, np.int16).reshape(len(rows), -1)
    # A part without notes has no track, and music ends with its last note.
    steps = steps[:, (steps != SILENT).any(0)]
    last = np.flatnonzero((steps != SILENT).any(1))
    steps = steps[: last[-1] + 1] if len(last) else steps[:0]
    parts = notes_of_parts(steps, 0.25)
    assert np.array_equal(steps_of_parts("x", parts, 0.25), steps)
    if len(steps):
        assert np.array_equal(read_part_steps("x", midi_of_parts(parts), 0.25), steps)


def test_each_channel_of_each_track_is_a_part_and_drums_are_none():
    tempo = [mido.MetaMessage("set_tempo", tempo=1_000_000)]
    both = [on(60, 0), on(48, 0, channel=1), off(60, 480), off(48, 0, channel=1)]
    drums = [on(36, 0, channel=9), off(36, 480, channel=9)]
    parts = read_parts("x.mid", file_of(tempo, both, drums, [on(72, 480), off(72, 480)]))
    assert parts == [[Note(0.0, 1.0, 60, 64)], [Note(0.0, 1.0, 48, 64)], [Note(1.0, 2.0, 72, 64)]]


def test_a_file_of_one_part_is_of_type_0_and_of_several_of_type_1():
    notes = [Note(0.0, 1.0, 60)]
    assert midi_of_parts([notes]) == midi_bytes(notes)
    assert midi_bytes(notes)[9] == 0
    assert midi_of_parts([notes, []])[9] == 1
    with pytest.raises(ValueError, match="expected at most 15 parts"):
        midi_of_parts([notes] * 16)
    assert len(read_parts("x", midi_of_parts([notes] * 15))) == 15


def test_of_keys_that_overlap_the_later_one_counts_and_chords_are_refused():
    legato = [Note(0.0, 1.1, 60), Note(1.0, 2.0, 62)]
    assert steps_of_parts("x", [legato], 0.5).T.tolist() == [[60, 60, 62, 62]]
    chord = [Note(0.5, 1.0, 60), Note(0.5, 1.5, 64)]
    message = r"x: expected one key at a time .*, got C4 and E4 together in part 1 at second 0\.5"
    with pytest.raises(ValueError, match=message):
        steps_of_parts("x", [legato, chord], 0.5)


def test_bach_s_chorales_come_in_four_voices_and_three_splits():
    needs_files("jsb-voices")
    quarters, sixteenths = load_parts("jsb-voices"), load_parts("jsb-voices-16th")
    assert {s: len(pieces) for s, pieces in quarters.splits.items()} == {
        "train": 229,
        "valid": 76,
        "test": 77,
    }
    assert sum(map(len, quarters.splits["train"])) == 13_807
    assert sum(map(len, sixteenths.splits["train"])) == 55_228
    assert sixteenths.splits["test"][3][::4].tolist() == quarters.splits["test"][3].tolist()
    assert quarters.ranges() == [(60, 81), (52, 74), (46, 69), (36, 66)]
    assert quarters.fingerprint() != sixteenths.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_seconds": 0.5}, "--step_seconds 0.5: jsb-voices is in steps already"),
        ({"valid_fraction": 0.2}, "expected no fractions"),
        ({"cut": "random"}, "expected no way to split"),
    ],
)
def test_options_that_would_not_change_a_named_set_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_parts("jsb-voices", **options)


def test_own_files_have_equally_many_parts(tmp_path):
    one, two = [Note(0.0, 1.0, 60)], [Note(0.0, 2.0, 48)]
    for number in range(9):
        (tmp_path / f"{number}.mid").write_bytes(midi_of_parts([one, two]))
    parts = load_parts(str(tmp_path), step_seconds=0.5)
    assert {s: len(pieces) for s, pieces in parts.splits.items()} == {"train": 8, "valid": 1}
    assert parts.splits["valid"][0].tolist() == [[60, 48]] * 2 + [[SILENT, 48]] * 2
    (tmp_path / "7.mid").write_bytes(midi_of_parts([one]))
    message = r"7\.mid: expected 2 parts, as in .*0\.mid, got 1\."
    with pytest.raises(ValueError, match=message):
        load_parts(str(tmp_path))
    (tmp_path / "7.mid").write_bytes(midi_of_parts([[]]))
    with pytest.raises(ValueError, match=r"7\.mid: expected parts with notes that are no drums"):
        load_parts(str(tmp_path))
    (tmp_path / "7.mid").write_bytes(midi_of_parts([one, two])[:-5])
    with pytest.raises(ValueError, match=r"7\.mid: expected a MIDI file, got one that cannot be"):
        load_parts(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='unknown set of parts, file or folder "jsb-voice"'):
        load_parts("jsb-voice")


def test_music_that_is_shorter_than_a_step_is_refused():
    with pytest.raises(ValueError, match=r"x: expected at least one step of 3 seconds"):
        read_part_steps("x", midi_bytes([Note(0.0, 1.0, 60)]), 3.0)
