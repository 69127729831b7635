"""Cells that wrap another cell and change its equations: regularisation, projection, limits.

A layer option that changes the equations is such a cell. So the changed equations are traced,
differentiated, compiled and printed like those of any other cell.
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

__all__ = [
    "ACTIVATIONS",
    "Activated",
    "GivenProducts",
    "Projected",
    "RecurrentDropout",
    "Wrapped",
    "Zoneout",
]


class Wrapped(Cell):
    """The base of cells that wrap another one and take over its declaration by default.

    Args:
        cell: the wrapped cell.

    Attributes:
        follows: the names of attributes that are determined by the constructor arguments, so that
            they need not be compared to tell two cells apart.
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
        """A name for a further input, lengthened until the wrapped cell has no such input."""
        while name in self.cell.input_specs:
            name += "_"
        return name

    def inner(self, x: Any, W: Any, R: Any, s: Any, p: Any, u: Any) -> dict[str, Any]:
        """The step of the wrapped cell."""
        return dict(self.cell.step(x, W, R, s, p, *([u] if self.cell.input_specs else [])))

    @property
    def title(self) -> str:
        return self.cell.title

    @property
    def narrow(self) -> Narrow | None:
        return self.cell.narrow

    @property
    def has_transform(self) -> bool:
        return self.cell.has_transform

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.cell.transform(R)


class Zoneout(Wrapped):
    r"""Randomly chosen units keep their value of the previous step; for each state s:

        s_t = m ⊙ s_{t-1} + (1 - m) ⊙ cell(s)_t,   m ~ Bernoulli(z_s)

    in training; in evaluation m is replaced by its mean z_s.

    Args:
        cell: the wrapped cell.
        rates: the probability z_s that a unit keeps its value, for each state; the default is 0.
        learns: whether the cell is in training.

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
        following = self.inner(x, W, R, s, p, u)
        for k, z in self.rates.items():
            if self.learns:
                is_kept = getattr(u, self.free(f"keep_{k}")) < z
                following[k] = torch.where(is_kept, getattr(s, k), following[k])
            else:
                following[k] = z * getattr(s, k) + (1 - z) * following[k]
        return following


class RecurrentDropout(Wrapped):
    r"""Dropout sets randomly chosen units of the arguments of all recurrent products to zero:

        R.i(v) becomes R.i(m ⊙ v / (1 - rate)),   m ~ Bernoulli(1 - rate), once for a sequence

    Args:
        cell: the wrapped cell.
        rate: the probability of dropping a unit.

    Source: Gal and Ghahramani 2016, arXiv 1512.05287, with one mask for all gates.
    """

    def __init__(self, cell: Cell, rate: float) -> None:
        super().__init__(cell)
        self.rate = rate
        self.inputs = {**cell.input_specs, self.free("leave"): Input(drawn="sequence")}

    def step(self, x, W, R, s, p, u: Any = None):
        is_dropped = getattr(u, self.free("leave")) < self.rate
        scale = 1 / (1 - self.rate)

        def product(block: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda value: block(torch.where(is_dropped, 0.0, scale * value))

        masked = {name: product(block) for name, block in vars(R).items()}
        return self.inner(x, W, SimpleNamespace(**masked), s, p, u)


class Projected(Wrapped):
    r"""The output is projected to fewer units before it is returned and fed back (LSTMP):

        h_t = R_hr cell(h)_t

    The projected h has P units, so R_hr has P rows, and the other blocks of R have P columns. A
    step here has square matrices and full states, whose further rows, columns and units are zero;
    :class:`throughtime.Recurrent` pads its weights accordingly.

    Args:
        cell: the wrapped cell.
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
        following = self.inner(x, W, R, s, p, u)
        following[self.output_name] = R.hr(following[self.output_name])
        return following

    def transform(self, R: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        cell_blocks = {name: R[name] for name in self.cell.recurrent_block_names}
        return {**self.cell.transform(cell_blocks), self.block: R[self.block]}


class GivenProducts(Wrapped):
    r"""The products of x with the blocks of W, with their biases, are further inputs of the step:

        W.i(x) becomes w_i

    The caller computes w_i for all steps. If x is a row of a small table, w_i is a row of the
    product of the table with block i.

    Args:
        cell: the wrapped cell, which uses x in products with W only.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        products = {self.free(f"w_{gate}"): Input() for gate in cell.gates}
        self.inputs = {**cell.input_specs, **products}

    def step(self, x, W, R, s, p, u: Any = None):
        def given(gate: str) -> Callable[[Any], Any]:
            return lambda _: getattr(u, self.free(f"w_{gate}"))

        blocks = {gate: given(gate) for gate in self.gates}
        return self.inner(x, SimpleNamespace(**blocks), R, s, p, u)


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
"""The activation functions that can be replaced by each other, by their names in PyTorch."""

_ALIASES = {"special_expit": "sigmoid"}


class Activated(Wrapped):
    r"""Activation functions are replaced by others, and their arguments are clipped:

        f(a) becomes g(min(max(a, -clip), clip))

    Args:
        cell: the wrapped cell.
        activations: the replacement, a name or a function, for each function of the step to be
            replaced, by its name.
        clip: the limit for the arguments of all activation functions; None is no limit.

    Source: the limit is the attribute ``clip`` of the recurrent operators of ONNX.
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
        with _ReplacedActivations(self.activations, self.clip):
            return self.inner(x, W, R, s, p, u)


class _ReplacedActivations(TorchFunctionMode):
    """A mode in which PyTorch's activation functions are replaced and their arguments clipped."""

    def __init__(
        self, activations: Mapping[str, str | Callable[[Any], Any]], clip: float | None
    ) -> None:
        super().__init__()
        self.activations, self.clip = activations, clip

    def __torch_function__(self, func, types, args=(), kwargs=None):
        func_name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        name = func_name.removesuffix("_")
        name = _ALIASES.get(name, name)
        replacement = self.activations.get(name)
        if name not in ACTIVATIONS or (self.clip is None and replacement is None):
            return _call(func, args, kwargs)
        argument, *more = args or (kwargs.pop("input"),)
        # An in-place function (relu_) works on a copy, and its result is copied into the argument.
        in_place = func_name.endswith("_") or kwargs.get("inplace", False)
        value = argument.clone() if in_place else argument
        if self.clip is not None:
            value = torch.clamp(value, -self.clip, self.clip)
        if replacement is None:
            result = _call(func, (value, *more), kwargs)
        elif isinstance(replacement, str):
            result = ACTIVATIONS[replacement](value)
        else:
            result = replacement(value)
        return argument.copy_(result) if in_place else result


def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Calls a function without replacing it.

    Under tracing the arguments are symbols with a ``__torch_function__`` of their own. A method of
    Tensor, unlike a function, does not look for it on arguments that are not tensors.
    """
    if isinstance(func, MethodDescriptorType) and has_torch_function(args):
        return handle_torch_function(func, args, *args, **kwargs)
    return func(*args, **kwargs)
