"""Encoder and decoder: the equations, teacher forcing and other feeds, padding, the bridge."""

import pytest
import torch

from throughtime.models import EncoderDecoder, greedy_search

from .translators import LENGTHS, PAD, eight_pairs, learn, sentences, small_model, step_by_step

WAYS = [
    *(("none", False), ("dot", False), ("general", False), ("additive", False)),
    *(("dot", True), ("general", True), ("additive", True)),
]
every_way = pytest.mark.parametrize(("attention", "input_feeding"), WAYS)


# Equations.


@every_way
@pytest.mark.parametrize("cell", ["gru", "lstm-peephole"])
def test_step_by_step_gives_the_scores_of_teacher_forcing(attention, input_feeding, cell):
    model = small_model(attention, input_feeding, cell=cell, num_layers=2)
    source, target_in = sentences()
    whole = model(source, LENGTHS, target_in)
    assert whole.shape == (3, 4, 11)
    torch.testing.assert_close(step_by_step(model, source, LENGTHS, target_in), whole)


def gru_cell(recurrent, size, layer=0):
    """PyTorch's cell with the weights of the layer."""
    cell = torch.nn.GRUCell(size, recurrent.hidden_size).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: getattr(recurrent, f"{name}_l{layer}").detach() for name in names}
    cell.load_state_dict(weights)
    return cell


@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_network_of_luong_is_as_he_writes_it(input_feeding):
    model = small_model("general", input_feeding, bidirectional=False)
    (source, target_in), decoder = sentences(rows=1), model.decoder
    reads, writes = (
        gru_cell(model.encoder, 5),
        gru_cell(decoder.recurrent, 11 if input_feeding else 5),
    )
    k, h = [], torch.zeros(1, 6, dtype=torch.float64)
    for token in source[0]:
        h = reads(model.embedding.weight[token].unsqueeze(0), h)
        k.append(h[0])
    k, attended = torch.stack(k), torch.zeros(6, dtype=torch.float64)
    for t, token in enumerate(target_in[0]):
        y = decoder.embedding.weight[token]
        h = writes((torch.cat([y, attended]) if input_feeding else y).unsqueeze(0), h)
        a = (k @ decoder.attention.key.weight.T @ h[0]).softmax(0)
        attended = (decoder.combine.weight @ torch.cat([a @ k, h[0]]) + decoder.combine.bias).tanh()
        scores = decoder.scores.weight @ attended + decoder.scores.bias
        torch.testing.assert_close(model(source, None, target_in)[0, t], scores)


def test_the_network_of_bahdanau_seeks_before_it_reads():
    model = small_model("additive", True, num_layers=2)
    (source, target_in), decoder = sentences(rows=1), model.decoder
    low, high = gru_cell(decoder.recurrent, 5 + 12), gru_cell(decoder.recurrent, 6, layer=1)
    k, last = model.encoder(model.embedding(source))
    h_low, h = (
        model.bridge.maps["h_0"][l](torch.cat([last[2 * l], last[2 * l + 1]], -1)).tanh()
        for l in range(2)
    )
    k, look = k[0], decoder.attention
    for t, token in enumerate(target_in[0]):
        a = look.energy((look.query(h) + look.key(k)).tanh()).squeeze(-1).softmax(0)
        h_low = low(torch.cat([decoder.embedding.weight[token], a @ k]).unsqueeze(0), h_low)
        h = high(h_low, h)
        attended = decoder.combine(torch.cat([a @ k, h[0]])).tanh()
        scores = decoder.scores(attended)
        torch.testing.assert_close(model(source, None, target_in)[0, t], scores)


@pytest.mark.parametrize(("input_feeding", "runs"), [(False, [7]), (True, [1] * 7)])
def test_a_given_target_is_one_run_of_the_kernel_unless_it_is_fed(input_feeding, runs, monkeypatch):
    model, steps = small_model("general", input_feeding), []
    forward = model.decoder.recurrent.forward
    monkeypatch.setattr(
        model.decoder.recurrent, "forward", lambda x, s: steps.append(x.shape[1]) or forward(x, s)
    )
    model(*sentences(T=7)[:1], None, sentences(T=7)[1])
    assert steps == runs


def test_it_has_the_parameters_that_are_counted_by_hand():
    model = EncoderDecoder(9, 11, hidden_size=6, embedding_size=5, attention="additive")
    embeddings = 9 * 5 + 11 * 5
    encoder = 2 * 3 * 6 * (5 + 6 + 2)
    bridge = 6 * (12 + 1)
    attention = 6 * (12 + 1) + 6 * 6 + 6
    decoder, combine, scores = 3 * 6 * (5 + 6 + 2), 6 * (18 + 1), 11 * (6 + 1)
    by_hand = embeddings + encoder + bridge + attention + decoder + combine + scores
    assert sum(p.numel() for p in model.parameters()) == by_hand


# Padding.


@every_way
def test_a_sentence_alone_scores_as_in_a_batch(attention, input_feeding):
    model, (source, target_in) = small_model(attention, input_feeding), sentences()
    together = model(source, LENGTHS, target_in, [4, 1, 3])
    for b, (S, T) in enumerate(zip(LENGTHS, [4, 1, 3], strict=True)):
        alone = model(source[b : b + 1, :S], None, target_in[b : b + 1, :T])
        torch.testing.assert_close(together[b, :T], alone[0])


@every_way
def test_what_stands_in_padding_changes_neither_scores_nor_gradients(attention, input_feeding):
    model, (source, target_in) = small_model(attention, input_feeding), sentences()
    other_source, other_target = source.clone(), target_in.clone()
    other_source[1, 2:], other_target[1, 1:] = PAD, PAD

    def outcome(source, target_in):
        scores = model(source, LENGTHS, target_in, [4, 1, 3])
        return scores, *torch.autograd.grad(scores.square().sum(), list(model.parameters()))

    changed = outcome(other_source, other_target)
    for a, b in zip(outcome(source, target_in), changed, strict=True):
        assert torch.equal(a, b)


@every_way
def test_gradients_reach_every_parameter_and_no_token_of_padding(attention, input_feeding):
    model, (_, target_in) = small_model(attention, input_feeding), sentences(rows=1)
    source = torch.tensor([[3, 4, 5, 6, 7]])
    model(source, [3], target_in).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    by_token = model.embedding.weight.grad.abs().sum(1)
    assert (by_token > 0).nonzero().flatten().tolist() == [3, 4, 5]


@every_way
def test_scores_past_a_targets_end_are_those_of_nothing(attention, input_feeding):
    model, (source, target_in) = small_model(attention, input_feeding), sentences()
    for options in ({}, {"feed": "free"}):
        scores = model(source, LENGTHS, target_in, [4, 1, 3], **options)
        assert torch.equal(scores[1, 1:], model.decoder.scores.bias.expand(3, -1))


# PyTorch warns of its own tracing of an autograd.Function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(("attention", "input_feeding"), [("general", False), ("additive", True)])
def test_it_is_one_graph_to_torch_compile(attention, input_feeding):
    model, (source, target_in) = small_model(attention, input_feeding), sentences()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    lengths = torch.tensor(LENGTHS)
    torch.testing.assert_close(
        compiled(source, lengths, target_in), model(source, lengths, target_in)
    )


# Attention.


@pytest.mark.parametrize(("attention", "input_feeding"), WAYS[1:])
def test_the_weights_are_those_of_the_steps_and_zero_in_padding(attention, input_feeding):
    model, (source, target_in) = small_model(attention, input_feeding), sentences()
    weights = model.attention_weights(source, LENGTHS, target_in, [4, 1, 3])
    memory = model.encode(source, LENGTHS)
    state = memory.state
    for t in range(4):
        _, state = model.step(target_in[:, t], state, memory)
        for b, T in enumerate([4, 1, 3]):
            expected = state.weights[b] if t < T else torch.zeros(5, dtype=torch.float64)
            torch.testing.assert_close(weights[b, t], expected)
    assert not weights[1, :, 2:].any()
    torch.testing.assert_close(weights.sum(-1).sum(-1), torch.tensor([4.0, 1.0, 3.0]).double())


# Options.


def test_tied_and_shared_weights_are_one_tensor():
    model = EncoderDecoder(9, 9, hidden_size=6, tied=True, shared=True)
    assert model.embedding.weight is model.decoder.embedding.weight is model.decoder.scores.weight
    assert [n for n, p in model.named_parameters() if p.shape == (9, 6)] == [
        "decoder.embedding.weight"
    ]


def test_dropout_drops_in_training_only():
    model, (source, target_in) = small_model(dropout=0.5, num_layers=2), sentences()
    once, again = (model(source, LENGTHS, target_in) for _ in range(2))
    assert torch.equal(once, again)
    model.train()
    once, again = (model(source, LENGTHS, target_in) for _ in range(2))
    assert not torch.equal(once, again)


def test_a_state_is_forked_by_its_rows():
    model, (source, target_in) = small_model("dot", True, cell="lstm"), sentences()
    memory = model.encode(source, LENGTHS)
    _, state = model.step(target_in[:, 0], memory.state, memory)
    twice = torch.arange(3).repeat_interleave(2)
    forked, forked_state = model.step(target_in[:, 1][twice], state.rows(twice), memory)
    plain, plain_state = model.step(target_in[:, 1], state, memory)
    torch.testing.assert_close(forked, plain[twice])
    torch.testing.assert_close(forked_state.weights, plain_state.weights[twice])
    torch.testing.assert_close(state.rows(twice).weights, state.weights[twice])


def test_a_state_dict_makes_the_same_model_again():
    model, again, (source, target_in) = small_model(), small_model(), sentences()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(source, LENGTHS, target_in), again(source, LENGTHS, target_in))


# Learning.


@pytest.mark.parametrize(
    ("attention", "input_feeding", "cell"),
    [*((*way, "gru") for way in WAYS), ("none", False, "lstm-peephole"), ("dot", True, "mgu")],
)
def test_it_learns_eight_pairs_by_heart(attention, input_feeding, cell):
    source, lengths, target_in, target_out = eight_pairs()
    model = EncoderDecoder(
        9, 9, cell=cell, hidden_size=24, attention=attention, input_feeding=input_feeding
    )
    learn(model, source, lengths, target_in, target_out)
    expected = [row[:S].flip(0).tolist() for row, S in zip(source, lengths, strict=True)]
    assert [h.tokens for (h,) in greedy_search(model, source, lengths)] == expected


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "generol"}, 'unknown attention "generol"; did you mean "general"'),
        ({"cell": "grus"}, 'unknown cell "grus"; did you mean "gru"'),
        ({"attention": "none", "input_feeding": True}, "input_feeding=True would have no effect"),
        ({"tied": True}, "embedding_size=6 like hidden_size, got 5"),
        ({"shared": True}, "source_size and target_size to be the same, got 9 and 11"),
        ({"eos": 11}, "three different tokens of the 11 of the target, got 0, 1 and 11"),
        ({"eos": 1}, "three different tokens"),
        ({"backend": "cuda"}, "cuda"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small_model(**options)


def call(**changes):
    model = small_model()
    source, target_in = sentences()
    arguments = {"source": source, "source_lengths": LENGTHS, "target_in": target_in}
    return model(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": torch.zeros(3, 5)}, "source as a tensor of torch.int64, got torch.float32"),
        ({"source": [[3]]}, "source as a tensor of torch.int64, got "),
        ({"source": torch.full((3, 5), 9)}, "tokens from 0 to 8 in source, got 9 to 9"),
        ({"source": torch.zeros(3, dtype=torch.long)}, r"source of shape \(B, T\).*got \(3,\)"),
        ({"source_lengths": [5, 0, 4]}, "got length 0 in row 1.*Leave such rows out"),
        ({"source_lengths": [5, 6, 4]}, "lengths from 0 to 5"),
        ({"source_lengths": [5, 2]}, r"lengths of shape \(3\)"),
        (
            {"target_in": torch.full((3, 4), -100)},
            "in target_in, got -100 to -100.*fill up with pad",
        ),
        ({"target_in": torch.ones(2, 4, dtype=torch.long)}, r"target_in of 3 row\(s\).*got 2"),
        ({"target_lengths": [4, 5, 1]}, "lengths from 0 to 4"),
        ({"feed": "teachers"}, 'unknown feed "teachers"; did you mean "teacher"'),
        ({"feed": "scheduled"}, "forcing as a probability from 0 to 1.*got None"),
        ({"feed": "scheduled", "forcing": 1.5}, "forcing as a probability.*got 1.5"),
        ({"feed": "free", "forcing": 0.5}, 'would have no effect with feed="free"'),
        ({"feedback": "argmax"}, 'would have no effect with feed="teacher"'),
        (
            {"feed": "scheduled", "forcing": 0.5, "feedback": "samples"},
            'unknown feedback "samples"; did you mean "sample"',
        ),
    ],
)
def test_input_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        call(**changes)


def test_without_attention_there_are_no_weights():
    with pytest.raises(ValueError, match='attention="none" has no weights'):
        small_model("none").attention_weights(sentences()[0], None, sentences()[1])


def test_a_step_needs_a_token_for_each_row():
    model, (source, target_in) = small_model(), sentences()
    memory = model.encode(source, None)
    with pytest.raises(ValueError, match=r"token of shape \(2,\) and a state of 3 row"):
        model.step(target_in[:2, 0], memory.state, memory)
