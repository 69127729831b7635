"""What the options of a layer cost: a training step with them beside one without.

Zoneout of all states, recurrent dropout, dropout between layers (a stack of two), clip, and a
projection, which stands beside ``torch.nn.LSTM`` with the same. Before it is timed, each layer must
compute in float32 what the reference computes in float64 under the same seed: the outputs and
all gradients. All take turns in one process; the ratios of the medians are what counts. Bar: with
zoneout and dropout a step takes at most 1.3 times as long as without.

    python benchmarks/options.py [--rounds N]

Writes results/options.json.
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.measuring.machine import write_results

RESULT = Path(__file__).parent / "results" / "options.json"
CELLS, SIZES, T = ("lstm", "gru", "lstm-peephole"), ((16, 128), (32, 256), (64, 512)), 100
OPTIONS = {
    "zoneout": dict(zoneout=0.1),
    "recurrent dropout": dict(recurrent_dropout=0.25),
    "zoneout and both dropouts": dict(zoneout=0.1, recurrent_dropout=0.25, dropout=0.25),
    "locked dropout": dict(dropout=0.25, locked_dropout=True),
    "weight drop": dict(weight_drop=0.25),
    "clip": dict(clip=3.0),
}


def outputs_and_gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    torch.manual_seed(0)
    output = layer(x)[0]
    return [output, *torch.autograd.grad(output.square().sum(), [*layer.parameters()])]


def checked(cell: str, B: int, H: int, **options) -> tt.Recurrent:
    """The layer, once it has computed what the reference does in float64."""
    layer = tt.Recurrent(cell, H, H, 2, backend="cpp", **options)
    exact = tt.Recurrent(cell, H, H, 2, backend="reference", dtype=torch.float64, **options)
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(20, B, H)
    # Dropout between the layers draws by type: it is not for both to agree on.
    layer.dropout = exact.dropout = 0.0
    pairs = zip(
        outputs_and_gradients(layer, x), outputs_and_gradients(exact, x.double()), strict=True
    )
    for mine, right in pairs:
        error = ((mine - right).norm() / right.norm().clamp(min=1e-30)).item()
        assert error < 1e-4, (cell, options, error)
    layer.dropout = options.get("dropout", 0.0)
    return layer


def medians(layers: dict[str, nn.Module], x: Tensor, rounds: int) -> dict[str, float]:
    """The median time of a training step of each, in alternation; ms."""
    times: dict[str, list[float]] = {name: [] for name in layers}
    for turn in range(rounds + 2):
        for name, layer in layers.items():
            begun = time.perf_counter()
            layer(x)[0].sum().backward()
            layer.zero_grad()
            if turn >= 2:
                times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    # That torch.nn's projection is not oneDNN's is what is compared.
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    rows = []
    for B, H in SIZES:
        x = torch.randn(T, B, H)
        for cell in CELLS:
            layers: dict[str, nn.Module] = {"plain": checked(cell, B, H)}
            layers |= {name: checked(cell, B, H, **o) for name, o in OPTIONS.items()}
            ms = medians(layers, x, rounds)
            of_plain = {name: round(v / ms["plain"], 3) for name, v in ms.items()}
            rows.append({"cell": cell, "batch": B, "hidden": H, "of plain": of_plain, "ms": ms})
            print(rows[-1])
        for P in (H // 2, H // 4):
            ours = checked("lstm", B, H, proj_size=P)
            theirs = nn.LSTM(H, H, 2, proj_size=P)
            theirs.load_state_dict(ours.state_dict())
            ms = medians(
                {"ours": ours, "torch.nn": theirs, "plain": checked("lstm", B, H)}, x, rounds
            )
            rows.append({"proj_size": P, "batch": B, "hidden": H, "ms": ms})
            rows[-1] |= {"torch.nn of ours": round(ms["torch.nn"] / ms["ours"], 3)}
            rows[-1] |= {"of plain": round(ms["ours"] / ms["plain"], 3)}
            print(rows[-1])
    write_results(RESULT, steps=T, points=rows)


if __name__ == "__main__":
    main()
