"""The task: its data, its loss, its figures."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from throughtime import tasks
from throughtime.models import LanguageModel
from throughtime.models.likelihood import log_likelihood
from throughtime.tasks.char_lm import CharLM, CharLMConfig

TEXT = "the cat sat on the mat.\n" * 40


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return CharLM(CharLMConfig(str(path), hidden_size=8, num_layers=1, batch_size=4, num_steps=10))


def test_it_is_found_by_its_name_and_a_near_name_is_named():
    assert tasks.get("char-lm") is CharLM
    with pytest.raises(ValueError, match='unknown task "charlm"; did you mean "char-lm"'):
        tasks.get("charlm")


def test_the_loss_is_the_mean_cross_entropy_in_nats(task):
    model, (x, y) = task.model(), next(iter(task.batches("train")))
    loss = task.loss(model, (x, y)).mean
    scores, _ = model(x)
    by_hand = -torch.stack(
        [scores[b, t].log_softmax(-1)[y[b, t]] for b in range(4) for t in range(10)]
    ).mean()
    torch.testing.assert_close(loss, by_hand)
    assert task.figures_of_loss(math.log(2)) == {"loss": math.log(2), "bits_per_character": 1.0}


def test_a_model_that_knows_nothing_scores_the_logarithm_of_the_vocabulary(task):
    model = task.model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    figures = task.evaluate(model, "valid").figures
    assert figures["loss"] == pytest.approx(math.log(len(set(TEXT))))
    assert figures["bits_per_character"] == pytest.approx(math.log2(len(set(TEXT))))


def test_scoring_leaves_a_frozen_part_in_evaluation_mode(task):
    model = task.model().train()
    model.embedding.eval()
    task.evaluate(model, "valid")
    task.score(model, "the cat")
    task.show(model)
    assert model.training
    assert model.recurrent.training
    assert not model.embedding.training


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_every_character_but_the_first_is_scored_once(rows):
    model = LanguageModel(6, hidden_size=4, num_layers=1).eval()
    tokens = torch.randint(6, (101,))
    total, count = log_likelihood(model, tokens, rows)
    assert count == 100
    # Row by row, each from the zero state; what is left over goes on from the last row.
    length = 100 // rows
    expected = 0.0
    for row in range(rows):
        begin, end = row * length, 100 if row == rows - 1 else (row + 1) * length
        scores, _ = model(tokens[begin:end].unsqueeze(0))
        expected -= F.cross_entropy(scores[0], tokens[begin + 1 : end + 1], reduction="sum").item()
    assert total == pytest.approx(expected, rel=1e-5)


def test_the_likelihood_of_a_text_is_the_product_over_its_characters(task):
    model = task.model().eval()
    whole = task.score(model, "the cat")
    parts = [task.score(model, "the cat"[: n + 1]).figures["log_likelihood"] for n in range(1, 7)]
    assert whole.figures["log_likelihood"] == pytest.approx(parts[-1])
    assert parts == sorted(parts, reverse=True)
    assert whole.about["characters"] == 6
    assert whole.figures["loss"] == pytest.approx(-whole.figures["log_likelihood"] / 6)


def test_unknown_characters_are_refused_or_skipped_and_counted(task):
    model = task.model()
    with pytest.raises(ValueError, match="'€'"):
        task.score(model, "the € cat")
    assert task.score(model, "the €cat", "skip").about["skipped"] == 1
    with pytest.raises(ValueError, match="at least 2 characters to score"):
        task.score(model, "t")


def test_the_vocabulary_is_of_all_splits(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a" * 90 + "b" * 10)
    task = CharLM(CharLMConfig(str(path)))
    assert task.vocabulary.tokens == ("a", "b")
    assert "b" not in task.corpus.splits["train"]


def test_assets_are_json_and_bring_the_vocabulary_back_without_the_data(task, tmp_path):
    assets = json.loads(json.dumps(task.assets))
    (tmp_path / "text.txt").unlink()
    again = CharLM(task.config, assets)
    assert again.vocabulary == task.vocabulary
    assert again.assets == assets


def test_a_text_that_has_changed_since_the_training_is_refused(task, tmp_path):
    assets = task.assets
    (tmp_path / "text.txt").write_text(TEXT + "more")
    with pytest.raises(ValueError, match="no longer the one of the training"):
        _ = CharLM(task.config, assets).corpus


def test_a_text_too_short_is_refused_before_training(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij")
    with pytest.raises(ValueError, match="expected at least 33 characters because batch_size=32"):
        CharLM(CharLMConfig(str(path))).check()
    with pytest.raises(ValueError, match="at least 2 characters to validate on, got 1"):
        CharLM(CharLMConfig(str(path), batch_size=2)).check()


def test_an_unknown_split_is_refused(task):
    with pytest.raises(ValueError, match='no split "test", only train, valid'):
        task.evaluate(task.model(), "test")


def test_the_path_is_kept_whole_so_that_the_run_opens_from_anywhere(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CharLMConfig("text.txt").data == str((tmp_path / "text.txt").resolve())
    assert CharLMConfig("tinyshakespeare").data == "tinyshakespeare"


def test_the_sample_is_text_of_the_asked_length_and_the_same_each_time(task):
    model = task.model()
    first = task.show(model)[0].text
    assert len(first) == task.config.sample_length
    assert first == task.show(model)[0].text
