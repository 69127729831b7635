"""verification: distances of persons, their errors and thresholds, and the commands."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from throughtime.cli.main import main
from throughtime.data.labelled import Example
from throughtime.data.pen import drawn_sets
from throughtime.data.pen.writer import draw_hand, write
from throughtime.data.persons import FOLDS_OF_PERSONS, load_persons
from throughtime.tasks.classification_settings import JudgingOptions
from throughtime.tasks.error_tradeoff import tradeoff
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Curves, Drawing
from throughtime.tasks.verification import Verification, VerificationConfig, _distances

from ..data.mirror import needs_files
from ..data.sounds import as_file, tone

SMALL = {"cell": "gru", "hidden_size": 8, "vector_size": 6, "batch_size": 8}


def by_hand(genuine, impostor, threshold):
    """The rates of false acceptance and rejection, pair by pair."""
    return (
        sum(d <= threshold for d in impostor) / len(impostor),
        sum(d > threshold for d in genuine) / len(genuine),
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_errors_of_every_threshold_are_those_counted_by_hand(seed):
    draw = np.random.default_rng(seed)
    # Rounding makes ties.
    genuine, impostor = draw.normal(0.4, 0.2, 31).round(1), draw.normal(0.7, 0.2, 40).round(1)
    curve = tradeoff(genuine, impostor)
    for i, threshold in enumerate(curve.thresholds):
        expected = by_hand(genuine, impostor, threshold)
        assert (curve.false_acceptance[i], curve.false_rejection[i]) == pytest.approx(expected)
    for threshold in (-5.0, 0.4, 0.52, 9.0):
        assert curve.at(threshold) == pytest.approx(by_hand(genuine, impostor, threshold))
    rate, threshold = curve.equal_error
    accepted, rejected = by_hand(genuine, impostor, threshold)
    assert rate == pytest.approx((accepted + rejected) / 2)
    gaps = [abs(a - r) for a, r in (by_hand(genuine, impostor, t) for t in curve.thresholds)]
    assert abs(accepted - rejected) == pytest.approx(min(gaps))
    # The curve of the report: as few rejections as the accepted fraction allows.
    for allowed, shown in zip(*curve.points(7), strict=True):
        rates = (by_hand(genuine, impostor, t) for t in curve.thresholds)
        assert shown == pytest.approx(min(r for a, r in rates if a <= allowed))


def test_separated_distances_have_no_error_and_a_threshold_in_the_middle():
    assert tradeoff(np.array([0.1, 0.2]), np.array([0.6, 0.9])).equal_error == (0.0, 0.4)
    # Distances the wrong way round are all errors; chance is one half.
    assert tradeoff(np.array([0.6, 0.9]), np.array([0.1, 0.2])).equal_error[0] == 1.0
    same = np.linspace(0, 1, 11)
    assert tradeoff(same, same).equal_error[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expected pairs of different persons, got none"):
        tradeoff(same, same[:0])


@pytest.fixture
def signatures(monkeypatch):
    """A small set of signatures in place of the named one."""
    sizes = {"train": (4, 3, 3), "valid": (3, 2, 3), "test": (3, 2, 3)}
    monkeypatch.setattr(drawn_sets, "_SIGNATURES", sizes)
    drawn_sets.drawn_signatures.cache_clear()
    yield
    drawn_sets.drawn_signatures.cache_clear()


def task_of(data="signatures", **options):
    return Verification(VerificationConfig(data=str(data), **SMALL | options))


def test_the_loss_is_the_one_of_its_equation(signatures):
    task = task_of(scale=7.0, margin=0.3)
    model = task.model().double()
    batch = next(iter(task.batches("train")))
    batch = batch._replace(inputs=batch.inputs.double())
    total = 0.0
    for x, length, y in zip(*batch[:2], batch.targets.tolist(), strict=True):
        s = model.reader(x[None, :length], length[None])[0]
        cos = [(s @ p / (s.norm() * p.norm())).item() for p in model.persons]
        scores = [7 * (c - 0.3 * (k == y)) for k, c in enumerate(cos)]
        total -= scores[y] - float(np.logaddexp.reduce(scores))
    loss = task.loss(model, batch)
    assert loss.total.item() == pytest.approx(total, rel=1e-6)
    assert loss.count == len(batch.targets)


class Angles(nn.Module):
    """Stands in for a model: the vectors of examples, in order of their first value."""

    def __init__(self, degrees):
        super().__init__()
        radians = torch.deg2rad(torch.tensor(degrees))
        self.vectors = nn.Parameter(torch.stack([radians.cos(), radians.sin()], 1))
        self.register_buffer("threshold", torch.tensor(float("nan")))

    def forward(self, x, lengths):
        return self.vectors[x[:, 0, 0].round().long()]


def test_pairs_are_of_equal_texts_and_the_threshold_is_that_of_the_validation(signatures):
    task = task_of(vector_size=2)
    labels = ["a", "a", "b", "b", "a"]
    texts = ["one", "one", "one", "two", "two"]
    examples = [Example(label, np.array([[i]])) for i, label in enumerate(labels)]
    task.sequences.row = lambda content: torch.tensor(content, dtype=torch.float32)
    model = Angles([0.0, 10.0, 50.0, 170.0, 90.0])
    curve, other = task._tradeoffs(model, examples, texts)

    def distance(degrees):
        return 1 - np.cos(np.deg2rad(degrees))

    # Genuine: 0-1. Forgeries of the same text: 0-2, 1-2, 3-4. Other texts: 0-3, 1-3, 2-4.
    # 0-4, 1-4 and 2-3 are of one person with two texts, and are not judged.
    same, forged = [distance(10)], [distance(50), distance(40), distance(80)]
    expected = tradeoff(np.array(same), np.array(forged))
    assert curve.thresholds[1:-1] == pytest.approx(expected.thresholds[1:-1], abs=1e-6)
    assert curve.false_acceptance == pytest.approx(expected.false_acceptance)
    others = tradeoff(np.array(same), np.array([distance(170), distance(160), distance(40)]))
    assert other.thresholds[1:-1] == pytest.approx(others.thresholds[1:-1], abs=1e-6)


def test_an_evaluation_uses_the_threshold_of_the_validation(signatures):
    task = task_of()
    task.check()
    model = task.model()
    assert model.threshold.isnan()
    test = task.evaluate(model, "test", JudgingOptions()).figures
    assert np.isnan(test["false_acceptance_rate"])
    valid = task.evaluate(model).figures
    assert set(valid) == {"equal_error_rate"}
    threshold = float(model.threshold)
    figures = task.evaluate(model, "test", JudgingOptions()).figures
    assert figures["threshold"] == threshold
    curve, _ = task._tradeoffs(model, task.examples("test"), task.persons.texts["test"])
    rates = figures["false_acceptance_rate"], figures["false_rejection_rate"]
    assert rates == curve.at(threshold)
    assert 0 <= figures["equal_error_rate_other_texts"] <= 1
    # The test leaves the threshold as it is, and a saved model has it.
    assert float(model.threshold) == threshold
    assert float(model.state_dict()["threshold"]) == threshold
    shown = task.show(model)
    assert [type(item) for item in shown if not isinstance(item, (Curves, Drawing))]
    assert any(isinstance(item, Drawing) and item.svg.startswith("<svg") for item in shown)


def test_the_error_rate_stands_against_each_amount_of_a_distortion(signatures):
    torch.manual_seed(0)
    task = task_of()
    model = task.model()
    evaluation = task.evaluate(model, "valid", JudgingOptions(robustness="gap,noise"))
    gap, noise = evaluation.curves
    assert (gap.title, noise.title, list(gap.y)) == ("gap", "noise", ["equal_error_rate"])
    rates = noise.y["equal_error_rate"]
    assert rates[0] == gap.y["equal_error_rate"][0] == evaluation.figures["equal_error_rate"]
    assert len(set(rates)) > 2
    # Each amount has the threshold of its own; that of the model stays.
    assert float(model.threshold) == pytest.approx(evaluation.figures["threshold"])


def test_the_distance_of_equal_vectors_is_not_below_zero():
    vectors = torch.nn.functional.normalize(torch.randn(2000, 7), dim=1)
    assert (1 - vectors @ vectors.T).min() < 0
    distances = _distances(vectors, vectors)
    assert distances.min() == 0
    assert torch.allclose(distances, 1 - vectors @ vectors.T, atol=1e-6)


def test_a_batch_of_signatures_can_be_learned(signatures):
    torch.manual_seed(0)
    task = task_of(hidden_size=16)
    model, batch = task.model(), next(iter(task.batches("train")))
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    losses = []
    for _ in range(30):
        loss = task.loss(model, batch).mean
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ["japanese-vowels", pytest.param("fsdd", marks=pytest.mark.slow)])
def test_each_fold_holds_other_persons_out(name):
    needs_files(name)
    held = []
    for fold in range(FOLDS_OF_PERSONS[name]):
        splits = load_persons(name, fold=fold).labelled.splits
        people = {split: {example.label for example in part} for split, part in splits.items()}
        assert people["train"] == people["valid"]
        assert not people["train"] & people["test"]
        held.append(people["test"])
        contents = [example.content.tobytes() for part in splits.values() for example in part]
        assert len(set(contents)) == len(contents)
    assert sum(map(len, held)) == len(set.union(*held)) == {"fsdd": 6, "japanese-vowels": 9}[name]


@pytest.fixture
def folder(tmp_path):
    """Sounds of five persons, each with a pitch of his own."""
    for person in range(5):
        (tmp_path / f"person {person}").mkdir()
        for i in range(3):
            content = as_file(tone(0.2, hertz=200.0 + 150 * person, seed=10 * person + i))
            (tmp_path / f"person {person}" / f"{i}.wav").write_bytes(content)
    return tmp_path


def test_the_persons_of_an_own_folder_are_held_out(folder):
    persons = load_persons(str(folder), valid_fraction=0.4)
    people = {
        split: {example.label for example in part}
        for split, part in persons.labelled.splits.items()
    }
    assert {split: len(names) for split, names in people.items()} == {"train": 3, "valid": 2}
    assert not people["train"] & people["valid"]
    assert set(persons.texts["valid"]) == {""}
    task_of(folder, valid_fraction=0.4, num_filters=12).check()
    # One person in the validation has no pair with another one.
    with pytest.raises(ValueError, match='split "valid": expected two persons or more'):
        task_of(folder, valid_fraction=0.2, num_filters=12).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 1}, "--fold 1: only fsdd and japanese-vowels have folds"),
        ({"data": "fsdd", "fold": 3}, "--fold 3: expected 0 to 2 for fsdd"),
        ({"valid_fraction": 0.2}, 'because "signatures" comes in splits of its own'),
        ({"encoding": "latin-1"}, "--encoding: that of .signatures. is known"),
        ({"data": "signature"}, '"signature".*"signatures"'),
        ({"data": "/nowhere/at/all"}, "no such file or folder"),
    ],
)
def test_data_without_sense_is_refused(signatures, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _ = task_of(**options).persons


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 2.0}, "--margin: expected at least 0 and less than 2"),
        ({"scale": 0.0}, "--scale: expected more than 0"),
        ({"vector_size": 0}, "--vector_size: expected at least 1"),
        ({"merge": "sum"}, "--pooling last: needs both directions side by side"),
        ({"pen_points": "original", "pen_step": 1.0}, "--pen_step 1.0: would have no effect"),
        ({"pen_step": -1.0}, "--pen_step: expected more than 0"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VerificationConfig(**options)


def test_settings_of_other_data_are_refused(signatures):
    with pytest.raises(ValueError, match="--num_filters 20: is of sounds, so it would have no"):
        task_of(num_filters=20).check()


def test_texts_and_single_persons_are_refused(tmp_path):
    (tmp_path / "texts.tsv").write_text("a\tone\nb\ttwo\n")
    with pytest.raises(ValueError, match="expected series, sounds or ways of a pen of persons"):
        load_persons(str(tmp_path / "texts.tsv"))


def csv_of(trajectory):
    rows = [
        f"{x},{y},{up:.0f},{t}\n"
        for (x, y), up, t in zip(
            trajectory.places, trajectory.points[:, 2], trajectory.times, strict=True
        )
    ]
    return "x,y,pen_up,time\n" + "".join(rows)


def test_the_commands_judge_signatures_of_own_files(tmp_path, capsys):
    draw = np.random.default_rng(0)
    data = tmp_path / "data"
    for split, writers in {"train": 3, "valid": 2, "test": 2}.items():
        for writer in range(writers):
            place = data / split / f"{split}-{writer}"
            place.mkdir(parents=True)
            hand = draw_hand(draw, is_joined=True)
            for i in range(3):
                (place / f"{i}.csv").write_text(csv_of(write("eva", hand, draw)))
    run = Run(tmp_path / "run")
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    options += ["--epochs=1", "--sample_every=0", f"--data={data}"]
    assert main(["train", "verification", *options, "--run", str(run.folder)]) == 0
    assert main(["evaluate", str(run.folder), "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"equal_error_rate", "false_acceptance_rate", "threshold"} <= set(figures)

    files = sorted(map(str, (data / "test").glob("*/*.csv")))
    drawing = tmp_path / "read.svg"
    predict = ["predict", str(run.folder), files[0], *files, f"--drawing={drawing}"]
    assert main(predict) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(files)
    threshold = f"{figures['threshold']:.4f}"
    assert lines[0] == ["0.0000", threshold, "same"]
    for distance, limit, answer in lines:
        assert limit == threshold
        assert (answer == "same") == (float(distance) <= float(limit))
    assert drawing.read_text().count("<text") == len(files) + 1

    assert main(["predict", str(run.folder), files[0]]) != 0
    assert "expected two inputs or more" in capsys.readouterr().err
    broken = tmp_path / "broken.csv"
    broken.write_text("x,y,pen_up\n1,2,1\n")
    assert main(["predict", str(run.folder), files[0], str(broken)]) != 0
    assert "broken.csv: expected a pen trajectory of at least two points, got 1" in (
        capsys.readouterr().err
    )
    assert main(["evaluate", str(run.folder), f"--data={data / 'test'}", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert judged["equal_error_rate"] == figures["equal_error_rate"]
    for name, message in (
        ("gone", "gone: no such file"),
        ("gone.csv", "gone.csv: no such file"),
        ("test/test-0", r"test-0: expected a folder of files (.wav, .flac, .csv, .xml"),
    ):
        assert main(["evaluate", str(run.folder), f"--data={data / name}"]) == 1
        assert message in capsys.readouterr().err
