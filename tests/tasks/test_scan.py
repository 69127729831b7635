"""SCAN: commands and actions, and an output that may be as long as the longest of the test."""

import pytest
import torch

from throughtime import tasks
from throughtime.data import PAIR_SETS
from throughtime.data.pair_sets import Content
from throughtime.tasks.scan import _MOST_ACTIONS, Scan, ScanConfig

from ..data.mirror import reading_data
from .learning import learned

COMMANDS = [
    ("walk", "I_WALK"),
    ("jump", "I_JUMP"),
    ("walk left", "I_TURN_LEFT I_WALK"),
    ("walk right", "I_TURN_RIGHT I_WALK"),
    ("walk twice", "I_WALK I_WALK"),
    ("turn left", "I_TURN_LEFT"),
    ("walk and turn left", "I_WALK I_TURN_LEFT"),
    ("walk after turn left", "I_TURN_LEFT I_WALK"),
]


@pytest.fixture
def task(monkeypatch):
    content = Content({"train": COMMANDS, "valid": COMMANDS[:3]}, ("symbols", "symbols"))
    monkeypatch.setitem(PAIR_SETS, "scan-jump", lambda: content)
    small = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8}
    return Scan(ScanConfig(data_split="jump", **small))


def test_eight_commands_are_learned_by_heart(task):
    assert tasks.get("scan") is Scan
    task.check()
    model = learned(task, 150)
    figures = task.evaluate(model, "train").figures
    assert figures["exact_match"] == 1.0
    assert set(figures) == {"loss", "exact_match"}
    assert task.rewrite(model, ["walk after turn left"]) == ["I_TURN_LEFT I_WALK"]


def test_an_output_may_be_longer_than_any_of_the_training(task):
    model = task.model()
    with torch.no_grad():
        # It goes on for ever.
        model.decoder.scores.bias[2] = -1e4
    (output,) = task.rewrite(model, ["walk"])
    assert len(output.split()) >= _MOST_ACTIONS


@pytest.mark.parametrize("data_split", ["simple", "length", "jump"])
def test_the_published_splits_are_what_they_say(data_split):
    task = Scan(ScanConfig(data_split=data_split))
    with reading_data():
        splits = task.pairs.splits
    longest = {k: max(len(p.target.split()) for p in pairs) for k, pairs in splits.items()}
    assert max(longest.values()) <= _MOST_ACTIONS
    if data_split == "length":
        assert longest == {"train": 22, "valid": 22, "test": 48}
    if data_split == "jump":
        known = {p.source for p in splits["train"] if "jump" in p.source}
        assert known == {"jump"}


def test_an_unknown_split_is_refused(capsys):
    from throughtime.cli.main import main

    with pytest.raises(SystemExit):
        main(["train", "scan", "--data_split", "lenght"])
    assert 'did you mean "length"' in capsys.readouterr().err
