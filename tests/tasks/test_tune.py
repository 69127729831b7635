"""tune: its loss, its network, and what its commands write."""

import json
import math

import pytest
import torch

from throughtime.cli.main import main
from throughtime.data import EOS
from throughtime.data.music import read_midi, score_of
from throughtime.interchange.streamed import parts_of
from throughtime.models import LanguageModel
from throughtime.tasks.loading import load_run
from throughtime.tasks.tune import ComposingOptions, TuneConfig, TuneJudgingOptions, TuneTask


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("tunes") / "own.abc"
    notes = ["C2E2 G2c2", "D2F2 A2d2", "E2G2 B2e2"]
    bodies = [f"|: {a} | {b} :| {c} | c8 |]" for a in notes for b in notes for c in notes]
    text = "".join(f"X:{n}\nT:No. {n}\nM:4/4\nL:1/8\nK:C\n{b}\n\n" for n, b in enumerate(bodies, 1))
    file.write_text(text)
    return str(file)


def task_of(path, **options):
    return TuneTask(TuneConfig(path, **{"hidden_size": 16, "num_layers": 1} | options))


def test_a_model_without_knowledge_scores_the_logarithm_of_the_vocabulary(path):
    task = task_of(path)
    model = task.model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    evaluation = task.evaluate(model)
    assert evaluation.figures["loss"] == pytest.approx(math.log(len(task.tokeniser)))
    assert evaluation.about["tokens"] == sum(len(t.tokens) + 1 for t in task.items("valid"))


def test_padding_has_no_influence(path):
    task = task_of(path)
    torch.manual_seed(0)
    model = task.model().double().eval()
    tunes = task.items("train")
    tunes = [tunes[0], tunes[1]._replace(tokens=tunes[1].tokens[:9])]
    (both,) = task._batches(tunes, 2, is_shuffled=False)
    alone = [task.loss(model, next(iter(task._batches([t], 1)))) for t in tunes]
    loss = task.loss(model, both)
    assert loss.count == sum(one.count for one in alone)
    assert loss.total.item() == pytest.approx(sum(one.total.item() for one in alone))


def test_the_network_of_folk_rnn_has_its_parameters():
    model = LanguageModel(137, hidden_size=512, num_layers=3, one_hot=True)
    assert sum(p.numel() for p in model.parameters()) == 5_606_025 == 5_599_881 + 3 * 4 * 512
    assert model.embedding(torch.tensor([[3, 0]])).argmax(-1).tolist() == [[3, 0]]
    assert model.embedding(torch.tensor([5])).sum() == 1
    assert "embedding.weight" not in model.state_dict()
    # Programs that run step by step look the rows up in a table.
    tokens = torch.tensor([4, 0, 136])
    embedding = parts_of("test", model).embedding
    assert embedding is not None
    assert torch.equal(embedding(tokens), model.embedding(tokens))


@pytest.mark.parametrize("options", [{"tied": True, "hidden_size": 20}, {"embedding_size": 7}])
def test_one_hot_has_no_embedding(options):
    with pytest.raises(ValueError, match="one_hot=True has no embedding"):
        LanguageModel(20, one_hot=True, **options)
    with pytest.raises(ValueError, match="--one_hot: there is no embedding"):
        TuneConfig(one_hot=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "a.mp3"}, 'unknown ending of a file ".mp3"'),
        ({"key": "G"}, "--key: a tune begins with its metre"),
        ({"prime": "A", "metre": "4/4"}, "--prime: notes come after metre and key"),
        ({"tempo": 0.0}, "--tempo: expected 1 to 10,000"),
        ({"tempo": 240.0}, "--tempo 240: tokens have no tempo, so it would have no effect"),
        ({"tempo": 240.0, "output": "a.abc"}, "--tempo 240: tokens have no tempo"),
        ({"sound_font": "a.sf2"}, "--sound_font: without a sound it would have no effect"),
        ({"num_tunes": 0}, "--num_tunes: expected at least 1"),
        ({"temperature": -1.0}, "temperature of 0 or more"),
    ],
)
def test_tunes_that_cannot_be_written_are_refused_before_they_are_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        ComposingOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temperatures": [0.6]},
            r"--temperatures \[0\.6\]: no tunes are drawn, so .* --num_tunes",
        ),
        ({"seed": 3}, "--seed 3: no tunes are drawn"),
        ({"num_tunes": 5, "temperatures": []}, "--temperatures: expected at least one"),
        ({"num_tunes": 5, "temperatures": [0.5, 0.0]}, "at 0 all 5 tunes are the same"),
        ({"num_tunes": 5, "temperatures": [-1.0]}, "temperature of 0 or more"),
        ({"num_tunes": -1}, "--num_tunes: expected at least 0"),
    ],
)
def test_options_of_an_evaluation_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TuneJudgingOptions(**options)


def test_a_longest_tune_that_is_shorter_than_its_beginning_is_refused(path):
    task = task_of(path)
    how = ComposingOptions(metre="4/4", key="C", longest=1)
    with pytest.raises(ValueError, match="--longest 1: expected at least the 2 tokens with which"):
        task.drawn(task.model(), how)


def test_a_prime_is_read_as_abc():
    tokens = ComposingOptions(metre="6/8", key="Ador", prime="|: A2 B").tokens
    assert tokens == ["M:6/8", "K:Ador", "|:", "A", "2", "B"]
    assert ComposingOptions(metre="6/8").tokens == ["M:6/8"]
    with pytest.raises(ValueError, match="expected a metre such as 6/8, got '6'"):
        _ = ComposingOptions(metre="6").tokens


def test_drawing_ends_when_all_tunes_have_ended_or_are_the_longest(path):
    task = task_of(path)
    model = task.model()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.scores.bias.data[task.tokeniser.encode("|")] = 1.0
    how = ComposingOptions(2, metre="4/4", longest=5, temperature=0.0)
    assert task.drawn(model, how) == [("M:4/4", "|", "|", "|", "|")] * 2
    assert len(calls) == 4
    model.scores.bias.data[EOS] = 2.0
    assert task.drawn(model, how) == [("M:4/4",)] * 2
    assert len(calls) == 5
    # One tune in two ends after each token.
    model.scores.bias.data[EOS] = 1.0
    model.scores.bias.data -= 50 * (model.scores.bias.data == 0)
    drawn = task.drawn(model, ComposingOptions(200, seed=0, longest=100, temperature=1.0))
    assert {token for tokens in drawn for token in tokens} == {"|"}
    assert 70 < sum(len(tokens) == 0 for tokens in drawn) < 130
    assert len(calls) == 5 + max(map(len, drawn)) + 1


def test_a_longest_tune_that_leaves_none_is_refused(path, caplog):
    task = task_of(path, longest=33)
    tunes = task.items("train")
    assert {len(tune.tokens) for tune in tunes} == {33}
    tunes[0] = tunes[0]._replace(tokens=(*tunes[0].tokens, "c"))
    task.check()
    assert "1 tune is longer than --longest 33, and left out" in caplog.text
    assert sum(len(batch.rows) for batch in task.batches("train")) == len(tunes) - 1
    with pytest.raises(ValueError, match=r"--longest 32: .* the shortest has 33 tokens\. Raise it"):
        task_of(path, longest=32).check()


def test_a_tune_of_the_validation_can_be_watched_though_it_has_an_unknown_token(path):
    task = task_of(path)
    unknown = task.items("valid")[0]._replace(tokens=("M:4/4", "K:Cmaj", "^^A,,,"))
    task.items("valid")[0] = unknown
    assert task.held_out(10)[0] == unknown
    observation = task.observe(task.model(), unknown)
    assert observation.steps[""] == ("M:4/4", "K:Cmaj", "<unk>")
    probabilities = observation.run()
    assert probabilities.shape == (3, len(task.tokeniser))
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    with pytest.raises(ValueError, match=r"expected tokens of a tune .*, got '\^\^A,,,'"):
        task.observe(task.model(), "M:4/4 ^^A,,,")
    with pytest.raises(ValueError, match="got an empty text"):
        task.observe(task.model(), " ")


def test_tunes_are_trained_judged_and_written_by_commands(path, tmp_path, capsys):
    run = str(tmp_path / "run")
    words = f"train tune --data {path} --cell gru --hidden_size 32 --num_layers 1 --epochs 12"
    words += " --batch_size 4 --learning_rate 0.02 --dropout 0 --one_hot"
    assert main([*words.split(), "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--num_tunes", "8", "--temperatures", "[0.5]", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["loss"] < 2
    split, drawn = result["valid_tunes"]
    assert (split["tunes"], split["valid"], split["copies"]) == ("the split valid", 1.0, 0)
    assert (drawn["tunes"], drawn["number"]) == ("temperature 0.5", 8)
    loaded = load_run(run)
    how = ComposingOptions(8, seed=0, temperature=0.5)
    valid = [not score_of(tokens).problems for tokens in loaded.task.drawn(loaded.model, how)]
    assert drawn["valid"] == sum(valid) / 8
    generate = ["generate", run, "--num_tunes", "2", "--seed", "1", "--metre", "4/4", "--output"]
    assert main([*generate, str(tmp_path / "a.abc")]) == 0
    shown = capsys.readouterr()
    assert shown.out == (tmp_path / "a.abc").read_text()
    assert shown.out.count("M:4/4\nL:1/8\nK:Cmaj\n") == 2
    how = ComposingOptions(2, seed=1, metre="4/4")
    valid = [not score_of(tokens).problems for tokens in loaded.task.drawn(loaded.model, how)]
    assert f"2 tunes, {sum(valid)} valid ({50 * sum(valid)} %)." in shown.err
    assert main([*generate, str(tmp_path / "a.mid")]) == 0
    assert len(read_midi("a.mid", (tmp_path / "a.mid").read_bytes())) > 0
    assert main([*generate, str(tmp_path / "a.wav")]) == 0
    assert "0 samples clipped" in capsys.readouterr().err
    assert main(["generate", run, "--metre", "9/8"]) == 1
    assert "got 'M:9/8'" in capsys.readouterr().err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "X:1" in page
    assert "<audio controls" in page
