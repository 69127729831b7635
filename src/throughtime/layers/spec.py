"""The sizes and options of a recurrent layer, and what is known of each of them.

:class:`LayerSpec` is the only list of the options. Each of its fields carries metadata:

    help       one sentence, the text of a command-line flag
    check      ``check(where, name, value)`` raises an error for a value that the option cannot have
    formats    the interchange formats into which a layer that uses the option can be written, some
               of ``FORMATS``; the writers of the others refuse such a layer

The annotations are types and not texts, so that a program can read the options and declare flags or
the fields of a configuration of its own:

    for option in dataclasses.fields(LayerSpec):
        option.name, option.type, option.metadata["help"]
        default_of(option)    # dataclasses.MISSING for input_size and hidden_size

A command line leaves out ``input_size`` and ``batch_first``, which follow from the model around the
layer. All other types can be written as text: numbers, switches, names, and dicts of these as JSON.
"""

# No `from __future__ import annotations` here: it would turn the types of the fields into texts.

import dataclasses
import math
import numbers
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import torch

from throughtime.checks import unknown
from throughtime.layers.option_checks import (
    LARGEST,
    Check,
    a_backend,
    a_forget_bias,
    a_number,
    a_number_of_steps,
    a_rate,
    a_size,
    a_switch,
    functions,
    or_none,
    rate_or_rates,
)

__all__ = ["FORMATS", "OPTIONS", "LayerSpec", "check_option", "default_of"]

FORMATS = ("torch.nn", "keras", "onnx")
"""The formats that ``formats`` in the metadata of a field names."""


def _one_of_its_names(where: str, name: str, value: Any) -> None:
    known = _names(OPTIONS[name].type)
    if value not in known:
        raise unknown(name, value, known)


def _names(kind: Any) -> tuple[str, ...]:
    """The names that an annotation allows."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(name for part in get_args(kind) for name in _names(part))


def _plain(kind: Any, value: Any) -> Any:
    """A value as the layer keeps it, which later changes to the caller's value do not reach."""
    if kind is bool:
        return bool(value)
    if isinstance(value, Mapping):
        return dict(value)
    # A tensor of True would count as 1.
    is_bool = isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool
    if is_bool or isinstance(value, (int, float)):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, numbers.Real) else value


def _option(
    help: str,
    check: Check = a_switch,
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    formats: tuple[str, ...] = FORMATS,
) -> Any:
    metadata = {"help": help, "check": check, "formats": formats}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class LayerSpec:
    """The sizes and options of a :class:`throughtime.Recurrent`, all but its cell.

    The fields have the names, the order and the defaults of the arguments of ``Recurrent``, which
    documents them. Switches become bools, numbers of other libraries Python's own, and dicts are
    copied. The constructor checks nothing, for it does not know the name of the layer, with which
    the message begins; :meth:`check` does.

    >>> LayerSpec(3, 5, bidirectional=True, proj_size=2).output_size
    4
    >>> LayerSpec(3, 5, dropout=2.0).check("here")
    Traceback (most recent call last):
    ValueError: here: expected dropout as a probability from 0 to 1, got 2.0.
    """

    input_size: int = _option("I, the features of one step", a_size(1))
    hidden_size: int = _option("H, the units of each recurrent layer in one direction", a_size(1))
    num_layers: int = _option(
        "L, how many recurrent layers are stacked", a_size(1, 1000), default=1
    )
    bias: bool = _option("whether the blocks of the cell have biases", default=True)
    batch_first: bool = _option(
        "whether sequences are (B, T, …) rather than (T, B, …)", default=False
    )
    dropout: float = _option(
        "the probability to drop an output of a layer before the next layer reads it",
        a_number("a probability from 0 to 1", lambda value: 0 <= value <= 1),
        default=0.0,
    )
    bidirectional: bool = _option(
        "whether a second set of weights reads the sequence from its end", default=False
    )
    merge: Literal["concat", "sum", "mean", "product"] = _option(
        "how two directions become one output",
        _one_of_its_names,
        default="concat",
        formats=("keras", "onnx"),
    )
    backend: str = _option("auto, or the one backend that must run", a_backend, default="auto")
    save: Literal["gates", "states"] = _option(
        "what is kept for the backward pass: gates, all that it needs; or states, a few states, "
        "from which the gates are computed again: less memory, more time",
        _one_of_its_names,
        default="gates",
    )
    strict: bool = _option(
        "whether --backend auto refuses what no kernel can run, rather than taking the reference",
        default=False,
    )
    # Keras drops the same features at all steps, as locked_dropout does.
    locked_dropout: bool = _option(
        "whether dropout drops the same features at all steps of a sequence",
        default=False,
        formats=("keras", "onnx"),
    )
    recurrent_dropout: float = _option(
        "the probability to drop a unit of what the recurrent matrices are applied to, the same "
        "units at all steps of a sequence",
        a_rate,
        default=0.0,
        formats=("keras", "onnx"),
    )
    zoneout: float | Mapping[str, float] = _option(
        "the probability that a unit keeps its value of the step before: one for all states, or by "
        'name, {"h": 0.05, "c": 0.5}',
        rate_or_rates,
        default=0.0,
        formats=("onnx",),
    )
    weight_drop: float = _option(
        "the probability to drop a weight of the recurrent matrices, drawn anew for each call",
        a_rate,
        default=0.0,
        formats=("onnx",),
    )
    learned_state: bool = _option(
        "whether the initial states are learned", default=False, formats=("onnx",)
    )
    residual: bool = _option(
        "whether each layer but the first adds its input to its output",
        default=False,
        formats=("onnx",),
    )
    independent: bool = _option(
        "whether the two directions run through all layers apart, and are merged at the end only",
        default=False,
        formats=("onnx",),
    )
    # torch.nn projects in its LSTM alone; interchange/torch_nn.py refuses the rest.
    proj_size: int = _option(
        "P, the units to which the output, and what is fed back, is projected; 0 is none",
        a_size(0),
        default=0,
        formats=("torch.nn", "onnx"),
    )
    # Python code may pass functions too; a type that says so cannot be a flag.
    activations: Mapping[str, Any] = _option(
        'other activation functions, {"tanh": "relu", "sigmoid": "hardsigmoid"}',
        functions,
        default_factory=dict,
        formats=("onnx",),
    )
    clip: float | None = _option(
        "a limit to what activation functions are given, from -clip to clip",
        or_none(a_number("a number above 0", lambda value: 0 < value < math.inf, LARGEST)),
        default=None,
        formats=("onnx",),
    )
    forget_bias: float | Literal["chrono"] | None = _option(
        "the bias from which the forget gates start; or chrono, which draws the biases of all "
        "gates that decide how long a state is kept",
        or_none(a_forget_bias),
        default=None,
    )
    chrono_steps: float | None = _option(
        "T_max of --forget_bias chrono, the longest dependency that is expected, in steps",
        or_none(a_number_of_steps),
        default=None,
    )
    recurrent_init: Literal["uniform", "orthogonal", "identity"] | None = _option(
        "how each block of the recurrent matrix starts: uniform as torch.nn draws it, orthogonal, "
        "or identity; without it, as the cell declares",
        or_none(_one_of_its_names),
        default=None,
    )

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = _plain(option.type, getattr(self, option.name))
            object.__setattr__(self, option.name, value)

    def check(self, where: str) -> None:
        """Raises if an option has a value that it cannot have, whatever the others are.

        Args:
            where: who asks, the first word of the message.

        Raises:
            TypeError: for a size that is no whole number.
            ValueError: for a value out of range, or an unknown name.
        """
        for name in OPTIONS:
            check_option(where, name, getattr(self, name))

    def lost_in(self, format: str) -> list[str]:
        """The options in use that an interchange format cannot hold.

        Args:
            format: one of ``FORMATS``.
        """
        return [
            name
            for name, option in OPTIONS.items()
            if format not in option.metadata["formats"]
            and (value := getattr(self, name))
            and value != default_of(option)
        ]

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The features of one step of the output."""
        merged = self.num_directions if self.merge == "concat" else 1
        return (self.proj_size or self.hidden_size) * merged


OPTIONS = {option.name: option for option in dataclasses.fields(LayerSpec)}
"""The fields of :class:`LayerSpec` by name."""


def check_option(where: str, name: str, value: Any) -> None:
    """Raises if one option cannot have this value; see :meth:`LayerSpec.check`."""
    OPTIONS[name].metadata["check"](where, name, value)


def default_of(option: dataclasses.Field[Any]) -> Any:
    """What an option is if nothing is said; ``dataclasses.MISSING`` if it must be said.

    >>> default_of(OPTIONS["num_layers"]), default_of(OPTIONS["activations"])
    (1, {})
    """
    factory = option.default_factory
    return option.default if factory is dataclasses.MISSING else factory()
