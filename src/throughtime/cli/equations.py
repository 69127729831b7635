"""throughtime equations: prints the equations of a cell and the derived backward step."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from throughtime import cells
from throughtime.cells import Cell
from throughtime.checks import nearest
from throughtime.cli import completion
from throughtime.cli.parser import Parser
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.printing.equations import describe
from throughtime.kernels.printing.mathml import commented
from throughtime.reading import yaml_value

__all__ = ["cell_of", "constants_of", "main", "source_of"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime equations",
        description="Prints the source of a cell, its equations, and the backward step that "
        "follows from them.",
    )
    parser.completers = {"cell": completion.cell_names}
    parser.add_argument(
        "cell", help="a name of `throughtime cells`, or your own: module:Class or path.py:Class"
    )
    parser.add_argument(
        "constants", nargs="*", default=[], help="constants of the cell, each as name=value"
    )
    parser.add_argument("--latex", type=bool, default=False, help="write an align* block of LaTeX")
    parser.add_argument(
        "--mathml", type=bool, default=False, help="write MathML, which a web page shows"
    )
    arguments = parser.parse(argv)
    cell = cell_of(arguments["cell"], constants_of(arguments.get("constants") or []))
    try:
        equations = describe(cell)
    except (Untraceable, AttributeError) as reason:
        raise ValueError(f"{arguments['cell']}: no equations can be written: {reason}.") from reason
    about = "\n".join([equations.title, *source_of(cell)])
    if arguments.get("latex") and arguments.get("mathml"):
        raise ValueError("--latex and --mathml: choose one of the two.")
    if arguments.get("mathml"):
        print(commented(about) + equations.mathml(), end="")
    elif arguments.get("latex"):
        print("".join(f"% {line}\n" for line in about.splitlines()), end="")
        print(equations.latex(), end="")
    else:
        print(dataclasses.replace(equations, title=about).text(), end="")
    return 0


def source_of(cell: Cell) -> list[str]:
    """The publication of the equations, and the class that holds them."""
    kind = type(cell)
    year = f" ({cell.year})" if cell.year else ""
    source = [f"source: {cell.source}{year}"] if cell.source else []
    return [*source, f"class: {kind.__module__}.{kind.__qualname__}"]


def constants_of(words: Sequence[str]) -> dict[str, Any]:
    """The constants of a cell that are written as name=value."""
    constants: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"expected a constant of the cell as name=value, got {word}.")
        try:
            # Not YAML first, to which 1e-3 is a word.
            constants[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            constants[name] = yaml_value(f"the constant {name}", value)
    return constants


def cell_of(where: str, constants: dict[str, Any]) -> Cell:
    """The cell with these constants that is registered, or stands in a module or a file.

    Raises:
        ValueError: if there is no such cell, or it has no such constant.
    """
    is_own = ":" in where or where.endswith(".py")
    kind = _own(where) if is_own else type(cells.get(where))
    # A class without a constructor has that of object, whose (self, *args, **kwargs) are none.
    known = [] if kind.__init__ is object.__init__ else list(inspect.signature(kind).parameters)
    for name in constants:
        if name not in known:
            has = f"the cell has {', '.join(known)}" if known else "the cell has none"
            raise ValueError(f'{where}: unknown constant "{name}"{nearest(name, known)}; {has}.')
    try:
        cell = kind(**constants)
    except TypeError as error:
        raise ValueError(f"{where}: {error}. Give constants as name=value.") from error
    cell.check()
    return cell


def _own(where: str) -> type[Cell]:
    """The class at ``module:Class`` or ``path.py:Class``; the only cell of a file needs no name."""
    place, _, class_name = where.rpartition(":") if ":" in where else (where, "", "")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    classes = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Cell) and value is not Cell
    }
    if not class_name:
        classes = {n: kind for n, kind in classes.items() if kind.__module__ == module.__name__}
        if len(classes) == 1:
            return next(iter(classes.values()))
        there = f"there are {', '.join(classes)}" if classes else "there is none"
        raise ValueError(f"{where}: expected one cell in the file, {there}; write {where}:Class.")
    if class_name not in classes:
        there = f"There are: {', '.join(classes)}." if classes else "There is none."
        hint = nearest(class_name, classes) or "."
        raise ValueError(f'{place}: no cell "{class_name}"{hint} {there}')
    return classes[class_name]


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    return module


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    # A module in the current folder can be named, as with `python -m`.
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"{name}: cannot be imported: {error}. Or give path.py:Class.") from error
    finally:
        sys.path.remove(here)
