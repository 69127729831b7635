"""Measures speed and memory of the layers and of their peers in the same run.

Before a contender is timed, its outputs and gradients are compared with those of the reference in
float64; a contender with wrong numbers gets no time. Then all contenders run in turn in every
round, so that other load on the machine affects them equally, and the medians are compared. Only
matrix products are counted as work; see :func:`flops`.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, get
from throughtime.checks import unknown
from throughtime.layers import Recurrent
from throughtime.measuring.machine import fma_peak, machine
from throughtime.measuring.own_process import first_call, memory, step_memory
from throughtime.measuring.peers import Contender, contenders
from throughtime.measuring.settings import (
    DTYPES,
    MODES,
    PEERS,
    RAGGED_PEERS,
    Setup,
    Size,
    parse_size,
)

__all__ = [
    "DTYPES",
    "MODES",
    "PEERS",
    "RAGGED_PEERS",
    "Point",
    "Setup",
    "Size",
    "first_call",
    "flops",
    "fma_peak",
    "machine",
    "measure",
    "memory",
    "parse_size",
    "step_memory",
    "summary",
]

# The largest allowed norm of the error relative to that of the value. Rounding over twenty steps
# causes errors far below it; a wrong sign, block or step causes errors far above it.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 0.08}
_CHECKED_STEPS = 20
_WARM_UP, _ROUNDS = 2, (5, 60)


@dataclass
class Point:
    """The measurement of one cell, at one size, in one mode.

    Args:
        cell, mode, batch, hidden, steps: the cell's name, the mode, B, H and T.
        rows: the rows of the products: T*B, or the sum of all lengths; twice that for two
            directions.
        rounds: the number of timed rounds.
        ms: the median time of a call of ``ours`` and of each peer; milliseconds.
        quartiles: the lower and upper quartile of these times; milliseconds.
        ratios: the time of each peer divided by ours.
        gflops: the products of ours in 1e9 FLOP per second.
        of_peak: ``gflops`` divided by the measured peak of the machine.
        per_flop_of_lstm: our time per FLOP divided by that of our own ``lstm``.
        absent: the peers that do not have this cell.
        errors: a description of the error for each contender whose numbers differ from those of
            the reference. It then has no time; if it is ours, nothing is timed.
    """

    cell: str
    mode: str
    batch: int
    hidden: int
    steps: int
    rows: int = 0
    rounds: int = 0
    ms: dict[str, float] = field(default_factory=dict)
    quartiles: dict[str, list[float]] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    gflops: float | None = None
    of_peak: float | None = None
    per_flop_of_lstm: float | None = None
    absent: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def flops(cell: Cell, rows: int, input_size: int, hidden: int, mode: str) -> float:
    """The FLOP of the matrix products: 2 * rows * H * (blocks of W * I + blocks of R * H).

    The backward pass needs twice as many, so ``training`` counts three times that. Elementwise
    operations are not counted.

    Args:
        cell: the cell.
        rows: T*B, or the sum of all lengths; twice that for two directions.
        input_size, hidden: I and H.
        mode: ``inference`` or ``training``.

    >>> flops(get("gru"), 100 * 32, 256, 256, "training") / 1e9
    7.5497472
    """
    blocks = len(cell.gates) * input_size + len(cell.recurrent_block_names) * hidden
    return 2.0 * rows * hidden * blocks * (3 if mode == "training" else 1)


def _difference(contender: Contender, size: Size, setup: Setup) -> str | None:
    """Compares a contender with the reference in float64.

    Returns:
        A description of the first value that differs; None if all agree.
    """
    T, I = min(setup.steps, _CHECKED_STEPS), setup.input_size or size.hidden
    lengths = contender.lengths
    if lengths is not None:
        # The longest row is as long as the input, and some are shorter.
        lengths = (lengths * T + setup.steps - 1) // setup.steps
    exact = Recurrent(
        contender.cell, I, size.hidden, bidirectional=setup.ragged, backend="reference"
    )
    exact = exact.double()
    exact.load_state_dict({name: value.double() for name, value in contender.weights.items()})
    # The parameters of packages have other names and another order and are not compared.
    theirs = dict(contender.layer.named_parameters())
    shared = [name for name, _ in exact.named_parameters() if name in theirs]
    x = torch.randn(T, size.batch, I).to(setup.dtype)
    seed = torch.randn(T, size.batch, exact.output_size).to(setup.dtype)
    reference = Contender(contender.cell, exact)
    expected = _results(reference, x.double(), seed.double(), lengths, shared)
    for what, value in _results(contender, x, seed, lengths, shared).items():
        error = float((value.double() - expected[what]).norm() / expected[what].norm())
        # A value that is 0 throughout, such as the gradient of an unused weight, has no relative
        # error; it must be 0 in both.
        is_zero = not expected[what].any() and not value.any()
        # Not `error > tolerance`, which is False for NaN.
        if not is_zero and not error <= _TOLERANCE[setup.dtype]:
            return f"{what} differ from the reference by {error:.1e} of their norm"
    return None


def _results(
    contender: Contender, x: Tensor, seed: Tensor, lengths: Tensor | None, weights: list[str]
) -> dict[str, Tensor]:
    """The outputs of a contender and the gradients of x and of some weights, by description.

    Args:
        contender: the layer to run.
        x: the input.
        seed: the gradient of the outputs.
        lengths: the lengths of the rows; None if all steps are valid.
        weights: the names of the parameters.
    """
    with torch.no_grad():
        inferred = contender.forward(x, lengths)
    x = x.clone().requires_grad_()
    output = contender.forward(x, lengths)
    named = dict(contender.layer.named_parameters())
    gradients = torch.autograd.grad(output, [x, *(named[n] for n in weights)], seed)
    return {
        "the outputs without gradients": inferred,
        "the outputs": output.detach(),
        **{f"the gradient of {n}": g for n, g in zip(["x", *weights], gradients, strict=True)},
    }


def _alternate(
    calls: Mapping[str, Callable[[], object]], rounds: int | None, seconds: float
) -> dict[str, list[float]]:
    """Times calls in turn, each once in every round.

    Args:
        calls: the calls by name.
        rounds: the number of timed rounds; None takes as many as fit into ``seconds``.
        seconds: the time for all rounds.

    Returns:
        The times of each call in seconds.
    """
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}

    def once(first: int) -> float:
        start = time.perf_counter()
        # Each round begins with another call, so that no call always follows the same other one.
        for i in range(len(names)):
            name = names[(first + i) % len(names)]
            before = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - before)
        return time.perf_counter() - start

    gc.collect()
    gc.disable()
    try:
        took = [once(i) for i in range(_WARM_UP)][-1]
        if rounds is None:
            rounds = min(max(int(seconds / took), _ROUNDS[0]), _ROUNDS[1])
        for i in range(rounds):
            once(i)
    finally:
        gc.enable()
    return {name: all_times[_WARM_UP:] for name, all_times in times.items()}


def measure(
    cell: Cell | str, size: Size, modes: Iterable[str], setup: Setup, peak: float | None = None
) -> list[Point]:
    """Checks one cell at one size, then times it beside its peers.

    Args:
        cell: the equations, or their name.
        size: B and H.
        modes: a selection of :data:`MODES`.
        setup: the other settings.
        peak: the peak of the machine in GFLOP/s, from :func:`fma_peak`, for ``Point.of_peak``.

    Returns:
        A point for each mode.
    """
    cell = get(cell) if isinstance(cell, str) else cell
    T, B, I = setup.steps, size.batch, setup.input_size or size.hidden
    D = 2 if setup.ragged else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lengths = torch.randint(math.ceil(T / 10), T + 1, (B,)) if setup.ragged else None
        if lengths is not None:
            # One row must be as long as the input.
            lengths[0] = T
        rows = D * (T * B if lengths is None else int(lengths.sum()))
        layers, absent = contenders(cell, size, setup, lengths)
        errors = {}
        for name, contender in layers.items():
            if (why := _difference(contender, size, setup)) is not None:
                errors[name] = why
        x = torch.randn(T, B, I).to(setup.dtype).requires_grad_()
        seed = torch.randn(T, B, D * size.hidden).to(setup.dtype)
    points = []
    for mode in modes:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        point = Point(
            cell.name or type(cell).__name__, mode, B, size.hidden, T, rows, absent=absent
        )
        point.errors = dict(errors)
        points.append(point)
        if "ours" in errors:
            continue
        calls = {n: c.call(mode, x, seed) for n, c in layers.items() if n not in errors}
        _enter_times(point, _alternate(calls, setup.rounds, setup.seconds))
        _enter_work(point, layers, I, peak)
    return points


def _enter_times(point: Point, times: Mapping[str, list[float]]) -> None:
    """Sets rounds, medians, quartiles and ratios of a point from times in seconds."""
    point.rounds = len(times["ours"])
    point.ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
    point.quartiles = {
        name: [1e3 * q for q in torch.tensor(t).quantile(torch.tensor([0.25, 0.75])).tolist()]
        for name, t in times.items()
    }
    ms = point.ms["ours"]
    point.ratios = {n: t / ms for n, t in point.ms.items() if n not in ("ours", "our lstm")}


def _enter_work(point: Point, layers: Mapping[str, Contender], I: int, peak: float | None) -> None:
    """Sets the fields of a point that relate its times to the FLOP of the matrix products."""

    def work(name: str) -> float:
        return flops(layers[name].cell, point.rows, I, point.hidden, point.mode)

    point.gflops = work("ours") / point.ms["ours"] / 1e6
    point.of_peak = point.gflops / peak if peak else None
    if "our lstm" in point.ms:
        ms_per_flop = {name: point.ms[name] / work(name) for name in ("ours", "our lstm")}
        point.per_flop_of_lstm = ms_per_flop["ours"] / ms_per_flop["our lstm"]


def summary(points: Iterable[Point]) -> list[dict[str, Any]]:
    """Summarises points: for each cell, mode and peer the geometric mean and the worst ratio."""
    groups: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for point in points:
        size, ratios = str(Size(point.batch, point.hidden)), dict(point.ratios)
        if point.per_flop_of_lstm is not None:
            ratios["per FLOP of lstm"] = point.per_flop_of_lstm
        for peer, ratio in ratios.items():
            groups.setdefault((point.cell, point.mode, peer), []).append((ratio, size))
    entries = []
    for (cell, mode, peer), ratios in groups.items():
        # The worst ratio is the lowest, but of times per FLOP the highest.
        worst, at = (max if peer == "per FLOP of lstm" else min)(ratios)
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio, _ in ratios))
        entry = {"cell": cell, "mode": mode, "against": peer, "points": len(ratios)}
        entries.append({**entry, "geometric_mean": mean, "worst": worst, "at": at})
    return entries
