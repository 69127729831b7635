"""Layers and inputs for the tests of the operators, and a function that runs Python code."""

import os
import subprocess
import sys
import textwrap

import torch
from torch.func import functional_call

import throughtime as tt

T, B, I, H = 4, 3, 2, 3
RESETS = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)


class Peephole(tt.Cell):
    """A cell that is not registered."""

    gates, states, parameters = ("z", "n"), ("h",), ("p_z",)

    def step(self, x, W, R, s, p):
        z = torch.sigmoid(W.z(x) + R.z(s.h) + p.p_z * s.h)
        return dict(h=(1 - z) * torch.tanh(W.n(x) + R.n(z * s.h)) + z * s.h)


class Centred(tt.Cell):
    """A cell without R, with a sum over the units, and with an output that is no state."""

    gates, states, parameters, recurrent_blocks = ("a",), ("c",), ("u",), ()
    output = "y"

    def step(self, x, W, R, s, p):
        a = torch.tanh(W.a(x) + p.u * s.c)
        return dict(c=a, y=a - a.mean(-1, keepdim=True))


CELLS = {"lstm": "lstm", "gru": "gru", "lstm-peephole": "lstm-peephole"}
CELLS |= {"Peephole": Peephole(), "Centred": Centred()}


def layer_of(name="lstm", dtype=torch.float64, backend="cpp", **options):
    torch.manual_seed(0)
    return tt.Recurrent(CELLS[name], I, H, dtype=dtype, backend=backend, **options)


def by_reference(layer):
    other = tt.Recurrent(
        layer.cell,
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bidirectional=layer.bidirectional,
        backend="reference",
        dtype=layer.dtype,
    )
    other.load_state_dict(layer.state_dict())
    return other


def sequence(*leading, dtype=torch.float64):
    return torch.randn(*leading, T, B, I, dtype=dtype)


def flat(results):
    output, last = results
    return [output, *(last if isinstance(last, tuple) else (last,))]


def close(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def weights_of(layer):
    return {k: p.detach() for k, p in layer.named_parameters()}


def loss(layer, weights, x, arguments):
    """A number that depends on every output of the layer with these weights."""
    output, *last = flat(functional_call(layer, weights, (x,), arguments))
    return output.square().sum() + sum(s.pow(3).sum() for s in last)


def python(code, **environment):
    """Runs Python code in a new process; returns its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
