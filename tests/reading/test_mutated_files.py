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
from throughtime.inspection.alignments import recorded_alignments
from throughtime.inspection.metrics import read_metrics
from throughtime.inspection.report import write_report
from throughtime.inspection.shown_files import shown_html
from throughtime.reading import kinds_of
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Score, Table, Text
from throughtime.training.config import GradientConfig
from throughtime.training.journal import Journal
from throughtime.training.loop import Outcome

from ..damage import damaged_bytes, damaged_json
from ..training.small import pole, small_task, written

THOUSAND = settings(
    max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FEW = settings(THOUSAND, max_examples=15, derandomize=True)
TASKS = [*tasks.names(), "pole"]
# A command takes a tenth of a second; the tasks share a thousand.
SHARED = settings(THOUSAND, max_examples=-(-1000 // len(TASKS)))


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
            drawn = {"source": ["a", "b"], "target": ["c"], "weights": [[0.1, 0.9]]}
            maps = [drawn, {**drawn, "source_parents": [-1, 0], "target_parents": [-1]}]
            run.attention_file.write_text(json.dumps({"step": 3, "maps": maps}))
            self._runs[task] = run
        return self._runs[task]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    tasks.register(pole.Pole)
    yield Files(tmp_path_factory.mktemp("files"))
    tasks.task._registry.pop("pole")


def damaged(check, many):
    """Calls a check with a source of random numbers, over and over."""
    many(given(st.randoms(use_true_random=False))(check))()


# A few of each by default, a thousand with -m slow.
damages = pytest.mark.parametrize(
    "many", [FEW, pytest.param(THOUSAND, marks=pytest.mark.slow)], ids=["few", "thousand"]
)


def over_tasks(many=THOUSAND):
    """Parametrises over all tasks with -m slow; by default, over one of each role."""
    some = [pytest.param(name, FEW, id=f"{name}-few") for name in ("char-lm", "pole")]
    slow = [pytest.param(name, many, marks=pytest.mark.slow, id=name) for name in TASKS]
    return pytest.mark.parametrize(("name", "many"), [*some, *slow])


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


@over_tasks()
def test_the_configuration_of_a_run(files, many, name):
    run = files.run(name)
    damaged(of_values(run.config_file, lambda: run.load_model(run.task())), many)


@over_tasks()
def test_the_weights_of_a_run(files, many, name):
    run = files.run(name)
    task = run.task()
    damaged(of_bytes(run.model_file, lambda: run.load_model(task)), many)


@damages
def test_the_bytes_of_a_configuration(files, many):
    run = files.run("translation")
    damaged(of_bytes(run.config_file, lambda: run.load_model(run.task())), many)


@over_tasks(SHARED)
def test_the_configuration_of_a_run_that_is_resumed(files, many, monkeypatch, capfd, name):
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

    damaged(of_values(run.config_file, read), many)


@over_tasks()
def test_a_recipe(files, many, name, tmp_path):
    kind = type(files.run(name).task())
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
    damaged(of_values(path, read, as_yaml, value), many)
    damaged(of_bytes(path, read), many)


# The journal, and what the report reads of it.


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("metrics.csv", lambda run: read_metrics(run.metrics_file)),
        ("shown/index.jsonl", shown_html),
        ("attention.json", recorded_alignments),
    ],
)
@damages
def test_a_file_of_the_journal(files, many, file, read):
    run = files.run("char-lm")
    damaged(of_bytes(run.folder / file, lambda: read(run)), many)


@pytest.mark.parametrize("file", ["metrics.csv", "samples.txt", "shown/index.jsonl"])
@pytest.mark.parametrize("many", [FEW, pytest.param(SHARED, marks=pytest.mark.slow)])
def test_a_journal_that_is_continued(files, many, file):
    run = files.run("char-lm")
    contents = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}

    def check(draw):
        path = run.folder / file
        path.write_bytes(damaged_bytes(contents[path], draw))
        try:
            refused(lambda: write_report(run))
            refused(lambda: Journal(run, ["loss"], 2).close())
        finally:
            for path, content in contents.items():
                path.write_bytes(content)

    damaged(check, many)


@damages
def test_the_values_of_a_file_of_attention_maps(files, many):
    run = files.run("char-lm")
    damaged(of_values(run.attention_file, lambda: recorded_alignments(run)), many)


# Models in folders, streams and ONNX files.

MODELS = {
    "recurrent": lambda: tt.Recurrent("lstm-fgr", 3, 4, num_layers=2, zoneout=0.1),
    "language model": lambda: tt.models.LanguageModel(7, cell="gru", hidden_size=4),
    "encoder-decoder": lambda: tt.models.EncoderDecoder(7, 9, hidden_size=4, cell="lstm"),
}


@pytest.mark.parametrize("name", MODELS)
@damages
def test_a_folder_with_a_model(many, name, tmp_path):
    tt.save_pretrained(MODELS[name](), tmp_path)

    def read():
        tt.from_pretrained(tmp_path)

    damaged(of_values(tmp_path / "config.json", read), many)
    damaged(of_bytes(tmp_path / "config.json", read), many)
    damaged(of_bytes(tmp_path / "model.safetensors", read), many)


@damages
def test_the_state_of_a_stream(many, tmp_path):
    layer = tt.LSTM(2, 3)
    stream = layer.stream()
    stream.step(torch.ones(1, 2))
    stream.save(tmp_path / "state")

    def read():
        other = layer.stream()
        other.load(tmp_path / "state")
        other.step(torch.ones(1, 2))

    damaged(of_bytes(tmp_path / "state", read), many)


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU"])
@damages
def test_an_onnx_file(many, layer, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    path = tmp_path / "model.onnx"
    tt.save_onnx(getattr(tt, layer)(2, 3), path)
    damaged(of_bytes(path, lambda: tt.load_onnx(path)), many)


# Tokenisers and data.


@pytest.mark.parametrize("kind", TOKENISERS)
@damages
def test_a_tokeniser(many, kind):
    value = json.loads(json.dumps(fit_tokeniser(kind, ["a man, a plan\ta canal"] * 9).to_json()))

    def check(draw):
        changed = damaged_json(value, draw)
        refused(lambda: tokeniser_from_json(changed).encode("a man \ud800"))

    damaged(check, many)


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
@damages
def test_the_text_of_a_training(many, tmp_path, content, read, encoding):
    path = tmp_path / "text"
    path.write_text(content, encoding=encoding)
    damaged(of_bytes(path, lambda: read(str(path), encoding=encoding)), many)
