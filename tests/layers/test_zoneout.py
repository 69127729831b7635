"""Zoneout against the equations (arXiv 1606.01305)."""

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
RATES = {"lstm-peephole": {"h": 0.3, "c": 0.6}, "rnn-tanh": {"h": 0.5}}


def layer(name="lstm-peephole", **options):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return recurrent


def states(recurrent, rows=1):
    return {k: torch.randn(rows, B, H, dtype=torch.float64) for k in recurrent.cell.state_specs}


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64)


def hx(initial):
    return tuple(initial.values())


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("arguments", [{}, {"lengths": LENGTHS}, "resets"])
def test_each_state_keeps_its_units_as_the_equations_say(backend, name, arguments):
    """Both directions, ragged rows and resets; each direction draws its own numbers."""
    if arguments == "resets":
        arguments = {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.4}
    rates = RATES[name]
    recurrent = layer(name, zoneout=rates, bidirectional=True, backend=backend)
    x, initial = sequence(), states(recurrent, 2)
    with seeds(11, 12):
        output, last = recurrent(x, hx(initial), **arguments)
    last = last if isinstance(last, tuple) else (last,)
    expected = []
    for d, (suffix, seed) in enumerate((("_l0", 11), ("_l0_reverse", 12))):
        h, ends, _ = through_time(
            Steps(recurrent, suffix),
            x,
            {k: v[d] for k, v in initial.items()},
            reverse=d == 1,
            after=zoned(seed, rates, B, H),
            **arguments,
        )
        expected.append(h)
        for got, end in zip(last, ends.values(), strict=True):
            torch.testing.assert_close(got[d], end)
    torch.testing.assert_close(output, torch.cat(expected, -1))


@torch.no_grad()
@every_backend
def test_one_number_is_meant_for_all_states(backend):
    x, outputs = sequence(), []
    for rate in (0.3, {"h": 0.3, "c": 0.3}):
        recurrent = layer(zoneout=rate, backend=backend)
        with seeds(3):
            outputs.append(recurrent(x)[0])
    assert torch.equal(*outputs)
    with seeds(3):
        h_alone = layer(zoneout={"h": 0.3}, backend=backend)(x)[0]
    assert not torch.equal(h_alone, outputs[0])


@torch.no_grad()
@every_backend
def test_a_state_that_is_not_named_is_as_it_was_made(backend):
    """With only c kept, h is computed from the new c, not from the kept one."""
    recurrent = layer(zoneout={"c": 0.6, "h": 0.0}, backend=backend)
    x, initial = sequence(), states(recurrent)
    with seeds(4):
        output, (h, c) = recurrent(x, hx(initial))
    expected, last, _ = through_time(
        Steps(recurrent), x, {k: v[0] for k, v in initial.items()}, after=zoned(4, {"c": 0.6}, B, H)
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(h[0], last["h"])
    torch.testing.assert_close(c[0], last["c"])


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("arguments", [{}, {"lengths": LENGTHS, "resets": True}])
def test_what_has_learned_takes_the_mean(backend, arguments):
    if arguments:
        arguments = {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.4}
    rates = RATES["lstm-peephole"]
    recurrent = layer(zoneout=rates, backend=backend).eval()
    x, initial = sequence(), states(recurrent)

    def mean(t, old, new, rows):
        return {k: rates[k] * old[k] + (1 - rates[k]) * new[k] for k in new}

    with seeds():
        output, (h, c) = recurrent(x, hx(initial), **arguments)
    expected, last, _ = through_time(
        Steps(recurrent), x, {k: v[0] for k, v in initial.items()}, after=mean, **arguments
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(h[0], last["h"])
    torch.testing.assert_close(c[0], last["c"])


@torch.no_grad()
def test_a_step_by_numbers():
    """h = tanh(x) with x = 1, 2, 3 from h = 0.5; the unit keeps its value at the second step."""
    recurrent = tt.Recurrent("rnn-tanh", 1, 1, zoneout=0.5, dtype=torch.float64)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.zero_()
        recurrent.weight_ih_l0.fill_(1.0)
    x = torch.tensor([1.0, 2.0, 3.0]).double().view(3, 1, 1)
    start = torch.full((1, 1, 1), 0.5).double()
    # A seed whose numbers are on the stated sides of the rate.
    seed = next(
        s
        for s in range(1000)
        if [bool(drawn(s, 0, t, 1, 1) < 0.5) for t in range(3)] == [False, True, False]
    )
    with seeds(seed):
        output, h = recurrent(x, start)
    one, three = math.tanh(1), math.tanh(3)
    assert output.flatten().tolist() == pytest.approx([one, one, three], rel=1e-14)
    assert h.item() == pytest.approx(three, rel=1e-14)
    a = 0.5 * 0.5 + 0.5 * one
    b = 0.5 * a + 0.5 * math.tanh(2)
    expected = [a, b, 0.5 * b + 0.5 * three]
    assert recurrent.eval()(x, start)[0].flatten().tolist() == pytest.approx(expected, rel=1e-14)


@torch.no_grad()
@pytest.mark.parametrize(
    ("backend", "rate"),
    [("reference", 0.05), ("reference", 0.9), pytest.param("cpp", 0.5, marks=needs_compiler)],
)
def test_as_many_units_keep_their_value_as_the_rate_says(backend, rate):
    """Each unit has one value or the other; the share is within five standard deviations."""
    steps, rows, units = 16, 32, 64
    recurrent = tt.Recurrent("rnn-tanh", I, units, zoneout=rate, backend=backend)
    x, h = torch.randn(steps, rows, I), torch.rand(1, rows, units) + 2
    output, _ = recurrent(x, h)
    before = torch.cat([h, output[:-1]])
    is_kept = output == before
    # A unit that is not kept has the cell's value: never 2 or more, and hardly ever equal.
    plain = tt.Recurrent("rnn-tanh", I, units, backend=backend)
    plain.load_state_dict(recurrent.state_dict())
    for t in range(steps):
        new = plain(x[t : t + 1], before[t : t + 1])[0][0]
        expected = torch.where(is_kept[t], before[t], new)
        torch.testing.assert_close(output[t], expected, rtol=1e-5, atol=1e-6)
    n = steps * rows * units
    share = is_kept.double().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / n)


@torch.no_grad()
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("reference", torch.float64),
        ("reference", torch.float32),
        pytest.param("cpp", torch.float32, marks=needs_compiler),
    ],
)
def test_rates_near_one_keep_nearly_everything(backend, dtype):
    recurrent = tt.Recurrent("lstm-peephole", I, H, zoneout=1 - 1e-9, backend=backend, dtype=dtype)
    x = torch.randn(T, B, I, dtype=dtype)
    start = tuple(torch.randn(1, B, H, dtype=dtype) for _ in range(2))
    output, last = recurrent(x, start)
    assert torch.equal(output, start[0].expand(T, -1, -1))
    assert all(torch.equal(a, b) for a, b in zip(last, start, strict=True))
    output, last = recurrent.eval()(x, start)
    torch.testing.assert_close(output, start[0].expand(T, -1, -1), rtol=0, atol=1e-7)
    assert (output != start[0]).any() == (dtype is torch.float64)


@every_backend
def test_gradients_of_kept_units_go_to_the_step_before(backend):
    """With c and h always kept, the initial state gets the whole gradient, the weights none."""
    recurrent = layer(zoneout=1 - 1e-9, backend=backend)
    start = tuple(v.requires_grad_() for v in states(recurrent).values())
    output, last = recurrent(sequence(), start)
    (output.sum() + 10 * last[1].sum()).backward()
    assert torch.equal(start[0].grad, torch.full_like(start[0], T))
    assert torch.equal(start[1].grad, torch.full_like(start[1], 10))
    assert not any(p.grad.any() for p in recurrent.parameters())


def test_a_stream_runs_what_has_learned_also_while_it_learns():
    recurrent = layer(zoneout=RATES["lstm-peephole"], num_layers=2)
    x = sequence()
    stream = recurrent.stream()
    pieces = [stream.read(x[:2]), stream.step(x[2]).unsqueeze(0), stream.read(x[3:])]
    assert recurrent.training
    torch.testing.assert_close(torch.cat(pieces), recurrent.eval()(x)[0])


@torch.no_grad()
def test_a_rate_that_is_set_later_holds_from_then_on():
    recurrent, x = layer(), sequence()
    before = recurrent(x)[0]
    recurrent.zoneout = {"c": 0.5}
    with seeds(1):
        ours = recurrent(x)[0]
    with seeds(1):
        theirs = layer(zoneout={"c": 0.5})(x)[0]
    assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="expected zoneout of c as a probability"):
        recurrent.zoneout = {"c": 1.5}
    # The refused value has changed nothing.
    assert recurrent.zoneout == {"c": 0.5}
    recurrent.zoneout = 0.0
    assert torch.equal(recurrent(x)[0], before)


def test_what_the_caller_does_to_the_rates_later_changes_nothing():
    rates = {"c": 0.5}
    recurrent = layer(zoneout=rates)
    rates["c"] = 0.0
    assert recurrent.zoneout == {"c": 0.5}
