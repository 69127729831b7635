"""Modules of the files that save_onnx and the exporter of PyTorch write: they compute what the
layer does, can be trained and copied, and refuse bad calls."""

import copy
import warnings

import pytest
import torch

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.interchange.onnx import load_onnx, save_onnx
from throughtime.interchange.onnx.native import NATIVE

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

I, H = 2, 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product"])
@pytest.mark.parametrize("name", ["lstm", "lstm-peephole", "lstm-cifg", "gru", "rnn-linear"])
def test_what_we_wrote_comes_back(name, merge, dtype, tmp_path):
    layer = tt.Recurrent(
        name, 3, 5, 2, batch_first=True, bidirectional=True, merge=merge, dtype=dtype
    )
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    module = load_onnx(tmp_path / "a.onnx")
    assert module.input_names[:3] == ("input", "lengths", "h_0")
    x = torch.randn(3, 6, 3, dtype=dtype)
    initial = [torch.randn(4, 3, 5, dtype=dtype) for _ in layer.cell.state_specs]
    lengths = torch.tensor([6, 1, 4])
    output, last = layer(x, initial[0] if len(initial) == 1 else tuple(initial), lengths=lengths)
    got = module(x, lengths, *initial)
    last = (last,) if isinstance(last, torch.Tensor) else last
    for a, b in zip(got, (output, *last), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_cell_comes_back_in_float64(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, dtype=torch.float64)
    save_onnx(layer, tmp_path / "a.onnx")
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    zeros = [torch.zeros(1, 2, 5, dtype=torch.float64) for _ in layer.cell.state_specs]
    got = load_onnx(tmp_path / "a.onnx", backend="reference")(x, *zeros)
    torch.testing.assert_close(got[0], layer(x)[0], rtol=0, atol=1e-12)


def test_the_module_can_be_trained_copied_and_saved(tmp_path):
    layer = tt.Recurrent("lstm-peephole", 3, 5, dtype=torch.float64)
    save_onnx(layer, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx")
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    zeros = torch.zeros(1, 2, 5, dtype=torch.float64)
    module(x, zeros, zeros)[0].square().sum().backward()
    layer(x)[0].square().sum().backward()
    z, i, f, o = layer.weight_hh_l0.grad.split(5)
    torch.testing.assert_close(module.stored.R_l0.grad[0], torch.cat([i, o, f, z]))
    again = copy.deepcopy(module)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(x, zeros, zeros)[0], module(x, zeros, zeros)[0])
    torch.save(module, tmp_path / "module.pt")
    restored = torch.load(tmp_path / "module.pt", weights_only=False)
    assert torch.equal(restored(x, zeros, zeros)[0], module(x, zeros, zeros)[0])


@pytest.mark.parametrize(
    "theirs",
    [
        torch.nn.LSTM(I, H, 2, bidirectional=True),
        torch.nn.LSTM(I, H, batch_first=True),
        torch.nn.GRU(I, H, 2),
        torch.nn.RNN(I, H, bidirectional=True),
        torch.nn.RNN(I, H, nonlinearity="relu", bias=False),
    ],
    ids=repr,
)
def test_what_the_exporter_of_torch_writes(theirs, tmp_path):
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "a", 1: "b"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            theirs, (torch.randn(4, 2, I),), tmp_path / "a.onnx", dynamo=False, **names
        )
    module = load_onnx(tmp_path / "a.onnx", backend="reference")
    x = torch.randn(5, 3, I)
    output, last = theirs(x)
    last = (last,) if isinstance(last, torch.Tensor) else last
    for a, b in zip(module(x), (output, *last), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_bad_calls(tmp_path):
    save_onnx(tt.GRU(3, 4), tmp_path / "a.onnx", lengths=True)
    module = load_onnx(tmp_path / "a.onnx")
    x, h, lengths = torch.zeros(5, 2, 3), torch.zeros(1, 2, 4), torch.tensor([5, 1])
    with pytest.raises(TypeError, match=r"expected 3 input\(s\) \(input, lengths, h_0\), got 1"):
        module(x)
    with pytest.raises(TypeError, match="expected the input h_0 as a tensor, got None"):
        module(x, lengths, None)
    with pytest.raises(ShapeError, match=r"input of shape \(time, batch, 3\).*got \(5, 2, 4\)"):
        module(torch.zeros(5, 2, 4), lengths, h)
    with pytest.raises(ShapeError, match=r"h_0 of shape \(1, batch, 4\) with batch=2, got"):
        module(x, lengths, torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match=r"expected whole numbers in lengths, got torch\.float32"):
        module(x, lengths.float(), h)
    with pytest.raises(
        ValueError, match=r"expected floating-point numbers in input, got torch\.int"
    ):
        module(x.long(), lengths, h)
    with pytest.raises(ValueError, match="expected lengths from 0 to 5"):
        module(x, torch.tensor([9, 1]), h)
    with pytest.raises(ValueError, match=r"expected W of torch\.float64 as X is"):
        module(x.double(), lengths, h.double())
    with pytest.raises(ValueError, match=r'unknown backend "cp"; did you mean "cpp"'):
        load_onnx(tmp_path / "a.onnx", backend="cp")
    with pytest.raises(ShapeError, match="at least one time step"):
        module(x[:0], torch.tensor([0, 0]), h)
