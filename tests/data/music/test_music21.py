"""Files that are written open in music21 without a warning, with the notes that were meant."""

import pytest

from throughtime.data.music import Note, abc_text, midi_bytes, midi_of_parts, score_of

# `make test` does not install music21, an independent reader of the same files.
converter = pytest.importorskip("music21.converter", reason="music21 is not installed")


def opened(content, form):
    """The keys and the quarter notes at which they begin, of each part."""
    score = converter.parseData(content, format=form)
    return [
        [(note.pitch.midi, float(note.offset)) for note in part.flatten().notes]
        for part in (list(score.parts) or [score])
    ]


def test_midi_files_open_with_their_notes():
    first = [Note(0.0, 0.5, 60), Note(0.5, 1.5, 64), Note(2.0, 2.5, 67)]
    second = [Note(0.0, 2.0, 48), Note(2.0, 2.5, 43)]
    assert opened(midi_bytes(first), "midi") == [[(60, 0.0), (64, 1.0), (67, 4.0)]]
    assert opened(midi_of_parts([first, second]), "midi") == [
        [(60, 0.0), (64, 1.0), (67, 4.0)],
        [(48, 0.0), (43, 4.0)],
    ]


@pytest.mark.parametrize(
    "tokens",
    [
        "M:4/4 K:Gmaj |: G 2 A 2 B 2 c 2 :|",
        "M:6/8 K:Ador A 3 B 3 | c 3 d 3/2 e 3/2 |]",
        "M:2/4 K:Dmaj |: F 2 A 2 | [1 B 4 :| [2 d 4 |]",
        "M:3/4 K:Fmaj B > A G 4 | (3 A B c d 4 ||",
    ],
)
def test_tunes_open_with_their_keys(tokens):
    score = score_of(tokens.split())
    assert score.problems == []
    written = [key for bar in score.bars for tone in bar.tones for key in tone.keys]
    (part,) = opened(abc_text(tokens.split(), 1, "A tune"), "abc")
    assert [key for key, _ in part] == written
