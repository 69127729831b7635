"""A stream: step by step, in any pieces, forked, saved and restored, equals the whole sequence."""

import pytest
import torch
from safetensors.torch import save_file

import throughtime as tt
from throughtime.layers.stream import Stream
from throughtime.models import LanguageModel


@pytest.fixture(params=[False, True], ids=["time first", "batch first"])
def layer(request):
    options = {"num_layers": 2, "batch_first": request.param, "dtype": torch.float64}
    return tt.Recurrent("lstm-peephole", 3, 5, **options)


def sequence(layer, T=11, B=2):
    shape = (B, T, 3) if layer.batch_first else (T, B, 3)
    return torch.randn(shape, dtype=torch.float64), 1 if layer.batch_first else 0


def test_steps_one_by_one_are_the_whole_sequence(layer):
    x, time = sequence(layer)
    stream = layer.stream()
    y = torch.stack([stream.step(part) for part in x.unbind(time)], time)
    whole, last = layer(x)
    torch.testing.assert_close(y, whole)
    for ours, theirs in zip(stream.state, last, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("pieces", [[11], [1, 10], [4, 4, 3], [2, 1, 1, 7]])
def test_pieces_of_any_size_are_the_whole_sequence(layer, pieces):
    x, time = sequence(layer)
    stream = layer.stream()
    y = torch.cat([stream.read(part) for part in x.split(pieces, time)], time)
    torch.testing.assert_close(y, layer(x)[0])


def test_a_fork_goes_its_own_way(layer):
    x, time = sequence(layer)
    first, second = x.split([5, 6], time)
    stream = layer.stream()
    stream.read(first)
    fork = stream.fork()
    fork.read(torch.ones_like(second))
    torch.testing.assert_close(stream.read(second), layer(x)[0].split([5, 6], time)[1])


def test_a_state_that_was_saved_goes_on_in_another_stream(layer, tmp_path):
    x, time = sequence(layer)
    first, second = x.split([5, 6], time)
    stream = layer.stream()
    stream.read(first)
    stream.save(tmp_path / "state.safetensors")
    other = layer.stream()
    other.load(tmp_path / "state.safetensors")
    assert torch.equal(other.read(second), stream.read(second))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_state_that_was_loaded_does_not_depend_on_the_file(cell, tmp_path):
    layer = tt.Recurrent(cell, 3, 4, 2)
    stream = layer.stream()
    stream.read(torch.randn(5, 2, 3))
    path = tmp_path / "state.safetensors"
    stream.save(path)
    other = layer.stream()
    other.load(path)
    # Written in place, so that a process that maps the file sees the change.
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)
    x = torch.randn(1, 2, 3)
    expected = stream.read(x)
    fork = other.fork()
    assert torch.equal(other.read(x), expected)
    with path.open("r+b") as file:
        file.truncate(0)
    assert torch.equal(fork.read(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_state_keeps_its_dtype_and_every_digit(dtype, tmp_path):
    stream = tt.LSTM(3, 4, dtype=dtype, backend="reference").stream()
    stream.read(torch.randn(5, 2, 3, dtype=dtype))
    stream.save(tmp_path / "state")
    other = stream.fork()
    other.load(tmp_path / "state")
    for a, b in zip(other.state, stream.state, strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("damage", ["empty", "short", "weights", "text"])
def test_a_file_that_holds_no_state_is_refused(damage, tmp_path):
    layer, path = tt.LSTM(3, 4), tmp_path / "state"
    stream = layer.stream()
    stream.step(torch.randn(2, 3))
    stream.save(path)
    whole = path.read_bytes()
    if damage == "weights":
        save_file(layer.state_dict(), path)
    else:
        path.write_bytes({"empty": b"", "short": whole[:-1], "text": b"no state at all"}[damage])
    with pytest.raises(ValueError, match="expected the state of a stream, as Stream"):
        stream.load(path)


def test_one_state_is_saved_as_one(tmp_path):
    layer = tt.GRU(3, 4)
    stream = layer.stream()
    stream.step(torch.randn(2, 3))
    stream.save(tmp_path / "state.safetensors")
    other = layer.stream()
    other.load(tmp_path / "state.safetensors")
    assert torch.equal(other.state, stream.state)


def test_a_reset_begins_again():
    stream = tt.GRU(3, 4).stream()
    x = torch.randn(2, 3)
    first = stream.step(x)
    assert not torch.equal(stream.step(x), first)
    stream.reset()
    assert torch.equal(stream.step(x), first)


def test_dropout_is_off_and_the_mode_comes_back():
    layer = tt.LSTM(3, 4, num_layers=2, dropout=0.5).train()
    x = torch.randn(6, 2, 3)
    y = layer.stream().read(x)
    assert layer.training
    torch.testing.assert_close(y, layer.eval()(x)[0])
    assert not y.requires_grad


def test_a_language_model_streams_its_tokens():
    model = LanguageModel(7, hidden_size=8).eval()
    tokens = torch.randint(7, (2, 9))
    stream = model.stream()
    assert isinstance(stream, Stream)
    scores = torch.stack([stream.step(token) for token in tokens.unbind(1)], 1)
    torch.testing.assert_close(scores, model(tokens)[0])


def test_what_a_stream_refuses(tmp_path):
    with pytest.raises(ValueError, match="bidirectional=True reads a sequence from its end"):
        tt.LSTM(3, 4, bidirectional=True).stream()
    with pytest.raises(ValueError, match="no state before the first step"):
        tt.LSTM(3, 4).stream().save(tmp_path / "x")
    (tmp_path / "cut").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(ValueError, match="expected the state of a stream"):
        tt.LSTM(3, 4).stream().load(tmp_path / "cut")


def test_a_cell_with_further_inputs_is_given_them_step_by_step():
    layer = tt.Recurrent("lstm-phased", 3, 5, dtype=torch.float64)
    x, time = torch.randn(11, 2, 3).double(), torch.rand(11, 2, 1).double().cumsum(0)
    whole, _ = layer(x, inputs={"time": time})
    stream = layer.stream()
    steps = [stream.step(x[t], {"time": time[t]}) for t in range(4)]
    rest = stream.read(x[4:], {"time": time[4:]})
    torch.testing.assert_close(torch.cat([torch.stack(steps), rest]), whole)


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({"state.0": torch.zeros(1, 1, 4)}, "[" * 100_000),
        ({"state.0": torch.zeros(1, 1, 4)}, '{"is_tuple": 3}'),
        ({"state.0": torch.zeros(1, 1, 4)}, "{}"),
        ({}, '{"is_tuple": false}'),
        ({"state.1": torch.zeros(1, 1, 4)}, '{"is_tuple": false}'),
    ],
)
def test_a_file_that_somebody_has_edited_is_refused(tmp_path, tensors, about):
    save_file(tensors, str(tmp_path / "state"), {"stream": about})
    with pytest.raises(ValueError, match="expected the state of a stream"):
        tt.GRU(3, 4).stream().load(tmp_path / "state")
