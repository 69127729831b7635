"""The synthesiser, measured: pitch, peak, silences, ends, and length."""

import io
import wave

import numpy as np
import pytest

from throughtime.data.music import RATE, Note, measures, synthesise, wav_bytes
from throughtime.data.music.drums import drum

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


def centre_of(sound):
    """The mean frequency of a sound in Hz, weighted by the energy."""
    energy = np.abs(np.fft.rfft(sound)) ** 2
    return (energy * np.fft.rfftfreq(len(sound), 1 / RATE)).sum() / energy.sum()


KICK, SNARE, CLOSED, OPEN, CRASH, LOW_TOM, HIGH_TOM = 36, 38, 42, 46, 49, 41, 50


def test_a_kick_is_low_a_snare_in_the_middle_and_a_hi_hat_high():
    kick, snare, hat = (centre_of(drum(key, RATE)) for key in (KICK, SNARE, CLOSED))
    assert kick < 150 < 1000 < snare < hat
    assert hat > 5000
    assert centre_of(drum(LOW_TOM, RATE)) < centre_of(drum(HIGH_TOM, RATE)) < 1000


def test_drums_ring_for_their_own_time_and_end():
    lengths = [len(drum(key, RATE)) / RATE for key in (CLOSED, OPEN, CRASH)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 0.3
    for key in range(128):
        sound = drum(key, RATE)
        assert 0.3 < np.abs(sound).max() < 1.2
        assert np.abs(sound[-20:]).max() < 1e-3
        assert not np.array_equal(sound, drum((key + 1) % 128, RATE))


@pytest.mark.parametrize("end", [0.1, 1.0])
def test_a_piece_of_drums_is_as_long_as_asked_and_ends_softly(end):
    notes = [Note(t / 4, t / 4 + end, key) for t in range(4) for key in (KICK, SNARE, CRASH)]
    sound = synthesise(notes, 1.0, is_drums=True)
    m = measures(sound)
    assert (m.clipped, m.peak) == (0, pytest.approx(0.89, abs=1e-6))
    assert m.seconds == pytest.approx(1.12, abs=2 / RATE)
    assert m.last < 0.02
    np.testing.assert_array_equal(sound, synthesise(notes, 1.0, is_drums=True))
    assert not np.allclose(sound, synthesise(notes, 1.0))


def test_a_softer_stroke_is_softer():
    loud, soft = (Note(0.0, 0.1, SNARE, velocity) for velocity in (127, 32))
    sound = synthesise([loud, soft._replace(start=2.0, end=2.1)], is_drums=True)
    assert np.abs(sound[2 * RATE :]).max() == pytest.approx((32 / 127) ** 1.5 * 0.89, rel=1e-3)
