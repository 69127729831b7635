"""The nodes of an ONNX graph: sorted into an order of execution, and as callable objects."""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from throughtime.checks import unknown
from throughtime.interchange.onnx.node import RECURRENT
from throughtime.interchange.onnx.operators import MICROSOFT, Operator, names, operator_of

__all__ = ["Node", "OperatorNode", "in_order", "operator_for", "versions_of"]

# Operators whose nodes contain a graph of their own.
_WITH_GRAPHS = ("If", "Loop", "Scan", "SequenceMap")
_QUANTISED = re.compile(r"quantize|Integer$|^QLinear|NBits$|^QGemm|^QAttention|^QMoE", re.I)


@dataclass(frozen=True)
class Node:
    """A node that runs in each call of the module.

    Args:
        who: the file and the node, with which error messages begin.
        run: computes the outputs from the inputs.
        inputs, outputs: the names of the values; an empty name is an omitted value.
        tensors: for each attribute that is a tensor, the name of the buffer that holds it.
    """

    who: str
    run: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, str] = field(default_factory=dict)


class OperatorNode:
    """A node that is not recurrent.

    Args:
        who: the file and the node, with which error messages begin.
        operator: the operator that the node computes.
        attributes: its attributes, except tensors.
        num_outputs: the number of outputs that the node names.
    """

    def __init__(
        self, who: str, operator: Operator, attributes: dict[str, Any], num_outputs: int
    ) -> None:
        self.who, self.operator, self.attributes = who, operator, attributes
        self.num_outputs = num_outputs

    def __call__(self, inputs: list[Tensor | None], **tensors: Tensor) -> tuple[Tensor, ...]:
        try:
            results = self.operator.function(*inputs, **self.attributes, **tensors)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            shapes = ", ".join("none" if v is None else str(tuple(v.shape)) for v in inputs)
            raise ValueError(
                f"{self.who}: cannot run on inputs of the shapes {shapes}: {error}"
            ) from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < self.num_outputs:
            raise ValueError(
                f"{self.who}: expected at most {len(results)} output(s), got {self.num_outputs}."
            )
        return results


def operator_for(who: str, node: Any, versions: dict[str, int]) -> Operator:
    """Looks up the operator of a node.

    Args:
        who: the file and the node, with which the error message begins.
        node: the node in the file.
        versions: the version of each operator set that the file uses, by domain.

    Raises:
        ValueError: if the operator cannot be run.
    """
    domain, name = _domain(node.domain), node.op_type
    if not domain and domain not in versions:
        raise ValueError(f"{who}: the file does not say which version of the operators it uses.")
    # Other domains have had one version only.
    operator = operator_of(domain, name, versions.get(domain, 1))
    if operator is not None:
        return operator
    if name in _WITH_GRAPHS and not domain:
        raise ValueError(
            f'{who}: unknown operator "{name}": a graph inside a node cannot be run. Write the '
            f"recurrence as a node RNN, GRU or LSTM; see docs/onnx.md."
        )
    if _QUANTISED.search(name):
        raise ValueError(
            f"{who}: the file is quantised, and whole numbers can be neither run here nor trained. "
            f"Load the file that was quantised."
        )
    if domain == MICROSOFT:
        raise ValueError(
            f"{who}: the operators of {domain} cannot be run, but for {', '.join(names(domain))}. "
            f"Load the file before its optimisation."
        )
    if domain:
        raise ValueError(f"{who}: the operators of {domain} cannot be run.")
    raise ValueError(f"{who}: {unknown('operator', name, (*RECURRENT, 'Constant', *names()))}")


def versions_of(model: Any) -> dict[str, int]:
    """The version of each operator set that a model uses, by domain."""
    return {_domain(each.domain): each.version for each in model.opset_import}


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def in_order(file: str, nodes: Sequence[Any], known: Collection[str]) -> list[tuple[str, Any]]:
    """Sorts nodes so that each follows those that compute its inputs, else keeps the file's order.

    Args:
        file: the path of the file, with which error messages begin.
        nodes: the nodes in the file.
        known: the names of the values that exist before any node runs.

    Returns:
        Pairs of the file and node as text for error messages, and the node.

    Raises:
        ValueError: if a value is computed twice or not at all, or depends on itself.
    """
    calls = [f"{file}: {node.op_type} node {node.name or i}" for i, node in enumerate(nodes)]
    # The index of the node that computes each value.
    source: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in source or name in known:
                raise ValueError(f"{calls[i]}: its output {name} is made twice.")
            source[name] = i
    readers: dict[int, list[int]] = defaultdict(list)
    # The number of inputs of each node that are not computed yet.
    missing: list[int] = []
    for i, node in enumerate(nodes):
        names_read = {name for name in node.input if name and name not in known}
        for name in names_read:
            if name not in source:
                raise ValueError(f"{calls[i]}: its input {name} is made by no node.")
            readers[source[name]].append(i)
        missing.append(len(names_read))
    # A heap, so that of all nodes that can run the first in the file comes next.
    ready = [i for i, count in enumerate(missing) if count == 0]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for i in readers[order[-1]]:
            missing[i] -= 1
            if missing[i] == 0:
                heapq.heappush(ready, i)
    if len(order) < len(nodes):
        stuck = next(i for i, count in enumerate(missing) if count > 0)
        raise ValueError(f"{calls[stuck]}: its inputs depend on its own output, in a circle.")
    return [(calls[i], nodes[i]) for i in order]
