"""Sums in one network: read, and said behind."""

import json

import pytest
import torch

from throughtime.cli.main import main
from throughtime.data import BOS, collate
from throughtime.models import EncoderDecoder, Tagger
from throughtime.tasks.addition import Addition, AdditionConfig

SMALL = {"digits": 1, "num_pairs": 40, "num_test": 10, "hidden_size": 24, "batch_size": 8}


@pytest.fixture
def task():
    return Addition(AdditionConfig(**SMALL))


def test_one_network_is_a_tagger_and_two_are_encoder_and_decoder(task):
    assert isinstance(task.model(), Tagger)
    assert isinstance(Addition(AdditionConfig(**SMALL, network="two")).model(), EncoderDecoder)


def test_the_loss_is_of_the_characters_of_the_result_said_in_the_blanks_behind_the_sum(task):
    model, batch = task.model(), next(iter(task.data("train")))
    loss, _ = task.loss(model, batch, None)
    wanted = []
    for source, result in zip(batch.source, batch.target_out[:, :-1], strict=True):
        reads = torch.cat([source, torch.full_like(result, BOS)])
        logs = model(reads.unsqueeze(0))[0].log_softmax(-1)[len(source) :]
        wanted += [-logs[t, y] for t, y in enumerate(result)]
    assert task.count(batch) == len(wanted) == 2 * 8
    torch.testing.assert_close(loss, torch.stack(wanted).mean())


def test_what_stands_beside_a_sum_does_not_matter(task):
    model = task.model().double()
    sources = [task.tokenisers[0].encode(text) for text in ("1+2", "12+345", "", "7")]
    together = task.search(model, sources)
    assert together[2] == []
    for ids, best in zip(sources, together, strict=True):
        (alone,) = task.search(model, [ids])
        assert [h.tokens for h in alone] == [h.tokens for h in best]
        assert [h.score for h in alone] == pytest.approx([h.score for h in best])


def test_the_score_is_the_logarithm_of_the_probability_of_the_result(task):
    model = task.model().double()
    pairs = task.split("valid")[:1]
    ids = task.tokenisers[0].encode(pairs[0].source)
    ((best,),) = task.search(model, [ids])
    loss = task.total_loss(model, collate([ids], [best.tokens]))
    assert best.score == pytest.approx(-loss.item())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_eight_sums_are_learned_by_heart(bidirectional, reverse):
    options = {"num_pairs": 9, "bidirectional": bidirectional, "reverse": reverse}
    task = Addition(AdditionConfig(**SMALL | options))
    task.check()
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(120):
        for batch in task.data("train"):
            loss, _ = task.loss(model, batch, None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    figures = task.metrics(model, "train")
    assert figures["exact_match"] == figures["character_accuracy"] == 1.0
    assert figures["loss"] < 0.1
    a, b = task.shown(task.split("train")[0].source).split("+")
    assert task.rewrite(model, [task.read(f"{a}+{b}")])[0].strip() == str(int(a) + int(b))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "dot"}, "--attention dot: is for a decoder.*--network two"),
        ({"input_feeding": True}, "--input_feeding True: is for a decoder"),
        ({"feed": "free"}, "--feed free: is for a decoder"),
        ({"tied": True}, "--tied True: is for a decoder"),
        ({"beam_width": 3}, "--beam_width 3: is for a decoder"),
        ({"padded": False}, "--padded false.*--network two"),
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
    assert 0 <= json.loads(capsys.readouterr().out)["character_accuracy"] <= 1
    assert main(["translate", str(run), "--text", "3+4"]) == 0
    assert len(capsys.readouterr().out.strip("\n")) <= 2
    for command in (["translate", str(run), "--text", "3+4"], ["evaluate", str(run)]):
        assert main([*command, "--beam_width", "3"]) == 1
        assert "one network says each character" in capsys.readouterr().err
