"""Sums in one network: read, and said behind."""

import json

import pytest

from throughtime.cli.main import main
from throughtime.models import EncoderDecoder, OneNetwork
from throughtime.tasks.addition import Addition, AdditionConfig
from throughtime.tasks.run import Run

from .learning import learned

SMALL = {"digits": 1, "num_pairs": 40, "num_test": 10, "hidden_size": 24, "batch_size": 8}


@pytest.fixture
def task():
    return Addition(AdditionConfig(**SMALL))


def test_one_network_or_two(task):
    assert isinstance(task.model(), OneNetwork)
    assert isinstance(Addition(AdditionConfig(**SMALL, network="two")).model(), EncoderDecoder)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_eight_sums_are_learned_by_heart(padded, reverse):
    options = {"num_pairs": 9, "padded": padded, "reverse": reverse}
    task = Addition(AdditionConfig(**SMALL | options))
    task.check()
    model = learned(task, 120)
    figures = task.evaluate(model, "train").figures
    assert figures["exact_match"] == figures["character_accuracy"] == 1.0
    assert figures["loss"] < 0.1
    a, b = task.shown(task.split("train")[0].source).split("+")
    assert task.rewrite(model, [task.read(f"{a}+{b}")])[0].strip() == str(int(a) + int(b))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "dot"}, "--attention dot: is for encoder and decoder.*--network two"),
        ({"input_feeding": True}, "--input_feeding True: is for encoder and decoder"),
        ({"feed": "free"}, "--feed free: is for encoder and decoder"),
        ({"tied": True}, "--tied True: is for encoder and decoder"),
        ({"bidirectional": True}, "--bidirectional True: is for encoder and decoder"),
    ],
)
def test_what_would_have_no_effect_on_one_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdditionConfig(**SMALL | options)


def test_the_command_trains_judges_and_answers(tmp_path, capsys):
    run = tmp_path / "run"
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["train", "addition", *options, "--epochs=2", f"--run={run}"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    task = Run(run).task()
    own = task.evaluate(Run(run).load_model(task), "test").figures
    assert {name: figures[name] for name in own} == own
    assert main(["predict", str(run), "--text", "3+4"]) == 0
    assert capsys.readouterr().out == task.rewrite(Run(run).load_model(task), ["4+3"])[0] + "\n"
    assert main(["predict", str(run), "--text", "3+4", "--n_best", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
