"""What the documentation site shows besides the pages in docs/: a hook of MkDocs.

- The home page, the changelog and the page on contributing are files of the repository.
- The table of cells, with the equations of each, is made from the registry.
- A link to a file that is not on the site, such as a recipe or a test, becomes its path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

COPIED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Files of the repository, and the names of their pages."""

TABLE = "table-of-cells.md"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that do not lie in docs/."""
    for name, page in COPIED.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=as_page(text, name)))
    files.append(File.generated(config, TABLE, content=table_of_cells()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces the links of a page that leave the site."""
    folder = (ROOT / "docs" / page.file.src_uri).parent
    return _LINK.sub(lambda link: _on_site(link, folder), markdown)


def as_page(text: str, name: str) -> str:
    """A file of the repository's root with its links as they are from docs/."""

    def moved(link: re.Match[str]) -> str:
        image, words, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target:
            return link[0]
        if target in COPIED:
            return f"{image}[{words}]({COPIED[target]}{anchor})"
        inside = target.removeprefix("docs/")
        return f"{image}[{words}]({inside if inside != target else '../' + target}{anchor})"

    assert (ROOT / name).is_file()
    return _LINK.sub(moved, text)


def _on_site(link: re.Match[str], folder: Path) -> str:
    words, target = link[2], link[3]
    if not target:
        return link[0]
    path = (folder / target).resolve()
    is_on_site = path.is_relative_to(ROOT / "docs") and not path.is_relative_to(
        ROOT / "docs/making"
    )
    if is_on_site or not path.exists():
        return link[0]
    name = path.relative_to(ROOT).as_posix()
    if name in COPIED:
        return f"[{words}]({'../' * len(folder.relative_to(ROOT / 'docs').parts)}{COPIED[name]})"
    # What a table names by its path needs it once.
    return f"`{name}`" if words in name or words.strip("`") in name else f"{words} (`{name}`)"


def table_of_cells() -> str:
    """A page with a row for each cell of the registry, and the equations of each below."""
    from throughtime import cells
    from throughtime.kernels.printing.equations import describe

    rows, sections = [], []
    for name in cells.names():
        cell = cells.get(name)
        cls = type(cell)
        first = (cls.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        first = re.sub(r"\s+", " ", first).replace("|", "\\|")
        states = ", ".join(cell.states)
        rows.append(f"| [{name}](#{name}) | {first} | {cell.year} | {states} | {len(cell.gates)} |")
        sections += [f"## {name}", first, f"*{cell.source}*" if cell.source else ""]
        sections += ["```text", describe(cell).text(width=80).rstrip(), "```"]
    return "\n".join(
        [
            "# Table of cells",
            "",
            f"All {len(rows)} cells of the package. `throughtime cells` prints the same list,",
            "`throughtime equations NAME` the equations of one cell with its backward step. The",
            "kernels are compiled from them. [Printed equations](equations.md) explains letters.",
            "",
            "| cell | what it is | year | states | gates |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *(line for section in sections for line in (section, "")),
        ]
    )
