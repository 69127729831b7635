"""Saves and loads models as folders with model.safetensors and config.json.

Loading runs no code from the folder: the configuration contains only numbers and strings, and names
a class of this package and a cell. A registered cell is looked up by its name. For any other cell
the configuration has the module and name of its class. The caller must pass this class; the loader
never imports it.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.checks import unknown
from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.interchange.configuration import CELLS, path_of, read_configuration
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.layers.dropout import Dropout
from throughtime.models import EncoderDecoder, EncoderTreeDecoder, LanguageModel, OneNetwork
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork
from throughtime.models.tagger import Tagger

__all__ = ["from_pretrained", "save_pretrained"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_CLASSES: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(Recurrent, RNN, LSTM, GRU),
        *(LanguageModel, OneNetwork, Cloze, EncoderDecoder, EncoderTreeDecoder),
        *(Classifier, Tagger, StepwiseNetwork, WindowNetwork),
    )
}
"""The classes that can be saved and loaded; they keep their constructor arguments as attributes."""


def save_pretrained(model: nn.Module, folder: str | Path) -> None:
    """Writes a model into a folder; :func:`from_pretrained` reads it.

    A weight that is computed in each call, as by ``weight_norm``, is written with its current
    value. The loaded model gives the same outputs and has that weight as a parameter.

    Raises:
        ValueError: if the class of the model cannot be saved, its cell cannot be constructed again
            from its class and constants, a weight has no value, or the model was changed after its
            construction, so that its constructor arguments no longer describe it.
    """
    kind = type_before_parametrizations(model)
    if kind not in _CLASSES.values():
        raise unknown("class of model", kind.__name__, _CLASSES)
    model = with_plain_weights("save_pretrained", model)
    arguments = {name: getattr(model, name) for name in _argument_names(kind)}
    # The options that a model passes on to its recurrent layers.
    arguments |= getattr(model, "options", {})
    config: dict[str, Any] = {"class": kind.__name__, "arguments": {}}
    for name, value in arguments.items():
        if isinstance(value, Cell):
            config[name] = _cell_entry(value)
        elif not (value is None and name in CELLS):
            # A cell that is None is the default of the model, and left out.
            config["arguments"][name] = _plain(name, value)
    own = {path_of(type(cell)): type(cell) for cell in _cells_in(arguments)}
    _check_arguments(model, _on_meta(kind, config, own))
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    # named_parameters lists tied weights once, so the file holds them once.
    weights = {name: tensor.detach().contiguous() for name, tensor in _tensors(model).items()}
    save_file(weights, str(path / WEIGHTS), {"format": "pt"})
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def from_pretrained(folder: str | Path, cells: Iterable[type[Cell]] = ()) -> nn.Module:
    """Loads a model that :func:`save_pretrained` wrote, in evaluation mode.

    Each weight has the dtype with which it was saved.

    Args:
        folder: the folder that :func:`save_pretrained` wrote.
        cells: the classes of the model's cells that are not registered.

    Raises:
        ValueError: if a file is missing or damaged, a name is unknown, or the weights do not match
            the configuration.
    """
    path = Path(folder)
    for file in (CONFIG, WEIGHTS):
        if not (path / file).is_file():
            raise ValueError(
                f"{path}: expected a folder as save_pretrained writes it, got no {file} in it."
            )
    own = {path_of(kind): kind for kind in _checked(cells)}
    build = read_configuration(path / CONFIG, _CLASSES, own)
    try:
        # Not load_file, which maps the file: if another process truncates it, this process dies.
        weights = load((path / WEIGHTS).read_bytes())
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path / WEIGHTS}: the file is damaged ({error}).") from error
    # First on the meta device, which needs no memory, because the sizes may be arbitrarily large.
    with torch.device("meta"), warnings.catch_warnings():
        # PyTorch warns of sizes of 0; the comparison below reports them as errors.
        warnings.simplefilter("ignore")
        empty = build()
    expected, saved = _shapes(_tensors(empty)), _shapes(weights)
    if (key := _first_difference(expected, saved)) is not None:
        raise ValueError(
            f"{path / WEIGHTS}: expected {key} of shape {expected.get(key, '(none)')} as {CONFIG} "
            f"has it, got {saved.get(key, '(none)')}. Both must be of one save."
        )
    for key, weight in weights.items():
        if not weight.is_floating_point():
            raise ValueError(
                f"{path / WEIGHTS}: expected {key} as floating-point numbers, got {weight.dtype}."
            )
    model = build()
    # Convert each parameter to the dtype of its saved weight first, so that copying does not round.
    for key, tensor in _tensors(model).items():
        tensor.data = tensor.data.to(weights[key].dtype)
    model.load_state_dict(weights, strict=False)
    return model.eval()


def _argument_names(kind: type[nn.Module]) -> list[str]:
    """The constructor arguments that a configuration stores, without device and dtype."""
    names: list[str] = []
    for each in kind.__mro__:
        parameters = inspect.signature(each.__init__).parameters.values()
        # A class passes **more on to its base class, whose keyword-only arguments these are.
        kinds = [inspect.Parameter.KEYWORD_ONLY]
        kinds += [inspect.Parameter.POSITIONAL_OR_KEYWORD] if each is kind else []
        names += [p.name for p in parameters if p.kind in kinds and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    # A custom encoder is a module, which JSON cannot hold. _check_arguments refuses a model with
    # one, because its weights differ.
    return [name for name in names if name not in ("self", "device", "dtype", "encoder")]


def _cells_in(values: Mapping[str, Any]) -> Iterator[Cell]:
    """Yields the cells among the arguments of a model, and those in arguments that are dicts."""
    for value in values.values():
        if isinstance(value, Cell):
            yield value
        elif isinstance(value, Mapping):
            yield from _cells_in(value)


def _cell_entry(cell: Cell) -> dict[str, Any]:
    """The entry of a cell in the configuration: its name or class, and its constants."""
    if is_registered(cell):
        return {"name": cell.name, "constants": cell.constants}
    kind = type(cell)
    if "<locals>" in kind.__qualname__:
        raise ValueError(
            f"save_pretrained: the cell {kind.__name__} is not registered and is defined inside "
            f"a function, so no other program can import it. Define it at the top of a module and "
            f"pass it to from_pretrained(folder, cells=[{kind.__name__}]); or save the state dict "
            f"alone."
        )
    constants = {k: _plain(f"{kind.__name__}.{k}", v) for k, v in cell.constants.items()}
    return {"name": path_of(kind), "constants": constants}


def _checked(cells: Iterable[type[Cell]]) -> Iterable[type[Cell]]:
    """Yields the classes that the caller passed; raises a TypeError for anything else."""
    for kind in cells:
        if not (isinstance(kind, type) and issubclass(kind, Cell)):
            raise TypeError(f"from_pretrained: expected cells as classes of cells, got {kind!r}.")
        yield kind


def _plain(name: str, value: Any) -> Any:
    """Converts the value of an argument to a value that JSON can hold."""
    if isinstance(value, Dropout):
        # A model keeps its argument ``dropout`` as a Dropout layer.
        return value.p
    if isinstance(value, Cell):
        return _cell_entry(value)
    if isinstance(value, Mapping):
        return {key: _plain(f"{name}[{key!r}]", one) for key, one in value.items()}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(f"{name}[{i}]", one) for i, one in enumerate(value)]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    what = "a function" if callable(value) else f"of type {type(value).__name__}"
    hint = (
        "Name one of throughtime.cells.wrapped.ACTIVATIONS; or save" if callable(value) else "Save"
    )
    raise ValueError(
        f"save_pretrained: {name} is {what}, which no configuration can hold. {hint} the state "
        f"dict alone."
    )


def _on_meta(
    kind: type[nn.Module], config: Mapping[str, Any], own: Mapping[str, type[Cell]]
) -> nn.Module:
    """Builds a model from its configuration on the meta device, without values of weights.

    Args:
        kind: the class of the model.
        config: the configuration.
        own: the classes of the cells that are not registered, by their paths.
    """

    def construct(cell: Mapping[str, Any]) -> Cell:
        own_kind = own.get(cell["name"])
        return (own_kind or partial(get, cell["name"]))(**cell["constants"])

    cells = {name: value for name, value in config.items() if name not in ("class", "arguments")}
    arguments = dict(config["arguments"])
    arguments |= {name: construct(cell) for name, cell in cells.items()}
    for name in ("encoder_options", "decoder_options"):
        options = arguments.get(name)
        if isinstance(options, dict) and isinstance(options.get("cell"), dict):
            cell = options["cell"]
            arguments[name] = {**options, "cell": construct(cell)}
    with torch.device("meta"), warnings.catch_warnings():
        # The user has seen these warnings when constructing the model.
        warnings.simplefilter("ignore")
        return kind(**arguments)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    # Buffers that the constructor computes, such as the masks of a CRF, are in no state dict.
    saved = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved}
    return dict(model.named_parameters()) | buffers


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    names = sorted(one.keys() | other.keys())
    return next((name for name in names if one.get(name) != other.get(name)), None)


def _check_arguments(model: nn.Module, again: nn.Module) -> None:
    """Raises a ValueError if the constructor arguments no longer describe the model.

    Args:
        model: the model to save.
        again: a model that was built from its constructor arguments.
    """
    advice = (
        "The model was changed after its construction. Save its state dict alone, or construct a "
        "model with these settings and load the state dict into it."
    )
    expected, got = _shapes(_tensors(again)), _shapes(_tensors(model))
    if (name := _first_difference(expected, got)) is not None:
        raise ValueError(
            f"save_pretrained: expected {name} of shape {expected.get(name, '(none)')} as the "
            f"constructor arguments have it, got {got.get(name, '(none)')}. {advice}"
        )
    for expected_line, line in zip(
        repr(again).splitlines(), repr(model).splitlines(), strict=False
    ):
        if line != expected_line:
            raise ValueError(
                f"save_pretrained: expected {expected_line.strip()} as the constructor arguments "
                f"have it, got {line.strip()}. {advice}"
            )
