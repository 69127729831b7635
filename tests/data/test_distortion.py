"""Sounds and series that are distorted by a stated amount."""

import numpy as np
import pytest

from throughtime.data.distortion import DISTORTIONS, distortions_of

from .sounds import tone

RATE = 8000


def draw():
    return np.random.default_rng(3)


def power(samples):
    return np.mean(np.square(samples, dtype=np.float64))


@pytest.mark.parametrize("ratio", [20.0, 0.0, -5.0])
def test_noise_has_the_stated_ratio(ratio):
    sound = tone(0.5, RATE, 440.0)
    noise = DISTORTIONS["noise"].of_sound(sound, RATE, ratio, draw()) - sound
    assert 10 * np.log10(power(sound) / power(noise)) == pytest.approx(ratio, abs=0.01)
    series = draw().standard_normal((5000, 2)) * [1.0, 30.0] + [0.0, 100.0]
    noise = DISTORTIONS["noise"].of_series(series, ratio, np.random.default_rng(4)) - series
    ratios = 10 * np.log10(series.var(0) / noise.var(0))
    np.testing.assert_allclose(ratios, ratio, atol=0.3)


def test_a_lower_rate_removes_high_frequencies_and_keeps_the_length():
    low, high = tone(0.5, RATE, 400.0), tone(0.5, RATE, 1500.0)
    at_rate = DISTORTIONS["rate"].of_sound
    assert len(at_rate(high, RATE, 0.25, draw())) == len(high)
    # At 2,000 samples per second there is nothing above 1,000 Hz.
    assert power(at_rate(high, RATE, 0.25, draw())) < 0.01 * power(high)
    assert power(at_rate(low, RATE, 0.25, draw())) > 0.9 * power(low)


def test_a_series_at_another_rate_is_interpolated():
    series = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0], [6.0, 5.0]])
    slower = DISTORTIONS["speed"].of_series(series, 0.5, draw())
    assert slower.shape == (8, 2)
    np.testing.assert_allclose(slower[:, 0], np.linspace(0, 6, 8))
    halved = DISTORTIONS["rate"].of_series(series, 0.5, draw())
    np.testing.assert_array_equal(halved[:, 0], [0.0, 6.0])
    assert DISTORTIONS["rate"].of_series(series[:1], 0.25, draw()).tolist() == [[0.0, 5.0]]


def test_a_missing_value_stays_missing_and_spoils_no_observed_step():
    series = np.array([[0.0], [np.nan], [4.0], [6.0], [8.0]])
    values = DISTORTIONS["rate"].of_series(series, 1.0, draw())
    np.testing.assert_array_equal(values, series)
    noisy = DISTORTIONS["noise"].of_series(series, 10.0, draw())
    assert np.isnan(noisy).tolist() == np.isnan(series).tolist()


def test_the_tempo_changes_and_the_pitch_does_not():
    sound = tone(0.5, RATE, 440.0)
    fast = DISTORTIONS["speed"].of_sound(sound, RATE, 2.0, draw())
    assert len(fast) == pytest.approx(len(sound) / 2, abs=2)
    spectrum = np.abs(np.fft.rfft(fast[400:1600] * np.hanning(1200)))
    assert np.argmax(spectrum) * RATE / 1200 == pytest.approx(440, abs=10)


def test_gaps_have_the_stated_share():
    sound = np.ones(RATE * 20, np.float32)
    kept = DISTORTIONS["gap"].of_sound(sound, RATE, 0.3, draw())
    assert len(kept) == len(sound)
    assert np.mean(kept == 0) == pytest.approx(0.3, abs=0.04)
    # A piece of 20 ms is lost as a whole.
    assert set(kept.reshape(-1, 160).mean(1)) == {0.0, 1.0}
    series = np.arange(1000.0)[:, None]
    left = DISTORTIONS["gap"].of_series(series, 0.3, draw())[:, 0]
    assert len(left) == pytest.approx(700, abs=50)
    assert (np.diff(left) > 0).all()
    assert len(DISTORTIONS["gap"].of_series(series, 1.0, draw())) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("noise,sped", '--robustness: unknown distortion "sped"; did you mean "speed"'),
        ("gap, gap", "--robustness: expected each distortion once, got gap twice"),
        ("", '--robustness: unknown distortion ""'),
    ],
)
def test_an_unknown_or_repeated_distortion_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        distortions_of("--robustness", names)
