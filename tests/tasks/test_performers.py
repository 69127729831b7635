"""performers: its loss in each coding, its augmentation, and what its commands write."""

import json
import math

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.music import SILENT, midi_of_parts, notes_of_parts, read_midi, read_part_steps
from throughtime.models.decoding import Sampling
from throughtime.models.step_codings import STEP_CODINGS, UNKNOWN
from throughtime.tasks.frame_batches import FrameBatch
from throughtime.tasks.loading import load_run
from throughtime.tasks.performer_settings import EnsembleOptions, PerformersConfig
from throughtime.tasks.performers import PerformersTask

from .learning import learned_by_heart


def canon(number, T=12):
    """Three voices: the second one follows the first, and the third one holds its key."""
    first = 60 + (np.arange(T) * (1 + number % 3)) % 5
    second = np.concatenate([[SILENT], first[:-1]])
    return np.stack([first, second, np.full(T, 40 + number % 2)], 1).astype(np.int16)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canons")
    for number in range(10):
        split = "train" if number < 7 else "valid" if number < 9 else "test"
        (folder / split).mkdir(exist_ok=True)
        content = midi_of_parts(notes_of_parts(canon(number, 8 + number), 0.25))
        (folder / split / f"{number}.mid").write_bytes(content)
    return str(folder)


def task_of(path, **options):
    return PerformersTask(
        PerformersConfig(path, **{"hidden_size": 12, "batch_steps": 40} | options)
    )


def test_values_are_counted_from_silence_and_the_lowest_key(path):
    task = task_of(path)
    assert task.assets["lowest"] == [60, 60, 40]
    assert task.sizes == [6, 6, 3]
    assert task.num_symbols == 108
    keys = canon(3)
    values = task.values(keys)
    assert values.min() == 0
    assert values[0].tolist() == [1, 0, 2]
    assert np.array_equal(task.keys(values), keys)
    fewer = task_of(path, performers=[2, 0])
    assert fewer.sizes == [3, 6]
    assert np.array_equal(fewer.pieces("test")[0], task.pieces("test")[0][:, [2, 0]])


@pytest.mark.parametrize("coding", STEP_CODINGS)
def test_the_loss_sums_over_performers_and_counts_each_step_of_a_piece(path, coding):
    torch.manual_seed(0)
    task = task_of(path, coding=coding)
    model = task.model().double().eval()
    total, count = 0.0, 0
    for piece in map(torch.from_numpy, task.pieces("valid")):
        h, _ = model(torch.cat([torch.zeros_like(piece[:1]), piece[:-1]])[None])
        total += model.coding.nll(h[0], piece).sum().item()
        count += len(piece)
    evaluation = task.evaluate(model)
    assert evaluation.figures["loss"] == pytest.approx(total / count, rel=1e-9)
    assert evaluation.about["steps"] == count == 15 + 16
    assert evaluation.about.get("symbols") == (108 if coding == "product" else None)
    # A model without knowledge scores alike in all codings.
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert task.evaluate(model).figures["loss"] == pytest.approx(math.log(108))
    batch = next(iter(task._batches("valid", 5, 1000, is_shuffled=False)))
    assert task.loss(model, batch).mean.item() == pytest.approx(math.log(108))


@pytest.mark.parametrize("coding", STEP_CODINGS)
def test_eight_canons_are_learned_by_heart(path, coding):
    task = task_of(path, coding=coding, cell="gru", hidden_size=48, batch_steps=1000)
    task.check()
    batch = next(iter(task._batches("train", None, 1000, is_shuffled=False)))
    model = learned_by_heart(task, batch, 300, 0.45)
    figures = task.evaluate(model, "train").figures
    assert figures["loss"] < 0.5
    assert figures["accuracy"] > 0.9


def test_transposition_moves_whole_rows_within_the_range_of_each_performer(path):
    task = task_of(path, transpose=50)
    values = torch.zeros(3, 4, 3, dtype=torch.int64)
    values[0, 1:, 0] = torch.tensor([2, 3, 0])
    values[0, 1:, 2] = torch.tensor([1, 1, 1])
    values[1, 1:, 1] = torch.tensor([1, 6 - 1, 2])
    torch.manual_seed(0)
    batch = FrameBatch(values, torch.tensor([3, 3, 3]))
    moved = [task._transposed(batch).frames for _ in range(60)]
    # The third performer of the first row can only go up by one; the second row fills its range.
    assert {tuple(one[0, 1:, 0].tolist()) for one in moved} == {(2, 3, 0), (3, 4, 0)}
    assert all(torch.equal(one[1:], values[1:]) for one in moved)
    assert {int(one[0, 1, 2]) for one in moved} == {1, 2}


def test_music_is_transposed_in_the_training_only(path):
    torch.manual_seed(0)
    plain, task = task_of(path, performers=[0]), task_of(path, performers=[0], transpose=5)
    # Pieces that leave room in the range of their performer.
    for one in (plain, task):
        one.parts.splits["train"][:] = [np.full((9, 3), 62, np.int16)] * 6
    model, batch = task.model(), next(iter(plain.batches("train")))
    assert len({task.loss(model, batch).total.item() for _ in range(5)}) > 1
    model.eval()
    assert task.loss(model, batch).total.item() == plain.loss(model, batch).total.item()


def test_a_vocabulary_above_the_bound_is_refused_and_its_size_said(path):
    for coding, vocabulary in (
        ("product", "coding product: 6 x 6 x 3 = 108 symbols"),
        ("ordered", "coding ordered: 3 heads of 6 + 6 + 3 scores"),
    ):
        task = task_of(path, coding=coding, sample_length=2)
        task.check()
        assert task.show(task.model())[0].text == vocabulary
    message = (
        r"--coding product: .* has 6 x 6 x 3 = 108 symbols, and --most_symbols is 107\. Use "
        r"--coding ordered, which has 3 heads of 15 scores together; or choose fewer --performers"
    )
    with pytest.raises(ValueError, match=message):
        task_of(path, coding="product", most_symbols=107).check()
    task_of(path, coding="product", most_symbols=108).check()
    parts = task_of(path).parts
    del parts.splits["test"]
    task = task_of(path)
    task.parts = parts
    with pytest.raises(ValueError, match='has no split "test", only train, valid'):
        task.evaluate(task.model(), "test")
    with pytest.raises(ValueError, match=r"--performers \[0, 3\]: expected numbers from 0 to 2"):
        task_of(path, performers=[0, 3]).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_size": 9, "coding": "product"}, "--head_size 9: it would have no effect"),
        ({"most_symbols": 9}, "--most_symbols 9: it would have no effect with --coding ordered"),
        ({"performers": []}, "--performers: expected different numbers"),
        ({"performers": [1, 1]}, "--performers: expected different numbers"),
        ({"performers": [-1]}, "--performers: expected different numbers"),
        ({"step_seconds": 0.0}, "--step_seconds: expected 0.001 to 60"),
        ({"input_dropout": 1.0}, "--input_dropout: expected 0 to below 1"),
        ({"transpose": 128}, "--transpose: expected at most 127"),
        ({"bidirectional": True}, "must not read the steps that it predicts"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PerformersConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": [0]}, "--fixed and --fixed_from: expected both"),
        ({"fixed_from": "a.mid"}, "--fixed and --fixed_from: expected both"),
        ({"fixed": [0, 0], "fixed_from": "a.mid"}, "--fixed: expected different numbers"),
        ({"fixed": [0], "fixed_from": "a.mid", "length": 9}, "--length 9: the music is as long"),
        ({"output": "a.abc"}, 'unknown ending of a file ".abc"'),
        ({"length": 0}, "--length: expected at least 1"),
    ],
)
def test_music_that_cannot_be_written_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EnsembleOptions(**options)


@pytest.mark.parametrize("coding", STEP_CODINGS)
def test_fixed_performers_play_their_part_and_the_model_reads_it(path, coding):
    torch.manual_seed(0)
    task = task_of(path, coding=coding)
    model = task.model()
    known = np.full((9, 3), UNKNOWN)
    known[:, 0] = task.pieces("valid")[0][:9, 0]
    drawn = [
        np.stack(list(task.steps(model, rows, Sampling(1.0), seed=3)))
        for rows in (known, known, np.where(known == UNKNOWN, UNKNOWN, 1))
    ]
    assert np.array_equal(drawn[0][:, 0], known[:, 0])
    assert np.array_equal(drawn[0], drawn[1])
    assert (drawn[2][:, 0] == 1).all()
    # The others follow what was read and the fixed performer of the same step.
    steps, state, total = torch.from_numpy(drawn[0]), None, 0.0
    before = torch.cat([torch.zeros_like(steps[:1]), steps[:-1]])
    for step in before:
        h, state = model(step[None, None], state)
        total += h.sum().item()
    assert model(before[None])[0].sum().item() == pytest.approx(total, rel=1e-4)


def test_a_file_that_does_not_fit_the_model_is_refused(path, tmp_path):
    task = task_of(path, coding="any-order")
    model, file = task.model(), tmp_path / "a.mid"

    def fix(numbers, rows, name="a.mid"):
        steps = np.array(rows, np.int16)
        file.write_bytes(midi_of_parts(notes_of_parts(steps, 0.25)))
        return task._fixed(model, tmp_path / name, numbers)

    both = fix([2, 0], [[40, 62], [41, SILENT]])
    assert both.tolist() == [[3, UNKNOWN, 1], [0, UNKNOWN, 2]]
    whole = fix([1], [[60, 62, 40], [60, SILENT, 40]])
    assert whole.tolist() == [[UNKNOWN, 3, UNKNOWN], [UNKNOWN, 0, UNKNOWN]]
    with pytest.raises(ValueError, match=r"a\.mid: expected 3 parts, or the 1 of --fixed, got 2"):
        fix([1], [[60, 62]])
    message = r"a\.mid: expected keys from C4 to E4, which performer 1 .*, got F4 at second 0\.25"
    with pytest.raises(ValueError, match=message):
        fix([1], [[60], [65]])
    with pytest.raises(ValueError, match=r"--fixed \[3\]: expected numbers from 0 to 2"):
        fix([3], [[60]])
    with pytest.raises(ValueError, match="with all performers fixed there is nothing to write"):
        fix([0, 1, 2], [[60, 62, 40]])
    with pytest.raises(FileNotFoundError, match="--fixed_from: expected a MIDI file, got none"):
        fix([1], [[60]], "b.mid")
    ordered = task_of(path, coding="ordered").model()
    message = r"--fixed \[1\]: the coding ordered writes performer 0 before it knows performer 1"
    with pytest.raises(ValueError, match=message):
        task._fixed(ordered, file, [1])


def test_an_ensemble_is_trained_judged_and_written_by_commands(path, tmp_path, capsys):
    run = str(tmp_path / "run")
    words = f"train performers --data {path} --coding any-order --hidden_size 16 --epochs 4"
    words += " --head_size 8 --learning_rate 0.02 --batch_steps 40 --sample_length 12"
    assert main([*words.split(), "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["pieces"], figures["steps"]) == (1, 17)
    assert figures["loss"] < math.log(108)
    generate = ["generate", run, "--seed", "1", "--output"]
    assert main([*generate, str(tmp_path / "a.mid"), "--length", "20"]) == 0
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert [len(line.split()) for line in lines] == [3] * 20
    notes = read_midi("a.mid", (tmp_path / "a.mid").read_bytes())
    sounding = sum(round((note.end - note.start) / 0.25) for note in notes)
    assert sounding == sum(key != "-" for line in lines for key in line.split())
    source = f"{path}/valid/8.mid"
    fixed = ["--fixed_from", source, "--fixed", "[0, 2]"]
    assert main([*generate, str(tmp_path / "b.mid"), *fixed]) == 0
    capsys.readouterr()
    written, own = (
        read_part_steps(str(file), file.read_bytes(), 0.25)
        for file in (tmp_path / "b.mid", tmp_path.joinpath(source))
    )
    assert np.array_equal(written[:, [0, 2]], own[:, [0, 2]])
    assert main([*generate, str(tmp_path / "c.wav"), *fixed]) == 0
    assert "0 samples clipped" in capsys.readouterr().err
    loaded = load_run(run)
    piece = loaded.task.held_out(5)[0]
    observation = loaded.task.observe(loaded.model, piece)
    assert observation.run() is None
    assert observation.steps[""][0] == "C4 - F2"
    with pytest.raises(ValueError, match="a text is no music"):
        loaded.task.observe(loaded.model, "C4")
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<audio controls") >= 2
    assert "the others written" in page
