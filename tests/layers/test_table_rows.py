"""Recurrent layers on rows of a table give what they give on the rows themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt
from throughtime.cells.cell import get, names
from throughtime.layers import table_rows
from throughtime.layers.table_rows import on_rows
from throughtime.models import language_model
from throughtime.models.language_model import LanguageModel, OneHot

V, I, H, T, B = 7, 3, 5, 6, 4


class Reader(tt.Cell):
    """Multiplies x with a matrix of its own."""

    gates, states = ("h",), ("h",)

    def __init__(self):
        self.read = nn.Linear(I, H)

    def step(self, x, W, R, s, p):
        return {"h": torch.tanh(W.h(x) + R.h(s.h) + self.read(x))}


@pytest.fixture(autouse=True)
def little_is_enough(monkeypatch):
    monkeypatch.setattr(table_rows, "LEAST_SAVED", 1)


def operands(layer, dtype=torch.float64):
    """A table, rows of it, and the weights of a sum of all results."""
    torch.manual_seed(1)
    table = torch.randn(V, I, dtype=dtype, requires_grad=True)
    rows = torch.randint(V, (B, T) if layer.batch_first else (T, B))
    shape = (*rows.shape, layer.output_size)
    return table, rows, torch.randn(shape, dtype=dtype)


def results(run, layer, table, g):
    """The output, the states, and all gradients, first and second, of a run of the layer."""
    torch.manual_seed(2)
    output, state = run()
    states = (state,) if isinstance(state, torch.Tensor) else state
    total = (output * g).sum() + sum((s * s).sum() for s in states)
    weights = [table, *(p for p in layer.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(total, weights, create_graph=True, materialize_grads=True)
    seconds = torch.autograd.grad(
        sum((d * d).sum() for d in gradients), weights, materialize_grads=True
    )
    return [output, *states, *gradients, *seconds]


def assert_same(layer, hx=None):
    table, rows, g = operands(layer)
    ours = results(lambda: on_rows(layer, table, rows, hx), layer, table, g)
    theirs = results(lambda: layer(F.embedding(rows, table), hx), layer, table, g)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "batch_first": True},
        {"num_layers": 2, "bidirectional": True, "independent": True, "merge": "sum"},
        {"num_layers": 2, "dropout": 0.4, "weight_drop": 0.3, "learned_state": True},
        pytest.param({"zoneout": 0.3, "recurrent_dropout": 0.2}, marks=pytest.mark.slow),
        pytest.param({"proj_size": 2, "clip": 1.0}, marks=pytest.mark.slow),
    ],
    ids=lambda options: ", ".join(options) or "plain",
)
def test_the_results_are_those_of_the_rows_themselves(options):
    assert_same(tt.Recurrent("lstm", I, H, dtype=torch.float64, **options))


def test_the_initial_states_are_those_that_are_passed():
    layer = tt.Recurrent("lstm", I, H, dtype=torch.float64)
    assert_same(layer, (torch.randn(1, B, H).double(), torch.randn(1, B, H).double()))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_cell(name):
    cell = get(name)
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64)
    if cell.given_inputs:
        table, rows, _ = operands(layer)
        assert on_rows(layer, table, rows) is None
    elif on_rows(layer, *operands(layer)[:2]) is not None:
        assert_same(layer)
    else:
        # These cells use x otherwise than in products with W.
        assert name in ("ltc", "cfc", "cfc-no-gate", "cfc-pure")


def test_the_usual_way_is_taken_where_it_is_the_faster_or_the_only_one(monkeypatch):
    layer = tt.Recurrent("lstm", I, H)
    table, rows, _ = operands(layer, torch.float32)
    assert on_rows(layer, table, rows) is not None
    assert on_rows(layer, table, rows[:2]) is None
    assert on_rows(layer, table.double(), rows) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert on_rows(layer, table, rows) is None
    for options in ({"save": "states"}, {"backend": "reference"}, {"dtype": torch.bfloat16}):
        other = tt.Recurrent("lstm", I, H, **options)
        assert on_rows(other, table.to(other.dtype), rows) is None
    for cell in (Reader(), "cfc"):
        assert on_rows(tt.Recurrent(cell, I, H), table, rows) is None
    monkeypatch.setattr(table_rows, "LEAST_SAVED", (T * B - V) * I * 4 * H + 1)
    assert on_rows(layer, table, rows) is None


# The language model.


@pytest.fixture
def calls(monkeypatch):
    """Whether each call of a language model has read rows of the table."""
    calls = []

    def recorded(*arguments):
        result = on_rows(*arguments)
        calls.append(result is not None)
        return result

    monkeypatch.setattr(language_model, "on_rows", recorded)
    return calls


@pytest.mark.parametrize("options", [{}, {"one_hot": True}, {"tied": True}], ids=str)
def test_a_language_model_reads_rows_of_its_embedding(calls, monkeypatch, options):
    torch.manual_seed(0)
    model = LanguageModel(V, hidden_size=H, num_layers=1, **options).double()
    tokens = torch.randint(V, (B, T))

    def gradients():
        model.zero_grad()
        scores, _ = model(tokens)
        scores.square().sum().backward()
        return [scores, *(p.grad for p in model.parameters())]

    ours = gradients()
    monkeypatch.setattr(language_model, "on_rows", lambda *arguments: None)
    for a, b in zip(ours, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert calls == [True]


class Doubled(nn.Embedding):
    def forward(self, tokens):
        return 2 * super().forward(tokens)


def test_an_embedding_that_does_more_than_to_read_rows_is_called(calls):
    model = LanguageModel(V, hidden_size=H, num_layers=1)
    tokens = torch.randint(V, (B, T))
    seen = []
    handle = model.embedding.register_forward_hook(lambda *call: seen.append(call))
    model(tokens)
    handle.remove()
    model.recurrent.register_full_backward_hook(lambda *call: seen.append(call))
    model(tokens)[0].sum().backward()
    assert len(seen) == 2
    model = LanguageModel(V, hidden_size=H, num_layers=1)
    width = model.embedding_size
    for embedding in (Doubled(V, width), nn.Embedding(V, width, padding_idx=0)):
        embedding.weight.data.copy_(model.embedding.weight)
        model.embedding = embedding
        model(tokens)
    assert calls == []
    model.embedding, model.embedding_size = OneHot(V), V
    model.recurrent = nn.LSTM(V, H, batch_first=True)
    model(tokens)
    assert calls == []


# PyTorch warns of its own tracing of an autograd.Function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.slow
def test_a_language_model_compiles_as_one_graph(calls):
    torch.manual_seed(0)
    model, tokens = LanguageModel(V, hidden_size=H, num_layers=1), torch.randint(V, (B, T))
    expected, _ = model(tokens)
    scores, _ = torch.compile(model, fullgraph=True, backend="aot_eager")(tokens)
    torch.testing.assert_close(scores, expected)
    scores.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert calls == [True]
