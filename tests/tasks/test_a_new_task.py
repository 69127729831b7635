"""A new task is one file: forty lines are trained, killed, resumed, evaluated and used."""

import json
import signal
import subprocess
import sys
import time

import pytest

from throughtime.tasks.run import Run

TASK = '''
"""majority: which of the letters a and b a word has more of."""
import random
from dataclasses import dataclass
import torch
from torch import nn
from throughtime.data import RaggedBatches, pad_rows
from throughtime.layers import Recurrent
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.network import NetworkConfig
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, NoOptions
from throughtime.tasks.uses import Prediction

@dataclass
class Config(NetworkConfig):
    batch_size: int = 16

class Net(nn.Module):
    def __init__(self, **network):
        super().__init__()
        self.recurrent = Recurrent(input_size=2, batch_first=True, **network)
        self.score = nn.Linear(self.recurrent.output_size, 1)
    def forward(self, words):
        rows, lengths = pad_rows([[[c == "a", c == "b"] for c in w] for w in words], torch.float32)
        h, _ = self.recurrent(rows, lengths=lengths)
        return self.score(h[torch.arange(len(words)), lengths - 1]).squeeze(1)

class Majority(BatchTask):
    """Words of a and b: which letter is more frequent."""
    name, Config, monitor, reads, writes = "majority", Config, "accuracy", "a word", "its letter"
    PredictionOptions, assets, title = NoOptions, {"data": "words"}, "majority"
    figures = {"loss": Figure("nats per word"), "accuracy": Figure(better="higher")}
    def words(self, split):
        draw = random.Random(split)
        return ["".join(draw.choices("ab", k=draw.choice([3, 5, 7]))) for _ in range(400)]
    def batches(self, split, share=WHOLE):
        words = self.words(split)
        return RaggedBatches([len(w) for w in words], lambda rows: {"number": torch.tensor(rows)},
                             self.config.batch_size, **share._asdict())
    def model(self):
        return Net(**self.config.recurrent())
    def loss(self, model, batch, carried=None, progress=0.0, split="train"):
        words = [self.words(split)[i] for i in batch["number"]]
        target = torch.tensor([float(w.count("a") > w.count("b")) for w in words])
        scores = model(words)
        total = nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="sum")
        return Loss(total, len(words), {"seen": scores.detach().mean()})
    def evaluate(self, model, split=None, options=None):
        words = self.words(split or "valid")
        with evaluating(model):
            right = [(s > 0) == (w.count("a") > w.count("b"))
                     for w, s in zip(words, model(words).tolist())]
        return Evaluation({"accuracy": sum(right) / len(right), "surprise": 1.0})
    def predictions(self, model, inputs, options, say):
        for line in (line for lines in inputs for line in lines):
            letter = "" if not line else "a" if model([line]) > 0 else "b"
            yield Prediction([letter], {"letter": letter})
'''
SMALL = "--cell gru --hidden_size 8 --epochs 12 --learning_rate 0.02 --zoneout 0.01".split()
SMALL += "--save_every 0 --log_every 3 --validate_every 50".split()


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command line, with the task in a module of its own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "majority.py").write_text(TASK)
    start = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import majority; "
        "from throughtime import tasks; tasks.register(majority.Majority); "
        "from throughtime.cli.main import main; sys.exit(main())"
    )
    return [sys.executable, "-c", start]


def call(command, *words, **options):
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(run):
    lines = run.metrics_file.read_text().splitlines()
    time_columns = [lines[0].split(",").index(n) for n in ("seconds", "examples_per_second")]
    cells = [line.split(",") for line in lines]
    return [[c for i, c in enumerate(row) if i not in time_columns] for row in cells]


@pytest.mark.slow  # test_tasks_page.py trains and uses the same task, without the kill
def test_forty_lines_are_a_task(command, tmp_path):
    assert len(TASK.strip().splitlines()) < 60
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    out = call(command, "train", "majority", *SMALL, "--run", whole.folder)
    assert "majority: majority, " in out

    words = [*command, "train", "majority", *SMALL, "--run", str(parts.folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while not parts.metrics_file.is_file() or len(rows(parts)) < 20:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert len(rows(parts)) < len(rows(whole))
    call(command, "train", "majority", "--run", parts.folder, "--resume")
    # The row that a figure nobody had declared widened the table with is there as well.
    assert rows(parts) == rows(whole)
    assert "surprise" in rows(whole)[0]

    figures = json.loads(call(command, "evaluate", parts.folder, "--json"))
    assert figures["accuracy"] > 0.9
    # A loss was never judged, so there is no perplexity.
    assert "perplexity" not in call(command, "evaluate", parts.folder)
    answers = call(command, "predict", parts.folder, input="aab\n\nbba\n").split("\n")
    assert answers == ["a", "", "b", ""]
    record = json.loads(call(command, "predict", parts.folder, "--text", "aab", "--json"))
    assert record == {"line": 1, "letter": "a"}
    page = parts.report_file.read_text()
    # Of an accuracy the highest is the best.
    best = max(float(row[rows(parts)[0].index("accuracy")] or 0) for row in rows(parts)[1:])
    assert f"accuracy {best:.4f}" in page
    assert "zoneout" in page


def test_it_learns_by_evolution_too(command, tmp_path):
    options = "--learner evolution --generations 2 --population 2 --hidden_size 4".split()
    out = call(command, "train", "majority", *options, "--run", tmp_path / "run")
    assert "The run is complete after 2 steps." in out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["learner"] == "evolution"
    assert config["monitor"] == "accuracy"
