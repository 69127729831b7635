"""throughtime info: versions, hardware and backends."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch

from throughtime.cli.parser import Parser
from throughtime.kernels import BACKENDS
from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import cache
from throughtime.tasks.run import versions

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime info",
        description="Prints versions, threads, the compiler and the backends. For a backend that "
        "cannot run here, it prints the reason.",
    )
    parser.add_argument("--clear_cache", type=bool, help="remove all compiled kernels first")
    if parser.parse(argv).get("clear_cache"):
        print(f"cache {cache.clear()}\n")
    for name, version in versions().items():
        print(f"{name:<12} {version}")
    print(f"{'platform':<12} {platform.platform()}")
    print(
        f"{'cpu':<12} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    print(f"{'gpu':<12} {gpu}")
    print("\ncompiled kernels:")
    for name, text in cpp.about().items():
        print(f"  {name:<10} {text}")
    for why in cpp.missing():
        print(f"  {'missing':<10} {why}")
    print("\nbackends, the fastest first:")
    for name, module in BACKENDS.items():
        missing = module.missing()
        print(f"  {name:<10} {'cannot run: ' + '; '.join(missing) if missing else 'ready'}")
    return 0
