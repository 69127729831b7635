"""Recordings: the values of every cell, in every form of the input, at the cost of one run."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt
from throughtime.inspection.recording import Name, Recording, record, recorded
from throughtime.kernels import dispatch
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers.attention import Attention
from throughtime.tasks.char_lm import CharLM, CharLMConfig

from ..further_inputs import bounded, fed

I, H, T, B = 4, 4, 5, 3
# Without a compiler the reference records, with which the kernels are compared here.
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing()))


class Model(torch.nn.Module):
    """Two recurrent modules, of which one is called twice, and attention."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Module()
        self.encoder.recurrent = tt.LSTM(I, H, bidirectional=True, batch_first=True)
        self.decoder = tt.GRU(2 * H, H)
        self.attention = Attention("dot", H, H)


@pytest.mark.parametrize("name", tt.cells.names())
def test_every_cell_is_recorded_as_its_equations_compute(name):
    layer = bounded(fed(tt.Recurrent(name, I, H, backend="reference", dtype=torch.float64)))
    x = torch.randn(T, B, I, dtype=torch.float64)
    expected, _, trace = layer(x, return_trace=True)
    with recorded(layer) as values, torch.no_grad():
        output, last = layer(x)
    assert torch.equal(output, expected)
    assert values.pieces.keys() == trace.keys()
    assert values.states == {f"{state}_l0" for state in layer.cell.state_specs}
    for key, (piece,) in values.pieces.items():
        assert torch.equal(piece, trace[key].transpose(0, 1)), key
    last = last if isinstance(last, tuple) else (last,)
    for state, value in zip(layer.cell.state_specs, last, strict=True):
        assert torch.equal(values.pieces[f"{state}_l0"][0][:, -1], value[0])


def test_a_packed_input_and_several_calls_are_pieces_in_rows():
    model, x = Model(), torch.randn(B, T, I)
    rows = [x[0], x[1, :2], x[2, :3]]
    with recorded(model) as values, torch.no_grad():
        packed, _ = model.encoder.recurrent(pack_sequence(rows, enforce_sorted=False))
        padded, _ = model.encoder.recurrent(x, lengths=[5, 2, 3])
        first, h = model.decoder(padded.transpose(0, 1)[:2])
        second, _ = model.decoder(padded.transpose(0, 1)[2:], h)
    one, two = values.pieces["encoder.recurrent.c_l0_reverse"]
    assert torch.equal(one, two)
    assert not one[1, 2:].any()
    assert one[1, :2].all()
    written = torch.cat([first, second]).transpose(0, 1)
    assert torch.equal(torch.cat(values.pieces["decoder.h_l0"], 1), written)
    assert packed.data.shape == (10, 2 * H)


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_compiler)])
def test_without_a_gradient_the_sequence_is_computed_once(backend, monkeypatch):
    # 32 units need no padding, so that the kernel returns its own arrays.
    layer, x = tt.LSTM(I, 32, num_layers=2, backend=backend), torch.randn(T, B, I)
    expected = layer(x)[0]
    calls, module = [], dispatch.BACKENDS[backend]
    for kind in ("run", "record"):
        original = getattr(module, kind)
        monkeypatch.setattr(
            module, kind, lambda call, f=original, kind=kind: calls.append(kind) or f(call)
        )
    with torch.no_grad():
        output, _, trace = layer(x, return_trace=True)
    assert calls == ["record", "record"]
    assert torch.equal(output, expected)
    # The caller may write into the output; the record keeps its values.
    output.zero_()
    assert torch.equal(trace["h_l1"], expected)
    calls.clear()
    output, _, trace = layer(x, return_trace=True)
    assert calls == ["run", "record"] * 2
    assert output.requires_grad
    assert not trace["h_l1"].requires_grad


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_compiler)])
def test_random_inputs_are_those_of_the_same_call(backend):
    layer = tt.LSTM(I, H, zoneout=0.5, backend=backend)
    x = torch.randn(T, B, I)
    torch.manual_seed(3)
    with torch.no_grad():
        plain, (_, c) = layer(x)
    torch.manual_seed(3)
    with recorded(layer) as values, torch.no_grad():
        output, _ = layer(x)
    torch.testing.assert_close(output, plain)
    torch.testing.assert_close(values.pieces["c_l0"][0][:, -1], c[0])
    torch.manual_seed(4)
    with torch.no_grad():
        assert not torch.equal(layer(x)[0], plain)


def test_a_caller_that_asks_for_the_trace_receives_it_and_no_hook_is_left():
    layer, x = tt.GRU(I, H), torch.randn(T, B, I)
    with recorded(layer) as values:
        assert len(layer(x, return_trace=True)) == 3
        assert len(layer(x)) == 2
    assert len(values.pieces["h_l0"]) == 2
    layer(x)
    assert len(values.pieces["h_l0"]) == 2


def test_names_are_read_as_they_are_written():
    for name in (
        Name("", "c", 1, True),
        Name("encoder.recurrent", "h_new", 0),
        Name("decoder.attention", "weights"),
    ):
        assert Name.of(str(name)) == name
    assert str(Name("encoder", "c", 1, True)) == "encoder.c_l1_reverse"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("To be, or not to be.\n" * 30)
    return CharLM(CharLMConfig(data=str(path), hidden_size=8))


def test_a_recording_is_the_same_after_a_file(task, tmp_path):
    model = task.model().eval()
    recording = record(task, model, "To be")
    assert recording.tokens("recurrent.c_l1") == ("T", "o", " ", "b", "e")
    scores, (h, c) = model(task.vocabulary.encode("To be")[None])
    torch.testing.assert_close(recording.probabilities, scores[0].softmax(-1))
    torch.testing.assert_close(recording.values["recurrent.c_l1"][-1], c[1, 0])
    torch.testing.assert_close(recording.values["recurrent.h_l0"][-1], h[0, 0])
    path = tmp_path / "recording.safetensors"
    recording.save(path)
    loaded = Recording.load(path)
    assert loaded.states == recording.states
    assert loaded.outputs == tuple(recording.outputs)
    assert loaded.steps == {"": tuple("To be")}
    assert torch.equal(loaded.probabilities, recording.probabilities)
    assert loaded.values.keys() == recording.values.keys()
    for name, value in recording.values.items():
        assert torch.equal(loaded.values[name], value)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"recording.safetensors: expected a recording"):
        Recording.load(path)


def test_what_the_model_cannot_read_is_refused(task):
    model = task.model()
    with pytest.raises(ValueError, match="got an empty text"):
        record(task, model, "")
    with pytest.raises(ValueError, match="vocabulary"):
        record(task, model, "€")
