"""A run folder that somebody has edited: the error names the file and the entry."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from throughtime import tasks
from throughtime.tasks.run import Run, RunError

from ..damage import damaged_json

GONE = object()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of three kinds of tasks, each with a model."""
    root = tmp_path_factory.mktemp("runs")
    (root / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    (root / "pairs.tsv").write_text("the cat\tdie Katze\na dog\tein Hund\n" * 20)
    settings = {
        "char-lm": {"data": str(root / "text.txt"), "hidden_size": 4, "num_layers": 1},
        "cloze": {"data": str(root / "text.txt"), "hidden_size": 4, "min_count": 1},
        "translation": {
            "data": str(root / "pairs.tsv"), "hidden_size": 4, "tokenisation": "subwords",
            "vocab_size": 30,
        },
    }  # fmt: skip
    for name, given in settings.items():
        task = tasks.get(name)(tasks.get(name).Config(**given))
        run = Run(root / name)
        run.create(task, {"epochs": 1})
        run.save_model(task.model())
    return root


def edited(folder, tmp_path, task, change):
    """A copy of the run, with its configuration changed."""
    run = Run(tmp_path / "run")
    run.folder.mkdir(exist_ok=True)
    run.model_file.write_bytes(Run(folder / task).model_file.read_bytes())
    config = json.loads(Run(folder / task).config_file.read_text())
    run.config_file.write_text(json.dumps(change(config) or config))
    return run


def setting(*path, to):
    """A change of one entry."""

    def change(config):
        place = config
        for name in path[:-1]:
            place = place[name]
        if to is GONE:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("task", "path", "value", "message"),
    [
        ("char-lm", ["task"], ["char-lm"], "task: expected a text, got .'char-lm'."),
        ("char-lm", ["task"], "char-ml", 'task: unknown task "char-ml"; did you mean "char-lm"'),
        ("char-lm", ["settings"], None, "settings: expected an object, got None"),
        ("char-lm", ["assets"], GONE, "expected the entry 'assets', got none"),
        ("char-lm", ["learner"], {}, "learner: expected a text, got {}"),
        ("char-lm", ["figures", "loss", "better"], "best", "figures.loss.better: expected one of"),
        ("char-lm", ["settings", "hidden_size"], "4", "settings.hidden_size: expected a whole num"),
        ("char-lm", ["settings", "hidden_size"], None, "settings.hidden_size: expected a whole n"),
        ("char-lm", ["settings", "hidden_size"], True, "settings.hidden_size: expected a whole n"),
        ("char-lm", ["settings", "hidden_size"], 2**70, "settings.hidden_size: expected a whole"),
        ("char-lm", ["settings", "hidden_size"], 0, "settings: --hidden_size: .*at least 1"),
        ("char-lm", ["settings", "num_layers"], 10**9, "settings: --num_layers: .*at most 1,000"),
        ("char-lm", ["settings", "embedding_size"], -1, "--embedding_size: expected at least 1"),
        ("char-lm", ["settings", "dropout"], "much", "settings.dropout: expected a number, got"),
        ("char-lm", ["settings", "zoneout"], {"h": "x"}, r"settings.zoneout.h: expected a number"),
        ("char-lm", ["settings", "merge"], "sun", "settings.merge: .*did you mean \"sum\""),
        ("char-lm", ["settings", "cell"], "lstn", 'settings: unknown cell "lstn"'),
        ("char-lm", ["settings", "cell_options"], {"a": 1}, "--cell_options: expected no entry 'a"),
        ("char-lm", ["settings", "cell_options"], [1], "settings.cell_options: expected an obj"),
        ("char-lm", ["settings", "data"], 3, "settings.data: expected a text or null, got 3"),
        ("char-lm", ["assets", "vocabulary"], "abc", "assets.vocabulary: .*expected a list"),
        ("char-lm", ["assets", "vocabulary"], [], "assets.vocabulary: expected at least one"),
        ("char-lm", ["assets", "vocabulary"], ["ab"], "assets.vocabulary: .*single characters"),
        ("char-lm", ["assets", "vocabulary"], GONE, "assets: .*expected the entry 'vocabulary'"),
        ("char-lm", ["assets", "data_sha256"], GONE, "assets: .*expected the entry 'data_sha256'"),
        ("cloze", ["assets", "tokeniser"], [], "assets.tokeniser: .*expected an object"),
        ("cloze", ["assets", "tokeniser", "kind"], ["words"], "assets.tokeniser: .*unknown tok"),
        ("cloze", ["assets", "tokeniser", "tokens"], [["a"]], r"tokens\[0\]: expected a text"),
        ("cloze", ["assets", "tokeniser", "lower_case"], 3, "lower_case: expected true or false"),
        ("translation", ["settings", "encoder"], {"hidden_size": "x"}, "--encoder.hidden_size: ex"),
        ("translation", ["settings", "decoder"], {"cel": "gru"}, "--decoder.cel; did you mean"),
        ("translation", ["settings", "beam_width"], 2**40, "--beam_width: expected at most 10,000"),
        ("translation", ["assets", "longest_target"], 2**70, "assets.longest_target: .* to 1,048"),
        ("translation", ["assets", "longest_source"], None, "assets.longest_source: .*got None"),
        ("translation", ["assets", "source_tokeniser", "model"], {}, "assets.source_tokeniser: "),
        ("translation", ["assets", "source_tokeniser", "model", "model", "vocab"], {"a": 10**9},
         "assets.source_tokeniser: .*expected the ids from 0 to 0"),
        ("translation", ["assets", "target_tokeniser", "model", "model", "merges"], [["a", "zz"]],
         "assets.target_tokeniser: .*expected two pieces that make a third"),
        ("translation", ["assets", "target_tokeniser", "model", "padding"], {"length": 10**9},
         "assets.target_tokeniser: .*expected None, as SubwordTokeniser.fit makes it"),
    ],
    ids=lambda value: "gone" if value is GONE else str(value),
)  # fmt: skip
def test_an_entry_that_cannot_be_is_named(folder, tmp_path, task, path, value, message):
    run = edited(folder, tmp_path, task, setting(*path, to=value))
    with pytest.raises(RunError, match=rf"config\.json.*{message}"):
        run.task()


def test_a_cell_with_absurd_constants_is_refused(folder, tmp_path):
    def change(config):
        config["settings"] |= {"cell": "tau-gru", "cell_options": {"delay": 100_000_000}}

    run = edited(folder, tmp_path, "char-lm", change)
    with pytest.raises(RunError, match=r"config\.json: settings: --cell_options: delay: expected"):
        run.task()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"task": "\xff"}', b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\x00"]
)
def test_a_configuration_that_is_no_json_is_refused(folder, tmp_path, content):
    run = edited(folder, tmp_path, "char-lm", lambda config: None)
    run.config_file.write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json: the configuration is damaged"):
        run.config()


@pytest.mark.parametrize("size", [300, 2**17])
def test_a_model_of_other_sizes_takes_no_memory(folder, tmp_path, size):
    """With 131072 units the weights alone would take 256 GiB."""
    run = edited(folder, tmp_path, "char-lm", setting("settings", "hidden_size", to=size))
    with pytest.raises(RunError, match=r"other settings|fit into the memory of this machine"):
        run.load_model(run.task())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"more": torch.zeros(1)}, "more is unknown"),
        (lambda w: dict(list(w.items())[1:]), "is missing"),
        (lambda w: {k: t.to(torch.int64) for k, t in w.items()}, "as torch.float32, got torch.int"),
        (lambda w: {k: t.to(torch.complex64) for k, t in w.items()}, "got torch.complex64"),
        (lambda w: {k: t[None] for k, t in w.items()}, r"of shape \(.*, got \(1, "),
    ],
)
def test_weights_of_another_model_are_refused(folder, tmp_path, change, message):
    run = edited(folder, tmp_path, "char-lm", lambda config: None)
    save_file(change(load_file(run.model_file)), str(run.model_file))
    with pytest.raises(RunError, match=rf"model\.safetensors: .*{message}"):
        run.load_model(run.task())


@pytest.mark.parametrize("task", ["char-lm", "cloze", "translation"])
def test_whatever_is_changed_the_run_opens_or_says_what_is_wrong(folder, tmp_path, task):
    """Some of many: the slow tests try more (tests/training/test_damage.py)."""
    draw = random.Random(task)
    config = json.loads(Run(folder / task).config_file.read_text())
    messages = []
    for _ in range(60):
        changed = damaged_json(config, draw)
        run = edited(folder, tmp_path, task, lambda _, changed=changed: changed)
        try:
            run.load_model(run.task())
        except RunError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(str(run.folder) in message for message in messages)
