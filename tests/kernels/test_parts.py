"""Steps that split, slice, reorder or join rows, in compiled kernels.

Each function below is also tried alone, as a graph, in graph/test_parts.py.
"""

import re

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt

I, H = 3, 6


def halves(a, b, h, q):
    _, v = a.chunk(2, -1)
    left, right = b.split(b.shape[-1] // 2, dim=-1)
    return torch.cat([v * left, F.glu(h) + right], -1)


def uneven(a, b, h, q):
    u, v = a.split([2, 4], dim=-1)
    return torch.cat((v[:, 1:], u * b[:, :2], h[..., :1]), dim=1)


def picked(a, b, h, q):
    return a[:, [5, 4, 4, 0, 1, -1]] * b.flip(-1) + h.index_select(
        1, torch.tensor([1] * 3 + [0] * 3)
    )


def running(a, b, h, q):
    return torch.softmax(a, -1).cumsum(-1) * h + torch.cumsum(b * q, dim=1).roll(1, -1)


def normalised(a, b, h, q):
    part = F.layer_norm(a[:, :4], [4])
    return F.layer_norm(b, b.shape[-1:], q, q, 0.1) + F.mish(torch.cat([part, h[:, 4:]], -1))


def statistics(a, b, h, q):
    x = a[:, :4] / (1 + a[:, :4].var(-1, keepdim=True))
    y = torch.softmax(b[:, :2], -1) - b[:, :2].mean(-1, keepdim=True)
    return torch.cat([x, y * b[:, 2:3]], -1) + torch.cat([h.mean(-1, keepdim=True), b[:, 1:]], 1)


def parameters(a, b, h, q):
    return torch.cat([a[:, :3] * q[:3], b[:, 3:] * q.chunk(2)[0]], -1) * q[[0, 0, 1, 1, 2, 2]]


def infinite_beyond_the_part(a, b, h, q):
    # What a kernel computes in units beyond a part must reach neither values nor gradients.
    parts = [torch.tanh(1 / (2 + b[:, :4])), torch.tanh(torch.log(a[:, :2] ** 2))]
    return torch.cat([torch.tanh(1 / b[:, :4]) + parts[0], parts[1]], -1)


FUNCTIONS = [
    *(halves, uneven, picked, running, normalised, statistics, parameters),
    infinite_beyond_the_part,
]


BYTES = torch.tensor([1, 0, 1, 0, 1, 0], dtype=torch.uint8)


def cell_of(*functions):
    class OfFunctions(tt.Cell):
        gates, states, parameters = ("h", "g"), ("h",), ("q",)

        def step(self, x, W, R, s, p):
            a, b = torch.tanh(W.h(x) + R.h(s.h)), torch.sigmoid(W.g(x) + R.g(s.h))
            return dict(h=torch.tanh(sum(f(a, b, s.h, p.q) for f in functions)))

    return OfFunctions()


def results(layer, x, lengths):
    y, h = layer(x, lengths=lengths)
    loss = (y * torch.linspace(1, 2, y.shape[-1], dtype=y.dtype)).sum() + (h**2).sum()
    return [y, h, *torch.autograd.grad(loss, [x, *layer.parameters()], materialize_grads=True)]


def compare(cell, H, dtype, save, tolerance):
    torch.manual_seed(0)
    layers = [tt.Recurrent(cell, I, H, backend=b, save=save) for b in ("cpp", "reference")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(5, 3, I, dtype=dtype, requires_grad=True)
    for lengths in (None, [5, 0, 3]):
        pairs = zip(*(results(layer.to(dtype), x, lengths) for layer in layers), strict=True)
        for got, expected in pairs:
            limit = tolerance * max(1.0, expected.abs().max().item())
            torch.testing.assert_close(got, expected, rtol=0, atol=limit)


GROUPS = [FUNCTIONS[:3], FUNCTIONS[3:5], FUNCTIONS[5:7], FUNCTIONS[7:]]


@pytest.mark.parametrize("functions", GROUPS, ids=lambda g: "+".join(f.__name__ for f in g))
@pytest.mark.parametrize("save", ["gates", "states"])
def test_kernels_give_the_outputs_and_gradients_of_the_reference(functions, save):
    compare(cell_of(*functions), H, torch.float64, save, 1e-11)


def test_a_kernel_holds_for_every_number_of_units():
    def ordered(a, b, h, q):
        return torch.cat([b.chunk(2, -1)[1], a[:, ::2]], -1).cumsum(-1) / a.shape[-1] + a[:, -1:]

    for units in (2, 4, 8, 34, 66):
        compare(cell_of(ordered), units, torch.float64, "gates", 1e-11)
    compare(cell_of(ordered), 34, torch.float32, "gates", 1e-4)
    layer = tt.Recurrent(cell_of(ordered), I, 33).to(torch.bfloat16)
    assert layer.explain(torch.randn(5, 3, I, dtype=torch.bfloat16)).backend == "cpp"
    assert layer(torch.randn(5, 3, I, dtype=torch.bfloat16))[0].isfinite().all()


@pytest.mark.parametrize(
    ("function", "units", "reason"),
    [
        (halves, 5, "with H = 5 units"),
        (uneven, 7, "with H = 7 units, 6 is 6 and H is 7|is 6 and H is 7|H is 7"),
        (picked, 4, "the index 5 is out of range for 4 units|is 4"),
        (lambda a, b, h, q: torch.cat(a.chunk(4, -1), -1), 6, "with H = 6 units"),
        (lambda a, b, h, q: F.layer_norm(a, (6,)), 5, "with H = 5 units"),
        (lambda a, b, h, q: a[:, :3], 5, "with H = 5 units"),
        (lambda a, b, h, q: a + b[:, 0:5].mean(-1, keepdim=True), 3, "is 3 and 5 is 5"),
        (lambda a, b, h, q: a + b[:, -4:-1].exp().sum(-1, keepdim=True), 3, "is 2 and 3 is 3"),
        # PyTorch reads a tensor of bytes as a mask of the units, not as their numbers.
        (
            lambda a, b, h, q: a + b[:, BYTES].mean(-1, keepdim=True),
            6,
            "an index of torch.uint8 is a mask",
        ),
        (lambda a, b, h, q: a + b.narrow(-1, 1, 3).mean(-1, keepdim=True), 3, "is 2 and 3 is 3"),
    ],
)
def test_parts_that_do_not_fit_the_units_are_a_reason(function, units, reason):
    layer = tt.Recurrent(cell_of(function), I, units)
    (why,) = layer.explain(torch.randn(5, 2, I)).reasons["cpp"]
    assert re.search(reason, why), why
