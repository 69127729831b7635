"""An ONNX file while it is written: a graph with its declared inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.writing import GraphWriter

__all__ = ["GraphFile"]

# The first versions with the present LSTM, GRU and RNN operators. Newer ones change nothing that is
# used here, and fewer runtimes support them.
_OPSET, _IR = 14, 8


class GraphFile:
    """A graph, and the inputs and outputs of its file.

    Inputs are declared before the first node, so that they get the names that they are called by.

    Args:
        module: the module whose weights are written, which tells the type of all numbers.

    Attributes:
        graph: the writer of the nodes.
    """

    def __init__(self, module: nn.Module) -> None:
        self.graph = GraphWriter(onnx_package("save_onnx"), dtype_of(module))
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, shape: list[Any], dtype: torch.dtype | None = None) -> str:
        """Declares an input; each size is a number or a name. Returns its name.

        Raises:
            ValueError: if an input has this name already.
        """
        if self.graph.name(name) != name:
            raise ValueError(
                f"save_onnx: the file has an input {name} of its own; expected another name for "
                f"that of the cell."
            )
        self._inputs.append(self.graph.value(name, shape, dtype))
        return name

    def declare(self, name: str, shape: list[Any], dtype: torch.dtype | None = None) -> None:
        """Declares an output, which a node of this name computes."""
        self._outputs.append(self.graph.value(name, shape, dtype))

    def output(
        self, name: str, value: str, shape: list[Any], dtype: torch.dtype | None = None
    ) -> None:
        """Makes a value of the graph an output."""
        written = self.graph.node("Identity", [value], name)
        assert written == name, f"a value of the graph is called {name} already"
        self.declare(name, shape, dtype)

    def model(self, about: str, values: Mapping[str, Any]) -> Any:
        """The file as a model of ONNX, checked.

        Args:
            about: a description.
            values: what the metadata tells, by name.
        """
        onnx, graph = self.graph.onnx, self.graph
        content = onnx.helper.make_graph(
            graph.nodes, "recurrent", self._inputs, self._outputs, graph.initializers
        )
        model = onnx.helper.make_model(
            content,
            producer_name="throughtime",
            doc_string=about,
            opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
        )
        onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in values.items()})
        onnx.checker.check_model(model, full_check=True)
        return model


def dtype_of(module: nn.Module) -> torch.dtype:
    """The one dtype of all weights, float32 or float64."""
    dtypes = {parameter.dtype for parameter in module.parameters()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise ValueError(
            f"save_onnx: expected weights of torch.float32 or torch.float64, all of one type, got "
            f"{' and '.join(sorted(map(str, dtypes)))}. Convert the module, for example with "
            f".float()."
        )
    return dtypes.pop()
