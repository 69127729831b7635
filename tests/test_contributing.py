"""CONTRIBUTING.md lists all places that a new cell, task, learner or backend touches."""

import ast
import re
from pathlib import Path

import pytest

import throughtime as tt
from throughtime import tasks
from throughtime.kernels import BACKENDS
from throughtime.training.learner import CONFIGS, learner_class

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "throughtime"
ROWS = {
    first.strip(): places
    for first, places in re.findall(
        r"^\| (an? [\w ]+?) \| (.*?) \| .*\|$",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.MULTILINE,
    )
}

# Files that name cells although they are no cells: names of other libraries, and defaults.
NAMES_CELLS = {
    "interchange/keras/layers.py": "the layers of Keras",
    "interchange/keras/weights.py": "the layers of Keras",
    "interchange/onnx/native.py": "the nodes of ONNX",
    "kernels/torch_native.py": "the operators of PyTorch",
    "layers/single_step.py": "the cells of torch.nn for single steps",
    "layers/torch_like.py": "the layers of torch.nn",
    "layers/gru_d.py": "a layer of its own",
    "measuring/peers.py": "the cells of torchrecurrent",
    "cli/bench.py": "the cells that are measured if none is named",
}
HAS_DEFAULTS = ("models", "tasks")
# Files in which a word that is also the name of a task has another meaning.
NAMES_NO_TASK = {
    "cli/bench.py": {"memory"},  # --memory, which measures bytes
    "measuring/benchmark.py": {"memory"},
    "measuring/own_process.py": {"memory"},
}


def texts(path):
    """The string literals of a file without its docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    }


def naming(names, *folders):
    """The files of the folders (all, if none are named) that contain one of the names."""
    files = [
        path
        for path in PACKAGE.rglob("*.py")
        if not folders or path.relative_to(PACKAGE).parts[0] in folders
    ]
    return {path.relative_to(PACKAGE).as_posix(): texts(path) & set(names) for path in files}


def test_every_kind_has_a_row():
    kinds = {"a cell", "a task", "a model", "an option of the layers", "a learner", "a backend"}
    assert kinds <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_files_of_a_row_are_there(row):
    paths = [path for path in re.findall(r"`([\w/.<>]+)`", ROWS[row]) if "/" in path]
    assert paths
    for path in paths:
        assert any(ROOT.glob(re.sub(r"<\w+>", "*", path))), path


def test_a_cell_is_named_in_its_own_file_only():
    named = naming(tt.cells.names())
    assert {file for file in NAMES_CELLS if not named[file]} == set()
    wrong = {
        file: cells
        for file, cells in named.items()
        if cells
        and file not in NAMES_CELLS
        and not file.startswith("cells/")
        # A model or a task may have a cell as its default.
        and not (file.startswith(HAS_DEFAULTS) and len(cells) == 1)
    }
    assert wrong == {}
    modules = {name: type(tt.cells.get(name)).__module__ for name in tt.cells.names()}
    for file, cells in naming(tt.cells.names(), "cells").items():
        module = "throughtime." + file.removesuffix(".py").replace("/", ".")
        assert {modules[name] for name in cells} <= {module}, file


def test_no_command_view_or_learner_names_a_task():
    named = naming(tasks.names(), "cli", "inspection", "measuring", "training")
    assert len(named) > 25
    assert {file: names for file, names in named.items() if names} == NAMES_NO_TASK


def test_a_learner_is_a_module_and_a_line():
    for name, config in CONFIGS.items():
        assert learner_class(name).__module__ == f"throughtime.training.{name}"
        assert config.__module__ == "throughtime.training.config"
    named = naming(set(CONFIGS) - {"gradient"})
    assert {file for file, names in named.items() if names} == {"training/learner.py"}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_what_the_row_says(name):
    for function in re.findall(r"`(\w+)\([\w, ]*\)`", ROWS["a backend"]):
        assert callable(getattr(BACKENDS[name], function))
