"""What the trainer costs: a char-lm step through `fit`, beside the same step in a bare loop.

Both train the same model (2 x 256, B=32, T=100) on the same text with the same optimiser and
clipping; the one with progress, metrics.csv and TensorBoard, the other with nothing. They take
turns in one process; the ratio of the medians is what counts. Bar: at most 1.1.

    python benchmarks/trainer_overhead.py [--json]
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
    optimizer = torch.optim.AdamW(model.parameters(), 0.004)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("the quick brown fox jumps over the lazy dog. " * (B * T * STEPS // 40))
        task = CharLM(CharLMConfig(data=str(text), batch_size=B, num_steps=T, sample_length=1))
        speeds: dict[str, list[float]] = {"bare": [], "fit": []}
        for _ in range(args.rounds):
            speeds["bare"] += bare(task)
            speeds["fit"] += through_fit(task)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    result = {
        "bare_characters_per_second": round(medians["bare"]),
        "fit_characters_per_second": round(medians["fit"]),
        "ratio": round(medians["bare"] / medians["fit"], 3),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "commit": commit.strip(),
    }
    print(json.dumps(result) if args.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
