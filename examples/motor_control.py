"""A control loop: a GRU learns to drive motors that it has never seen, and runs as C.

The speed y of a motor follows its voltage u: tau dy/dt = gain u - y - load, |u| <= 1. Gain, tau and
load are unknown. The GRU and the factors of a PI controller learn through these equations."""

import ctypes
import subprocess
import tempfile

import torch

import throughtime as tt
from throughtime.models.stepwise import StepwiseNetwork


def mean_error(control, rows, memory):
    """The root mean square error of ``control(wanted, y, memory) -> u, memory`` in 60 steps."""
    a, b, c, d, e = torch.rand(5, rows)
    gain, tau, load, y, errors = 1.5 + 2.5 * a, 0.05 + 0.35 * b, c - 0.5, 0 * a, []
    for wanted in (1.4 * torch.stack([d, e]) - 0.7).repeat_interleave(30, 0):
        u, memory = control(wanted, y, memory)
        y = y + 0.01 / tau * (gain * u.clamp(-1, 1) - y - load)
        errors.append(y - wanted)
    return torch.stack(errors).square().mean().sqrt()


def main(steps: int = 300, rows: int = 32) -> list[float]:
    torch.manual_seed(0)
    network, factors = StepwiseNetwork(2, 1, cell="gru", hidden_size=16), torch.ones(2)
    folder, state = tempfile.mkdtemp(), ctypes.create_string_buffer(1 << 12)

    def learned(wanted, y, state):
        h, state = network.recurrent(torch.stack([wanted, y], 1)[:, None], state)
        return network.output(h)[:, 0, 0], state

    def pi(wanted, y, total):
        return factors @ torch.stack([5 * (wanted - y), 50 * total]), total + 0.01 * (wanted - y)

    def in_c(wanted, y, _):
        library.controller_step(state, (ctypes.c_float * 2)(wanted, y), u := (ctypes.c_float * 1)())
        return torch.tensor(u[:]), None

    optimizer = torch.optim.Adam([*network.parameters(), factors.requires_grad_()], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (mean_error(learned, rows, None) + mean_error(pi, rows, torch.zeros(rows))).backward()
        optimizer.step()
    tt.save_c(network, folder, name="controller")
    subprocess.run("cc -O3 -shared -fPIC controller.c -o c.so -lm".split(), cwd=folder, check=True)
    library = ctypes.CDLL(f"{folder}/c.so")
    with torch.no_grad():
        runs = [mean_error(in_c, 1, library.controller_init(state)) for _ in range(50)]
        errors = [mean_error(pi, 500, torch.zeros(500)), mean_error(learned, 500, None)]
        errors.append(torch.stack(runs).square().mean().sqrt())
    print("error of the speed: PI {:.3f}, GRU {:.3f}, GRU in C {:.3f}".format(*errors))
    return [error.item() for error in errors]


if __name__ == "__main__":
    main()
