"""to_torch and back: equal numbers, names and modes."""

import pytest
import torch
from torch import nn

import throughtime as tt


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: tt.LSTM(3, 4, **o),
        lambda **o: tt.GRU(3, 4, **o),
        lambda **o: tt.RNN(3, 4, **o),
        lambda **o: tt.RNN(3, 4, nonlinearity="relu", **o),
        lambda **o: tt.Recurrent("gru", 3, 4, **o),
        lambda **o: tt.LSTM(3, 4, proj_size=2, **o),
    ],
    ids=["lstm", "gru", "tanh", "relu", "recurrent", "projected"],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.25, "batch_first": True}],
    ids=["plain", "deep"],
)
@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_and_the_state_dict_stay_the_same(make, options, bias):
    ours = make(bias=bias, dtype=torch.float64, **options).eval()
    theirs = tt.to_torch(ours)
    assert isinstance(theirs, nn.RNNBase)
    assert not theirs.training
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    (y, last), (y2, last2) = ours(x), theirs(x)
    torch.testing.assert_close(y, y2)
    for a, b in zip(last, last2, strict=True):
        torch.testing.assert_close(a, b)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    back = tt.from_torch(theirs)
    torch.testing.assert_close(back(x)[0], y)


def test_a_whole_model_and_a_layer_in_two_places():
    layer = tt.LSTM(3, 3)
    model = nn.ModuleList([layer, nn.Linear(3, 3), layer])
    theirs = tt.to_torch(model)
    assert type(theirs[0]) is nn.LSTM
    assert theirs[0] is theirs[2]
    assert model[0] is layer


def test_what_torch_has_not_is_refused():
    with pytest.raises(ValueError, match=r"no layer for the cell lstm-peephole; it has those of"):
        tt.to_torch(tt.Recurrent("lstm-peephole", 3, 4))
    with pytest.raises(ValueError, match=r'concatenate their directions, got merge="sum"'):
        tt.to_torch(tt.LSTM(3, 4, bidirectional=True, merge="sum"))
    with pytest.raises(ValueError, match=r"got Linear with none"):
        tt.to_torch(nn.Linear(3, 4))
    for option in ({"zoneout": 0.1}, {"recurrent_dropout": 0.1}, {"clip": 1.0}):
        with pytest.raises(ValueError, match=rf"torch\.nn have no {next(iter(option))}"):
            tt.to_torch(tt.LSTM(3, 4, **option))
    with pytest.raises(ValueError, match=r"torch\.nn have no activations"):
        tt.to_torch(tt.LSTM(3, 4, activations={"tanh": "relu"}))
    with pytest.raises(ValueError, match=r"torch\.nn have no proj_size"):
        tt.to_torch(tt.Recurrent("rnn-tanh", 3, 4, proj_size=2))

    class Other(type(tt.cells.get("lstm"))):
        def step(self, x, W, R, s, p):
            return super().step(x, W, R, s, p)

    with pytest.raises(ValueError, match="no layer for the cell"):
        tt.to_torch(tt.Recurrent(Other(), 3, 4))
