"""Sizes of any integer type: results, saved folders and refusals."""

import json

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.checks import whole_number
from throughtime.kernels.cpp.identity import identity
from throughtime.layers import Attention
from throughtime.models.cloze import Cloze

INTEGERS = [np.int64, np.int8, np.uint16, torch.tensor, np.array]
NO_INTEGERS = [True, np.True_, torch.tensor(True), 2.0, np.float32(2), torch.tensor(2.0), "2", None]

MAKES = {
    "Recurrent": lambda n: tt.Recurrent("gru", n(3), n(4), n(2)),
    "LSTM": lambda n: tt.LSTM(n(3), n(4), num_layers=n(2), proj_size=n(2)),
    "GRUD": lambda n: tt.GRUD(n(3), n(4)),
    "MatrixLSTM": lambda n: tt.MatrixLSTM(n(3), n(4), n(2), chunk_length=n(2)),
    "Attention": lambda n: Attention("additive", n(3), n(4), n(5)),
    "LanguageModel": lambda n: tt.models.LanguageModel(
        n(9), embedding_size=n(3), hidden_size=n(4), num_layers=n(2)
    ),
    "EncoderDecoder": lambda n: tt.models.EncoderDecoder(
        n(9), n(8), embedding_size=n(3), hidden_size=n(4), num_layers=n(2)
    ),
    "OneNetwork": lambda n: tt.models.OneNetwork(
        n(9), n(8), embedding_size=n(3), hidden_size=n(4), num_layers=n(2)
    ),
    "Cloze": lambda n: Cloze(n(9), embedding_size=n(3), hidden_size=n(4), num_layers=n(2)),
    "depth of a cell": lambda n: tt.Recurrent(tt.cells.get("rhn", depth=n(2)), 3, 4),
    "delay of a cell": lambda n: tt.Recurrent(tt.cells.get("tau-gru", delay=n(2)), 3, 4),
}
SAVED = ("Recurrent", "LSTM", "LanguageModel", "EncoderDecoder", "OneNetwork", "Cloze")
SAVED += ("depth of a cell", "delay of a cell")


@pytest.mark.parametrize("of", INTEGERS)
@pytest.mark.parametrize("name", MAKES)
def test_every_integer_type_makes_the_same_module(name, of):
    modules = []
    for kind in (int, of):
        torch.manual_seed(0)
        modules.append(MAKES[name](kind))
    ours, expected = (dict(m.named_parameters()) for m in modules[::-1])
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    assert "np." not in repr(modules[1])
    assert "tensor" not in repr(modules[1])
    for key in ("input_size", "hidden_size", "num_layers", "num_heads", "chunk_length"):
        assert type(getattr(modules[1], key, 1)) is int


@pytest.mark.parametrize("of", INTEGERS)
@pytest.mark.parametrize("name", SAVED)
def test_they_can_be_written_into_a_folder(name, of, tmp_path):
    tt.save_pretrained(MAKES[name](int), tmp_path / "plain")
    tt.save_pretrained(MAKES[name](of), tmp_path / "other")
    configs = [
        json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("plain", "other")
    ]
    assert configs[0] == configs[1]
    tt.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize(
    ("constant", "text"),
    [
        (0.5, "co-rnn(dt=0.1, gamma=0.5, epsilon=1.0)"),
        (np.float32(0.25), "co-rnn(dt=0.1, gamma=0.25, epsilon=1.0)"),
        (np.float64(0.75), "co-rnn(dt=0.1, gamma=0.75, epsilon=1.0)"),
        (np.int64(3), "co-rnn(dt=0.1, gamma=3, epsilon=1.0)"),
    ],
)
def test_another_process_can_read_the_constants_of_a_cell(constant, text):
    """An exported program identifies the cell by this text, and its loader parses only literals."""
    assert identity(tt.cells.get("co-rnn", gamma=constant)) == text


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="LSTM: expected num_layers as a whole number, got"):
        tt.LSTM(3, 4, num_layers=value)
    with pytest.raises(TypeError, match="LSTM: expected hidden_size as a whole number, got"):
        tt.LSTM(3, value)
    with pytest.raises(TypeError, match="GRUD: expected input_size as a whole number, got"):
        tt.GRUD(value, 4)
    with pytest.raises(TypeError, match="MatrixLSTM: expected num_heads as a whole number, got"):
        tt.MatrixLSTM(3, 4, value)
    with pytest.raises(TypeError, match="LanguageModel: expected vocab_size as a whole number"):
        tt.models.LanguageModel(value)


@pytest.mark.parametrize("of", [int, *INTEGERS])
def test_too_small_a_number_is_refused(of):
    with pytest.raises(ValueError, match="GRU: expected num_layers of at least 1, got 0"):
        tt.GRU(3, 4, of(0))
    with pytest.raises(ValueError, match="MatrixLSTM: expected hidden_size of at least 1, got 0"):
        tt.MatrixLSTM(3, of(0))
    assert whole_number("here", "size", of(0), least=0) == 0
