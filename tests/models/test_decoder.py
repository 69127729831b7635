"""The inputs of the decoder in training: the target, its own tokens, or its expectation."""

import copy
import pickle

import pytest
import torch

from throughtime.cells import Cell, State
from throughtime.models import EncoderDecoder, greedy_search
from throughtime.models.memory import DecoderState

from .translators import LENGTHS, PAD, eight_pairs, learn, sentences, small_model


def test_scheduled_sampling_that_always_forces_is_teacher_forcing():
    model, (source, target_in) = small_model(), sentences()
    forced = model(source, LENGTHS, target_in, feed="scheduled", forcing=1.0)
    torch.testing.assert_close(forced, model(source, LENGTHS, target_in))


@pytest.mark.parametrize("input_feeding", [False, True])
def test_scheduled_sampling_that_never_forces_reads_what_it_writes(input_feeding):
    model, (source, target_in) = small_model(input_feeding=input_feeding), sentences(T=6)
    options = {"feed": "scheduled", "forcing": 0.0, "feedback": "argmax"}
    scores = model(source, LENGTHS, target_in, **options)
    own = model.writable(scores).argmax(-1)
    read = torch.cat([target_in[:, :1], own[:, :-1]], 1)
    torch.testing.assert_close(scores, model(source, LENGTHS, read))


def test_scheduled_sampling_draws_for_every_place_and_as_the_scores_say(monkeypatch):
    model, read = small_model(), []
    # The scores are equal everywhere, so all own tokens are drawn from one distribution.
    probabilities = torch.tensor([0.0, 0.0, 0.2, 0.5, 0.3, *[0.0] * 6])
    with torch.no_grad():
        model.decoder.scores.weight.zero_()
        model.decoder.scores.bias.copy_(probabilities.log().clamp(min=-1e4))
    target_in = torch.full((500, 9), 10)
    forward = model.decoder.embedding.forward
    monkeypatch.setattr(
        model.decoder.embedding, "forward", lambda t: read.append(t.tolist()) or forward(t)
    )
    model(torch.full((500, 2), 3), None, target_in, feed="scheduled", forcing=0.4)
    tokens = torch.tensor(read[1:])  # (T - 1, B)
    shares = tokens.flatten().bincount(minlength=11) / tokens.numel()
    expected = 0.6 * probabilities
    expected[10] += 0.4
    torch.testing.assert_close(shares, expected, atol=0.025, rtol=0)
    is_true = tokens == 10
    # Positions are drawn independently: each step has the overall rate, and rows are mixed.
    assert (is_true.float().mean(1) - 0.4).abs().max() < 0.1
    assert (is_true.all(0) | ~is_true.any(0)).float().mean() < 0.05


def test_free_running_feeds_the_expected_embedding():
    model, (source, target_in) = small_model(), sentences()
    scores = model(source, LENGTHS, target_in, feed="free")
    x = model.decoder.embedding.weight[target_in[:, 0]].unsqueeze(1)
    for t in range(3):
        expected = torch.einsum(
            "bv,ve->be", scores[:, t].softmax(-1), model.decoder.embedding.weight
        )
        x = torch.cat([x, expected.unsqueeze(1)], 1)
    memory = model.encode(source, LENGTHS)
    h, _ = model.decoder.recurrent(x, memory.state.recurrent[0])
    context, _ = model.decoder.attention(h, memory.attention)
    attended = model.decoder.combine(torch.cat([context, h], -1)).tanh()
    torch.testing.assert_close(scores, model.decoder.scores(attended))


def test_free_running_reads_nothing_of_the_target_but_its_beginning():
    model, (source, target_in) = small_model(), sentences()
    other = target_in.clone()
    other[:, 1:] = PAD
    free = model(source, LENGTHS, target_in, feed="free")
    assert torch.equal(free, model(source, LENGTHS, other, feed="free"))


def test_gradients_go_through_what_is_fed_back_only_when_it_runs_free():
    model, (source, target_in) = small_model(), sentences()

    def gradient_of_another_bias(**options):
        last = model(source, LENGTHS, target_in, **options)[:, -1, 3].sum()
        return torch.autograd.grad(last, model.decoder.scores.bias)[0][4]

    assert gradient_of_another_bias() == 0
    assert gradient_of_another_bias(feed="scheduled", forcing=0.0) == 0
    assert gradient_of_another_bias(feed="free") != 0


@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"feed": "scheduled", "forcing": 0.5}, {"feed": "free"}], ids=str
)
def test_dropout_drops_of_what_is_read_and_of_what_is_scored(input_feeding, options, monkeypatch):
    model, dropped = small_model(input_feeding=input_feeding, dropout=0.5).train(), {5: 0, 6: 0}
    (source, target_in), forward = sentences(), model.decoder.dropout.forward

    def noted(x):
        dropped[x.shape[-1]] += x.numel()
        return forward(x)

    monkeypatch.setattr(model.decoder.dropout, "forward", noted)
    model(source, LENGTHS, target_in, **options)
    assert dropped == {5: 3 * 4 * 5, 6: 3 * 4 * 6}


@pytest.mark.parametrize("options", [{"feed": "scheduled", "forcing": 0.5}, {"feed": "free"}])
def test_it_learns_from_what_it_writes_itself(options):
    source, lengths, target_in, target_out = eight_pairs()
    model = EncoderDecoder(9, 9, hidden_size=24)
    learn(model, source, lengths, target_in, target_out, steps=150, **options)
    expected = [row[:S].flip(0).tolist() for row, S in zip(source, lengths, strict=True)]
    assert [h.tokens for (h,) in greedy_search(model, source, lengths)] == expected


class _OutputSecond(Cell):
    gates, states, output = ("h",), ("c", "h"), "h"

    def step(self, x, W, R, s, p):
        return dict(c=0.5 * s.c + s.h, h=torch.tanh(W.h(x) + R.h(s.h) + s.c))


def test_attention_before_the_recurrence_is_sought_by_the_output():
    model = small_model("additive", True, cell=_OutputSecond(), num_layers=2, backend="reference")
    source, target_in = sentences()
    memory = model.encode(source, LENGTHS)
    _, state = model.step(target_in[:, 0], memory.state, memory)
    top_h = memory.state.recurrent[1][-1]
    _, weights = model.decoder.attention(top_h.unsqueeze(1), memory.attention)
    torch.testing.assert_close(state.weights, weights.squeeze(1))


class _NarrowFirst(Cell):
    gates, states, output = ("h",), {"m": State(size=2), "h": State()}, "y"

    def step(self, x, W, R, s, p):
        h = torch.tanh(W.h(x) + R.h(s.h))
        return dict(m=0.5 * s.m + 1, h=h, y=2 * h)


def test_a_state_that_is_no_query_is_refused_where_it_would_be_one():
    options = {"cell": _NarrowFirst(), "backend": "reference"}
    with pytest.raises(ValueError, match="state m, expected of hidden_size=6 features, got 2"):
        small_model("additive", True, **options)
    model, (source, target_in) = small_model("general", True, **options), sentences()
    assert model(source, LENGTHS, target_in).isfinite().all()


def stepped(model, source, tokens, state=None):
    """The scores of each step, and the last state."""
    memory = model.encode(source)
    state, scores = memory.state if state is None else state, []
    for token in tokens:
        step, state = model.step(torch.tensor([token]), state, memory)
        scores.append(step)
    return torch.cat(scores), state


@pytest.mark.parametrize("cell", ["lstm", "lem"])
@pytest.mark.parametrize("attention", ["none", "general", "additive"])
def test_steps_without_gradients_run_by_a_plan(attention, cell):
    feeding = attention == "additive"
    options = {"attention": attention, "input_feeding": feeding, "cell": cell, "num_layers": 2}
    model = EncoderDecoder(9, 8, hidden_size=6, **options).double().eval()
    source, tokens = torch.tensor([[3, 8, 4]]), [1, 5, 3, 7]
    by_module, last = stepped(model, source, tokens)
    assert last.stream is None
    with torch.no_grad():
        by_plan, last = stepped(model, source, tokens)
        assert last.stream._live.has_states
        torch.testing.assert_close(by_plan, by_module.detach())
        # Whoever has an earlier state goes on from it, also after the later ones.
        memory = model.encode(source)
        first, state = model.step(torch.tensor([1]), memory.state, memory)
        second, _ = model.step(torch.tensor([5]), state, memory)
        model.step(torch.tensor([6]), state, memory)
        again, _ = model.step(torch.tensor([5]), state, memory)
        torch.testing.assert_close(torch.cat([first, second]), by_module[:2].detach())
        assert torch.equal(again, second)


def test_a_state_that_the_caller_has_changed_is_used():
    model = EncoderDecoder(9, 8, hidden_size=6, cell="gru").eval()
    source = torch.tensor([[3, 8, 4]])
    with torch.no_grad():
        _, state = stepped(model, source, [1, 5])
        state.recurrent[0].mul_(0.5)
        halved, _ = stepped(model, source, [3], state)
        wanted, _ = stepped(model, source, [3], DecoderState((state.recurrent[0].clone(),)))
    torch.testing.assert_close(halved, wanted)


def test_weights_that_change_between_searches_are_used():
    model = EncoderDecoder(9, 8, hidden_size=6).eval()
    source = torch.tensor([[3, 8, 4]])
    greedy_search(model, source)
    for change in (lambda w: w.add_(1.0), lambda w: w.data.add_(-2.0)):
        with torch.no_grad():
            change(model.decoder.recurrent.weight_hh_l0)
            by_plan, _ = stepped(model, source, [1, 5])
        by_module, _ = stepped(model, source, [1, 5])
        torch.testing.assert_close(by_plan, by_module.detach())


def test_a_model_is_copied_after_a_search_and_stays_itself():
    model = EncoderDecoder(9, 8, hidden_size=6).eval()
    source = torch.tensor([[3, 8, 4]])
    wanted = greedy_search(model, source)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert greedy_search(other, source) == wanted
        with torch.no_grad():
            other.decoder.recurrent.weight_hh_l0.add_(1.0)
            changed, _ = stepped(other, source, [1, 5])
        torch.testing.assert_close(changed, stepped(other, source, [1, 5])[0].detach())
    assert greedy_search(model, source) == wanted


def test_training_and_many_rows_call_the_layers():
    model = EncoderDecoder(9, 8, hidden_size=6).train()
    with torch.no_grad():
        assert stepped(model, torch.tensor([[3, 8]]), [1])[1].stream is None
        model.eval()
        memory = model.encode(torch.full((17, 2), 3))
        _, state = model.step(torch.ones(17, dtype=torch.int64), memory.state, memory)
        assert state.stream is None
