"""Cells exported as Scan nodes: ONNX Runtime computes the results of the layer."""

import json

import pytest
import torch

import throughtime as tt
from throughtime.interchange.onnx import load_onnx, save_onnx
from throughtime.interchange.onnx.native import NATIVE
from throughtime.models import LanguageModel

from .onnx_runs import check, close, onnx, ours, run, session, states, tuple_of

MERGES = ["concat", "sum", "mean", "product"]
# One and several states, products of values of the step, an initial state that is not zero.
SOME = ["janet", "minimal-rnn", "slstm", "lstm-layer-norm", "plrnn"]


@pytest.mark.parametrize("name", tt.cells.names())
def test_every_cell_can_be_exported(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers=2, bidirectional=True, batch_first=True)
    check(layer, tmp_path / "a.onnx", ragged=True)
    ops = {n.op_type for n in onnx.load(tmp_path / "a.onnx").graph.node}
    assert ops & {"RNN", "GRU", "LSTM", "Scan"} == {NATIVE[name].op if name in NATIVE else "Scan"}


@pytest.mark.parametrize("name", [n for n in tt.cells.names() if n not in NATIVE])
def test_it_is_the_same_in_float64(name, tmp_path):
    layer = tt.Recurrent(name, 2, 3, dtype=torch.float64)
    if name in ("slstm", "sgu"):
        # Their equations use Softplus, which ONNX Runtime does not have in float64.
        save_onnx(layer, tmp_path / "a.onnx")
        with pytest.raises(Exception, match="Could not find an implementation for Softplus"):
            session(tmp_path / "a.onnx")
        return
    # The backbone of cfc scales the operand of a product by a constant, which this optimiser moves
    # into the product and rounds to float32.
    check(layer, tmp_path / "a.onnx", tolerance=1e-12, without=["MatMulScaleFusion"])
    if not name.startswith("cfc"):
        check(layer, tmp_path / "a.onnx", tolerance=1e-12)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("size", [1, 33])
@pytest.mark.parametrize("name", SOME)
def test_sizes(name, size, bias, tmp_path):
    check(tt.Recurrent(name, size, size, bias=bias), tmp_path / "a.onnx", T=3)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("independent", [True, False], ids=["independent", ""])
@pytest.mark.parametrize("residual", [True, False], ids=["residual", ""])
def test_merges_residual_layers_and_directions_apart(merge, independent, residual, tmp_path):
    layer = tt.Recurrent(
        "janet",
        3,
        5,
        3,
        bidirectional=True,
        merge=merge,
        residual=residual,
        independent=independent,
        dropout=0.5,
    )
    check(layer.eval(), tmp_path / "a.onnx", ragged=True)


@pytest.mark.parametrize("name", SOME)
def test_a_row_without_steps_keeps_its_state(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, 2, bidirectional=True)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    x, initial, lengths = torch.randn(4, 3, 3), states(layer, 3), [4, 0, 2]
    # Past the end of a row, the input may have any value.
    x[2:, 2] = torch.nan
    got = run(layer, session(tmp_path / "a.onnx"), x, initial, lengths)
    close(got, ours(layer, x, initial, lengths))
    assert torch.equal(got[1][:, 1], initial[0][:, 1])
    assert not got[0][2:, 2].any()


@pytest.mark.parametrize("name", ["lstm", "slstm", "janet"])
@pytest.mark.parametrize("learned", [True, False])
def test_the_file_says_how_a_new_sequence_starts(learned, name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, 2, bidirectional=True, learned_state=learned)
    if learned:
        for key, parameter in layer.named_parameters():
            if key.startswith("initial_"):
                torch.nn.init.normal_(parameter)
    save_onnx(layer, tmp_path / "a.onnx")
    ran = session(tmp_path / "a.onnx")
    metadata = ran.get_modelmeta().custom_metadata_map
    initial = []
    for state in layer.cell.state_specs:
        start = torch.tensor(json.loads(metadata[f"{state}_0"]))
        start = start.unsqueeze(1) if learned else start
        initial.append(start.expand(4, 2, 5).contiguous())
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        output, last = layer(x)
    close(run(layer, ran, x, initial), [output, *tuple_of(last)])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cell", ["janet", "slstm"])
def test_a_language_model(cell, tied, tmp_path):
    model = LanguageModel(11, cell=cell, hidden_size=8, tied=tied)
    save_onnx(model, tmp_path / "a.onnx")
    tokens, initial = torch.randint(11, (3, 9)), states(model.recurrent, 3)
    names = model.recurrent.cell.state_specs
    feed = {f"{n}_0": s.numpy() for n, s in zip(names, initial, strict=True)}
    got = session(tmp_path / "a.onnx").run(None, {"tokens": tokens.numpy(), **feed})
    with torch.no_grad():
        scores, last = model(tokens, initial[0] if len(initial) == 1 else initial)
    close([torch.from_numpy(v) for v in got], [scores, *tuple_of(last)])


def test_one_file_for_any_batch_and_number_of_steps(tmp_path):
    layer = tt.Recurrent("janet", 3, 5, bidirectional=True)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    ran = session(tmp_path / "a.onnx")
    for T, B in [(1, 1), (9, 2), (2, 7)]:
        x, initial, lengths = torch.randn(T, B, 3), states(layer, B), [T] * B
        close(run(layer, ran, x, initial, lengths), ours(layer, x, initial))


class Odd(tt.Cell):
    """A cell with all features that the cells of the registry do not have."""

    gates, states = ("a", "b"), ("h", "c", "d", "e")
    parameters = ("u", "v")
    recurrent_blocks = ("a", "k")
    output = "y"

    def step(self, x, W, R, s, p):
        ahead = torch.tanh(W.a(x))
        # Masks that depend on the input only and on the state, beside numbers.
        kept = torch.where(ahead > 0, s.h, s.c) + (s.h > 0.1) * 0.5
        share = torch.softmax(W.b(x), -1)
        # A matrix of the input applied to a state, and a recurrent matrix applied to another value.
        mixed = W.b(s.h) + R.k(ahead) + torch.remainder(s.c, 0.7) + R.a(torch.sigmoid(s.h))
        rate = torch.sigmoid(p.u) * p.v.mean(-1, keepdim=True)
        h = torch.tanh(kept + 0.1 * mixed * rate + x)
        return dict(
            h=h, c=share, d=0.25 * torch.ones_like(x), e=p.u * torch.ones_like(x), y=h * share
        )


class Blind(tt.Cell):
    """A cell that does not read its input."""

    gates, states = ("a",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.cos(R.a(s.h)))


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("cell", [Odd(), Blind()], ids=["odd", "blind"])
def test_cells_of_ones_own(cell, ragged, tmp_path):
    layer = tt.Recurrent(cell, 5, 5, 2, bidirectional=True, merge="sum", backend="reference")
    check(layer, tmp_path / "a.onnx", ragged=ragged)


def test_only_what_depends_on_a_state_is_inside(tmp_path):
    """minimal-rnn computes the embedding of its input, and its product, before the Scan."""
    save_onnx(tt.Recurrent("minimal-rnn", 3, 5), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    (scan,) = [n for n in graph.node if n.op_type == "Scan"]
    body = next(a.g for a in scan.attribute if a.name == "body")
    assert [n.op_type for n in body.node].count("MatMul") == 1
    outside = [n.op_type for n in graph.node]
    assert (outside.count("MatMul"), outside.count("Tanh")) == (2, 1)
    # Each matrix product with all blocks at once.
    save_onnx(tt.Recurrent("slstm", 3, 5), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert {tuple(w.dims) for w in graph.initializer if len(w.dims) == 2} == {(3, 20), (5, 20)}


def test_what_cannot_be_exported_is_refused(tmp_path):
    class Sorted(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=torch.sort(W.h(x) + R.h(s.h), -1).values)

    class Wide(tt.Cell):
        gates, states = ("h",), {"h": tt.State(), "m": tt.State(7)}

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)), m=s.m + 1)

    class FirstFour(tt.Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            a = torch.tanh(W.h(x) + R.h(s.h))
            return dict(h=a - a[:, 0:4].mean(-1, keepdim=True))

    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match=r"FirstFour cannot be exported: .* is 3 and 4 is 4\."):
        save_onnx(tt.Recurrent(FirstFour(), 3, 3), path)
    with pytest.raises(ValueError, match=r"the cell Sorted cannot be exported: expected a step th"):
        save_onnx(tt.Recurrent(Sorted(), 3, 4), path)
    with pytest.raises(ValueError, match=r"but the state m has a width of its own, 7\. Write"):
        save_onnx(tt.Recurrent(Wide(), 3, 4), path)
    assert not path.exists()
    save_onnx(tt.Recurrent("atr", 3, 4), path)
    with pytest.raises(ValueError, match='unknown operator "Scan"'):
        load_onnx(path)
