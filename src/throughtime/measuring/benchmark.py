"""Speed and memory of the layers, beside their peers and in the same run.

Before anything is timed, each contender must compute what the reference computes in float64: the
outputs, and the gradients. One that does not gets no figure. Then all contenders run one after
the other in every round, so that whatever else the machine does meets them alike, and the medians
are compared. Only the products are counted as work: see :func:`flops`.
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

# Of the norm of what is compared. Twenty steps of rounding stay far below; a wrong sign, block or
# step far above.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 0.08}
_CHECKED_STEPS = 20
_WARM_UP, _ROUNDS = 2, (5, 60)


@dataclass
class Point:
    """What was measured of one cell, at one size, in one mode.

    Args:
        ms: the median time of a call of ``ours`` and of each peer; milliseconds.
        quartiles: of the same; milliseconds.
        ratios: how many times as long as ours each peer takes.
        rows: of the products: T*B, or the sum of all lengths; twice that for two directions.
        gflops: products of ours in 1e9 FLOP a second.
        of_peak: that, of the measured peak.
        per_flop_of_lstm: our time per FLOP, in those of our own ``lstm``.
        absent: the peers that have no such cell.
        errors: of a contender that computes something else than the reference, what; it then has
            no time, and where it is ours there are no times at all.
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
    """The work of the products: 2 * rows * H * (blocks of W * I + blocks of R * H).

    The backward pass has twice as many, so ``training`` counts three times that. What is done
    unit by unit is not counted.

    Args:
        rows: T*B, or the sum of all lengths; twice that for two directions.

    >>> flops(get("gru"), 100 * 32, 256, 256, "training") / 1e9
    7.5497472
    """
    blocks = len(cell.gates) * input_size + len(cell.recurrent_block_names) * hidden
    return 2.0 * rows * hidden * blocks * (3 if mode == "training" else 1)


# The gate.


def _wrong(contender: Contender, size: Size, setup: Setup) -> str | None:
    """What a contender computes otherwise than the reference in float64, or None."""
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
    # torchrecurrent's have other names and another order.
    theirs = dict(contender.layer.named_parameters())
    same = [name for name, _ in exact.named_parameters() if name in theirs]
    x = torch.randn(T, size.batch, I).to(setup.dtype)
    seed = torch.randn(T, size.batch, exact.output_size).to(setup.dtype)

    def found(layer: Contender, x: Tensor, seed: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            inferred = layer.forward(x, lengths)
        x = x.clone().requires_grad_()
        output = layer.forward(x, lengths)
        named = dict(layer.layer.named_parameters())
        gradients = torch.autograd.grad(output, [x, *(named[n] for n in same)], seed)
        names = ["x", *same]
        return {
            "the outputs without gradients": inferred,
            "the outputs": output.detach(),
            **{f"the gradient of {n}": g for n, g in zip(names, gradients, strict=True)},
        }

    expected = found(Contender(contender.cell, exact), x.double(), seed.double())
    for what, value in found(contender, x, seed).items():
        error = float((value.double() - expected[what]).norm() / expected[what].norm())
        # What is 0 throughout, as the gradient of what no row has come to, must be it here too.
        is_zero = not expected[what].any() and not value.any()
        # Written so that NaN is wrong.
        if not is_zero and not error <= _TOLERANCE[setup.dtype]:
            return f"{what} differ from the reference by {error:.1e} of their norm"
    return None


# Timing.


def _alternate(
    calls: Mapping[str, Callable[[], object]], rounds: int | None, seconds: float
) -> dict[str, list[float]]:
    """The times of each call in seconds; all run once in every round."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}

    def once(first: int) -> float:
        begun = time.perf_counter()
        # Another one begins each time, so that none always comes after the same.
        for i in range(len(names)):
            name = names[(first + i) % len(names)]
            before = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - before)
        return time.perf_counter() - begun

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
    return {name: found[_WARM_UP:] for name, found in times.items()}


def measure(
    cell: Cell | str, size: Size, modes: Iterable[str], setup: Setup, peak: float | None = None
) -> list[Point]:
    """Checks one cell at one size, then times it beside its peers.

    Args:
        cell: the equations, or their name.
        modes: among :data:`MODES`.
        peak: GFLOP/s, from :func:`fma_peak`, to give a share of.

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
            # Some row is as long as the input.
            lengths[0] = T
        rows = D * (T * B if lengths is None else int(lengths.sum()))
        found, absent = contenders(cell, size, setup, lengths)
        errors = {}
        for name, contender in found.items():
            if (why := _wrong(contender, size, setup)) is not None:
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
        calls = {n: c.call(mode, x, seed) for n, c in found.items() if n not in errors}
        times = _alternate(calls, setup.rounds, setup.seconds)
        point.rounds = len(times["ours"])
        point.ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
        point.quartiles = {
            name: [1e3 * q for q in torch.tensor(t).quantile(torch.tensor([0.25, 0.75])).tolist()]
            for name, t in times.items()
        }
        own = point.ms["ours"]
        point.ratios = {n: t / own for n, t in point.ms.items() if n not in ("ours", "our lstm")}
        work = flops(cell, rows, I, size.hidden, mode)
        point.gflops = work / own / 1e6
        point.of_peak = point.gflops / peak if peak else None
        if "our lstm" in point.ms:
            of_lstm = flops(found["our lstm"].cell, rows, I, size.hidden, mode)
            point.per_flop_of_lstm = own / work / (point.ms["our lstm"] / of_lstm)
    return points


def summary(points: Iterable[Point]) -> list[dict[str, Any]]:
    """For each cell, mode and peer the geometric mean of the ratios, and the lowest."""
    groups: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for point in points:
        size, ratios = str(Size(point.batch, point.hidden)), dict(point.ratios)
        if point.per_flop_of_lstm is not None:
            ratios["per FLOP of lstm"] = point.per_flop_of_lstm
        for peer, ratio in ratios.items():
            groups.setdefault((point.cell, point.mode, peer), []).append((ratio, size))
    found = []
    for (cell, mode, peer), ratios in groups.items():
        # The worst: of a time per FLOP, the longest.
        worst, at = (max if peer == "per FLOP of lstm" else min)(ratios)
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio, _ in ratios))
        entry = {"cell": cell, "mode": mode, "against": peer, "points": len(ratios)}
        found.append({**entry, "geometric_mean": mean, "worst": worst, "at": at})
    return found
