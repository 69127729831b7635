"""Reads the config.json of a model's folder: the class of the model and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from throughtime import cells
from throughtime.cells.cell import Cell
from throughtime.checks import unknown
from throughtime.layers.named_cell import named_cell
from throughtime.layers.spec import LayerSpec
from throughtime.reading import Entries, ReadError, json_of, kinds_of, typed

__all__ = ["CELLS", "path_of", "read_configuration"]

_CELL = Entries({"name": str, "constants": dict[str, Any]})
CELLS = ("cell", "encoder_cell", "sibling_cell")
"""The arguments of models that are cells."""

_KINDS = Entries(
    {"class": str, "arguments": dict[str, Any]}, dict.fromkeys(CELLS, _CELL), others=Any
)


def path_of(kind: type[Cell]) -> str:
    """The module and name of a class, by which a configuration names an unregistered cell."""
    return f"{kind.__module__}.{kind.__qualname__}"


def read_configuration(
    file: Path, classes: Mapping[str, type[nn.Module]], own: Mapping[str, type[Cell]]
) -> Callable[[], nn.Module]:
    """Reads a configuration and returns a function that builds the model, with initial weights.

    Args:
        file: the path of config.json.
        classes: the classes that a configuration may name, by name.
        own: the classes of cells that are not registered, by their :func:`path_of`.

    Raises:
        ValueError: if an entry is missing or of a wrong type, or a name is unknown.
    """
    try:
        return _read(file, classes, own)
    except ReadError as error:
        what = str(error).removeprefix(f"{file}: ")
        raise ValueError(f"{file}: the configuration is damaged: {what}") from error


def _read(
    file: Path, classes: Mapping[str, type[nn.Module]], own: Mapping[str, type[Cell]]
) -> Callable[[], nn.Module]:
    content = typed(str(file), json_of(file), _KINDS)
    name = content["class"]
    if name not in classes:
        raise ValueError(f"{file}: {unknown('class of model', name, classes)}")
    kinds = {**kinds_of(LayerSpec), **kinds_of(classes[name])}
    for argument in (*CELLS, "encoder", "device", "dtype"):
        kinds.pop(argument, None)
    arguments = typed(f"{file}: arguments", content["arguments"], Entries({}, kinds))
    for argument in CELLS:
        if argument in content:
            arguments[argument] = _cell(f"{file}: {argument}", content[argument], own)
    for argument in ("encoder_options", "decoder_options"):
        options = arguments.get(argument)
        if options and isinstance(options.get("cell"), dict):
            where = f"{file}: arguments.{argument}.cell"
            cell = _cell(where, typed(where, options["cell"], _CELL), own)
            arguments[argument] = {**options, "cell": cell}

    def build() -> nn.Module:
        try:
            return classes[name](**arguments)
        except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
            raise ValueError(
                f"{file}: arguments: these make no {name} ({str(error).partition(chr(10))[0]})."
            ) from error

    return build


def _cell(where: str, cell: Mapping[str, Any], own: Mapping[str, type[Cell]]) -> Cell:
    """Constructs the cell of an entry.

    Args:
        where: the place of the entry, with which error messages begin.
        cell: the entry, with the name and the constants of the cell.
        own: see :func:`read_configuration`.
    """
    # A name with a point is the path of a class, because no registered name has one.
    if "." in cell["name"]:
        return _own_cell(where, cell["name"], cell["constants"], own)
    if cell["name"] not in cells.names():
        raise ReadError(f"{where}.name", str(unknown("cell", cell["name"], cells.names())))
    return named_cell(f"{where}.constants", cell["name"], cell["constants"])


def _own_cell(
    where: str, path: str, constants: Mapping[str, Any], own: Mapping[str, type[Cell]]
) -> Cell:
    """Constructs a cell of one of the classes that the caller has passed; imports nothing."""
    kind = own.get(path)
    if kind is None:
        # The caller vouches for the class, which may have moved to another module.
        named = [k for k in own.values() if k.__qualname__ == path.rpartition(".")[2]]
        kind = named[0] if len(named) == 1 else None
    if kind is None:
        passed = ", ".join(own) or "none"
        name = path.rpartition(".")[2]
        raise ReadError(
            f"{where}.name",
            f"expected the class {path} among the cells that are passed, got {passed}. Import it "
            f"and call from_pretrained(folder, cells=[{name}])",
        )
    try:
        return kind(**constants)
    except (TypeError, ValueError) as error:
        raise ReadError(f"{where}.constants", str(error)) from error
