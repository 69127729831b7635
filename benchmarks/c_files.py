"""A step of the C file of a layer beside ``stream.step``.

    python benchmarks/c_files.py [--rounds N]

Bar: a step of the float file takes at most 1.2 times as long as that of the plan, for seven cells,
up to 512 units and three layers. First the outputs of all contenders are compared with the
reference in float64. Then they run blocks of steps in turn, on one thread; medians of the
processor's time of that thread. A program calls the C function itself; the time of ``stream.step``
has its call from Python, about 6 microseconds, in it.

gcc compiles with ``-O3 -march=native``. Each file also runs with its weights on pages of 4 KiB,
those of a program that asks the system for no others; the plan's are on large pages. LSTM and GRU
with one layer are also compiled in other ways, and run with int8 weights.

Writes results/c_files.json.
"""

import argparse
import ctypes
import mmap
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
CELLS = ("lstm", "gru", "rnn-tanh", "lstm-peephole", "lem", "slstm", "min-gru")
WIDTHS, LAYERS = (32, 64, 128, 256, 512), (1, 2, 3)
# These run with one layer in all ways, also with 1,024 units.
IN_ALL_WAYS = ("lstm", "gru")
STEPS = 20
COMMAND = "gcc -O3 -march=native"
# By the name of a contender: the type of the weights, the command, and whether pages are small.
FILES = {
    "float": ("float", COMMAND, False),
    "int8": ("int8", COMMAND, False),
    "gcc -O2": ("float", "gcc -O2 -march=native", False),
    "clang -O2": ("float", "clang -O2 -march=native", False),
    "small pages": ("float", COMMAND, True),
}
BAR = 1.2

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

    def __init__(self, layer, folder, weights, command, has_small_pages):
        folder.mkdir()
        # As a file of their own, because a compiler takes minutes for millions of constants.
        tt.save_c(layer, folder, name="net", weights=weights, binary=True)
        (folder / "driver.c").write_text(DRIVER.replace("STEPS", str(STEPS)))
        words = [*command.split(), "-std=c99", "-shared", "-fPIC", "driver.c"]
        subprocess.run([*words, "-o", "driver.so", "-lm"], cwd=folder, check=True)
        self.library = ctypes.CDLL(str(folder / "driver.so"))
        self.width = layer.hidden_size
        content = (folder / "net.bin").read_bytes()
        self.memory = mmap.mmap(-1, len(content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE if has_small_pages else mmap.MADV_HUGEPAGE)
        self.memory[:] = content
        place = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        result = self.library.begin(ctypes.c_void_p(place), ctypes.c_size_t(len(content)))
        assert result == 0

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


def contenders_of(layer, folder, names):
    contenders = {}
    for name in names:
        weights, command, has_small_pages = FILES[name]
        place = Path(folder) / name.replace(" ", "_")
        contenders[name] = CFile(layer, place, weights, command, has_small_pages)
    contenders["stream"] = Streamed(layer, None)
    if "int8" in names:
        contenders["stream int8"] = Streamed(layer, "int8")
    return contenders


def point(cell, hidden, layers, rounds, names):
    torch.manual_seed(0)
    layer = tt.Recurrent(cell, hidden, hidden, num_layers=layers).eval()
    exact = tt.Recurrent(cell, hidden, hidden, num_layers=layers, backend="reference")
    exact = exact.double().eval()
    exact.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    x = torch.randn(STEPS, hidden)
    wanted = exact(x.double().unsqueeze(1))[0].squeeze(1).detach()
    with tempfile.TemporaryDirectory() as folder:
        contenders = contenders_of(layer, folder, names)
        errors, sizes = {}, {}
        for name, contender in contenders.items():
            y = torch.from_numpy(contender.run(x.numpy(), STEPS)).double()
            errors[name] = float((y - wanted).norm() / wanted.norm())
            limit = 0.05 if "int8" in name else 1e-4
            assert errors[name] <= limit, (cell, hidden, layers, name, errors[name])
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
    return {"cell": cell, "hidden": hidden, "layers": layers, "us": us, "errors": errors}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    points = [(cell, h, l) for cell in CELLS for h in WIDTHS for l in LAYERS]
    points += [(cell, 1024, 1) for cell in IN_ALL_WAYS]
    results, above = [], {"float": [], "small pages": []}
    for cell, hidden, layers in points:
        names = FILES if cell in IN_ALL_WAYS and layers == 1 else ["float", "small pages"]
        results.append(point(cell, hidden, layers, rounds, names))
        us = results[-1]["us"]
        ratio = us["float"] / us["stream"]
        print(f"{cell} {layers} x {hidden}: {ratio:.2f} of the plan's time; microseconds", end=" ")
        print(", ".join(f"{name} {value:.1f}" for name, value in us.items()), flush=True)
        for name, names in above.items():
            ratio = us[name] / us["stream"]
            if hidden in WIDTHS and ratio > BAR:
                names.append(f"{cell} {layers} x {hidden} ({ratio:.2f})")
    for name, names in above.items():
        print(f"{name}: above {BAR}: {', '.join(names) or 'none'}")
    write_results(RESULT, points=results)


if __name__ == "__main__":
    main()
