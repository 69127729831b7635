"""Tiny runs of each kind of task, which nobody has trained."""

import numpy as np
import pytest
import torch

from throughtime import tasks
from throughtime.inspection.page.session import Session
from throughtime.tasks.run import Run

TEXT = 'the cat sat on the mat, "and" the dog ran to the cat.\n' * 60


def saved(folder, name, **settings):
    """A run folder with the untrained model of a task."""
    kind = tasks.get(name)
    task = kind(kind.Config(**settings))
    torch.manual_seed(0)
    run = Run(folder)
    run.create(task, {})
    run.save_model(task.model())
    return folder


def series(folder):
    draw, lines = np.random.default_rng(0), ["series,x,y,label"]
    for i in range(12):
        lines += [f"{i},{a:.3f},{b:.3f},{'ab'[i % 2]}" for a, b in draw.normal(size=(5 + i % 3, 2))]
    path = folder / "series.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A run folder for each kind of task."""
    data = tmp_path_factory.mktemp("data")
    (data / "text.txt").write_text(TEXT)
    words = [("cat", "Katze"), ("dog", "Hund"), ("house", "Haus")]
    pairs = [f"the {n} {w}\tdie {n} {v}\n" for n in "abcde" for w, v in words]
    # Of the validation a pair with an empty source, which no model can read.
    (data / "pairs").mkdir()
    (data / "pairs" / "train.tsv").write_text("".join(pairs) * 8)
    (data / "pairs" / "valid.tsv").write_text("".join(["\tnichts\n", *pairs]))
    rows = [f"{n}\tO\n{w}\tB-ANIMAL\n{v}\tO\n\n" for n in "abcde" for w, v in words]
    (data / "tagged.txt").write_text("".join(rows) * 8)
    labelled = [f"{v}\tthe {n} {w}\n" for n in "abcdefghijklmnop" for w, v in words]
    (data / "labelled.tsv").write_text("".join(labelled))
    runs, small = tmp_path_factory.mktemp("runs"), {"hidden_size": 8}
    text = {"data": str(data / "text.txt"), "num_layers": 2}
    return {
        "language": saved(runs / "language", "char-lm", **text, **small),
        "gru": saved(runs / "gru", "char-lm", cell="gru", **text, **small),
        "tagging": saved(
            runs / "tagging", "tagging", data=str(data / "tagged.txt"), letter_size=4, **small
        ),
        "texts": saved(runs / "texts", "classification", data=str(data / "labelled.tsv"), **small),
        "series": saved(runs / "series", "classification", data=str(series(data)), **small),
        "symbols": saved(runs / "symbols", "memory", problem="parity", length=6, **small),
        "cloze": saved(runs / "cloze", "cloze", data=str(data / "text.txt"), min_count=1, **small),
        "pairs": saved(
            runs / "pairs", "translation", data=str(data / "pairs"), attention="dot", **small
        ),
    }


@pytest.fixture(scope="session")
def save():
    """Makes a run folder; see :func:`saved`."""
    return saved


@pytest.fixture(scope="session")
def sessions(folders):
    """A session for each of them."""
    return {name: Session([folder]) for name, folder in folders.items()}
