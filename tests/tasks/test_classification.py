"""classification: texts and series, learned, judged and used."""

import json

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.distortion import DISTORTIONS
from throughtime.inspection.recording import record
from throughtime.models.marked import GappedRecurrent, MarkedGRUD
from throughtime.tasks.beginnings import probabilities_of_beginnings
from throughtime.tasks.class_figures import calibration_error, class_figures
from throughtime.tasks.classification import Classification
from throughtime.tasks.classification_settings import (
    ClassificationConfig,
    JudgingOptions,
    LabellingOptions,
)
from throughtime.tasks.series_features import SeriesFeatures, carried
from throughtime.tasks.shown import Curves, Table

from .learning import learned

TEXTS = """pos\ta good film
neg\ta bad film
pos\tgood joy
neg\tawful thing
pos\twhat a joy , a joy
neg\twhat a mess
neutral\ta film
pos\tgood
"""
SMALL = {"hidden_size": 12, "batch_size": 4}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.tsv").write_text(TEXTS)
    (tmp_path / "valid.tsv").write_text("pos\ta good thing\nneg\tan awful mess\n")
    return tmp_path


def task_of(data, **options):
    return Classification(ClassificationConfig(data=str(data), **SMALL | options))


def fitted(task, steps=150):
    task.check()
    return learned(task, steps)


@pytest.mark.parametrize("pooling", ["last", "max", "attention"])
def test_eight_texts_are_learned_by_heart(folder, pooling):
    task = task_of(folder, pooling=pooling, class_weights="balanced")
    model = fitted(task)
    evaluation = task.evaluate(model, "train", JudgingOptions())
    assert evaluation.figures["accuracy"] == evaluation.figures["f1_macro"] == 1
    assert list(evaluation.outputs) == [line.split("\t")[0] for line in TEXTS.splitlines()]
    own = task.evaluate(model, options=JudgingOptions(data=str(folder / "train.tsv")))
    assert own.figures == evaluation.figures


def test_eight_series_of_unequal_lengths_are_learned_by_heart(tmp_path):
    draw = np.random.default_rng(0)
    lines = ["series,x,y,label"]
    for number in range(8):
        for _ in range(3 + number):
            lines.append(f"{number},{draw.normal()},{draw.normal()},{'ab'[number % 2]}")
    (tmp_path / "own.csv").write_text("\n".join(lines))
    task = task_of(tmp_path / "own.csv", valid_fraction=0.25)
    model = fitted(task, 300)
    assert task.evaluate(model, "train").figures["accuracy"] == 1
    steps = np.concatenate([example.content for example in task.examples("train")])
    rows = torch.cat([task.row(example.content) for example in task.examples("train")])
    assert len(rows) == len(steps)
    torch.testing.assert_close(rows.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(2))
    (prediction,) = task.predictions(model, [["0.1,0.2 0.3,-1"]], LabellingOptions(), print)
    assert prediction.lines[0] in "ab"
    for line, message in {
        "0.1": "line 1, step 1: expected 2 features, got 1",
        "0,1 x,2": "line 1, step 2: expected numbers",
        "0,1 ?,2": "line 1, step 2, feature 1 is missing",
    }.items():
        with pytest.raises(ValueError, match=message):
            list(task.predictions(model, [[line]], LabellingOptions(), print))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_loss_by_hand(folder, weights, smoothing):
    task = task_of(folder, class_weights=weights, label_smoothing=smoothing)
    torch.manual_seed(0)
    model = task.model().eval()
    batch = next(iter(task.batches("train")))
    logs = model(batch.inputs, batch.lengths).log_softmax(-1)  # (B, C)
    # Of eight examples three are neg, one is neutral and four are pos.
    w = torch.tensor([8 / 9, 8 / 3, 2 / 3]) if weights == "balanced" else torch.ones(3)
    right = (1 - smoothing) * (w * logs).gather(1, batch.targets[:, None]).sum()
    spread = smoothing * (w * logs).mean(1).sum()
    result = task.loss(model, batch)
    torch.testing.assert_close(result.total, -(right + spread))
    assert result.count == len(batch.targets)


def test_the_best_model_of_texts_is_by_accuracy_and_of_series_by_loss(folder, tmp_path):
    assert task_of(folder).monitor == "accuracy"
    rows = "".join(f"{i},{i + j},{'ab'[i % 2]}\n" for i in range(20) for j in range(2))
    (tmp_path / "s.csv").write_text(f"series,x,label\n{rows}")
    assert task_of(tmp_path / "s.csv").monitor == "loss"


def test_missing_values_are_carried_and_marked():
    nan = np.nan
    steps = np.array([[nan, 1], [2, nan], [nan, nan], [3, 4]], np.float32)
    expected = [[0, 1, 0, 1], [2, 1, 1, 0], [2, 1, 0, 0], [3, 4, 1, 1]]
    assert carried(steps).tolist() == expected


def test_the_label_after_each_word_is_that_of_the_beginning(folder):
    task = task_of(folder)
    model = fitted(task, 20)
    row = task.row("a good film")
    at_steps = probabilities_of_beginnings(model, row)
    model.eval()
    for t in range(1, 4):
        alone = model(row[None, :t], torch.tensor([t])).softmax(-1)[0]
        torch.testing.assert_close(at_steps[t - 1], alone)
    options = LabellingOptions(words=True)
    whole, empty = task.predictions(model, [["a good film", ""]], options, print)
    assert [line.split("\t")[:2] for line in whole.lines] == [
        ["1", w] for w in "a good film".split()
    ]
    assert whole.record["words"][2]["probabilities"].keys() == {"neg", "neutral", "pos"}
    assert empty.lines == []


def test_figures_by_hand():
    scores = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [2, 0, 0]])
    targets = torch.tensor([0, 1, 0, 0])
    figures = class_figures(scores, targets, ["a", "b", "c"])
    assert figures["accuracy"] == 0.75
    # Class 0: P = 1, R = 2/3; class 1: P = 1/2, R = 1; class 2 does not occur.
    assert figures["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)
    confidence = torch.tensor([2.0, 0, 0]).softmax(0)[0].item()
    assert calibration_error(scores, targets) == pytest.approx(abs(confidence - 0.75), rel=1e-5)


def test_what_is_displayed_has_every_class(folder):
    task = task_of(folder)
    items = task.show(fitted(task, 10))
    tables = [item for item in items if isinstance(item, Table)]
    assert {row[0] for row in tables[0].rows} >= {"neg", "pos"}
    assert [row[0] for row in tables[1].rows] == ["neg", "neutral", "pos"]
    assert sum(sum(row[1:]) for row in tables[1].rows) == 2
    curves = [item for item in items if isinstance(item, Curves)]
    assert curves[1].title == "a good thing"
    assert len(curves[1].x) == 3


@pytest.mark.parametrize(
    ("train", "valid", "message"),
    [
        (
            "a\tx\na\ty\n",
            "a\tz\n",
            "expected at least two classes in the training split, got only 'a'",
        ),
        ("a\tx\nb\ty\n", "c\tz\n", r'split "valid", example 1: expected one of the labels of the'),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(tmp_path, train, valid, message):
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "valid.tsv").write_text(valid)
    with pytest.raises(ValueError, match=message):
        task_of(tmp_path).check()


def test_a_missing_value_is_refused_with_its_place(tmp_path):
    rows = "".join(f"{i},{j},{'ab'[i % 2]}\n" for i in range(6) for j in range(2))
    (tmp_path / "s.csv").write_text(f"series,x,label\n{rows}6,1,a\n6,,a\n")
    with pytest.raises(ValueError, match=r"step 2, feature 1 is missing. Use --missing carry"):
        task_of(tmp_path / "s.csv").check()
    task_of(tmp_path / "s.csv", missing="carry").check()


def irregular(path, missing=0.3, label="ab"):
    """Series in which the class shows at the first step, and whose other values may be missing."""
    draw = np.random.default_rng(0)
    lines = ["series,label,x,time,y"]
    for number in range(20):
        time = 0.0
        for step in range(6):
            time += draw.uniform(0, 2)
            x = f"{number % 2 + 0.1 * draw.normal():.3f}"
            y = f"{draw.normal():.3f}"
            x = "" if step > 0 and draw.uniform() < missing else x
            lines.append(f"{number},{label[number % 2]},{x},{time:.3f},{y}")
    path.write_text("\n".join(lines))
    return path


GRU_D = {"cell": "gru-d", "bidirectional": False}


def test_the_times_of_a_distorted_series_stay_those_of_its_steps():
    features = SeriesFeatures([0.0] * 2, [1.0] * 2, "mean", times=1)
    series = np.array([[5.0, 10], [7, 11], [1, 14], [4, 20]])

    def times(name, amount):
        draw = np.random.default_rng(3)
        changed = features.distorted(series, DISTORTIONS[name], amount, draw)
        assert series[:, 1].tolist() == [10, 11, 14, 20]
        assert name != "noise" or (changed[:, 0] != series[:, 0]).all()
        return changed[:, 1].tolist()

    assert times("noise", 0) == [10, 11, 14, 20]
    assert times("rate", 0.5) == [10, 20]
    assert times("speed", 2) == [10, 15]
    assert times("speed", 0.5)[::7] == [10, 30]
    assert set(times("gap", 0.5)) < {10, 11, 14, 20}


def test_gru_d_reads_missing_values_and_the_gaps_between_times(tmp_path):
    data = irregular(tmp_path / "s.csv")
    task = task_of(data, **GRU_D, times=2, pooling="last")
    model = fitted(task, 300)
    assert isinstance(model.recurrent, MarkedGRUD)
    assert task.evaluate(model, "train").figures["accuracy"] == 1
    again = Classification(task.config, json.loads(json.dumps(task.assets)))
    assert again.evaluate(model, "train").figures == task.evaluate(model, "train").figures
    # The features of a series, by hand.
    features = SeriesFeatures([1, 0, 0], [2, 1, 1], "decay", 1, 0.5)
    assert features.size == 2
    series = np.array([[3, 0, 5], [np.nan, 1, 6], [np.nan, 4, np.nan]], np.float32)
    assert features.of_series(series).tolist() == [
        [1, 5, 1, 1, 0, 0],
        [0, 6, 0, 1, 2, 2],
        [0, 0, 0, 0, 8, 6],
    ]
    counted = SeriesFeatures([1, 0, 0], [2, 1, 1], "decay").of_series(series)
    assert features.names == ["x1", "x3", "x1 observed", "x3 observed", "x1 gap", "x3 gap"]
    assert counted[:, 6:].tolist() == [[0, 0, 0], [1, 1, 1], [2, 1, 1]]
    # The predicted line is read in the same way, and the label after each step too.
    lines = ["1,0,0.5 ?,1,0.2 ?,1.5,?"]
    (one,) = task.predictions(model, [lines], LabellingOptions(), print)
    (each,) = task.predictions(model, [lines], LabellingOptions(words=True), print)
    assert one.lines == ["b"]
    last = each.record["words"][-1]["probabilities"]
    assert last == pytest.approx(one.record["probabilities"], abs=1e-6)
    # The state and the gates of the layer inside are recorded, too.
    recording = record(task, model, task.held_out(6)[0])
    assert recording.feature_names[-1] == "x3 gap"
    assert {tuple(recording.values[name].shape) for name in recording.states} == {(6, 12)}


@pytest.mark.parametrize("cell", ["cfc", "ltc"])
def test_liquid_cells_read_the_gaps_between_times(tmp_path, cell):
    data = irregular(tmp_path / "s.csv", 0)
    options = {"cell": cell, "bidirectional": False, "times": 2, "pooling": "last"}
    task = task_of(data, **options, num_layers=2)
    model = fitted(task, 100)
    assert isinstance(model.recurrent, GappedRecurrent)
    assert model.recurrent.layer.input_size == 2
    again = Classification(task.config, json.loads(json.dumps(task.assets)))
    assert again.evaluate(model, "train").figures == task.evaluate(model, "train").figures
    # A network that has not learned to ignore the gaps.
    untrained, lines = task.model(), (["1,0,0.5 2,1,0.2 3,1.5,1"], ["1,0,0.5 2,9,0.2 3,9.5,1"])
    one, late = (
        next(iter(task.predictions(untrained, [x], LabellingOptions(), print))) for x in lines
    )
    assert one.record["probabilities"] != late.record["probabilities"]
    recording = record(task, model, task.held_out(6)[0])
    assert recording.feature_names == ["x1", "x3", "gap"]
    # The features of a series, by hand.
    series = np.array([[3, 2, 5], [1, 3, 6], [np.nan, 6, np.nan]], np.float32)
    features = SeriesFeatures([1, 0, 0], [2, 1, 1], "error", 1, 0.5)
    assert features.size == 2
    assert features.of_series(series[:2]).tolist() == [[1, 5, 1], [0, 6, 2]]
    features = SeriesFeatures([1, 0, 0], [2, 1, 1], "carry", 1, 0.5)
    assert features.size == 4
    assert features.names == ["x1", "x3", "x1 observed", "x3 observed", "gap"]
    assert features.of_series(series).tolist() == [
        [1, 5, 1, 1, 1],
        [0, 6, 1, 1, 2],
        [0, 6, 0, 0, 6],
    ]


class Reader(torch.nn.Module):
    """Keeps what it reads."""

    def forward(self, x, lengths):
        self.inputs = x
        return torch.zeros(len(x), 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"missing": "carry"},
        {**GRU_D, "times": 2},
        {"missing": "carry", "cell": "cfc", "bidirectional": False, "times": 2},
    ],
)
def test_noise_is_added_to_values_in_training_alone(tmp_path, options):
    missing = 0.3 if options else 0
    task = task_of(
        irregular(tmp_path / "s.csv", missing), **options, input_noise=0.5, batch_size=18
    )
    (batch,) = task.batches("train")
    torch.manual_seed(0)
    reader = Reader()
    task.loss(reader, batch)
    noise = reader.inputs - batch.inputs
    width = 2 if "times" in options else 3
    assert noise[..., :width].std().item() == pytest.approx(0.5, rel=0.1)
    assert noise[..., width:].abs().sum() == 0
    task.loss(reader.eval(), batch)
    assert torch.equal(reader.inputs, batch.inputs)


def test_the_validation_is_learned_if_asked(folder, caplog):
    (folder / "valid.tsv").write_text("pos\tunheard\nrare\tof\n")
    with pytest.raises(ValueError, match="expected one of the labels of the training"):
        task_of(folder).check()
    task = task_of(folder, train_on_valid=True)
    model = fitted(task)
    assert "the validation is learned, too (--train_on_valid), so its figures say" in caplog.text
    assert task.labels == ["neg", "neutral", "pos", "rare"]
    assert sum(len(batch.targets) for batch in task.batches("train")) == 10
    assert task.evaluate(model, "valid").figures["accuracy"] == 1
    assert task.monitor == "loss"
    assert task_of(folder).monitor == "accuracy"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("1,0,1 1,?,1", "line 1, step 2, feature 2: expected a time, because --times"),
        ("1,3,1 1,2,1", "step 2, feature 2: expected a time that is not before .*, got 2"),
        ("1,3e9,1", "step 1, feature 2: expected a time of at most 16,777,216; count it from the"),
    ],
)
def test_times_that_are_none_are_refused_with_their_place(tmp_path, steps, message):
    task = task_of(irregular(tmp_path / "s.csv"), **GRU_D, times=2)
    with pytest.raises(ValueError, match=message):
        list(task.predictions(task.model(), [[steps]], LabellingOptions(), print))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "carry"}, "--missing carry: no value of s.csv is missing"),
        (GRU_D, "--cell gru-d: no value of s.csv is missing, so it would have no effect"),
        ({**GRU_D, "times": 4}, "--times 4: expected the number of one of several features"),
        ({"word_dropout": 0.1}, "--word_dropout 0.1: is of texts, so it would have no effect"),
        ({"embedding_size": 4}, "--embedding_size 4: is of texts"),
        ({"lower_case": True}, "--lower_case True: is of texts"),
    ],
)
def test_settings_without_effect_on_series_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(irregular(tmp_path / "s.csv", missing=0), **options).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_noise": 0.1}, "--input_noise 0.1: is of series"),
        ({"missing": "carry"}, "--missing carry: is of series, so it would have no effect"),
        ({"normalise": False}, "--normalise False: is of series"),
        (GRU_D, "--cell gru-d: models missing values of series, and the data are texts"),
    ],
)
def test_settings_without_effect_on_texts_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task_of(folder, **options).check()


def test_long_examples_are_cut_and_told(tmp_path, caplog):
    path = tmp_path / "own.tsv"
    path.write_text(f"a\tshort\nb\t{'word ' * 50_000}\nb\tx\na\ty\n")
    (tmp_path / "f").mkdir()
    path = path.rename(tmp_path / "f" / "train.tsv")
    (tmp_path / "f" / "valid.tsv").write_text("a\tz\nb\tz z\n")
    task = task_of(tmp_path / "f", longest=1000)
    task.check()
    assert (
        'f, split "train": of 1 of 4 examples only the first 1,000 words are read (the first of '
        "them is example 2, with 50,000). See --longest." in caplog.text
    )
    said = []
    lines = ["word " * 50_000, "x"]
    predictions = list(task.predictions(task.model(), [lines], LabellingOptions(), said.append))
    assert [len(one.lines) for one in predictions] == [1, 1]
    assert said[0] == (
        "line 1: has 50,000 words, of which only the first 1,000 are read (--longest of the "
        "training)."
    )
    assert len(said) == 1
    series = task_of(irregular(tmp_path / "s.csv", missing=0), longest=4)
    series.check()
    assert "of 18 of 18 examples only the first 4 steps are read" in caplog.text


def test_suspicious_splits_are_told(tmp_path, caplog):
    path = tmp_path / "own.tsv"
    path.write_text("".join(f"{'ab'[i >= 150]}\ttext {i:03}\n" for i in range(300)))
    task_of(path, split="order").check()
    assert "own.tsv: the texts are sorted, and the validation is the last of them" in caplog.text
    assert "all examples of the validation have the label 'b'" in caplog.text
    caplog.clear()
    path.write_text("".join(f"{'ab'[i % 2]}\ttext {i % 30}\n" for i in range(300)))
    task_of(path, split="order").check()
    assert "30 of 30 texts of the validation are in the training, too" in caplog.text
    caplog.clear()
    task_of(path).check()
    assert "too" not in caplog.text
    rows = "".join(f"{i},{j + i % 4},{'ab'[i % 2]}\n" for i in range(300) for j in range(2))
    (tmp_path / "s.csv").write_text(f"series,x,label\n{rows}")
    task_of(tmp_path / "s.csv", split="blocks").check()
    assert "30 of 30 series of the validation are in the training, too" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "last", "merge": "sum"}, "--pooling last: needs both directions"),
        ({"word_dropout": 1.0}, "--word_dropout: expected at least 0 and less than 1"),
        ({"fold": 10}, "--fold: expected at most 9"),
        ({"cell": "gru-d"}, "--cell gru-d: reads in one direction. Add --bidirectional false"),
        ({**GRU_D, "num_layers": 2}, "--num_layers 2: gru-d is one layer"),
        ({**GRU_D, "missing": "carry"}, "--missing carry: with --cell gru-d missing values decay"),
        ({**GRU_D, "normalise": False}, "--normalise false: with --cell gru-d"),
        ({**GRU_D, "weight_drop": 0.1}, "--weight_drop 0.1: the layer of --cell gru-d has no such"),
        ({"missing": "decay"}, "--missing decay: only the cell gru-d has decays and time gaps"),
        ({"times": 1}, r"--times 1: only the cell gru-d and cells with the input gap \(.*ltc, cfc"),
        ({"times": 1, "cell": "cfc"}, "--times 1: a gap is .* Add --bidirectional false"),
        ({"input_noise": -1.0}, "--input_noise: expected 0 or more, got -1.0"),
        ({"cell": "lstm-phased"}, "--cell lstm-phased: this cell reads a further input .* time"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassificationConfig(**options)


def test_it_is_trained_judged_and_used_by_commands(folder, capsys):
    run = str(folder / "run")
    (folder / "valid.tsv").write_text(TEXTS)
    words = f"train classification --data {folder} --hidden_size 12 --epochs 40 --batch_size 2"
    words += " --validate_every 80"
    assert (
        main([*words.split(), "--learning_rate", "0.02", "--warmup_steps", "5", "--run", run]) == 0
    )
    page = (folder / "run" / "report.html").read_text()
    assert "Confusion matrix" in page
    assert "Calibration" in page
    assert "a good film" in page
    capsys.readouterr()
    assert main(["evaluate", run, "--data", str(folder / "train.tsv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1
    assert main(["predict", run, "--text", "good joy"]) == 0
    assert capsys.readouterr().out == "pos\n"
    assert main(["predict", run, "--text", "good joy", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["probabilities"]["pos"] > 0.5
