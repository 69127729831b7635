"""Every file that a person may edit, changed a thousand times: it is read, or refused in words.

A reader may return a value, or raise a ValueError or an OSError, which a command prints as one
sentence. Any other error would be a traceback. Checkpoints have tests of their own, which also
compare what was read (tests/training/test_damage.py).
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime import tasks
from throughtime.cli.main import main
from throughtime.cli.parser import settings_of_file
from throughtime.data import TOKENISERS, fit_tokeniser, load, load_pairs, tokeniser_from_json
from throughtime.data.sentences import load_sentences
from throughtime.inspection.report import write_report
from throughtime.reading import kinds_of
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Score, Table, Text
from throughtime.training.config import GradientConfig
from throughtime.training.journal import Journal
from throughtime.training.loop import Outcome

from ..damage import damaged_bytes, damaged_json
from ..training.small import pole, small_task, written

FEW = settings(
    max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    derandomize=True,
)  # fmt: skip
MANY = settings(FEW, max_examples=1000, derandomize=False)
TASKS = [*tasks.names(), "pole"]


def refused(read):
    """The words with which a reader refuses its file; None if it reads it."""
    words = None
    try:
        read()
    except (ValueError, OSError) as error:
        words = str(error)
    assert words is None or words.strip()
    return words


class Files:
    """The files of small runs, each made when it is first asked for."""

    def __init__(self, folder):
        self.folder = written(folder)
        self._runs = {}

    def run(self, task):
        """The folder of a run with all that a training writes, as (run, task)."""
        if task not in self._runs:
            small, run = small_task(task, self.folder), Run(self.folder / f"run-{task}")
            run.create(small, asdict(GradientConfig()))
            run.save_model(small.model())
            journal = Journal(run, list(small.figures), 0)
            for step in (1, 2, 3):
                for split in ("train", "valid"):
                    journal.record(step, 0.1, 1.0, split, dict.fromkeys(small.figures, 0.5))
                journal.show(step, [Text("a"), Table(["a"], [["b"]], "t"), Score(b"music")])
            journal.close()
            maps = [{"source": ["a", "b"], "target": ["c"], "weights": [[0.1, 0.9]]}]
            run.attention_file.write_text(json.dumps({"step": 3, "maps": maps}))
            self._runs[task] = run
        return self._runs[task]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    tasks.register(pole.Pole)
    yield Files(tmp_path_factory.mktemp("files"))
    tasks.task._registry.pop("pole")


# How often: a few times by default, a thousand times with -m slow.


@pytest.fixture(params=[FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "thousand"])
def damages(request):
    """Calls a check with a source of random numbers, over and over."""

    def call(check):
        request.param(given(st.randoms(use_true_random=False))(check))()

    return call


def of_bytes(path, read):
    """A check: a file whose bytes are damaged is read, or refused in words."""
    content = Path(path).read_bytes()

    def check(draw):
        Path(path).write_bytes(damaged_bytes(content, draw))
        try:
            refused(read)
        finally:
            Path(path).write_bytes(content)

    return check


def of_values(path, read, write=json.dumps, value=None):
    """A check: a file that holds other values is read, or refused in words."""
    content = Path(path).read_bytes()
    value = json.loads(content) if value is None else value

    def check(draw):
        Path(path).write_text(write(damaged_json(value, draw)), encoding="utf-8")
        try:
            refused(read)
        finally:
            Path(path).write_bytes(content)

    return check


# Run folders, of every task.


@pytest.mark.parametrize("name", TASKS)
def test_the_configuration_of_a_run(files, damages, name):
    run = files.run(name)
    damages(of_values(run.config_file, lambda: run.load_model(run.task())))


@pytest.mark.parametrize("name", TASKS)
def test_the_weights_of_a_run(files, damages, name):
    run = files.run(name)
    task = run.task()
    damages(of_bytes(run.model_file, lambda: run.load_model(task)))


def test_the_bytes_of_a_configuration(files, damages):
    run = files.run("translation")
    damages(of_bytes(run.config_file, lambda: run.load_model(run.task())))


@pytest.mark.parametrize("name", TASKS)
def test_the_configuration_of_a_run_that_is_resumed(files, damages, monkeypatch, capfd, name):
    """As a command, which must not end with a traceback; it would train from here on."""
    from throughtime.training import fit

    run = files.run(name)
    monkeypatch.setattr(fit, "fit", lambda *_, **__: Outcome("complete", 1, {}))

    def read():
        try:
            status = main(["train", name, "--run", str(run.folder), "--resume"])
        except SystemExit as stop:
            status = stop.code
        said = capfd.readouterr().err
        assert status == 0 or (status in (1, 2) and said.count("\n") <= 2), said

    damages(of_values(run.config_file, read))


@pytest.mark.parametrize("name", tasks.names())
def test_a_recipe(files, damages, name, tmp_path):
    kind = tasks.get(name)
    kinds = {**kinds_of(kind.Config), **kinds_of(GradientConfig)}
    path = tmp_path / "recipe.yaml"
    value = {"task": name, "about": {"what": "x"}, **asdict(small_task(name, files.folder).config)}

    def read():
        values = settings_of_file(str(path), kinds)
        known = kinds_of(kind.Config)
        kind.Config(**{k: v for k, v in values.items() if k in known})

    def as_yaml(value):
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace").decode()

    path.write_text(as_yaml(value))
    damages(of_values(path, read, as_yaml, value))
    damages(of_bytes(path, read))


# The journal, and what the report reads of it.


@pytest.mark.parametrize(
    "file", ["metrics.csv", "samples.txt", "shown/index.jsonl", "attention.json", "config.json"]
)
def test_a_file_of_the_journal(files, damages, file):
    run = files.run("char-lm")
    contents = {
        path: path.read_bytes() for path in sorted(run.folder.rglob("*")) if path.is_file()
    }

    def read():
        write_report(run)
        Journal(run, ["loss"], 2).close()

    def check(draw):
        path = run.folder / file
        path.write_bytes(damaged_bytes(contents[path], draw))
        try:
            refused(read)
        finally:
            for path, content in contents.items():
                path.write_bytes(content)

    damages(check)


def test_the_values_of_a_file_of_attention_maps(files, damages):
    run = files.run("translation")
    damages(of_values(run.attention_file, lambda: write_report(run)))


# Models in folders, streams and ONNX files.

MODELS = {
    "recurrent": lambda: tt.Recurrent("lstm-fgr", 3, 4, num_layers=2, zoneout=0.1),
    "language model": lambda: tt.models.LanguageModel(7, cell="gru", hidden_size=4),
    "encoder-decoder": lambda: tt.models.EncoderDecoder(7, 9, hidden_size=4, cell="lstm"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_with_a_model(damages, name, tmp_path):
    tt.save_pretrained(MODELS[name](), tmp_path)

    def read():
        tt.from_pretrained(tmp_path)

    damages(of_values(tmp_path / "config.json", read))
    damages(of_bytes(tmp_path / "config.json", read))
    damages(of_bytes(tmp_path / "model.safetensors", read))


def test_the_state_of_a_stream(damages, tmp_path):
    layer = tt.LSTM(2, 3)
    stream = layer.stream()
    stream.step(torch.ones(1, 2))
    stream.save(tmp_path / "state")

    def read():
        other = layer.stream()
        other.load(tmp_path / "state")
        other.step(torch.ones(1, 2))

    damages(of_bytes(tmp_path / "state", read))


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
def test_an_onnx_file(damages, layer, tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    tt.save_onnx(getattr(tt, layer)(2, 3), path)
    damages(of_bytes(path, lambda: tt.load_onnx(path)))


# Tokenisers and data.


@pytest.mark.parametrize("kind", TOKENISERS)
def test_a_tokeniser(damages, kind):
    value = json.loads(json.dumps(fit_tokeniser(kind, ["a man, a plan\ta canal"] * 9).to_json()))

    def check(draw):
        changed = damaged_json(value, draw)
        refused(lambda: tokeniser_from_json(changed).encode("a man \ud800"))

    damages(check)


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("the cat sat on the mat.\n" * 40, load),
        ("the cat sat on the mat.\n" * 40, load_sentences),
        ("the cat\tdie Katze\na dog\tein Hund\n" * 20, load_pairs),
    ],
    ids=["text", "sentences", "pairs"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_the_text_of_a_training(damages, tmp_path, content, read, encoding):
    path = tmp_path / "text"
    path.write_text(content, encoding=encoding)
    damages(of_bytes(path, lambda: read(str(path), encoding=encoding)))
