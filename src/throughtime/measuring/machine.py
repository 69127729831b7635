"""The machine that a figure is of: what it is, and the most that it can do."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from throughtime.kernels.cpp import build as cpp
from throughtime.tasks.run import versions

__all__ = ["fma_peak", "machine", "source"]

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
    (void)threads;
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
    library = cpp.load(source(dtype))
    library.flops_per_second.argtypes = [ctypes.c_int32]
    library.flops_per_second.restype = ctypes.c_double
    # The first call wakes the threads and the clock.
    return max(library.flops_per_second(threads) for _ in range(2)) / 1e9


def source(dtype: torch.dtype) -> str:
    """The C++ of :func:`fma_peak`."""
    names = [f"a{i}" for i in range(_CHAINS)]
    return (
        _PEAK.replace("REAL", "double" if dtype == torch.float64 else "float")
        .replace("DECLARATIONS", ", ".join(f"{a} = c * {i}" for i, a in enumerate(names)))
        .replace("STEPS", " ".join(f"{a} = {a} * b + c;" for a in names))
        .replace("SUM", " + ".join(names))
        .replace("CHAINS", str(_CHAINS))
    )


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
