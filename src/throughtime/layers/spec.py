"""The sizes and options of a recurrent layer, each with its help text, check and formats.

:class:`LayerSpec` is the only list of the options. Each of its fields carries metadata:

    help       the help text of the command-line flag: a phrase with the range; the default only
               where it is None or computed, because a flag prints other defaults itself
    check      ``check(where, name, value)`` raises an error if the option cannot have the value
    formats    the interchange formats, out of ``FORMATS``, that can store a layer that uses the
               option; the writers of the other formats refuse such a layer

The annotations are types, not strings, so that a program can read them to declare its own flags or
configuration fields:

    for option in dataclasses.fields(LayerSpec):
        option.name, option.type, option.metadata["help"]
        default_of(option)    # dataclasses.MISSING for input_size and hidden_size

A command line leaves out ``input_size`` and ``batch_first``, because the model that contains the
layer determines them. The values of all other options can be written as text: numbers, booleans,
names, and dicts of these as JSON.
"""

# No `from __future__ import annotations` here: it would turn the types of the fields into strings.

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
"""The interchange formats that the metadata entry ``formats`` of a field may list."""


def _one_of_its_names(where: str, name: str, value: Any) -> None:
    known = _names(OPTIONS[name].type)
    if value not in known:
        raise unknown(name, value, known)


def _names(kind: Any) -> tuple[str, ...]:
    """The names that an annotation lists in a ``Literal``, also one inside a union."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(name for part in get_args(kind) for name in _names(part))


def _plain(kind: Any, value: Any) -> Any:
    """Converts an option's value to plain Python and copies a dict.

    Args:
        kind: the annotation of the option.
        value: a bool, number, name or dict, also of another library such as NumPy.
    """
    if kind is bool:
        return bool(value)
    if isinstance(value, Mapping):
        # A copy, so that the layer does not follow later changes of the caller's dict.
        return dict(value)
    # operator.index below would turn a tensor that holds True into the number 1.
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
    documents them. The constructor converts switches to ``bool``, numbers of other libraries to
    Python numbers, and copies dicts. It checks no value, because it does not know the name of the
    layer, with which every error message begins; call :meth:`check` for that.

    >>> LayerSpec(3, 5, bidirectional=True, proj_size=2).output_size
    4
    >>> LayerSpec(3, 5, dropout=2.0).check("here")
    Traceback (most recent call last):
    ValueError: here: expected dropout as a probability from 0 to 1, got 2.0.
    """

    input_size: int = _option(
        "number I of input features per time step, at least 1; required.", a_size(1)
    )
    hidden_size: int = _option(
        "number H of units of each layer in one direction, at least 1; required.", a_size(1)
    )
    num_layers: int = _option(
        "number L of stacked recurrent layers, from 1 to 1000.",
        a_size(1, 1000),
        default=1,
    )
    bias: bool = _option("add bias vectors to the gates.", default=True)
    batch_first: bool = _option(
        "use the layout (B, T, …) for sequences instead of (T, B, …).",
        default=False,
    )
    dropout: float = _option(
        "probability of dropping an output of a layer before the next layer reads it, from 0 to 1.",
        a_number("a probability from 0 to 1", lambda value: 0 <= value <= 1),
        default=0.0,
    )
    bidirectional: bool = _option(
        "read the sequence in both directions, with separate weights, and merge the outputs.",
        default=False,
    )
    merge: Literal["concat", "sum", "mean", "product"] = _option(
        "operation that merges the outputs of the two directions: concat, sum, mean or product.",
        _one_of_its_names,
        default="concat",
        formats=("keras", "onnx"),
    )
    backend: str = _option(
        "backend that runs the layer: auto, the fastest that can run the call, or the name of one.",
        a_backend,
        default="auto",
    )
    save: Literal["gates", "states"] = _option(
        "values stored for the backward pass: gates stores all that it needs; states stores a few "
        "states and recomputes the gates, which takes less memory and more time.",
        _one_of_its_names,
        default="gates",
    )
    strict: bool = _option(
        "with backend auto, raise an error instead of using the slow reference when no kernel can "
        "run the call.",
        default=False,
    )
    # Keras drops the same features at all steps, as locked_dropout does.
    locked_dropout: bool = _option(
        "drop the same features at all steps of a sequence, with the probability dropout.",
        default=False,
        formats=("keras", "onnx"),
    )
    recurrent_dropout: float = _option(
        "probability of dropping a unit of the values that the recurrent matrices multiply, from 0 "
        "to below 1; the same units at all steps of a sequence.",
        a_rate,
        default=0.0,
        formats=("keras", "onnx"),
    )
    zoneout: float | Mapping[str, float] = _option(
        "probability that a unit keeps its value of the previous step, from 0 to below 1: a number "
        'for all states, or one for each state by name, {"h": 0.05, "c": 0.5}.',
        rate_or_rates,
        default=0.0,
        formats=("onnx",),
    )
    weight_drop: float = _option(
        "probability of dropping a weight of the recurrent matrices, from 0 to below 1; drawn once "
        "per call.",
        a_rate,
        default=0.0,
        formats=("onnx",),
    )
    learned_state: bool = _option("learn the initial states.", default=False, formats=("onnx",))
    residual: bool = _option(
        "add the input of each layer, except the first, to its output.",
        default=False,
        formats=("onnx",),
    )
    independent: bool = _option(
        "run the two directions through all layers separately and merge them only after the last "
        "layer.",
        default=False,
        formats=("onnx",),
    )
    # Of torch.nn, only the LSTM projects; interchange/torch_nn.py refuses proj_size elsewhere.
    proj_size: int = _option(
        "number P of units to which the output and the state that is fed back are projected, below "
        "hidden_size; 0 for no projection.",
        a_size(0),
        default=0,
        formats=("torch.nn", "onnx"),
    )
    # In Python the values may be functions too; a type that includes functions cannot be a flag.
    activations: Mapping[str, Any] = _option(
        'replacements for activation functions, {"tanh": "relu", "sigmoid": "hardsigmoid"}.',
        functions,
        default_factory=dict,
        formats=("onnx",),
    )
    clip: float | None = _option(
        "limit, above 0, to which the arguments of activation functions are clipped: from -clip to "
        "clip (default: no limit).",
        or_none(a_number("a number above 0", lambda value: 0 < value < math.inf, LARGEST)),
        default=None,
        formats=("onnx",),
    )
    forget_bias: float | Literal["chrono"] | None = _option(
        "initial bias of the forget gates; or chrono, which draws the initial biases of all gates "
        "that control how long a state is kept (default: drawn as the other biases).",
        or_none(a_forget_bias),
        default=None,
    )
    chrono_steps: float | None = _option(
        "longest dependency expected in the sequences, in steps, above 2; required by forget_bias "
        "chrono, and only valid with it.",
        or_none(a_number_of_steps),
        default=None,
    )
    recurrent_init: Literal["uniform", "orthogonal", "identity"] | None = _option(
        "initial values of each block of the recurrent matrix: uniform as in torch.nn, orthogonal "
        "or identity (default: as the cell declares).",
        or_none(_one_of_its_names),
        default=None,
    )

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = _plain(option.type, getattr(self, option.name))
            object.__setattr__(self, option.name, value)

    def check(self, where: str) -> None:
        """Checks each option by itself; it does not check how options go together.

        Args:
            where: the name of the layer, with which error messages begin.

        Raises:
            TypeError: if a size is not a whole number.
            ValueError: if a value is out of range, or a name is unknown.
        """
        for name in OPTIONS:
            check_option(where, name, getattr(self, name))

    def lost_in(self, format: str) -> list[str]:
        """The names of the options in use that an interchange format cannot store.

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
        """The number of output features per time step."""
        merged = self.num_directions if self.merge == "concat" else 1
        return (self.proj_size or self.hidden_size) * merged


OPTIONS = {option.name: option for option in dataclasses.fields(LayerSpec)}
"""The fields of :class:`LayerSpec` by name."""


def check_option(where: str, name: str, value: Any) -> None:
    """Raises an error if option ``name`` cannot have this value; see :meth:`LayerSpec.check`."""
    OPTIONS[name].metadata["check"](where, name, value)


def default_of(option: dataclasses.Field[Any]) -> Any:
    """The default of an option; ``dataclasses.MISSING`` if the option is required.

    >>> default_of(OPTIONS["num_layers"]), default_of(OPTIONS["activations"])
    (1, {})
    """
    factory = option.default_factory
    return option.default if factory is dataclasses.MISSING else factory()
