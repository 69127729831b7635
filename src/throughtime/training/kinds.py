"""What the tensors of a checkpoint must be: those of this model and of this optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from throughtime.reading import Entries, Maybe, shown

__all__ = ["adam_kind", "adam_state", "like", "load_adam_state", "model_kind", "random_kinds"]


def like(
    expected: Tensor, *, least: float = -math.inf, is_finite: bool = True
) -> Callable[[object], Tensor]:
    """A kind (see :func:`throughtime.reading.typed`): a tensor of the same type and shape.

    Args:
        expected: of which type and shape it must be.
        least: the smallest number that it may hold.
        is_finite: whether all its numbers must be finite.
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
    """Whether two tensors are of one type and shape, and lie in memory alike."""
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
    """The kind of the state dict of a model, whose parameters must be finite."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return Entries(
        {
            name: like(tensor, is_finite=name in parameters)
            for name, tensor in model.state_dict().items()
        }
    )


def adam_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, dict[str, Tensor] | None]:
    """What Adam keeps of each parameter, by name; None for one that never had a gradient.

    The settings of the optimizer are not among it: they are those of the run.
    """
    return {name: dict(optimizer.state.get(p, {})) or None for name, p in parameters.items()}


def adam_kind(parameters: Mapping[str, nn.Parameter], num_steps: int) -> Entries:
    """The kind of what :func:`adam_state` returns after that many steps."""
    return Entries({name: _of_parameter(p, num_steps) for name, p in parameters.items()})


def _of_parameter(parameter: nn.Parameter, num_steps: int) -> Maybe:
    moments = {"exp_avg": like(parameter), "exp_avg_sq": like(parameter, least=0.0)}
    return Maybe(Entries({"step": _steps(num_steps), **moments}))


def _steps(num_steps: int) -> Callable[[object], Tensor]:
    steps = range(1, num_steps + 1)

    def check(value: object) -> Tensor:
        is_number = isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 0
        if not isinstance(value, Tensor) or not is_number or value.item() not in steps:
            raise ValueError(f"expected a number of steps up to {num_steps}, got {shown(value)}.")
        return value

    return check


def load_adam_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    state: Mapping[str, dict[str, Tensor] | None],
) -> None:
    """Goes back to what :func:`adam_state` returned."""
    groups = optimizer.state_dict()["param_groups"]
    places = {name: number for number, name in enumerate(parameters)}
    # Each tensor gets memory of its own, which those of a file may share.
    entries = {
        places[name]: {key: tensor.clone() for key, tensor in entry.items()}
        for name, entry in state.items()
        if entry is not None
    }
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def random_kinds() -> Entries:
    """The kind of the states of the generators of random numbers of a process."""
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
