"""Speed and memory of the layers, beside their peers and in the same run.

Before anything is timed, each contender must compute what the reference computes in float64: the
outputs, and the gradients. One that does not gets no figure. Then all contenders run one after
the other in every round, so that whatever else the machine does meets them alike, and the medians
are compared. Only the products are counted as work: see :func:`flops`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.cells.cell import Cell, State, get
from throughtime.checks import unknown
from throughtime.kernels.cpp import compile as cpp
from throughtime.layers import Recurrent
from throughtime.tasks.run import versions

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

MODES = ("inference", "training")
PEERS = ("torch", "torchrecurrent", "loop", "reference")
"""What a layer is compared with: the fused layers of ``torch.nn``; the layers of the package
torchrecurrent; a loop over time as users write it; and the project's own reference."""
RAGGED_PEERS = ("torch", "reference", "padded")
"""With lengths: ``torch`` packs and unpacks the rows, ``padded`` is our layer without lengths."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}

# Of the norm of what is compared. Twenty steps of rounding stay far below; a wrong sign, block or
# step far above.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 0.08}
_CHECKED_STEPS = 20
_WARM_UP, _ROUNDS = 2, (5, 60)


@dataclass(frozen=True)
class Size:
    """B rows of H units.

    >>> str(Size(32, 256))
    '32x256'
    """

    batch: int
    hidden: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.hidden}"


def parse_size(text: str) -> Size:
    """The size that is written BxH.

    >>> parse_size("32x256")
    Size(batch=32, hidden=256)
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise ValueError(f'size: expected BxH, rows by hidden units, such as 32x256, got "{text}".')
    return Size(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Setup:
    """How a measurement is made.

    Args:
        steps: T.
        dtype: of weights and input.
        backend, save: of our layer.
        peers: see :data:`PEERS`; with ``ragged``, :data:`RAGGED_PEERS`.
        rounds: how many are timed; None is as many as fit into ``seconds``, 5 at least.
        seconds: for one cell, size and mode.
        input_size: I; None is H. With 1 nearly all products are recurrent ones.
        ragged: whether lengths are uniform in T/10..T, and the layer is bidirectional.
        per_flop: whether our own ``lstm`` takes part, for its time per FLOP.
    """

    steps: int = 100
    dtype: torch.dtype = torch.float32
    backend: str = "cpp"
    save: str = "gates"
    peers: tuple[str, ...] = ("torch", "loop")
    rounds: int | None = None
    seconds: float = 3.0
    input_size: int | None = None
    ragged: bool = False
    per_flop: bool = False

    def __post_init__(self) -> None:
        known = RAGGED_PEERS if self.ragged else PEERS
        for peer in self.peers:
            if peer not in known:
                raise unknown("peer of a ragged batch" if self.ragged else "peer", peer, known)
        if "torchrecurrent" in self.peers and not importlib.util.find_spec("torchrecurrent"):
            raise ValueError(
                'torchrecurrent is not installed; pip install "throughtime[peers]", or leave '
                "it out of the peers."
            )
        for name, least in (("steps", 1), ("rounds", 1), ("input_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}: expected {least} or more, got {value}.")


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


# The contenders.


@dataclass
class _Contender:
    """A layer, how it is called, and the weights that it must have, named as ours."""

    cell: Cell
    layer: nn.Module
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    packs: bool = False

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return self.layer(x)[0]
        if self.packs:
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            return pad_packed_sequence(self.layer(packed)[0], total_length=x.shape[0])[0]
        return self.layer(x, lengths=lengths)[0]

    def call(self, mode: str, x: Tensor, seed: Tensor) -> Callable[[], object]:
        """One call, as it is timed: forward, and in training the gradients of x and all weights."""
        if mode == "inference":

            def infer() -> object:
                with torch.no_grad():
                    return self.forward(x, self.lengths)

            return infer
        leaves = [x, *self.layer.parameters()]
        return lambda: torch.autograd.grad(self.forward(x, self.lengths), leaves, seed)


class _Loop(nn.Module):
    """The cell as users write it: a step in Python, and in it a product for each block."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.cell, self.hidden_size = layer.cell, layer.hidden_size
        for name, value in layer.named_parameters():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        def blocks(names: Sequence[str], biased: Sequence[str], kind: str) -> SimpleNamespace:
            if not names:
                return SimpleNamespace()
            weights = getattr(self, f"weight_{kind}_l0").chunk(len(names))
            biases = {}
            if biased:
                rows = getattr(self, f"bias_{kind}_l0").chunk(len(biased))
                biases = dict(zip(biased, rows, strict=True))

            def product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
                return lambda value: F.linear(value, weight, bias)

            pairs = zip(names, weights, strict=True)
            return SimpleNamespace(**{n: product(w, biases.get(n)) for n, w in pairs})

        cell, B = self.cell, x.shape[1]
        W = blocks(cell.gates, cell.gates, "ih")
        R = blocks(cell.recurrent_block_names, cell.recurrent_bias_names, "hh")
        p = SimpleNamespace(**{name: getattr(self, f"{name}_l0") for name in cell.parameter_specs})

        def initial(spec: State) -> Tensor:
            return x.new_full((B, spec.size or self.hidden_size), spec.initial)

        state, outputs = {k: initial(spec) for k, spec in cell.state_specs.items()}, []
        for x_t in x:
            made = cell.step(x_t, W, R, SimpleNamespace(**state), p)
            state = {name: made[name] for name in state}
            outputs.append(made[cell.output_name])
        return torch.stack(outputs), state


# torchrecurrent's layer of the same equations: its name, the order of its blocks and peepholes.
_THEIRS = {
    "lstm-peephole": ("PeepholeLSTM", ("i", "f", "z", "o"), ("p_i", "p_f", "p_o")),
    "lstm-1997": ("OriginalLSTM", ("i", "g", "o"), ()),
}


def _torchrecurrent(ours: Recurrent) -> nn.Module | None:
    if ours.cell.name not in _THEIRS:
        return None
    import torchrecurrent

    kind, order, own = _THEIRS[ours.cell.name]
    theirs = getattr(torchrecurrent, kind)(
        ours.input_size, ours.hidden_size, dtype=ours.weight_ih_l0.dtype
    )
    weights = {}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        blocks = getattr(ours, f"{name}_l0").chunk(len(order))
        named = dict(zip(ours.cell.gates, blocks, strict=True))
        weights[f"cells.0.{name}"] = torch.cat([named[gate] for gate in order])
    if own:
        weights["cells.0.weight_ph"] = torch.cat([getattr(ours, f"{p}_l0") for p in own])
    theirs.load_state_dict(weights)
    return theirs


def _torch(
    cell: Cell, input_size: int, hidden: int, dtype: torch.dtype, bidirectional: bool
) -> nn.Module | None:
    kind, _, nonlinearity = (cell.torch_equivalent or "").partition("_")
    if not kind:
        return None
    more = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    layer = getattr(nn, kind)
    return layer(input_size, hidden, bidirectional=bidirectional, dtype=dtype, **more)


def _contenders(
    cell: Cell, size: Size, setup: Setup, lengths: Tensor | None
) -> tuple[dict[str, _Contender], list[str]]:
    """Ours and the peers, all with the same weights, and the peers that have no such cell."""
    I, H, two = setup.input_size or size.hidden, size.hidden, setup.ragged

    def layer(cell: Cell, backend: str) -> Recurrent:
        options: dict[str, Any] = dict(bidirectional=two, backend=backend, dtype=setup.dtype)
        return Recurrent(cell, I, H, save=setup.save, **options)

    ours = layer(cell, setup.backend)
    weights = ours.state_dict()
    found, absent = {"ours": _Contender(cell, ours, weights, lengths)}, []
    for peer in setup.peers:
        if peer == "torch":
            made = _torch(cell, I, H, setup.dtype, two)
        elif peer == "torchrecurrent":
            made = _torchrecurrent(ours)
        elif peer == "loop":
            made = _Loop(ours)
        else:
            made = layer(cell, "reference" if peer == "reference" else setup.backend)
        if made is None:
            absent.append(peer)
            continue
        if peer != "torchrecurrent":
            made.load_state_dict(weights)
        uses = None if peer == "padded" else lengths
        found[peer] = _Contender(cell, made, weights, uses, packs=peer == "torch")
    if setup.per_flop:
        lstm = layer(get("lstm"), setup.backend)
        found["our lstm"] = _Contender(lstm.cell, lstm, lstm.state_dict(), lengths)
    return found, absent


# The gate.


def _wrong(contender: _Contender, size: Size, setup: Setup) -> str | None:
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

    def found(layer: _Contender, x: Tensor, seed: Tensor) -> dict[str, Tensor]:
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

    expected = found(_Contender(contender.cell, exact), x.double(), seed.double())
    for what, value in found(contender, x, seed).items():
        error = float((value.double() - expected[what]).norm() / expected[what].norm())
        # Written so that NaN is wrong.
        if not error <= _TOLERANCE[setup.dtype]:
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
        contenders, absent = _contenders(cell, size, setup, lengths)
        errors = {}
        for name, contender in contenders.items():
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
        calls = {n: c.call(mode, x, seed) for n, c in contenders.items() if n not in errors}
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
            of_lstm = flops(contenders["our lstm"].cell, rows, I, size.hidden, mode)
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


# The machine.

_CHAINS = 12
_PEAK = """
#include <chrono>
#include <stdint.h>
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef REAL V __attribute__((vector_size(WIDTH)));
// Not known to the compiler, which would work the loop out.
static volatile REAL factor = (REAL)0.999, summand = (REAL)0.001;
static volatile double sink;

static double chains(int64_t turns) {
    V b = V{} + factor, c = V{} + summand;
    V DECLARATIONS;
    for (int64_t i = 0; i < turns; i++) { STEPS }
    V sum = SUM;
    double total = 0;
    for (unsigned k = 0; k < WIDTH / sizeof(REAL); k++) total += sum[k];
    return total;
}
// The rates of all threads, which run at once. Each takes the best of many short turns, so that
// other processes do not lower it.
extern "C" __attribute__((visibility("default"))) double flops_per_second(int32_t threads) {
    const int64_t turns = 50000;
    double rate = 0, kept = 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) reduction(+ : rate, kept)
#endif
    {
        double best = 1e30;
        for (int i = 0; i < 200; i++) {
            auto begun = std::chrono::steady_clock::now();
            kept += chains(turns);
            std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
            if (took.count() < best) best = took.count();
        }
        rate += 2.0 * CHAINS * (WIDTH / sizeof(REAL)) * turns / best;
    }
    sink = kept;
    return rate;
}
"""


def fma_peak(threads: int | None = None, dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s of multiply-adds on registers alone: what no product can exceed.

    For bfloat16 it is that of float32, in which sums are kept; a processor with products of its
    own for bfloat16 can exceed it.

    Args:
        threads: that run at once; None is as many as torch takes.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Threads that share a core in turns would each count it as theirs.
    threads = min(threads or torch.get_num_threads(), cores)
    names = [f"a{i}" for i in range(_CHAINS)]
    source = (
        _PEAK.replace("REAL", "double" if dtype == torch.float64 else "float")
        .replace("DECLARATIONS", ", ".join(f"{a} = c * {i}" for i, a in enumerate(names)))
        .replace("STEPS", " ".join(f"{a} = {a} * b + c;" for a in names))
        .replace("SUM", " + ".join(names))
        .replace("CHAINS", str(_CHAINS))
    )
    library = cpp.load(source)
    library.flops_per_second.argtypes = [ctypes.c_int32]
    library.flops_per_second.restype = ctypes.c_double
    # The first call wakes the threads and the clock.
    return max(library.flops_per_second(threads) for _ in range(2)) / 1e9


def machine() -> dict[str, Any]:
    """What a figure depends on: the processor, the versions, the threads and the commit."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else None
    l2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    about = cpp.about()
    about = {name: about.get(name) for name in ("vectors", "compiler")}
    peers = {}
    if importlib.util.find_spec("torchrecurrent"):
        peers["torchrecurrent"] = metadata.version("torchrecurrent")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": found[1] if found else platform.processor(),
        "cores": os.cpu_count(),
        "l2": l2.read_text().strip() if l2.exists() else None,
        **about,
        **versions(),
        **peers,
        "threads": torch.get_num_threads(),
        # Of the last minute: processes that run beside a measurement blur it.
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **_commit(),
    }


@cache
def _commit() -> dict[str, Any]:
    """The commit that the package is of, and whether its files have changed since."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            made = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        except OSError:
            return None
        return made.stdout.strip() if made.returncode == 0 else None

    # A repository that the package is installed in, but not of, knows nothing of its state.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None}
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "."))}


# Figures for which each contender needs a process of its own.


def memory(cell: str, size: Size, setup: Setup) -> dict[str, int]:
    """The peak memory of one training step above what was there before it, in bytes.

    Args:
        setup: of it the steps, the type and the size of the input.

    Returns:
        Of ``torch`` (where torch.nn has the cell), and of ours with ``gates`` and ``states``.
    """
    who = [*(["torch"] if get(cell).torch_equivalent else []), "gates", "states"]
    more = {"cell": cell, **_as_words(size, setup)}
    # What is freed goes back to the system at once, so that the peak is one of live memory.
    trim = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    return {name: _in_a_process("memory", {"who": name, **more}, trim)["bytes"] for name in who}


def first_call(cell: str, size: Size, setup: Setup) -> dict[str, float]:
    """Seconds of the first training step in a process: with an empty cache, and with a full one.

    Returns:
        ``cold``, ``warm`` (the median of three processes), ``later``: a later step of the same
        process, and ``warm_minus_later``.
    """
    job = {"cell": cell, **_as_words(size, setup)}
    with tempfile.TemporaryDirectory(prefix="throughtime-") as folder:
        cache_folder = {"THROUGHTIME_CACHE": str(Path(folder) / "kernels")}
        cold, *warm = (_in_a_process("first_call", job, cache_folder) for _ in range(4))
    extra = statistics.median(found["first"] - found["later"] for found in warm)
    first, later = (statistics.median(found[k] for found in warm) for k in ("first", "later"))
    return {"cold": cold["first"], "warm": first, "later": later, "warm_minus_later": extra}


def _as_words(size: Size, setup: Setup) -> dict[str, Any]:
    return {
        "size": str(size),
        "steps": setup.steps,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "input_size": setup.input_size,
        "threads": torch.get_num_threads(),
    }


def _in_a_process(what: str, job: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    made = subprocess.run(
        [sys.executable, "-m", "throughtime.inspection.benchmark", what, json.dumps(job)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise ValueError(f"{what}: the process that measures it ended:\n{made.stderr.strip()}")
    return json.loads(made.stdout)


def _child(what: str, job: Mapping[str, Any]) -> dict[str, float]:
    torch.set_num_threads(job["threads"])
    size, dtype = parse_size(job["size"]), DTYPES[job["dtype"]]
    cell, I, B, H = get(job["cell"]), job["input_size"] or size.hidden, size.batch, size.hidden

    def contender(I: int, H: int) -> _Contender:
        if job.get("who") == "torch":
            layer = _torch(cell, I, H, dtype, False)
            assert layer is not None
        else:
            layer = Recurrent(cell, I, H, backend="cpp", save=job.get("who", "gates"), dtype=dtype)
        return _Contender(cell, layer)

    def step(I: int, H: int, T: int, B: int) -> Callable[[], object]:
        x = torch.randn(T, B, I).to(dtype).requires_grad_()
        return contender(I, H).call("training", x, torch.randn(T, B, H).to(dtype))

    if what == "memory":
        # Compiled and loaded, with all threads awake.
        small = step(16, 16, 3, 2)
        for _ in range(2):
            small()
        return {"bytes": step_memory(step(I, H, job["steps"], B))}
    # What torch itself does only once is not ours.
    linear = nn.Linear(512, 512)
    for _ in range(2):
        y = linear(torch.randn(512, 512))
        torch.autograd.grad(y, linear.weight, torch.ones_like(y))
    # Nor is it that importing this file leaves much to the garbage collector.
    gc.collect()
    call, times = step(I, H, job["steps"], B), []
    for _ in range(11):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return {"first": times[0], "later": statistics.median(times[1:])}


def step_memory(call: Callable[[], object]) -> int:
    """How many bytes of memory the process holds at most while ``call`` runs, beyond the present.

    It is the memory that the process occupies, so that what a library takes for itself counts.
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def occupied(name: str) -> int:
        if status.exists():
            found = re.search(rf"{name}:\s*(\d+) kB", status.read_text())
            assert found is not None
            return 1024 * int(found[1])
        # Windows has none.
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    gc.collect()
    if reset.exists():
        # The peak so far is forgotten.
        reset.write_text("5")
    before = occupied("VmRSS")
    result = call()
    peak = occupied("VmHWM")
    del result
    return peak - before


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_child(sys.argv[1], json.loads(sys.argv[2]))))
