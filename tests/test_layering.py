"""Imports point downwards: a checker of syntax trees, which reports violations with their line."""

import ast
from pathlib import Path

import pytest

import throughtime

LEVELS = {
    "checks": 0,
    "counted": 0,
    "written": 0,
    "reading": 1,
    "cells": 1,
    "kernels": 2,
    "layers": 3,
    "models": 4,
    "data": 4,
    "interchange": 5,
    "tasks": 5,
    "inspection": 6,
    "measuring": 6,
    "public": 6,
    "training": 7,
    "cli": 8,
}
# What may be imported where, tighter than by its level alone.
ROOT_MAY = {"public"}
PUBLIC_MAY_ON_USE = {"tasks"}
ONLY = {"data": {"checks", "reading"}, "public": {"cells", "layers", "interchange"}}
OWNED = {
    "lightning": "training/gradient.py",
    "pytorch_lightning": "training/gradient.py",
    "lightning_fabric": "training/gradient.py",
    "triton": "kernels/triton",
}
ON_USE = {"matplotlib", "plotly", "onnx", "tensorboard", "openTSNE", "starlette", "uvicorn"}
ON_USE |= {"mido", "scipy"}
ON_USE |= {"soundfile", "soxr", "jiwer"}
LAZY = {"import_module", "__import__"}


def offences(root):
    """Every import of the package below ``root`` that its architecture forbids.

    Returns:
        Lines such as ``layers/recurrent.py:7: layers (3) imports models (4), which is above``.
    """
    violations = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(where))
        on_load = set(loaded_at_once(tree))
        for node in ast.walk(tree):
            for target in targets(node, root, where):
                wrong = offence(where, target, on_load=node in on_load)
                if wrong:
                    violations.append(f"{where.as_posix()}:{node.lineno}: {wrong}")
    return list(dict.fromkeys(violations))


def loaded_at_once(node):
    """The nodes that run when the module is imported: not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        # Code under TYPE_CHECKING does not run.
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (n for other in child.orelse for n in (other, *loaded_at_once(other)))
            continue
        yield child
        yield from loaded_at_once(child)


def targets(node, root, where):
    """The modules that a node imports, as full dotted names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = ["throughtime", *where.parent.parts]
        base = [*package[: len(package) - node.level + 1]] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        return [qualified(module, alias.name, root) for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in LAZY and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []


def qualified(module, name, root):
    """``from a import b`` imports a.b if that is a module, else a."""
    parts = module.split(".")
    if parts[0] != "throughtime":
        return module
    inside = root.joinpath(*parts[1:], name)
    is_module = inside.with_suffix(".py").exists() or inside.is_dir()
    return f"{module}.{name}" if is_module else module


def offence(where, target, on_load):
    """The violation of one import, or None."""
    parts = target.split(".")
    here = where.parts[0].removesuffix(".py")
    if parts[0] != "throughtime":
        owner = OWNED.get(parts[0])
        is_owner = where.as_posix() == owner or where.as_posix().startswith(f"{owner}/")
        if owner and not is_owner:
            return f"only {owner} imports {parts[0]}"
        if parts[0] in ON_USE and on_load:
            return f"{parts[0]} is loaded on use, inside the function that needs it"
        return None
    there = parts[1] if len(parts) > 1 else None
    if here == "__init__":
        return None if there in ROOT_MAY else f"the package itself does not import {target}"
    if here not in LEVELS:
        return f"{here} has no level"
    if there is None:
        return f"{here} imports the package itself, which is above all"
    if there == here:
        return None
    if there not in LEVELS:
        return f"{there} has no level"
    if here == "public" and there in PUBLIC_MAY_ON_USE and not on_load:
        return None
    if here in ONLY and there not in ONLY[here]:
        return f"{here} imports {there}; it imports only {', '.join(sorted(ONLY[here]))}"
    if LEVELS[there] == LEVELS[here]:
        return f"{here} imports {there}, its sibling"
    if LEVELS[there] > LEVELS[here]:
        return f"{here} ({LEVELS[here]}) imports {there} ({LEVELS[there]}), which is above"
    if here == "kernels" and there == "cells" and parts[2:] != ["cell"]:
        return f"kernels imports {target}; of cells it knows cells.cell alone"
    return None


def test_no_import_of_the_package_points_up():
    root = Path(throughtime.__file__).parent
    assert offences(root) == []


def circles(root):
    """The circles of modules that import each other, also under TYPE_CHECKING.

    An import inside a function is left out: it is there to load a library on use.
    """
    imports = {}
    for path in root.rglob("*.py"):
        where = path.relative_to(root)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(where))
        inside = {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }
        names = {t for n in ast.walk(tree) if n not in inside for t in targets(n, root, where)}
        module = ".".join(["throughtime", *where.with_suffix("").parts])
        imports[module] = names - {module}
    violations = []

    def visit(module, above):
        if module in above:
            violations.append(" -> ".join([*above[above.index(module) :], module]))
            return
        if module not in done:
            for name in sorted(imports.get(module, ())):
                visit(name, [*above, module])
            done.add(module)

    done = set()
    for module in sorted(imports):
        visit(module, [])
    return violations


def test_no_circle_hides_under_type_checking():
    assert circles(Path(throughtime.__file__).parent) == []


def test_every_folder_and_module_of_the_package_has_its_level():
    root = Path(throughtime.__file__).parent
    there = {p.stem for p in root.iterdir() if p.suffix == ".py" or list(p.glob("*.py"))}
    assert there - {"__init__"} <= set(LEVELS)
    assert {"checks", "cells", "kernels", "layers", "interchange"} <= there


# Tests of the checker: small packages without a violation, and with one of each kind.


@pytest.fixture
def package(tmp_path):
    """Writes a package with these sources and returns its violations."""

    def write(**sources):
        for folder in LEVELS.keys() - {"checks", "counted", "public"}:
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "__init__.py").write_text("")
        (tmp_path / "checks.py").write_text("")
        (tmp_path / "public.py").write_text("")
        (tmp_path / "cells" / "cell.py").write_text("")
        (tmp_path / "cells" / "lstm.py").write_text("")
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        (tmp_path / "__init__.py").write_text(sources.get("ROOT", "from throughtime import public"))
        (tmp_path / "ROOT.py").unlink(missing_ok=True)
        return offences(tmp_path)

    return write


def test_imports_that_point_down_are_no_offence(package):
    assert (
        package(
            cells__lstm="from throughtime.cells.cell import Cell\nfrom throughtime import checks",
            kernels__reference="from throughtime.cells.cell import Cell\nimport torch",
            kernels__triton__emit="import triton\nfrom throughtime.kernels import call",
            layers__recurrent="from throughtime.kernels import dispatch\nfrom .x import y",
            data__text="from throughtime.checks import shape_is\nfrom ..checks import nearest",
            training__gradient="import pytorch_lightning as pl\nfrom lightning import Trainer",
            inspection__report="def plot():\n    import matplotlib.pyplot as plt",
            inspection__lens="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from plotly import Figure",
            cli__main="from throughtime import tasks, training\nimport throughtime.models",
            public="from throughtime.layers import LSTM\nfrom throughtime import cells",
            ROOT="from throughtime.public import LSTM",
        )
        == []
    )


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        (
            "layers__recurrent",
            "import torch\n\nfrom throughtime.models.tagger import Tagger",
            "layers/recurrent.py:3: layers (3) imports models (4), which is above",
        ),
        ("checks", "import throughtime.cells.cell", "checks.py:1: checks (0) imports cells (1)"),
        ("layers__a", "from .. import training", "layers/a.py:1: layers (3) imports training (7)"),
        ("cells__b", "from ..kernels import run", "cells/b.py:1: cells (1) imports kernels (2)"),
        (
            "kernels__cpp__emit",
            "from ...layers import LSTM",
            "kernels/cpp/emit.py:1: kernels (2) imports layers (3)",
        ),
        (
            "layers__late",
            "def f():\n    from throughtime.tasks import run",
            "layers/late.py:2: layers (3) imports tasks (5)",
        ),
        (
            "layers__sly",
            "import importlib\nimportlib.import_module('throughtime.cli.main')",
            "layers/sly.py:2: layers (3) imports cli (8)",
        ),
        ("models__m", "from throughtime.data import text", "models/m.py:1: models imports data, "),
        ("tasks__t", "import throughtime.interchange", "tasks/t.py:1: tasks imports interchange, "),
        ("interchange__t", "from throughtime import tasks", "interchange/t.py:1: interchange impo"),
        (
            "data__d",
            "from throughtime.layers import LSTM",
            "data/d.py:1: data imports layers; it imports only checks",
        ),
        ("data__d", "from throughtime.models import M", "data/d.py:1: data imports models; it"),
        (
            "kernels__k",
            "from throughtime.cells.lstm import LSTM",
            "kernels/k.py:1: kernels imports throughtime.cells.lstm; of cells it knows",
        ),
        (
            "kernels__k",
            "from throughtime.cells import get",
            "kernels/k.py:1: kernels imports throu",
        ),
        ("kernels__k", "from throughtime.cells import lstm", "kernels/k.py:1: kernels imports thr"),
        ("layers__r", "import throughtime as tt", "layers/r.py:1: layers imports the package its"),
        ("layers__r", "from throughtime import LSTM", "layers/r.py:1: layers imports the package"),
        (
            "models__m",
            "import lightning",
            "models/m.py:1: only training/gradient.py",
        ),
        (
            "cli__c",
            "def f():\n    from pytorch_lightning.loggers import X",
            "cli/c.py:2: only training/gradient.py imports pytorch_lightning",
        ),
        ("kernels__k", "import triton.language", "kernels/k.py:1: only kernels/triton imports tri"),
        ("training__t", "import triton", "training/t.py:1: only kernels/triton imports triton"),
        (
            "inspection__i",
            "import matplotlib.pyplot",
            "inspection/i.py:1: matplotlib is loaded on use",
        ),
        ("cli__c", "if True:\n    from plotly import x", "cli/c.py:2: plotly is loaded on use"),
        (
            "interchange__i",
            "try:\n    import onnx\nexcept ImportError:\n    pass",
            "interchange/i.py:2: onnx is loaded on use",
        ),
        ("training__t", "import tensorboard", "training/t.py:1: tensorboard is loaded on use"),
        ("cli__c", "class A:\n    import uvicorn", "cli/c.py:2: uvicorn is loaded on use"),
        ("new__n", "import throughtime.checks", "new/n.py:1: new has no level"),
        ("layers__n", "from throughtime.new import x", "layers/n.py:1: new has no level"),
        ("ROOT", "from throughtime import models", "__init__.py:1: the package itself does not"),
        ("ROOT", "from throughtime import cells", "__init__.py:1: the package itself does not"),
        ("public", "from throughtime import models", "public.py:1: public imports models; it"),
        ("ROOT", "from throughtime.training import fit", "__init__.py:1: the package itself does"),
    ],
)
def test_the_checker_names_file_and_line_of_an_offence(package, module, source, expected):
    (violations,) = package(**{module: source})
    assert violations.startswith(expected)
