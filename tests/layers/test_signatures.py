"""RNN, LSTM and GRU list their options, so that an editor and inspect.signature show them."""

import inspect
from dataclasses import MISSING
from importlib.resources import files

import pytest
from torch import nn

import throughtime as tt
from throughtime.layers.spec import OPTIONS, default_of


@pytest.mark.parametrize("kind", [tt.LSTM, tt.GRU, tt.RNN])
def test_the_signature_is_that_of_torch_and_all_options_by_name(kind):
    arguments = inspect.signature(kind).parameters
    assert not [p for p in arguments.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert set(arguments) - {"nonlinearity"} == {*OPTIONS, "device", "dtype"}
    for name, option in OPTIONS.items():
        default = inspect.Parameter.empty if default_of(option) is MISSING else default_of(option)
        # A dict that all calls would share is no default.
        expected = None if name == "activations" else default
        assert arguments[name].default == expected, name
    positional = [n for n, p in arguments.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    its = inspect.signature(getattr(nn, kind.__name__)).parameters
    if not any(p.kind is p.VAR_POSITIONAL for p in its.values()):
        assert positional == list(its)


def test_the_annotations_and_defaults_are_those_of_recurrent():
    of_recurrent = inspect.signature(tt.Recurrent).parameters
    for kind in (tt.LSTM, tt.GRU, tt.RNN):
        for name, parameter in inspect.signature(kind).parameters.items():
            if name != "nonlinearity":
                assert parameter.annotation == of_recurrent[name].annotation, (kind, name)
                assert parameter.default == of_recurrent[name].default, (kind, name)


def test_every_option_reaches_the_layer():
    layer = tt.LSTM(3, 4, 2, bidirectional=True, zoneout=0.1, residual=True, merge="sum", clip=3.0)
    assert (layer.zoneout, layer.residual, layer.merge, layer.clip) == (0.1, True, "sum", 3.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'zone_out'"):
        tt.GRU(3, 4, zone_out=0.1)


def test_type_checkers_find_the_annotations():
    assert files("throughtime").joinpath("py.typed").is_file()
