"""What a char-lm step costs: with PyTorch's LSTM in a bare loop, with our kernels, through `fit`.

All train the same model (2 x 256, B=32, T=100) on the same text with the same optimiser and
clipping; `fit` adds progress, metrics.csv and TensorBoard. They take turns in one process; the
ratios of the medians are what counts. Bars: `fit` at most 1.1 times its bare loop; our kernels 1.3
times as fast as torch.nn.LSTM. The peephole LSTM stands for the cells that PyTorch has not fused:
step by step in Python, and compiled.

    python benchmarks/char_lm.py [--rounds N]
"""

import argparse
import contextlib
import csv
import io
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run
from throughtime.training.config import GradientConfig
from throughtime.training.gradient import fit

B, T, STEPS = 32, 100, 50


def bare(task: CharLM) -> list[float]:
    """Characters a second, of each ten steps of a bare loop."""
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), 0.004, fused=True)
    speeds, state, begun = [], None, time.perf_counter()
    for step, (x, y) in enumerate(task.data("train"), 1):
        scores, state = model(x, state)
        state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(scores.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 0:
            speeds.append(10 * B * T / (time.perf_counter() - begun))
            begun = time.perf_counter()
    return speeds[1:]


def through_fit(task: CharLM) -> list[float]:
    """Characters a second, of each ten steps through `fit`."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run, config = Run(Path(folder) / "run"), GradientConfig(epochs=1, sample_every=1000)
        run.create(task, {})
        fit(task, config, run)
        rows = csv.DictReader(io.StringIO(run.metrics_file.read_text()))
        return [float(r["characters_per_second"]) for r in rows if r["split"] == "train"][1:-1]


CONTENDERS = {
    "torch.nn.LSTM, bare loop": (bare, "lstm", "torch"),
    "lstm, bare loop": (bare, "lstm", "cpp"),
    "lstm, fit": (through_fit, "lstm", "cpp"),
    "lstm-peephole step by step, bare loop": (bare, "lstm-peephole", "reference"),
    "lstm-peephole, bare loop": (bare, "lstm-peephole", "cpp"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("the quick brown fox jumps over the lazy dog. " * (B * T * STEPS // 40))
        speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(args.rounds):
            for name, (run, cell, backend) in CONTENDERS.items():
                config = CharLMConfig(str(text), batch_size=B, num_steps=T, sample_length=1)
                config.cell, config.backend = cell, backend
                speeds[name] += run(CharLM(config))
    medians = {name: round(statistics.median(values)) for name, values in speeds.items()}
    first = medians["torch.nn.LSTM, bare loop"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    result = {
        "characters_per_second": medians,
        "of torch.nn.LSTM": {name: round(speed / first, 3) for name, speed in medians.items()},
        "fit against its bare loop": round(medians["lstm, bare loop"] / medians["lstm, fit"], 3),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "commit": commit.strip(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
