"""Collects the nodes, weights and constants of an ONNX graph under unique names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["GraphWriter"]


class GraphWriter:
    """Collects nodes and constants, and gives their results unique names.

    Args:
        onnx: the imported package.
        dtype: the dtype of all floating-point numbers, float32 or float64.
        taken: the names already in use. The body of a Scan shares them with the graph around it,
            whose values it may read.
    """

    def __init__(self, onnx: Any, dtype: torch.dtype, taken: set[str] | None = None) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._taken = set() if taken is None else taken
        self._constants: dict[Any, str] = {}

    def body(self) -> GraphWriter:
        """A writer for a graph that is the body of a node of this one."""
        return GraphWriter(self.onnx, self.dtype, self._taken)

    def name(self, proposal: str) -> str:
        """Reserves the proposed name, with a number appended if it is taken, and returns it."""
        name, count = proposal, 1
        while name in self._taken:
            count += 1
            name = f"{proposal}_{count}"
        self._taken.add(name)
        return name

    def value(self, name: str, shape: list[Any], dtype: torch.dtype | None = None) -> Any:
        """Declares an input or an output; each size is a number, a name, or None for unknown."""
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
        """Stores a trainable tensor as an initializer, and returns its name."""
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        name = self.name(name)
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def number(self, value: float, dtype: torch.dtype | None = None) -> str:
        """The name of a constant number; equal numbers share one Constant node.

        It is not an initializer, because readers take initializers for trainable weights.
        """
        dtype = self.dtype if dtype is None else dtype
        key = (repr(value), dtype)
        if key not in self._constants:
            array = torch.tensor(value, dtype=dtype).numpy()
            tensor = self.onnx.numpy_helper.from_array(array)
            self._constants[key] = self.node("Constant", [], f"number_{value:g}", value=tensor)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """The name of a constant vector of int64; equal vectors share one initializer."""
        if values not in self._constants:
            name = self.name(f"numbers_{'_'.join(map(str, values))}")
            array = np.array(values, dtype=np.int64)
            self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
            self._constants[values] = name
        return self._constants[values]

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node with one output, and returns the name of the output."""
        return self.nodes_of(op, inputs, [output], **attributes)[0]

    def nodes_of(
        self, op: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Adds a node with several outputs, and returns their names."""
        names = [self.name(name) for name in outputs]
        make_node = self.onnx.helper.make_node
        self.nodes.append(make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def slice(self, value: str, start: int, stop: int, axis: int, output: str) -> str:
        """Adds a Slice of a value along an axis, from ``start`` to before ``stop``."""
        bounds = [self.integers(start), self.integers(stop), self.integers(axis)]
        return self.node("Slice", [value, *bounds], output)
