"""The export includes the changes that a layer's options make to its equations."""

import pytest
import torch

import throughtime as tt
from throughtime.cells.cell import Input
from throughtime.interchange.onnx import save_onnx
from throughtime.models import LanguageModel

from .onnx_runs import check, close, onnx, session, tuple_of


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", dict(zoneout={"h": 0.05, "c": 0.5})),
        ("gru", dict(zoneout=0.25)),
        ("janet", dict(zoneout=0.25, clip=0.3)),
        ("lstm-peephole", dict(activations={"tanh": "relu", "sigmoid": "hardsigmoid"}, clip=1.0)),
        ("rnn-tanh", dict(activations={"tanh": "sin"})),
        ("gru", dict(activations={"tanh": "elu"})),
        ("gru", dict(activations={"tanh": "gelu"})),
        ("lstm", dict(proj_size=2)),
        ("lstm", dict(proj_size=3, zoneout=0.1, clip=0.5)),
    ],
)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_other_equations(cell, options, num_layers, tmp_path):
    layer = tt.Recurrent(cell, 3, 5, num_layers, bidirectional=True, **options)
    check(layer.eval(), tmp_path / "a.onnx", ragged=True)
    ops = [n.op_type for n in onnx.load(tmp_path / "a.onnx").graph.node]
    assert ops.count("Scan") == 2 * num_layers


def test_the_projection_is_as_narrow_as_it_was_learned(tmp_path):
    save_onnx(tt.LSTM(3, 50, proj_size=2), tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx").graph
    shapes = {tuple(w.dims) for w in graph.initializer if len(w.dims) == 2}
    assert shapes == {(3, 200), (2, 200), (50, 2)}
    widths = {i.name: i.type.tensor_type.shape.dim[-1].dim_value for i in graph.input}
    assert widths == {"input": 3, "h_0": 2, "c_0": 50}


@pytest.mark.parametrize("cell", ["lstm", "janet"])
def test_a_layer_in_training_mode_is_written_as_in_evaluation_mode(cell, tmp_path):
    options = dict(dropout=0.5, zoneout=0.2, recurrent_dropout=0.3, weight_drop=0.4)
    layer = tt.Recurrent(cell, 3, 5, 2, **options)
    save_onnx(layer, tmp_path / "trained.onnx")
    assert layer.training
    save_onnx(layer.eval(), tmp_path / "evaluated.onnx")
    assert not layer.training
    first, second = (onnx.load(tmp_path / f"{n}.onnx") for n in ("trained", "evaluated"))
    assert first.graph == second.graph
    check(layer, tmp_path / "a.onnx")


class Timed(tt.Cell):
    """A cell that forgets with the time that has passed, for all units and for each unit."""

    gates, states = ("h",), ("h",)
    inputs = {"gap": Input(size=1), "weight": Input()}  # noqa: RUF012

    def step(self, x, W, R, s, p, u):
        kept = s.h * torch.exp(-u.gap) + 0.01 * u.gap.sum(-1, keepdim=True)
        return dict(h=torch.tanh(W.h(x) + R.h(kept)) * u.weight)


@pytest.mark.parametrize("batch_first", [True, False])
def test_further_inputs(batch_first, tmp_path):
    layer = tt.Recurrent(
        Timed(), 3, 5, 2, bidirectional=True, batch_first=batch_first, backend="reference"
    )
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    leading = (3, 6) if batch_first else (6, 3)
    x, gap, weight = (torch.rand(*leading, n) for n in (3, 1, 5))
    h, lengths = torch.randn(4, 3, 5), torch.tensor([6, 2, 0])
    feed = dict(input=x, lengths=lengths.int(), gap=gap, weight=weight, h_0=h)
    feed = {name: value.numpy() for name, value in feed.items()}
    got = session(tmp_path / "a.onnx").run(None, feed)
    with torch.no_grad():
        output, last = layer(x, h, lengths=lengths, inputs=dict(gap=gap, weight=weight))
    close([torch.from_numpy(v) for v in got], [output, *tuple_of(last)])


def test_what_no_file_can_hold_is_refused(tmp_path):
    class Noisy(tt.Cell):
        gates, states = ("h",), ("h",)
        inputs = {"noise": Input(drawn="step")}  # noqa: RUF012

        def step(self, x, W, R, s, p, u):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)) + u.noise)

    class Twice(Timed):
        inputs = {"gap": Input(size=1), "h_0": Input()}  # noqa: RUF012

        def step(self, x, W, R, s, p, u):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)) * u.h_0)

    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match=r"an input h_0 of its own; expected another name for th"):
        save_onnx(tt.Recurrent(Twice(), 3, 4), path)
    with pytest.raises(ValueError, match=r"Noisy cannot be exported: .* but noise is drawn at ran"):
        save_onnx(tt.Recurrent(Noisy(), 3, 4), path)
    with pytest.raises(
        ValueError,
        match="a LanguageModel gives its cell one input alone, and Timed also reads gap, weight",
    ):
        save_onnx(LanguageModel(7, cell=Timed()), path)
    assert not path.exists()
