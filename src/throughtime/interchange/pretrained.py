"""Models in folders: the weights in safetensors, what they belong to in config.json.

Reading one runs no code of the folder: the configuration names one of our classes and a cell of
the registry, and holds nothing but numbers and texts.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from throughtime.cells.cell import Cell, is_registered
from throughtime.checks import unknown
from throughtime.interchange.configuration import read_configuration
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.layers.spec import OPTIONS
from throughtime.models import EncoderDecoder, LanguageModel, OneNetwork, Writer
from throughtime.models.cloze import Cloze

__all__ = ["from_pretrained", "save_pretrained"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def _of_recurrent(layer: Recurrent) -> dict[str, Any]:
    for name, other in layer.activations.items():
        if not isinstance(other, str):
            raise ValueError(
                f"save_pretrained: activations[{name!r}] is a function, which no configuration "
                f"can hold. Name one of throughtime.cells.wrapped.ACTIVATIONS; or save the state "
                f"dict alone."
            )
    return {name: getattr(layer, name) for name in OPTIONS}


def _of_layers(inner: Recurrent) -> dict[str, Any]:
    """What every model says of its recurrent layers."""
    names = ("hidden_size", "num_layers", "forget_bias", "backend")
    return {name: getattr(inner, name) for name in names}


def _tokens_of(model: Writer) -> dict[str, int]:
    return {"pad": model.pad, "bos": model.bos, "eos": model.eos}


def _of_language_model(model: LanguageModel) -> dict[str, Any]:
    return _of_layers(model.recurrent) | {
        "vocab_size": model.embedding.num_embeddings,
        "embedding_size": model.embedding.embedding_dim,
        "dropout": model.dropout.p,
        "tied": model.scores.weight is model.embedding.weight,
    }


def _of_one_network(model: OneNetwork) -> dict[str, Any]:
    return (
        _of_layers(model.recurrent)
        | _tokens_of(model)
        | {
            "source_size": model.source_size,
            "target_size": model.target_size,
            "embedding_size": model.embedding.embedding_dim,
            "dropout": model.dropout.p,
        }
    )


def _of_cloze(model: Cloze) -> dict[str, Any]:
    return _of_layers(model.recurrent) | {
        "vocab_size": model.embedding.num_embeddings,
        "embedding_size": model.embedding.embedding_dim,
        "bidirectional": model.recurrent.bidirectional,
        "dropout": model.dropout.p,
        "tied": model.scores.weight is model.embedding.weight,
        "bos": model.bos,
        "eos": model.eos,
    }


def _of_encoder_decoder(model: EncoderDecoder) -> dict[str, Any]:
    decoder = model.decoder
    return (
        _of_layers(decoder.recurrent)
        | _tokens_of(model)
        | {
            "source_size": model.source_size,
            "target_size": model.target_size,
            "embedding_size": model.embedding.embedding_dim,
            "bidirectional": model.encoder.bidirectional,
            "attention": "none" if decoder.attention is None else decoder.attention.kind,
            "input_feeding": decoder.input_feeding,
            "dropout": model.dropout.p,
            "tied": decoder.tied,
            "shared": model.shared,
        }
    )


_ARGUMENTS = {
    Recurrent: _of_recurrent,
    RNN: lambda layer: _of_recurrent(layer) | {"nonlinearity": layer.nonlinearity},
    LSTM: _of_recurrent,
    GRU: _of_recurrent,
    LanguageModel: _of_language_model,
    OneNetwork: _of_one_network,
    Cloze: _of_cloze,
    EncoderDecoder: _of_encoder_decoder,
}
_CELLS: dict[type[nn.Module], Callable[[Any], dict[str, Cell]]] = {
    Recurrent: lambda m: {"cell": m.cell},
    LanguageModel: lambda m: {"cell": m.recurrent.cell},
    OneNetwork: lambda m: {"cell": m.recurrent.cell},
    Cloze: lambda m: {"cell": m.recurrent.cell},
    EncoderDecoder: lambda m: {
        "cell": m.decoder.recurrent.cell,
        "encoder_cell": m.encoder.cell,
    },
}
_CLASSES = {kind.__name__: kind for kind in _ARGUMENTS}


def save_pretrained(model: nn.Module, folder: str | Path) -> None:
    """Writes a model into a folder; :func:`from_pretrained` reads it.

    Raises:
        ValueError: for a model that is none of ours, or with a cell that is not registered.
    """
    kind = type(model)
    if kind not in _ARGUMENTS:
        raise unknown("class of model", kind.__name__, _CLASSES)
    config: dict[str, Any] = {"class": kind.__name__, "arguments": _ARGUMENTS[kind](model)}
    for argument, cell in _CELLS.get(kind, lambda _: {})(model).items():
        if not is_registered(cell):
            raise ValueError(
                f"save_pretrained: the cell {type(cell).__name__} is not registered, so nobody "
                f"could find it again. Give it a name and throughtime.cells.register it, and "
                f"import it before from_pretrained; or save the state dict alone."
            )
        config[argument] = {"name": cell.name, "constants": cell.constants}
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    # Weights that are tied stand in the file once.
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    save_file(weights, str(path / WEIGHTS), {"format": "pt"})
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def from_pretrained(folder: str | Path) -> nn.Module:
    """The model that :func:`save_pretrained` wrote, in evaluation mode.

    Raises:
        ValueError: where a file is missing or damaged, a name is unknown, or the weights are not
            those of the configuration.
    """
    path = Path(folder)
    for file in (CONFIG, WEIGHTS):
        if not (path / file).is_file():
            raise ValueError(
                f"{path}: expected a folder as save_pretrained writes it, got no {file} in it."
            )
    build = read_configuration(path / CONFIG, _CLASSES)
    try:
        weights = load_file(str(path / WEIGHTS))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path / WEIGHTS}: the file is damaged ({error}).") from error
    # Without memory first: the sizes in the configuration may be any.
    with torch.device("meta"), warnings.catch_warnings():
        # Of a size of 0, which the comparison below tells of.
        warnings.simplefilter("ignore")
        model = build()
    own = {key: tuple(p.shape) for key, p in model.named_parameters()}
    given = {key: tuple(w.shape) for key, w in weights.items()}
    if own != given:
        wrong = sorted(key for key in own.keys() | given.keys() if own.get(key) != given.get(key))
        key = wrong[0]
        raise ValueError(
            f"{path / WEIGHTS}: expected {key} of shape {own.get(key, '(none)')} as {CONFIG} has "
            f"it, got {given.get(key, '(none)')}. Both must be of one save."
        )
    for key, weight in weights.items():
        if not weight.is_floating_point():
            raise ValueError(
                f"{path / WEIGHTS}: expected {key} as floating-point numbers, got {weight.dtype}."
            )
    model = build()
    model.load_state_dict(weights, strict=False)
    model = model.to(next(iter(weights.values())).dtype)
    return model.eval()
