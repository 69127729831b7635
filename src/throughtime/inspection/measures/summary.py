"""All measures of one model on one input, as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.inspection.measures.clipping import clipping
from throughtime.inspection.measures.correlation import followers
from throughtime.inspection.measures.dynamics import (
    jacobians,
    lyapunov_exponent,
    product_singular_values,
    spectra,
)
from throughtime.inspection.measures.fixed_points import fixed_points
from throughtime.inspection.measures.gradients import Decay, memory_horizon
from throughtime.inspection.measures.losses import decay_of_model
from throughtime.inspection.measures.text_properties import PROPERTIES, Property
from throughtime.inspection.measures.trajectory import Trajectory, trajectory
from throughtime.inspection.measures.units import (
    are_gates,
    dead_units,
    effective_rank,
    saturation,
)
from throughtime.inspection.recording import Name, Recording, record
from throughtime.tasks.run import Run
from throughtime.tasks.uses import Inspectable, Streams

__all__ = ["MOST_LAGS", "Measured", "measures_of"]

MOST_LAGS = 60
"""The largest lag of the gradients."""

_NUM_JACOBIANS, _MOST_PRODUCTS, _LYAPUNOV_STEPS = 4, 16, 200


class Measured(NamedTuple):
    """One row.

    Args:
        measure: the name of the measure.
        where: the layer, the state or the gate that was measured; empty for the whole run.
        text: the result in a few words, for a table.
        values: the result as numbers and lists by name; a number that is unknown is None.
        source: the publication that defines the measure.
    """

    measure: str
    where: str
    text: str
    values: Mapping[str, Any]
    source: str = ""


def measures_of(
    task: Inspectable,
    model: nn.Module,
    input: Any,
    *,
    fresh: Callable[[], nn.Module] | None = None,
    run: Run | None = None,
    properties: Mapping[str, Property] = PROPERTIES,
    followed: Sequence[Recording] = (),
    is_thorough: bool = True,
) -> Iterator[Measured]:
    """Yields the measures of a model while it reads one input.

    Args:
        task: the task of the model.
        model: the model.
        input: a text, or one of ``task.held_out``.
        fresh: makes the model as it was before the training; None leaves out what needs it.
        run: the run folder, whose metrics are read; None leaves out what needs them.
        properties: with which the units of a language model are compared.
        followed: the recordings in which they are compared; none is the one of the input.
        is_thorough: whether to compute the measures that take long: products of Jacobians, and
            fixed points.

    Raises:
        ValueError: if the model cannot read the input.
    """
    recording = record(task, model, input)
    decays, states = decay_of_model(task, model, input, MOST_LAGS)
    yield from _gradients("gradient against lag", decays)
    if fresh is not None:
        yield from _gradients(
            "gradient before training", decay_of_model(task, fresh(), input, MOST_LAGS)[0]
        )
    for name, calls in states.calls.items():
        yield from _dynamics(_title(name), trajectory(calls, states.widths[name]), is_thorough)
    yield from _units(recording)
    if isinstance(task, Streams):
        yield from _followers(followed or [recording], properties)
    if run is not None and (norms := clipping(run)) is not None:
        text = f"clipped at {norms.clip_norm:g} in {norms.share:.0%} of the rows"
        values = {**norms._asdict(), "share": norms.share}
        yield Measured("gradient norm", "", text, values, "Pascanu et al., arXiv 1211.5063")


def _title(name: Name) -> str:
    """The layer in words, such as ``encoder.recurrent layer 1 reverse``."""
    return f"{name.module} layer {name.layer}{' reverse' if name.is_reverse else ''}".strip()


def _gradients(measure: str, decays: list[Decay]) -> Iterator[Measured]:
    for name, norms, factor in decays:
        e, percent = memory_horizon(norms), memory_horizon(norms, 0.01)
        per_step = f"x {factor:.3f} per step; " if math.isfinite(factor) else ""
        text = f"{per_step}below 1/e {_lag(e, norms)}, 1 % {_lag(percent, norms)}"
        values = {
            "norms": norms.tolist(),
            "factor_per_step": _number(factor),
            "horizon": e,
            "horizon_1_percent": percent,
        }
        yield Measured(measure, _title(name), text, values, "Bengio et al. 1994; arXiv 1211.5063")


def _lag(lag: int | None, norms: Tensor) -> str:
    return f"beyond {len(norms) - 1} steps" if lag is None else f"after {lag}"


def _dynamics(where: str, run: Trajectory, is_thorough: bool) -> Iterator[Measured]:
    T, K = run.num_steps, min(_MOST_PRODUCTS, run.num_steps)
    at = torch.linspace(0, T - 1, min(_NUM_JACOBIANS, T)).round().long()
    of_steps = torch.linalg.svdvals(jacobians(run, at))
    largest, median = of_steps[:, 0].mean(), of_steps.median(-1).values.mean()
    yield Measured(
        "singular values of the step",
        where,
        f"largest {largest:.3g}, median {median:.3g}",
        {"at": at.tolist(), "singular_values": of_steps.tolist()},
        "arXiv 1211.5063",
    )
    if is_thorough:
        first = (T - K) // 2
        products = product_singular_values(jacobians(run, torch.arange(first, first + K)))
        text = f"largest {products[-1, 0]:.3g}, median {products[-1].median():.3g} over {K} steps"
        values = {"first": first, "singular_values": products.tolist()}
        yield Measured("singular values of products", where, text, values, "arXiv 1211.5063")
    if T > 1:
        exponent = lyapunov_exponent(run.first(_LYAPUNOV_STEPS))
        text = f"{exponent:+.3f} nats per step"
        yield Measured(
            "largest Lyapunov exponent",
            where,
            text,
            {"exponent": _number(exponent), "steps": min(T, _LYAPUNOV_STEPS)},
            "Benettin et al. 1980",
        )
    for block, eigenvalues in spectra(run).items():
        yield Measured(
            "spectrum of R",
            f"{where}, block {block}",
            f"radius {eigenvalues[0].abs():.3f}",
            {"real": eigenvalues.real.tolist(), "imaginary": eigenvalues.imag.tolist()},
            "arXiv 1211.5063",
        )
    if is_thorough:
        points = fixed_points(run)
        fixed, stable = points.are_fixed, points.are_fixed & points.are_stable
        counts = (int(fixed.sum()), int(stable.sum()), int((~fixed).sum()))
        yield Measured(
            "fixed points",
            where,
            f"{counts[0]}, of which {counts[1]} stable; slow points {counts[2]}",
            {
                "speeds": points.speeds.tolist(),
                "are_fixed": fixed.tolist(),
                "are_stable": points.are_stable.tolist(),
                "largest_eigenvalues": points.eigenvalues[:, 0].abs().tolist(),
                "points": points.points.tolist(),
            },
            "Sussillo and Barak 2013",
        )


def _units(recording: Recording) -> Iterator[Measured]:
    for name in are_gates(recording):
        left, right = saturation(recording.values[name])
        yield Measured(
            "saturation of the gate",
            name,
            f"below 0.1 {left.mean():.0%} of the time, above 0.9 {right.mean():.0%}",
            {"left": left.tolist(), "right": right.tolist()},
            "Karpathy et al., arXiv 1506.02078",
        )
    for name in sorted(recording.states):
        values = recording.values[name]
        if len(values) < 2:
            # One step says nothing about what changes.
            continue
        dead, rank = dead_units(values).tolist(), effective_rank(values)
        width = values.shape[1]
        yield Measured("dead units", name, f"{len(dead)} of {width}", {"units": dead})
        yield Measured(
            "effective rank",
            name,
            f"{rank:.1f} of {width}",
            {"rank": rank, "units": width},
            "Roy and Vetterli 2007",
        )


def _followers(
    recordings: Sequence[Recording], properties: Mapping[str, Property]
) -> Iterator[Measured]:
    for name, property in properties.items():
        try:
            units = followers(recordings, property, most=5)
        except ValueError:
            text, units = "never changes in this text", []
        else:
            best = units[0]
            text = f"{best.name} unit {best.unit}: r = {best.correlation:+.2f}"
        values = {"units": [unit._asdict() for unit in units]}
        yield Measured("units that follow", name, text, values, "arXiv 1506.02078")


def _number(value: float) -> float | None:
    """The number for JSON, which has neither NaN nor infinity."""
    return value if math.isfinite(value) else None
