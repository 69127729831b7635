"""A step of the C file of a layer, in float and with int8 weights, beside ``stream.step``.

    python benchmarks/c_files.py [--rounds N]

Bar: a step of the float file takes at most 1.2 times as long as that of the plan. First the outputs
of all contenders are compared with the reference in float64. Then they run blocks of steps in turn,
on one thread; medians of the processor's time of that thread. gcc compiles with ``-O3
-march=native``. A program calls the C function itself; the time of ``stream.step`` has its call
from Python, about 6 microseconds, in it.

Writes results/c_files.json.
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import throughtime as tt
from throughtime.measuring.machine import write_results

RESULT = Path(__file__).parent / "results" / "c_files.json"
CELLS, WIDTHS = ("lstm", "gru"), (32, 64, 128, 256, 512, 1024)
STEPS = 20
TOLERANCES = {"float": 1e-4, "int8": 0.05, "stream": 1e-4, "stream int8": 0.05}

DRIVER = """
#include "net.c"
static net_state state;
int begin(const void *weights, size_t size) { return net_init(&state, weights, size); }
void run(const float *x, float *y, int steps, int width)
{
    int t;
    for (t = 0; t < steps; ++t) net_step(&state, x + (t % STEPS) * width, y + (t % STEPS) * width);
}
"""


class CFile:
    """The compiled C file of a layer."""

    def __init__(self, layer, weights, folder):
        folder.mkdir()
        # As a file of their own, because a compiler takes minutes for millions of constants.
        tt.save_c(layer, folder, name="net", weights=weights, binary=True)
        (folder / "driver.c").write_text(DRIVER.replace("STEPS", str(STEPS)))
        words = ["gcc", "-std=c99", "-O3", "-march=native", "-shared", "-fPIC", "driver.c"]
        subprocess.run([*words, "-o", "driver.so", "-lm"], cwd=folder, check=True)
        self.library = ctypes.CDLL(str(folder / "driver.so"))
        self.width = layer.hidden_size
        content = np.fromfile(folder / "net.bin", np.uint8)
        self.weights = np.zeros(len(content) + 64, np.uint8)
        start = -self.weights.ctypes.data % 64
        self.weights[start : start + len(content)] = content
        place = ctypes.c_void_p(self.weights.ctypes.data + start)
        assert self.library.begin(place, ctypes.c_size_t(len(content))) == 0

    def run(self, x, steps):
        y = np.zeros((STEPS, self.width), np.float32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
        self.library.run(*pointers, steps, self.width)
        return y


class Streamed:
    """A stream, whose steps Python calls."""

    def __init__(self, layer, weights):
        self.stream = layer.stream(weights)

    def run(self, x, steps):
        rows = list(torch.from_numpy(x).unsqueeze(1))
        step = self.stream.step
        outputs = [step(rows[t % STEPS]) for t in range(steps)]
        return torch.cat(outputs[:STEPS]).numpy()


def point(cell, hidden, rounds):
    torch.manual_seed(0)
    layer = tt.Recurrent(cell, hidden, hidden).eval()
    exact = tt.Recurrent(cell, hidden, hidden, backend="reference").double().eval()
    exact.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    x = torch.randn(STEPS, hidden)
    wanted = exact(x.double().unsqueeze(1))[0].squeeze(1).detach()
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "float": CFile(layer, "float", Path(folder) / "float"),
            "int8": CFile(layer, "int8", Path(folder) / "int8"),
            "stream": Streamed(layer, None),
            "stream int8": Streamed(layer, "int8"),
        }
        errors, sizes = {}, {}
        for name, contender in contenders.items():
            y = torch.from_numpy(contender.run(x.numpy(), STEPS)).double()
            errors[name] = float((y - wanted).norm() / wanted.norm())
            assert errors[name] <= TOLERANCES[name], (cell, hidden, name, errors[name])
            begin = time.perf_counter()
            contender.run(x.numpy(), 100)
            sizes[name] = max(20, int(0.005 / (time.perf_counter() - begin) * 100))
        times = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, contender in contenders.items():
                contender.run(x.numpy(), 3)
                begin = time.thread_time()
                contender.run(x.numpy(), sizes[name])
                times[name].append((time.thread_time() - begin) / sizes[name] * 1e6)
    us = {name: statistics.median(t) for name, t in times.items()}
    return {"cell": cell, "hidden": hidden, "us": us, "errors": errors}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    points = []
    for cell in CELLS:
        for hidden in WIDTHS:
            points.append(point(cell, hidden, rounds))
            us = points[-1]["us"]
            ratio = us["float"] / us["stream"]
            print(f"{cell} {hidden}: {ratio:.2f} of the plan's time; microseconds", end=" ")
            print(", ".join(f"{name} {value:.1f}" for name, value in us.items()), flush=True)
    write_results(RESULT, points=points)


if __name__ == "__main__":
    main()
