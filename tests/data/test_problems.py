"""Generated problems: what the examples are, and which outputs are right."""

import re

import numpy as np
import pytest
import torch

from throughtime.data.problems import PROBLEMS, GeneratedBatches


def drawn(name, number=50, length=20):
    return PROBLEMS[name].examples(np.random.default_rng(0), number, length)


def spelled(name, examples):
    """The words of a language with their first symbol, and the legal symbols of each step."""
    problem = PROBLEMS[name]
    for row, length in enumerate(examples.lengths.tolist()):
        inputs = examples.inputs[row, :length].argmax(-1)
        word = "".join(problem.inputs[i] for i in [*inputs, examples.targets[row, length - 1]])
        legal = [
            "".join(s for s, is_legal in zip(problem.outputs, step, strict=True) if is_legal)
            for step in examples.legal[row, :length]
        ]
        yield word, legal


@pytest.mark.parametrize("name", PROBLEMS)
def test_examples_have_one_form_and_follow_the_seed(name):
    examples, again = drawn(name), drawn(name)
    B, T, I = examples.inputs.shape
    assert (B, I) == (50, PROBLEMS[name].input_size)
    assert examples.targets.shape == examples.has_target.shape == (B, T)
    assert examples.legal.shape == (B, T, len(PROBLEMS[name].outputs))
    assert examples.lengths.max() == T
    past = torch.arange(T) >= examples.lengths[:, None]
    assert not examples.has_target[past].any()
    assert not examples.inputs[past].any()
    assert all(torch.equal(a, b) for a, b in zip(examples, again, strict=True))
    if PROBLEMS[name].outputs:
        # The target is one of the legal symbols wherever a step is judged.
        is_judged = examples.legal.any(-1)
        legal = examples.legal.gather(-1, examples.targets[..., None]).squeeze(-1)
        assert is_judged.any(1).all()
        assert legal[is_judged].all()


def test_adding_sums_the_two_marked_values():
    examples = drawn("adding")
    values, markers = examples.inputs.unbind(-1)
    assert (markers[:, :10].sum(1) == 1).all()
    assert (markers[:, 10:].sum(1) == 1).all()
    torch.testing.assert_close(examples.targets[:, -1], (values * markers).sum(1))
    assert torch.equal(PROBLEMS["adding"].parse("0.5* 1"), torch.tensor([[0.5, 1], [1, 0]]))


def test_copying_writes_the_symbols_after_the_delay():
    examples = drawn("copying", length=7)
    symbols = examples.inputs.argmax(-1)
    assert symbols.shape[1] == 27
    assert torch.equal(symbols[:, :10], examples.targets[:, 17:])
    assert (symbols[:, 10:16] == 8).all()
    assert (symbols[:, 16] == 9).all()
    assert (examples.targets[:, :17] == 8).all()
    assert not examples.legal[:, :17].any()


def test_temporal_order_names_the_two_symbols():
    problem, examples = PROBLEMS["temporal-order"], drawn("temporal-order", length=30)
    for row, target in zip(examples.inputs, examples.targets[:, -1], strict=True):
        word = "".join(problem.inputs[i] for i in row.argmax(-1))
        assert re.sub("[abcd]", "", word) == problem.outputs[target]
        assert re.search("[XY]", word).start() in range(3, 6)


def test_parity_is_that_of_the_ones():
    examples = drawn("parity")
    ones = examples.inputs[..., 1].sum(1)
    assert torch.equal(examples.targets.sum(1), ones.long() % 2)
    assert len(set(examples.lengths.tolist())) > 5


@pytest.mark.parametrize(("name", "letters"), [("anbn", "ab"), ("anbncn", "abc")])
def test_a_counting_language_is_judged_where_the_next_symbol_is_determined(name, letters):
    for word, legal in spelled(name, drawn(name)):
        n = word.count("a")
        assert word == f"${''.join(letter * n for letter in letters)}$"
        assert legal == [*[""] * (n + 1), *word[n + 2 :]]
    sizes = [word.count("a") for word, _ in spelled(name, PROBLEMS[name].graded([3, 1, 2]))]
    assert sizes == [3, 1, 2]


def test_brackets_are_balanced_and_the_end_is_legal_at_depth_0_only():
    lengths = set()
    for word, legal in spelled("dyck-1", drawn("dyck-1", 200, 10)):
        lengths.add(len(word) - 2)
        depth = 0
        for symbol, symbols in zip(word, legal, strict=False):
            depth += {"(": 1, ")": -1}.get(symbol, 0)
            assert set(symbols) == set("()" if depth else "$(")
        assert depth == 0
    assert lengths == {2, 4, 6, 8, 10}


def test_a_reber_word_follows_the_grammar_and_repeats_its_second_symbol():
    inner = re.compile(r"B(TS*X(?=[XS])|PT*V(?=[PV])).*E")
    for word, legal in spelled("reber", drawn("reber", 200)):
        assert re.fullmatch(rf"B(T|P){inner.pattern}\1E", word) is not None
        assert legal[0] == "TP"
        assert legal[-2:] == [word[1], "E"]
        assert all(symbol in symbols for symbol, symbols in zip(word[1:], legal, strict=True))


def test_batches_depend_on_the_place_only_and_are_shared():
    def batches(**share):
        return GeneratedBatches(PROBLEMS["adding"], [4, 8], 3, 6, **share)

    first = batches()
    epochs = [list(first), list(first), list(first)]
    assert [batch.inputs.shape[1] for epoch in epochs for batch in epoch] == [4] * 3 + [8] * 6
    assert not torch.equal(epochs[1][0].inputs, epochs[2][0].inputs)
    again = batches()
    again.seek(1, 2)
    assert torch.equal(next(iter(again)).inputs, epochs[1][2].inputs)
    assert torch.equal(next(iter(again)).inputs, epochs[2][0].inputs)
    parts = [next(iter(batches(rank=rank, world_size=2))).inputs for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), epochs[0][0].inputs)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("anbn", "aac", "character 3: expected one of \\$ a b, got 'c'"),
        ("adding", "0.5* x", "word 2: expected a number, with \\* if it is marked, got 'x'"),
    ],
)
def test_a_text_that_is_no_sequence_is_refused(name, text, message):
    with pytest.raises(ValueError, match=message):
        PROBLEMS[name].parse(text)
