"""A file run piece by piece, with the last state of each piece, equals the whole sequence."""

import pytest
import torch

import throughtime as tt
from throughtime.interchange.onnx import save_onnx

from .onnx_runs import close, ours, run, session, states

PIECES = [[1] * 12, [5, 1, 6], [2, 3, 7], [11, 1]]


@pytest.mark.parametrize("name", tt.cells.names())
def test_every_cell_in_pieces(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers=2)
    save_onnx(layer, tmp_path / "a.onnx")
    ran, x, initial = session(tmp_path / "a.onnx"), torch.randn(12, 2, 3), states(layer, 2)
    whole = ours(layer, x, initial)
    for sizes in PIECES:
        outputs, state = [], initial
        for piece in x.split(sizes):
            output, *state = run(layer, ran, piece, state)
            outputs.append(output)
        close([torch.cat(outputs), *state], whole)


@pytest.mark.parametrize("name", ["gru", "lstm-peephole", "janet", "slstm"])
def test_rows_that_end_in_different_pieces(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers=2)
    save_onnx(layer, tmp_path / "a.onnx", lengths=True)
    ran, x, initial = session(tmp_path / "a.onnx"), torch.randn(12, 4, 3), states(layer, 4)
    lengths = torch.tensor([12, 0, 5, 7])
    outputs, state, done = [], initial, 0
    for piece in x.split([5, 1, 6]):
        left = (lengths - done).clamp(0, len(piece))
        output, *state = run(layer, ran, piece, state, left.tolist())
        outputs.append(output)
        done += len(piece)
    close([torch.cat(outputs), *state], ours(layer, x, initial, lengths))


@pytest.mark.parametrize("name", ["gru", "lstm-peephole", "janet", "slstm"])
def test_the_file_goes_on_where_the_layer_stopped_and_the_reverse(name, tmp_path):
    layer = tt.Recurrent(name, 3, 5, num_layers=2)
    save_onnx(layer, tmp_path / "a.onnx")
    ran, x, initial = session(tmp_path / "a.onnx"), torch.randn(9, 2, 3), states(layer, 2)
    first, *state = ours(layer, x[:4], initial)
    second, *state = run(layer, ran, x[4:7], state)
    third, *state = ours(layer, x[7:], state)
    close([torch.cat([first, second, third]), *state], ours(layer, x, initial))
