"""throughtime bench: measures speed and memory of the layers beside other libraries."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from throughtime import cells
from throughtime.checks import unknown
from throughtime.cli import completion
from throughtime.cli.parser import Parser
from throughtime.kernels import BACKENDS
from throughtime.kernels.cpp.compiler import CompileError
from throughtime.measuring import benchmark, live
from throughtime.measuring.benchmark import Point, Setup, Size
from throughtime.measuring.settings import PACKAGES
from throughtime.tasks.run import written_whole

__all__ = ["main"]

_FORMULA = (
    "GFLOP/s counts the matrix products: 2 T B H (blocks of W x I + blocks of R x H) forward, "
    "three times as many in training. A ratio is the time of the peer divided by ours."
)
_RAGGED = (
    "Ragged: both directions, lengths uniform in T/10..T; torch packs and unpacks the rows, "
    "padded is our own layer without the lengths."
)
_MEMORY = "The peak memory of one training step beyond weights and input, in MiB."
_FIRST = "The first training step of a process; cold compiles the kernels, warm loads them."

_STREAM = (
    "A step of a stream on one thread, with the states of the step before and as many inputs as "
    "units. A ratio is our time divided by that of the peer. onnxruntime runs the file of "
    "save_onnx, module is our layer called with one step."
)

_BUSY = 0.5

# These options have an effect on the measurement of speed only.
_OF_STREAM = ("num_layers", "weights")
_NOT_OF_STREAM = ("steps", "input_size", "dtype")
_OF_SPEED = ("modes", "rounds", "seconds", "peers", "backend", "save", "ragged", "per_flop")


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse(argv)
    args = parser.complete(options)
    kind = _kind(options, args)
    chosen = cells.names() if args["cells"] == ["all"] else args["cells"]
    for name in chosen:
        cells.get(name)
    for mode in args["modes"]:
        if mode not in benchmark.MODES:
            raise unknown("mode", mode, benchmark.MODES)
    if args["backend"] not in ("auto", *BACKENDS):
        raise unknown("backend", args["backend"], ["auto", *BACKENDS])
    if args["dtype"] not in benchmark.DTYPES:
        raise unknown("dtype", args["dtype"], benchmark.DTYPES)
    sizes = [benchmark.parse_size(text) for text in args["sizes"]]
    setup = _setup(args)

    if args["threads"] is not None and args["threads"] < 1:
        raise ValueError(f"threads: expected 1 or more, got {args['threads']}.")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(args["threads"] or before)
        report = _Report(args["json"], kind, setup)
        grid = [(name, size) for name in chosen for size in sizes]
        if kind == "memory":
            return _memory(report, grid, setup)
        if kind == "first_call":
            return _first_call(report, grid, setup)
        if kind == "stream":
            return _stream(report, grid, args["num_layers"], args["weights"])
        return _speed(report, grid, args["modes"], setup)
    finally:
        torch.set_num_threads(before)


def _parser() -> Parser:
    parser = Parser(
        prog="throughtime bench",
        description="Compares the layers with the reference, then times them in turns with other "
        "libraries. A layer with wrong results gets no speed.",
    )
    parser.completers = {
        "cells": lambda **_: ["all", *completion.cell_names()],
        "modes": lambda **_: benchmark.MODES,
        "peers": lambda **_: ["none", *benchmark.PEERS],
        "dtype": lambda **_: benchmark.DTYPES,
        "backend": lambda **_: ["auto", *BACKENDS],
    }
    add = parser.add_argument
    add(
        "--cells",
        type=str,
        nargs="+",
        default=["lstm", "gru", "rnn-tanh"],
        help="names of cells, or all",
    )
    sizes = ["1x128", "32x256", "64x512"]
    add("--sizes", type=str, nargs="+", default=sizes, help="rows by hidden units, BxH")
    add("--modes", type=str, nargs="+", default=list(benchmark.MODES), help="what is measured")
    add("--steps", type=int | None, help="T, the time steps (default: 100, or 200 with --ragged)")
    add("--input_size", type=int | None, help="I, the input features (default: H)")
    add("--dtype", type=str, default="float32", help=", ".join(benchmark.DTYPES))
    add("--peers", type=str, nargs="*", help=f"some of {', '.join(benchmark.PEERS)}, or none")
    add("--backend", type=str, default="cpp", help="backend of our layer")
    add(
        "--save",
        type=Literal["gates", "states"],
        default="gates",
        help="what is kept for the backward pass",
    )
    add("--threads", type=int | None, help="number of threads (default: that of torch)")
    add(
        "--rounds",
        type=int | None,
        help="number of timed rounds (default: as many as fit into --seconds)",
    )
    add("--seconds", type=float, default=3.0, help="time for each cell, size and mode")
    add("--ragged", type=bool, default=False, help="rows of different lengths, both directions")
    add(
        "--per_flop", type=bool, default=False, help="add the time per FLOP divided by that of lstm"
    )
    add("--memory", type=bool, default=False, help="measure the peak memory of a training step")
    add(
        "--first_call",
        type=bool,
        default=False,
        help="measure the first training step of a process",
    )
    add("--stream", type=bool, default=False, help="measure a step of a stream")
    add("--num_layers", type=int, default=1, help="L, the layers of a stream")
    add(
        "--weights",
        type=Literal["bfloat16", "int8"] | None,
        help="the type of the weights of a stream",
    )
    add("--json", type=str | None, help="a file for all figures; - is the standard output")
    return parser


def _kind(options: Mapping[str, Any], args: Mapping[str, Any]) -> str:
    """The kind of measurement: speed, memory, first_call or stream.

    Args:
        options: the options on the command line.
        args: all options, with the defaults.

    Raises:
        ValueError: for an option that has no effect on this measurement.
    """
    kinds = [name for name in ("memory", "first_call", "stream") if args[name]]
    if len(kinds) > 1:
        raise ValueError(
            f"--{kinds[0]} and --{kinds[1]} are two measurements; ask for one at a time."
        )
    kind = kinds[0] if kinds else "speed"
    for name in _OF_SPEED:
        if kind != "speed" and name in options:
            raise ValueError(f"--{name} has no effect with --{kind}; leave it out.")
    for name in _NOT_OF_STREAM if kind == "stream" else _OF_STREAM:
        if name in options:
            state = "with" if kind == "stream" else "without"
            raise ValueError(f"--{name} has no effect {state} --stream; leave it out.")
    if args["num_layers"] < 1:
        raise ValueError(f"--num_layers: expected 1 or more, got {args['num_layers']}.")
    if "save" in options and args["modes"] == ["inference"]:
        raise ValueError("--save has no effect on inference, which keeps nothing; leave it out.")
    if "seconds" in options and args["rounds"] is not None:
        raise ValueError("--seconds has no effect with --rounds; leave one out.")
    return kind


def _setup(args: Mapping[str, Any]) -> Setup:
    peers = args["peers"]
    if peers is None and args["ragged"]:
        peers = ["torch", "padded"]
    elif peers is None:
        peers = ["torch", *filter(importlib.util.find_spec, PACKAGES), "loop"]
    return Setup(
        steps=args["steps"] if args["steps"] is not None else 200 if args["ragged"] else 100,
        dtype=benchmark.DTYPES[args["dtype"]],
        peers=tuple(dict.fromkeys(peers)) if peers != ["none"] else (),
        **{
            name: args[name]
            for name in ("backend", "save", "rounds", "seconds", "input_size", "ragged")
        },
        per_flop=args["per_flop"],
    )


class _Report:
    """Collects the figures, prints them as tables, and writes them as JSON.

    Args:
        target: a file for the JSON; ``-`` prints the JSON and no tables; None writes none.
        kind: the kind of measurement.
        setup: its settings.
    """

    def __init__(self, target: str | None, kind: str, setup: Setup) -> None:
        self.target, self.kind = target, kind
        console = Console(highlight=False)
        self.console = Console(highlight=False, width=max(console.width, 120))
        settings = {**vars(setup), "dtype": str(setup.dtype).removeprefix("torch.")}
        self.content = {"measured": kind, "machine": benchmark.machine(), "settings": settings}

    @contextmanager
    def doing(self, what: str) -> Any:
        """Shows on a terminal what is measured inside the context."""
        console = Console(stderr=True)
        status: AbstractContextManager[Any] = (
            console.status(what) if console.is_terminal else nullcontext()
        )
        with status:
            yield

    def keep(self, **figures: Any) -> None:
        """Adds figures and writes the file, so that an interrupted measurement keeps them."""
        self.content |= figures
        if self.target not in (None, "-"):
            path = Path(self.target)
            written_whole(path, lambda file: file.write_text(self._text(), encoding="utf-8"))

    def _text(self) -> str:
        return json.dumps(_rounded(self.content), indent=2) + "\n"

    def show(self, notes: Iterable[str], *tables: Table) -> None:
        """Prints the tables and the notes, or the JSON if the target is ``-``."""
        if self.target == "-":
            sys.stdout.write(self._text())
            return
        about = self.content["machine"]
        threads = "1 thread" if about["threads"] == 1 else f"{about['threads']} threads"
        self.console.print(f"{about['cpu']}, {threads}, {about['vectors']}, torch {about['torch']}")
        for table in tables:
            # Without peers the summary has no rows.
            if table.row_count:
                self.console.print()
                self.console.print(table)
        self.console.print()
        if (about["load"] or 0) > _BUSY:
            load = f"The load was {about['load']:.1f} at the start"
            notes = [
                *notes,
                f"{load}: other processes use the machine, so the figures are uncertain.",
            ]
        for note in notes:
            self.console.print(note, style="dim")


def _rounded(value: Any) -> Any:
    """The value with its numbers rounded to five digits, more than a clock can measure."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i == 0 else "right", no_wrap=True)
    return table


# Speed.


def _speed(
    report: _Report, grid: Iterable[tuple[str, Size]], modes: Sequence[str], setup: Setup
) -> int:
    with report.doing("the peak of multiply-adds"):
        peak = _peak(setup)
    report.keep(peak_gflops=peak, formula=_FORMULA)
    points: list[Point] = []
    for name, size in grid:
        with report.doing(f"{name} {size}"):
            points += benchmark.measure(name, size, modes, setup, peak)
        report.keep(
            points=[dataclasses.asdict(point) for point in points],
            summary=benchmark.summary(points),
        )
    notes = [*([_RAGGED] if setup.ragged else []), _FORMULA]
    if peak:
        notes.append(f"Peak: {peak:.0f} GFLOP/s of multiply-adds on registers, measured here.")
    report.show(notes, _points_table(points, setup), _summary_table(report.content["summary"]))
    # The results are compared once for each cell and size, so there is one message for all modes.
    errors = {
        (point.cell, str(Size(point.batch, point.hidden)), who): why
        for point in points
        for who, why in point.errors.items()
    }
    for (cell, size, who), why in errors.items():
        print(f"throughtime bench: {cell} {size}, {who}: {why}; no speed.", file=sys.stderr)
    return 1 if errors else 0


def _peak(setup: Setup) -> float | None:
    # The peak needs a compiler, the other backends do not.
    if BACKENDS["cpp"].missing():
        return None
    try:
        return benchmark.fma_peak(torch.get_num_threads(), setup.dtype)
    except CompileError as error:
        first = str(error).splitlines()[0]
        print(f"throughtime bench: the peak is not measured: {first}", file=sys.stderr)
        return None


def _points_table(points: Iterable[Point], setup: Setup) -> Table:
    more = ["per FLOP of lstm"] if setup.per_flop else []
    table = _table(*("cell", "mode", "BxH", "ours ms", *setup.peers, "GFLOP/s", "of peak", *more))
    for point in points:
        size = str(Size(point.batch, point.hidden))
        if "ours" in point.errors:
            table.add_row(point.cell, point.mode, size, "wrong")
            continue
        table.add_row(
            *(point.cell, point.mode, size, f"{point.ms['ours']:.2f}"),
            *(_ratio(point, peer) for peer in setup.peers),
            *(_or_dash(point.gflops, "{:.0f}"), _or_dash(point.of_peak, "{:.0%}")),
            *([_or_dash(point.per_flop_of_lstm, "{:.2f}x")] if setup.per_flop else []),
        )
    return table


def _ratio(point: Point, peer: str) -> str:
    return "wrong" if peer in point.errors else _or_dash(point.ratios.get(peer), "{:.2f}x")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _summary_table(summary: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("cell", "mode", "against", "points", "geometric mean", "worst", "at")
    for entry in summary:
        table.add_row(
            *(entry["cell"], entry["mode"], entry["against"], str(entry["points"])),
            *(f"{entry['geometric_mean']:.2f}x", f"{entry['worst']:.2f}x", entry["at"]),
        )
    return table


# The other measurements.


def _each(
    report: _Report,
    grid: Iterable[tuple[str, Size]],
    measure: Callable[[str, Size], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for name, size in grid:
        with report.doing(f"{name} {size}"):
            figures = measure(name, size)
        points.append({"cell": name, "batch": size.batch, "hidden": size.hidden, **figures})
        report.keep(points=points)
    return points


def _memory(report: _Report, grid: Iterable[tuple[str, Size]], setup: Setup) -> int:
    table = _table("cell", "BxH", "torch", "gates", "states", "gates / torch", "states / torch")
    who = ("torch", "gates", "states")

    def measure(name: str, size: Size) -> dict[str, Any]:
        peaks = benchmark.memory(name, size, setup)
        theirs = peaks.get("torch")
        shares = {f"{k}_of_torch": peaks[k] / theirs for k in who[1:] if theirs}
        return {"bytes": peaks, **shares}

    for point in _each(report, grid, measure):
        table.add_row(
            *(point["cell"], f"{point['batch']}x{point['hidden']}"),
            *(_or_dash(_mebibytes(point["bytes"].get(k)), "{:.1f}") for k in who),
            *(_or_dash(point.get(f"{k}_of_torch"), "{:.2f}") for k in who[1:]),
        )
    report.show([_MEMORY], table)
    return 0


def _mebibytes(value: int | None) -> float | None:
    return None if value is None else value / 2**20


def _first_call(report: _Report, grid: Iterable[tuple[str, Size]], setup: Setup) -> int:
    table = _table("cell", "BxH", "cold s", "warm ms", "later ms", "warm - later ms")

    def measure(name: str, size: Size) -> dict[str, float]:
        return benchmark.first_call(name, size, setup)

    for point in _each(report, grid, measure):
        table.add_row(
            *(point["cell"], f"{point['batch']}x{point['hidden']}", f"{point['cold']:.2f}"),
            *(f"{1e3 * point[k]:.1f}" for k in ("warm", "later", "warm_minus_later")),
        )
    report.show([_FIRST], table)
    return 0


def _stream(
    report: _Report, grid: Iterable[tuple[str, Size]], num_layers: int, weights: str | None
) -> int:
    table = _table("cell", "BxH", "L", "ours us", *live.PEERS, "error")
    errors: list[str] = []

    def measure(name: str, size: Size) -> dict[str, Any]:
        torch.set_num_threads(1)
        return dataclasses.asdict(
            live.measure(name, size.hidden, num_layers, size.batch, weights=weights)
        )

    for point in _each(report, grid, measure):
        size = f"{point['batch']}x{point['hidden']}"
        errors += [f"{point['cell']} {size}, {k}: {why}" for k, why in point["errors"].items()]
        table.add_row(
            *(point["cell"], size, str(num_layers), _or_dash(point["us"].get("ours"), "{:.1f}")),
            *(_or_dash(point["ratios"].get(peer), "{:.2f}x") for peer in live.PEERS),
            f"{point['error']:.1e}",
        )
    report.show([_STREAM, "The error is that of our outputs, relative to their norm."], table)
    for why in errors:
        print(f"throughtime bench: {why}; no speed.", file=sys.stderr)
    return 1 if errors else 0
