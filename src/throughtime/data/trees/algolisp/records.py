"""Programs with their specifications and tests, as lines of JSON.

This is the form of the published files metaset3.train.jsonl, metaset3.dev.jsonl and
metaset3.test.jsonl, and of the generated ones.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from throughtime.data.trees.algolisp.compiling import ProgramError
from throughtime.data.trees.algolisp.machine import MOST_STEPS, Program, equal_values
from throughtime.data.trees.algolisp.units import UNITS
from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.lists import from_lists, to_lists
from throughtime.data.trees.tree import Tree, TreeError

__all__ = [
    "COMMUTATIVE",
    "ProgramExample",
    "Test",
    "passes",
    "read_lines",
    "read_metaset",
    "read_records",
    "record_of",
    "skeleton",
]

COMMUTATIVE = frozenset({"+", "*", "min", "max", "==", "!=", "&&", "||"})
"""The functions whose two arguments may be exchanged."""

_PARTS = {"train": "train", "valid": "dev", "test": "test"}


class Test(NamedTuple):
    """The inputs of a program by name, and the output that is expected."""

    inputs: Mapping[str, Any]
    output: Any

    # The name begins with the prefix of tests, which pytest would collect.
    __test__ = False


@dataclass(frozen=True)
class ProgramExample(TreeExample):
    """A specification in English with its program and its tests.

    Args:
        arguments: the name and the type of each argument, in order.
        returns: the type of the value.
        tests_json: the tests as JSON; :attr:`tests` reads them.
        functions: further functions that the program calls: the name, the tree, and the name and
            the type of each argument.
        nodes: the kinds of the constructions in the specification, if the file names them.
        is_seen: whether the training has programs of the same skeleton; None if that is unknown.
    """

    arguments: tuple[tuple[str, str], ...] = ()
    returns: str = ""
    tests_json: str = "[]"
    functions: tuple[tuple[str, Tree, tuple[tuple[str, str], ...]], ...] = ()
    nodes: tuple[str, ...] = ()
    is_seen: bool | None = None

    @property
    def tests(self) -> list[Test]:
        """The inputs and outputs of the program."""
        return [Test(test["input"], test["output"]) for test in json.loads(self.tests_json)]

    def program(self, tree: Tree | None = None) -> Program:
        """The program, or another one with the same arguments.

        Raises:
            ProgramError: for an unknown symbol or a wrong number of arguments.
        """
        names = [name for name, _ in self.arguments]
        functions = {
            name: (body, [argument for argument, _ in own]) for name, body, own in self.functions
        }
        return Program(self.tree if tree is None else tree, names, functions)


def passes(example: ProgramExample, tree: Tree, most_steps: int = MOST_STEPS) -> bool:
    """Whether a program gives the expected output for every test of an example.

    A program that is not valid, fails or does not end, passes no test.

    Args:
        example: the tests and the arguments.
        tree: the program, such as one that a model has written.
        most_steps: the number of steps that each test may take.

    Raises:
        ValueError: if the example has no tests.
    """
    tests = example.tests
    if not tests:
        raise ValueError("passes: expected an example with tests, got one without any.")
    try:
        program = example.program(tree)
        return all(
            equal_values(program.run(test.inputs, most_steps), test.output) for test in tests
        )
    except ProgramError:
        return False


def skeleton(tree: Tree) -> Tree:
    """The program with ``_`` in place of each constant and each name of an argument.

    >>> skeleton(from_lists(["filter", "a", ["partial0", "10", "<"]])).labels
    ('filter', '_', 'partial0', '_', '<')
    """
    kept = UNITS.keys() | {"self", "arg1", "arg2"}
    return tree.with_labels(
        [
            label if tree.arities[node] or label in kept else "_"
            for node, label in enumerate(tree.labels)
        ]
    )


def read_metaset(folder: str | Path) -> TreeSet:
    """Reads the published files of AlgoLisp, metaset3.{train,dev,test}.jsonl, plain or as ``.gz``.

    Args:
        folder: the folder that holds the three files.

    Raises:
        FileNotFoundError: if one of them is missing.
        TreeError: if a line is no record.
    """
    folder = Path(folder).expanduser()
    splits: dict[str, list[ProgramExample]] = {}
    for split, part in _PARTS.items():
        names = [f"metaset3.{part}.jsonl", f"metaset3.{part}.jsonl.gz"]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{folder}: expected metaset3.train.jsonl, metaset3.dev.jsonl and "
                f"metaset3.test.jsonl (or .jsonl.gz), got no {names[0]}. Give the folder of the "
                " published files of AlgoLisp."
            )
        splits[split] = list(read_records(read_lines(path), str(path)))
    known = {skeleton(example.tree) for example in splits["train"]}
    for split in ("valid", "test"):
        splits[split] = [
            replace(example, is_seen=skeleton(example.tree) in known) for example in splits[split]
        ]
    return TreeSet("algolisp-metaset3", splits, "s-expression", COMMUTATIVE)


def read_records(lines: Iterable[str], where: str) -> Iterator[ProgramExample]:
    """Reads a record from each line that is not empty.

    Args:
        lines: the lines.
        where: the name of the file, for errors.

    Raises:
        TreeError: if a line is no record; it names the line.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _example(line, f"{where}, line {number}")


def record_of(example: TreeExample) -> str:
    """The line of JSON of an example, without its end; :func:`read_records` reads it."""
    assert isinstance(example, ProgramExample)
    # The tests are JSON already.
    record = {
        "text": example.source.split(" "),
        "short_tree": to_lists(example.tree),
        "args": dict(example.arguments),
        "return_type": example.returns,
        "nodes": list(example.nodes),
        "is_seen": example.is_seen,
        "funcs": [
            {"name": name, "short_tree": to_lists(body), "args": dict(own)}
            for name, body, own in example.functions
        ],
    }
    return f'{json.dumps(record)[:-1]}, "tests": {example.tests_json}}}'


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file, plain or as ``.gz``.

    Raises:
        TreeError: if the file is damaged.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as file:
                yield from file
        else:
            with path.open(encoding="utf-8") as file:
                yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise TreeError(str(path), "", f"expected lines of JSON, got {error}.") from error


def _example(line: str, where: str) -> ProgramExample:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TreeError(where, "", f"expected a JSON object, got {error}.") from error
    if not isinstance(record, dict):
        raise TreeError(where, "", f"expected a JSON object, got {type(record).__name__}.")
    text = _entry(record, "text", (list, str), where)
    words = [str(word) for word in text] if isinstance(text, list) else text.split()
    if not words:
        raise TreeError(where, "", "expected a specification in text, got an empty one.")
    functions = tuple(
        (
            _entry(function, "name", (str,), where),
            from_lists(_entry(function, "short_tree", (list, str), where), where),
            _arguments(function, where),
        )
        for function in record.get("funcs") or []
    )
    return ProgramExample(
        " ".join(words),
        from_lists(_entry(record, "short_tree", (list, str, int, float), where), where),
        _arguments(record, where),
        _entry(record, "return_type", (str,), where),
        json.dumps(_checked(_entry(record, "tests", (list,), where), where)),
        functions,
        tuple(map(str, record.get("nodes") or [])),
        record.get("is_seen"),
    )


def _entry(record: Any, name: str, kinds: tuple[type, ...], where: str) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(name), kinds):
        got = type(record[name]).__name__ if isinstance(record, dict) and name in record else "none"
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TreeError(where, "", f'expected "{name}" as {expected}, got {got}.')
    return record[name]


def _arguments(record: Any, where: str) -> tuple[tuple[str, str], ...]:
    arguments = _entry(record, "args", (dict, list), where)
    pairs = list(arguments.items()) if isinstance(arguments, dict) else arguments
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TreeError(where, "", f'expected names with types in "args", got {pair!r}.')
    return tuple((name, kind) for name, kind in pairs)


def _checked(tests: list[Any], where: str) -> list[Any]:
    for number, test in enumerate(tests):
        if (
            not isinstance(test, dict)
            or not isinstance(test.get("input"), dict)
            or "output" not in test
        ):
            raise TreeError(
                where, "", f'expected an object with "input" and "output" in tests[{number}].'
            )
    return tests
