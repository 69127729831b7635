"""The kinds of the tensors of a checkpoint, by which they are checked before any is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.reading import Entries, shown, typed

__all__ = ["adam_kind", "adam_state", "like", "load_adam_state", "model_kind", "random_kinds"]


def like(
    expected: Tensor, *, least: float = -math.inf, is_finite: bool = True
) -> Callable[[object], Tensor]:
    """The kind of tensors like another one; see :func:`throughtime.reading.typed`.

    Args:
        expected: the tensor with the required type and shape.
        least: the smallest number that the tensor may hold.
        is_finite: whether all numbers of the tensor must be finite.
    """

    def check(value: object) -> Tensor:
        words = f"{str(expected.dtype).removeprefix('torch.')} {tuple(expected.shape)}"
        if not isinstance(value, Tensor):
            raise ValueError(f"expected a tensor of {words}, got {shown(value)}.")
        if not _is_alike(value, expected):
            dtype = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"expected a tensor of {words}, got {dtype} {tuple(value.shape)}.")
        if value.is_floating_point() and is_finite and not bool(torch.isfinite(value).all()):
            raise ValueError("expected finite numbers, got others.")
        if least > -math.inf and value.numel() and bool((value < least).any()):
            raise ValueError(f"expected numbers of at least {least:g}, got {float(value.min()):g}.")
        return value

    return check


def _is_alike(value: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have the same type, shape and layout in memory."""
    return (
        value.dtype == expected.dtype
        and value.shape == expected.shape
        and value.layout == expected.layout == torch.strided
        and value.device.type != "meta"
        and all(
            ours == theirs
            for size, ours, theirs in zip(
                value.shape, value.stride(), expected.stride(), strict=True
            )
            if size > 1
        )
    )


def model_kind(model: nn.Module) -> Entries:
    """The kind of the state dict of a model; its parameters must be finite."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return Entries(
        {
            name: like(tensor, is_finite=name in parameters)
            for name, tensor in model.state_dict().items()
        }
    )


def adam_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Any]:
    """The moments of Adam by the name of the parameter, and the parameters without any.

    A parameter that never had a gradient has no moments. The settings of the optimizer are not
    included, because they belong to the run.
    """
    moments = {
        name: dict(optimizer.state[parameter])
        for name, parameter in parameters.items()
        if optimizer.state.get(parameter)
    }
    return {"moments": moments, "unused": [name for name in parameters if name not in moments]}


def adam_kind(
    parameters: Mapping[str, nn.Parameter], num_steps: int
) -> Callable[[object], dict[str, Any]]:
    """The kind of the result of :func:`adam_state` after a number of steps."""
    kinds = {name: _of_parameter(p, num_steps) for name, p in parameters.items()}
    whole = Entries({"moments": Entries({}, kinds), "unused": list[str]})

    def check(value: object) -> dict[str, Any]:
        state = typed("of Adam", value, whole)
        if sorted([*state["moments"], *state["unused"]]) != sorted(parameters):
            raise ValueError("expected each parameter once, among moments or among unused.")
        return state

    return check


def _of_parameter(parameter: nn.Parameter, num_steps: int) -> Entries:
    moments = {"exp_avg": like(parameter), "exp_avg_sq": like(parameter, least=0.0)}
    return Entries({"step": _steps(num_steps), **moments})


def _steps(num_steps: int) -> Callable[[object], Tensor]:
    steps = range(1, num_steps + 1)

    def check(value: object) -> Tensor:
        # PyTorch counts the steps in a tensor of the default type or of float32.
        is_count = (
            isinstance(value, Tensor)
            and value.dim() == 0
            and value.dtype in (torch.float32, torch.get_default_dtype())
            and value.item() in steps
        )
        if not isinstance(value, Tensor) or not is_count:
            raise ValueError(f"expected a number of steps up to {num_steps}, got {shown(value)}.")
        return value

    return check


def load_adam_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    state: Mapping[str, Any],
) -> None:
    """Restores an optimizer from the result of :func:`adam_state`."""
    groups = optimizer.state_dict()["param_groups"]
    places = {name: number for number, name in enumerate(parameters)}
    # Clones, because tensors of a file may share memory with each other.
    entries = {
        places[name]: {key: tensor.clone() for key, tensor in moments.items()}
        for name, moments in state["moments"].items()
    }
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def random_kinds() -> Entries:
    """The kind of the states of the random number generators of a process."""
    cuda = {"cuda": _generator_kind("cuda")} if torch.cuda.is_available() else {"cuda": object}
    return Entries({"cpu": _generator_kind("cpu")}, cuda)


def _generator_kind(device: str) -> Callable[[object], Tensor]:
    generator = torch.Generator(device)

    def check(value: object) -> Tensor:
        state = like(generator.get_state())(value)
        try:
            generator.set_state(state)
        except RuntimeError as error:
            raise ValueError(f"expected the state of a generator: {error}.") from error
        return state

    return check
