"""throughtime bench: speed and memory of the layers, beside their peers."""

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
from throughtime.measuring import benchmark
from throughtime.measuring.benchmark import Point, Setup, Size
from throughtime.tasks.run import written_whole

__all__ = ["main"]

_FORMULA = (
    "GFLOP/s: of the products alone, 2 T B H (blocks of W x I + blocks of R x H) forward, and "
    "three times that in training. Ratios: how many times as long as ours the peer takes."
)
_RAGGED = (
    "Ragged: both directions, lengths uniform in T/10..T; torch packs and unpacks the rows, "
    "padded is our own layer without the lengths."
)
_MEMORY = "The most memory that one training step occupies beyond weights and input; MiB."
_FIRST = "The first training step of a process: compiled anew, and with all kernels in the cache."

_BUSY = 0.5

# What an option needs to have an effect: memory and first_call are other measurements.
_OF_SPEED = ("modes", "rounds", "seconds", "peers", "backend", "save", "ragged", "per_flop")


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    given = parser.parse(argv)
    args = parser.complete(given)
    kind = _kind(given, args)
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
        return _speed(report, grid, args["modes"], setup)
    finally:
        torch.set_num_threads(before)


def _parser() -> Parser:
    parser = Parser(
        prog="throughtime bench",
        description="Checks the layers against the reference, then times them beside their peers, "
        "in alternation. A layer that computes something else gets no speed.",
    )
    parser.completers = {
        "cells": lambda **_: ["all", *completion.cell_names()],
        "modes": lambda **_: benchmark.MODES,
        "peers": lambda **_: ["none", *benchmark.PEERS],
        "dtype": lambda **_: benchmark.DTYPES,
        "backend": lambda **_: ["auto", *BACKENDS],
    }
    add = parser.add_argument
    add("--cells", type=str, nargs="+", default=["lstm", "gru", "rnn-tanh"], help="or all")
    sizes = ["1x128", "32x256", "64x512"]
    add("--sizes", type=str, nargs="+", default=sizes, help="rows by hidden units, BxH")
    add("--modes", type=str, nargs="+", default=list(benchmark.MODES), help="what a call is")
    add("--steps", type=int | None, help="T; 100, with --ragged 200")
    add("--input_size", type=int | None, help="I; else that of the hidden units")
    add("--dtype", type=str, default="float32", help=", ".join(benchmark.DTYPES))
    add("--peers", type=str, nargs="*", help=f"among {', '.join(benchmark.PEERS)}; none is none")
    add("--backend", type=str, default="cpp", help="that of our layer")
    add("--save", type=Literal["gates", "states"], default="gates", help="for the backward pass")
    add("--threads", type=int | None, help="else as many as torch takes")
    add("--rounds", type=int | None, help="timed ones; else as many as fit into --seconds")
    add("--seconds", type=float, default=3.0, help="for each cell, size and mode")
    add("--ragged", type=bool, default=False, help="rows of unlike lengths, both directions")
    add("--per_flop", type=bool, default=False, help="the time per FLOP of lstm's")
    add("--memory", type=bool, default=False, help="the peak memory of a training step instead")
    add("--first_call", type=bool, default=False, help="its time instead")
    add("--json", type=str | None, help="the file to write all figures to; - is the output")
    return parser


def _kind(given: Mapping[str, Any], args: Mapping[str, Any]) -> str:
    """Which measurement it is; refuses options that it has no use for."""
    if args["memory"] and args["first_call"]:
        raise ValueError("--memory and --first_call are two measurements; ask for one at a time.")
    kind = "memory" if args["memory"] else "first_call" if args["first_call"] else "speed"
    for name in _OF_SPEED:
        if kind != "speed" and name in given:
            raise ValueError(f"--{name} has no effect with --{kind}; leave it out.")
    if "save" in given and args["modes"] == ["inference"]:
        raise ValueError("--save has no effect on inference, which keeps nothing; leave it out.")
    if "seconds" in given and args["rounds"] is not None:
        raise ValueError("--seconds has no effect with --rounds; leave one out.")
    return kind


def _setup(args: Mapping[str, Any]) -> Setup:
    peers = args["peers"]
    if peers is None and args["ragged"]:
        peers = ["torch", "padded"]
    elif peers is None:
        installed = importlib.util.find_spec("torchrecurrent")
        peers = ["torch", *(["torchrecurrent"] if installed else []), "loop"]
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
    """Where the figures go: a table for the eye, or JSON, or both."""

    def __init__(self, target: str | None, kind: str, setup: Setup) -> None:
        self.target, self.kind = target, kind
        console = Console(highlight=False)
        self.console = Console(highlight=False, width=max(console.width, 120))
        settings = {**vars(setup), "dtype": str(setup.dtype).removeprefix("torch.")}
        self.content = {"measured": kind, "machine": benchmark.machine(), "settings": settings}

    @contextmanager
    def doing(self, what: str) -> Any:
        """Says on a terminal what is measured at the moment."""
        console = Console(stderr=True)
        status: AbstractContextManager[Any] = (
            console.status(what) if console.is_terminal else nullcontext()
        )
        with status:
            yield

    def keep(self, **figures: Any) -> None:
        """Puts figures to the rest. A run of hours that is ended leaves what it has measured."""
        self.content |= figures
        if self.target not in (None, "-"):
            path = Path(self.target)
            written_whole(path, lambda file: file.write_text(self._text(), encoding="utf-8"))

    def _text(self) -> str:
        return json.dumps(_rounded(self.content), indent=2) + "\n"

    def show(self, notes: Iterable[str], *tables: Table) -> None:
        """Prints the tables, or the JSON where that is the output."""
        if self.target == "-":
            sys.stdout.write(self._text())
            return
        about = self.content["machine"]
        threads = "1 thread" if about["threads"] == 1 else f"{about['threads']} threads"
        self.console.print(f"{about['cpu']}, {threads}, {about['vectors']}, torch {about['torch']}")
        for table in tables:
            # Without peers there is nothing to sum up.
            if table.row_count:
                self.console.print()
                self.console.print(table)
        self.console.print()
        if (about["load"] or 0) > _BUSY:
            load = f"The load was {about['load']:.1f} at the start"
            notes = [*notes, f"{load}: others use the machine, and the figures are unsure."]
        for note in notes:
            self.console.print(note, style="dim")


def _rounded(value: Any) -> Any:
    """Five digits are more than a clock gives."""
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
    # One message for both modes: the check is of a cell and a size.
    errors = {
        (point.cell, str(Size(point.batch, point.hidden)), who): why
        for point in points
        for who, why in point.errors.items()
    }
    for (cell, size, who), why in errors.items():
        print(f"throughtime bench: {cell} {size}, {who}: {why}; no speed.", file=sys.stderr)
    return 1 if errors else 0


def _peak(setup: Setup) -> float | None:
    # Without a compiler other backends can still be compared.
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
            found = measure(name, size)
        points.append({"cell": name, "batch": size.batch, "hidden": size.hidden, **found})
        report.keep(points=points)
    return points


def _memory(report: _Report, grid: Iterable[tuple[str, Size]], setup: Setup) -> int:
    table = _table("cell", "BxH", "torch", "gates", "states", "gates / torch", "states / torch")
    who = ("torch", "gates", "states")

    def measure(name: str, size: Size) -> dict[str, Any]:
        found = benchmark.memory(name, size, setup)
        theirs = found.get("torch")
        shares = {f"{k}_of_torch": found[k] / theirs for k in who[1:] if theirs}
        return {"bytes": found, **shares}

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
