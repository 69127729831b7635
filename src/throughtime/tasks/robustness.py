"""The option ``--robustness``: how the figures of a model change when its input is distorted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from throughtime.data.distortion import Distortion, distortions_of
from throughtime.tasks.shown import Curves

__all__ = ["RobustnessOptions", "robustness_curves"]


@dataclass(kw_only=True)
class RobustnessOptions:
    """How the input is distorted.

    Args:
        robustness: distortions of the sounds or series, separated by commas, for each of which the
            figures are measured again at several amounts: noise, the signal-to-noise ratio; rate,
            the sampling rate; speed, the tempo; gap, the fraction that is lost.
    """

    robustness: str | None = None

    def __post_init__(self) -> None:
        _ = self.distortions

    @property
    def distortions(self) -> list[Distortion]:
        """The distortions; empty without the option."""
        return [] if self.robustness is None else distortions_of("--robustness", self.robustness)


def robustness_curves(
    distortions: Sequence[Distortion],
    inputs: Sequence[Any],
    distorted: Callable[[Any, Distortion, float, np.random.Generator], Any],
    figures_of: Callable[[Sequence[Any]], Mapping[str, float]],
    undistorted: Mapping[str, float],
) -> list[Curves]:
    """The figures of a model against the amount of each distortion.

    The random numbers depend on the distortion, the amount and the input only, so that all models
    read the same noise.

    Args:
        distortions: the distortions.
        inputs: the inputs as they are.
        distorted: a function of an input, a distortion, its amount and the random numbers that
            returns the distorted input.
        figures_of: measures the model on as many inputs, in their order.
        undistorted: the figures of the inputs as they are; the curves have the same ones.
    """
    curves = []
    for distortion in distortions:
        points = []
        for amount in distortion.amounts:
            if amount is None:
                points.append(undistorted)
                continue
            seed = [*distortion.name.encode(), round(1000 * amount) % 2**32]
            changed = [
                distorted(one, distortion, amount, np.random.default_rng([*seed, i]))
                for i, one in enumerate(inputs)
            ]
            points.append(figures_of(changed))
        curves.append(
            Curves(
                ["none" if amount is None else f"{amount:g}" for amount in distortion.amounts],
                {name: [point[name] for point in points] for name in undistorted},
                title=distortion.name,
                x_name=distortion.quantity,
            )
        )
    return curves
