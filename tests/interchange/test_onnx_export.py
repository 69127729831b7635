"""Layers exported as native nodes of ONNX: ONNX Runtime computes the results of the layers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.interchange.onnx import load_onnx, save_onnx
from throughtime.interchange.onnx.layers import is_native
from throughtime.interchange.onnx.native import NATIVE
from throughtime.interchange.onnx.operators import MICROSOFT, names
from throughtime.models import LanguageModel

from .onnx_runs import check, close, onnx, ours, run, session, states, tuple_of

MERGES = ["concat", "sum", "mean", "product"]


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
    ran = session(tmp_path / "a.onnx")
    for T, B in [(1, 1), (9, 2), (2, 7)]:
        x, initial, lengths = torch.randn(T, B, 3), states(layer, B), [T] * B
        close(run(layer, ran, x, initial, lengths), ours(layer, x, initial))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", ["lstm-peephole", "gru", "rnn-tanh"])
def test_a_row_without_steps_keeps_its_state(name, num_layers, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers, bidirectional=True)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    x, initial, lengths = torch.randn(4, 3, 3), states(layer, 3), [4, 0, 2]
    got = run(layer, session(tmp_path / "a.onnx"), x, initial, lengths)
    close(got, ours(layer, x, initial, lengths))
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
    assert {p.key: json.loads(p.value) for p in model.metadata_props} == {
        f"{state}_0": 0.0 for state in tt.cells.get(name).state_specs
    }


@pytest.mark.parametrize(("tied", "one_hot"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm-cifg"])
def test_a_language_model_writes_the_same_text(cell, tied, one_hot, tmp_path):
    model = LanguageModel(11, cell=cell, hidden_size=8, tied=tied, one_hot=one_hot, dropout=0.5)
    # The initial weights give nearly equal scores, which would hide errors.
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
        close(again(piece, *state), (theirs, *after))
        seen.append(theirs)
        state = after
    close([torch.cat(seen, 1), *state], [scores, *tuple_of(last)])
    stored = {i.name for i in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert ("scores_weight" in stored) is not tied
    with pytest.raises(ValueError, match="a LanguageModel takes no lengths"):
        save_onnx(model, tmp_path / "a.onnx", lengths=True)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("residual", [True, False])
def test_directions_apart_and_residual_layers(merge, residual, tmp_path):
    layer = tt.Recurrent(
        "lstm-peephole",
        3,
        5,
        3,
        bidirectional=True,
        independent=True,
        residual=residual,
        merge=merge,
    )
    check(layer, tmp_path / "a.onnx", ragged=True)
    nodes = [n for n in onnx.load(tmp_path / "a.onnx").graph.node if n.op_type == "LSTM"]
    directions = [a.s for n in nodes for a in n.attribute if a.name == "direction"]
    assert (len(nodes), directions) == (6, [b"reverse"] * 3)


def test_a_native_cell_that_was_changed_is_not_written_as_the_node(tmp_path):
    """A cell that inherits a registered name, but has other equations."""

    class Other(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            next_states = super().step(x, W, R, s, p)
            return next_states | dict(h=next_states["h"] * 0.5)

    check(tt.Recurrent(Other(), 3, 4), tmp_path / "a.onnx")
    cell = tt.cells.get("gru")
    cell.scale = 2.0
    check(tt.Recurrent(cell, 3, 4), tmp_path / "b.onnx")
    for name in ("a", "b"):
        ops = [n.op_type for n in onnx.load(tmp_path / f"{name}.onnx").graph.node]
        assert ops.count("Scan") == 1


def test_the_page_says_which_cells_are_native():
    page = (Path(__file__).parents[2] / "docs/onnx.md").read_text()
    native, other = page.split("<!-- native -->")[1].split("<!-- end -->")[0].split("<!-- scan -->")
    rows = [line.split("|")[1:3] for line in native.splitlines() if line.startswith("| `")]
    written = {
        name: re.findall(r"\w+", node)[0]
        for names, node in rows
        for name in re.findall("`(.+?)`", names)
    }
    assert written == {name: shape.op for name, shape in NATIVE.items()}
    # Only the package's own cells, because other tests register cells.
    cells = {name: tt.cells.get(name) for name in tt.cells.names()}
    ours = {n for n, cell in cells.items() if type(cell).__module__.startswith("throughtime.")}
    others = re.findall("`([a-z0-9-]+)`", other.split("these are written so")[1])
    assert sorted(others) == sorted(ours - set(NATIVE))
    for name in others:
        assert not is_native(tt.Recurrent(name, 3, 4))


def test_the_page_says_which_operators_are_read():
    page = (Path(__file__).parents[2] / "docs/onnx.md").read_text()
    own, runtimes = page.split("<!-- operators -->")[1].split("<!-- of runtimes -->")
    runtimes = runtimes.split("<!-- end of operators -->")[0].split(":")[-1]
    written = [re.findall(r"\w+", text) for text in (own, runtimes)]
    assert written == [["RNN", "GRU", "LSTM", "Constant", *names()], names(MICROSOFT)]


def test_what_cannot_be_exported_is_refused(tmp_path):
    path = tmp_path / "a.onnx"
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


def test_writing_leaves_a_frozen_part_in_evaluation_mode(tmp_path):
    model = LanguageModel(5, hidden_size=4, dropout=0.5).train()
    model.embedding.eval()
    save_onnx(model, tmp_path / "a.onnx")
    assert model.training
    assert model.recurrent.training
    assert not model.embedding.training
    # This holds also if the export is refused.
    model.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"expected weights of torch\.float32"):
        save_onnx(model, tmp_path / "a.onnx")
    assert model.recurrent.training
    assert not model.embedding.training
