"""The table of speeds that the kernels must reach, part by part: `throughtime bench` over a grid.

    python benchmarks/kernels.py lstm gru …     (no part: their names)
    python benchmarks/kernels.py all -- --threads 2

Each part prints its tables and writes results/kernels-PART.json. What follows `--` is passed on to
every part, such as `-- --threads 2`.
"""

import sys
from pathlib import Path

import torch
from torch import sigmoid

from throughtime import cells
from throughtime.cells.cell import Cell, register
from throughtime.cli.main import main as throughtime

RESULTS = Path(__file__).parent / "results"
BATCHES, WIDTHS = (1, 16, 32, 64), (128, 256, 512, 1024)
GRID = [f"{B}x{H}" for B in BATCHES for H in WIDTHS]
# Small enough for loops in Python, and of every kind: bound by calls, by the cache, by products.
SOME = ["16x128", "32x256", "64x512"]
LECTURE = [name for name in cells.names() if name != "lstm"]


@register
class PeepholeGRU(Cell):
    """A cell that no other file knows: a GRU whose gates see h unit by unit, with softsign."""

    name = "gru-peephole-softsign"
    gates = ("r", "z", "n")
    states = ("h",)
    parameters = ("p_r", "p_z")

    def step(self, x, W, R, s, p):
        r = sigmoid(W.r(x) + R.r(s.h) + p.p_r * s.h)
        z = sigmoid(W.z(x) + R.z(s.h) + p.p_z * s.h)
        n = torch.nn.functional.softsign(W.n(x) + r * R.n(s.h))
        return dict(h=(1 - z) * n + z * s.h)


def bench(*options: object, cells=("lstm",), sizes=GRID, peers=("torch",)) -> list[str]:
    words = ["--cells", *cells, "--sizes", *sizes, *options]
    return ["bench", *map(str, words), *(["--peers", *peers] if peers else [])]


PARTS = {
    "lstm": bench(),
    "gru": bench(cells=["gru"]),
    "rnn": bench(cells=["rnn-tanh"]),
    "lecture": bench(
        "--per_flop", "--modes", "training", cells=LECTURE, sizes=SOME, peers=["none"]
    ),
    "new-cell": bench(
        *("--per_flop", "--modes", "training"),
        **dict(cells=[PeepholeGRU.name], sizes=SOME, peers=["loop"]),
    ),
    "torchrecurrent": bench(
        cells=["lstm-peephole", "lstm-1997"], sizes=SOME, peers=["torchrecurrent", "loop"]
    ),
    "loops": bench(cells=["lstm", "gru", *LECTURE], sizes=["32x256"], peers=["loop", "reference"]),
    "ragged": bench("--ragged", cells=["lstm", "gru"], sizes=SOME, peers=["torch", "padded"]),
    "bfloat16": bench(
        "--dtype", "bfloat16", sizes=[s for s in GRID if int(s.split("x")[1]) >= 512]
    ),
    # With one input nearly all products are recurrent ones.
    "recurrent": bench(
        *("--modes", "inference", "--input_size", 1),
        **dict(
            cells=["lstm", "gru", "rnn-tanh"],
            sizes=[s for s in GRID if not s.startswith(("1x", "16x")) and not s.endswith("x128")],
        ),
    ),
    "states": bench("--save", "states", "--modes", "training", cells=["lstm", "gru"], sizes=SOME),
    "memory": bench("--memory", cells=["lstm", "gru", "rnn-tanh"], sizes=SOME, peers=()),
    "first-call": bench("--first_call", cells=["lstm", "gru"], sizes=["32x128"], peers=()),
}


def main(argv: list[str]) -> int:
    cut = argv.index("--") if "--" in argv else len(argv)
    chosen, more = argv[:cut], argv[cut + 1 :]
    chosen = list(PARTS) if chosen == ["all"] else chosen
    unknown = [part for part in chosen if part not in PARTS]
    if unknown or not chosen:
        print(f"{__doc__}\nParts: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = []
    for part in chosen:
        print(f"\n{part}\n")
        file = RESULTS / f"kernels-{part}.json"
        if throughtime([*PARTS[part], "--json", str(file), *more]) != 0:
            failed.append(part)
    if failed:
        print(f"wrong or refused: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
