"""Trajectories of a pen as the signals of the task transcription."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from throughtime.data.distortion import Distortion
from throughtime.data.pen import Trajectory, svg_of_pen
from throughtime.data.transcribed import Transcribed, TranscribedSignal
from throughtime.tasks.pen_features import PenConfig, PenFeatures, moments_of_pens
from throughtime.tasks.rows import Rows
from throughtime.tasks.shown import Drawing
from throughtime.tasks.signals import Signals

__all__ = ["PenSignals"]


class PenSignals(Signals):
    """Trajectories, which are read point by point."""

    kind = "pen"
    is_drawn = True
    settings: ClassVar = frozenset(option.name for option in fields(PenConfig))

    def __init__(self, config: Any, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        self.features = PenFeatures(config.pen_reading, assets["mean"], assets["deviation"])

    @staticmethod
    def fit(config: Any, data: Transcribed, signals: Sequence[TranscribedSignal]) -> dict[str, Any]:
        if config.normalise_by != "all":
            raise ValueError(
                f"--normalise_by {config.normalise_by}: is of sounds, and {data.name} has "
                "trajectories of a pen; --pen_slant and --pen_size normalise each of them. Leave "
                "it out."
            )
        pens = [one.signal for one in signals]
        mean, deviation = moments_of_pens(data.name, config.pen_reading, pens, config.normalise)
        return {"mean": mean, "deviation": deviation}

    @property
    def size(self) -> int:
        return self.features.size

    def length(self, signal: np.ndarray) -> int:
        return self.features.length(signal)

    def rows(self, signals: Sequence[TranscribedSignal], seed: int | None = None) -> Rows:
        rows = [self.features.of_series(one.signal) for one in signals]
        return Rows([len(row) for row in rows], lambda epoch, i: rows[i])

    def places(self, signal: np.ndarray) -> np.ndarray:
        return self.features.reading.places(signal)

    def distorted(
        self,
        signal: TranscribedSignal,
        distortion: Distortion,
        amount: float,
        draw: np.random.Generator,
    ) -> TranscribedSignal:
        changed = self.features.distorted(signal.signal, distortion, amount, draw)
        if signal.segments and len(changed) != len(signal.signal):
            raise ValueError(
                f"--robustness {distortion.name}: the data have labels of single points, which "
                f"another number of points moves. Leave {distortion.name} out."
            )
        return signal._replace(signal=changed)

    def parse(self, line: str) -> np.ndarray:
        return self.features.parse(line)

    def picture(self, row: Tensor) -> Tensor:
        return self.features.picture(row)

    def drawing(
        self, signals: Sequence[np.ndarray], titles: Sequence[str], title: str = ""
    ) -> Drawing:
        trajectories = [Trajectory.of_array(signal) for signal in signals]
        return Drawing(svg_of_pen(trajectories, titles), title)
