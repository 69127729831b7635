"""Reads the settings and weights of layers of Keras, without importing Keras."""

from __future__ import annotations

import warnings
from typing import Any

from throughtime.interchange.keras.weights import layer_from_arrays, parameter_names, suffixes
from throughtime.layers import Recurrent

__all__ = ["from_keras"]

_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "product"}
_LIBRARIES = ("keras", "tf_keras", "tensorflow")
# Options of Keras that act in training only.
_TRAINING = (
    *("dropout", "recurrent_dropout", "activity_regularizer"),
    *("kernel_regularizer", "recurrent_regularizer", "bias_regularizer"),
    *("kernel_constraint", "recurrent_constraint", "bias_constraint"),
)


def from_keras(layers: Any) -> Recurrent:
    """Converts layers of Keras to one layer that computes the same function of sequences (B, T, I).

    The layer returns the outputs of all steps, also for layers of Keras without
    ``return_sequences``, whose output is the last state here. A mask of Keras becomes ``lengths``.
    Weights that are not trainable stay frozen.

    Args:
        layers: a built LSTM, GRU or SimpleRNN, one of these in a Bidirectional, or a list of such
            layers, each of which reads the output of the one before.

    Returns:
        ``LSTM``, ``GRU`` or ``RNN``, or ``Recurrent`` with the cell of the same equations; its
        sequences are (B, T, …).

    Raises:
        TypeError: for an argument that is not such a layer.
        ValueError: if a layer is not built, has an activation or option without an equivalent, or
            differs from the others in cell, biases, directions or merge mode.

    Source: the documentation of keras.layers.LSTM, GRU, SimpleRNN and Bidirectional, Keras 3.
    """
    stack = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    if not stack:
        raise ValueError("from_keras: expected a layer of Keras or a list of them, got none.")
    weights: list[Any] = []
    settings, trainable = [], []
    for layer in stack:
        parts, merge = _directions(layer)
        cells = [(_cell(part), bool(part.get_config()["use_bias"])) for part in parts]
        settings += [(*cell, len(parts), merge) for cell in cells]
        trainable += [layer.trainable and part.trainable for part in parts]
        if not (arrays := layer.get_weights()):
            raise ValueError(
                f"{_who(layer)} is not built and has no weights yet. Call it once, or "
                f"layer.build((None, None, input_size))."
            )
        weights += arrays
    names = ("cell", "use_bias", "number of directions", "merge_mode")
    for values in settings:
        for name, first, value in zip(names, settings[0], values, strict=True):
            if first != value:
                raise ValueError(
                    f"from_keras: expected layers that are alike, got the {name} {first} and "
                    f"{value}. Convert them one by one."
                )
    cell, bias, directions, merge = settings[0]
    options = dict(bias=bias, bidirectional=directions == 2, merge=_MERGES[merge])
    converted = layer_from_arrays("from_keras", weights, cell, **options, batch_first=True)
    for suffix, is_trainable in zip(suffixes(converted), trainable, strict=True):
        for name in parameter_names(bias):
            getattr(converted, f"{name}{suffix}").requires_grad_(is_trainable)
    return converted


def _who(layer: Any) -> str:
    """The beginning of error messages about a layer."""
    return f'from_keras: the layer "{layer.name}"'


def _directions(layer: Any) -> tuple[list[Any], str]:
    """The layer of each direction, and the merge mode of Keras; checks the layers."""
    kind = type(layer).__name__
    known = type(layer).__module__.split(".")[0] in _LIBRARIES
    if known and kind == "Bidirectional":
        if layer.merge_mode not in _MERGES:
            raise ValueError(
                f"{_who(layer)} has merge_mode={layer.merge_mode!r}; expected one of "
                f"{', '.join(_MERGES)}. Convert layer.get_weights() with from_keras_weights."
            )
        parts, merge = [layer.forward_layer, layer.backward_layer], str(layer.merge_mode)
    else:
        parts, merge = [layer], "concat"
    for part, backwards in zip(parts, (False, True), strict=False):
        # A subclass outside the library may have other equations.
        is_of_keras = type(part).__module__.split(".")[0] in _LIBRARIES
        if not is_of_keras or type(part).__name__ not in ("LSTM", "GRU", "SimpleRNN"):
            raise TypeError(
                f"from_keras: expected an LSTM, GRU or SimpleRNN of Keras, one in a Bidirectional, "
                f"or a list of these, got {type(part).__name__}. Arrays go to from_keras_weights, "
                f"of a model its recurrent layers, as [model.layers[1], model.layers[2]]."
            )
        _check(part, backwards)
    return parts, merge


def _check(layer: Any, backwards: bool) -> None:
    """Raises a ValueError if the layer has a setting without an equivalent, and warns of some.

    Args:
        backwards: whether the layer must have go_backwards=True.
    """
    config = layer.get_config()
    if bool(config["go_backwards"]) != backwards:
        raise ValueError(
            f"{_who(layer)} has go_backwards={config['go_backwards']}; expected {backwards}. Flip "
            f"the sequence, and convert layer.get_weights() with from_keras_weights."
        )
    if config["stateful"]:
        raise ValueError(
            f"{_who(layer)} has stateful=True and keeps its state; ours takes and returns it. "
            f"Convert layer.get_weights() with from_keras_weights, and pass the state on."
        )
    omitted = [name for name in _TRAINING if config.get(name)]
    if omitted:
        warnings.warn(
            f"{_who(layer)} has {', '.join(omitted)}, which acts in training only and is left out. "
            f"See the options dropout and locked_dropout of throughtime.Recurrent.",
            stacklevel=4,
        )


def _cell(layer: Any) -> str:
    """The name of the cell with the equations of a layer of Keras."""
    config, kind = layer.get_config(), type(layer).__name__
    if kind == "SimpleRNN":
        activation = config["activation"]
        if activation not in ("tanh", "relu", "sigmoid", "linear"):
            raise ValueError(
                f"{_who(layer)} has activation={activation!r}; expected tanh, relu, sigmoid or "
                f"linear, which our cells rnn-tanh, rnn-relu, … have. Write the equations as a "
                f"cell of their own."
            )
        return f"rnn-{activation}"
    for name, expected in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if config[name] != expected:
            raise ValueError(
                f"{_who(layer)} has {name}={config[name]!r}; expected {expected!r}, which our "
                f"{kind} has. Write the equations as a cell of their own."
            )
    if kind == "LSTM":
        return "lstm"
    return "gru" if config["reset_after"] else "gru-reset-before"
