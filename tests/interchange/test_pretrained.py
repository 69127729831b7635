"""Folders with a model: saved models load unchanged, and damaged folders are refused."""

import inspect
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import throughtime as tt
from throughtime.data.label_schemes import allowed_labels
from throughtime.models import (
    EncoderDecoder,
    EncoderTreeDecoder,
    LanguageModel,
    OneNetwork,
    Trees,
    Writer,
)
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork
from throughtime.models.tagger import Spelling, Tagger

IOB2 = allowed_labels(["O", "B-X", "I-X"], "iob2")
MODELS = {
    "recurrent": lambda: tt.Recurrent("lstm-fgr", 3, 4, num_layers=2, dropout=0.1, save="states"),
    "lstm": lambda: tt.LSTM(3, 4, bidirectional=True, merge="mean", bias=False),
    "gru": lambda: tt.GRU(3, 4, batch_first=True).double(),
    "rnn": lambda: tt.RNN(3, 4, nonlinearity="relu"),
    "model": lambda: LanguageModel(7, cell="gru", hidden_size=8, dropout=0.1),
    "one-hot": lambda: LanguageModel(7, one_hot=True, hidden_size=8),
    "tied": lambda: LanguageModel(7, cell="lstm-cifg", hidden_size=8, tied=True),
    "one": lambda: OneNetwork(
        *(7, 5), cell="gru", hidden_size=8, num_layers=2, dropout=0.2, pad=2, bos=4, eos=0
    ),
    "cloze": lambda: Cloze(
        7, hidden_size=8, num_layers=2, embedding_size=6, tied=True, bos=3, eos=4
    ),
    "none": lambda: EncoderDecoder(
        7, 9, hidden_size=8, attention="none", num_layers=2, pad=5, eos=0
    ),
    "shared": lambda: EncoderDecoder(
        *(7, 7),
        cell="mgu",
        encoder_cell="lstm",
        hidden_size=8,
        shared=True,
        tied=True,
        attention="additive",
        input_feeding=True,
        dropout=0.1,
        bidirectional=False,
    ),
    "sequence to tree": lambda: EncoderTreeDecoder(
        *(7, 5),
        cell="gru",
        sibling_cell="lstm",
        hidden_size=8,
        dropout=0.2,
        encoder_options={"dropout": 0.1, "num_layers": 2},
    ),
    "tree to tree": lambda: EncoderTreeDecoder(
        *(5, 5), source="n-ary", max_children=2, recurrence="H", topology="end", hidden_size=8
    ),
    "texts": lambda: Classifier(
        3,
        vocab_size=7,
        cell="mgu",
        hidden_size=4,
        num_layers=2,
        pooling="attention",
        bidirectional=True,
        dropout=0.2,
        word_dropout=0.1,
    ),
    "series": lambda: Classifier(3, input_size=2, hidden_size=4, pooling="last"),
    "series by window": lambda: Classifier(
        3, input_size=2, hidden_size=4, network="window", window=5
    ),
    "gru-d": lambda: Classifier(3, input_size=2, cell="gru-d", hidden_size=4, zoneout=0.1),
    "tagger": lambda: Tagger(
        7, 3, letter_feature="none", hidden_size=4, num_intents=2, allowed=IOB2, dropout=0.3
    ),
    "spelling": lambda: Tagger(
        *(7, 3),
        num_letters=7,
        letter_feature="convolution",
        letter_size=3,
        letter_embedding_size=2,
        embedding_size=6,
        output="softmax",
        cell="gru",
        hidden_size=4,
        num_layers=2,
        bidirectional=False,
        residual=True,
    ),
    "stepwise": lambda: StepwiseNetwork(3, 2, cell="gru", hidden_size=4, num_layers=2),
    "window": lambda: WindowNetwork(3, 2, window=4, hidden_size=5, num_layers=2),
}
TREES = Trees.of([([0, 1, 2], [-1, 0, 0]), ([3], [-1])])
SCORERS = (LanguageModel, OneNetwork, Writer, Cloze)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_as_it_was(name, tmp_path):
    model = MODELS[name]().eval()
    tt.save_pretrained(model, tmp_path / "model")
    again = tt.from_pretrained(tmp_path / "model")
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    for token in ("pad", "bos", "eos"):
        assert getattr(again, token, None) == getattr(model, token, None)
    assert not again.training
    if isinstance(model, Writer):
        inputs = [torch.randint(3, 7, (2, 5)), [5, 2], torch.randint(3, 5, (2, 4))]
    elif isinstance(model, EncoderTreeDecoder):
        source = torch.randint(7, (2, 5)) if model.source == "sequence" else TREES
        inputs = [source, None, TREES]
    elif name in ("series", "series by window", "gru-d"):
        inputs = [torch.randn(2, 5, 6 if name == "gru-d" else 2), torch.tensor([5, 2])]
    elif name == "spelling":
        letters = Spelling(torch.randint(1, 7, (3, 4)), [4, 1, 2], torch.randint(3, (2, 5)))
        inputs = [torch.randint(7, (2, 5)), [5, 2], letters]
    elif name in ("texts", "tagger"):
        inputs = [torch.randint(7, (2, 5)), torch.tensor([5, 2])]
    elif isinstance(model, SCORERS):
        inputs = [torch.randint(7, (2, 5))]
    else:
        inputs = [torch.randn(2, 5, 3, dtype=next(model.parameters()).dtype)]
    assert torch.equal(again(*inputs)[0], model(*inputs)[0])
    if name == "tagger":
        labels = [list(m.labels.viterbi(m(*inputs).words, inputs[1])[0]) for m in (again, model)]
        assert all(map(torch.equal, *labels))
        assert again.labels.is_constrained
    if name == "tied":
        assert again.scores.weight is again.embedding.weight
    if name == "shared":
        assert again.decoder.scores.weight is again.embedding.weight


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODELS)
def test_every_digit_of_the_weights_comes_back(name, dtype, tmp_path):
    model = MODELS[name]().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            # Drawn in float64, because numbers that float32 can represent would not reveal a
            # rounding.
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    tt.save_pretrained(model, tmp_path)
    again = tt.from_pretrained(tmp_path)
    for (key, a), (_, b) in zip(again.named_parameters(), model.named_parameters(), strict=True):
        assert a.dtype == dtype, key
        assert torch.equal(a, b), key


def test_each_weight_comes_back_with_its_own_dtype(tmp_path):
    model = LanguageModel(7, hidden_size=8)
    model.embedding.double()
    model.scores.bfloat16()
    tt.save_pretrained(model, tmp_path)
    again = tt.from_pretrained(tmp_path)
    assert again.embedding.weight.dtype == torch.float64
    assert again.recurrent.weight_hh_l0.dtype == torch.float32
    assert again.scores.weight.dtype == torch.bfloat16


def test_learned_states_come_back_with_every_digit(tmp_path):
    layer = tt.LSTM(3, 4, learned_state=True, dtype=torch.float64)
    with torch.no_grad():
        layer.initial_c_l0.copy_(torch.randn(4, dtype=torch.float64))
    tt.save_pretrained(layer, tmp_path)
    assert torch.equal(tt.from_pretrained(tmp_path).initial_c_l0, layer.initial_c_l0)


def test_a_loaded_model_does_not_depend_on_the_file(tmp_path):
    model = MODELS["gru"]()
    tt.save_pretrained(model, tmp_path)
    again = tt.from_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)
        file.truncate(8)
    assert torch.equal(again.weight_hh_l0, model.weight_hh_l0)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("lstm", "gru", "rnn")])
def test_a_model_keeps_its_constructor_arguments_as_attributes(name):
    model = MODELS[name]()
    for argument, parameter in inspect.signature(type(model)).parameters.items():
        if argument not in ("device", "dtype"):
            value = getattr(model, argument)
            # A model stores its argument dropout as the layer that drops.
            value = getattr(value, "p", value) if argument == "dropout" else value
            assert value is not None or parameter.default is None, argument


CHANGES = {
    "zoneout": lambda m: setattr(m.recurrent, "zoneout", 0.3),
    "dropout": lambda m: setattr(m.dropout, "p", 0.4),
    "cell": lambda m: setattr(m.recurrent, "cell", tt.cells.get("rnn-tanh")),
    "untied": lambda m: setattr(m.scores, "weight", nn.Parameter(torch.zeros(7, 8))),
    "larger": lambda m: setattr(m, "scores", nn.Linear(8, 9)),
    "more": lambda m: m.scores.register_buffer("scale", torch.ones(1)),
    "other": lambda m: setattr(m, "scores", nn.Sequential(m.scores)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_that_was_changed_is_refused_when_it_is_saved(change, tmp_path):
    model = LanguageModel(7, cell="rnn-relu", hidden_size=8, embedding_size=8, tied=True)
    change(model)
    with pytest.raises(
        ValueError, match=r"save_pretrained: expected .* was changed after its construction"
    ):
        tt.save_pretrained(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_saving_and_the_numbers_at_random(tmp_path):
    """The comparison model is built without memory and without random draws."""
    before = torch.get_rng_state()
    tt.save_pretrained(tt.LSTM(3, 4, recurrent_init="orthogonal"), tmp_path)
    torch.set_rng_state(before)
    layer = tt.LSTM(3, 4, recurrent_init="orthogonal")
    after = torch.get_rng_state()
    tt.save_pretrained(layer, tmp_path)
    assert torch.equal(torch.get_rng_state(), after)


def test_the_warning_of_a_model_is_given_when_it_is_made_and_not_when_it_is_saved(tmp_path):
    with pytest.warns(UserWarning, match="nothing will be dropped"):
        layer = tt.LSTM(3, 4, dropout=0.5)
    tt.save_pretrained(layer, tmp_path)


def folder(tmp_path, name="gru"):
    tt.save_pretrained(MODELS[name](), tmp_path)
    return tmp_path


def changed(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


def test_what_is_not_ours_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'unknown class of model "Linear"'):
        tt.save_pretrained(nn.Linear(2, 2), tmp_path)

    class Own(type(tt.cells.get("gru"))):
        pass

    with pytest.raises(ValueError, match="the cell Own is not registered"):
        tt.save_pretrained(tt.Recurrent(Own(), 3, 4), tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got no config\.json in it"):
        tt.from_pretrained(tmp_path)
    folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"got no model\.safetensors in it"):
        tt.from_pretrained(tmp_path)


def test_damaged_files_are_told_so(tmp_path):
    path = folder(tmp_path)
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors: the file is damaged"):
        tt.from_pretrained(path)
    (path / "config.json").write_text('{"class": ')
    with pytest.raises(ValueError, match=r"config\.json: the configuration is damaged"):
        tt.from_pretrained(path)


def test_names_that_nobody_knows_are_refused_and_nothing_is_run(tmp_path):
    path = folder(tmp_path)
    changed(path, **{"class": "os.system"})
    with pytest.raises(ValueError, match=r'unknown class of model "os\.system"'):
        tt.from_pretrained(path)
    path = folder(tmp_path, "recurrent")
    changed(path, cell={"name": "lstm-frg", "constants": {}})
    with pytest.raises(ValueError, match=r'unknown cell "lstm-frg"; did you mean "lstm-'):
        tt.from_pretrained(path)
    path = folder(tmp_path)
    changed(path, arguments={"input_size": 3, "hidden_sise": 4})
    with pytest.raises(ValueError, match=r"config\.json: the configuration is damaged"):
        tt.from_pretrained(path)


def test_weights_of_another_model_are_refused(tmp_path):
    path = folder(tmp_path)
    weights = load_file(path / "model.safetensors")
    save_file(weights | {"weight_hh_l0": torch.zeros(3, 3)}, path / "model.safetensors")
    with pytest.raises(ValueError, match=r"expected weight_hh_l0 of shape \(12, 4\) as config"):
        tt.from_pretrained(path)
    del weights["bias_ih_l0"]
    save_file(weights, path / "model.safetensors")
    with pytest.raises(ValueError, match=r"expected bias_ih_l0 of shape \(12,\).* got \(none\)"):
        tt.from_pretrained(path)
