"""The synthesiser, measured: pitch, peak, silences, ends, and length."""

import io
import wave

import numpy as np
import pytest

from throughtime.data.music import RATE, Note, measures, synthesise, wav_bytes

CHORDS = [Note(t, t + 0.5, key) for t in (0.0, 0.5, 1.0) for key in (48, 60, 64, 67)]


@pytest.mark.parametrize("key", [33, 57, 69, 84, 100])
def test_a_note_has_its_pitch(key):
    sound = synthesise([Note(0.0, 1.0, key)])
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    frequency = spectrum.argmax() * RATE / len(sound)
    assert frequency == pytest.approx(440 * 2 ** ((key - 69) / 12), abs=1.5)


@pytest.mark.parametrize("notes", [CHORDS, CHORDS * 20, [Note(0.0, 3.0, 108, 1)]])
def test_nothing_is_clipped_or_silent_and_all_notes_end(notes):
    sound = synthesise(notes)
    m = measures(sound)
    assert m.peak == pytest.approx(0.89, abs=1e-6)
    assert m.clipped == 0
    assert m.longest_silence == 0
    assert m.last < 0.05
    assert m.seconds == pytest.approx(max(note.end for note in notes) + 0.12, abs=2 / RATE)


def test_measures_see_what_is_wrong():
    sound = synthesise([Note(0.0, 0.5, 60), Note(2.0, 2.5, 60)])
    assert measures(sound).longest_silence == pytest.approx(1.38, abs=0.05)
    assert measures(np.clip(sound * 3, -1, 1)).clipped > 100
    assert measures(np.zeros(RATE)).longest_silence == 1.0
    # Cut off within a note.
    assert measures(sound[: RATE // 4]).last > 0.05


def test_a_duration_is_kept_with_and_without_notes():
    assert measures(synthesise(CHORDS, 0.7)).seconds == pytest.approx(0.82, abs=1e-3)
    assert measures(synthesise([], 2.0)) == measures(np.zeros(round(2.12 * RATE)))
    assert len(synthesise([])) > 0


def test_a_wav_file_holds_the_sound():
    sound = synthesise(CHORDS)
    with wave.open(io.BytesIO(wav_bytes(sound))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_allclose(samples / 32767, sound, atol=1e-4)
