"""What the parts of an ONNX file mean: tensors, types, attributes, declared inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.checks import ShapeError

__all__ = ["Declared", "attributes_of", "check_input", "declared", "dtype_of", "tensor_of"]

# By the numbers that ONNX gives its types.
_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def dtype_of(onnx: Any, who: str, element_type: int) -> torch.dtype:
    """The type of PyTorch for one of ONNX.

    Raises:
        ValueError: for a type that a tensor of PyTorch cannot hold.
    """
    if element_type not in _DTYPES:
        known = onnx.TensorProto.DataType.items()
        name = next((name for name, number in known if number == element_type), element_type)
        raise ValueError(f"{who}: tensors of the type {name} cannot be read.")
    return _DTYPES[element_type]


def tensor_of(onnx: Any, who: str, value: Any) -> Tensor:
    """A stored tensor.

    Raises:
        ValueError: for one that is damaged, or holds no numbers.
    """
    try:
        array = onnx.numpy_helper.to_array(value)
        # NumPy's bfloat16 is a stranger to PyTorch.
        is_brain = array.dtype.name == "bfloat16"
        tensor = torch.from_numpy(array.astype("float32") if is_brain else array.copy())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{who} is damaged, or holds no numbers ({error}).") from error
    return tensor.bfloat16() if is_brain else tensor


def attributes_of(onnx: Any, node: Any) -> dict[str, Any]:
    """The attributes of a node by name, with texts for bytes and lists for repeated values."""
    return {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Declared:
    """What a file says of an input.

    Args:
        name: the input's name.
        shape: its sizes, a text for one that may be any; None where the shape may be any.
        is_floating: whether its numbers are floating-point numbers.
    """

    name: str
    shape: tuple[int | str, ...] | None
    is_floating: bool


def declared(onnx: Any, file: str, value: Any) -> Declared:
    """An input as the file declares it.

    Raises:
        ValueError: for an input that is no tensor.
    """
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"{file}: expected the input {value.name} as a tensor, got another kind.")
    tensor, kinds = value.type.tensor_type, onnx.TensorProto
    is_floating = tensor.elem_type in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16)
    if not tensor.HasField("shape"):
        return Declared(value.name, None, is_floating)
    sizes = []
    for number, size in enumerate(tensor.shape.dim):
        is_fixed = size.HasField("dim_value")
        # A size without a name is like no other.
        sizes.append(size.dim_value if is_fixed else size.dim_param or f"?{number}:{value.name}")
    return Declared(value.name, tuple(sizes), is_floating)


def check_input(file: str, expected: Declared, value: Any, sizes: dict[str, int]) -> None:
    """Raises where a value is not what the file declares.

    Args:
        file: the first word of the message.
        expected: the declaration.
        value: what the module was called with.
        sizes: by their names, the sizes that other inputs have; those of this one are added.
    """
    name, shape = expected.name, expected.shape
    if not isinstance(value, Tensor):
        raise TypeError(f"{file}: expected the input {name} as a tensor, got {value!r}.")
    # How wide the numbers are is for the nodes to say: a module may have been converted.
    if value.is_floating_point() != expected.is_floating:
        wanted = "floating-point" if expected.is_floating else "whole"
        raise ValueError(f"{file}: expected {wanted} numbers in {name}, got {value.dtype}.")
    if shape is None:
        return
    got = tuple(value.shape)
    fits = len(shape) == len(got)
    for size, actual in zip(shape, got, strict=False):
        wanted = sizes.setdefault(size, actual) if isinstance(size, str) else size
        fits = fits and wanted == actual
    if not fits:
        letters = ", ".join("?" if str(s).startswith("?") else str(s) for s in shape)
        met = {s: sizes[s] for s in shape if isinstance(s, str) and s in sizes and s[0] != "?"}
        because = f" with {', '.join(f'{k}={v}' for k, v in met.items())}" if met else ""
        raise ShapeError(f"{file}: expected {name} of shape ({letters}){because}, got {got}.")
