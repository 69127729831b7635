"""Measures memory and the time of a first call, for which each contender runs in a new process."""

from __future__ import annotations

import gc
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from throughtime.cells.cell import get
from throughtime.layers import Recurrent
from throughtime.measuring.peers import Contender, torch_layer
from throughtime.measuring.settings import DTYPES, Setup, Size, parse_size

__all__ = ["first_call", "memory", "step_memory"]


def memory(cell: str, size: Size, setup: Setup) -> dict[str, int]:
    """Measures by how many bytes the peak memory of a training step exceeds that before it.

    Args:
        cell: the name of the cell.
        size: B and H.
        setup: the settings, of which ``steps``, ``dtype`` and ``input_size`` are used.

    Returns:
        The bytes of ``torch`` (if torch.nn has the cell), and of our layer with ``save="gates"``
        and ``save="states"``, by these names.
    """
    who = [*(["torch"] if get(cell).torch_equivalent else []), "gates", "states"]
    more = {"cell": cell, **_as_words(size, setup)}
    # These settings return freed memory to the system at once, so that the peak counts memory in
    # use only.
    trim = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    return {name: _in_a_process("memory", {"who": name, **more}, trim)["bytes"] for name in who}


def first_call(cell: str, size: Size, setup: Setup) -> dict[str, float]:
    """Measures the first training step of a process, with an empty and with a filled kernel cache.

    Returns:
        Seconds: ``cold`` with an empty cache, ``warm`` with a filled one (the median of three
        processes), ``later`` for a later step of the same processes, and ``warm_minus_later``.
    """
    job = {"cell": cell, **_as_words(size, setup)}
    with tempfile.TemporaryDirectory(prefix="throughtime-") as folder:
        cache_folder = {"THROUGHTIME_CACHE": str(Path(folder) / "kernels")}
        cold, *warm = (_in_a_process("first_call", job, cache_folder) for _ in range(4))
    extra = statistics.median(times["first"] - times["later"] for times in warm)
    first, later = (statistics.median(times[k] for times in warm) for k in ("first", "later"))
    return {"cold": cold["first"], "warm": first, "later": later, "warm_minus_later": extra}


def _as_words(size: Size, setup: Setup) -> dict[str, Any]:
    """The settings that a child process needs, as JSON values."""
    return {
        "size": str(size),
        "steps": setup.steps,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "input_size": setup.input_size,
        "threads": torch.get_num_threads(),
    }


def _in_a_process(what: str, job: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """Runs :func:`_child` in a new process with further environment variables."""
    process = subprocess.run(
        [sys.executable, "-m", "throughtime.measuring.own_process", what, json.dumps(job)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise ValueError(f"{what}: the process that measures it ended:\n{process.stderr.strip()}")
    return json.loads(process.stdout)


def _child(what: str, job: Mapping[str, Any]) -> dict[str, float]:
    """The measurement itself, in the new process.

    Args:
        what: ``memory`` or ``first_call``.
        job: the cell, the settings, and for ``memory`` the contender ``who``.
    """
    torch.set_num_threads(job["threads"])
    size, dtype = parse_size(job["size"]), DTYPES[job["dtype"]]
    cell, I, B, H = get(job["cell"]), job["input_size"] or size.hidden, size.batch, size.hidden

    def contender(I: int, H: int) -> Contender:
        if job.get("who") == "torch":
            layer = torch_layer(cell, I, H, dtype, False)
            assert layer is not None
        else:
            layer = Recurrent(cell, I, H, backend="cpp", save=job.get("who", "gates"), dtype=dtype)
        return Contender(cell, layer)

    def step(I: int, H: int, T: int, B: int) -> Callable[[], object]:
        x = torch.randn(T, B, I).to(dtype).requires_grad_()
        return contender(I, H).call("training", x, torch.randn(T, B, H).to(dtype))

    if what == "memory":
        # A small step first compiles and loads the kernel and starts all threads.
        small = step(16, 16, 3, 2)
        for _ in range(2):
            small()
        return {"bytes": step_memory(step(I, H, job["steps"], B))}
    return _step_times(step(I, H, job["steps"], B))


def _step_times(call: Callable[[], object]) -> dict[str, float]:
    """The seconds of the first call of a training step, and the median of ten later ones."""
    # Run autograd once, so that the one-time initialisation of torch is not counted.
    linear = nn.Linear(512, 512)
    for _ in range(2):
        y = linear(torch.randn(512, 512))
        torch.autograd.grad(y, linear.weight, torch.ones_like(y))
    # Nor should a collection of the garbage that imports leave behind be counted.
    gc.collect()
    times = []
    for _ in range(11):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"first": times[0], "later": statistics.median(times[1:])}


def step_memory(call: Callable[[], object]) -> int:
    """By how many bytes the peak memory of the process during ``call`` exceeds that before it.

    This is the resident memory of the process, so memory that libraries allocate counts as well.
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def occupied(name: str) -> int:
        if status.exists():
            kilobytes = re.search(rf"{name}:\s*(\d+) kB", status.read_text())
            assert kilobytes is not None
            return 1024 * int(kilobytes[1])
        # Imported here because Windows does not have this module.
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    gc.collect()
    if reset.exists():
        # Writing 5 resets the peak (VmHWM) to the present size.
        reset.write_text("5")
    before = occupied("VmRSS")
    result = call()
    peak = occupied("VmHWM")
    del result
    return peak - before


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_child(sys.argv[1], json.loads(sys.argv[2]))))
