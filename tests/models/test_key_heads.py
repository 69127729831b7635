"""The distributions over the keys of a frame, against the sum over all sets of keys."""

import itertools

import pytest
import torch

from throughtime.layers.evaluation import evaluating
from throughtime.models.frame_model import FrameModel
from throughtime.models.key_heads import KEY_HEADS

K = 5
ALL = torch.tensor(list(itertools.product([False, True], repeat=K)))


def head_of(name, cell="gru"):
    torch.manual_seed(1)
    head = KEY_HEADS[name](6, K, 4, cell).double()
    for weight in head.parameters():
        torch.nn.init.normal_(weight)
    return head


@pytest.mark.parametrize("name", KEY_HEADS)
def test_the_probabilities_of_all_frames_sum_to_one(name):
    head, h = head_of(name), torch.randn(3, 6, dtype=torch.float64)
    rows = h.repeat_interleave(len(ALL), 0)
    p = (-head.nll(rows, ALL.repeat(3, 1))).exp().view(3, len(ALL))
    torch.testing.assert_close(p.sum(1), torch.ones(3, dtype=torch.float64))
    assert p.min() > 0


@pytest.mark.parametrize("name", KEY_HEADS)
def test_frames_are_drawn_as_often_as_they_are_probable(name):
    head, h = head_of(name), torch.randn(1, 6, dtype=torch.float64)
    with torch.no_grad():
        p = (-head.nll(h.expand(len(ALL), 6), ALL)).exp()
        generator = torch.Generator().manual_seed(0)
        N = 20_000
        drawn = head.draw(h.expand(N, 6), 1.0, generator)
    counts = (drawn[:, None] == ALL).all(-1).sum(0)
    # Four standard deviations of a binomial count.
    assert ((counts - N * p).abs() <= 4 * (N * p * (1 - p)).sqrt() + 1).all()


@pytest.mark.parametrize("name", KEY_HEADS)
def test_temperature_zero_takes_the_likelier_value_of_each_decision(name):
    head, h = head_of(name), torch.randn(4, 6, dtype=torch.float64)
    with torch.no_grad():
        first, again = head.draw(h, 0.0), head.draw(h, 0.0)
        cold = head.draw(h, 1e-9, torch.Generator().manual_seed(3))
    assert first.dtype == torch.bool
    assert torch.equal(first, again)
    assert torch.equal(first, cold)


def test_nade_computes_its_equations():
    head, h = head_of("nade"), torch.randn(1, 6, dtype=torch.float64)
    v = torch.tensor([[True, False, True, True, False]])
    with torch.no_grad():
        b, a = head.key_biases(h)[0], head.unit_biases(h)[0]
        total = 0.0
        for k in range(K):
            p = (b[k] + head.V[k] @ a.sigmoid()).sigmoid()
            total -= (p if v[0, k] else 1 - p).log().item()
            a = a + head.W[k] * v[0, k]
        assert head.nll(h, v).item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", KEY_HEADS)
def test_the_derivative_of_a_loss_is_right(name):
    head = head_of(name)
    h = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    frames = ALL[[5, 22]]
    assert torch.autograd.gradcheck(lambda x: head.nll(x, frames), h)


@pytest.mark.parametrize("name", KEY_HEADS)
def test_a_model_reads_frame_by_frame_what_it_reads_at_once(name):
    torch.manual_seed(0)
    model = FrameModel(K, head=name, head_size=4, hidden_size=6, dropout=0.5, input_dropout=0.5)
    frames = (torch.rand(2, 7, K) < 0.4).float()
    with evaluating(model):
        whole, _ = model(frames)
        state, parts = None, []
        for t in range(7):
            h, state = model(frames[:, t : t + 1], state)
            parts.append(h)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_an_unknown_head_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match='unknown head "nad"; did you mean "nade"'):
        FrameModel(K, head="nad")
