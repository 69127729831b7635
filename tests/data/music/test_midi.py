"""MIDI files: written and read again, and read where they are damaged."""

import io
import random
from contextlib import suppress

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.damage import damaged_bytes

from throughtime.data.music import Note, midi_bytes, midi_splits, read_midi


def file_of(*tracks, type=1, ticks=480):
    """The bytes of a MIDI file of tracks, each a list of messages."""
    midi = mido.MidiFile(type=type, ticks_per_beat=ticks, tracks=list(map(mido.MidiTrack, tracks)))
    content = io.BytesIO()
    midi.save(file=content)
    return content.getvalue()


def on(key, time, velocity=64, channel=0):
    return mido.Message("note_on", note=key, velocity=velocity, time=time, channel=channel)


def off(key, time, channel=0):
    return mido.Message("note_off", note=key, time=time, channel=channel)


def pedal(value, time):
    return mido.Message("control_change", control=64, value=value, time=time)


@st.composite
def melodies(draw):
    """Notes on the grid of ticks, of which no two of one key overlap."""
    notes = []
    for key in draw(st.sets(st.integers(0, 127), max_size=4)):
        ticks = sorted(draw(st.sets(st.integers(0, 5000), min_size=2, max_size=8)))
        for first, last in zip(ticks[::2], ticks[1::2], strict=False):
            notes.append(Note(first / 960, last / 960, key, draw(st.integers(1, 127))))
    return sorted(notes)


@given(melodies())
@settings(max_examples=50)
def test_notes_are_written_and_read_again(notes):
    again = read_midi("x.mid", midi_bytes(notes))
    assert [n[2:] for n in again] == [n[2:] for n in notes]
    for one, other in zip(again, notes, strict=True):
        assert one.start == pytest.approx(other.start, abs=1e-9)
        assert one.end == pytest.approx(other.end, abs=1e-9)


def test_tempo_changes_count_for_all_tracks():
    tempos = [
        mido.MetaMessage("set_tempo", tempo=1_000_000),
        mido.MetaMessage("set_tempo", tempo=250_000, time=480),
    ]
    content = file_of(tempos, [on(60, 480), off(60, 480)])
    assert read_midi("x.mid", content) == [Note(1.0, 1.25, 60, 64)]


@pytest.mark.parametrize(
    ("messages", "notes"),
    [
        # A key that is struck again while it sounds; the second end means nothing.
        ([on(60, 0), on(60, 480), off(60, 480), off(60, 96)], [(0.0, 0.5), (0.5, 1.0)]),
        # A note of no duration.
        ([on(60, 0), off(60, 0), on(60, 480), off(60, 480)], [(0.5, 1.0)]),
        # A note that never ends, ends with the file.
        ([on(60, 0), on(62, 480), off(62, 480)], [(0.0, 1.0), (0.5, 1.0)]),
        # A note-on of velocity 0 is an end.
        ([on(60, 0), on(60, 480, velocity=0), off(61, 480)], [(0.0, 0.5)]),
        ([], []),
    ],
)
def test_ends_of_notes(messages, notes):
    assert [note[:2] for note in read_midi("x.mid", file_of(messages))] == notes


def test_the_pedal_holds_notes_until_it_is_released_or_the_key_is_struck_again():
    messages = [pedal(127, 0), on(60, 0), off(60, 480), on(62, 0), off(62, 240), on(60, 240)]
    messages += [off(60, 480), pedal(0, 960), on(64, 0), off(64, 480), on(65, 0), off(65, 480)]
    notes = read_midi("x.mid", file_of(messages), is_pedalled=True)
    after = [(2.5, 3.0, 64), (3.0, 3.5, 65)]
    pedalled = [(0.0, 1.0, 60), (0.5, 2.5, 62), (1.0, 2.5, 60)]
    assert [note[:3] for note in notes] == pedalled + after
    notes = read_midi("x.mid", file_of(messages))
    short = [(0.0, 0.5, 60), (0.5, 0.75, 62), (1.0, 1.5, 60)]
    assert [note[:3] for note in notes] == short + after


def test_running_status_is_read():
    events = b"\x00\x90\x3c\x40" + b"\x60\x3e\x40" + b"\x60\x3c\x00" + b"\x00\x3e\x00"
    track = events + b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1, 0, 0x60])
    content = header + b"MTrk" + len(track).to_bytes(4, "big") + track
    assert [note[:3] for note in read_midi("x.mid", content)] == [(0, 1.0, 60), (0.5, 1.0, 62)]


def test_drums_are_left_out_where_keys_are_meant():
    content = file_of([on(36, 0, channel=9), on(60, 0), off(36, 480, channel=9), off(60, 0)])
    assert len(read_midi("x.mid", content)) == 2
    assert [note.key for note in read_midi("x.mid", content, skip_drums=True)] == [60]


WHOLE = file_of([on(60, 0), off(60, 480)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read after byte 0 of 0"),
        (b"no music at all", "cannot be read after byte 8 of 15"),
        (WHOLE[:-9], r"cannot be read after byte 26 of 26 \(EOFError: it ends too early\)"),
        (file_of([on(60, 0), off(60, 9)], type=2), "got type 2, whose tracks have no common time"),
        (file_of([mido.MetaMessage("set_tempo", tempo=0, time=7)]), "got 0 at tick 7"),
        (
            file_of([on(60, 5), off(60, 2**28 - 1)], ticks=1),
            "at most 24 hours, got 37,283 hours at tick 268,435,460",
        ),
        (file_of([], ticks=-6113), "got a division of -6113"),
        (file_of([], ticks=0), "got a division of 0"),
    ],
)
def test_a_file_without_usable_music_is_refused_with_its_place(content, message):
    with pytest.raises(ValueError, match=rf"x\.mid: expected .*{message}"):
        read_midi("x.mid", content)


@given(st.randoms())
@settings(max_examples=200)
def test_a_damaged_file_is_read_or_refused(draw):
    content = file_of([on(60, 0), off(60, 480)], [on(50, 100), pedal(99, 3), off(50, 480)])
    # Whatever else is raised fails the test.
    with suppress(ValueError):
        notes = read_midi("x.mid", damaged_bytes(content, draw))
        assert all(note.end > note.start >= 0 for note in notes)


def test_a_folder_of_midi_files_comes_in_splits_or_as_a_whole(tmp_path):
    for name in ("train/b.mid", "train/more/a.MIDI", "valid/c.mid", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(WHOLE)
    assert {k: len(v) for k, v in midi_splits(tmp_path).items()} == {"train": 2, "valid": 1}
    assert {k: len(v) for k, v in midi_splits(tmp_path / "train").items()} == {"all": 2}
    (tmp_path / "valid" / "c.mid").unlink()
    with pytest.raises(FileNotFoundError, match="valid: expected MIDI files"):
        midi_splits(tmp_path)
    (tmp_path / "valid" / "drums.mid").write_bytes(file_of([on(36, 0, channel=9)]))
    with pytest.raises(ValueError, match=r"drums\.mid: expected at least one note"):
        midi_splits(tmp_path, skip_drums=True)
    rnd = random.Random(0)
    (tmp_path / "valid" / "drums.mid").write_bytes(rnd.randbytes(50))
    with pytest.raises(ValueError, match=r"drums\.mid: expected a MIDI file"):
        midi_splits(tmp_path)
