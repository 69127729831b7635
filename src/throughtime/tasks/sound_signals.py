"""Sounds as the signals of the task transcription."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from throughtime.data.audio import FeatureStream
from throughtime.data.audio.live import live_samples
from throughtime.data.transcribed import Transcribed, TranscribedSignal
from throughtime.tasks.rows import Rows
from throughtime.tasks.signals import LiveSignal, Signals
from throughtime.tasks.sound_features import SoundConfig, SoundFeatures, moments_of_sounds

__all__ = ["SoundSignals"]


class SoundSignals(Signals[SoundFeatures]):
    """Sounds, which are read as the features of their frames.

    With ``normalise_by speaker`` the features of a recording are normalised by the mean and the
    deviation of all recordings of the same speaker in the split. A recording without a known
    speaker is a speaker of its own, so that ``throughtime predict`` normalises each file by itself.
    """

    kind = "audio"
    settings: ClassVar = frozenset(option.name for option in fields(SoundConfig))
    times_change: ClassVar = (
        *("augment_speed", "augment_tempo", "augment_pitch", "augment_shift", "augment_trim"),
    )

    def __init__(self, config: Any, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        spectral = config.spectral(assets["rate"])
        mean, deviation = assets["mean"], assets["deviation"]
        self.features = SoundFeatures(spectral, mean, deviation, config.augmentation)

    @staticmethod
    def fit(config: Any, data: Transcribed, signals: Sequence[TranscribedSignal]) -> dict[str, Any]:
        assert data.rate is not None  # Sounds have a rate.
        sounds = [one.signal for one in signals]
        mean, deviation = moments_of_sounds(
            data.name, config.spectral(data.rate), sounds, config.normalise
        )
        return {"mean": mean, "deviation": deviation}

    def rows(self, signals: Sequence[TranscribedSignal], seed: int | None = None) -> Rows:
        groups = self._groups(signals)
        normalised: dict[int, SoundFeatures] = {}

        def features_of(i: int) -> SoundFeatures:
            members = groups[i]
            if not members:
                return self.features
            if members[0] not in normalised:
                sounds = [signals[k].signal for k in members]
                mean, deviation = moments_of_sounds("", self.features.spectral, sounds, True)
                both = {"mean": mean, "deviation": deviation}
                normalised[members[0]] = replace(self.features, **both)
            return normalised[members[0]]

        def row(epoch: int, i: int) -> Tensor:
            samples = signals[i].signal
            if seed is None:
                return features_of(i).of_series(samples)
            return features_of(i).changed(samples, (seed, epoch, i))

        return Rows([self.length(one.signal) for one in signals], row)

    def _groups(self, signals: Sequence[TranscribedSignal]) -> list[list[int]]:
        """For each signal the indices of those that it is normalised with; empty for the assets'.

        The signals of a group share one list.
        """
        scope = self.config.normalise_by
        if scope == "all":
            return [[] for _ in signals]
        by_speaker: dict[str, list[int]] = {}
        groups = []
        for i, one in enumerate(signals):
            is_known = scope == "speaker" and one.speaker
            group = by_speaker.setdefault(one.speaker, []) if is_known else []
            group.append(i)
            groups.append(group)
        return groups

    def places(self, signal: np.ndarray) -> np.ndarray:
        spectral = self.features.spectral
        return spectral.hop * np.arange(self.length(signal)) + spectral.frame_size // 2

    def picture(self, row: Tensor) -> Tensor:
        values = row[:, : self.features.spectral.num_values].T.flip(0)  # (values, T)
        low, high = values.min(), values.max()
        return (values - low) / (high - low).clamp_min(1e-6)

    def live(self, stream: BinaryIO, options: Any) -> LiveSignal:
        scope = self.config.normalise_by
        if scope != "all":
            raise ValueError(
                f"--stream: the model was trained with --normalise_by {scope}, which needs the "
                "whole recording. Train one with --normalise_by all, or predict from files."
            )
        spectral, rate = self.features.spectral, self.assets["rate"]
        features = FeatureStream(spectral)

        def normalised(values: np.ndarray) -> Tensor:
            return torch.from_numpy(self.features.normalised(values))

        return LiveSignal(
            live_samples(stream, rate, options.raw_rate, options.raw_format or "s16"),
            lambda samples: normalised(features.push(samples)),
            lambda: normalised(features.finish()),
            rate,
            lambda n: (spectral.frame_ms + (n - 1 + features.delay) * spectral.hop_ms) / 1000,
        )
