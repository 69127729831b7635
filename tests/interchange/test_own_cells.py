"""Layers of unregistered cells in a folder, which names the class; the caller passes it."""

import json
import sys

import pytest
import torch
from torch import nn

import throughtime as tt


class Leaky(tt.Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, units, rate=0.1, powers=(1, 2)):
        self.units, self.rate, self.powers = units, rate, list(powers)
        self.gain = nn.Parameter(torch.ones(units))
        self.mix = nn.Linear(units, units)

    def step(self, x, W, R, s, p):
        new = torch.tanh(W.h(x) + R.h(s.h) + self.mix(self.gain * s.h))
        return dict(h=(1 - self.rate) * s.h + self.rate * new)


class Plain(Leaky):
    pass


class Renamed:
    pass


@pytest.fixture
def layer():
    layer = tt.Recurrent(Leaky(5, rate=0.3), 3, 5, bidirectional=True)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    return layer


def test_a_layer_of_an_unregistered_cell_is_saved_and_loaded(layer, tmp_path):
    tt.save_pretrained(layer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["cell"] == {
        "name": f"{__name__}.Leaky",
        "constants": {"units": 5, "rate": 0.3, "powers": [1, 2]},
    }
    again = tt.from_pretrained(tmp_path, cells=[Plain, Leaky])
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(again(x)[0], layer(x)[0], rtol=0, atol=0)
    assert type(again.cell) is Leaky
    assert again.cell.rate == 0.3


def test_without_the_class_nothing_is_imported(layer, tmp_path):
    tt.save_pretrained(layer, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace(f"{__name__}.Leaky", "module_of_nobody.Leaky2"))
    with pytest.raises(ValueError, match=r"the class module_of_nobody\.Leaky2 among .* got none"):
        tt.from_pretrained(tmp_path)
    assert "module_of_nobody" not in sys.modules
    with pytest.raises(ValueError, match=r"from_pretrained\(folder, cells=\[Leaky2\]\)"):
        tt.from_pretrained(tmp_path, cells=[Leaky])
    # The class may have moved; the caller vouches for it.
    file.write_text(file.read_text().replace("module_of_nobody.Leaky2", "module_of_nobody.Leaky"))
    assert type(tt.from_pretrained(tmp_path, cells=[Leaky]).cell) is Leaky
    for wrong in (Renamed, Leaky(5), "Leaky"):
        with pytest.raises(TypeError, match="expected cells as classes of cells"):
            tt.from_pretrained(tmp_path, cells=[wrong])


def test_constants_that_the_class_does_not_accept_are_refused(layer, tmp_path):
    tt.save_pretrained(layer, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"rate"', '"rates"'))
    with pytest.raises(ValueError, match=r"cell\.constants: .*unexpected keyword argument 'rates'"):
        tt.from_pretrained(tmp_path, cells=[Leaky])


def test_cells_that_could_not_be_loaded_again_are_not_saved(tmp_path):
    class Inside(Leaky):
        pass

    with pytest.raises(ValueError, match="Inside is not registered and is defined inside a"):
        tt.save_pretrained(tt.Recurrent(Inside(5), 3, 5), tmp_path)
    with pytest.raises(ValueError, match=r"Leaky\.powers\[0\] is a function"):
        tt.save_pretrained(tt.Recurrent(Leaky(5, powers=[abs]), 3, 5), tmp_path)


def test_a_layer_of_an_unregistered_cell_is_exported_to_onnx(layer, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    tt.save_onnx(layer, tmp_path / "layer.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "layer.onnx"))
    x, state = torch.randn(4, 2, 3), torch.randn(2, 2, 5)
    names = [i.name for i in session.get_inputs()]
    feed = dict(zip(names, (x.numpy(), state.numpy()), strict=True))
    got = session.run(None, feed)[0]
    torch.testing.assert_close(
        torch.from_numpy(got), layer(x, state)[0].detach(), atol=1e-5, rtol=0
    )
