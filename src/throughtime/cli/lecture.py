"""throughtime inspect --cell: writes the lecture page of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from throughtime.cli import completion
from throughtime.cli.equations import cell_of, constants_of, source_of
from throughtime.cli.parser import Parser
from throughtime.inspection.lecture.page import lecture_page
from throughtime.kernels.graph.functions import Untraceable
from throughtime.tasks.run import written_whole

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime inspect",
        description="Writes a page that shows a cell: its equations and the backward step that "
        "follows from them, its graph, and a small network that computes in the page. The page is "
        "one file and works without a network.",
    )
    parser.completers = {"cell": completion.cell_names}
    parser.add_argument(
        "--cell",
        type=str,
        required=True,
        help="a name of `throughtime cells`, or your own: module:Class or path.py:Class",
    )
    parser.add_argument(
        "constants", nargs="*", default=[], help="constants of the cell, each as name=value"
    )
    parser.add_argument(
        "--html",
        type=str | None,
        default=None,
        help="the file to write; the name of the cell with .html in this folder if not given",
    )
    arguments = parser.parse(argv)
    cell = cell_of(arguments["cell"], constants_of(arguments.get("constants") or []))
    try:
        page = lecture_page(cell, source_of(cell))
    except (Untraceable, AttributeError) as reason:
        raise ValueError(f"{arguments['cell']}: no page can be written: {reason}.") from reason
    file = Path(arguments.get("html") or f"{cell.title}.html")
    if file.is_dir():
        raise ValueError(f"--html: expected a file to write, got the folder {file}.")
    if not file.parent.is_dir():
        raise ValueError(f"--html: {file.parent}: no such folder. Make it first.")
    written_whole(file, lambda path: path.write_text(page, encoding="utf-8"))
    print(file)
    return 0
