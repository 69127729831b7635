"""Features of sounds equal those of two other libraries; those of a stream equal the whole."""

import librosa
import numpy as np
import pytest
import python_speech_features as psf

from throughtime.data.audio import FeatureStream, SpectralFeatures
from throughtime.data.audio.features import differences, emphasised

from ..sounds import tone

RATES = [8000, 16_000, 44_100]


def whole_frames(features, sound):
    """The sound, cut so that its last frame is complete."""
    T = (len(sound) - features.frame_size) // features.hop
    return sound[: T * features.hop + features.frame_size]


def power_of_librosa(features, sound, **options):
    # librosa centres a window that is shorter than the transform.
    margin = features.transform_size - features.frame_size
    padded = np.pad(sound, (margin // 2, margin - margin // 2))
    return {
        "y": padded,
        "sr": features.rate,
        "n_fft": features.transform_size,
        "win_length": features.frame_size,
        "hop_length": features.hop,
        "center": False,
        "n_mels": features.num_filters,
        "htk": True,
        "norm": None,
        **options,
    }


def emphasised_32(sound):
    return emphasised(sound, 0.0)


# librosa compiles itself for some 20 seconds when it is used for the first time.
@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("num_filters", [20, 40])
def test_log_mel_energies_are_those_of_librosa(rate, num_filters):
    features = SpectralFeatures(rate, num_filters=num_filters)
    sound = whole_frames(features, tone(rate=rate))
    mel = librosa.feature.melspectrogram(**power_of_librosa(features, emphasised_32(sound)))
    expected = np.log(np.maximum(mel / features.transform_size, 1e-10)).T
    np.testing.assert_allclose(features(sound), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_cepstral_coefficients_are_those_of_librosa(rate):
    features = SpectralFeatures(rate, "mfcc", num_filters=26)
    sound = whole_frames(features, tone(rate=rate))
    mel = librosa.feature.melspectrogram(**power_of_librosa(features, emphasised_32(sound)))
    log_mel = np.log(np.maximum(mel / features.transform_size, 1e-10))
    expected = librosa.feature.mfcc(S=log_mel, n_mfcc=13).T
    np.testing.assert_allclose(features(sound)[:, 1:], expected[:, 1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_the_energy_and_the_frames_are_those_of_python_speech_features(rate):
    features = SpectralFeatures(rate, "mfcc")
    # Its last frame, too, is filled up with zeros.
    sound = tone(0.503, rate)
    _, energy = psf.fbank(
        sound.astype(np.float64),
        rate,
        nfft=features.transform_size,
        preemph=0.97,
        winfunc=lambda N: np.hanning(N + 1)[:-1],
    )
    actual = features(sound)
    assert len(actual) == len(energy) == features.num_frames(len(sound))
    # The first emphasised sample is x_0 in both.
    np.testing.assert_allclose(actual[:, 0], np.log(energy), atol=1e-4, rtol=0)


@pytest.mark.parametrize("T", [1, 2, 5, 30])
def test_differences_are_those_of_python_speech_features(T):
    values = np.random.default_rng(0).normal(size=(T, 4))
    np.testing.assert_allclose(differences(values), psf.delta(values, 2), atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("kind", ["log-mel", "mfcc"])
def test_the_parts_are_the_values_and_their_differences(kind, order):
    features, sound = SpectralFeatures(8000, kind, order=order), tone()
    values = SpectralFeatures(8000, kind)(sound).astype(np.float64)
    parts = [values, psf.delta(values, 2), psf.delta(psf.delta(values, 2), 2)][: order + 1]
    np.testing.assert_allclose(features(sound), np.concatenate(parts, 1), atol=1e-5)
    assert features(sound).shape[1] == features.size == len(features.names)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("kind", ["log-mel", "mfcc"])
@pytest.mark.parametrize("N", [1, 200, 201, 280, 360, 1500])
def test_a_stream_in_pieces_of_any_size_gives_the_features_of_the_whole(kind, order, N):
    features, sound = SpectralFeatures(8000, kind, order=order), tone()[:N]
    whole = features(sound)
    random = np.random.default_rng(N)
    for size in (1 if N < 400 else 7, 80, 5000, None):
        stream, pieces, place = FeatureStream(features), [], 0
        while place < N:
            step = size or int(random.integers(0, 500))
            pieces.append(stream.push(sound[place : place + step]))
            place += step
            # What has arrived is given at once, except for the frames that differences need.
            num_complete = max(0, 1 + (min(place, N) - 200) // 80)
            assert sum(map(len, pieces)) == max(0, num_complete - stream.delay)
        pieces.append(stream.finish())
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_a_long_stream_keeps_few_frames():
    stream = FeatureStream(SpectralFeatures(8000, order=2))
    for _ in range(50):
        stream.push(tone())
    assert max(len(window._rows) for window in stream._windows) < 60
    stream.finish()
    with pytest.raises(ValueError, match="the stream is finished"):
        stream.push(tone())


def test_a_stream_without_samples_has_no_frames():
    assert FeatureStream(SpectralFeatures(8000)).finish().shape == (0, 40)


def test_silence_has_finite_features():
    assert np.isfinite(SpectralFeatures(8000, "mfcc", order=2)(np.zeros(4000))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mel"}, "expected log-mel or mfcc, got 'mel'"),
        ({"order": 3}, "expected order 0, 1 or 2, got 3"),
        ({"num_filters": 200}, "expected filters of which each covers a frequency"),
        ({"num_filters": 0}, "expected filters of which each covers a frequency"),
        ({"kind": "mfcc", "num_cepstra": 41}, "expected num_cepstra from 1 to num_filters=40"),
        ({"hop_ms": 30.0}, "at most the length of a frame"),
        ({"frame_ms": 0.0}, "expected frames of several samples"),
        ({"frame_ms": float("nan")}, "expected frames of several samples"),
    ],
)
def test_settings_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpectralFeatures(8000, **options)
