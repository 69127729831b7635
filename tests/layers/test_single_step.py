"""LSTMCell, GRUCell and RNNCell have the arguments, state dicts and numbers of torch.nn's."""

import copy
import inspect

import pytest
import torch
from torch import nn

import throughtime as tt

PAIRS = [
    (tt.LSTMCell, nn.LSTMCell, {}),
    (tt.GRUCell, nn.GRUCell, {}),
    (tt.RNNCell, nn.RNNCell, {}),
    (tt.RNNCell, nn.RNNCell, {"nonlinearity": "relu"}),
]
each = pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)


def state(kind, *rows):
    states = [torch.randn(*rows, 5, dtype=torch.float64) for _ in range(2)]
    return tuple(states) if kind is nn.LSTMCell else states[0]


def flat(result):
    return result if isinstance(result, tuple) else (result,)


@each
@pytest.mark.parametrize("bias", [True, False])
def test_numbers_gradients_and_initial_weights_are_those_of_torch(ours, theirs, options, bias):
    torch.manual_seed(0)
    one = ours(3, 5, bias, dtype=torch.float64, **options)
    torch.manual_seed(0)
    other = theirs(3, 5, bias, dtype=torch.float64, **options)
    for (a, x), (b, y) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert a == b
        assert torch.equal(x, y)
    for rows in ((4,), ()):
        x = torch.randn(*rows, 3, dtype=torch.float64, requires_grad=True)
        for hx in (None, state(theirs, *rows)):
            got, expected = flat(one(x, hx)), flat(other(x, hx))
            for a, b in zip(got, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
            values = [
                torch.autograd.grad(sum(map(torch.sum, r)), [x, *m.parameters()])
                for r, m in ((got, one), (expected, other))
            ]
            for a, b in zip(*values, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@each
def test_the_arguments_are_those_of_torch(ours, theirs, options):
    mine, its = (inspect.signature(kind).parameters for kind in (ours, theirs))
    assert list(mine) == list(its)
    assert [p.default for p in mine.values()] == [p.default for p in its.values()]
    assert repr(ours(3, 5, False)).partition("(")[2] == repr(theirs(3, 5, False)).partition("(")[2]


@each
def test_from_torch_and_back(ours, theirs, options):
    model = nn.ModuleDict({"step": theirs(3, 5, **options)}).eval()
    model.step.weight_hh.requires_grad_(False)
    converted = tt.from_torch(model)
    assert type(converted.step) is ours
    assert not converted.training
    assert not converted.step.weight_hh.requires_grad
    x = torch.randn(2, 3)
    for a, b in zip(flat(converted.step(x)), flat(model.step(x)), strict=True):
        torch.testing.assert_close(a, b)
    back = tt.to_torch(converted)
    assert type(back.step) is theirs
    assert repr(back) == repr(model)
    assert list(back.state_dict()) == list(model.state_dict())

    class Changed(theirs):
        pass

    with pytest.raises(ValueError, match="cannot convert Changed"):
        tt.from_torch(Changed(3, 5))


def test_wrong_arguments_are_refused():
    lstm, gru = tt.LSTMCell(3, 5), tt.GRUCell(3, 5)
    x = torch.randn(2, 3)
    for call, message in (
        (lambda: lstm(torch.randn(2, 4)), r"expected input of shape \(B, 3\)"),
        (lambda: lstm(torch.randn(1, 2, 3)), r"expected input of shape \(B, 3\)"),
        (lambda: lstm(x, torch.zeros(2, 5)), "tuple of two states"),
        (lambda: lstm(x, (torch.zeros(2, 5), torch.zeros(3, 5))), r"expected c of shape \(2, 5\)"),
        (lambda: gru(x, (torch.zeros(2, 5),)), "hx as one tensor"),
        (lambda: gru(x.double()), "expected input of torch.float32"),
        (lambda: tt.RNNCell(3, 5, nonlinearity="tan"), 'did you mean "tanh"'),
        (lambda: tt.GRUCell(3, 0), "hidden_size"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert copy.deepcopy(gru)(x).shape == (2, 5)


def test_a_step_under_compile_and_autocast():
    gru, x = tt.GRUCell(3, 5), torch.randn(2, 3)
    torch._dynamo.reset()
    compiled = torch.compile(gru, backend="eager")
    torch.testing.assert_close(compiled(x), gru(x))
    with torch.autocast("cpu", torch.bfloat16):
        # As all layers of throughtime do.
        assert gru(x).dtype is torch.bfloat16
