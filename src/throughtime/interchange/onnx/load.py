"""ONNX files as modules: the recurrent nodes on our kernels, the few others in PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import ShapeError, unknown
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.node import RECURRENT, RecurrentNode
from throughtime.interchange.onnx.operators import ATTRIBUTES, OPERATORS
from throughtime.kernels import dispatch

__all__ = ["OnnxModule", "load_onnx"]


def load_onnx(path: str | Path, *, backend: str = "auto") -> OnnxModule:
    """An ONNX file with RNN, GRU or LSTM nodes as a module that can be trained further.

    Every attribute of the three operators is known, and every optional input; their weights may
    be stored in the file or be inputs of the graph. Beside them the graph may have Add, Concat,
    Constant, ConstantOfShape, Gather, Gemm, Greater, Identity, MatMul, Mul, Reshape, Shape, Slice,
    Squeeze, Transpose, Unsqueeze and Where.
    Nothing that the file holds is run as code.

    Args:
        path: the file.
        backend: what runs the recurrent nodes; see :class:`throughtime.Recurrent`.

    Raises:
        ValueError: where the file is missing or damaged, an operator or attribute is unknown, a
            stored weight has the wrong shape, or no node is recurrent.
        ImportError: where onnx is not installed.
    """
    dispatch.check(backend)
    onnx = onnx_package("load_onnx")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: expected an ONNX file, got none there.")
    # Loaded by then: onnx is written on it.
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(file))
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ValueError(f"{file}: the file is damaged, or no ONNX file ({error}).") from error
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(f"{file}: the file is damaged, or no ONNX file (there is no graph in it).")
    try:
        return OnnxModule(onnx, model, str(file), backend)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        # Bytes that are no name, a type that there is not, fewer outputs than a node must have.
        raise ValueError(f"{file}: the file is damaged ({error!r}).") from error


@dataclass(frozen=True)
class _Node:
    who: str
    run: Callable[[list[Tensor | None]], tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Input:
    name: str
    shape: tuple[int | str, ...] | None
    is_floating: bool


class OnnxModule(nn.Module):
    """The graph of an ONNX file; :func:`load_onnx` makes it.

    It is called with the graph's inputs in their order, and returns a tuple of its outputs in
    theirs. What the file stores as floating-point numbers are its parameters, whole numbers and
    the values of Constant nodes its buffers, under the names of the file with ``_`` for what is
    no letter or digit.

    Shapes:
        as the file declares them; a size that it gives a name there may be any, the same for all
        inputs.

    Raises:
        ShapeError: for an input of the wrong shape.
        ValueError: for whole numbers where others are expected, or the reverse; or what a node
            cannot do.
        TypeError: for too few inputs or too many.
    """

    def __init__(self, onnx: Any, model: Any, file: str, backend: str = "auto") -> None:
        super().__init__()
        graph = model.graph
        self.file = file
        self.stored = nn.Module()
        self._places: dict[str, str] = {}
        for value in graph.initializer:
            self._store(onnx, value.name, value)
        if graph.sparse_initializer:
            raise ValueError(f"{file}: sparse initialisers cannot be read. Store them dense.")
        # Old files list what they store among the inputs too.
        self.inputs = tuple(
            _declared(onnx, file, value) for value in graph.input if value.name not in self._places
        )
        self.outputs = tuple(value.name for value in graph.output)
        self._nodes: list[_Node] = []
        self._add_nodes(onnx, graph, backend)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph's inputs in order, without those that the file stores."""
        return tuple(value.name for value in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs in order."""
        return self.outputs

    def _store(self, onnx: Any, name: str, value: Any, is_constant: bool = False) -> None:
        tensor = _tensor(onnx, f"{self.file}: the tensor {name}", value)
        place = re.sub(r"\W", "_", name) or "_"
        while hasattr(self.stored, place):
            place += "_"
        self._places[name] = place
        if tensor.is_floating_point() and not is_constant:
            self.stored.register_parameter(place, nn.Parameter(tensor))
        else:
            self.stored.register_buffer(place, tensor)

    def _add_nodes(self, onnx: Any, graph: Any, backend: str) -> None:
        known = {value.name for value in self.inputs} | set(self._places)
        for number, node in enumerate(graph.node):
            who = f"{self.file}: {node.op_type} node {node.name or number}"
            operators = (*RECURRENT, *OPERATORS, "Constant")
            if node.domain not in ("", "ai.onnx"):
                raise ValueError(f"{who}: the operators of {node.domain} cannot be run.")
            if node.op_type not in operators:
                raise ValueError(f"{who}: {unknown('operator', node.op_type, operators)}")
            attributes = {
                a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute
            }
            for name in node.input:
                if name and name not in known:
                    raise ValueError(f"{who}: its input {name} is made by no node before it.")
            known |= set(node.output)
            if node.op_type == "Constant":
                self._store_constant(onnx, who, node, attributes)
                continue
            if node.op_type in RECURRENT:
                run: Any = RecurrentNode(
                    who, node.op_type, attributes, len(node.input), len(node.output), backend
                )
                run.check_weights([self._stored(name) for name in node.input])
            else:
                for name, value in attributes.items():
                    if isinstance(value, onnx.TensorProto):
                        attributes[name] = _tensor(onnx, f"{who}: {name}", value)
                run = _SimpleNode(who, node.op_type, attributes)
            self._nodes.append(_Node(who, run, tuple(node.input), tuple(node.output)))
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"{self.file}: the output {name} is made by no node.")
        if not any(isinstance(node.run, RecurrentNode) for node in self._nodes):
            raise ValueError(
                f"{self.file}: expected a model with a recurrent node ({', '.join(RECURRENT)}), "
                f"got one with none."
            )

    def _store_constant(self, onnx: Any, who: str, node: Any, attributes: dict[str, Any]) -> None:
        kinds = ("value", "value_float", "value_floats", "value_int", "value_ints")
        for name in attributes:
            if name not in kinds:
                raise ValueError(f"{who}: {unknown('attribute', name, kinds)}")
        if len(attributes) != 1:
            raise ValueError(f"{who}: expected one of {', '.join(kinds)}, got {len(attributes)}.")
        ((kind, value),) = attributes.items()
        if kind != "value":
            dtype = "float32" if "float" in kind else "int64"
            value = onnx.numpy_helper.from_array(torch.tensor(value).numpy().astype(dtype))
        self._store(onnx, node.output[0], value, is_constant=True)

    def _stored(self, name: str) -> Tensor | None:
        return getattr(self.stored, self._places[name]) if name in self._places else None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the graph: its inputs in order give its outputs in order."""
        if len(inputs) != len(self.inputs):
            raise TypeError(
                f"{self.file}: expected {len(self.inputs)} input(s) "
                f"({', '.join(self.input_names)}), got {len(inputs)}."
            )
        values: dict[str, Tensor | None] = {"": None}
        sizes: dict[str, int] = {}
        for declared, value in zip(self.inputs, inputs, strict=True):
            _check_input(self.file, declared, value, sizes)
            values[declared.name] = value
        values |= {name: self._stored(name) for name in self._places}
        for node in self._nodes:
            made = node.run([values[name] for name in node.inputs])
            values |= dict(zip(node.outputs, made, strict=False))
            values[""] = None
        # What an output may be: an input, or a stored value, handed through.
        return tuple(value for name in self.outputs if (value := values[name]) is not None)

    def extra_repr(self) -> str:
        return f"{self.file}: ({', '.join(self.input_names)}) -> ({', '.join(self.outputs)})"


def _declared(onnx: Any, file: str, value: Any) -> _Input:
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"{file}: expected the input {value.name} as a tensor, got another kind.")
    tensor, kinds = value.type.tensor_type, onnx.TensorProto
    is_floating = tensor.elem_type in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16)
    if not tensor.HasField("shape"):
        return _Input(value.name, None, is_floating)
    sizes = []
    for number, size in enumerate(tensor.shape.dim):
        is_fixed = size.HasField("dim_value")
        # A size without a name is like no other.
        sizes.append(size.dim_value if is_fixed else size.dim_param or f"?{number}:{value.name}")
    return _Input(value.name, tuple(sizes), is_floating)


def _check_input(file: str, declared: _Input, value: Any, sizes: dict[str, int]) -> None:
    name, shape = declared.name, declared.shape
    if not isinstance(value, Tensor):
        raise TypeError(f"{file}: expected the input {name} as a tensor, got {value!r}.")
    # How wide the numbers are is for the nodes to say: a module may have been converted.
    if value.is_floating_point() != declared.is_floating:
        wanted = "floating-point" if declared.is_floating else "whole"
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


def _plain(value: Any) -> Any:
    """An attribute with texts for bytes, and lists for what protobuf calls repeated."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _tensor(onnx: Any, who: str, value: Any) -> Tensor:
    try:
        array = onnx.numpy_helper.to_array(value)
        # NumPy's bfloat16 is a stranger to PyTorch.
        is_brain = array.dtype.name == "bfloat16"
        tensor = torch.from_numpy(array.astype("float32") if is_brain else array.copy())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{who} is damaged, or holds no numbers ({error}).") from error
    return tensor.bfloat16() if is_brain else tensor


class _SimpleNode:
    """A node of one of the operators around the recurrent ones."""

    def __init__(self, who: str, op: str, attributes: dict[str, Any]) -> None:
        self.who, self.op, self.attributes = who, op, attributes
        known = ATTRIBUTES.get(op, ())
        for name in attributes:
            if name not in known:
                raise ValueError(f"{who}: {_no_such_attribute(name, known)}")

    def __call__(self, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
        try:
            return (OPERATORS[self.op](*inputs, **self.attributes),)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shapes = ", ".join("none" if v is None else str(tuple(v.shape)) for v in inputs)
            raise ValueError(
                f"{self.who}: cannot run on inputs of the shapes {shapes}: {error}"
            ) from error


def _no_such_attribute(name: str, known: tuple[str, ...]) -> object:
    if known:
        return unknown("attribute", name, known)
    return f'unknown attribute "{name}"; it has none.'
