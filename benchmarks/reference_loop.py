"""What the reference loop costs: training steps of several cells, beside torch.nn.LSTM, in turns.

First the reference must agree with PyTorch's operator; then forward and backward of each layer
are timed, one after the other in every round. The ratio of the medians is what counts.

    python benchmarks/reference_loop.py [--json]
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

import throughtime as tt

T = 100
SIZES = ((32, 128), (32, 256), (64, 512))
CELLS = ("lstm", "lstm-peephole", "lstm-cifg", "lstm-fgr", "gru", "gru-reset-before", "rnn-tanh")


def check() -> None:
    """The reference computes what PyTorch computes."""
    ours = tt.LSTM(16, 16, backend="reference", dtype=torch.float64)
    theirs = torch.nn.LSTM(16, 16, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(T, 3, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def step(layer: torch.nn.Module, x: torch.Tensor) -> float:
    begun = time.perf_counter()
    layer(x)[0].sum().backward()
    return time.perf_counter() - begun


def measured(B: int, H: int, rounds: int) -> dict[str, float]:
    layers: dict[str, torch.nn.Module] = {"torch.nn.LSTM": torch.nn.LSTM(H, H)}
    layers |= {name: tt.Recurrent(name, H, H, backend="reference") for name in CELLS}
    x, times = torch.randn(T, B, H), {name: [] for name in layers}
    for _ in range(rounds + 2):
        for name, layer in layers.items():
            times[name].append(step(layer, x))
    medians = {name: statistics.median(found[2:]) for name, found in times.items()}
    return {name: round(m / medians["torch.nn.LSTM"], 2) for name, m in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    check()
    ratios = {f"B={B} H={H}": measured(B, H, args.rounds) for B, H in SIZES}
    if args.json:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        print(json.dumps({"T": T, "ratios": ratios, **about, "commit": commit.strip()}, indent=2))
        return
    for size, found in ratios.items():
        print(size, "  ".join(f"{name} {ratio:.2f}x" for name, ratio in found.items()))


if __name__ == "__main__":
    main()
