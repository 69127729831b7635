"""The parameters of MatrixLSTM, and its refusals."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt
from throughtime.checks import ShapeError

T, B, I, H, N = 11, 3, 4, 6, 2
D = H // N


def make(**options):
    sizes = dict(input_size=I, hidden_size=H, num_heads=N, dtype=torch.float64)
    return tt.MatrixLSTM(**(sizes | options))


def state(rows=B, dtype=torch.float64):
    return tuple(torch.zeros(rows, *shape, dtype=dtype) for shape in ((N, D, D), (N, D), (N,)))


def test_its_weights_have_the_documented_names_shapes_and_bounds():
    layer = tt.MatrixLSTM(I, H, N, forget_bias=3.0)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {"weight_ih_l0": (4 * H + 2 * N, I), "bias_ih_l0": (4 * H + 2 * N,)}
    assert (layer.bias_ih_l0[-N:] == 3).all()
    assert 0 < layer.weight_ih_l0.abs().max() <= 1 / math.sqrt(H)
    assert repr(layer) == f"MatrixLSTM({I}, {H}, {N}, forget_bias=3.0)"
    other = tt.MatrixLSTM(I, H, N)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, I)
    torch.testing.assert_close(other(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(hidden_size=7), ValueError, "hidden_size as a multiple of num_heads=2, got 7"),
        (dict(num_heads=0), ValueError, "num_heads of at least 1, got 0"),
        (dict(input_size=2.5), TypeError, r"input_size as a whole number, got 2\.5"),
        (dict(chunk_length=0), ValueError, "chunk_length of at least 1, got 0"),
        (dict(chunk_length=True), TypeError, "chunk_length as a whole number, got True"),
        (dict(forget_gate="sigmoit"), ValueError, 'unknown forget_gate "sigmoit"; did you mean'),
        (dict(forget_bias=1.0, bias=False), ValueError, "forget_bias needs bias=True"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (None, {}, TypeError, "expected x as a tensor, got None"),
        ((T, B, 5), {}, ShapeError, r"x of shape \(T, B, 4\) because input_size=4, got"),
        ((B, T, I, 1), {}, ShapeError, r"x of shape \(T, B, 4\)"),
        ((T, 3), {}, ShapeError, r"x of shape \(T, 4\)"),
        ((0, B, I), {}, ShapeError, "at least one time step"),
        ((T, B, I), dict(lengths=[1, 2]), ShapeError, r"lengths of shape \(3\)"),
        ((T, B, I), dict(lengths=[1, 2, 12]), ValueError, "lengths from 0 to 11"),
        ((T, B, I), dict(resets=torch.zeros(T, B)), ValueError, r"resets of torch\.bool"),
        ((T, B, I), dict(resets=torch.zeros(B, T).bool()), ShapeError, r"resets of shape \(11, 3"),
        ((T, B, I), dict(resets=[True]), TypeError, "expected resets as a tensor"),
        ((T, B, I), dict(hx=torch.zeros(3)), ValueError, r"hx as a tuple of three tensors, \(C,"),
        ((T, B, I), dict(hx=state()[:2]), ValueError, r"hx as a tuple of three tensors"),
        ((T, B, I), dict(hx=state(2)), ShapeError, r"initial state C of shape \(3, 2, 3, 3\)"),
        ((T, B, I), dict(hx=(*state()[:2], 0)), ValueError, r"state m of torch\.float64, got 0"),
        ((T, B, I), dict(hx=state(3, torch.float32)), ValueError, r"C of torch\.float64, got .*32"),
    ],
)
def test_calls_that_do_not_fit_are_refused(x, options, error, message):
    value = x if x is None else torch.zeros(x, dtype=torch.float64)
    with pytest.raises(error, match=f"^MatrixLSTM: .*{message}"):
        make()(value, **options)


def test_another_dtype_and_lengths_beside_a_packed_sequence_are_refused():
    x = torch.zeros(T, B, I, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"x of torch\.float64 as the weights are"):
        make()(x.float())
    with pytest.raises(ValueError, match="a PackedSequence brings its own lengths"):
        make()(pack_sequence([x[:, 0]]), lengths=[T])
