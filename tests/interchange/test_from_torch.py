"""from_torch: equal numbers, names and modes, and the original model stays unchanged."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import throughtime as tt

T, B, I, H = 4, 3, 2, 3

OPTIONS = (
    *("input_size", "hidden_size", "num_layers", "bias"),
    *("batch_first", "dropout", "bidirectional"),
)


class Tagger(nn.Module):
    """Recurrent layers in several places: alone, in lists, nested, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(I, H, num_layers=2, bidirectional=True, dropout=0.25)
        self.blocks = nn.ModuleList([nn.GRU(2 * H, 2 * H), nn.Sequential(nn.Linear(2 * H, 2 * H))])
        self.inner = nn.ModuleDict({"deep": nn.ModuleDict({"rnn": nn.RNN(2 * H, H, bias=False)})})
        self.shared = self.blocks[0]

    def forward(self, x):
        x, _ = self.encoder(x)
        x, _ = self.shared(x)
        x, _ = self.blocks[0](self.blocks[1](x))
        return self.inner["deep"]["rnn"](x)


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return Tagger().double()


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(T, B, I, dtype=torch.float64)


@pytest.mark.parametrize(
    ("layer", "ours"),
    [
        (nn.RNN(I, H, nonlinearity="relu", num_layers=2), tt.RNN),
        (nn.RNN(I, H, bidirectional=True), tt.RNN),
        (nn.GRU(I, H, bias=False, batch_first=True), tt.GRU),
        (nn.LSTM(I, H, num_layers=2, dropout=0.5, bidirectional=True), tt.LSTM),
        (nn.LSTM(I, H, num_layers=2, bidirectional=True, proj_size=2), tt.LSTM),
    ],
)
def test_a_layer_alone_becomes_ours_with_all_its_options(layer, ours, x):
    layer = layer.double()
    got = tt.from_torch(layer)
    assert type(got) is ours
    for option in (*OPTIONS, *(["nonlinearity"] if ours is tt.RNN else [])):
        assert getattr(got, option) == getattr(layer, option)
    for module in (got, layer):
        module.eval()
    output, last = got(x)
    expected, end = layer(x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(last, end)


def recurrent_layers(model, kind):
    return [m for m in model.modules() if isinstance(m, kind)]


def test_every_recurrent_layer_of_a_model_becomes_ours_and_the_outputs_stay(theirs, x):
    ours = tt.from_torch(theirs)
    assert type(ours) is Tagger
    assert recurrent_layers(ours, nn.RNNBase) == []
    assert len(recurrent_layers(ours, tt.Recurrent)) == 3
    theirs.eval()
    ours.eval()
    for got, expected in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_dropout_goes_on_under_the_same_seed(theirs, x):
    ours = tt.from_torch(theirs)
    outputs = []
    for model in (theirs, ours):
        torch.manual_seed(3)
        outputs.append(model(x)[0])
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)


def test_checkpoints_go_both_ways(theirs):
    ours = tt.from_torch(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)


def test_a_layer_in_two_places_stays_one_layer(theirs):
    ours = tt.from_torch(theirs)
    assert ours.shared is ours.blocks[0]
    assert isinstance(ours.shared, tt.GRU)


def test_a_layer_under_two_names_of_one_parent_stays_one_layer():
    layer = nn.LSTM(I, I)
    ours = tt.from_torch(nn.ModuleDict({"first": layer, "second": layer}))
    assert isinstance(ours["second"], tt.LSTM)
    assert ours["first"] is ours["second"]


def test_weights_that_are_tied_stay_tied():
    model = nn.ModuleList([nn.GRU(H, H), nn.GRU(H, H), nn.Linear(H, 3 * H)])
    model[1].weight_hh_l0 = model[0].weight_hh_l0
    model[2].weight = model[0].weight_ih_l0
    ours = tt.from_torch(model)
    assert ours[1].weight_hh_l0 is ours[0].weight_hh_l0
    assert ours[2].weight is ours[0].weight_ih_l0
    assert ours[0].weight_hh_l0 is not model[0].weight_hh_l0


@pytest.mark.parametrize("training", [True, False])
def test_frozen_weights_and_the_training_mode_come_along(theirs, training):
    theirs.encoder.weight_hh_l1_reverse.requires_grad_(False)
    theirs.shared.requires_grad_(False)
    theirs.train(training)
    theirs.encoder.train(not training)
    ours = tt.from_torch(theirs)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.requires_grad == b.requires_grad, name
    for (name, a), (_, b) in zip(ours.named_modules(), theirs.named_modules(), strict=True):
        assert a.training == b.training, name


def test_the_argument_and_the_random_numbers_stay_as_they_are(theirs, x):
    state = copy.deepcopy(theirs.state_dict())
    random = torch.get_rng_state()
    ours = tt.from_torch(theirs)
    assert torch.equal(torch.get_rng_state(), random)
    assert len(recurrent_layers(theirs, nn.RNNBase)) == 3
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert all(torch.equal(v, state[k]) for k, v in theirs.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_comes_along(dtype):
    assert tt.from_torch(nn.GRU(I, H, dtype=dtype)).weight_hh_l0.dtype == dtype


@pytest.mark.parametrize("module", [nn.Linear(2, 2), nn.Sequential(), nn.Tanh()])
def test_a_model_without_a_recurrent_layer_raises(module):
    message = rf"with a torch\.nn\.RNN, LSTM or GRU in it, got {type(module).__name__} with none"
    with pytest.raises(ValueError, match=message):
        tt.from_torch(module)


class Doubled(nn.LSTM):
    """A subclass with its own forward, which a conversion would lose."""

    def forward(self, input, hx=None):
        output, state = super().forward(input, hx)
        return 2 * output, state


@pytest.mark.parametrize("module", [Doubled(I, H), weight_norm(nn.LSTM(I, H), "weight_hh_l0")])
def test_a_layer_that_is_more_than_torch_nns_is_not_converted_in_silence(module):
    with pytest.raises(ValueError, match="from_torch: cannot convert"):
        tt.from_torch(nn.Sequential(module))
