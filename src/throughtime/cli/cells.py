"""throughtime cells: one line for each recurrent cell."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence

from throughtime import cells
from throughtime.cells import Cell
from throughtime.checks import unknown
from throughtime.cli.parser import Parser

__all__ = ["main"]

# Columns on a terminal: gates, states, year, source, parameters per unit. What is cut is shown by
# `throughtime equations`.
_MOST_WIDE = (15, 9, 4, 60, 60)


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime cells",
        description="Lists the cells: their blocks in the order of the weights, states, year, "
        "source and parameters per unit. `throughtime equations NAME` shows one of them in full.",
    )
    parser.add_argument(
        "words",
        type=str,
        nargs="*",
        default=[],
        help="list only the cells with all of these words in their name or source",
    )
    counts = "a number, or a range such as 2:4, 3: or :2"
    parser.add_argument("--gates", type=str, help=f"number of gates; {counts}")
    parser.add_argument("--states", type=str, help=f"number of states; {counts}")
    parser.add_argument("--year", type=str, help="year of the source; 2017, or a range: 2017:")
    options = parser.parse(argv)
    words = options.get("words") or []
    selected = [cells.get(name) for name in cells.names()]
    for word in words:
        selected = [cell for cell in selected if _mentions(cell, word)]
    measures: dict[str, Callable[[Cell], int | None]] = {
        "gates": lambda cell: len(cell.gates),
        "states": lambda cell: len(cell.state_specs),
        "year": lambda cell: cell.year,
    }
    for name, measure in measures.items():
        if options.get(name) is not None:
            least, most = _range(f"--{name}", options[name])
            selected = [cell for cell in selected if least <= (measure(cell) or -1) <= most]
    if not selected:
        names = [name for name in options if name in measures]
        if len(words) == 1 and not names:
            raise unknown("cell", words[0], cells.names())
        filters = " ".join([*words, *(f"--{name} {options[name]}" for name in names)])
        raise ValueError(f"no cell is selected by {filters}. Leave a part of it out.")
    _print(selected)
    return 0


def _mentions(cell: Cell, word: str) -> bool:
    return word.lower() in f"{cell.name} {cell.source}".lower()


def _range(option: str, text: str) -> tuple[int, int]:
    """The bounds of a range such as ``2``, ``2:4``, ``2:`` or ``:4``, both included."""
    match = re.fullmatch(r"(\d{0,9})(:?)(\d{0,9})", text)
    if match is None or not (match[1] or match[3]):
        raise ValueError(f"{option}: expected a number or a range such as 2:4, got {text}.")
    least = int(match[1] or 0)
    most = int(match[3] or 10**9) if match[2] else least
    if least > most:
        raise ValueError(f"{option}: expected a range from low to high, got {text}.")
    return least, most


def _print(selected: Sequence[Cell]) -> None:
    rows = [("cell", "gates", "states", "year", "source", "per unit")] + [
        (
            *(cell.name, " ".join(cell.gates), " ".join(cell.state_specs), str(cell.year or "")),
            *(cell.source, " ".join(cell.parameter_specs)),
        )
        for cell in selected
    ]
    # A file or another program gets whole lines.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if width is not None:
        rows = [(name, *map(_cut, rest, _MOST_WIDE)) for name, *rest in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(map(str.ljust, row, widths)).rstrip()
        print(line if width is None else _cut(line, width))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
