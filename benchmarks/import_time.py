"""What importing throughtime costs, beside importing torch, each in fresh processes, in turns.

    python benchmarks/import_time.py [--json]

The bar is a ratio of at most 1.5.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


def seconds_to_import(module: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    times: dict[str, list[float]] = {"torch": [], "throughtime": []}
    for _ in range(args.rounds + 1):
        for module, found in times.items():
            found.append(seconds_to_import(module))
    # The first of each fills the disk cache.
    medians = {module: statistics.median(found[1:]) for module, found in times.items()}
    result = {f"import_{module}_seconds": round(t, 3) for module, t in medians.items()}
    result["ratio"] = round(medians["throughtime"] / medians["torch"], 3)
    print(json.dumps(result) if args.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
