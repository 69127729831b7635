"""What a C file cannot be written for, and names, files and disks that do not fit."""

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.models.language_model import LanguageModel

from .streamed_models import REFUSED, WHOLE


class Sorted(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return {"h": torch.topk(W.h(x) + R.h(s.h), 5)[0]}


class Halves(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        a = torch.tanh(W.h(x) + R.h(s.h))
        return {"h": torch.cat([a[..., : a.shape[-1] // 2]] * 2, -1)}


@pytest.mark.parametrize("name", [*REFUSED, *WHOLE])
def test_what_cannot_run_step_by_step_is_refused_with_the_reason(name, tmp_path):
    make, reason = (REFUSED | WHOLE)[name]
    with pytest.raises(ValueError, match=reason):
        tt.save_c(make(), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (tt.cells.get("lstm"), "bidirectional=True reads a sequence from its end"),
        (Sorted(), "topk has no kernel"),
        (Halves(), "with H = 5 units"),
    ],
)
def test_layers_that_are_refused(cell, reason, tmp_path):
    layer = tt.Recurrent(cell, 3, 5, bidirectional=cell.name == "lstm")
    with pytest.raises(ValueError, match=reason):
        tt.save_c(layer, tmp_path)


@pytest.mark.parametrize("save", [tt.save_c, tt.save_onnx])
@pytest.mark.parametrize("part", ["", "scores"])
def test_a_replaced_forward_is_refused(part, save, tmp_path):
    model = LanguageModel(5, hidden_size=4).eval()
    module = model.get_submodule(part)
    forward = module.forward
    module.forward = lambda *args: forward(*args)
    with pytest.raises(ValueError, match=f"forward of {part or 'the module'} has been replaced"):
        save(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("save", [tt.save_c, tt.save_onnx])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("part", ["", "recurrent", "scores"])
def test_a_forward_hook_is_refused(part, register, save, tmp_path):
    model = LanguageModel(5, hidden_size=4).eval()
    nn.utils.parametrizations.weight_norm(model.recurrent, "weight_hh_l0")
    handle = getattr(model.get_submodule(part), register)(lambda *values: None)
    where = part or "the module"
    with pytest.raises(ValueError, match=f"{where} has the forward hook .*<lambda>.*not written"):
        save(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    handle.remove()
    # A gradient's hook changes no output.
    model.scores.register_full_backward_hook(lambda *values: None)
    save(model, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "name",
    ["", "1st", "my-net", "a b", "../x", "größe", "_x", "float", "new", None, "math", "Time", "s"],
)
def test_a_name_that_is_no_identifier_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="save_c: "):
        tt.save_c(tt.GRU(2, 3), tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_stay(tmp_path):
    tt.save_c(tt.GRU(2, 3), tmp_path, name="net")
    before = (tmp_path / "net.c").read_text()
    with pytest.raises(ValueError, match=r"net\.h exists.*overwrite=True"):
        tt.save_c(tt.GRU(2, 3), tmp_path, name="net")
    assert (tmp_path / "net.c").read_text() == before
    tt.save_c(tt.GRU(2, 3), tmp_path, name="net", overwrite=True)
    assert (tmp_path / "net.c").read_text() != before


@pytest.mark.parametrize("end", [".h", ".c", ".bin"])
def test_a_full_disk_leaves_all_files_that_were_there(end, tmp_path, monkeypatch):
    """Also where it is full only after the first files: a header does not fit another C file."""
    tt.save_c(tt.GRU(2, 3), tmp_path, name="net", binary=True)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(self, content):
        if self.name == f"net{end}.partial":
            self.open("wb").close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        tt.save_c(tt.GRU(2, 4), tmp_path, name="net", binary=True, overwrite=True)
    assert str(error.value.filename).endswith(f"net{end}")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_unknown_weights_and_weights_without_a_value(tmp_path):
    with pytest.raises(ValueError, match='unknown type of weights "int4"; did you mean "int8"'):
        tt.save_c(tt.GRU(2, 3), tmp_path, weights="int4")
    layer = tt.GRU(2, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] = 1e300
    for weights in ("float", "int8"):
        with pytest.raises(ValueError, match=r'which no float can hold\. Choose "double"'):
            tt.save_c(layer, tmp_path, weights=weights)
    layer = tt.GRU(2, 3)
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite weights, but weight_hh_l0"):
        tt.save_c(layer, tmp_path)
