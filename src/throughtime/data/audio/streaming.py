"""Features of a sound that arrives in pieces, equal to those of the whole sound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from throughtime.data.audio.features import REACH, SpectralFeatures, differences, emphasised

__all__ = ["FeatureStream"]


class FeatureStream:
    """Computes the features of each frame as soon as its samples have arrived.

    A difference needs the two frames after its own, so with ``order`` differences a frame is given
    2 * order frames late.

    Args:
        features: what is computed.

    >>> features = SpectralFeatures(8000)
    >>> stream, sound = FeatureStream(features), np.ones(1000, np.float32)
    >>> pieces = [stream.push(sound[:300]), stream.push(sound[300:]), stream.finish()]
    >>> bool(np.allclose(np.concatenate(pieces), features(sound)))
    True
    """

    def __init__(self, features: SpectralFeatures) -> None:
        self.features = features
        self._samples = np.zeros(0)
        self._before = 0.0
        self._num_samples = self._num_frames = 0
        self._is_finished = False
        self._windows = [
            _Window(features.num_values, has_slopes=order < features.order)
            for order in range(1 + features.order)
        ]

    @property
    def delay(self) -> int:
        """The number of frames by which the features follow the sound."""
        return REACH * self.features.order

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The features (T, I) of the frames that are complete with these samples (N).

        Raises:
            ValueError: after :meth:`finish`.
        """
        if self._is_finished:
            raise ValueError("FeatureStream.push: the stream is finished. Start a new one.")
        if len(samples):
            self._samples = np.concatenate([self._samples, emphasised(samples, self._before)])
            self._before = float(samples[-1])
            self._num_samples += len(samples)
        f = self.features
        T = max(0, 1 + (len(self._samples) - f.frame_size) // f.hop)
        return self._with_frames(T)

    def finish(self) -> np.ndarray:
        """The features of the remaining frames; a stream without any sample has none."""
        if self._is_finished or not self._num_samples:
            self._is_finished = True
            return np.zeros((0, self.features.size), np.float32)
        self._is_finished = True
        return self._with_frames(self.features.num_frames(self._num_samples) - self._num_frames)

    def _with_frames(self, T: int) -> np.ndarray:
        """Appends T frames, and takes the features of all frames that are then known."""
        values = np.zeros((0, self.features.num_values))
        if T > 0:
            values = self.features.of_frames(self._samples, T)
            self._samples = self._samples[T * self.features.hop :]
            self._num_frames += T
        windows = self._windows
        windows[0].append(values)
        for window, slopes in pairwise(windows):
            slopes.append(window.slopes(self._num_frames, self._is_finished))
        ready = min(window.end for window in windows)
        parts = [window.take(ready) for window in windows]
        for window in windows:
            window.forget(ready)
        return np.concatenate(parts, 1).astype(np.float32)


class _Window:
    """The rows of a sequence that are still needed.

    Args:
        width: the number of values of a row.
        has_slopes: whether the slopes of the rows are computed.
    """

    def __init__(self, width: int, *, has_slopes: bool) -> None:
        self._rows, self._has_slopes = np.zeros((0, width)), has_slopes
        # The numbers of the first row that is kept, of the next row to be taken, and of the next
        # row whose slope is to be computed.
        self._start = self._taken = self._sloped = 0

    @property
    def end(self) -> int:
        """The number of rows that were appended."""
        return self._start + len(self._rows)

    def append(self, rows: np.ndarray) -> None:
        self._rows = np.concatenate([self._rows, rows])

    def slopes(self, num_frames: int, is_finished: bool) -> np.ndarray:
        """The differences of all rows that are not computed yet and whose neighbours are known."""
        is_complete = is_finished and self.end == num_frames
        end = self.end if is_complete else max(self._sloped, self.end - REACH)
        if end == self._sloped:
            return self._rows[:0]
        begin = max(0, self._sloped - REACH)
        known = self._rows[begin - self._start : min(self.end, end + REACH) - self._start]
        slopes = differences(known)[self._sloped - begin : end - begin]
        self._sloped = end
        return slopes

    def take(self, end: int) -> np.ndarray:
        """The rows that were not taken yet, before the row ``end``."""
        rows = self._rows[self._taken - self._start : end - self._start]
        self._taken = end
        return rows

    def forget(self, taken: int) -> None:
        """Drops the rows that neither a later slope nor a later `take` needs."""
        keep = min(taken, self._sloped - REACH) if self._has_slopes else taken
        keep = max(self._start, keep)
        self._rows, self._start = self._rows[keep - self._start :], keep
