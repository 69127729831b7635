"""throughtime cells: a table of the recurrences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from throughtime import cells
from throughtime.cli.parser import Parser

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime cells",
        description="The cells: their blocks in weight order, states, parameters of each unit.",
    )
    parser.parse(argv)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("cell", "gates", "states", "per unit", "year", "source"):
        # Names are whole; what is long besides them goes on in the next line.
        least = max(map(len, cells.names())) if heading == "cell" else None
        is_whole = heading in ("cell", "year")
        table.add_column(heading, overflow="fold", no_wrap=is_whole, min_width=least)
    for name in cells.names():
        cell = cells.get(name)
        own = " ".join(cell.parameter_specs)
        states = " ".join(cell.state_specs)
        table.add_row(name, " ".join(cell.gates), states, own, str(cell.year or ""), cell.source)
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, 100))
    console.print(table)
    return 0
