"""Cells that are made of another cell: what regularises it, limits it or makes it smaller.

An option that changes the equations is a cell of its own, around the one that it changes. So it
is traced, derived, compiled and printed like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodDescriptorType, SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

from throughtime.cells.cell import Cell, Input, Narrow

__all__ = ["ACTIVATIONS", "Activated", "Projected", "RecurrentDropout", "Wrapped", "Zoneout"]


class Wrapped(Cell):
    """The base of cells that are made of another: all that is not said anew is that one's.

    Args:
        cell: the cell inside.

    Attributes:
        follows: what follows from the constructor arguments, and tells no two cells apart.
    """

    follows: ClassVar[tuple[str, ...]] = (
        *("gates", "output", "states", "parameters", "inputs", "recurrent_blocks"),
    )

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.gates, self.output = cell.gates, cell.output
        self.states, self.parameters = cell.state_specs, cell.parameter_specs
        self.inputs = cell.input_specs
        self.recurrent_blocks = cell.recurrent_blocks

    def free(self, name: str) -> str:
        """A name for a further input that none of the cell inside has."""
        while name in self.cell.input_specs:
            name += "_"
        return name

    def inner(self, x: Any, W: Any, R: Any, s: Any, p: Any, u: Any) -> dict[str, Any]:
        """The step of the cell inside."""
        return dict(self.cell.step(x, W, R, s, p, *([u] if self.cell.input_specs else [])))

    @property
    def narrow(self) -> Narrow | None:
        return self.cell.narrow

    @property
    def has_transform(self) -> bool:
        return self.cell.has_transform

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.cell.transform(R)


class Zoneout(Wrapped):
    r"""Some units keep the value of the step before, others at each step; for each state s:

        s_t = m ⊙ s_{t-1} + (1 - m) ⊙ cell(s)_t,   m ~ Bernoulli(z_s)

    when it learns, and with z_s for m when it does not.

    Args:
        cell: the cell inside.
        rates: for each state the probability z_s to keep its value; 0 where it is not named.
        learns: which of the two.

    Source: Krueger et al. 2017, arXiv 1606.01305, equations 3 to 6.
    """

    def __init__(self, cell: Cell, rates: Mapping[str, float], learns: bool) -> None:
        super().__init__(cell)
        self.rates = {k: rates[k] for k in cell.state_specs if rates.get(k, 0.0) > 0.0}
        self.learns = learns
        if learns:
            drawn = {self.free(f"keep_{k}"): Input(drawn="step") for k in self.rates}
            self.inputs = {**cell.input_specs, **drawn}

    def step(self, x, W, R, s, p, u: Any = None):
        made = self.inner(x, W, R, s, p, u)
        for k, z in self.rates.items():
            if self.learns:
                kept = getattr(u, self.free(f"keep_{k}")) < z
                made[k] = torch.where(kept, getattr(s, k), made[k])
            else:
                made[k] = z * getattr(s, k) + (1 - z) * made[k]
        return made


class RecurrentDropout(Wrapped):
    r"""Each product with a block of R is of a value of which some units are left out:

        R.i(v) becomes R.i(m ⊙ v / (1 - rate)),   m ~ Bernoulli(1 - rate), once for a sequence

    Args:
        cell: the cell inside.
        rate: the probability to leave a unit out.

    Source: Gal and Ghahramani 2016, arXiv 1512.05287, with one mask for all gates.
    """

    def __init__(self, cell: Cell, rate: float) -> None:
        super().__init__(cell)
        self.rate = rate
        self.inputs = {**cell.input_specs, self.free("leave"): Input(drawn="sequence")}

    def step(self, x, W, R, s, p, u: Any = None):
        left_out = getattr(u, self.free("leave")) < self.rate
        scale = 1 / (1 - self.rate)

        def product(block: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda value: block(torch.where(left_out, 0.0, scale * value))

        masked = {name: product(block) for name, block in vars(R).items()}
        return self.inner(x, W, SimpleNamespace(**masked), s, p, u)


class Projected(Wrapped):
    r"""The output is a projection to fewer units, and it is what is fed back (LSTMP):

        h_t = R_hr cell(h)_t

    The blocks of R see the first P units of h only, and R_hr has P rows. Here both are full
    matrices with zeros in the rest, as :class:`throughtime.Recurrent` makes them.

    Args:
        cell: the cell inside.
        size: P.

    Source: Sak, Senior and Beaufays 2014, arXiv 1402.1128, equations 6 to 8.
    """

    block = "hr"

    def __init__(self, cell: Cell, size: int) -> None:
        super().__init__(cell)
        self.size = size
        self.recurrent_blocks = (*cell.recurrent_block_names, self.block)

    @property
    def narrow(self) -> Narrow:
        return Narrow(self.output_name, self.block, self.size)

    def step(self, x, W, R, s, p, u: Any = None):
        made = self.inner(x, W, R, s, p, u)
        made[self.output_name] = R.hr(made[self.output_name])
        return made

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        inside = {name: R[name] for name in self.cell.recurrent_block_names}
        return {**self.cell.transform(inside), self.block: R[self.block]}


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda a: a,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "softsign": F.softsign,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sin": torch.sin,
}
"""The functions that may stand where another stood, by their names in PyTorch."""

_ALIASES = {"special_expit": "sigmoid"}


class Activated(Wrapped):
    r"""Other activation functions, and a limit to what they are given:

        f(a) becomes g(min(max(a, -clip), clip))

    Args:
        cell: the cell inside.
        activations: for the name of a function that the step calls, the name of the one to call
            for it, or a function.
        clip: the limit for every activation function; None is no limit.

    Source: of the limit, the attribute ``clip`` of the recurrent operators of ONNX.
    """

    def __init__(
        self,
        cell: Cell,
        activations: Mapping[str, str | Callable[[Any], Any]],
        clip: float | None,
    ) -> None:
        super().__init__(cell)
        self.activations, self.clip = dict(activations), clip

    def step(self, x, W, R, s, p, u: Any = None):
        with _Instead(self.activations, self.clip):
            return self.inner(x, W, R, s, p, u)


class _Instead(TorchFunctionMode):
    """While it is entered, activation functions are called as a cell wants them called."""

    def __init__(
        self, activations: Mapping[str, str | Callable[[Any], Any]], clip: float | None
    ) -> None:
        super().__init__()
        self.activations, self.clip = activations, clip

    def __torch_function__(self, func, types, args=(), kwargs=None):
        called, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        name = called.removesuffix("_")
        name = _ALIASES.get(name, name)
        other = self.activations.get(name)
        if name not in ACTIVATIONS or (self.clip is None and other is None):
            return _as_it_is(func, args, kwargs)
        given, *more = args or (kwargs.pop("input"),)
        # What changes its argument, as relu_ does, gets one of its own, and then changes the other.
        in_place = called.endswith("_") or kwargs.get("inplace", False)
        value = given.clone() if in_place else given
        if self.clip is not None:
            value = torch.clamp(value, -self.clip, self.clip)
        if other is None:
            made = _as_it_is(func, (value, *more), kwargs)
        else:
            made = (ACTIVATIONS[other] if isinstance(other, str) else other)(value)
        return given.copy_(made) if in_place else made


def _as_it_is(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What was called, called; a method of Tensor does not turn to a symbol of its own accord."""
    if isinstance(func, MethodDescriptorType) and has_torch_function(args):
        return handle_torch_function(func, args, *args, **kwargs)
    return func(*args, **kwargs)
