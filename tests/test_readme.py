"""What the README and the documentation show, runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_the_code_of_a_page_runs(path, capsys):
    names = {"__name__": path.stem}
    for number, code in enumerate(blocks(path, "python"), 1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), names)


def test_the_readme_reaches_running_code_by_line_35():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 35


def test_every_file_that_a_page_links_to_is_there():
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_tree_in_the_readme_is_the_tree():
    tree = next(b for b in blocks(ROOT / "README.md", "text") if "src/throughtime" in b)
    named = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    package = ROOT / "src" / "throughtime"
    there = {p.name for p in package.iterdir() if (p / "__init__.py").is_file()}
    assert named == there
