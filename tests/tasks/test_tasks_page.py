"""docs/tasks.md: the task that it shows is trained, judged and used by the commands that it shows.

What else is Python on the page runs in tests/test_readme.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()


def block(language):
    """The first block of a language on the page."""
    return re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each command of the page wrote, and what the page says of it, by the command."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "majority.py").write_text(block("python"))
    (folder / "own.py").write_text(block("py"))
    results = {}
    for part in re.split(r"^\$ ", block("console"), flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = command.replace("python own.py", f"{sys.executable} own.py")
        done = subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results[command] = (done.stdout, expected)
    return folder, results


def test_the_commands_write_what_the_page_shows(answers):
    _, results = answers
    assert len(results) == 5
    assert sum(bool(expected) for _, expected in results.values()) == 2
    for command, (written, expected) in results.items():
        assert written == expected or not expected, command


def test_the_task_is_learned_by_gradient_and_by_evolution(answers):
    folder, results = answers
    (figures,) = (written for command, (written, _) in results.items() if "evaluate" in command)
    assert json.loads(figures)["accuracy"] > 0.9
    runs = {name: folder / "runs" / name / "config.json" for name in ("gru", "evolved")}
    settings = {name: json.loads(path.read_text()) for name, path in runs.items()}
    assert {name: config["learner"] for name, config in settings.items()} == {
        "gru": "gradient",
        "evolved": "evolution",
    }
    assert settings["gru"]["settings"]["zoneout"] == 0.01
    assert "accuracy" in (folder / "runs" / "gru" / "report.html").read_text()
