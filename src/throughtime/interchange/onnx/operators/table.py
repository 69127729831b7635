"""The table of operators, by domain, name, and the first version with the present definition.

An operator is a function. Its positional arguments are the inputs of a node, None for an omitted
one; its keyword arguments are the attributes, and those without a default are required. It returns
a tensor, or a tuple for a node with several outputs. So its signature defines what a node may have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from throughtime.checks import unknown

__all__ = ["Function", "Operator", "axes_of", "integers", "names", "operator", "operator_of"]

Function = Callable[..., "Tensor | tuple[Tensor, ...]"]

_FUNCTIONS: dict[tuple[str, str], dict[int, Function]] = {}


def operator(name: str, *, since: int = 1, domain: str = "") -> Callable[[Function], Function]:
    """Enters the decorated function into the table.

    Args:
        name: the operator's name in ONNX.
        since: the first version of the operator set in which the function computes the operator.
        domain: the operator set; the empty string is that of ONNX itself.
    """

    def enter(function: Function) -> Function:
        _FUNCTIONS.setdefault((domain, name), {})[since] = function
        return function

    return enter


def names(domain: str = "") -> list[str]:
    """The names of the operators of a domain, in alphabetical order."""
    return sorted(name for of, name in _FUNCTIONS if of == domain)


@dataclass(frozen=True)
class Operator:
    """An operator as a version of the operator set defines it.

    Args:
        domain, name, since: its key in the table.
    """

    domain: str
    name: str
    since: int

    @property
    def function(self) -> Function:
        """The function that computes the operator."""
        return _FUNCTIONS[self.domain, self.name][self.since]

    @property
    def attributes(self) -> list[str]:
        """The names of the attributes that the operator accepts."""
        return [p.name for p in self._parameters if p.kind is p.KEYWORD_ONLY]

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())

    def check(self, who: str, num_inputs: int, attributes: dict[str, Any]) -> None:
        """Raises a ValueError if a node has attributes or inputs that the operator does not accept.

        Args:
            who: the file and the node, with which error messages begin.
            num_inputs: the number of inputs that the node names.
            attributes: the attributes of the node.
        """
        known = self.attributes
        for name in attributes:
            if name not in known and known:
                raise ValueError(f"{who}: {unknown('attribute', name, known)}")
            if name not in known:
                raise ValueError(f'{who}: unknown attribute "{name}"; it has none.')
        for p in self._parameters:
            if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in attributes:
                raise ValueError(f"{who}: expected the attribute {p.name}, got none.")
        inputs = [p for p in self._parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        any_number = any(p.kind is p.VAR_POSITIONAL for p in self._parameters)
        least = len([p for p in inputs if p.default is p.empty])
        most = float("inf") if any_number else len(inputs)
        if not least <= num_inputs <= most:
            range_text = f"{least} or more" if any_number else f"{least} to {most}"
            expected = f"{least}" if least == most else range_text
            raise ValueError(f"{who}: expected {expected} input(s), got {num_inputs}.")


def operator_of(domain: str, name: str, version: int) -> Operator | None:
    """The operator ``name`` in a version of the operator set; None if it is not supported."""
    versions = [since for since in _FUNCTIONS.get((domain, name), {}) if since <= version]
    return Operator(domain, name, max(versions)) if versions else None


def integers(value: Tensor) -> list[int]:
    """The elements of a tensor as a list of integers."""
    return [int(v) for v in value.reshape(-1).tolist()]


def axes_of(axes_input: Tensor | None, attribute: list[int] | None, rank: int) -> list[int] | None:
    """The axes of a node, counted from the front; None if the node names none.

    Args:
        axes_input: the axes as an input of the node; None if the node has no such input.
        attribute: the axes as an attribute, as in older versions.
        rank: the number of axes of the tensor.
    """
    axes = attribute if axes_input is None else integers(axes_input)
    if axes is None:
        return None
    for axis in axes:
        if not -rank <= axis < rank:
            raise ValueError(f"expected axes from {-rank} to {rank - 1}, got {axis}.")
    return [axis % rank for axis in axes]
