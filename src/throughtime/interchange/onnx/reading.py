"""Converts the parts of an ONNX file: tensors, types, attributes and declared inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime.checks import ShapeError

__all__ = ["Declared", "attributes_of", "check_input", "declared", "dtype_of", "tensor_of"]

# By the number of the type in ONNX.
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
    """The dtype of PyTorch for a type number of ONNX.

    Raises:
        ValueError: for a type that PyTorch does not have.
    """
    if element_type not in _DTYPES:
        known = onnx.TensorProto.DataType.items()
        name = next((name for name, number in known if number == element_type), element_type)
        raise ValueError(f"{who}: tensors of the type {name} cannot be read.")
    return _DTYPES[element_type]


def tensor_of(onnx: Any, who: str, value: Any) -> Tensor:
    """Converts a stored tensor.

    Raises:
        ValueError: if it is damaged, or does not contain numbers.
    """
    try:
        array = onnx.numpy_helper.to_array(value)
        # PyTorch cannot convert NumPy's bfloat16, so it is read as float32 and converted below.
        is_brain = array.dtype.name == "bfloat16"
        tensor = torch.from_numpy(array.astype("float32") if is_brain else array.copy())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{who} is damaged, or holds no numbers ({error}).") from error
    return tensor.bfloat16() if is_brain else tensor


def attributes_of(onnx: Any, node: Any) -> dict[str, Any]:
    """The attributes of a node by name, with bytes as strings and repeated values as lists."""
    return {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Declared:
    """The declaration of an input in a file.

    Args:
        name: the name of the input.
        shape: its sizes; a string is the name of a variable size. None if the shape is unknown.
        is_floating: whether its numbers are floating-point numbers.
    """

    name: str
    shape: tuple[int | str, ...] | None
    is_floating: bool


def declared(onnx: Any, file: str, value: Any) -> Declared:
    """Reads the declaration of an input.

    Raises:
        ValueError: if the input is not a tensor.
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
        # A size without a name gets a unique one, because it may differ from all other sizes.
        sizes.append(size.dim_value if is_fixed else size.dim_param or f"?{number}:{value.name}")
    return Declared(value.name, tuple(sizes), is_floating)


def check_input(file: str, expected: Declared, value: Any, sizes: dict[str, int]) -> None:
    """Raises if an input does not match its declaration.

    Args:
        file: the path of the file, with which error messages begin.
        expected: the declaration.
        value: the argument of the call.
        sizes: the variable sizes of earlier inputs by name; those of this input are added.
    """
    name, shape = expected.name, expected.shape
    if not isinstance(value, Tensor):
        raise TypeError(f"{file}: expected the input {name} as a tensor, got {value!r}.")
    # Only the kind of number is checked: the module may have been converted to another dtype.
    if value.is_floating_point() != expected.is_floating:
        kind = "floating-point" if expected.is_floating else "whole"
        raise ValueError(f"{file}: expected {kind} numbers in {name}, got {value.dtype}.")
    if shape is None:
        return
    got = tuple(value.shape)
    fits = len(shape) == len(got)
    for size, actual in zip(shape, got, strict=False):
        number = sizes.setdefault(size, actual) if isinstance(size, str) else size
        fits = fits and number == actual
    if not fits:
        letters = ", ".join("?" if str(s).startswith("?") else str(s) for s in shape)
        named = {s: sizes[s] for s in shape if isinstance(s, str) and s in sizes and s[0] != "?"}
        because = f" with {', '.join(f'{k}={v}' for k, v in named.items())}" if named else ""
        raise ShapeError(f"{file}: expected {name} of shape ({letters}){because}, got {got}.")
