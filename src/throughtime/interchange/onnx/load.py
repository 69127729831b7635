"""Loads ONNX files as modules: kernels run the recurrent nodes, PyTorch the other operators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.interchange.onnx.graph import (
    Node,
    OperatorNode,
    in_order,
    operator_for,
    versions_of,
)
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.node import RECURRENT, RecurrentNode
from throughtime.interchange.onnx.reading import (
    attributes_of,
    check_input,
    declared,
    dtype_of,
    tensor_of,
)
from throughtime.kernels import dispatch

__all__ = ["OnnxModule", "load_onnx"]


def load_onnx(path: str | Path, *, backend: str = "auto") -> OnnxModule:
    """Loads an ONNX file with RNN, GRU or LSTM nodes as a module that can be trained further.

    All attributes and optional inputs of the three operators are supported; their weights may be
    stored in the file or be inputs of the graph. The graph may also contain the operators that
    PyTorch, Keras (through tf2onnx) and ONNX Runtime write around recurrent layers; docs/onnx.md
    lists them. Loading runs no code from the file.

    Args:
        path: the file.
        backend: the backend that runs the recurrent nodes; see :class:`throughtime.Recurrent`.

    Raises:
        ValueError: if the file is missing or damaged, an operator or attribute is unknown, a stored
            weight has the wrong shape, or no node is recurrent.
        ImportError: if onnx is not installed.
    """
    dispatch.check(backend)
    onnx = onnx_package("load_onnx")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: expected an ONNX file, got none there.")
    # onnx itself has imported protobuf already.
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(file))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ValueError(f"{file}: the file is damaged, or no ONNX file ({error}).") from error
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(f"{file}: the file is damaged, or no ONNX file (there is no graph in it).")
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return OnnxModule(onnx, model, str(file), backend)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        # For example names that are not UTF-8, an unknown type, or too few outputs of a node.
        raise ValueError(f"{file}: the file is damaged ({error!r}).") from error


class OnnxModule(nn.Module):
    """The graph of an ONNX file as a module; :func:`load_onnx` creates it.

    A call takes the inputs of the graph in their order, and returns a tuple of its outputs. The
    floating-point tensors that the file stores are parameters; integers, scalars (of the shape ())
    and the values of Constant nodes are buffers. They have the names in the file, with ``_`` for
    characters that are not letters or digits. Values that depend on buffers only are computed once,
    when the file is loaded. ``.to(dtype)`` converts the whole module: a Cast to a floating-point
    type then casts to the new dtype.

    Shapes:
        Those that the file declares. A named size is variable, but equal for all inputs.

    Raises:
        ShapeError: for an input of the wrong shape.
        ValueError: for an input of integers instead of floating-point numbers or the reverse, or
            inputs that a node cannot compute.
        TypeError: for a wrong number of inputs.
    """

    def __init__(self, onnx: Any, model: Any, file: str, backend: str = "auto") -> None:
        super().__init__()
        graph = model.graph
        self.file = file
        self.stored = nn.Module()
        self._places: dict[str, str] = {}
        # The names of the values that neither calls nor training change.
        self._constants: set[str] = set()
        for value in graph.initializer:
            self._store(value.name, tensor_of(onnx, f"{file}: the tensor {value.name}", value))
        if graph.sparse_initializer:
            raise ValueError(f"{file}: sparse initialisers cannot be read. Store them dense.")
        # Old files also list the stored tensors among the inputs.
        self.inputs = tuple(
            declared(onnx, file, value) for value in graph.input if value.name not in self._places
        )
        self.outputs = tuple(value.name for value in graph.output)
        self._nodes: list[Node] = []
        self._add_nodes(onnx, graph, versions_of(model), backend)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the graph's inputs in order, without those that the file stores."""
        return tuple(value.name for value in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the graph's outputs in order."""
        return self.outputs

    def _store(self, name: str, tensor: Tensor) -> None:
        """Stores a value of the graph: floating-point numbers as a parameter, else as a buffer."""
        if name in self._places:
            raise ValueError(f"{self.file}: the value {name} is stored twice.")
        place = self._places[name] = self._free_place(name)
        # A scalar is a constant that the exporter wrote, such as the 0 of an initial state or the
        # epsilon of a normalisation; it is not trained.
        if tensor.is_floating_point() and tensor.dim() > 0:
            self.stored.register_parameter(place, nn.Parameter(tensor))
        else:
            self._store_buffer(name, place, tensor)

    def _store_buffer(self, name: str, place: str, tensor: Tensor, is_saved: bool = True) -> None:
        """Stores a value as a buffer, which training does not change."""
        self._places[name] = place
        self._constants.add(name)
        self.stored.register_buffer(place, tensor, persistent=is_saved)

    def _free_place(self, name: str) -> str:
        """A free name for an attribute of ``stored``, derived from a name in the file."""
        place = re.sub(r"\W", "_", name) or "_"
        while hasattr(self.stored, place):
            place += "_"
        return place

    def _add_nodes(self, onnx: Any, graph: Any, versions: dict[str, int], backend: str) -> None:
        """Adds all nodes of the graph in an order in which they can run."""
        known = {value.name for value in self.inputs} | set(self._places)
        for who, node in in_order(self.file, graph.node, known):
            known |= set(node.output)
            is_standard = node.domain in ("", "ai.onnx")
            if is_standard and node.op_type == "Constant":
                self._store_constant(onnx, who, node, attributes_of(onnx, node))
            elif is_standard and node.op_type in RECURRENT:
                self._add_recurrent(who, node, attributes_of(onnx, node), backend)
            else:
                self._add_operator(onnx, who, node, versions)
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"{self.file}: the output {name} is made by no node.")
        if not any(isinstance(node.run, RecurrentNode) for node in self._nodes):
            raise ValueError(
                f"{self.file}: expected a model with a recurrent node ({', '.join(RECURRENT)}), "
                f"got one with none. An exporter may have written the steps out one by one, as "
                f"PyTorch's with dynamo=True does for nn.RNN; with dynamo=False it writes a node."
            )

    def _add_recurrent(self, who: str, node: Any, attributes: dict[str, Any], backend: str) -> None:
        run = RecurrentNode(
            who, node.op_type, attributes, len(node.input), len(node.output), backend
        )
        run.check_weights([self._stored(name) for name in node.input])
        self._nodes.append(Node(who, run, tuple(node.input), tuple(node.output)))

    def _add_operator(self, onnx: Any, who: str, node: Any, versions: dict[str, int]) -> None:
        """Adds a node that is not recurrent; computes it at once if its inputs are constants."""
        operator = operator_for(who, node, versions)
        attributes = attributes_of(onnx, node)
        if "num_outputs" in operator.attributes:
            attributes.setdefault("num_outputs", len(node.output))
        operator.check(who, len(node.input), attributes)
        tensors: dict[str, str] = {}
        for name, value in list(attributes.items()):
            # A dtype is stored as an empty tensor, whose dtype changes with that of the module.
            is_type = name == "to"
            if is_type or isinstance(value, onnx.TensorProto):
                tensor = (
                    torch.empty(0, dtype=dtype_of(onnx, who, value))
                    if is_type
                    else tensor_of(onnx, f"{who}: {name}", value)
                )
                tensors[name] = self._free_place(f"{node.output[0]}_{name}")
                self.stored.register_buffer(tensors[name], tensor, persistent=False)
                del attributes[name]
        run = OperatorNode(who, operator, attributes, len(node.output))
        added = Node(who, run, tuple(node.input), tuple(node.output), tensors)
        if all(name in self._constants for name in added.inputs if name):
            with torch.no_grad():
                results = self._run(added, [self._stored(name) for name in added.inputs])
            for name, result in zip(added.outputs, results, strict=False):
                if name:
                    self._store_buffer(name, self._free_place(name), result, is_saved=False)
        else:
            self._nodes.append(added)

    def _store_constant(self, onnx: Any, who: str, node: Any, attributes: dict[str, Any]) -> None:
        """Stores the value of a Constant node."""
        kinds = ("value", "value_float", "value_floats", "value_int", "value_ints")
        for name in attributes:
            if name not in kinds:
                raise ValueError(f"{who}: {unknown('attribute', name, kinds)}")
        if len(attributes) != 1:
            raise ValueError(f"{who}: expected one of {', '.join(kinds)}, got {len(attributes)}.")
        ((kind, value),) = attributes.items()
        name = node.output[0]
        if kind == "value":
            tensor = tensor_of(onnx, f"{self.file}: the tensor {name}", value)
        else:
            tensor = torch.tensor(value, dtype=torch.float32 if "float" in kind else torch.int64)
        self._store_buffer(name, self._free_place(name), tensor)

    def _stored(self, name: str) -> Tensor | None:
        return getattr(self.stored, self._places[name]) if name in self._places else None

    def _run(self, node: Node, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        tensors = {name: getattr(self.stored, place) for name, place in node.tensors.items()}
        return node.run(list(inputs), **tensors)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the graph on its inputs in order, and returns its outputs in order."""
        if len(inputs) != len(self.inputs):
            raise TypeError(
                f"{self.file}: expected {len(self.inputs)} input(s) "
                f"({', '.join(self.input_names)}), got {len(inputs)}."
            )
        values: dict[str, Tensor | None] = {"": None}
        sizes: dict[str, int] = {}
        for expected, value in zip(self.inputs, inputs, strict=True):
            check_input(self.file, expected, value, sizes)
            values[expected.name] = value
        values |= {name: self._stored(name) for name in self._places}
        for node in self._nodes:
            results = self._run(node, [values[name] for name in node.inputs])
            values |= dict(zip(node.outputs, results, strict=False))
            values[""] = None
        # An output may also be an input or a stored value itself.
        return tuple(value for name in self.outputs if (value := values[name]) is not None)

    def extra_repr(self) -> str:
        return f"{self.file}: ({', '.join(self.input_names)}) -> ({', '.join(self.outputs)})"
