"""A graph of ONNX as it is written: nodes, weights and constants, each under a name of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["GraphWriter"]


class GraphWriter:
    """Takes down nodes and constants, and names what they make.

    Args:
        onnx: the package.
        dtype: of all numbers, float32 or float64.
        taken: the names that there are; a body shares them with the graph around it, whose values
            it may read.
    """

    def __init__(self, onnx: Any, dtype: torch.dtype, taken: set[str] | None = None) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._taken = set() if taken is None else taken
        self._constants: dict[Any, str] = {}

    def body(self) -> GraphWriter:
        """The writer of a graph inside this one."""
        return GraphWriter(self.onnx, self.dtype, self._taken)

    def name(self, wanted: str) -> str:
        """The name itself, or one made of it where it is taken."""
        found, count = wanted, 1
        while found in self._taken:
            count += 1
            found = f"{wanted}_{count}"
        self._taken.add(found)
        return found

    def value(self, name: str, shape: list[Any], dtype: torch.dtype | None = None) -> Any:
        """The declaration of an input or an output; a size may be a name, or None."""
        kinds = self.onnx.TensorProto
        kind = {
            torch.float32: kinds.FLOAT,
            torch.float64: kinds.DOUBLE,
            torch.int32: kinds.INT32,
            torch.int64: kinds.INT64,
            torch.bool: kinds.BOOL,
        }[self.dtype if dtype is None else dtype]
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)

    def weight(self, name: str, value: Tensor) -> str:
        """A stored value that somebody may train."""
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        name = self.name(name)
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def number(self, value: float, dtype: torch.dtype | None = None) -> str:
        """A constant that nobody would train, made once."""
        dtype = self.dtype if dtype is None else dtype
        key = (repr(value), dtype)
        if key not in self._constants:
            array = torch.tensor(value, dtype=dtype).numpy()
            made = self.onnx.numpy_helper.from_array(array)
            self._constants[key] = self.node("Constant", [], f"number_{value:g}", value=made)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant row of whole numbers, made once."""
        if values not in self._constants:
            name = self.name(f"numbers_{'_'.join(map(str, values))}")
            array = np.array(values, dtype=np.int64)
            self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
            self._constants[values] = name
        return self._constants[values]

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node with one output; gives the name of that."""
        return self.nodes_of(op, inputs, [output], **attributes)[0]

    def nodes_of(
        self, op: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Adds a node with several outputs; gives their names."""
        names = [self.name(name) for name in outputs]
        make = self.onnx.helper.make_node
        self.nodes.append(make(op, inputs, names, name=names[0], **attributes))
        return names

    def slice(self, value: str, start: int, stop: int, axis: int, output: str) -> str:
        """The part of a value from ``start`` to before ``stop``."""
        bounds = [self.integers(start), self.integers(stop), self.integers(axis)]
        return self.node("Slice", [value, *bounds], output)
