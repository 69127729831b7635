"""Streams that run by a compiled plan: the steps of every cell, the state, and wrong input."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime import cells
from throughtime.kernels.cpp.build import missing
from throughtime.models import LanguageModel

from .streams import is_planned, stepped

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))
CELLS = ("lstm-peephole", "gru", "lem", "lstm-layer-norm", "gru-reset-before", "qrnn")


def drawn(layer):
    """The layer with larger weights than it begins with, so that no term is negligible."""
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    return layer


def further(cell, T, B, H, dtype=torch.float64):
    specs = cells.get(cell).given_inputs
    return {k: torch.rand(T, B, s.size or H, dtype=dtype).cumsum(0) for k, s in specs.items()}


def assert_whole(layer, x, inputs=None, **tolerance):
    """The stream of a layer, by a plan, equals one call of the same layer by the reference."""
    stream = layer.stream()
    y = stepped(stream, x, inputs)
    first = {k: u[0] for k, u in (inputs or {}).items()} or None
    assert is_planned(stream, x[0], first), stream.explain(x[0], first)
    exact = copy.deepcopy(layer).eval()
    exact.backend = "reference"
    with torch.no_grad():
        whole, last = exact(x, inputs=inputs)
    torch.testing.assert_close(y, whole, **tolerance)
    states = stream.state
    torch.testing.assert_close(states, last, **tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("H", "B"), [(6, 1), (16, 3), (33, 5)])
def test_a_plan_computes_what_the_reference_does(cell, H, B):
    assert_whole(
        drawn(tt.Recurrent(cell, 3, H, 3, dtype=torch.float64)), torch.randn(7, B, 3).double()
    )


@pytest.mark.slow
@pytest.mark.parametrize("cell", cells.names())
def test_a_plan_runs_every_cell(cell):
    layer = drawn(tt.Recurrent(cell, 5, 5, 2, dtype=torch.float64))
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    assert_whole(layer, x, further(cell, 7, 3, 5) or None)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"zoneout": 0.2, "dropout": 0.4},
        {"recurrent_dropout": 0.3, "weight_drop": 0.3},
        {"residual": True},
        {"learned_state": True},
        {"proj_size": 3},
        {"proj_size": 3, "residual": True},
        {"activations": {"tanh": "relu"}, "clip": 0.5},
        {"locked_dropout": True, "dropout": 0.3, "learned_state": True, "residual": True},
    ],
    ids=lambda options: " ".join(options),
)
def test_a_plan_applies_the_options_of_evaluation(options):
    layer = drawn(tt.Recurrent("lstm", 4, 9, 3, dtype=torch.float64, **options)).train()
    assert_whole(layer, torch.randn(6, 2, 4).double())
    assert layer.training


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 0.05)],
)
def test_a_plan_computes_in_the_dtype_of_the_layer(dtype, tolerance):
    layer = tt.Recurrent("lstm", 5, 20, 2, dtype=dtype)
    x = torch.randn(6, 2, 5, dtype=dtype)
    assert layer.stream().step(x[0]).dtype is dtype
    assert_whole(layer, x, rtol=tolerance, atol=tolerance)


def test_further_inputs_reach_the_plan_in_pieces_and_steps():
    layer = drawn(tt.Recurrent("lstm-phased", 3, 5, 2, dtype=torch.float64, batch_first=True))
    x, inputs = torch.randn(2, 9, 3).double(), further("lstm-phased", 9, 2, 5)
    inputs = {k: v.transpose(0, 1) for k, v in inputs.items()}
    stream = layer.stream()
    first = stream.read(x[:, :4], {k: v[:, :4] for k, v in inputs.items()})
    step = stream.step(x[:, 4], {k: v[:, 4] for k, v in inputs.items()})
    assert is_planned(stream, x[:, 5], {k: v[:, 5] for k, v in inputs.items()})
    whole, _ = layer(x, inputs=inputs)
    torch.testing.assert_close(torch.cat([first, step.unsqueeze(1)], 1), whole[:, :5])
    with pytest.raises(ValueError, match="time"):
        stream.step(x[:, 5])
    with pytest.raises(ValueError, match="unknown input"):
        stream.step(x[:, 5], {"times": inputs["time"][:, 5]})


def test_inputs_of_any_memory_layout_are_read_right():
    layer = tt.GRU(4, 6)
    x = torch.randn(2, 4)
    expected = layer.stream().step(x)
    strided = torch.randn(4, 2).copy_(x.T).T
    negative = torch._neg_view(-x)
    for other in (strided, negative, nn.Parameter(x), x.clone().requires_grad_()):
        stream = layer.stream()
        y = stream.step(other)
        assert is_planned(stream, other)
        assert torch.equal(y, expected)
        assert not y.requires_grad


# The state.


def test_a_state_that_the_caller_changes_is_the_one_that_goes_on():
    layer = tt.LSTM(4, 8, num_layers=2)
    x = torch.randn(2, 2, 4)
    stream = layer.stream()
    stream.step(x[0])
    for state in stream.state:
        state.zero_()
    assert torch.equal(stream.step(x[1]), layer.stream().step(x[1]))
    assert is_planned(stream, x[1])


def test_a_fork_by_a_plan_goes_its_own_way():
    layer = tt.Recurrent("lstm-peephole", 4, 8, 2)
    x = torch.randn(9, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    fork = stream.fork()
    stepped(fork, torch.randn(4, 2, 4))
    torch.testing.assert_close(stepped(stream, x[3:]), layer(x)[0][3:])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_of_a_stream_goes_on(duplicate):
    layer = tt.GRU(4, 8)
    x = torch.randn(6, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    other = duplicate(stream)
    expected = stepped(stream, x[3:])
    assert torch.equal(stepped(other, x[3:]), expected)
    assert is_planned(other, x[0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_single_rows_are_reset(backend):
    layer = drawn(tt.Recurrent("lstm", 4, 8, 2, learned_state=True, backend=backend))
    x = torch.randn(7, 3, 4)
    stream = layer.stream()
    y = stepped(stream, x[:4])
    stream.reset(torch.tensor([False, True, False]))
    y = torch.cat([y, stepped(stream, x[4:])])
    resets = torch.zeros(7, 3, dtype=torch.bool)
    resets[4, 1] = True
    torch.testing.assert_close(y, layer(x, resets=resets)[0])


def test_a_reset_of_rows_that_do_not_exist_is_refused():
    stream = tt.GRU(4, 8).stream()
    stream.reset(torch.tensor([True]))  # There is no state yet, so nothing to reset.
    stream.step(torch.randn(2, 4))
    for wrong in (torch.tensor([True]), torch.tensor([0, 1]), [True, False]):
        with pytest.raises(ValueError, match=r"mask of torch.bool with the shape \(2,\)"):
            stream.reset(wrong)


def test_a_state_saved_by_a_plan_is_read_by_the_reference(tmp_path):
    layer, x = tt.LSTM(4, 8, num_layers=2), torch.randn(6, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    stream.save(tmp_path / "state")
    slow = copy.deepcopy(layer)
    slow.backend = "reference"
    other = slow.stream()
    other.load(tmp_path / "state")
    torch.testing.assert_close(stepped(other, x[3:]), stepped(stream, x[3:]))


# Wrong and unusual input.


def test_wrong_input_is_refused_and_the_stream_goes_on():
    layer, x = tt.GRU(4, 8), torch.randn(6, 2, 4)
    stream = layer.stream()
    y = [*stepped(stream, x[:3])]
    for wrong, message in (
        (x[0].double(), "expected x of torch.float32"),
        (torch.randn(2, 5), "expected x of shape"),
        (torch.randn(3, 4), "initial state h of shape"),
        (torch.randn(2, 4, device="meta"), "device|meta"),
        (torch.randn(0, 4), "state|batch"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            stream.step(wrong)
    y += [*stepped(stream, x[3:])]
    torch.testing.assert_close(torch.stack(y), layer(x)[0])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cell", ["lstm", "cfc"])
def test_one_sequence_without_a_batch(cell, backend, batch_first, tmp_path):
    options = {"batch_first": batch_first, "backend": backend, "dtype": torch.float64}
    layer = tt.Recurrent(cell, 3, 5, num_layers=2, **options)
    x = torch.randn(9, 3, dtype=torch.float64)
    gap = torch.rand(9, 1, dtype=torch.float64)
    inputs = {"gap": gap} if cell == "cfc" else None
    whole, last = layer(x, inputs=inputs)
    stream = layer.stream()
    part = lambda *index: None if inputs is None else {"gap": gap[index]}  # noqa: E731
    assert (stream.explain(x[0], part(0)).backend == "plan") is (backend == "auto")
    outputs = [stream.step(x[0], part(0)), stream.step(x[1], part(1))]
    assert [y.shape for y in outputs] == [(5,), (5,)]
    fork = stream.fork()
    outputs += list(stream.read(x[2:6], part(slice(2, 6))))
    # The state is that of the layer for such a sequence, and goes on.
    states = [s for s in (stream.state if cell == "lstm" else [stream.state])]
    assert [s.shape for s in states] == [(2, 5)] * len(states)
    stream.save(tmp_path / "state.safetensors")
    stream.load(tmp_path / "state.safetensors")
    outputs += [stream.step(x[t], part(t)) for t in (6, 7, 8)]
    torch.testing.assert_close(torch.stack(outputs), whole.detach())
    for ours, theirs in zip(states_of(stream.state), states_of(last), strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    torch.testing.assert_close(fork.step(x[2], part(2)), whole[2].detach())
    stream.reset(torch.tensor([True]))
    torch.testing.assert_close(stream.step(x[0], part(0)), whole[0].detach())


def states_of(state):
    return [state] if isinstance(state, torch.Tensor) else list(state)


def test_a_batch_after_one_sequence_is_refused_as_by_the_layer():
    layer = tt.GRU(3, 5, batch_first=True)
    stream = layer.stream()
    stream.step(torch.randn(3))
    with pytest.raises(ValueError, match="GRU: expected") as ours:
        stream.step(torch.randn(1, 3))
    with pytest.raises(ValueError, match="GRU: expected") as theirs:
        layer(torch.randn(1, 1, 3), torch.zeros(1, 5))
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(ValueError, match="GRU: expected") as ours:
        stream.step(torch.randn(4))
    with pytest.raises(ValueError, match="GRU: expected") as theirs:
        layer(torch.randn(1, 4))
    assert str(ours.value) == str(theirs.value)
    assert stream.step(torch.randn(3)).shape == (5,)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_caller_that_keeps_the_states_goes_on_from_any(cell, backend):
    layer = tt.Recurrent(cell, 3, 5, backend=backend, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    whole, last = layer(x)
    stream, state, states, outputs = layer.stream(), None, [], []
    for v in x:
        y, state = stream.advance(v, state)
        outputs.append(y)
        states.append(state)
    torch.testing.assert_close(torch.stack(outputs), whole.detach())
    for ours, theirs in zip(states_of(state), states_of(last), strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    torch.testing.assert_close(stream.advance(x[2], states[1])[0], outputs[2])
    # A step, a reset and a written state are not passed over.
    y, state = stream.advance(x[0], None)
    torch.testing.assert_close(y, outputs[0])
    stream.step(x[3])
    torch.testing.assert_close(stream.advance(x[1], state)[0], outputs[1])
    y, state = stream.advance(x[0], None)
    stream.reset(torch.tensor([True, False]))
    torch.testing.assert_close(stream.advance(x[1], state)[0], outputs[1])
    y, state = stream.advance(x[0], None)
    for part in states_of(state):
        part.zero_()
    torch.testing.assert_close(stream.advance(x[0], state)[0], outputs[0])
    # Another number of rows.
    one = [s[:, :1] for s in states_of(states[0])]
    y, _ = stream.advance(x[1, :1], one[0] if cell == "gru" else tuple(one))
    torch.testing.assert_close(y, outputs[1][:1])


def test_a_matrix_lstm_reads_one_sequence_step_by_step():
    layer = tt.MatrixLSTM(3, 4, batch_first=True)
    x = torch.randn(5, 3)
    stream = layer.stream()
    outputs = torch.stack([stream.step(v) for v in x])
    torch.testing.assert_close(outputs, layer(x)[0].detach())


def test_nan_stays_in_its_row():
    layer, x = tt.LSTM(4, 8, num_layers=2), torch.randn(5, 2, 4)
    x[1, 0, 2] = float("nan")
    y = stepped(layer.stream(), x)
    assert y[1:, 0].isnan().all()
    torch.testing.assert_close(y[:, 1], layer(x)[0][:, 1])


@pytest.mark.parametrize(("T", "B"), [(65, 1), (1, 17), (64, 16)])
def test_long_pieces_and_large_batches_go_the_way_of_the_layer(T, B):
    layer = tt.Recurrent("gru", 3, 5, 2, dtype=torch.float64)
    x = torch.randn(3 * T, B, 3, dtype=torch.float64)
    stream = layer.stream()
    y = torch.cat([stream.read(part) for part in x.split([T, 2 * T - 1, 1])])
    torch.testing.assert_close(y, layer(x)[0])


def test_the_packed_weights_are_freed_with_the_last_stream():
    layer, x = tt.GRU(4, 8), torch.randn(2, 4)
    first, second = layer.stream(), layer.stream()
    first.step(x)
    second.step(x)
    assert first._live._planned is second._live._planned
    plan = weakref.ref(first._live._planned)
    del first, second
    gc.collect()
    assert plan() is None


# Language models.


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_language_model_runs_by_a_plan(one_hot):
    options = {"dropout": 0.3, "residual": True, "one_hot": one_hot}
    model = LanguageModel(11, hidden_size=9, num_layers=2, **options).train()
    tokens = torch.randint(11, (2, 8))
    stream = model.stream()
    scores = torch.stack([stream.step(token) for token in tokens.unbind(1)], 1)
    assert is_planned(stream, tokens[:, 0])
    assert model.training
    torch.testing.assert_close(scores, model.eval()(tokens)[0])
    other = model.stream()
    pieces = [other.read(part) for part in tokens.split([1, 5, 2], 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), scores)


def test_tokens_outside_the_vocabulary_are_refused_before_any_step():
    model = LanguageModel(11, hidden_size=9)
    tokens = torch.randint(11, (1, 5))
    stream = model.stream()
    stream.step(tokens[:, 0])
    for wrong in (11, -1):
        with pytest.raises(IndexError):
            stream.read(torch.tensor([[3, wrong]]))
    torch.testing.assert_close(stream.read(tokens[:, 1:]), model.eval()(tokens)[0][:, 1:])
