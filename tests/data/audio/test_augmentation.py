"""Changes of sounds: each has the stated effect, is drawn by its seed alone, and has its bounds."""

import numpy as np
import pytest

from throughtime.data.audio.augmentation import Augmentation, stretched, with_noise

from ..sounds import tone

RATE = 8000


def pitch(samples):
    """The frequency with the greatest power, in Hz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
    return power.argmax() * RATE / (1 << 16)


def changed(seed=0, sound=None, **options):
    sound = tone(1.0) if sound is None else sound
    return Augmentation(**options).of_samples(sound, RATE, np.random.default_rng(seed))


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 20.0])
def test_noise_has_the_given_ratio(ratio):
    sound = tone(1.0)
    noise = with_noise(sound, ratio, np.random.default_rng(0)) - sound
    actual = 10 * np.log10((sound**2).mean() / (noise**2).mean())
    assert actual == pytest.approx(ratio, abs=1e-4)


def test_silence_stays_silent():
    assert not changed(noise=0.0, sound=np.zeros(800, np.float32)).any()


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("hertz", [220.0, 440.0, 1000.0])
def test_a_stretched_sound_has_another_length_and_the_same_pitch_and_level(factor, hertz):
    sound = tone(1.0, hertz=hertz)
    longer = stretched(sound, factor, RATE)
    assert len(longer) == round(len(sound) * factor)
    assert pitch(longer) == pytest.approx(hertz, rel=0.01)
    assert (longer**2).mean() == pytest.approx((sound**2).mean(), rel=0.1)


def test_speed_changes_pitch_and_tempo_and_the_others_one_of_them():
    sound = tone(1.0)
    for seed in range(8):
        fast = changed(seed, speed=0.3)
        assert pitch(fast) / 440 == pytest.approx(len(sound) / len(fast), rel=0.01)
        assert pitch(changed(seed, tempo=0.3)) == pytest.approx(440, rel=0.01)
        higher = changed(seed, pitch=4.0)
        assert len(higher) == pytest.approx(len(sound), abs=2)
        assert 440 / 1.28 < pitch(higher) < 440 * 1.28
    lengths = [len(changed(seed, tempo=0.3)) / len(sound) for seed in range(30)]
    assert 1 / 1.3 <= min(lengths) < 0.85
    assert 1.15 < max(lengths) <= 1 / 0.7 + 1e-3


def test_shift_and_gain_stay_within_their_bounds():
    sound = tone(0.3)
    for seed in range(10):
        shifted = changed(seed, sound, shift=0.1)
        assert len(sound) <= len(shifted) <= len(sound) + 2 * 0.1 * RATE
        begin = int(np.flatnonzero(shifted)[0])
        np.testing.assert_array_equal(shifted[begin : begin + len(sound)], sound)
        level = 20 * np.log10(np.abs(changed(seed, sound, gain=6.0) / sound).mean())
        assert -6 <= level <= 6


def test_trimming_cuts_the_quiet_ends_and_keeps_the_pauses():
    quiet, loud = 0.002 * tone(0.5, seed=3), tone(0.2)
    sound = np.concatenate([quiet, loud, quiet, 0.1 * loud, quiet])
    short = changed(trim=1.0, sound=sound)
    # The loud part of the end is 20 dB below the beginning; 50 ms stay before and after.
    np.testing.assert_array_equal(short, sound[4000 - 400 : 4000 + 1600 + 4000 + 1600 + 400])
    np.testing.assert_array_equal(changed(trim=0.0, sound=sound), sound)
    lengths = [len(changed(seed, sound=sound, trim=0.5)) for seed in range(40)]
    assert set(lengths) == {len(short), len(sound)}
    assert 8 <= lengths.count(len(short)) <= 32
    for other in (np.zeros(900, np.float32), sound[:3]):
        np.testing.assert_array_equal(changed(trim=1.0, sound=other), other)


def test_masks_set_frames_and_features_of_each_order_to_the_mean():
    ones = np.ones((50, 39), np.float32)
    widths, heights = set(), set()
    for seed in range(60):
        augmentation = Augmentation(mask_time=8, mask_features=4)
        features = augmentation.of_features(ones, 13, np.random.default_rng(seed))
        is_masked = features == 0
        frames, columns = is_masked.all(1), is_masked.all(0)
        np.testing.assert_array_equal(is_masked, frames[:, None] | columns[None])
        np.testing.assert_array_equal(columns[:13], columns[13:26])
        np.testing.assert_array_equal(columns[:13], columns[26:])
        for mask in (frames, columns[:13]):
            assert np.abs(np.diff(mask.astype(int))).sum() <= 2
        widths.add(int(frames.sum()))
        heights.add(int(columns[:13].sum()))
    assert widths == set(range(9))
    assert heights == set(range(5))
    assert ones.all()


def test_a_change_is_drawn_by_its_seed_alone():
    options = {"noise": 10.0, "speed": 0.1, "tempo": 0.1, "pitch": 1.0, "shift": 0.1, "gain": 6.0}
    np.testing.assert_array_equal(changed(3, **options), changed(3, **options))
    assert not np.array_equal(changed(3, noise=10.0), changed(4, noise=10.0))


@pytest.mark.parametrize("N", [1, 2, 100])
def test_very_short_sounds_are_changed_too(N):
    sound = tone()[:N]
    options = {"noise": 0.0, "speed": 0.3, "tempo": 0.3, "pitch": 4.0, "shift": 0.1, "gain": 6.0}
    assert len(changed(0, sound, **options)) >= 1
    mask = Augmentation(mask_time=8, mask_features=4)
    assert mask.of_features(np.ones((1, 1)), 1, np.random.default_rng(0)).shape == (1, 1)
