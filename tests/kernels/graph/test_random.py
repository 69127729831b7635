"""Numbers drawn by counting: known answers, every backend draws them, and they are as if random.

The bounds of the last part are five standard deviations of what independent uniform numbers have,
and the seeds are fixed: what passes once passes always.
"""

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

import throughtime as tt
from throughtime.cells.cell import Input
from throughtime.kernels import Call, Weights, reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import threads
from throughtime.kernels.cpp.build import missing
from throughtime.kernels.graph import random
from throughtime.kernels.graph.random import new_seed, uniform

from ..cpp_calls import ragged
from ..noted import noted_runs

# The draws of the reference are tested in any case; these compare the kernels with them.
compiled = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))
SEEDS = [0, 1, 2**63 - 1, 6457827717110365317, -1]


# The formulas once more, on the whole numbers of Python.


def mixed(z):
    """The finaliser of SplitMix64."""
    z %= 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def number(seed, stream, t, row, unit):
    """The random number of a row and a unit; t is -1 for a number that is drawn once."""
    golden = 0x9E3779B97F4A7C15
    key = mixed(seed + (stream + 1) * golden)
    key = mixed(key + (t + 1) * golden)
    key = mixed(key + (row + 1) * golden)
    x = (key + unit * 0x9E3779B9) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15) ^ (key >> 32)) * 0x846CA68B) % 2**32
    return ((x ^ (x >> 16)) >> 8) / 2**24


def numbers(seed, stream, times, rows, units):
    """(T, B, H), float64."""
    drawn = [
        [[number(seed, stream, t, b, j) for j in range(units)] for b in range(rows)] for t in times
    ]
    return torch.tensor(drawn, dtype=torch.float64)


# The first numbers of SplitMix64 for the seed 1234567, as others publish them.
PUBLISHED = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]


def test_the_mixing_is_that_of_splitmix64():
    steps = [(1234567 + (k + 1) * 0x9E3779B97F4A7C15) % 2**64 for k in range(4)]
    assert [mixed(z) for z in steps] == PUBLISHED
    signed = torch.tensor([z - 2**64 if z >= 2**63 else z for z in steps])
    assert [z % 2**64 for z in random._mixed(signed).tolist()] == PUBLISHED


def test_known_answers():
    """Numbers that the functions above gave once, so that a change of both is noticed."""
    expected = [6110850, 14013507, 11584586, 12562163]
    drawn = uniform(torch.tensor(0), 0, 0, 2, 2, torch.float64)
    assert (drawn * 2**24).flatten().tolist() == expected


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_formulas_are_those_of_the_whole_numbers_of_python(seed, dtype):
    for stream, t in ((0, 0), (1, 0), (0, 1), (2, 100_000), (0, None), (1, None)):
        drawn = uniform(torch.tensor(seed), stream, t, 3, 33, dtype)
        assert drawn.dtype is dtype
        (expected,) = numbers(seed, stream, [-1 if t is None else t], 3, 33)
        assert torch.equal(drawn.double(), expected)


def test_half_precision_draws_in_single_precision():
    """In bfloat16 a number below 1 would become 1."""
    drawn = uniform(torch.tensor(5), 0, 0, 4, 5, torch.bfloat16)
    assert torch.equal(drawn, uniform(torch.tensor(5), 0, 0, 4, 5, torch.float32))


def test_a_seed_is_drawn_by_the_generator_of_pytorch():
    torch.manual_seed(3)
    first = [int(new_seed()) for _ in range(100)]
    torch.manual_seed(3)
    assert [int(new_seed()) for _ in range(100)] == first
    assert len(set(first)) == 100
    assert 0 <= min(first) < 2**58 < 2**62 < max(first) < 2**63
    assert new_seed().dtype is torch.int64


# The backends.


class Drawn(tt.Cell):
    """A cell that returns the random number of each step, and one that is drawn once."""

    gates, states = ("h",), ("h", "k")
    inputs: ClassVar = {"u": Input(drawn="step"), "v": Input(drawn="sequence")}

    def step(self, x, W, R, s, p, u=None):
        return dict(h=u.u, k=u.v)


class DrawnOnce(Drawn):
    """A cell that returns at each step a random number that is drawn once."""

    def step(self, x, W, R, s, p, u=None):
        return dict(h=u.v, k=u.u)


class Weighted(Drawn):
    """The input times a random number: the gradient of x is the sum of the random numbers."""

    def step(self, x, W, R, s, p, u=None):
        return dict(h=u.u * W.h(x), k=u.v)


def call_of(cell, T, B, H, dtype, seed=7, **options):
    weights = Weights(torch.ones(H, 1, dtype=dtype), torch.zeros(H, H, dtype=dtype))
    state = (torch.full((B, H), 2.0, dtype=dtype),) * 2
    x = torch.ones(T, B, 1, dtype=dtype)
    return Call(cell, x, weights, state, seed=torch.tensor(seed), **options)


def expected_of(T, B, H, lengths=None, seed=7, once=False):
    """The random numbers, with zeros past a row's end, computed with Python's integers."""
    times = [-1] * T if once else range(T)
    drawn = numbers(seed, 1 if once else 0, times, B, H)
    if lengths is not None:
        drawn *= (torch.arange(T).unsqueeze(1) < lengths).unsqueeze(-1)
    return drawn


@compiled
@pytest.mark.parametrize("H", [1, 3, 33])
@pytest.mark.parametrize(
    "dtype",
    [pytest.param(torch.float32, marks=pytest.mark.everywhere), torch.float64, torch.bfloat16],
)
def test_the_compiled_kernels_draw_the_very_same_numbers(short_chunks, dtype, H):
    T, B = 9, 5
    lengths, resets = ragged(T, B)
    for options in (
        {},
        {"reverse": True},
        {"lengths": lengths},
        {"lengths": lengths, "resets": resets, "reverse": True},
        {"seed": -1},
    ):
        seed = options.get("seed", 7)
        for cell, once in ((Drawn(), False), (DrawnOnce(), True)):
            expected = expected_of(T, B, H, options.get("lengths"), seed, once).to(dtype)
            call = call_of(cell, T, B, H, dtype, **options)
            with noted_runs() as ran:
                output, (h, k) = cpp.run(call)
            assert ran == ["forward"]
            assert torch.equal(output, expected)
            if not options:
                assert torch.equal(h, expected[-1])
                other = expected_of(T, B, H, seed=seed, once=not once)[-1]
                assert torch.equal(k, other.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_reference_draws_the_very_same_numbers(dtype):
    lengths, resets = ragged(4, 5)
    for options in ({}, {"reverse": True, "lengths": lengths, "resets": resets}):
        for cell, once in ((Drawn(), False), (DrawnOnce(), True)):
            output, _ = reference.run(call_of(cell, 4, 5, 3, dtype, **options))
            expected = expected_of(4, 5, 3, options.get("lengths"), once=once)
            assert torch.equal(output, expected.to(dtype))


@compiled
@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("backend", [cpp, reference])
def test_the_backward_pass_sees_the_numbers_of_the_forward_pass(short_chunks, backend, save):
    lengths, resets = ragged(9, 5)
    for options in ({}, {"reverse": True}, {"lengths": lengths, "resets": resets}):
        call = call_of(Weighted(), 9, 5, 33, torch.float64, save=save, **options)
        x = call.x.clone().requires_grad_()
        output, _ = backend.run(replace(call, x=x))
        output.sum().backward()
        drawn = expected_of(9, 5, 33, options.get("lengths"))
        torch.testing.assert_close(x.grad, drawn.sum(-1, keepdim=True), rtol=0, atol=1e-13)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@compiled
@pytest.mark.parametrize("split", [(1, 1), (2, 1), (1, 2), (2, 2), (1, 8)])
def test_however_rows_and_units_are_split_over_threads_the_numbers_are_the_same(
    monkeypatch, set_threads, split
):
    set_threads(split[0] * split[1])
    monkeypatch.setattr(threads, "split", lambda *args: split)
    lengths, _ = ragged(3, 6)
    for options in ({}, {"lengths": lengths}):
        output, _ = cpp.run(call_of(Drawn(), 3, 6, 100, torch.float32, **options))
        expected = expected_of(3, 6, 100, options.get("lengths"))
        assert torch.equal(output.double(), expected)


# As if random.

T, B, H = 16, 64, 256
N = T * B * H


@pytest.fixture(scope="module", params=[0, 1, 2**62 + 12345])
def seed(request):
    return request.param


@pytest.fixture(scope="module")
def drawn(seed):
    """Numbers (T, B, H) of two successive seeds with two streams each, and numbers drawn once."""
    samples = {}
    for name, at, stream in (("u", seed, 0), ("stream", seed, 1), ("seed", seed + 1, 0)):
        steps = [uniform(torch.tensor(at), stream, t, B, H, torch.float64) for t in range(T)]
        samples[name] = torch.stack(steps)
    return samples


def test_they_are_spread_evenly(drawn):
    for u in drawn.values():
        assert 0 <= u.min()
        assert u.max() < 1
        assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / N)
        # The variance of the square of a uniform number around its mean is 1/80 - 1/144 = 1/180.
        assert abs((u - 0.5).square().mean() - 1 / 12) < 5 * math.sqrt(1 / 180 / N)
        # 256 bins: chi-square with 255 degrees of freedom.
        counts = torch.bincount((u * 256).long().flatten(), minlength=256).double()
        chi_square = ((counts - N / 256) ** 2 / (N / 256)).sum()
        assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)
        # The lowest bits are bits too.
        low = torch.bincount((u * 2**24).long().flatten() % 256, minlength=256).double()
        assert abs(((low - N / 256) ** 2 / (N / 256)).sum() - 255) < 5 * math.sqrt(2 * 255)


def test_as_many_are_equal_as_chance_has_it(drawn):
    for u in drawn.values():
        pairs = N * (N - 1) / 2 / 2**24
        again = N - u.flatten().unique().numel()
        assert abs(again - pairs) < 5 * math.sqrt(pairs)


def pairs_of(drawn):
    u = drawn["u"]
    samples = {"stream": (u, drawn["stream"]), "seed": (u, drawn["seed"])}
    for lag in (1, 2, 4):
        samples[f"unit {lag}"] = u[..., lag:], u[..., :-lag]
        samples[f"row {lag}"] = u[:, lag:], u[:, :-lag]
        samples[f"step {lag}"] = u[lag:], u[:-lag]
    samples["row and unit"] = u[:, 1:, 1:], u[:, :-1, :-1]
    samples["step and unit"] = u[1:, :, 1:], u[:-1, :, :-1]
    samples["step and row"] = u[1:, 1:], u[:-1, :-1]
    return samples


def test_neighbours_do_not_depend_on_each_other(drawn):
    """Neighbours in unit, row, step, stream and seed: the numbers, and if they are below a rate."""
    for name, (a, b) in pairs_of(drawn).items():
        n = a.numel()
        r = 12 * ((a - 0.5) * (b - 0.5)).mean()
        assert abs(r) < 5 / math.sqrt(n), name
        for rate in (0.05, 0.5):
            both = ((a < rate) & (b < rate)).double().mean()
            # A number stands in two pairs.
            variance = rate**2 * (1 - rate**2) + 2 * rate**3 * (1 - rate)
            assert abs(both - rate**2) < 5 * math.sqrt(variance / n), name


def test_what_is_drawn_once_is_no_step_and_depends_on_none(seed):
    once = uniform(torch.tensor(seed), 0, None, B, H, torch.float64)
    for t in range(4):
        u = uniform(torch.tensor(seed), 0, t, B, H, torch.float64)
        assert abs(12 * ((u - 0.5) * (once - 0.5)).mean()) < 5 / math.sqrt(B * H)
