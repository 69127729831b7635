"""Describes the machine of a measurement, and measures the peak of its arithmetic."""

from __future__ import annotations

import ctypes
import importlib.util
import json
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
from throughtime.measuring.settings import PACKAGES
from throughtime.tasks.run import versions

__all__ = ["fma_peak", "machine", "source", "write_results"]

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
// volatile, so that the compiler cannot compute the result of the loop in advance.
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
// The sum of the rates of all threads, which run at the same time. The rate of a thread is the best
// of many short runs, so that other processes do not lower it.
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
    """Measures the GFLOP/s of multiply-adds on registers, an upper bound for matrix products.

    For bfloat16 it is the peak of float32, in which products are summed. A processor with
    instructions for bfloat16 products can exceed it.

    Args:
        threads: the number of threads; None is the number that torch uses.
        dtype: the dtype of the numbers.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Not more threads than cores: each thread would count a shared core as its own.
    threads = min(threads or torch.get_num_threads(), cores)
    library = cpp.load(source(dtype))
    library.flops_per_second.argtypes = [ctypes.c_int32]
    library.flops_per_second.restype = ctypes.c_double
    # Take the better of two calls: the first starts the threads and raises the clock frequency.
    return max(library.flops_per_second(threads) for _ in range(2)) / 1e9


def source(dtype: torch.dtype) -> str:
    """The C++ source of :func:`fma_peak` for a dtype."""
    names = [f"a{i}" for i in range(_CHAINS)]
    return (
        _PEAK.replace("REAL", "double" if dtype == torch.float64 else "float")
        .replace("DECLARATIONS", ", ".join(f"{a} = c * {i}" for i, a in enumerate(names)))
        .replace("STEPS", " ".join(f"{a} = {a} * b + c;" for a in names))
        .replace("SUM", " + ".join(names))
        .replace("CHAINS", str(_CHAINS))
    )


def machine() -> dict[str, Any]:
    """The conditions of a measurement: the processor, the versions, the threads and the commit."""
    cpu = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else None
    l2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    about = cpp.about()
    about = {name: about.get(name) for name in ("vectors", "compiler")}
    peers = {name: metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "l2": l2.read_text().strip() if l2.exists() else None,
        **about,
        **versions(),
        **peers,
        "threads": torch.get_num_threads(),
        # The load of the last minute, because other processes disturb a measurement.
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **_commit(),
    }


@cache
def _commit() -> dict[str, Any]:
    """The commit of the package's repository, and whether its files have changed since."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            process = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        except OSError:
            return None
        return process.stdout.strip() if process.returncode == 0 else None

    # The package may be installed inside a repository that does not track its files.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None}
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "."))}


def write_results(file: Path, **results: Any) -> None:
    """Writes the results of a benchmark with the machine and the commit that they are of."""
    file.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
