"""Our layers as ONNX files: ONNX Runtime computes what they compute."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.interchange.onnx import load_onnx, save_onnx
from throughtime.interchange.onnx.native import NATIVE
from throughtime.models import LanguageModel

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MERGES = ["concat", "sum", "mean", "product"]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def tuple_of(state):
    return (state,) if isinstance(state, torch.Tensor) else state


def states(layer, rows):
    shape = layer.num_layers * layer.num_directions, rows, layer.hidden_size
    dtype = next(layer.parameters()).dtype
    return tuple(torch.randn(shape, dtype=dtype) for _ in layer.cell.state_specs)


def run(layer, path, x, initial, lengths=None):
    """The outputs of ONNX Runtime, as tensors, in the graph's order."""
    names = list(layer.cell.state_specs)
    feed = {"input": x, **{f"{n}_0": s for n, s in zip(names, initial, strict=True)}}
    if lengths is not None:
        feed["lengths"] = torch.tensor(lengths, dtype=torch.int32)
    ran = session(path)
    assert [o.name for o in ran.get_outputs()] == ["output", *(f"{n}_n" for n in names)]
    found = ran.run(None, {name: value.numpy() for name, value in feed.items()})
    return [torch.from_numpy(value) for value in found]


def ours(layer, x, initial, lengths=None):
    with torch.no_grad():
        hx = initial[0] if len(initial) == 1 else initial
        output, last = layer(x, hx, lengths=lengths)
    return [output, *tuple_of(last)]


def check(layer, path, T=6, B=4, ragged=False):
    lengths = [T, 1, max(T - 2, 1), T, 2][:B] if ragged else None
    save_onnx(layer, path, lengths=ragged)
    x = torch.randn(T, B, layer.input_size, dtype=next(layer.parameters()).dtype)
    x = x.transpose(0, 1).contiguous() if layer.batch_first else x
    initial = states(layer, B)
    got = run(layer, path, x, initial, lengths)
    for a, b in zip(got, ours(layer, x, initial, lengths), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("size", [1, 3, 33])
@pytest.mark.parametrize("name", NATIVE)
def test_every_native_cell_of_every_size(name, size, ragged, tmp_path):
    check(tt.Recurrent(name, size, size), tmp_path / "a.onnx", ragged=ragged)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", NATIVE)
def test_layers_and_directions(name, ragged, bias, tmp_path):
    layer = tt.Recurrent(
        name, 3, 5, num_layers=3, bias=bias, bidirectional=True, batch_first=True, dropout=0.5
    )
    check(layer.eval(), tmp_path / "a.onnx", ragged=ragged)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("batch_first", [True, False])
def test_merges(merge, num_layers, batch_first, tmp_path):
    layer = tt.Recurrent(
        "lstm-peephole", 3, 5, num_layers, True, batch_first, bidirectional=True, merge=merge
    )
    check(layer, tmp_path / "a.onnx", ragged=True)


@pytest.mark.parametrize("make", [tt.RNN, tt.LSTM, tt.GRU])
def test_the_layers_like_those_of_torch(make, tmp_path):
    check(make(3, 4, 2), tmp_path / "a.onnx")


def test_one_file_for_any_batch_and_number_of_steps(tmp_path):
    layer = tt.Recurrent("lstm-peephole", 3, 5, bidirectional=True)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    for T, B in [(1, 1), (9, 2), (2, 7)]:
        x, initial, lengths = torch.randn(T, B, 3), states(layer, B), [T] * B
        got = run(layer, tmp_path / "a.onnx", x, initial, lengths)
        for a, b in zip(got, ours(layer, x, initial), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["lstm-peephole", "gru", "rnn-tanh"])
def test_the_state_carries_a_sequence_from_piece_to_piece(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers=2)
    save_onnx(layer, tmp_path / "a.onnx")
    x = torch.randn(7, 2, 3)
    state = tuple(torch.zeros(2, 2, 5) for _ in layer.cell.state_specs)
    outputs = []
    for piece in x.split(3):
        output, *state = run(layer, tmp_path / "a.onnx", piece, state)
        outputs.append(output)
    whole = ours(layer, x, tuple(torch.zeros(2, 2, 5) for _ in layer.cell.state_specs))
    torch.testing.assert_close(torch.cat(outputs), whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(state[0], whole[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", ["lstm-peephole", "gru", "rnn-tanh"])
def test_a_row_without_steps_keeps_its_state(name, num_layers, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers, bidirectional=True)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    x, initial, lengths = torch.randn(4, 3, 3), states(layer, 3), [4, 0, 2]
    got = run(layer, tmp_path / "a.onnx", x, initial, lengths)
    for a, b in zip(got, ours(layer, x, initial, lengths), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert torch.equal(got[1][:, 1], initial[0][:, 1])


@pytest.mark.parametrize("name", NATIVE)
def test_the_file_says_what_it_needs_and_has_one_node_a_layer(name, tmp_path):
    save_onnx(tt.Recurrent(name, 3, 5, num_layers=2, batch_first=True), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    nodes = [n for n in model.graph.node if n.op_type in ("RNN", "GRU", "LSTM")]
    assert [n.op_type for n in nodes] == [NATIVE[name].op] * 2
    assert all(a.name != "layout" for n in nodes for a in n.attribute)
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in model.graph.input
    }
    assert shapes["input"] == ["batch", "time", 3]
    assert shapes["h_0"] == [2, "batch", 5]
    assert "zeros" in model.doc_string


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm-cifg"])
def test_a_language_model_writes_the_same_text(cell, tied, tmp_path):
    model = LanguageModel(11, cell=cell, hidden_size=8, tied=tied, dropout=0.5)
    # The first weights leave all scores alike.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    save_onnx(model, tmp_path / "a.onnx")
    model.eval()
    ran, again = session(tmp_path / "a.onnx"), load_onnx(tmp_path / "a.onnx")
    names = list(model.recurrent.cell.state_specs)
    tokens = torch.randint(11, (3, 20))
    scores, last = model(tokens)
    state = [torch.zeros(2, 3, 8) for _ in names]
    seen = []
    for piece in tokens.split([1, 7, 12], 1):
        feed = {f"{n}_0": s.numpy() for n, s in zip(names, state, strict=True)}
        feed["tokens"] = piece.numpy()
        theirs, *after = map(torch.from_numpy, ran.run(None, feed))
        for a, b in zip(again(piece, *state), (theirs, *after), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        seen.append(theirs)
        state = after
    torch.testing.assert_close(torch.cat(seen, 1), scores, rtol=0, atol=1e-5)
    for a, b in zip(state, tuple_of(last), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    stored = {i.name for i in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert ("scores_weight" in stored) is not tied
    with pytest.raises(ValueError, match="a LanguageModel takes no lengths"):
        save_onnx(model, tmp_path / "a.onnx", lengths=True)


def test_what_cannot_be_exported_is_refused(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match=r"no node for the cell lstm-fgr; it has one for lstm, "):
        save_onnx(tt.Recurrent("lstm-fgr", 3, 4), path)

    class Other(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            return super().step(x, W, R, s, p)

    with pytest.raises(ValueError, match="no node for the cell"):
        save_onnx(tt.Recurrent(Other(), 3, 4), path)
    with pytest.raises(ValueError, match=r'unknown class of module "Linear"'):
        save_onnx(nn.Linear(3, 4), path)
    with pytest.raises(ValueError, match=r"got torch\.bfloat16\. Convert the module"):
        save_onnx(tt.LSTM(3, 4, dtype=torch.bfloat16), path)
    assert not path.exists()


def test_onnx_is_loaded_on_use_and_its_absence_told(tmp_path):
    code = """
import sys
import throughtime as tt, throughtime.interchange.onnx as io
assert not [m for m in sys.modules if m.split(".")[0] in ("onnx", "onnxruntime")]
sys.modules["onnx"] = None
try:
    io.save_onnx(tt.GRU(2, 3), sys.argv[1])
except ImportError as error:
    assert 'pip install "throughtime[onnx]"' in str(error), error
else:
    raise AssertionError
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
