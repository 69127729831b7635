"""Recurrent dropout: one mask for a sequence, against the equations (arXiv 1512.05287)."""

import math

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp

from .by_hand import Steps, drawn, seeds, through_time, zoned

I, H, T, B = 3, 4, 6, 5
LENGTHS = [6, 3, 1, 0, 5]
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_compiler)]
)


def layer(name="lstm-peephole", **options):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return recurrent


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64)


def mask_of(seed, rate):
    """The factor of a unit: 0, or more than 1."""
    return (drawn(seed, 0, None, B, H) >= rate).double() / (1 - rate)


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm-peephole"])
@pytest.mark.parametrize("arguments", [{}, {"lengths": LENGTHS, "resets": True}])
def test_one_mask_for_all_gates_and_steps_in_each_direction(backend, name, arguments):
    """The peepholes read c without a mask, and c itself is added up without one."""
    if arguments:
        arguments = {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.4}
    recurrent = layer(name, recurrent_dropout=0.4, bidirectional=True, backend=backend)
    x = sequence()
    initial = {k: torch.randn(2, B, H).double() for k in recurrent.cell.state_specs}
    with seeds(21, 22):
        output, last = recurrent(x, tuple(initial.values()), **arguments)
    last, outputs = last if isinstance(last, tuple) else (last,), []
    for d, (suffix, seed) in enumerate((("_l0", 21), ("_l0_reverse", 22))):
        mask = mask_of(seed, 0.4)
        assert 0 < (mask == 0).sum() < B * H
        of_direction = {k: v[d] for k, v in initial.items()}
        h, ends, _ = through_time(
            Steps(recurrent, suffix, mask=mask), x, of_direction, reverse=d == 1, **arguments
        )
        outputs.append(h)
        for got, end in zip(last, ends.values(), strict=True):
            torch.testing.assert_close(got[d], end)
    torch.testing.assert_close(output, torch.cat(outputs, -1))


@torch.no_grad()
@every_backend
def test_with_zoneout_each_has_numbers_of_its_own(backend):
    """The mask of recurrent dropout is drawn first, then those of zoneout."""
    rates = {"h": 0.3, "c": 0.6}
    recurrent = layer(recurrent_dropout=0.4, zoneout=rates, backend=backend)
    x, initial = sequence(), {k: torch.randn(1, B, H).double() for k in "hc"}
    with seeds(5):
        output, last = recurrent(x, tuple(initial.values()))
    h, ends, _ = through_time(
        Steps(recurrent, mask=mask_of(5, 0.4)),
        x,
        {k: v[0] for k, v in initial.items()},
        after=zoned(5, rates, B, H, first_stream=1),
    )
    torch.testing.assert_close(output, h)
    for got, end in zip(last, ends.values(), strict=True):
        torch.testing.assert_close(got[0], end)


@torch.no_grad()
def test_a_step_by_numbers():
    """Two units with R the identity: one is dropped at all steps, the other is doubled."""
    recurrent = tt.Recurrent(
        "rnn-linear", 1, 2, recurrent_dropout=0.5, bias=False, dtype=torch.float64
    )
    recurrent.weight_ih_l0.fill_(1.0)
    recurrent.weight_hh_l0.copy_(torch.eye(2))
    seed = next(
        s for s in range(1000) if (drawn(s, 0, None, 1, 2) < 0.5).tolist() == [[True, False]]
    )
    x = torch.tensor([1.0, 2.0, 3.0]).double().view(3, 1, 1)
    with seeds(seed):
        output, _ = recurrent(x)
    assert output.squeeze(1).tolist() == [[1, 1], [2, 4], [3, 11]]


@torch.no_grad()
@every_backend
def test_a_value_made_inside_the_step_is_masked_where_a_block_is_applied_to_it(backend):
    """In the GRU with the reset before: R_n (m ⊙ (r ⊙ h)), but z ⊙ h without a mask."""
    recurrent = layer("gru-reset-before", recurrent_dropout=0.5, backend=backend)
    x, h = sequence(), torch.randn(1, B, H).double()
    with seeds(6):
        output, _ = recurrent(x, h)
    mask, h = mask_of(6, 0.5), h[0]
    w = {k: p for k, p in recurrent.named_parameters()}
    for t in range(T):
        W_r, W_z, W_n = (x[t] @ w["weight_ih_l0"].T + w["bias_ih_l0"]).chunk(3, -1)
        R_r, R_z, R_n = w["weight_hh_l0"].chunk(3)
        b_r, b_z, b_n = w["bias_hh_l0"].chunk(3)
        r = torch.sigmoid(W_r + (mask * h) @ R_r.T + b_r)
        z = torch.sigmoid(W_z + (mask * h) @ R_z.T + b_z)
        n = torch.tanh(W_n + (mask * r * h) @ R_n.T + b_n)
        h = z * h + (1 - z) * n
        torch.testing.assert_close(output[t], h)


@every_backend
def test_what_has_learned_drops_nothing(backend):
    recurrent, plain = layer(recurrent_dropout=0.4, backend=backend).eval(), layer(backend=backend)
    x = sequence()
    with seeds():
        assert torch.equal(recurrent(x)[0], plain(x)[0])


def test_the_fused_operator_of_pytorch_runs_what_has_learned_and_refuses_the_rest():
    recurrent, x = layer("lstm", backend="torch", recurrent_dropout=0.4), sequence()
    with pytest.raises(ValueError, match='backend="torch" cannot run this: '):
        recurrent(x)
    assert torch.equal(recurrent.eval()(x)[0], layer("lstm", backend="torch")(x)[0])


@torch.no_grad()
@every_backend
def test_as_many_units_are_left_out_as_the_rate_says(backend):
    rows, units, rate = 64, 256, 0.3
    recurrent = tt.Recurrent(
        "rnn-linear", 1, units, recurrent_dropout=rate, bias=False, backend=backend
    )
    recurrent.weight_hh_l0.copy_(torch.eye(units))
    output, _ = recurrent(torch.zeros(3, rows, 1), torch.ones(1, rows, units))
    kept = output[0] > 0
    torch.testing.assert_close(output[0][kept].unique(), torch.tensor([1 / (1 - rate)]))
    # Equal units at each step; rows differ.
    torch.testing.assert_close(output[2], output[0] ** 3)
    assert not torch.equal(kept[0], kept[1])
    share = 1 - kept.double().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / (rows * units))


@every_backend
def test_gradients_reach_only_what_was_not_left_out(backend):
    recurrent = layer("rnn-tanh", recurrent_dropout=0.4, backend=backend)
    start = torch.randn(1, B, H).double().requires_grad_()
    with seeds(8):
        recurrent(sequence()[:3], start)[0].sum().backward()
    mask = mask_of(8, 0.4)
    assert not start.grad[0][mask == 0].any()
    assert start.grad[0][mask > 0].all()


@torch.no_grad()
def test_a_rate_that_is_set_later_holds_from_then_on():
    recurrent, x = layer("rnn-tanh", backend="reference"), sequence()
    recurrent.recurrent_dropout = 0.4
    with seeds(1):
        ours = recurrent(x)[0]
    with seeds(1):
        theirs = layer("rnn-tanh", recurrent_dropout=0.4, backend="reference")(x)[0]
    assert torch.equal(ours, theirs)
