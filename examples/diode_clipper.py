"""An audio effect: an LSTM learns a distortion circuit, and runs as C, sample by sample.

The circuit, a resistor, a capacitor and two diodes: C dv/dt = (u - v) / R - 2 I sinh(v / V)."""

import ctypes
import subprocess
import tempfile
import time

import torch

import throughtime as tt
from throughtime.models.stepwise import StepwiseNetwork

RATE, R, C, I, V = 44_100, 2200.0, 10e-9, 2.52e-9, 45.3e-3  # Hz, ohms, farads, amperes, volts
RUN = """#include "clipper.c"
void run(clipper_state *state, int n, const float *x, float *y)
{ clipper_init(state); for (int i = 0; i < n; ++i) clipper_step(state, x + i, y + i); }"""


def clipped(u):
    """The output of the circuit for (B, T) volts, by the trapezoidal rule and Newton's method."""
    outputs, v, rate, h = [], 0 * u[:, 0], 0 * u[:, 0], 0.5 / RATE
    for now in u.unbind(1):
        start = v + h * rate
        for _ in range(20):
            rate = ((now - v) / R - 2 * I * torch.sinh(v / V)) / C
            steepness = 1 + h / C * (1 / R + 2 * I / V * torch.cosh(v / V))
            v = v - ((v - start - h * rate) / steepness).clamp(-0.2, 0.2)
        outputs.append(v)
    return torch.stack(outputs, 1)


def main(steps: int = 300, rows: int = 80) -> tuple[float, float]:
    torch.manual_seed(0)
    t, (a, b, c, d) = torch.arange(1024).double() / RATE, torch.rand(4, rows, 3, 1).double()
    u = (1.5 * d * torch.exp(-20 * c * t) * torch.sin(6.28 * (80 * 18**a * t + b))).sum(1)
    x, y = u.float()[..., None], clipped(u).float()[..., None]
    network = StepwiseNetwork(1, 1, cell="lstm", hidden_size=40)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for batch in torch.randint(rows - 16, (steps, 32)):
        optimizer.zero_grad()
        (network(x[batch]) - y[batch]).square().mean().backward()
        optimizer.step()
    folder, output = tempfile.mkdtemp(), torch.zeros(16, 1024, 1)
    tt.save_c(network, folder, name="clipper")
    words = "cc -O3 -march=native -shared -fPIC -x c - -o run.so -lm".split()
    subprocess.run(words, input=RUN.encode(), cwd=folder, check=True)
    run, state = ctypes.CDLL(f"{folder}/run.so").run, ctypes.create_string_buffer(1 << 16)
    start = time.process_time()
    for row, target in zip(x[-16:], output, strict=True):
        run(state, 1024, ctypes.c_void_p(row.data_ptr()), ctypes.c_void_p(target.data_ptr()))
    factor = (time.process_time() - start) * RATE / output.numel()
    error = ((output - y[-16:]).square().sum() / y[-16:].square().sum()).item()
    print(f"error-to-signal ratio {error:.2%}, real-time factor of the C file {factor:.4f}")
    return error, factor


if __name__ == "__main__":
    main()
