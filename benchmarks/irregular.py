"""Which cells learn from steps at irregular times: the speakers of Japanese vowels, made irregular.

Of each series a random half of the steps is dropped, and of the values that are left 30 %; the time
of a step is a feature. gru-d, ltc and cfc read the times (--times), gru-d also lets missing values
decay; for the others the last value is carried. lstm and gru have the time as a feature like any
other. All networks have one layer of 64 units in one direction, and the same training. The figure
is the accuracy on the test split, the mean over seeds and its range.

    python benchmarks/irregular.py [--seeds N] [--epochs N]

Writes results/irregular.json.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

from throughtime.cli.main import main
from throughtime.data.labelled import load_labelled
from throughtime.measuring.machine import write_results

RESULT = Path(__file__).parent / "results" / "irregular.json"
CELLS = {
    "lstm": "--missing carry",
    "gru": "--missing carry",
    "gru-d": "--times 1",
    "ltc": "--missing carry --times 1",
    "cfc": "--missing carry --times 1",
    "cfc-no-gate": "--missing carry --times 1",
    "cfc-pure": "--missing carry --times 1",
}
COMMON = (
    "--bidirectional false --hidden_size 64 --pooling max --dropout 0.3 --input_noise 0.2 "
    "--batch_size 16 --learning_rate 0.003 --validate_every 100"
)


def write_irregular(folder: Path) -> None:
    """Writes the splits with half of the steps, 70 % of their values, and the times."""
    draw = np.random.default_rng(0)
    for split, examples in load_labelled("japanese-vowels").splits.items():
        lines = ["series,label,time," + ",".join(f"x{i + 1}" for i in range(12))]
        for number, example in enumerate(examples):
            series = np.asarray(example.content)
            kept = np.sort(draw.permutation(len(series))[: (len(series) + 1) // 2])
            for step in kept:
                is_missing = draw.uniform(size=12) < 0.3
                values = [
                    "" if m else f"{v:.6f}" for v, m in zip(series[step], is_missing, strict=True)
                ]
                lines.append(f"{number},{example.label},{step},{','.join(values)}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def accuracy(data: Path, run: Path, cell: str, seed: int, epochs: int) -> float:
    """The accuracy on the test split after a training."""
    words = f"--data {data} --cell {cell} {CELLS[cell]} {COMMON} --epochs {epochs} --seed {seed}"
    with contextlib.redirect_stdout(io.StringIO()) as written:
        assert main(["train", "classification", *words.split(), "--run", str(run)]) == 0
        written.truncate(0)
        written.seek(0)
        assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
    return json.loads(written.getvalue())["accuracy"]


def measure(seeds: int, epochs: int) -> dict[str, list[float]]:
    """The accuracies of each cell, one for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_irregular(data)
        figures: dict[str, list[float]] = {cell: [] for cell in CELLS}
        for seed in range(1, seeds + 1):
            for cell, values in figures.items():
                values.append(accuracy(data, Path(folder) / f"{cell}-{seed}", cell, seed, epochs))
                mean = statistics.mean(values)
                print(f"{cell:12} {mean:.3f} ({min(values):.3f} to {max(values):.3f})", flush=True)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    figures = measure(arguments.seeds, arguments.epochs)
    write_results(RESULT, epochs=arguments.epochs, accuracy=figures)
