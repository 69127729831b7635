"""First and second derivatives of every cell through the layer, against finite differences."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import throughtime as tt

from ..further_inputs import RANGES, drawn

T, B, I, H = 3, 2, 2, 2


def function_and_inputs(name, **options):
    """The layer as a function of x, further inputs, initial states and all weights, in float64.

    It returns the sequence and the last states. The weights are so large that every term affects
    the result, and with this seed no argument of a ReLU is near 0.
    """
    torch.manual_seed(1)
    lengths = options.pop("lengths", None)
    resets = options.pop("resets", None)
    layer = tt.Recurrent(name, I, H, dtype=torch.float64, **options)
    names = [k for k, _ in layer.named_parameters()]
    rows = layer.num_layers * layer.num_directions
    states = [torch.randn(rows, B, H) for _ in layer.cell.state_specs]
    weights = [
        drawn(own, *p.shape)
        if (own := k.rsplit("_l", 1)[0]) in RANGES
        else 0.7 * torch.randn(p.shape)
        for k, p in layer.named_parameters()
    ]
    specs = layer.cell.given_inputs
    further = [drawn(k, T, B, spec.size or H) for k, spec in specs.items()]
    values = [torch.randn(T, B, I), *states, *weights, *further]
    inputs = tuple(v.double().requires_grad_() for v in values)

    def function(x, *rest):
        hx, weights = rest[: len(states)], rest[len(states) : len(states) + len(names)]
        entering = dict(zip(specs, rest[len(states) + len(names) :], strict=True))
        output, last = torch.func.functional_call(
            layer,
            dict(zip(names, weights, strict=True)),
            (x, hx if len(hx) > 1 else hx[0]),
            {"lengths": lengths, "resets": resets, "inputs": entering},
        )
        return output, *(last if isinstance(last, tuple) else (last,))

    return function, inputs


@pytest.mark.parametrize("name", tt.cells.names())
def test_gradients_of_every_cell_match_finite_differences(name):
    assert gradcheck(
        *function_and_inputs(name),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@pytest.mark.parametrize("name", tt.cells.names())
def test_second_gradients_of_every_cell_match_finite_differences(name):
    assert gradgradcheck(*function_and_inputs(name), fast_mode=True)


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("name", tt.cells.names())
def test_gradients_hold_for_ragged_rows_and_resets_in_both_directions(name, check):
    resets = torch.tensor([[False, False], [False, False], [True, False]])
    options = {"bidirectional": True, "lengths": [3, 2], "resets": resets}
    assert check(*function_and_inputs(name, **options), fast_mode=True)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("name", ["rnn-tanh", "rnn-relu", "gru", "lstm"])
def test_gradients_hold_on_every_backend_for_two_layers_and_ragged_rows(name, backend):
    options = {"num_layers": 2, "bidirectional": True, "lengths": [1, 3], "backend": backend}
    assert gradcheck(*function_and_inputs(name, **options), fast_mode=True)


def test_second_gradients_of_the_fused_operator_are_those_of_the_reference():
    """In float32, for which PyTorch uses another kernel than for float64."""
    torch.manual_seed(0)
    layers = [tt.LSTM(I, H, backend=backend) for backend in ("torch", "reference")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(T, B, I)
    seconds = []
    for layer in layers:
        leaf = x.clone().requires_grad_()
        output, _ = layer(leaf)
        (first,) = torch.autograd.grad(output.pow(2).sum(), leaf, create_graph=True)
        seconds.append(torch.autograd.grad(first.pow(2).sum(), [leaf, *layer.parameters()]))
    for ours, theirs in zip(*seconds, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
