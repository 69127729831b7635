"""Runs programs of AlgoLisp, with a bound on their steps and their memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from throughtime.data.trees.algolisp.compiling import Code, ProgramError, compiled
from throughtime.data.trees.algolisp.units import Fault, Unit, kind_of, size_of
from throughtime.data.trees.tree import Tree

__all__ = ["MOST_STEPS", "NoEndError", "Program", "equal_values"]

MOST_STEPS = 100_000
"""The default bound: a step is an operation, or an item that an operation reads or writes."""

_INPUTS = {int, float, str, bool}
_HIGHER = {"map", "filter", "reduce"}
_NUM_FIXED = {"partial0": 0, "partial1": 1, "partial2": 2}


class NoEndError(ProgramError):
    """A program does not end within the steps that it may take."""


class _Lambda(NamedTuple):
    """A function that a program defines; ``frame`` holds arg1, arg2 and self around it."""

    arity: int
    code: Code
    frame: tuple[Any, Any, Any]


class _Partial(NamedTuple):
    """A function with its argument number ``place`` fixed."""

    place: int
    value: Any
    function: Any


class _Combined(NamedTuple):
    """The function that applies ``inner`` and then ``outer``."""

    outer: Any
    inner: Any


class Program:
    """A program that can be run.

    Args:
        tree: the program; any depth.
        arguments: the names of its arguments.
        functions: further functions that it may call: their programs by name.

    Raises:
        ProgramError: for an unknown symbol or a wrong number of arguments; it names the node.

    >>> from throughtime.data.trees import from_lists
    >>> tree = from_lists(["reduce", ["filter", "a", ["partial0", "b", "<"]], "0", "+"])
    >>> Program(tree, ["a", "b"]).run({"a": [1, 5, 7], "b": 4})
    12
    """

    def __init__(
        self,
        tree: Tree,
        arguments: Sequence[str],
        functions: Mapping[str, tuple[Tree, Sequence[str]]] | None = None,
    ) -> None:
        functions = functions or {}
        arities = {name: len(names) for name, (_, names) in functions.items()}
        self.tree, self.arguments = tree, tuple(arguments)
        self._code = compiled(tree, self.arguments, arities)
        self._functions = {
            name: _Defined(tuple(names), compiled(body, names, arities))
            for name, (body, names) in functions.items()
        }

    def run(self, inputs: Mapping[str, Any], most_steps: int = MOST_STEPS) -> Any:
        """The value of the program.

        Args:
            inputs: the value of each argument: a number, text, a Boolean or a list of such.
            most_steps: the number of steps that it may take; this bounds its memory, too, because
                each item that it writes is a step.

        Raises:
            NoEndError: if it takes more steps.
            ProgramError: if an argument is missing, or an operation has no value.
        """
        for name in self.arguments:
            if name not in inputs:
                raise ProgramError(
                    "AlgoLisp", "", f"expected a value for the argument {name}, got none."
                )
            _check_input(name, inputs[name])
        values = {**self._functions, **{name: inputs[name] for name in self.arguments}}
        return _Run(self.tree, values, most_steps).value(self._code)


def _check_input(name: str, value: Any) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if item.__class__ is list:
            waiting += item
        elif item.__class__ not in _INPUTS:
            raise ProgramError(
                *("AlgoLisp", ""),
                f"expected numbers, text, Booleans or lists of these in the argument {name}, got "
                f"{type(item).__name__}.",
            )


class _Defined(NamedTuple):
    """A function that comes with the program: its arguments by name, and its code."""

    arguments: tuple[str, ...]
    code: Code


class _Run:
    """One run of a program."""

    def __init__(self, tree: Tree, values: dict[str, Any], steps: int) -> None:
        self._tree, self._globals, self._most, self._left = tree, values, steps, steps
        # The code, position, frame and arguments to go on with, or what waits for a value.
        self._control: list[tuple[Any, ...]] = []
        self._node = 0

    def value(self, code: Code) -> Any:
        """Runs the code of a program to its end."""
        try:
            return self._execute(code)
        except ProgramError:
            raise
        except Fault as error:
            what = f"{error}."
        except ZeroDivisionError:
            what = "expected a divisor other than 0, got 0."
        except (TypeError, ValueError, OverflowError, IndexError) as error:
            what = f"expected arguments for which it has a value, got others ({error})."
        label = self._tree.labels[self._node] if self._node < len(self._tree) else "?"
        raise ProgramError("AlgoLisp", f"node {self._node} ({label})", what)

    def charge(self, steps: int) -> None:
        """Takes steps from those that are left."""
        self._left -= steps
        if self._left < 0:
            raise NoEndError(
                *("AlgoLisp", f"node {self._node} ({self._tree.labels[self._node]})"),
                f"expected an end within {self._most:,} steps, got none. Give more steps, or look "
                "for an endless recursion.",
            )

    def _execute(self, code: Code) -> Any:
        stack: list[Any] = []
        inputs = self._globals
        place, frame = 0, (None, None, None)
        while True:
            operation, operand, self._node = code[place]
            place += 1
            self._left -= 1
            if self._left < 0:
                self.charge(0)
            if operation == "push":
                stack.append(operand)
                continue
            if operation == "frame":
                stack.append(frame[operand])
                continue
            if operation == "input":
                stack.append(inputs[operand])
                continue
            if operation == "unless":
                condition = stack.pop()
                if condition.__class__ is not bool:
                    raise Fault(f"expected a Boolean as the condition, got {kind_of(condition)}")
                if not condition:
                    place = operand
                continue
            if operation == "jump":
                place = operand
                continue
            if operation == "lambda":
                arity, body = operand
                stack.append(_Lambda(arity, body, frame))
                continue
            if operation == "return":
                if not self._control:
                    return stack.pop()
                pending: Any = ("value", stack.pop())
            elif operation == "call":
                arity = operand.arity
                arguments = stack[-arity:]
                del stack[-arity:]
                if operand.compute is not None:
                    if operand.cost is not None:
                        self.charge(operand.cost(*arguments))
                    stack.append(operand.compute(*arguments))
                    continue
                self._control.append(("code", code, place, frame, inputs))
                pending = ("apply", operand, arguments)
            else:
                arguments = stack[-operand:]
                del stack[-operand:]
                self._control.append(("code", code, place, frame, inputs))
                pending = ("apply", stack.pop(), arguments)
            # Calls and values are passed on until there is code to go on with.
            while True:
                if pending[0] == "apply":
                    pending = self._apply(pending[1], pending[2], inputs)
                elif pending[0] == "value":
                    waiting = self._control.pop()
                    if waiting[0] == "code":
                        _, code, place, frame, inputs = waiting
                        stack.append(pending[1])
                        break
                    pending = waiting[1](pending[1])
                else:
                    _, code, frame, inputs = pending
                    place = 0
                    break
                self.charge(1)

    def _apply(self, function: Any, arguments: list[Any], inputs: dict[str, Any]) -> Any:
        """What is to be done next to call a function: a value, another call, or code to run."""
        if isinstance(function, _Partial):
            if function.place > len(arguments):
                raise Fault(f"expected at least {function.place} arguments, got {len(arguments)}")
            place = function.place
            return (
                "apply",
                function.function,
                [*arguments[:place], function.value, *arguments[place:]],
            )
        if isinstance(function, _Combined):
            outer = function.outer
            self._control.append(("then", lambda value: ("apply", outer, [value])))
            return "apply", function.inner, arguments
        arity = (
            len(function.arguments)
            if isinstance(function, _Defined)
            else getattr(function, "arity", None)
        )
        if arity is None or not isinstance(function, _Defined | _Lambda | Unit):
            raise Fault(f"expected a function, got {kind_of(function)}")
        if arity != len(arguments):
            raise Fault(f"expected a call with {arity} arguments, got {len(arguments)}")
        if isinstance(function, _Defined):
            own = {**inputs, **dict(zip(function.arguments, arguments, strict=True))}
            return "code", function.code, (None, None, None), own
        if isinstance(function, _Lambda):
            second = arguments[1] if arity == 2 else function.frame[1]
            return "code", function.code, (arguments[0], second, function), inputs
        if function.compute is not None:
            if function.cost is not None:
                self.charge(function.cost(*arguments))
            return "value", function.compute(*arguments)
        if function.name in _NUM_FIXED:
            return "value", _Partial(_NUM_FIXED[function.name], *arguments)
        if function.name == "combine":
            return "value", _Combined(*arguments)
        if function.name == "invoke1":
            return "apply", arguments[0], arguments[1:]
        if function.name not in _HIGHER:
            raise Fault(f"expected a function that can be passed on, got {function.name}")
        if arguments[0].__class__ is not list:
            raise Fault(f"expected an array, got {kind_of(arguments[0])}")
        self.charge(len(arguments[0]))
        return self._higher(function.name, arguments)

    def _higher(self, name: str, arguments: list[Any]) -> Any:
        """Begins a loop over the items of an array."""
        items = arguments[0]
        if name == "reduce":
            _, value, function = arguments
            if native := self._native(function, 2):
                return "value", functools.reduce(native, items, value)
            return self._reduce(iter(items), function, value)
        function = arguments[1]
        if native := self._native(function, 1):
            values = [native(item) for item in items]
            return "value", values if name == "map" else _selected(items, values)
        return self._each(items, 0, function, [], name == "filter")

    def _reduce(self, items: Any, function: Any, value: Any) -> Any:
        for item in items:
            self._control.append(("then", lambda result: self._reduce(items, function, result)))
            return "apply", function, [value, item]
        return "value", value

    def _each(
        self, items: list[Any], index: int, function: Any, values: list[Any], is_filter: bool
    ) -> Any:
        if index == len(items):
            return "value", _selected(items, values) if is_filter else values

        def next_item(value: Any) -> Any:
            values.append(value)
            return self._each(items, index + 1, function, values, is_filter)

        self._control.append(("then", next_item))
        return "apply", function, [items[index]]

    def _native(self, function: Any, num_arguments: int) -> Callable[..., Any] | None:
        """The function as one that needs no code of the program; None if it needs some."""
        fixed: list[tuple[int, Any]] = []
        while isinstance(function, _Partial):
            fixed.append((function.place, function.value))
            function = function.function
        if not isinstance(function, Unit) or function.compute is None or len(fixed) > 1:
            return None
        if function.arity != num_arguments + len(fixed) or any(i > num_arguments for i, _ in fixed):
            return None
        compute = function.compute
        if function.cost is not None:
            cost, charge, priced = function.cost, self.charge, compute

            def compute(*arguments: Any) -> Any:
                charge(cost(*arguments))
                return priced(*arguments)

        if not fixed:
            return compute
        ((place, value),) = fixed
        if num_arguments == 1:
            if place == 0:
                return lambda x: compute(value, x)
            return lambda x: compute(x, value)
        return lambda *x: compute(*x[:place], value, *x[place:])


def _selected(items: list[Any], conditions: list[Any]) -> list[Any]:
    for condition in conditions:
        if condition.__class__ is not bool:
            raise Fault(f"expected a Boolean for each item, got {kind_of(condition)}")
    return [item for item, condition in zip(items, conditions, strict=True) if condition]


def equal_values(value: Any, expected: Any) -> bool:
    """Whether a value of a program is the expected one; a function equals nothing.

    >>> equal_values([1, 2], [1, 2]), equal_values(1, "1"), equal_values(1, True)
    (True, False, False)
    """
    if kind_of(value) != kind_of(expected) or kind_of(value) == "a function":
        return False
    try:
        size_of(value)
    except Fault:
        return False
    return value == expected
