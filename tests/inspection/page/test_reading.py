"""Reading key by key gives what reading at once gives, and costs what it should."""

import pytest
import torch

from throughtime.cells.cell import Cell
from throughtime.inspection.page import reading
from throughtime.inspection.page.reading import LanguageReader, ReadingOfLanguage
from throughtime.inspection.recording import recorded
from throughtime.models.language_model import LanguageModel
from throughtime.tasks.uses import Language

V = 20
LANGUAGE = Language([chr(97 + i) for i in range(V)], "a", lambda text: torch.tensor(list(text)))


class Leaky(Cell):
    """A cell of a user: two states, one of which is read late, and a value of its own."""

    gates = ("n",)
    states = ("h", "m")

    def step(self, x, W, R, s, p):
        n = torch.tanh(W.n(x) + R.n(s.h))
        m = 0.9 * s.m + 0.1 * s.h
        return dict(h=n + 0.5 * m, m=m, n=n)


def model_of(cell, **options):
    torch.manual_seed(0)
    options = {"hidden_size": 6, "num_layers": 2, "backend": "reference", **options}
    return LanguageModel(V, cell=cell, **options).double().eval()


def at_once(model, ids):
    """The values and the scores that one call of the model gives."""
    with recorded(model) as values, torch.no_grad():
        scores, _ = model(torch.tensor([ids]))
    return {name: torch.cat(pieces, 1)[0] for name, pieces in values.pieces.items()}, scores[0]


def check(model, reader, ids):
    text = ReadingOfLanguage(reader, ids)
    values, scores = at_once(model, ids)
    assert text.steps == {"": [LANGUAGE.tokens[i] for i in ids]}
    for begin in {0, 1, len(ids) // 2, len(ids) - 1, len(ids)}:
        for name, value in values.items():
            torch.testing.assert_close(text.values(name, begin), value[begin:])
        best = scores[begin:].softmax(-1).topk(8)
        rows = text.top(begin)
        assert [[LANGUAGE.tokens.index(token) for token, _ in row] for row in rows] == (
            best.indices.tolist()
        )
        probabilities = torch.tensor([[p for _, p in row] for row in rows], dtype=torch.float64)
        torch.testing.assert_close(probabilities.reshape(-1, 8), best.values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {}),
        ("gru", {"num_layers": 1}),
        # Three states; states with names that end in a number.
        ("scrn", {"num_layers": 1}),
        ("tau-gru", {"num_layers": 1}),
        ("lstm", {"proj_size": 3, "residual": True}),
        ("gru", {"learned_state": True, "zoneout": 0.1}),
        (Leaky(), {}),
    ],
)
def test_typing_and_editing_equal_reading_at_once(cell, options):
    model = model_of(cell, **options)
    reader, draw = LanguageReader(LANGUAGE, model), torch.Generator().manual_seed(1)
    ids = torch.randint(V, (40,), generator=draw).tolist()
    # Key by key, back, a key in the middle, a paste, and what another text begins with.
    texts = [ids[:n] for n in range(1, 36)] + [ids[:n] for n in range(34, 30, -1)]
    texts += [[*ids[:33], 4], [*ids[:9], 7, *ids[9:30]], ids[:17], ids, [3, *ids]]
    for text in texts:
        reader.read(text)
    for text in (texts[0], texts[20], texts[35], *texts[-5:]):
        check(model, reader, text)


def test_a_pasted_text_in_long_blocks_equals_reading_at_once():
    model = model_of("lstm")
    reader, draw = LanguageReader(LANGUAGE, model), torch.Generator().manual_seed(1)
    ids = torch.randint(V, (600,), generator=draw).tolist()
    check(model, reader, ids)
    assert max(block.length for block in reader.read(ids)) == 128
    # Its end is typed on, and a place in a long block is changed.
    check(model, reader, [*ids, 3])
    check(model, reader, [*ids[:300], 5, *ids[300:]])


@pytest.fixture
def counted():
    """A model, and the numbers of tokens of its calls."""
    model, calls = model_of("gru"), []
    model.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[1]))
    return model, calls


def test_a_key_costs_one_step(counted):
    model, calls = counted
    reader, ids = LanguageReader(LANGUAGE, model), [i % V for i in range(300)]
    reader.read(ids[:250])
    calls.clear()
    for n in range(251, 300):
        reader.read(ids[:n])
    assert calls == [1] * 49
    # The same text again, and a beginning of it, cost nothing but the rest of a block.
    calls.clear()
    reader.read(ids[:299])
    assert calls == []
    reader.read(ids[:298])
    assert sum(calls) <= 15


def test_two_texts_that_are_typed_in_turns_cost_one_step_each(counted):
    model, calls = counted
    reader = LanguageReader(LANGUAGE, model)
    first, second = [1, 2, 3] * 20, [1, 2, 4] * 20
    reader.read(first[:40])
    reader.read(second[:40])
    calls.clear()
    for n in range(41, 60):
        reader.read(first[:n])
        reader.read(second[:n])
    assert calls == [1] * 38


def test_the_memory_of_a_reader_is_bounded(monkeypatch, counted):
    model, calls = counted
    width = sum(v.shape[1] for v in at_once(model, [1])[0].values())
    monkeypatch.setattr(reading, "MOST_VALUES", 64 * width)
    reader = LanguageReader(LANGUAGE, model)
    for i in range(V):
        reader.read([i] * 40)
    assert sum(block.length for block in reader._blocks.values()) <= 64
    check(model, reader, [3] * 40)
    # What was read last is kept.
    reader.read([4] * 40)
    calls.clear()
    reader.read([4] * 40)
    assert calls == []


def test_nats_are_those_of_the_models_probabilities():
    model = model_of("lstm")
    ids = [3, 1, 4, 1, 5]
    first, logs = at_once(model, [0])[1].log_softmax(-1), at_once(model, ids)[1].log_softmax(-1)
    expected = [-float(first[-1, 3])] + [-float(logs[t, ids[t + 1]]) for t in range(4)]
    reader = LanguageReader(LANGUAGE, model)
    reader.language = Language(LANGUAGE.tokens, "a", lambda text: torch.tensor([0]))
    assert reader.nats(ids) == pytest.approx(expected, rel=1e-5)
    assert reader.nats(ids[:1]) == pytest.approx(expected[:1], rel=1e-5)
