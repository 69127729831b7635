"""Copies of layers with options: by pickle, state dict and folder; and their repr."""

import copy
import io
import json
import pickle

import pytest
import torch

import throughtime as tt

I, H, T, B = 3, 5, 6, 4
OPTIONS = {
    "zoneout": {"zoneout": 0.3},
    "zoneout of c": {"zoneout": {"c": 0.5, "h": 0.1}},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "weight_drop": {"weight_drop": 0.4},
    "proj_size": {"proj_size": 2},
    "activations": {"activations": {"tanh": "softsign", "sigmoid": "hardsigmoid"}},
    "clip": {"clip": 0.5},
}
OPTIONS["all"] = {k: v for options in OPTIONS.values() for k, v in options.items()} | {
    "num_layers": 2,
    "bidirectional": True,
    "learned_state": True,
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def layer(kind=tt.LSTM, **options):
    first = ("lstm-peephole",) if kind is tt.Recurrent else ()
    # Other tests check the results; the reference avoids compiling kernels here.
    module = kind(*first, I, H, backend="reference", **options)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p))
    return module


def numbers(module, seed=1):
    """The outputs in training, with seeded draws, and in evaluation."""
    outputs, was_training = [], module.training
    x = torch.randn(T, B, I, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for learns in (True, False):
            torch.manual_seed(seed)
            outputs.append(module.train(learns)(x)[0])
    module.train(was_training)
    return torch.stack(outputs)


def through_bytes(module):
    return pickle.loads(pickle.dumps(module))


def through_a_file(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@every_option
@pytest.mark.parametrize("copied", [copy.deepcopy, through_bytes, through_a_file])
def test_a_copy_computes_and_draws_the_same_and_goes_its_own_way(options, copied):
    module = layer(tt.Recurrent, **options)
    again = copied(module)
    assert repr(again) == repr(module)
    before = numbers(module)
    assert torch.equal(numbers(again), before)
    with torch.no_grad():
        next(again.parameters()).add_(1)
    again.zoneout = 0.9
    assert torch.equal(numbers(module), before)
    assert not torch.equal(numbers(again), before)


@every_option
def test_a_state_dict_brings_the_weights_and_not_the_options(options):
    module, again = layer(**options), layer(**options)
    assert not torch.equal(numbers(again), numbers(module))
    again.load_state_dict(module.state_dict())
    assert torch.equal(numbers(again), numbers(module))
    is_own = {"proj_size", "learned_state", "num_layers"} & options.keys()
    if not is_own:
        plain = tt.LSTM(I, H)
        assert plain.state_dict().keys() == module.state_dict().keys()


@every_option
@pytest.mark.parametrize("kind", [tt.LSTM, tt.Recurrent])
def test_options_go_into_the_folder_and_come_back(options, kind, tmp_path):
    module = layer(kind, **options)
    tt.save_pretrained(module, tmp_path)
    arguments = json.loads((tmp_path / "config.json").read_text())["arguments"]
    assert {k: arguments[k] for k in options} == options
    again = tt.from_pretrained(tmp_path)
    assert not again.training
    assert type(again) is kind
    assert repr(again) == repr(module)
    assert torch.equal(numbers(again), numbers(module))


def test_what_was_written_before_there_were_these_options_is_read(tmp_path):
    module = layer()
    tt.save_pretrained(module, tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    for option in ("zoneout", "recurrent_dropout", "proj_size", "activations", "clip"):
        del config["arguments"][option]
    file.write_text(json.dumps(config))
    assert torch.equal(numbers(tt.from_pretrained(tmp_path)), numbers(module))


def test_a_function_in_activations_is_refused_before_anything_is_written(tmp_path):
    module = layer(activations={"tanh": torch.sin})
    with pytest.raises(
        ValueError, match=r"save_pretrained: activations\['tanh'\] is a function, which no config"
    ):
        tt.save_pretrained(module, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_an_option_of_the_folder_that_cannot_be_is_refused(tmp_path):
    tt.save_pretrained(layer(), tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["arguments"]["zoneout"] = {"k": 0.5}
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match='unknown state in zoneout "k"'):
        tt.from_pretrained(tmp_path)


def test_a_layer_shows_the_options_that_are_not_the_default():
    module = tt.LSTM(
        *(I, H),
        zoneout={"c": 0.5},
        recurrent_dropout=0.1,
        proj_size=2,
        clip=3.0,
        activations={"tanh": "relu"},
    )
    assert repr(module) == (
        "LSTM(LSTM(), 3, 5, recurrent_dropout=0.1, zoneout={'c': 0.5}, proj_size=2, "
        "activations={'tanh': 'relu'}, clip=3.0)"
    )
    assert repr(tt.GRU(I, H)) == "GRU(GRU(), 3, 5)"


@pytest.mark.parametrize(
    "options", [o for k, o in OPTIONS.items() if k not in ("proj_size", "all")], ids=str
)
def test_torch_has_none_of_them(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"to_torch: the layers of torch\.nn have no {name}"):
        tt.to_torch(tt.LSTM(I, H, **options))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_torch_has_the_projection_of_the_lstm_alone():
    module = layer(proj_size=2)
    theirs = tt.to_torch(module)
    x = torch.randn(T, B, I)
    torch.testing.assert_close(theirs(x)[0], module(x)[0])
    with pytest.raises(ValueError, match=r"torch\.nn have no proj_size"):
        tt.to_torch(tt.RNN(I, H, proj_size=2))


def test_a_stream_of_a_copy_goes_on_where_the_first_one_was(tmp_path):
    module = layer(**(OPTIONS["all"] | {"bidirectional": False}))
    tt.save_pretrained(module, tmp_path)
    again = tt.from_pretrained(tmp_path)
    x = torch.randn(T, B, I)
    stream, other = module.stream(), again.stream()
    first = stream.read(x[:4])
    stream.save(tmp_path / "state")
    other.load(tmp_path / "state")
    rest = other.read(x[4:])
    torch.testing.assert_close(torch.cat([first, rest]), module.eval()(x)[0])
