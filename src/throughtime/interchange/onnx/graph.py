"""The nodes of a graph: in an order in which they can run, and each as something to call."""

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

# Nodes that hold a graph of their own.
_WITH_GRAPHS = ("If", "Loop", "Scan", "SequenceMap")
_QUANTISED = re.compile(r"quantize|Integer$|^QLinear|NBits$|^QGemm|^QAttention|^QMoE", re.I)


@dataclass(frozen=True)
class Node:
    """A node that runs with each call.

    Args:
        who: the file and the node, the first words of messages.
        run: computes the outputs of the inputs.
        inputs, outputs: the names of the values; empty for one that is left out.
        tensors: the attributes that are tensors, and under which name each is stored.
    """

    who: str
    run: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, str] = field(default_factory=dict)


class OperatorNode:
    """A node of one of the operators around the recurrent ones.

    Args:
        who: the file and the node, the first words of messages.
        operator: what it computes.
        attributes: those that are no tensors.
        num_outputs: how many outputs the node names.
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
    """The operator of a node.

    Args:
        who: the file and the node, the first words of the message.
        node: as the file has it.
        versions: the version of each operator set that the file uses, by domain.

    Raises:
        ValueError: for an operator that cannot be run.
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
    """The nodes, each behind those that make its inputs, else in the order of the file.

    Args:
        file: the first word of messages.
        nodes: as the file has them.
        known: the names of the values that no node makes.

    Returns:
        Each node, with what messages call it before it.

    Raises:
        ValueError: where a value is made twice or not at all, or needs itself.
    """
    calls = [f"{file}: {node.op_type} node {node.name or i}" for i, node in enumerate(nodes)]
    maker: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in maker or name in known:
                raise ValueError(f"{calls[i]}: its output {name} is made twice.")
            maker[name] = i
    readers: dict[int, list[int]] = defaultdict(list)
    missing: list[int] = []
    for i, node in enumerate(nodes):
        names_read = {name for name in node.input if name and name not in known}
        for name in names_read:
            if name not in maker:
                raise ValueError(f"{calls[i]}: its input {name} is made by no node.")
            readers[maker[name]].append(i)
        missing.append(len(names_read))
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
