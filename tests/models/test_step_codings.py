"""The codings of a step of several integers: exact distributions, and draws with fixed integers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.models.decoding import Sampling, seeded
from throughtime.models.mixed_radix import MixedRadix
from throughtime.models.performer_model import PerformerModel
from throughtime.models.step_codings import STEP_CODINGS, UNKNOWN

SIZES = (3, 2, 4)
ALL = torch.cartesian_prod(*map(torch.arange, SIZES))


def coding_of(name, hidden_size=5):
    torch.manual_seed(0)
    coding = STEP_CODINGS[name](SIZES, hidden_size, 6, 7).double().eval()
    for parameter in coding.parameters():
        torch.nn.init.normal_(parameter)
    return coding


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.data())
@settings(max_examples=50)
def test_symbols_are_ordered_as_the_tuples_are(sizes, data):
    radix = MixedRadix(sizes)
    assert radix.num_symbols == math.prod(sizes)
    tuples = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    one, other = data.draw(tuples), data.draw(tuples)
    first, second = radix.encode(torch.tensor([one, other])).tolist()
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)
    assert 0 <= first < radix.num_symbols
    assert radix.decode(torch.tensor([first])).tolist() == [list(one)]


@pytest.mark.parametrize("sizes", [[], [0, 3], [2**40, 2**40]])
def test_sizes_that_are_no_number_system_are_refused(sizes):
    with pytest.raises(ValueError, match="MixedRadix: expected sizes"):
        MixedRadix(sizes)


@pytest.mark.parametrize("name", STEP_CODINGS)
def test_the_probabilities_of_all_steps_sum_to_one(name):
    coding = coding_of(name)
    h = torch.randn(5, dtype=torch.float64).expand(len(ALL), -1)
    assert torch.exp(-coding.nll(h, ALL)).sum().item() == pytest.approx(1, rel=1e-12)
    # A step is read as a vector of its own.
    assert len(torch.unique(coding.read(ALL), dim=0)) == len(ALL)


@pytest.mark.parametrize("name", STEP_CODINGS)
@pytest.mark.parametrize("fixed", [{}, {0: 2}])
def test_steps_are_drawn_as_often_as_they_are_likely(name, fixed):
    coding, N = coding_of(name, 2), 20_000
    h = torch.randn(2, dtype=torch.float64).expand(N, -1) * 0.5
    known = torch.full((N, 3), UNKNOWN)
    for number, value in fixed.items():
        known[:, number] = value
    drawn = coding.draw(h, known, Sampling(1.0), seeded(0))
    fits = torch.tensor([all(step[n] == v for n, v in fixed.items()) for step in ALL.tolist()])
    p = torch.exp(-coding.nll(h[: len(ALL)], ALL)) * fits
    counts = MixedRadix(SIZES).encode(drawn).bincount(minlength=len(ALL))
    assert counts[~fits].sum() == 0
    difference = (counts / N - p / p.sum()).abs().max().item()
    assert difference < 4 * 0.5 / math.sqrt(N)


@pytest.mark.parametrize("name", ["product", "independent"])
def test_the_last_integer_can_be_fixed_too_and_weighs_the_others(name):
    coding, N = coding_of(name, 2), 20_000
    h = torch.randn(2, dtype=torch.float64).expand(N, -1) * 0.5
    drawn = coding.draw(h, torch.tensor([[UNKNOWN, UNKNOWN, 3]]).expand(N, -1), Sampling(1.0))
    p = torch.exp(-coding.nll(h[: len(ALL)], ALL)) * (ALL[:, 2] == 3)
    counts = MixedRadix(SIZES).encode(drawn).bincount(minlength=len(ALL))
    assert (counts / N - p / p.sum()).abs().max().item() < 4 * 0.5 / math.sqrt(N)


@pytest.mark.parametrize("name", ["ordered", "any-order"])
def test_heads_in_order_know_the_integers_before_their_own_only(name):
    coding = coding_of(name)
    h = torch.randn(1, 5, dtype=torch.float64)
    # The first integer does not depend on the others: its probability is a sum over these.
    p = torch.exp(-coding.nll(h.expand(len(ALL), -1), ALL)).view(*SIZES)
    first = p.sum((1, 2))
    head = coding.scores[0](coding.units(h).tanh()) + coding.biases(h)[:, : SIZES[0]]
    assert torch.allclose(first, head.softmax(-1)[0])
    # The last one depends on both others.
    last = p / p.sum(2, keepdim=True)
    assert not torch.allclose(last[0, 0], last[1, 0])
    assert not torch.allclose(last[0, 0], last[0, 1])


def test_any_order_learns_all_orders_and_is_judged_in_one():
    coding, h = coding_of("any-order"), torch.randn(1, 5, dtype=torch.float64)
    step = torch.tensor([[1, 1, 2]])
    assert len({coding.nll(h, step).item() for _ in range(20)}) == 1
    coding.train()
    losses = {round(coding.nll(h, step).item(), 9) for _ in range(200)}
    assert len(losses) == 6
    ranks = coding.ranks(300, h.device)
    assert torch.equal(ranks.sort(1).values, torch.arange(3).expand(300, -1))


def test_any_order_draws_the_fixed_integers_first():
    coding, N = coding_of("any-order", 2), 20_000
    h = torch.randn(2, dtype=torch.float64).expand(N, -1)
    known = torch.tensor([[UNKNOWN, UNKNOWN, 3]]).expand(N, -1)
    drawn = coding.draw(h, known, Sampling(1.0), seeded(0))
    assert (drawn[:, 2] == 3).all()
    units = coding.units(h[:1]) + coding.before(torch.tensor([SIZES[0] + SIZES[1] + 3]))
    p = (coding.scores[0](units.tanh()) + coding.biases(h[:1])[:, : SIZES[0]]).softmax(-1)[0]
    shares = drawn[:, 0].bincount(minlength=SIZES[0]) / N
    assert (shares - p).abs().max().item() < 4 * 0.5 / math.sqrt(N)


@pytest.mark.parametrize("name", STEP_CODINGS)
def test_only_heads_in_order_refuse_to_fix_a_later_integer(name):
    coding = coding_of(name)
    coding.check_known([1, 0])
    if name == "ordered":
        with pytest.raises(ValueError, match="writes performer 1 before it knows performer 2"):
            coding.check_known([0, 2])
    else:
        coding.check_known([0, 2])


def test_an_unknown_coding_is_refused():
    with pytest.raises(ValueError, match='unknown coding "products"; did you mean "product"'):
        PerformerModel(SIZES, coding="products")
