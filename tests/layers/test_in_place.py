"""The caller writes into results before the backward pass."""

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers import time_gaps

from ..further_inputs import fed

T, B, H = 4, 2, 4
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", "torch", pytest.param("cpp", marks=needs_compiler)]
)


def flat(results):
    output, state = results
    return [output, *(state if isinstance(state, tuple) else (state,))]


def gradients(call, layer, x, which, in_place):
    """The gradients of a loss of all results.

    The results in ``which`` have their first row set to 0 and the rest doubled, ``in_place`` or by
    a multiplication.
    """
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    results = flat(call(layer, x))
    for i in which:
        if in_place:
            results[i][:, 0] = 0.0
            results[i] *= 2
        else:
            kept = torch.ones_like(results[i])
            kept[:, 0] = 0.0
            results[i] = 2 * kept * results[i]
    loss = sum(r.square().sum() for r in results)
    return torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True)


def may_be_written_into(call, layer, x):
    count = len(flat(call(layer, x)))
    for which in ([0], range(1, count), range(count)):
        ours = gradients(call, layer, x, which, in_place=True)
        expected = gradients(call, layer, x, which, in_place=False)
        torch.testing.assert_close(ours, expected)


def plain(layer, x):
    return layer(x)


def test_the_last_state_of_one_layer():
    x = torch.randn(5, 2, 3)
    output, h = tt.GRU(3, 4)(x)
    h[:, 0] = 0.0
    output.sum().backward()


@pytest.mark.parametrize("units", [H, 16])
@pytest.mark.parametrize("cell", tt.cells.names())
def test_the_results_of_every_cell(cell, units):
    """16 units fill whole vectors, so the kernel returns the memory in which it computed."""
    torch.manual_seed(0)
    layer = fed(tt.Recurrent(cell, units, units, dtype=torch.float64))
    for steps in (1, T):
        may_be_written_into(plain, layer, torch.randn(steps, B, units, dtype=torch.float64))


@every_backend
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"save": "states"},
        {"num_layers": 2},
        {"num_layers": 2, "residual": True},
        {"bidirectional": True},
        {"bidirectional": True, "merge": "product"},
        {"num_layers": 2, "bidirectional": True, "independent": True},
        {"batch_first": True},
        {"learned_state": True},
    ],
)
def test_the_results_of_every_option(options, backend):
    layer = tt.LSTM(16, 16, backend=backend, dtype=torch.float64, **options)
    for steps in (1, T):
        shape = (B, steps, 16) if layer.batch_first else (steps, B, 16)
        x = torch.randn(shape, dtype=torch.float64)
        may_be_written_into(plain, layer, x)
        may_be_written_into(lambda l, x, n=steps: l(x, lengths=[n, 1]), layer, x)


def test_one_sequence_alone_and_a_projection():
    layer = tt.LSTM(16, 16, proj_size=3, dtype=torch.float64)
    may_be_written_into(plain, layer, torch.randn(T, B, 16, dtype=torch.float64))
    layer = tt.GRU(16, 16, dtype=torch.float64)
    may_be_written_into(plain, layer, torch.randn(T, 16, dtype=torch.float64))


@pytest.mark.parametrize("chunk_length", [None, 2, 64])
def test_the_matrix_lstm(chunk_length):
    layer = tt.MatrixLSTM(3, 8, 2, chunk_length=chunk_length, dtype=torch.float64)
    resets = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.bool)
    x = torch.randn(T, B, 3, dtype=torch.float64)
    for options in ({}, {"lengths": [T, 2]}, {"resets": resets}):
        may_be_written_into(lambda l, x, options=options: l(x, **options), layer, x)


def test_grud():
    layer, mask = tt.GRUD(3, 4, dtype=torch.float64), torch.rand(T, B, 3) < 0.5
    gaps = time_gaps(torch.rand(T, B, dtype=torch.float64).cumsum(0), mask)
    x = torch.randn(T, B, 3, dtype=torch.float64)
    for options in ({}, {"lengths": [T, 2]}):
        may_be_written_into(lambda l, x, options=options: l(x, mask, gaps, **options), layer, x)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_torch_nn_allows_it_in_float64(kind):
    """torch.nn.LSTM in float32 allows it for the states only, because oneDNN keeps the output."""
    layer = kind(16, 16, dtype=torch.float64)
    may_be_written_into(plain, layer, torch.randn(T, B, 16, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("cell", ["gru", "lstm", "lstm-peephole"])
def test_no_result_shares_memory_with_another_or_with_what_came_in(cell, steps):
    layer, x = tt.Recurrent(cell, 16, 16), torch.randn(steps, B, 16)
    state = tuple(torch.randn(1, B, 16) for _ in layer.cell.state_specs)
    copies = [v.clone() for v in (x, *state)]
    with torch.no_grad():
        results = flat(layer(x, state if len(state) > 1 else state[0]))
        for i, result in enumerate(results):
            others = [r.clone() for r in results[i + 1 :]]
            result.fill_(7.0)
            assert all(map(torch.equal, results[i + 1 :], others))
    assert all(map(torch.equal, (x, *state), copies))
