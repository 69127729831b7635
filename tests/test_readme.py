"""The code and commands of the README and the documentation run."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.training.learner import CONFIGS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = sorted((ROOT / "docs" / "api").glob("*.md"))
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MADE = ROOT / "docs" / "table-of-cells.md"
"""A page of the site that is made when it is built; tests/test_site.py builds it."""


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def train_what_a_page_loads(text):
    """The run folder that a page loads after it has shown the command, but of a small model."""
    if '"runs/demo"' in text:
        Path("text.txt").write_text("import os\nfor x in range(10):\n    print(x)\n" * 40)
        words = "--data text.txt --cell lstm-peephole --hidden_size 16 --epochs 1 --run runs/demo"
        assert main(["train", "char-lm", *words.split()]) == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_the_code_of_a_page_runs(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_what_a_page_loads(path.read_text())
    names = {"__name__": path.stem}
    for number, code in enumerate(blocks(path, "python"), 1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), names)


def test_code_that_does_not_run_here_runs_in_a_test_of_its_page():
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    for path in PAGES:
        languages = set(re.findall(r"^```(\w+)$", path.read_text(), re.MULTILINE))
        assert languages <= {"python", "py", "sh", "console", "text", "yaml"}, path.name
        if "py" in languages:
            assert f'"docs" / "{path.name}"' in tests, path.name


def test_the_readme_reaches_running_code_by_line_35():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 35


def anchors(path):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_every_file_and_heading_that_a_page_links_to_is_there():
    for path in [*TEXTS, *REFERENCE]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
            file = (path.parent / target).resolve() if target else path
            if file == MADE:
                continue
            assert file.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{path.name}: {target}#{anchor}"


def test_every_page_is_reached_from_the_readme():
    text = (ROOT / "README.md").read_text()
    missing = {p.name for p in PAGES[1:] if f"(docs/{p.name})" not in text}
    assert not missing


def test_the_tree_in_the_readme_is_the_tree():
    tree = next(b for b in blocks(ROOT / "README.md", "text") if "src/throughtime" in b)
    package = ROOT / "src" / "throughtime"
    named = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    assert named == {p.name for p in package.iterdir() if (p / "__init__.py").is_file()}
    # The folders inside them, and those beside the package.
    inner = re.findall(r"^  (\w+)/.*\n((?:    \w+/.*\n)*)", tree, re.MULTILINE)
    for folder, lines in inner:
        for name in re.findall(r"^    (\w+)/", lines, re.MULTILINE):
            assert (package / folder / name / "__init__.py").is_file(), f"{folder}/{name}"
    for name in re.findall(r"^(\w+)/  ", tree, re.MULTILINE):
        assert (ROOT / name).is_dir(), name


# Commands.


def commands(path):
    """The calls of ``throughtime`` that a page shows, each as a list of words."""
    lines = re.findall(r"^(?: {4}|\$ )?(throughtime [a-z].*)$", path.read_text(), re.MULTILINE)
    # Text after two spaces, a pipe or `<` is not part of the command; `…` stands for any option.
    return [shlex.split(re.split(r"  |[|<>]|…", line, maxsplit=1)[0]) for line in lines]


def options_of(command, argv, capsys):
    """The names of the options of a command."""
    names = {"run"}
    if command == "train":
        kind = tasks.get(argv[0])
        configs = [kind.Config, *CONFIGS.values()]
        names |= {"run", "resume", "config", "learner", "print_config"}
    else:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        names |= set(re.findall(r"--(\w+)", capsys.readouterr().out))
        use = {"evaluate": "EvaluationOptions", "predict": "PredictionOptions"}
        use |= {"generate": "ContinuationOptions"}
        kinds = [tasks.get(name) for name in tasks.names()]
        configs = [getattr(kind, use[command], None) for kind in kinds] if command in use else []
    return names | {f.name for c in configs if c is not None for f in dataclasses.fields(c)}


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_commands_of_a_page_have_the_options_that_it_shows(path, capsys):
    for _, command, *argv in commands(path):
        if command == "train" and argv[0] == "TASK":
            argv[0] = "translation"
        words = [word for word in argv if word.startswith("--")]
        known = options_of(command, argv, capsys) | {"help"}
        for word in words:
            name = word.removeprefix("--").partition("=")[0].partition(".")[0].replace("-", "_")
            assert name in known, f"{path.name}: throughtime {command} … {word}"


def test_the_commands_of_the_pages_are_found():
    all_commands = [words for path in PAGES for words in commands(path)]
    assert len(all_commands) > 25
    assert {"train", "predict", "generate", "evaluate", "equations"} <= {w[1] for w in all_commands}
