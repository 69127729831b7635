"""Music for the report: its picture says what lies where, and drums sound like drums."""

import numpy as np
import pytest

from throughtime.data.music import Note, synthesise
from throughtime.tasks.audible import OutputOptions, shown_music, write_music
from throughtime.tasks.shown import Picture, Sound

NOTES = [Note(0.0, 0.5, 60), Note(0.5, 2.0, 64)]


@pytest.mark.parametrize(
    ("is_drums", "title", "greys"),
    [
        (False, "Piano roll: 2 s to the right, A#3 to F#4 upwards, the keys C in grey", 3),
        (True, "Piano roll: 2 s to the right, the drums 58 to 66 of General MIDI upwards", 2),
    ],
)
def test_the_picture_says_its_length_and_keys(is_drums, title, greys):
    picture, sound, _ = shown_music([NOTES], 2.0, 0.25, is_drums=is_drums)
    assert isinstance(picture, Picture)
    assert picture.title == title
    # Black notes on white, and the lines of the keys C.
    assert len(picture.pixels.unique()) == greys
    assert isinstance(sound, Sound)
    np.testing.assert_array_equal(sound.samples, synthesise(NOTES, 2.0, is_drums=is_drums))


def test_a_file_of_drums_is_played_by_drums(tmp_path):
    sizes = []
    for is_drums in (False, True):
        file = tmp_path / f"{is_drums}.wav"
        said = write_music(OutputOptions(output=str(file)), [NOTES], 2.0, is_drums=is_drums)
        assert said.startswith(f"{file}: 2 notes, 2.1 s, peak 0.89 of 1, 0 samples clipped")
        sizes.append(file.read_bytes())
    assert len(sizes[0]) == len(sizes[1])
    assert sizes[0] != sizes[1]
