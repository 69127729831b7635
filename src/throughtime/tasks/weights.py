"""The weights of a model as a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

__all__ = ["from_bytes", "put_into", "to_bytes"]


def to_bytes(model: nn.Module) -> bytes:
    """The weights of a model; those that stand in two places are written once."""
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not any(tensor is other for other in weights.values()):
            weights[name] = tensor
    return save({k: v.detach().cpu().contiguous() for k, v in weights.items()})


def from_bytes(content: bytes) -> dict[str, Tensor]:
    """The weights that :func:`to_bytes` wrote.

    Raises:
        ValueError: if these are none.
    """
    try:
        # Not load_file, which maps the file: the process dies where it is cut off meanwhile.
        return load(content)
    except (SafetensorError, KeyError, RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(f"no safetensors ({type(error).__name__}: {error})") from error


def put_into(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a model its weights; none of them is used if one does not fit.

    Raises:
        ValueError: for a name that is missing or unknown, another shape, or whole numbers where
            the model has others.
    """
    own = model.state_dict(keep_vars=True)
    # A tied weight is written once, and so missing once.
    places: dict[int, str] = {}
    for name, tensor in own.items():
        if name in weights:
            places[id(tensor)] = name
    missing = [name for name, tensor in own.items() if id(tensor) not in places]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise ValueError(f"expected the weights of this run's settings, but {what}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ValueError(
                f"expected {name} of shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}"
            )
        # A model that was trained in another precision is rounded, and no more.
        if tensor.is_floating_point() != own[name].is_floating_point() or tensor.is_complex():
            raise ValueError(f"expected {name} as {own[name].dtype}, got {tensor.dtype}")
    model.load_state_dict(weights, strict=False)
