"""Steps of streams beside ONNX Runtime and torch.nn, the weights of a stream, and generated text.

    python benchmarks/live.py [--rounds N]

Bars: a step takes at most 0.8 times as long as in ONNX Runtime in the geometric mean over all
cells and sizes, and never longer; with int8 weights and 1,024 units at most half as long as in
float32; two layers of 256 units write at least 2,000 characters a second. All contenders carry
their states, run on one thread, and take turns; medians of the processor's time of that thread,
and beside them the first deciles of the time on the wall.
The accuracy of int8 stands beside that of torch's dynamic quantisation of nn.LSTM.

Writes results/live.json.
"""

import argparse
import dataclasses
import math
import statistics
import time
import warnings
from pathlib import Path

import torch
from torch import nn

import throughtime as tt
from throughtime.measuring import live
from throughtime.measuring.machine import write_results
from throughtime.models.decoding import Sampling, generate

RESULT = Path(__file__).parent / "results" / "live.json"
CELLS = ("lstm", "gru", "rnn-tanh", "lstm-peephole", "lem", "slstm", "min-gru")
WIDTHS, LAYERS = (32, 64, 128, 256, 512), (1, 2, 3)


def grid(rounds: int) -> list[live.Point]:
    points = []
    for cell in CELLS:
        for layers in LAYERS:
            for hidden in WIDTHS:
                peers = ("onnxruntime", "torch")
                points.append(live.measure(cell, hidden, layers, peers=peers, rounds=rounds))
                us = ", ".join(f"{k} {v:.1f}" for k, v in points[-1].us.items())
                print(f"{cell} {layers} x {hidden}: {us} us", flush=True)
    return points


def smaller_weights(rounds: int) -> list[dict[str, object]]:
    """Time and error of the types of weights, LSTM of 1,024 units."""
    rows = []
    for weights in (None, "bfloat16", "int8"):
        point = live.measure("lstm", 1024, peers=(), rounds=rounds, weights=weights)
        rows.append({"weights": weights or "float32", "us": point.us["ours"], "error": point.error})
    rows.append({"weights": "torch dynamic int8", **quantised_by_torch()})
    for row in rows:
        print(f"lstm 1024, {row['weights']}: {row['us']:.0f} us, error {row['error']:.1e}")
    return rows


def quantised_by_torch() -> dict[str, float]:
    torch.manual_seed(0)
    layer = tt.LSTM(1024, 1024)
    plain = nn.LSTM(1024, 1024).double()
    plain.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(plain.float()), {nn.LSTM}, dtype=torch.qint8
        )[0]
    x = torch.randn(20, 1, 1024)
    exact, state, outputs, times = tt.LSTM(1024, 1024).double(), None, [], []
    exact.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    with torch.no_grad():
        expected = exact(x.double())[0]
        for _ in range(3):
            state, outputs = None, []
            for v in x:
                begin = time.thread_time()
                y, state = small(v[None], state)
                times.append(time.thread_time() - begin)
                outputs.append(y[0])
    error = (torch.stack(outputs).double() - expected).norm() / expected.norm()
    return {"us": 1e6 * statistics.median(times), "error": float(error)}


def characters_per_second() -> float:
    torch.manual_seed(0)
    model = tt.models.LanguageModel(65, hidden_size=256, num_layers=2).eval()
    list(generate(model, torch.tensor([1]), 50, Sampling(), seed=0))
    begin = time.thread_time()
    list(generate(model, torch.tensor([1]), 1000, Sampling(), seed=0))
    return 1000 / (time.thread_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rate = characters_per_second()
    print(f"generate, 2 x 256: {rate:,.0f} characters a second")
    weights = smaller_weights(rounds)
    points = grid(rounds)
    by_clock = {"processor": [p.ratios for p in points], "wall": [p.wall_ratios for p in points]}
    summary = {}
    for clock, of_points in by_clock.items():
        ratios = [r["onnxruntime"] for r in of_points if "onnxruntime" in r]
        mean = math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None
        summary[clock] = {"geometric_mean": mean, "worst": max(ratios, default=None)}
    print(f"ours / onnxruntime: {summary}")
    write_results(
        RESULT,
        **{"characters_per_second": rate, "weights": weights},
        **{"ratios": summary},
        points=[dataclasses.asdict(p) for p in points],
    )


if __name__ == "__main__":
    main()
