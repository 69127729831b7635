"""Weights that hooks or parametrizations compute, through every interchange: written with their
values, refused where a module that learns further would lose what computes them."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.interchange.keras import from_keras_weights, to_keras
from throughtime.models import EncoderDecoder, LanguageModel

I, H, T, B = 3, 4, 5, 2


class Halved(nn.Module):
    """A user's parametrization."""

    def forward(self, weight):
        return weight / 2


class FromTwo(nn.Module):
    """A parametrization that computes one weight from two parameters."""

    def forward(self, scale, direction):
        return scale * direction

    def right_inverse(self, weight):
        return weight.abs().max(), weight / weight.abs().max()


class Wide(nn.Module):
    """A parametrization that returns another dtype than that of its argument."""

    def forward(self, weight):
        return weight.double()


class Wrong(nn.Module):
    """A parametrization that returns another shape than that of its argument."""

    def forward(self, weight):
        return weight[:1]


def old_weight_norm(layer, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer, name)


def pruned_twice(layer, name):
    prune.random_unstructured(layer, name, 0.3)
    prune.l1_unstructured(layer, name, 0.4)


def several_steps(layer, name):
    parametrize.register_parametrization(layer, name, Halved())
    parametrize.register_parametrization(layer, name, Halved())


def pruned_direction(layer, name):
    """A hook that computes a weight that another hook reads."""
    old_weight_norm(layer, name)
    prune.l1_unstructured(layer, f"{name}_v", 1)


WAYS = {
    "weight_norm": old_weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "prune": lambda layer, name: prune.l1_unstructured(layer, name, 0.5),
    "prune twice": pruned_twice,
    "prune and weight_norm": pruned_direction,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "parametrized orthogonal": parametrizations.orthogonal,
    "custom": lambda layer, name: parametrize.register_parametrization(layer, name, Halved()),
    "custom twice": several_steps,
    "custom of two": lambda layer, name: parametrize.register_parametrization(
        layer, name, FromTwo()
    ),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
KINDS = {"lstm": (nn.LSTM, tt.LSTM), "gru": (nn.GRU, tt.GRU), "rnn": (nn.RNN, tt.RNN)}


def computed(kind, way, names=("weight_hh_l0",), **options):
    """A layer with computed weights, trained after the computation was added."""
    layer = kind(I, H, **options)
    for name in names:
        way(layer, name)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def same_numbers(plain, layer):
    x = torch.randn(T, B, I)
    with torch.no_grad():
        output, last = layer.eval()(x)
        got, end = plain.eval()(x)
    torch.testing.assert_close(got, output)
    torch.testing.assert_close(end, last)


def state_of(module):
    return copy.deepcopy({name: value.detach() for name, value in module.state_dict().items()})


@every_way
@pytest.mark.parametrize("called", [False, True], ids=["new", "called"])
@pytest.mark.parametrize("kind", KINDS)
def test_torchs_layer_is_refused(kind, way, called):
    layer = computed(KINDS[kind][0], way)
    if called:
        layer(torch.randn(T, B, I))
    with pytest.raises(ValueError, match=r"from_torch: cannot convert .*its weight_hh_l0"):
        tt.from_torch(nn.Sequential(layer))


@every_way
@pytest.mark.parametrize("kind", KINDS)
def test_our_layer_is_refused_by_to_torch(kind, way):
    layer = computed(KINDS[kind][1], way)
    layer(torch.randn(T, B, I))
    with pytest.raises(ValueError, match=r"to_torch: cannot convert .*its weight_hh_l0"):
        tt.to_torch(nn.Sequential(layer))


@pytest.mark.parametrize(
    ("way", "remove"),
    [
        ("weight_norm", nn.utils.remove_weight_norm),
        ("spectral_norm", nn.utils.remove_spectral_norm),
        ("prune", prune.remove),
        ("parametrized weight_norm", parametrize.remove_parametrizations),
    ],
)
@pytest.mark.parametrize("convert", [tt.from_torch, tt.to_torch])
def test_the_way_that_the_refusal_names_leads_to_the_same_numbers(way, remove, convert):
    layer = computed(KINDS["lstm"][convert is tt.to_torch], WAYS[way])
    with pytest.raises(
        ValueError, match=rf"Make it .* with torch\.nn\.utils\.\S*{remove.__name__}"
    ):
        convert(layer)
    remove(layer, "weight_hh_l0")
    same_numbers(convert(layer), layer)


def test_a_model_with_such_weights_elsewhere_is_converted():
    model = nn.Sequential(nn.Linear(I, I), nn.LSTM(I, H))
    old_weight_norm(model[0], "weight")
    x = torch.randn(T, B, I)
    expected, _ = model(x)
    torch.testing.assert_close(tt.from_torch(model)(x)[0], expected)


@every_way
@pytest.mark.parametrize("training", [True, False])
def test_a_folder_holds_the_values(way, training, tmp_path):
    layer = computed(tt.LSTM, way, ("weight_hh_l0", "weight_ih_l1"), num_layers=2)
    # A call first, whose cached weight is outdated after the next step of an optimiser.
    layer.train(training)(torch.randn(T, B, I))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)
    before = state_of(layer)
    tt.save_pretrained(layer, tmp_path)
    assert layer.training is training
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    again = tt.from_pretrained(tmp_path)
    assert type(again) is tt.LSTM
    assert list(again.state_dict()) == list(tt.LSTM(I, H, 2).state_dict())
    same_numbers(again, layer)


@every_way
@pytest.mark.parametrize("kind", KINDS)
def test_keras_gets_the_values(kind, way):
    layer = computed(KINDS[kind][1], way, ("weight_hh_l0", "weight_ih_l0"))
    name = {"lstm": "lstm", "gru": "gru", "rnn": "rnn-tanh"}[kind]
    same_numbers(from_keras_weights(to_keras(layer), name, batch_first=False), layer)


@every_way
@pytest.mark.parametrize("cell", ["lstm-peephole", "gru", "janet"])
def test_an_onnx_file_holds_the_values(cell, way, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    layer = tt.Recurrent(cell, I, H)
    way(layer, "weight_hh_l0")
    before = state_of(layer)
    tt.save_onnx(layer, tmp_path / "a.onnx")
    assert layer.training
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    session = onnxruntime.InferenceSession(
        str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"]
    )
    x = torch.randn(T, B, I)
    zeros = {f"{state}_0": np.zeros((1, B, H), np.float32) for state in layer.cell.state_specs}
    output, *_ = session.run(None, {"input": x.numpy(), **zeros})
    with torch.no_grad():
        expected, _ = layer.eval()(x)
    torch.testing.assert_close(torch.from_numpy(output), expected, rtol=0, atol=1e-5)


@every_way
def test_every_module_of_a_model_may_have_them(way, tmp_path):
    model = LanguageModel(7, hidden_size=8, num_layers=1)
    for module, name in (
        (model.embedding, "weight"),
        (model.recurrent, "weight_ih_l0"),
        (model.scores, "weight"),
    ):
        way(module, name)
    tt.save_pretrained(model, tmp_path)
    again = tt.from_pretrained(tmp_path)
    tokens = torch.randint(7, (2, 5))
    with torch.no_grad():
        torch.testing.assert_close(again(tokens)[0], model.eval()(tokens)[0])
    tt.save_onnx(model, tmp_path / "a.onnx")
    zeros = torch.zeros(1, 2, 8)
    got = tt.load_onnx(tmp_path / "a.onnx")(tokens, zeros, zeros)
    with torch.no_grad():
        torch.testing.assert_close(got[0], model(tokens)[0])


@pytest.mark.parametrize("name", ["initial_h_l0", "p_i_l0", "bias_hh_l0"])
def test_any_weight_of_a_layer_may_be_computed(name, tmp_path):
    layer = tt.Recurrent("lstm-peephole", I, H, learned_state=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    parametrize.register_parametrization(layer, name, Halved())
    tt.save_pretrained(layer, tmp_path)
    same_numbers(tt.from_pretrained(tmp_path), layer)


def test_a_frozen_part_keeps_its_mode_and_spectral_norm_its_iteration(tmp_path):
    model = EncoderDecoder(7, 7, hidden_size=8)
    parametrizations.spectral_norm(model.encoder, "weight_hh_l0")
    model.train()
    model.encoder.eval()
    modes = [module.training for module in model.modules()]
    before = state_of(model)
    tt.save_pretrained(model, tmp_path)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_writing_an_onnx_file_leaves_the_modes_of_all_parts(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = LanguageModel(7, hidden_size=8).train()
    model.recurrent.eval()
    modes = [module.training for module in model.modules()]
    tt.save_onnx(model, tmp_path / "a.onnx")
    assert [module.training for module in model.modules()] == modes


def test_what_a_hook_belongs_to_is_not_copied(tmp_path):
    class Recorder:
        def __deepcopy__(self, memo):
            raise AssertionError

        def note(self, *values):
            return None

    layer, recorder = tt.GRU(I, H), Recorder()
    layer.register_forward_hook(recorder.note)
    layer.register_forward_pre_hook(recorder.note)
    tt.save_pretrained(layer, tmp_path)
    assert torch.equal(tt.from_pretrained(tmp_path).weight_hh_l0, layer.weight_hh_l0)


WRITERS = {
    "save_pretrained": lambda layer, path: tt.save_pretrained(layer, path / "folder"),
    "save_onnx": lambda layer, path: tt.save_onnx(layer, path / "a.onnx"),
    "to_keras": lambda layer, path: to_keras(layer),
}
every_writer = pytest.mark.parametrize("writer", WRITERS)


@every_writer
def test_weights_without_values_are_refused(writer, tmp_path):
    with pytest.raises(ValueError, match=rf"{writer}: .* weight_ih_l0 is on the device meta"):
        WRITERS[writer](tt.LSTM(I, H, device="meta"), tmp_path)
    layer = tt.LSTM(I, H)
    layer.bias_hh_l0 = nn.Parameter(torch.empty(4 * H, device="meta"))
    with pytest.raises(ValueError, match=rf"{writer}: .* bias_hh_l0 is on the device meta"):
        WRITERS[writer](layer, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", [*WRITERS, "to_torch"])
def test_a_weight_that_something_unknown_computes_is_refused(writer, tmp_path):
    layer = tt.LSTM(I, H)
    raw = layer.weight_hh_l0
    del layer.weight_hh_l0
    layer.register_parameter("weight_hh_l0_raw", raw)

    def drop(module, _):
        module.weight_hh_l0 = module.weight_hh_l0_raw * 2

    layer.register_forward_pre_hook(drop)
    for got in ("NoneType", "Tensor"):
        with pytest.raises(ValueError, match=rf"{writer}: expected weight_hh_l0 .* got {got}\."):
            (WRITERS | {"to_torch": lambda layer, _: tt.to_torch(layer)})[writer](layer, tmp_path)
        layer(torch.randn(T, B, I))


def test_a_weight_of_torchs_layer_that_something_unknown_computes_is_refused():
    layer = nn.GRU(I, H)
    weight = layer.weight_hh_l0.detach()
    del layer.weight_hh_l0
    layer.weight_hh_l0 = weight
    with pytest.raises(ValueError, match=r"from_torch: expected weight_hh_l0 .*, got Tensor\."):
        tt.from_torch(layer)


@every_writer
def test_a_computed_weight_of_another_shape_is_refused(writer, tmp_path):
    layer = tt.LSTM(I, H)
    parametrize.register_parametrization(layer, "weight_hh_l0", Wrong(), unsafe=True)
    with pytest.raises(ShapeError, match=rf"{writer}: expected weight_hh_l0 of shape \(16, 4\)"):
        WRITERS[writer](layer, tmp_path)


def test_a_computed_weight_of_another_dtype_is_written_as_it_is_or_refused(tmp_path):
    layer = tt.LSTM(I, H)
    parametrize.register_parametrization(layer, "weight_hh_l0", Wide(), unsafe=True)
    tt.save_pretrained(layer, tmp_path)
    assert tt.from_pretrained(tmp_path).weight_hh_l0.dtype == torch.float64
    with pytest.raises(ValueError, match=r"all of one type, got torch\.float32 and torch\.float64"):
        tt.save_onnx(layer, tmp_path / "a.onnx")
