"""Memory, and the time of a first call: figures for which a contender needs its own process."""

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
        [sys.executable, "-m", "throughtime.measuring.own_process", what, json.dumps(job)],
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
