"""The contract of a cell: the equations of one time step, and nothing else.

A cell says which blocks its weight matrices have, which states it keeps, and how one step goes.
It owns no weights, knows no batch, no time loop and no device. Whatever obeys this contract runs
in every layer, on every backend.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from throughtime.checks import unknown

__all__ = ["Cell", "Input", "Parameter", "Start", "State", "get", "names", "register"]

Start = float | tuple[float, float] | Callable[[Tensor], Any] | None
"""How a weight starts. A number: all its elements are that. Two, ``(low, high)``: they are drawn
uniformly between them. A function that fills a tensor, such as those of ``torch.nn.init``: as it
does. None: uniformly from -1/sqrt(H) to 1/sqrt(H), as ``torch.nn`` draws its recurrent layers."""


@dataclass(frozen=True)
class State:
    """A value that a cell keeps from step to step.

    Args:
        size: its width; None is the number of hidden units.
        initial: its value before the first step, where the caller gives none.
    """

    size: int | None = None
    initial: float = 0.0


@dataclass(frozen=True)
class Parameter:
    """A weight of the cell that belongs to each hidden unit alone, such as a peephole.

    Args:
        size: how many there are; None is one for each hidden unit.
        initial: how it starts, see :data:`Start`.
    """

    size: int | None = None
    initial: Start = None


@dataclass(frozen=True)
class Input:
    """A value besides x that enters each step: the time that has passed, a mask, a number drawn.

    Args:
        size: its width as the caller gives it: None is the number of hidden units; 1 is one number
            for each row, which reaches the step spread over the units.
        drawn: None, where the caller gives it. ``step`` and ``sequence`` are numbers from 0 to
            below 1, drawn uniformly for each row and unit: anew at each step, or once.
    """

    size: int | None = None
    drawn: str | None = None


@dataclass(frozen=True)
class Narrow:
    """A projection inside a cell: of a state and a block all units from ``size`` on are zero.

    Args:
        state: which state.
        block: which block of the recurrent matrix has rows of zeros.
        size: how many units, or rows, are not zero.
    """

    state: str
    block: str
    size: int


class Cell:
    """The base of all cells. A subclass declares its blocks and states, and writes ``step``.

    Attributes:
        gates: the blocks of the weight matrices, in their order; each has both biases.
        states: names of the states, or name to :class:`State`.
        parameters: names of the per-unit parameters, or name to :class:`Parameter`.
        inputs: what enters each step besides x: names, or name to :class:`Input`.
        recurrent_blocks: the blocks of the recurrent matrix where they are not the gates.
            A block that bears a gate's name carries a bias, any other carries none.
        output: the name, among those that ``step`` returns, that the layer gives out;
            by default the first state.
        initial_weights: how blocks start for which the default, None, does not do: name to
            :data:`Start`. ``"W.f"`` and ``"R.f"`` are block f of the input and of the recurrent
            matrix, ``"b_W.f"`` and ``"b_R.f"`` their biases; ``"b.f"`` is the sum of the biases of
            gate f, of which the recurrent one then starts at 0. A layer without biases leaves them
            out.
        chrono: the biases and per-unit parameters that chrono initialisation sets, named as in
            ``initial_weights``: 1 for a gate that keeps the state, -1 for one that writes over it,
            0 for what is added to such a gate and must start at 0. The gate is a sigmoid.
        torch_equivalent: ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"`` where the
            equations and the order of the blocks are exactly PyTorch's.
        source, year: where the equations come from.

    Constructor arguments, if any, are constants of the equations. They are kept as attributes
    under their own names and go into saved configurations.

    A whole cell:

    >>> import torch
    >>> class Leaky(Cell):
    ...     gates, states = ("h",), ("h",)
    ...     def step(self, x, W, R, s, p):
    ...         return dict(h=0.9 * s.h + 0.1 * torch.tanh(W.h(x) + R.h(s.h)))
    """

    name: ClassVar[str] = ""
    gates: tuple[str, ...] = ()
    states: Mapping[str, State] | Iterable[str] = ()
    parameters: Mapping[str, Parameter] | Iterable[str] = ()
    inputs: Mapping[str, Input] | Iterable[str] = ()
    recurrent_blocks: tuple[str, ...] | None = None
    output: str | None = None
    initial_weights: Mapping[str, Start] = {}
    chrono: Mapping[str, int] = {}
    torch_equivalent: str | None = None
    source: str = ""
    year: int | None = None

    def step(self, x: Tensor, W: Any, R: Any, s: Any, p: Any) -> Mapping[str, Tensor]:
        """One time step.

        Args:
            x: the input of this step, (B, I).
            W: the input blocks: ``W.i(v)`` is the product of block i with v, and its bias.
            R: the recurrent blocks, likewise.
            s: the states of the step before, each (B, H).
            p: the per-unit parameters, each (H).

        A cell that declares ``inputs`` takes one argument more, ``u: Any = None``: those of this
        step, each (B, H).

        Returns:
            The next states by name (and the output, where it is not a state). Any other name,
            such as a gate after its sigmoid, is for looking at: it carries no gradient.
        """
        # Not an abstract class: a cell without a step may be declared, looked at and listed.
        raise NotImplementedError(f"{type(self).__name__}: write step(self, x, W, R, s, p).")

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The recurrent blocks that the step is to use, made of those that are learned.

        Done once for each call; by default they are used as they are. An antisymmetric recurrence,
        for example, gives back ``{"h": R["h"] - R["h"].T}``.

        Args:
            R: the learned blocks by name, each (H, H).

        Returns:
            The blocks to use, under the same names and of the same shapes.
        """
        return R

    @property
    def narrow(self) -> Narrow | None:
        """What is known to be zero beyond some unit, so that no product need look there."""
        return None

    @property
    def has_transform(self) -> bool:
        """Whether :meth:`transform` is more than the blocks as they are."""
        return type(self).transform is not Cell.transform

    # What the class declares in short form, spelled out.

    @property
    def state_specs(self) -> dict[str, State]:
        """The states by name, in their order."""
        if isinstance(self.states, Mapping):
            return dict(self.states)
        return {name: State() for name in _tuple_of_names(self, "states", self.states)}

    @property
    def parameter_specs(self) -> dict[str, Parameter]:
        """The per-unit parameters by name, in their order."""
        if isinstance(self.parameters, Mapping):
            return dict(self.parameters)
        return {name: Parameter() for name in _tuple_of_names(self, "parameters", self.parameters)}

    @property
    def input_specs(self) -> dict[str, Input]:
        """What enters each step besides x, by name, in their order."""
        if isinstance(self.inputs, Mapping):
            return dict(self.inputs)
        return {name: Input() for name in _tuple_of_names(self, "inputs", self.inputs)}

    @property
    def given_inputs(self) -> dict[str, Input]:
        """Of these, what the caller gives."""
        return {name: spec for name, spec in self.input_specs.items() if spec.drawn is None}

    @property
    def drawn_inputs(self) -> dict[str, Input]:
        """Of these, what is drawn at random."""
        return {name: spec for name, spec in self.input_specs.items() if spec.drawn is not None}

    @property
    def recurrent_block_names(self) -> tuple[str, ...]:
        """The blocks of the recurrent matrix, in their order."""
        return tuple(self.gates if self.recurrent_blocks is None else self.recurrent_blocks)

    @property
    def recurrent_bias_names(self) -> tuple[str, ...]:
        """The recurrent blocks that carry a bias: those that bear a gate's name."""
        return tuple(name for name in self.recurrent_block_names if name in self.gates)

    @property
    def output_name(self) -> str:
        """What the layer gives out at each step."""
        return self.output if self.output is not None else next(iter(self.state_specs))

    @property
    def constants(self) -> dict[str, Any]:
        """The constructor arguments by name; numbers of other libraries as Python's own."""
        return {name: _plain(getattr(self, name)) for name in _constructor_arguments(self)}

    def check(self) -> None:
        """Raises a ValueError that says what the declaration lacks."""
        who = type(self).__name__
        if not self.state_specs:
            raise ValueError(
                f"{who}: expected states, the names of what the cell keeps from step to step, "
                f'got none. Write for example: states = ("h",).'
            )
        for what in ("gates", "states", "parameters", "inputs"):
            _tuple_of_names(self, what, getattr(self, what))
        if not self.gates:
            raise ValueError(
                f"{who}: expected gates, the names of the blocks of the weight matrices, got none. "
                f'Write for example: gates = ("h",).'
            )
        if self.recurrent_blocks is not None:
            _tuple_of_names(self, "recurrent_blocks", self.recurrent_blocks)
        for what, kind, specs in (
            ("states", State, self.state_specs),
            ("parameters", Parameter, self.parameter_specs),
            ("inputs", Input, self.input_specs),
        ):
            for name, spec in specs.items():
                if not isinstance(spec, kind):
                    raise ValueError(
                        f"{who}: expected {what} as names, or name to {kind.__name__}, "
                        f"got {spec!r} for {name}."
                    )
        for name, spec in self.parameter_specs.items():
            _check_start(self, f"the parameter {name}", spec.initial)
        _check_names_of_weights(self)
        for name, start in self.initial_weights.items():
            _check_start(self, name, start)
        for name, sign in self.chrono.items():
            if sign not in (-1, 0, 1):
                raise ValueError(f"{who}: expected chrono[{name!r}] as -1, 0 or 1, got {sign!r}.")
        for name, spec in self.input_specs.items():
            if name == "x":
                raise ValueError(f"{who}: the input x is what W is applied to; name another.")
            if spec.size not in (None, 1) or spec.drawn not in (None, "step", "sequence"):
                raise ValueError(
                    f"{who}: expected the input {name} with size None or 1, and drawn None, "
                    f'"step" or "sequence", got {spec!r}.'
                )
        for name in _constructor_arguments(self):
            if not hasattr(self, name):
                raise ValueError(
                    f"{who}: expected the constructor argument {name} as an attribute; write "
                    f"self.{name} = {name} in __init__."
                )
        taken = set(self.parameter_specs) & {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
        if taken:
            raise ValueError(f"{who}: the parameter name {sorted(taken)[0]} is the layer's own.")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.constants.items())
        return f"{type(self).__name__}({arguments})"


def _check_start(cell: Cell, what: str, start: object) -> None:
    """Raises a ValueError if ``what``, a weight of the cell, cannot start so."""
    if isinstance(start, tuple):
        fits = len(start) == 2 and all(map(_is_number, start)) and start[0] < start[1]
    else:
        fits = start is None or callable(start) or _is_number(start)
    if not fits:
        raise ValueError(
            f"{type(cell).__name__}: expected {what} to start from a number, from two, "
            f"(low, high), from a function that fills a tensor, or from None, got {start!r}."
        )


def _check_names_of_weights(cell: Cell) -> None:
    """Raises a ValueError if ``initial_weights`` or ``chrono`` name what the cell has not."""
    who, gates, biased = type(cell).__name__, cell.gates, cell.recurrent_bias_names
    biases = [*(f"b.{g}" for g in gates), *(f"b_W.{g}" for g in gates)]
    biases += [f"b_R.{block}" for block in biased]
    matrices = [*(f"W.{g}" for g in gates), *(f"R.{b}" for b in cell.recurrent_block_names)]
    for what, known in (
        ("initial_weights", [*matrices, *biases]),
        ("chrono", [*biases, *(k for k, p in cell.parameter_specs.items() if p.size is None)]),
    ):
        declared = getattr(cell, what)
        if not isinstance(declared, Mapping):
            raise ValueError(
                f"{who}: expected {what} as a dict from names of weights, such as "
                f'{{"b.{gates[0]}": 1}}, got {declared!r}.'
            )
        for name in declared:
            if name not in known:
                raise unknown(f"weight in {what} of {who}", name, known)
            if name.startswith("b.") and {f"b_W.{name[2:]}", f"b_R.{name[2:]}"} & set(declared):
                raise ValueError(f"{who}: {what} has {name}, a sum of biases, and a part of it.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A number of NumPy, or a tensor of one, as Python's own, which can be written into a file."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _constructor_arguments(cell: Cell) -> list[str]:
    if type(cell).__init__ is object.__init__:
        return []
    return list(inspect.signature(type(cell).__init__).parameters)[1:]


def _tuple_of_names(cell: Cell, what: str, value: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; refuses a bare string, of which each letter would be a name."""
    if isinstance(value, str) or not all(isinstance(v, str) and v.isidentifier() for v in value):
        raise ValueError(
            f"{type(cell).__name__}: expected {what} as a tuple of names, got {value!r}. "
            f'Write for example: {what} = ("{value if isinstance(value, str) else "h"}",).'
        )
    if len(set(value)) != len(tuple(value)):
        raise ValueError(f"{type(cell).__name__}: a name stands twice in {what}: {value!r}.")
    return tuple(value)


_registry: dict[str, type[Cell]] = {}


def register(cell: type[Cell]) -> type[Cell]:
    """Lists a cell under its ``name``, so that :func:`get` and ``--cell`` find it."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", cell.name):
        raise ValueError(f"{cell.__name__}: expected a name such as lstm-np, got {cell.name!r}.")
    if _registry.get(cell.name, cell) is not cell:
        raise ValueError(f'{cell.__name__}: the name "{cell.name}" belongs to another cell.')
    _registry[cell.name] = cell
    return cell


def is_registered(cell: Cell) -> bool:
    """Whether :func:`get` makes the same cell from its name; a subclass only inherits that."""
    return type(cell) is _registry.get(cell.name)


def names() -> list[str]:
    """The names of all registered cells."""
    return list(_registry)


def get(name: str, **constants: Any) -> Cell:
    """The cell of that name.

    Args:
        name: one of :func:`names`.
        constants: the constructor arguments of the cell.

    Raises:
        ValueError: for an unknown name, with the nearest known one.

    >>> get("gru").gates
    ('r', 'z', 'n')
    """
    if name not in _registry:
        raise unknown("cell", name, _registry)
    return _registry[name](**constants)
