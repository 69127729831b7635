"""LayerSpec: complete, described, and equal to the arguments of the layers."""

import dataclasses
import inspect
import math
import re
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

import throughtime as tt
from throughtime.interchange import from_pretrained, save_pretrained, to_torch
from throughtime.interchange.keras import to_keras
from throughtime.interchange.onnx import save_onnx
from throughtime.layers.attributes import WithSpec
from throughtime.layers.spec import FORMATS, OPTIONS, LayerSpec, check_option, default_of
from throughtime.layers.starts import RECURRENT_INITS

NAN = math.nan
NO_OPTIONS = {"self", "cell", "device", "dtype"}
"""Arguments of ``Recurrent`` that are not options."""

USED = {
    **dict(input_size=3, hidden_size=5, num_layers=2, bias=False, batch_first=True),
    **dict(dropout=0.25, bidirectional=True, merge="mean", backend="cpp", save="states"),
    **dict(strict=True, locked_dropout=True, recurrent_dropout=0.5, zoneout={"h": 0.5}),
    **dict(weight_drop=0.5, learned_state=True, residual=True, independent=True),
    **dict(proj_size=2, activations={"tanh": "relu"}, clip=3.0, forget_bias=1.0),
    **dict(chrono_steps=100.0, recurrent_init="orthogonal"),
}
"""For each option a value that is not its default."""


def using(option):
    """A spec that uses one option, and the options that it needs."""
    needs = {
        "merge": {"bidirectional": True},
        "independent": {"bidirectional": True},
        "locked_dropout": {"dropout": 0.5},
        "chrono_steps": {"forget_bias": "chrono"},
    }
    uses = {**needs.get(option, {}), option: USED[option]}
    return dataclasses.replace(LayerSpec(3, 5, 2), **uses)


def without_description(spec):
    """The fields without complete metadata."""
    return [
        field.name
        for field in dataclasses.fields(spec)
        if not (
            field.metadata.get("help")
            and callable(field.metadata.get("check"))
            and set(field.metadata.get("formats", ["?"])) <= set(FORMATS)
        )
    ]


def names_of(kind):
    """The names that a type allows, also beside other types."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [name for part in get_args(kind) for name in names_of(part)]


def arguments(function):
    parameters = inspect.signature(function).parameters
    return {name: p.default for name, p in parameters.items() if name not in NO_OPTIONS}


# Metadata.


def test_every_option_is_described():
    assert without_description(LayerSpec) == []


def test_an_option_without_a_description_is_noticed():
    @dataclasses.dataclass(frozen=True)
    class Longer(LayerSpec):
        told: int = dataclasses.field(default=0, metadata=OPTIONS["proj_size"].metadata)
        bare: int = 0
        unknown_format: int = dataclasses.field(
            default=0, metadata=OPTIONS["proj_size"].metadata | {"formats": ("jax",)}
        )

    assert without_description(Longer) == ["bare", "unknown_format"]


def test_every_option_of_the_layer_is_a_field_with_its_default():
    options = arguments(tt.Recurrent.__init__)
    assert list(options) == list(OPTIONS)
    for name, default in options.items():
        of_field = default_of(OPTIONS[name])
        if default is inspect.Parameter.empty:
            assert of_field is dataclasses.MISSING
        else:
            assert of_field == ({} if name == "activations" else default), name


@pytest.mark.parametrize("layer", [tt.RNN, tt.LSTM, tt.GRU])
def test_the_layers_of_torch_have_the_same_defaults(layer):
    for name, default in arguments(layer).items():
        if name not in ("nonlinearity", "more", "input_size", "hidden_size"):
            # The mapping of the option is mutable, so that the signature says None.
            expected = None if name == "activations" else default_of(OPTIONS[name])
            assert default == expected, name


def test_every_default_is_a_value_that_the_option_can_have():
    LayerSpec(1, 1).check("here")


# The attributes of a layer.


def test_every_option_is_an_attribute_of_a_layer():
    assert [name for name in vars(WithSpec) if name in OPTIONS] == list(OPTIONS)
    assert all(hasattr(vars(WithSpec)[name], "__set__") for name in OPTIONS)


@pytest.mark.parametrize("option", USED)
def test_an_attribute_is_the_field_of_the_spec(option):
    sizes = {name: getattr(using(option), name) for name in OPTIONS}
    layer = tt.Recurrent("lstm", **sizes)
    assert layer.spec == using(option)
    assert getattr(layer, option) == USED[option]


def test_an_option_that_is_set_later_is_in_the_spec_and_one_that_cannot_be_is_refused():
    layer = tt.LSTM(3, 5, 2, dropout=0.5)
    before = layer.spec
    layer.dropout = np.float32(0.25)
    layer.batch_first = 1
    assert layer.spec == dataclasses.replace(before, dropout=0.25, batch_first=True)
    assert layer.batch_first is True
    for name, value in (("dropout", 2.0), ("save", "some"), ("clip", -1.0), ("num_layers", 1.5)):
        before = layer.spec
        with pytest.raises((TypeError, ValueError), match=name):
            setattr(layer, name, value)
        assert layer.spec is before


def test_dropout_that_is_set_later_drops():
    layer, x = tt.LSTM(3, 5, 2), torch.randn(4, 2, 3)
    plain, _ = layer(x)
    assert torch.equal(layer(x)[0], plain)
    layer.dropout = 0.5
    assert not torch.equal(layer(x)[0], plain)
    layer.dropout = 0
    assert torch.equal(layer(x)[0], plain)


# Checks.


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_size", 0, "here: expected input_size of at least 1, got 0."),
        ("proj_size", -1, "here: expected proj_size of at least 0, got -1."),
        ("dropout", 1.5, "here: expected dropout as a probability from 0 to 1, got 1.5."),
        ("dropout", True, "here: expected dropout as a probability from 0 to 1, got True."),
        ("dropout", "0.5", "here: expected dropout as a probability from 0 to 1, got '0.5'."),
        ("weight_drop", 1, "here: expected weight_drop as a probability from 0 to below 1, got 1."),
        (
            "zoneout",
            {"c": NAN},
            "here: expected zoneout of c as a probability from 0 to below 1, got nan.",
        ),
        ("clip", 0.0, "here: expected clip as a number above 0, got 0.0."),
        ("forget_bias", NAN, 'here: expected forget_bias as a number or "chrono", got nan.'),
        ("forget_bias", "long", 'unknown forget_bias "long". Known: chrono.'),
        (
            "chrono_steps",
            2,
            'here: forget_bias="chrono" needs chrono_steps, the longest dependency that is '
            "expected, as a number of steps above 2; got 2.",
        ),
        ("merge", "cat", 'unknown merge "cat"; did you mean "concat"? Known: concat, sum, mean'),
        ("save", "gate", 'unknown save "gate"; did you mean "gates"? Known: gates, states.'),
        ("backend", "ccp", 'unknown backend "ccp"; did you mean "cpp"? Known: auto, cpp, torch'),
        ("recurrent_init", "normal", 'unknown recurrent_init "normal"'),
        ("bias", "no", "here: expected bias as True or False, got 'no'."),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check_option("here", name, value)
    if name != "bias":
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            dataclasses.replace(LayerSpec(1, 1), **{name: value}).check("here")


@pytest.mark.parametrize("size", [1.0, "2", True, None, torch.tensor(1.0)])
@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers", "proj_size"])
def test_a_size_that_is_no_whole_number_is_refused(name, size):
    with pytest.raises(TypeError, match=f"here: expected {name} as a whole number, got"):
        dataclasses.replace(LayerSpec(1, 1), **{name: size}).check("here")


def test_numbers_of_other_libraries_become_those_of_python():
    spec = LayerSpec(
        np.int64(3), torch.tensor(4), bias=np.bool_(False), dropout=np.float32(0.5), num_layers=2
    )
    assert spec == LayerSpec(3, 4, bias=False, dropout=0.5, num_layers=2)
    assert [type(v) for v in (spec.input_size, spec.hidden_size, spec.bias, spec.dropout)] == [
        *(int, int, bool, float),
    ]


def test_a_dict_that_is_changed_later_changes_no_spec():
    rates = {"h": 0.1}
    spec = LayerSpec(1, 1, zoneout=rates)
    rates["h"] = 0.9
    assert spec.zoneout == {"h": 0.1}


# Flags.


def test_every_option_can_be_a_flag():
    """Flags are derived as a configuration derives them; each value is read back unchanged."""
    assert USED.keys() == OPTIONS.keys()
    parser = ArgumentParser()
    for option in OPTIONS.values():
        parser.add_argument(f"--{option.name}", type=option.type, help=option.metadata["help"])
    words = []
    for name, value in USED.items():
        assert value != default_of(OPTIONS[name])
        text = str(value).replace("'", '"') if isinstance(value, Mapping) else str(value)
        words += [f"--{name}", text.lower() if isinstance(value, bool) else text]
    assert vars(parser.parse_args(words).clone()) == USED
    assert parser.parse_args(["--zoneout", "0.5"]).zoneout == 0.5
    assert parser.parse_args(["--clip", "null"]).clip is None
    assert parser.parse_args(["--forget_bias", "chrono"]).forget_bias == "chrono"


def test_no_two_options_say_the_same_of_themselves():
    assert len({option.metadata["help"] for option in OPTIONS.values()}) == len(OPTIONS)


def test_names_are_chosen_from_those_that_the_layer_knows():
    names = {n: allowed for n, o in OPTIONS.items() if (allowed := names_of(o.type))}
    assert names.keys() == {"merge", "save", "forget_bias", "recurrent_init"}
    assert names["merge"] == list(tt.Recurrent.MERGES)
    assert names["recurrent_init"] == list(RECURRENT_INITS)
    del names["forget_bias"]
    for name, known in names.items():
        for value in known:
            options = {name: value, "bidirectional": True}
            layer = tt.Recurrent("lstm", 2, 3, **options)
            assert getattr(layer, name) == value
            layer(torch.zeros(2, 1, 2))[0].sum().backward()


# Interchange formats.


@pytest.mark.parametrize("option", USED)
def test_an_option_is_lost_where_its_metadata_says_so(option):
    spec = using(option)
    for format in FORMATS:
        is_held = format in OPTIONS[option].metadata["formats"]
        assert spec.lost_in(format) == ([] if is_held else [option])


def test_an_option_that_is_not_used_is_lost_nowhere():
    for spec in (LayerSpec(3, 5), LayerSpec(3, 5, zoneout={}), LayerSpec(3, 5, zoneout=0)):
        assert not any(spec.lost_in(format) for format in FORMATS)


@pytest.mark.parametrize("option", USED)
def test_what_the_metadata_says_of_a_format_is_what_its_writer_does(option, tmp_path):
    sizes = {name: getattr(using(option), name) for name in OPTIONS}
    layer = tt.Recurrent("lstm", **sizes).eval()
    writers = {
        "torch.nn": lambda: to_torch(layer),
        "keras": lambda: to_keras(layer),
        "onnx": lambda: save_onnx(layer, tmp_path / "a.onnx"),
    }
    for format, write in writers.items():
        if format in OPTIONS[option].metadata["formats"]:
            write()
        else:
            with pytest.raises(ValueError, match=rf"\b{option}\b"):
                write()


@pytest.mark.parametrize("option", USED)
def test_a_folder_holds_every_option(option, tmp_path):
    sizes = {name: getattr(using(option), name) for name in OPTIONS}
    layer = tt.Recurrent("lstm", **sizes)
    save_pretrained(layer, tmp_path)
    assert from_pretrained(tmp_path).spec == layer.spec
