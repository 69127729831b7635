"""Every recipe can be parsed, states its source, and takes two steps."""

import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils._pytree import tree_map

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.cli.parser import Parser, fields, settings_of_file
from throughtime.cli.table import read_table, trainings_of
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.run import Run
from throughtime.training.config import GradientConfig

from .data.mirror import reading_data

ROOT = Path(__file__).parent.parent
TABLES = sorted((ROOT / "recipes" / "tables").glob("*.yaml"))
RECIPES = sorted(set((ROOT / "recipes").glob("*/*.yaml")) - set(TABLES))


def opened(path):
    """The task and the training of a recipe, with values checked against their types."""
    kind = tasks.get(path.parent.name)
    known = [*fields(kind.Config), *fields(GradientConfig)]
    parser = Parser()
    parser.add_class_arguments(kind.Config)
    parser.add_class_arguments(GradientConfig)
    values = parser.complete(settings_of_file(str(path), known))
    config = kind.Config(**{k: values[k] for k in fields(kind.Config)})
    return kind(config), GradientConfig(**{k: values[k] for k in fields(GradientConfig)})


def test_the_page_of_results_has_a_row_for_every_recipe_and_no_other():
    names = [name_of(path) for path in RECIPES]
    assert {f"char-lm/tinyshakespeare-2x{size}" for size in (128, 256, 512)} <= set(names)
    page = (ROOT / "docs" / "results.md").read_text()
    rows = re.findall(r"^\| \[([\w/-]+)\]\(\.\./recipes/([\w/-]+)\.yaml\)", page, re.MULTILINE)
    assert all(name == file for name, file in rows)
    assert sorted(name for name, _ in rows) == sorted(names)
    readme = (ROOT / "README.md").read_text()
    assert "(docs/results.md)" in readme
    assert set(re.findall(r"\(recipes/([\w/-]+)\.yaml\)", readme)) <= set(names)


SLOW = {
    # To read hundreds of files, draw lines, make programs or step a large model takes long.
    *("char-lm/tinyshakespeare-2x512", "performance/groove", "performance/pop909-3x512"),
    *("program/algolisp-vh-att", "program-symbols/algolisp", "pronunciation/cmudict"),
    *("transcription/pen-lines", "tune/folk-rnn", "tune/oneill", "verification/signatures"),
    # Another recipe of the same task takes the same steps with less data.
    *("addition/3-digits", "char-lm/ptb-2x256", "cloze/ptb-forward", "prefix/value-depth-2"),
    *("classification/fsdd-clean", "classification/permuted-mnist", "classification/sst2"),
    *("program/django", "program/nl2bash", "scan/jump", "tagging/conll2000"),
    *("tagging/conll2002-es", "tagging/conll2002-nl", "tagging/conll2003", "tagging/ewt-upos"),
    *("tagging/wnut17", "transcription/fsdd-strings", "transcription/fsdd-strings-attention"),
    *("transcription/fsdd-strings-frames", "translation/multi30k-de-en-no-attention"),
    "translation/multi30k-en-de",
}


def name_of(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_says_what_it_is_and_can_be_parsed(path):
    content = yaml.safe_load(path.read_text())
    assert {"what", "source", "published", "ours", "command", "minutes", "hardware"} <= set(
        content["about"]
    )
    assert content["task"] == path.parent.name
    assert str(path.relative_to(ROOT)) in content["about"]["command"]
    opened(path)


def test_the_slow_recipes_exist():
    assert set(map(name_of, RECIPES)) >= SLOW


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=name_of(path), marks=[pytest.mark.slow] if name_of(path) in SLOW else []
        )
        for path in RECIPES
    ],
)
def test_a_recipe_takes_two_steps(path):
    task, training = opened(path)
    with reading_data():
        batches = task.batches("train")
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), training.learning_rate)
    first, state = None, None
    for batch, _ in zip(batches, range(2), strict=False):
        if first is None:
            first = batch
            before = loss_of(task, model, first)
        result = task.loss(model, batch, state)
        state = tree_map(
            lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf,
            result.carried,
        )
        optimizer.zero_grad()
        result.mean.backward()
        optimizer.step()
    # Without dropout, on one batch: the losses of two batches differ by their difficulty, too.
    assert loss_of(task, model, first) < before


def loss_of(task, model, batch):
    with torch.no_grad(), evaluating(model):
        return task.loss(model, batch).mean.item()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_names_recipes_and_settings_that_exist(path):
    content = read_table(path)
    assert {"title", "what", "source", "ours"} <= set(content["about"])
    for training in trainings_of(path, content, Path("runs")):
        kind = tasks.get(training.task)
        known = [*fields(kind.Config), *fields(GradientConfig)]
        assert set(training.settings) <= set(known)
        values = settings_of_file(str(training.recipe), known) | dict(training.settings)
        kind.Config(**{k: v for k, v in values.items() if k in fields(kind.Config)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bar"), [("tinyshakespeare-2x128", 1.53), ("tinyshakespeare-2x256", 1.46)]
)
def test_a_recipe_reaches_its_figure(name, bar, tmp_path):
    recipe = ROOT / "recipes" / "char-lm" / f"{name}.yaml"
    torch.set_num_threads(os.cpu_count() or 1)
    assert main(["train", "char-lm", "--config", str(recipe), "--run", str(tmp_path / "run")]) == 0
    task = Run(tmp_path / "run").task()
    model = Run(tmp_path / "run").load_model(task)
    assert task.evaluate(model, "valid").figures["loss"] <= bar
