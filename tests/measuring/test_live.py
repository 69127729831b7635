"""Measuring the steps of streams: what is compared, and that wrong outputs get no time."""

import json

import pytest
import torch

from throughtime.cli.main import main
from throughtime.kernels.cpp.build import missing
from throughtime.measuring import live

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def test_all_contenders_compute_the_same_steps():
    point = live.measure("gru", 8, layers=2, peers=("torch", "module"), rounds=2)
    assert not point.errors
    assert set(point.us) == {"ours", "torch", "module"}
    assert point.ratios["torch"] == pytest.approx(point.us["ours"] / point.us["torch"])
    assert set(point.wall_us) == set(point.us)
    assert set(point.wall_ratios) == {"torch", "module"}
    assert 0 < point.error < 1e-5


def test_onnx_runtime_computes_the_same_steps():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    point = live.measure("lstm-peephole", 8, peers=("onnxruntime",), rounds=2)
    assert not point.errors
    assert set(point.us) == {"ours", "onnxruntime"}


def test_wrong_outputs_have_no_time(monkeypatch):
    def wrong(layer, x):
        return list(x), lambda v: torch.zeros(1, layer.hidden_size)

    monkeypatch.setattr(live, "_torch", wrong)
    point = live.measure("gru", 8, peers=("torch",), rounds=1)
    assert "differ from the reference by 1.0e+00" in point.errors["torch"]
    assert set(point.us) == {"ours"}


def test_a_peer_without_the_cell_is_left_out_and_an_unknown_one_refused():
    assert set(live.measure("lem", 8, peers=("torch",), rounds=1).us) == {"ours"}
    with pytest.raises(ValueError, match='unknown peer of a stream "onnx"'):
        live.measure("gru", 8, peers=("onnx",), rounds=1)


def test_the_command_measures_streams(tmp_path, capsys):
    file = tmp_path / "stream.json"
    command = ["bench", "--stream", "--cells", "gru", "--sizes", "1x8", "--weights", "int8"]
    assert main([*command, "--num_layers", "2", "--json", str(file)]) == 0
    (point,) = json.loads(file.read_text())["points"]
    assert (point["cell"], point["layers"], point["batch"]) == ("gru", 2, 1)
    assert 1e-5 < point["error"] < 0.05
    assert "ours us" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--stream", "--steps", "3"], "--steps has no effect with --stream"),
        (["--num_layers", "2"], "--num_layers has no effect without --stream"),
        (["--stream", "--num_layers", "0"], "--num_layers: expected 1 or more, got 0"),
        (["--stream", "--memory"], "--memory and --stream are two measurements"),
        (["--stream", "--peers", "torch"], "--peers has no effect with --stream"),
    ],
)
def test_options_without_effect_are_refused(options, why, capsys):
    assert main(["bench", "--cells", "gru", "--sizes", "1x8", *options]) != 0
    assert why in capsys.readouterr().err
