"""The missing word: both sides know more than one, unknown words are kept, text is not cut."""

import json
import math

import pytest
import torch

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.data import UNK
from throughtime.data.sentences import load_sentences
from throughtime.tasks.cloze import ClozeConfig, MissingWord
from throughtime.tasks.run import Run

from ..data.mirror import reading_data
from .learning import learned

# Each word tells the other two; nothing but them tells the first.
EIGHT = [f"a{i} b{i} c{i}" for i in range(8)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(EIGHT * 3) + "\n")
    return path


def task(file, **options):
    small = {"valid_fraction": 0.34, "hidden_size": 16, "batch_size": 24, "min_count": 1}
    return MissingWord(ClozeConfig(**{"data": str(file)} | small | options))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_from_both_sides_every_word_of_eight_sentences_is_found(file, num_layers):
    assert tasks.get("cloze") is MissingWord
    cloze = task(file, num_layers=num_layers)
    cloze.check()
    model = learned(cloze, 200)
    figures = cloze.evaluate(model, "train").figures
    assert figures["accuracy"] == figures["accuracy_of_known"] == 1.0
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert figures["loss"] < 0.1
    assert cloze.guesses(model, "a3 ___ c3", 1)[0][0] == "b3"
    assert len(cloze.guesses(model, "a3 ___ c3", 1000)) == len(cloze.tokeniser)
    assert cloze.show(model)[0].text.splitlines()[0].startswith("a")


def test_of_a_long_line_only_the_gap_is_scored(file):
    cloze = task(file)
    model, scored = cloze.model().eval(), []
    line = "a1 b1 c1 " * 500 + "a3 ___ c3"
    words = cloze.tokeniser.encode(line.replace("___", "b3"))
    expected = model(torch.tensor([words]))[0, -2].softmax(-1).max().item()
    model.scores.register_forward_hook(lambda module, x, y: scored.append(y.shape))
    ((_, chance),) = cloze.guesses(model, line, 1)
    assert chance == pytest.approx(expected)
    assert scored == [(len(cloze.tokeniser),)]


def test_judging_leaves_a_frozen_part_in_evaluation_mode(file):
    cloze = task(file)
    model = cloze.model().train()
    model.embedding.eval()
    cloze.evaluate(model, "valid")
    cloze.guesses(model, "a3 ___ c3")
    assert model.training
    assert not model.embedding.training
    assert all(part.training for name, part in model.named_modules() if name != "embedding")


def test_a_name_is_a_data_set_whatever_lies_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ptb", "tinyshakespeare", "mine"):
        (tmp_path / name).mkdir()
        is_set = name != "mine"
        assert ClozeConfig(data=name).data == (name if is_set else str(tmp_path.resolve() / name))


def test_forward_the_first_word_of_a_sentence_stays_a_guess_among_eight(file):
    cloze = task(file, direction="forward", valid_fraction=0.33)
    model = learned(cloze, 400)
    figures = cloze.evaluate(model, "train").figures
    # What is missing stands before all that would tell it.
    assert figures["loss"] == pytest.approx(math.log(8) / 3, abs=0.05)
    assert figures["accuracy"] == pytest.approx((2 + 1 / 8) / 3, abs=0.02)
    assert cloze.guesses(model, "a3 b3 ___", 1)[0][0] == "c3"


def test_the_loss_is_the_mean_over_words_and_padding_does_not_count(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one two three four\nfive six\n" * 10)
    cloze = task(path, batch_size=100)
    model = cloze.model()
    from throughtime.data import pad_rows

    rows = cloze.ids("train")[:2]
    result = cloze.loss(model, pad_rows(rows))
    loss = result.mean
    by_hand = [
        -model(torch.tensor([row]))[0, t].log_softmax(-1)[word]
        for row in rows
        for t, word in enumerate(row)
    ]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())
    assert len(by_hand) == 6
    assert result.carried is None


def test_unknown_words_are_kept_counted_and_told(tmp_path, caplog):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\n" * 9 + "the yak sat\n")
    cloze = task(path, valid_fraction=0.1, min_count=2)
    cloze.check()
    assert cloze.ids("valid")[0][1] == UNK
    assert cloze.assets["num_unknown"] == {"train": 0, "valid": 1}
    assert "1 of 3 words (33.33 %) are unknown" in caplog.text
    model = cloze.model()
    with torch.no_grad():
        model.scores.bias[UNK] = 100.0
    figures = cloze.evaluate(model, "valid").figures
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["accuracy_of_known"] == 0.0


def test_a_long_line_is_cut_and_no_word_is_lost(file):
    cloze = task(file, longest=2)
    assert [len(row) for row in cloze.ids("train")[:4]] == [2, 1, 2, 1]
    assert sum(map(len, cloze.ids("train"))) == sum(map(len, task(file).ids("train")))


def test_a_text_is_cut_between_its_lines(tmp_path):
    path = tmp_path / "text.txt"
    lines = [f"line number {i} of the text" for i in range(50)]
    path.write_text("\n\n".join(lines))
    for fraction in (0.1, 0.123, 0.5):
        splits = load_sentences(str(path), valid_fraction=fraction, test_fraction=0.2).splits
        assert [line for part in splits.values() for line in part] == lines
        assert list(splits) == ["train", "valid", "test"]


def test_ptb_has_its_published_words():
    cloze = MissingWord(ClozeConfig())
    with reading_data():
        assets = cloze.assets
    assert assets["num_words"] == {"train": 887521, "valid": 70390, "test": 78669}
    # 9,999 words, <unk> among them as the unknown one; the end of a sentence is the tenth thousand.
    assert len(cloze.tokeniser) == 9998 + 4
    assert assets["num_unknown"]["valid"] > 0


def test_the_command_trains_evaluates_and_opens_without_the_text(file, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--hidden_size=8", "--epochs=2", "--valid_fraction=0.34", "--log_every=1"]
    assert main(["train", "cloze", f"--data={file}", *options, f"--run={run}"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"split", "loss", "perplexity", "accuracy", "accuracy_of_known"}
    file.unlink()
    again = Run(run).task()
    assert len(again.guesses(Run(run).load_model(again), "a1 ___ c1")) == 5
    file.write_text("other words\n" * 30)
    with pytest.raises(ValueError, match="no longer the one of the training"):
        Run(run).task().evaluate(again.model(), "valid")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "ptbb"}, 'unknown data set "ptbb"; did you mean "ptb"'),
        ({"data": "ptb-char"}, 'unknown data set "ptb-char". Known: ptb, '),
        ({"data": "nowhere/text.txt"}, "no such file or folder"),
        ({"data": "ptb", "valid_fraction": 0.2}, 'no valid_fraction because "ptb" comes'),
        ({"longest": 0}, "--longest: expected at least 1"),
        ({"batch_size": 0}, "--batch_size: expected at least 1"),
        ({"tokenisation": "symbols", "lower_case": True}, "--lower_case is for words"),
        ({"cell": "lstn"}, 'did you mean "lstm"'),
    ],
)
def test_settings_that_do_not_fit_are_refused(file, options, message):
    options = {"valid_fraction": None} | options
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task(file, **options).check()


@pytest.mark.parametrize("text", ["no gap", "two ___ and ___"])
def test_a_text_without_one_gap_is_refused(file, text):
    cloze = task(file)
    with pytest.raises(ValueError, match="expected a text with one ___"):
        cloze.guesses(cloze.model(), text)
