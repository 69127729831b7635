"""MatrixLSTM: the paper's equations, equal numbers in chunks, and the layouts of a layer."""

import copy
import math

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import throughtime as tt

T, B, I, H, N = 11, 3, 4, 6, 2
D = H // N


def make(**options):
    torch.manual_seed(1)
    sizes = dict(input_size=I, hidden_size=H, num_heads=N, dtype=torch.float64)
    layer = tt.MatrixLSTM(**(sizes | options))
    with torch.no_grad():
        # Gates that are neither fully open nor fully closed.
        for parameter in layer.parameters():
            parameter.mul_(3)
    return layer


def state(rows=B, dtype=torch.float64):
    return tuple(torch.randn(rows, *shape, dtype=dtype) for shape in ((N, D, D), (N, D), (N,)))


@pytest.fixture
def x():
    return torch.randn(T, B, I, dtype=torch.float64)


def by_the_paper(layer, x, forget_gate):
    """Equations 19 to 27 for each row and head, without the stabiliser; outputs (T, B, H)."""
    q, k, v, o, i, f = layer.weight_ih_l0.split([H] * 4 + [N] * 2)
    b_q, b_k, b_v, b_o, b_i, b_f = layer.bias_ih_l0.split([H] * 4 + [N] * 2)
    forget = torch.sigmoid if forget_gate == "sigmoid" else torch.exp
    outputs = torch.zeros(T, B, H, dtype=x.dtype)
    for row in range(B):
        for head in range(N):
            units = slice(head * D, (head + 1) * D)
            C, n = torch.zeros(D, D, dtype=x.dtype), torch.zeros(D, dtype=x.dtype)
            for t in range(T):
                x_t = x[t, row]
                q_t = q[units] @ x_t + b_q[units]
                k_t = k[units] @ x_t / math.sqrt(D) + b_k[units]
                v_t = v[units] @ x_t + b_v[units]
                i_t = torch.exp(i[head] @ x_t + b_i[head])
                f_t = forget(f[head] @ x_t + b_f[head])
                C = f_t * C + i_t * torch.outer(v_t, k_t)
                n = f_t * n + i_t * k_t
                o_t = torch.sigmoid(o[units] @ x_t + b_o[units])
                outputs[t, row, units] = o_t * (C @ q_t) / max(abs(n @ q_t), 1)
    return outputs


@pytest.mark.parametrize("chunk_length", [None, 1, 4, 64])
@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_the_outputs_are_those_of_the_paper(x, forget_gate, chunk_length):
    layer = make(forget_gate=forget_gate, chunk_length=chunk_length)
    with torch.no_grad():
        expected = by_the_paper(layer, x, forget_gate)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-10, atol=1e-12)


def test_without_biases_they_are_zero(x):
    layer, without = make(), make(bias=False)
    assert list(without.state_dict()) == ["weight_ih_l0"]
    with torch.no_grad():
        layer.bias_ih_l0.zero_()
        layer.weight_ih_l0.copy_(without.weight_ih_l0)
    torch.testing.assert_close(without(x)[0], layer(x)[0])


def results(layer, x, hx, lengths, resets):
    """The outputs, the last state, and the gradients of both with respect to all inputs."""
    leaves = [t.clone().requires_grad_() for t in (x, *(hx or ()))]
    y, last = layer(leaves[0], tuple(leaves[1:]) or None, lengths=lengths, resets=resets)
    torch.manual_seed(2)
    loss = sum((a * torch.randn_like(a)).sum() for a in (y, *last))
    return y, *last, *torch.autograd.grad(loss, [*leaves, *layer.parameters()])


@pytest.mark.parametrize("chunk_length", [1, 2, 5, 11, 64])
@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
@pytest.mark.parametrize("lengths", [None, [T, 0, 4]])
@pytest.mark.parametrize("has_resets", [False, True])
@pytest.mark.parametrize("has_state", [False, True])
def test_chunks_of_any_length_are_the_steps(
    x, chunk_length, forget_gate, lengths, has_resets, has_state
):
    hx = state() if has_state else None
    resets = torch.rand(T, B) < 0.3 if has_resets else None
    steps = make(forget_gate=forget_gate, chunk_length=None)
    chunks = make(forget_gate=forget_gate, chunk_length=chunk_length)
    expected = results(steps, x, hx, lengths, resets)
    for got, wanted in zip(results(chunks, x, hx, lengths, resets), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("chunk_length", [None, 2, 3])
def test_the_gradients_are_those_of_differences(chunk_length):
    layer = tt.MatrixLSTM(2, 4, 2, chunk_length=chunk_length, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    resets = torch.zeros(5, 2, dtype=torch.bool)
    resets[3, 0] = resets[1, 1] = True

    def run(x, C, n, m, *weights):
        options = dict(lengths=[5, 4], resets=resets)
        weights_by_name = dict(zip(names, weights, strict=True))
        y, last = torch.func.functional_call(layer, weights_by_name, (x, (C, n, m)), options)
        return y, *last

    leaves = [torch.randn(s, dtype=torch.float64) for s in ((5, 2, 2), (2, 2, 2, 2), (2, 2, 2))]
    leaves += [torch.randn(2, 2, dtype=torch.float64), *(p.detach() for p in layer.parameters())]
    for leaf in leaves:
        leaf.requires_grad_()
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(lambda *a: run(*a)[0], leaves, atol=1e-4)


# States in and out.


@pytest.mark.parametrize("chunk_length", [None, 1, 4, 64])
@pytest.mark.parametrize("cuts", [[5, 6], [1] * T, [3, 0, 8]])
def test_pieces_with_the_state_passed_on_are_the_whole(x, chunk_length, cuts):
    layer = make(chunk_length=chunk_length)
    whole, last = layer(x)
    pieces, now = [], None
    for piece in (p for p in x.split(cuts) if len(p)):
        y, now = layer(piece, now)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(now, last, rtol=1e-10, atol=1e-12)


def test_a_stream_gives_the_outputs_of_the_whole(x):
    layer = make(batch_first=True)
    stream = layer.stream()
    first = [stream.step(x[t]) for t in range(4)]
    other = stream.fork()
    y = torch.cat([torch.stack(first, 1), stream.read(x[4:].transpose(0, 1))], 1)
    torch.testing.assert_close(y, layer(x.transpose(0, 1))[0].detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(other.step(x[4]), y[:, 4])


def test_resets_begin_anew_from_the_state_that_was_given(x):
    layer, hx = make(chunk_length=4), state()
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[6, 1] = resets[7, 1] = resets[0, 2] = True
    y, (C, _, _) = layer(x, hx, resets=resets)
    whole, (C_whole, _, _) = layer(x, hx)
    torch.testing.assert_close(y[:, [0, 2]], whole[:, [0, 2]])
    torch.testing.assert_close(C[[0, 2]], C_whole[[0, 2]])
    torch.testing.assert_close(y[6:7, 1:2], layer(x[6:7, 1:2], [s[1:2] for s in hx])[0])
    tail, (C_tail, _, _) = layer(x[7:, 1:2], [s[1:2] for s in hx])
    torch.testing.assert_close(y[7:, 1:2], tail)
    torch.testing.assert_close(C[1:2], C_tail)


@pytest.mark.parametrize("chunk_length", [None, 4])
def test_padding_reaches_nothing(x, chunk_length):
    layer, hx = make(chunk_length=chunk_length), state()
    lengths = [4, 0, 9]
    for row, end in enumerate(lengths):
        x[end:, row] = math.nan
    x.requires_grad_()
    # A reset past a row's end has no effect.
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[10] = True
    y, last = layer(x, hx, lengths=lengths, resets=resets)
    for row, end in enumerate(lengths):
        assert not y[end:, row].any()
        alone = [s[row : row + 1] for s in hx]
        expected = layer(x[:end, row : row + 1], alone) if end else (y[:0, row : row + 1], alone)
        torch.testing.assert_close(y[:end, row : row + 1], expected[0])
        for got, wanted in zip(last, expected[1], strict=True):
            torch.testing.assert_close(got[row : row + 1], wanted)
    sum(a.square().sum() for a in (y, *last)).backward()
    for row, end in enumerate(lengths):
        assert not x.grad[end:, row].any()
    assert all(p.grad.isfinite().all() for p in (x, *layer.parameters()))


@pytest.mark.parametrize("sorts", [True, False])
def test_a_packed_sequence_comes_back_packed(sorts):
    layer = make()
    rows = [torch.randn(n, I, dtype=torch.float64) for n in ((7, 4, 2) if sorts else (4, 7, 2))]
    packed, (C, _, _) = layer(pack_sequence(rows, enforce_sorted=sorts))
    y, lengths = pad_packed_sequence(packed)
    for row, (x, end) in enumerate(zip(rows, lengths.tolist(), strict=True)):
        expected, (C_row, _, _) = layer(x)
        torch.testing.assert_close(y[:end, row], expected)
        torch.testing.assert_close(C[row], C_row)


def test_batch_first_one_sequence_alone_and_strides(x):
    layer, other = make(), make(batch_first=True)
    y, last = layer(x)
    across, again = other(x.transpose(0, 1))
    torch.testing.assert_close(across.transpose(0, 1), y)
    torch.testing.assert_close(again, last)
    resets = torch.rand(T, B) < 0.5
    across = other(x.transpose(0, 1), lengths=[2, 5, T], resets=resets.T)[0]
    torch.testing.assert_close(
        across.transpose(0, 1), layer(x, None, lengths=[2, 5, T], resets=resets)[0]
    )
    alone, (C, n, m) = layer(x[:, 1], resets=resets[:, 1])
    assert (alone.shape, C.shape, n.shape, m.shape) == ((T, H), (N, D, D), (N, D), (N,))
    torch.testing.assert_close(alone, layer(x, resets=resets)[0][:, 1])
    torch.testing.assert_close(
        layer(x[:3, 1], (C, n, m))[0], layer(x[:3, 1:2], (C[None], n[None], m[None]))[0][:, 0]
    )
    wide = torch.randn(T, B, 2 * I, dtype=torch.float64)[..., ::2]
    torch.testing.assert_close(layer(wide)[0], layer(wide.contiguous())[0])


# Extreme numbers.


@pytest.mark.parametrize("chunk_length", [None, 4])
@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
@pytest.mark.parametrize("scale", [300.0, -300.0])
def test_exponents_far_beyond_the_range_of_exp_stay_finite(x, forget_gate, chunk_length, scale):
    layer = make(forget_gate=forget_gate, chunk_length=chunk_length).float()
    with torch.no_grad():
        layer.bias_ih_l0[-2 * N : -N] = scale
    x = x.float().requires_grad_()
    y, last = layer(x)
    sum(a.sum() for a in (y, *last)).backward()
    for got in (y, *last, x.grad, *(p.grad for p in layer.parameters())):
        assert got.isfinite().all()
    # A strong input is read back unchanged; a weak one is bounded by the 1 of the denominator.
    assert (y.abs().max() > 0.01) == (scale > 0)


@pytest.mark.parametrize("chunk_length", [None, 4])
def test_a_query_of_zero_reads_zero_whatever_was_written(x, chunk_length):
    layer = make(chunk_length=chunk_length).float()
    with torch.no_grad():
        layer.weight_ih_l0[:H] = layer.bias_ih_l0[:H] = 0.0
        layer.bias_ih_l0[-2 * N : -N] = 300.0
    y, _ = layer(x.float())
    assert not y.any()
    y.sum().backward()
    assert layer.weight_ih_l0.grad[-2 * N :].isfinite().all()


def test_the_stabiliser_changes_no_output(x):
    layer, (C, n, m) = make(), state()
    y, _ = layer(x, (C, n, m))
    shifted = (C * math.exp(2), n * math.exp(2), m - 2)
    torch.testing.assert_close(layer(x, shifted)[0], y, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_remembers_in_single(x, dtype):
    layer, steps = tt.MatrixLSTM(I, H, N).to(dtype), tt.MatrixLSTM(I, H, N, chunk_length=None)
    steps.to(dtype).load_state_dict(layer.state_dict())
    y, last = layer(x.to(dtype))
    assert y.dtype == dtype
    assert [s.dtype for s in last] == [torch.float32] * 3
    # The state itself is rounded as little as in float32.
    torch.testing.assert_close(last, steps(x.to(dtype))[1])
    y, _ = layer(x.to(dtype), last)
    expected, _ = copy.deepcopy(layer).double()(x.to(dtype).double(), [s.double() for s in last])
    # The precision of bfloat16 is 2^-8; each product is rounded once.
    torch.testing.assert_close(y.double(), expected, rtol=0.02, atol=0.01)


def test_autocast_keeps_the_memory_in_single(x):
    layer = tt.MatrixLSTM(I, H, N)
    with torch.autocast("cpu", torch.bfloat16):
        y, last = layer(x.float())
    assert y.dtype == torch.bfloat16
    assert [s.dtype for s in last] == [torch.float32] * 3
    torch.testing.assert_close(y.float(), layer(x.float())[0], rtol=0.02, atol=0.01)


def test_it_learns_to_bring_back_what_stood_under_a_key():
    torch.manual_seed(0)
    layer, read = tt.MatrixLSTM(6, 16, 2, forget_bias=3.0), torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*layer.parameters(), *read.parameters()], lr=0.02)
    keys = torch.stack([torch.eye(4)[torch.randperm(4)[:3]] for _ in range(8)], 1)  # (3, 8, 4)
    values = torch.nn.functional.one_hot(torch.randint(2, (3, 8)), 2).float()
    ask = torch.cat([keys[:1], torch.zeros(1, 8, 2)], -1)
    x = torch.cat([torch.cat([keys, values], -1), ask])
    for _ in range(150):
        optimizer.zero_grad()
        scores = read(layer(x)[0][-1])
        loss = torch.nn.functional.cross_entropy(scores, values[0].argmax(-1))
        loss.backward()
        optimizer.step()
    assert loss < 0.05
