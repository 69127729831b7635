"""The time loop in plain PyTorch: how its products are joined, and their results."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels import Call, Weights, reference


@pytest.fixture
def products(monkeypatch):
    """The number of rows of each matrix product of the reference, in order."""
    rows = []
    linear = reference.F.linear

    class Counting:
        @staticmethod
        def linear(value, weight, bias=None):
            rows.append((value.shape[:-1].numel(), weight.shape[0]))
            return linear(value, weight, bias)

    monkeypatch.setattr(reference, "F", Counting)
    return rows


T, B, I, H = 5, 3, 2, 4


def call_of(name, **options):
    layer = tt.Recurrent(name, I, H)
    x = torch.randn(T, B, I)
    state = tuple(torch.zeros(B, H) for _ in layer.cell.state_specs)
    return Call(layer.cell, x, layer._weights("_l0"), state, **options)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("name", "each_step"),
    [
        ("lstm", [(B, 4 * H)]),
        ("gru", [(B, 3 * H)]),
        # r and z see h, n sees r * h, which is made inside the step
        ("gru-reset-before", [(B, 2 * H), (B, H)]),
        # four blocks see h, and three each of i, f, o
        ("lstm-fgr", [(B, 4 * H), (B, 3 * H), (B, 3 * H), (B, 3 * H)]),
    ],
)
def test_inputs_take_one_product_in_all_and_each_state_one_in_each_step(
    products, name, each_step, reverse
):
    call = call_of(name, reverse=reverse)
    reference.run(call)
    assert products[0] == (T * B, len(call.cell.gates) * H)
    assert products[1:] == each_step * T


def test_a_block_may_be_used_any_number_of_times_and_on_any_value():
    """Equal products are shared; products of one block with different values are separate."""

    class Twice(tt.Cell):
        gates, states = ("a", "b"), ("h", "c")

        def step(self, x, W, R, s, p):
            c = W.a(x) + W.a(2 * x) + R.a(s.h) + R.a(s.c) + R.b(s.c)
            h = torch.tanh(R.b(R.a(s.h)) + R.a(s.h) + W.b(x))
            return dict(h=h, c=c)

    layer = tt.Recurrent(Twice(), I, H, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, (last_h, last_c) = layer(x)
    W, R, b, q = (
        getattr(layer, f"{n}_l0").chunk(2) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = c = torch.zeros(B, H, dtype=torch.float64)
    for t in range(T):
        Ra_h, Ra_c = h @ R[0].T + q[0], c @ R[0].T + q[0]
        new_c = 3 * x[t] @ W[0].T + 2 * b[0] + Ra_h + Ra_c + c @ R[1].T + q[1]
        h = torch.tanh(Ra_h @ R[1].T + q[1] + Ra_h + x[t] @ W[1].T + b[1])
        c = new_c
        torch.testing.assert_close(output[t], h)
    torch.testing.assert_close(last_h[0], h)
    torch.testing.assert_close(last_c[0], c)


def test_states_that_are_one_and_the_same_tensor_stay_two_states():
    class Same(tt.Cell):
        gates, states = ("a", "b"), ("h", "c")

        def step(self, x, W, R, s, p):
            h = torch.tanh(W.a(x) + R.a(s.h) - R.b(s.c))
            return dict(h=h, c=h)

    layer = tt.Recurrent(Same(), I, H, dtype=torch.float64)
    x = torch.randn(2, B, I, dtype=torch.float64)
    output, (h, c) = layer(x)
    R, q = layer.weight_hh_l0.chunk(2), layer.bias_hh_l0.chunk(2)
    Wx = x[1] @ layer.weight_ih_l0[:H].T + layer.bias_ih_l0[:H]
    expected = torch.tanh(Wx + output[0] @ (R[0] - R[1]).T + q[0] - q[1])
    torch.testing.assert_close(output[1], expected)
    assert torch.equal(h, c)


def test_a_block_of_the_recurrent_matrix_without_a_gate_carries_no_bias():
    class Extra(tt.Cell):
        gates, states, recurrent_blocks = ("h",), ("h",), ("u", "h")

        def step(self, x, W, R, s, p):
            return dict(h=W.h(x) + R.h(s.h) + R.u(s.h))

    layer = tt.Recurrent(Extra(), I, H, dtype=torch.float64)
    assert layer.weight_hh_l0.shape == (2 * H, H)
    assert layer.bias_hh_l0.shape == (H,)
    x, h = torch.randn(1, B, I).double(), torch.randn(1, B, H).double()
    output, _ = layer(x, h)
    u, r = layer.weight_hh_l0.chunk(2)
    expected = x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ (u + r).T + layer.bias_hh_l0
    torch.testing.assert_close(output, expected)


def test_what_was_given_is_not_written_to():
    call = call_of("lstm-fgr", lengths=torch.tensor([5, 0, 3]))
    arguments = [call.x, *call.state, call.weights.weight_hh, call.lengths]
    before = [value.clone() for value in arguments]
    reference.run(call)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


def test_weights_may_be_plain_tensors():
    cell = tt.cells.get("rnn-linear")
    weights = Weights(torch.ones(1, 1), torch.full((1, 1), 2.0))
    output, (h,) = reference.run(Call(cell, torch.ones(3, 1, 1), weights, (torch.zeros(1, 1),)))
    # 1, 2 * 1 + 1, 2 * 3 + 1
    assert output.flatten().tolist() == [1, 3, 7]
    assert h.item() == 7
