"""How fast the gradient of each cell vanishes at initialisation, for the table in docs/lens.md.

    python benchmarks/gradients.py

For each cell, and for a few options, a layer of 64 units with fresh weights reads 160 steps of
normal noise. The factor per step of lag of |d loss_t / d state_{t-k}| is fitted over the lags 1 to
60 (:func:`throughtime.inspection.measures.gradients.factor_per_step`); the loss is a random
projection of the output. The median of 5 seeds is written to results/gradients.json and printed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

import torch

import throughtime as tt
from throughtime.inspection.measures.gradients import layer_decay, memory_horizon
from throughtime.measuring.machine import write_results

UNITS, STEPS, LAGS, SEEDS = 64, 160, 60, 5
OPTIONS = {
    "lstm forget_bias=1": ("lstm", {"forget_bias": 1}),
    "lstm forget_bias=3": ("lstm", {"forget_bias": 3}),
    "lstm forget_bias=chrono": ("lstm", {"forget_bias": "chrono", "chrono_steps": 100}),
    "rnn-tanh recurrent_init=orthogonal": ("rnn-tanh", {"recurrent_init": "orthogonal"}),
    "rnn-relu recurrent_init=identity": ("rnn-relu", {"recurrent_init": "identity"}),
}


def measured(cell: str, options: dict[str, object]) -> dict[str, float | int | None]:
    """The factor, and the lags at which the norm is below 1/e and 1 % of its largest value."""
    factors, curves = [], []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        layer = tt.Recurrent(cell, UNITS, UNITS, dtype=torch.float64, **options)
        x = torch.randn(STEPS, 1, UNITS, dtype=torch.float64)
        (decay,) = layer_decay(layer, x, most=LAGS, **further_inputs(layer))
        factors.append(decay.factor)
        curves.append(decay.norms / decay.norms.max())
    curve = torch.stack(curves).median(0).values
    finite = [factor for factor in factors if math.isfinite(factor)]
    return {
        "factor": statistics.median(finite) if finite else None,
        "horizon": memory_horizon(curve),
        "horizon_1_percent": memory_horizon(curve, 0.01),
    }


def further_inputs(layer: tt.Recurrent) -> dict[str, torch.Tensor]:
    """The inputs besides x that a cell needs: a time that grows by 1 a step, shares of 0 to 1."""
    values = {}
    for name, spec in layer.cell.given_inputs.items():
        size = spec.size or UNITS
        noise = torch.rand(STEPS, 1, size, dtype=torch.float64)
        time = torch.arange(STEPS, dtype=torch.float64).view(-1, 1, 1).expand(STEPS, 1, size)
        values[name] = time if name == "time" else noise
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    results = Path(__file__).parent / "results" / "gradients.json"
    parser.add_argument("--write", type=Path, default=results)
    arguments = parser.parse_args()
    rows = {name: measured(name, {}) for name in tt.cells.names()}
    rows |= {name: measured(*options) for name, options in OPTIONS.items()}
    about = {"units": UNITS, "steps": STEPS, "lags": LAGS, "seeds": SEEDS}
    write_results(arguments.write, about=about, cells=rows)
    for name, row in sorted(rows.items(), key=lambda item: -(item[1]["factor"] or 0)):
        factor = "none" if row["factor"] is None else f"{row['factor']:.3f}"
        lags = [f"> {LAGS}" if row[key] is None else str(row[key]) for key in list(row)[1:]]
        print(f"| {name} | {factor} | {lags[0]} | {lags[1]} |")


if __name__ == "__main__":
    main()
