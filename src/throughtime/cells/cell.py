"""The interface of a cell, which holds the equations of one time step.

A cell declares the blocks of its weight matrices and its states, and defines one step. It has no
weights, and nothing in it depends on the batch, the time loop or the device. Every cell with this
interface runs in every layer and on every backend.
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
"""The initial value of a weight. A number: the value of all elements. Two numbers ``(low, high)``:
the elements are drawn uniformly between them. A function, such as those of ``torch.nn.init``: it
fills the tensor. None: the elements are drawn uniformly from -1/sqrt(H) to 1/sqrt(H), as in the
recurrent layers of ``torch.nn``."""


@dataclass(frozen=True)
class State:
    """A value that a cell carries from step to step.

    Args:
        size: its width; None is the number of hidden units.
        initial: its value before the first step, if the caller passes none.
    """

    size: int | None = None
    initial: float = 0.0


@dataclass(frozen=True)
class Parameter:
    """A vector of weights, one for each hidden unit, such as a peephole.

    Args:
        size: its length; None is the number of hidden units. A tuple is a shape, in which None is
            the number of hidden units: ``(None, None)`` is a matrix of a weight for each pair.
        initial: its initial value, see :data:`Start`.
    """

    size: int | tuple[int | None, ...] | None = None
    initial: Start = None


@dataclass(frozen=True)
class Input:
    """A further input of each step besides x: a time, a mask, a random number.

    Args:
        size: its width as the caller passes it. None is the number of hidden units; 1 is one number
            for each row, which is repeated for all units before it reaches the step.
        drawn: None if the caller passes the input. Otherwise it is a random number from 0 to below
            1, drawn uniformly for each row and unit, anew for each ``step`` or once for a
            ``sequence``.
        default: the value of all steps if the caller does not pass the input, such as 1 for the
            time since the last step; None if the caller must pass it.
    """

    size: int | None = None
    drawn: str | None = None
    default: float | None = None


@dataclass(frozen=True)
class Narrow:
    """A state and a block of which only the first units are not zero, because of a projection.

    Args:
        state: the name of the state.
        block: the name of the block of the recurrent matrix that projects to this state.
        size: the number of units of the state, and of rows of the block, that are not zero.
    """

    state: str
    block: str
    size: int


class Cell:
    """The base class of all cells. A subclass declares blocks and states, and defines ``step``.

    Attributes:
        gates: the names of the blocks of the weight matrices, in their order; each has an input
            bias and a recurrent bias.
        states: the names of the states, or a dict from names to :class:`State`.
        parameters: the names of the per-unit parameters, or a dict from names to
            :class:`Parameter`.
        inputs: the names of further inputs of each step besides x, or a dict from names to
            :class:`Input`.
        recurrent_blocks: the names of the blocks of the recurrent matrix; None if they are the
            gates. Only blocks with the name of a gate have a bias.
        output: the name of the value, among those that ``step`` returns, that is the output of the
            layer; None is the first state.
        initial_weights: a dict from names to :data:`Start`, for blocks whose initial value is not
            the default. ``"W.f"`` and ``"R.f"`` are block f of the input matrix and of the
            recurrent matrix, ``"b_W.f"`` and ``"b_R.f"`` their biases. ``"b.f"`` is the sum of both
            biases: the input bias starts with this value, the recurrent bias at 0. Entries for
            biases are ignored in a layer without biases.
        chrono: the biases and per-unit parameters that chrono initialisation sets, by the names of
            ``initial_weights``: 1 for the bias of a gate that keeps the state, -1 for one that
            replaces it, 0 for a further summand of such a gate, which must start at 0. The gate
            must be a sigmoid.
        torch_equivalent: ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"`` if the equations
            and the order of the blocks are exactly those of PyTorch.
        source, year: the publication of the equations.

    Constructor arguments, if any, are constants of the equations. The cell must keep them as
    attributes of the same names; they become part of saved configurations.

    A cell may hold ``torch.nn.Parameter`` and ``torch.nn.Module`` as attributes. Each layer and
    direction then learns a copy of its own, which starts from the values in the cell and is named
    after the attribute: ``alpha_l0`` for ``self.alpha``, ``norm_weight_l0_reverse`` for the weight
    of ``self.norm``. The tensors in the cell stay as they are. Other tensors are constants: the
    step reads them with the device and the dtype of its input.

    A complete cell:

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
        """Computes one time step.

        Args:
            x: the input of this step, (B, I).
            W: the input blocks: ``W.i(v)`` is the product of block i with v, plus its bias.
            R: the recurrent blocks: ``R.i(v)`` is the product of block i with v, plus its bias.
            s: the states after the previous step, each (B, H).
            p: the per-unit parameters, each (H).

        If the cell declares ``inputs``, the step has one more argument, ``u: Any = None``, with the
        further inputs of this step, each (B, H).

        Returns:
            A dict of the next states by name, and of the output if it is not a state. Further
            entries, such as the value of a gate, can be recorded as a trace; they have no gradient.
        """
        # Not an abstract method, so that a cell can be declared, printed and listed without a step.
        raise NotImplementedError(f"{type(self).__name__}: write step(self, x, W, R, s, p).")

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Computes the recurrent blocks that the step uses from the learned ones.

        It is called once for each call of the layer. The default uses the learned blocks. An
        antisymmetric recurrence, for example, returns ``{"h": R["h"] - R["h"].T}``.

        Args:
            R: the learned blocks by name, each (H, H).

        Returns:
            The blocks to use, with the same names and shapes.
        """
        return R

    @property
    def narrow(self) -> Narrow | None:
        """The state and the block whose last units are known to be zero, if there are any.

        Kernels compute smaller matrix products for them.
        """
        return None

    @property
    def has_transform(self) -> bool:
        """Whether :meth:`transform` changes the blocks."""
        return type(self).transform is not Cell.transform

    @property
    def title(self) -> str:
        """What messages call it: its name, or that of its class."""
        return self.name or type(self).__name__

    def owning(self, learns: bool = False) -> Cell:
        """The cell with its own tensors passed to the step; itself if it has no tensors.

        Args:
            learns: whether the modules of the cell are in training mode.
        """
        from throughtime.cells.owned import Owning, has_own

        return Owning(self, learns) if has_own(self) else self

    # The declarations in their long form.

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
        """The further inputs of a step besides x by name, in their order."""
        if isinstance(self.inputs, Mapping):
            return dict(self.inputs)
        return {name: Input() for name in _tuple_of_names(self, "inputs", self.inputs)}

    @property
    def given_inputs(self) -> dict[str, Input]:
        """The further inputs that the caller passes."""
        return {name: spec for name, spec in self.input_specs.items() if spec.drawn is None}

    @property
    def drawn_inputs(self) -> dict[str, Input]:
        """The further inputs that are drawn at random."""
        return {name: spec for name, spec in self.input_specs.items() if spec.drawn is not None}

    @property
    def recurrent_block_names(self) -> tuple[str, ...]:
        """The names of the blocks of the recurrent matrix, in their order."""
        return tuple(self.gates if self.recurrent_blocks is None else self.recurrent_blocks)

    @property
    def recurrent_bias_names(self) -> tuple[str, ...]:
        """The names of the recurrent blocks that have a bias: those with the name of a gate."""
        return tuple(name for name in self.recurrent_block_names if name in self.gates)

    @property
    def output_name(self) -> str:
        """The name of the value that is the output of the layer."""
        return self.output if self.output is not None else next(iter(self.state_specs))

    @property
    def constants(self) -> dict[str, Any]:
        """The constructor arguments by name, with NumPy and tensor scalars as Python numbers."""
        return {name: _plain(getattr(self, name)) for name in _constructor_arguments(self)}

    def check(self) -> None:
        """Raises a ValueError if the declaration is incomplete or contradictory."""
        _check_names(self)
        _check_kinds(self)
        _check_initial_values(self)
        _check_inputs(self)
        _check_constructor(self)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.constants.items())
        return f"{type(self).__name__}({arguments})"


def _check_names(cell: Cell) -> None:
    """Raises a ValueError if names are missing, are not identifiers, or stand twice."""
    who = type(cell).__name__
    if not cell.state_specs:
        raise ValueError(
            f"{who}: expected states, the names of what the cell carries from step to step, "
            f'got none. Write for example: states = ("h",).'
        )
    for what in ("gates", "states", "parameters", "inputs"):
        _tuple_of_names(cell, what, getattr(cell, what))
    if not cell.gates:
        raise ValueError(
            f"{who}: expected gates, the names of the blocks of the weight matrices, got none. "
            f'Write for example: gates = ("h",).'
        )
    if cell.recurrent_blocks is not None:
        _tuple_of_names(cell, "recurrent_blocks", cell.recurrent_blocks)
    reserved = set(cell.parameter_specs) & {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    if reserved:
        raise ValueError(
            f"{who}: the parameter name {sorted(reserved)[0]} is the layer's own. Choose "
            f"another name."
        )


def _check_kinds(cell: Cell) -> None:
    """Raises a ValueError if a state, parameter or input has a description of the wrong class."""
    for what, kind, specs in (
        ("states", State, cell.state_specs),
        ("parameters", Parameter, cell.parameter_specs),
        ("inputs", Input, cell.input_specs),
    ):
        for name, spec in specs.items():
            if not isinstance(spec, kind):
                raise ValueError(
                    f"{type(cell).__name__}: expected {what} as names, or name to "
                    f"{kind.__name__}, got {spec!r} for {name}."
                )


def _check_initial_values(cell: Cell) -> None:
    """Raises a ValueError if a weight has an invalid initial value, or an unknown name."""
    for name, spec in cell.parameter_specs.items():
        _check_start(cell, f"the parameter {name}", spec.initial)
    _check_names_of_weights(cell)
    for name, start in cell.initial_weights.items():
        _check_start(cell, name, start)
    for name, sign in cell.chrono.items():
        if sign not in (-1, 0, 1):
            raise ValueError(
                f"{type(cell).__name__}: expected chrono[{name!r}] as -1, 0 or 1, got {sign!r}."
            )


def _check_inputs(cell: Cell) -> None:
    """Raises a ValueError if a further input is named x, or has an invalid size or draw."""
    who = type(cell).__name__
    for name, spec in cell.input_specs.items():
        if name == "x":
            raise ValueError(f"{who}: the input x is what W is applied to; name another.")
        if spec.size not in (None, 1) or spec.drawn not in (None, "step", "sequence"):
            raise ValueError(
                f"{who}: expected the input {name} with size None or 1, and drawn None, "
                f'"step" or "sequence", got {spec!r}.'
            )
        if spec.default is not None and (spec.drawn or not _is_number(spec.default)):
            raise ValueError(
                f"{who}: expected the default of the input {name} as a number, and only if the "
                f"input is not drawn, got {spec!r}."
            )


def _check_constructor(cell: Cell) -> None:
    """Raises a ValueError if a constructor argument is not kept as an attribute of its name."""
    for name in _constructor_arguments(cell):
        if not hasattr(cell, name):
            raise ValueError(
                f"{type(cell).__name__}: expected the constructor argument {name} as an "
                f"attribute; write self.{name} = {name} in __init__."
            )


def _check_start(cell: Cell, what: str, start: object) -> None:
    """Raises a ValueError if ``start`` is not a :data:`Start`; ``what`` names the weight."""
    if isinstance(start, tuple):
        is_valid = len(start) == 2 and all(map(_is_number, start)) and start[0] < start[1]
    else:
        is_valid = start is None or callable(start) or _is_number(start)
    if not is_valid:
        raise ValueError(
            f"{type(cell).__name__}: expected {what} to start from a number, from two, "
            f"(low, high), from a function that fills a tensor, or from None, got {start!r}."
        )


def _check_names_of_weights(cell: Cell) -> None:
    """Raises a ValueError if ``initial_weights`` or ``chrono`` name an unknown weight."""
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
    """Converts a NumPy or tensor scalar to a Python number, which can be written to JSON."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _constructor_arguments(cell: Cell) -> list[str]:
    if type(cell).__init__ is object.__init__:
        return []
    return list(inspect.signature(type(cell).__init__).parameters)[1:]


def _tuple_of_names(cell: Cell, what: str, value: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; refuses a string, since each of its letters would become a name."""
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
    """Registers a cell under its ``name``, so that :func:`get` and ``--cell`` find it."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", cell.name):
        raise ValueError(f"{cell.__name__}: expected a name such as lstm-np, got {cell.name!r}.")
    if _registry.get(cell.name, cell) is not cell:
        raise ValueError(f'{cell.__name__}: the name "{cell.name}" belongs to another cell.')
    _registry[cell.name] = cell
    return cell


def is_registered(cell: Cell) -> bool:
    """Whether the class of the cell itself is registered; a subclass only inherits the name."""
    return type(cell) is _registry.get(cell.name)


def names() -> list[str]:
    """The names of all registered cells."""
    return list(_registry)


def get(name: str, **constants: Any) -> Cell:
    """Creates the cell of that name.

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
