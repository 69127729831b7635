"""Measures single steps: our stream beside ONNX Runtime and torch.nn, in the same run.

Each contender carries its states from step to step, as a live system does. Before it is timed, its
outputs over some steps are compared with those of the reference in float64. Then all contenders run
blocks of steps in turn, so that other load on the machine affects them equally, and the medians of
the blocks are compared.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.interchange.onnx import save_onnx
from throughtime.layers import Recurrent

__all__ = ["PEERS", "Point", "Times", "alternate", "measure"]

PEERS = ("onnxruntime", "torch", "module")
"""The peers of a stream: ONNX Runtime with the file that ``save_onnx`` writes; the layer of
torch.nn, called with one step; and our own layer, called with one step."""

_CHECKED_STEPS, _TOLERANCE, _TOLERANCE_OF_SMALLER = 20, 1e-4, 0.05
# Shorter than the time for which a system lets another process have the core.
_SHORT_BLOCK = 0.001

Step = Callable[[Any], Any]


@dataclass
class Point:
    """The measurement of one layer.

    Args:
        cell, hidden, layers, batch: the cell's name, H, L and B.
        us: the median processor's time of a step of ``ours`` and of each peer; microseconds.
        ratios: our time divided by that of each peer.
        wall_us, wall_ratios: the same of the time on the wall; its first decile, because in many
            blocks other processes have the core for a while.
        error: the norm of the difference between our outputs and those of the reference in
            float64, divided by the norm of the latter.
        errors: for each contender whose outputs differ too much from the reference, by how much.
            It has no time.
    """

    cell: str
    hidden: int
    layers: int
    batch: int
    us: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    wall_us: dict[str, float] = field(default_factory=dict)
    wall_ratios: dict[str, float] = field(default_factory=dict)
    error: float = float("nan")
    errors: dict[str, str] = field(default_factory=dict)


def measure(
    cell: str,
    hidden: int,
    layers: int = 1,
    batch: int = 1,
    peers: Sequence[str] = PEERS,
    rounds: int = 31,
    weights: str | None = None,
) -> Point:
    """Times a step of a stack of layers with H input features.

    Args:
        cell: the name of the cell.
        hidden, layers, batch: H, L and B.
        peers: a selection of :data:`PEERS`; one that does not have the cell is left out.
        rounds: the number of blocks of each contender.
        weights: the type of the weights of our stream; see ``Recurrent.stream``.
    """
    point = Point(cell, hidden, layers, batch)
    for peer in peers:
        if peer not in PEERS:
            raise unknown("peer of a stream", peer, PEERS)
    torch.manual_seed(0)
    layer = Recurrent(cell, hidden, hidden, layers).eval()
    x = torch.randn(_CHECKED_STEPS, batch, hidden)
    exact = Recurrent(cell, hidden, hidden, layers, backend="reference").double().eval()
    exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    expected = exact(x.double())[0].detach()
    makers = {"ours": lambda: (list(x), layer.stream(weights).step), **_makers(layer, x)}
    steps: dict[str, Callable[[], Any]] = {}
    for name in ("ours", *peers):
        contender = makers[name]() if name in makers else None
        if contender is None:
            continue
        inputs, step = contender
        outputs = torch.stack([torch.as_tensor(step(v)).view(batch, -1) for v in inputs])
        error = float((outputs.double() - expected).norm() / expected.norm())
        is_smaller = name == "ours" and weights is not None
        point.error = error if name == "ours" else point.error
        if not error <= (_TOLERANCE_OF_SMALLER if is_smaller else _TOLERANCE):
            point.errors[name] = f"the outputs differ from the reference by {error:.1e}"
            continue
        steps[name] = lambda step=step, v=inputs[0]: step(v)
    times = alternate(steps, rounds, _SHORT_BLOCK)
    processor = {k: statistics.median(t.processor for t in v) for k, v in times.items()}
    wall = {k: sorted(t.wall for t in v)[len(v) // 10] for k, v in times.items()}
    point.us, point.ratios = _compared(processor)
    point.wall_us, point.wall_ratios = _compared(wall)
    return point


def _compared(seconds: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The microseconds of each contender, and ours divided by those of each peer."""
    us = {name: 1e6 * t for name, t in seconds.items()}
    return us, {k: us["ours"] / t for k, t in us.items() if k != "ours" and "ours" in us}


def _makers(layer: Recurrent, x: Tensor) -> Mapping[str, Callable[[], tuple[Any, Step] | None]]:
    return {
        "onnxruntime": lambda: _onnxruntime(layer, x),
        "torch": lambda: _torch(layer, x),
        "module": lambda: _module(layer, x),
    }


def _module(layer: nn.Module, x: Tensor) -> tuple[Any, Step]:
    """A module that is called with sequences of one step."""
    state: Any = None

    def step(value: Tensor) -> Tensor:
        nonlocal state
        with torch.no_grad():
            y, state = layer(value, state)
        return y

    return list(x.unsqueeze(1)), step


def _torch(layer: Recurrent, x: Tensor) -> tuple[Any, Step] | None:
    equal = layer.cell.torch_equivalent
    if equal is None:
        return None
    kind, _, function = equal.partition("_")
    options = {"nonlinearity": function.lower()} if function else {}
    other = getattr(nn, kind)(layer.input_size, layer.hidden_size, layer.num_layers, **options)
    other.load_state_dict(layer.state_dict())
    return _module(other.eval(), x)


def _onnxruntime(layer: Recurrent, x: Tensor) -> tuple[Any, Step] | None:
    if not importlib.util.find_spec("onnxruntime"):
        return None
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        save_onnx(layer, path)
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    B, rows = x.shape[1], layer.num_layers
    states: dict[str, Any] = {
        f"{name}_0": torch.full((rows, B, spec.size or layer.hidden_size), spec.initial).numpy()
        for name, spec in layer.cell.state_specs.items()
    }
    names = list(states)

    def step(value: Any) -> Any:
        y, *last = session.run(None, {"input": value, **states})
        states.update(zip(names, last, strict=True))
        return y

    return [v.numpy() for v in x.unsqueeze(1)], step


class Times(NamedTuple):
    """The time of a step in a block, in seconds.

    Args:
        processor: the processor's time of this thread, on which all contenders run: while another
            process has the core, no time is counted.
        wall: the time on the wall.
    """

    processor: float
    wall: float


def alternate(
    steps: Mapping[str, Callable[[], Any]], rounds: int, seconds: float = 0.004
) -> dict[str, list[Times]]:
    """The times of a step in each block; the contenders run their blocks in turn.

    Args:
        steps: runs a step of each contender.
        rounds: the number of blocks of each.
        seconds: the length of a block.
    """
    names, sizes = list(steps), {}
    for name, step in steps.items():
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            step()
            count += 1
        sizes[name] = max(count, 3)
    times: dict[str, list[Times]] = {name: [] for name in names}
    for i in range(rounds):
        for k in range(len(names)):
            name = names[(i + k) % len(names)]
            step, size = steps[name], sizes[name]
            # The first steps of a block load the weights, which another contender has displaced.
            step()
            step()
            begin, wall = time.thread_time(), time.perf_counter()
            for _ in range(size):
                step()
            processor, wall = time.thread_time() - begin, time.perf_counter() - wall
            times[name].append(Times(processor / size, wall / size))
    return times
