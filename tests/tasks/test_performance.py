"""performance: its loss, its augmentation, and what its commands write."""

import json
import math

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data import pad_rows
from throughtime.data.music import Note, events_of, midi_bytes, notes_of_events, read_midi
from throughtime.tasks import performance
from throughtime.tasks.performance import PerformanceConfig, PerformanceTask, PerformingOptions
from throughtime.tasks.shown import Score


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("midi")
    for number in range(6):
        steps = range(8 + number)
        notes = [Note(0.25 * t, 0.25 * t + 0.2, 60 + (t + number) % 5, 40 + 6 * t) for t in steps]
        for split in ("train", "valid") if number < 2 else ("train",):
            (folder / split).mkdir(exist_ok=True)
            (folder / split / f"{number}.mid").write_bytes(midi_bytes(notes))
    return str(folder)


def task_of(path, **options):
    return PerformanceTask(
        PerformanceConfig(path, **{"hidden_size": 16, "num_layers": 1} | options)
    )


def test_a_model_without_knowledge_scores_the_logarithm_of_the_number_of_tokens(path):
    task = task_of(path)
    model = task.model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    evaluation = task.evaluate(model)
    assert evaluation.figures["loss"] == pytest.approx(math.log(389))
    assert evaluation.about["events"] == sum(len(events) + 1 for events in task.pieces("valid"))


def test_excerpts_predict_each_event_and_each_end_once(path):
    task = task_of(path)
    batches = list(task._batches("train", 7, 50, is_shuffled=False))
    targets = [row[1:n].tolist() for b in batches for row, n in zip(*b, strict=True)]
    expected = [e for piece in task.pieces("train") for e in [*piece.tolist(), 388]]
    assert sorted(e for row in targets for e in row) == sorted(expected)
    firsts = [int(row[0]) for b in batches for row in b.rows]
    assert firsts.count(388) == len(task.pieces("train"))
    # An excerpt reads the event before it first.
    piece = task.pieces("train")[5].tolist()
    rows = [row[:n].tolist() for b in batches for row, n in zip(*b, strict=True)]
    assert piece[6:14] in rows


def test_transposition_moves_keys_only_and_within_the_range():
    row = [*events_of([Note(0.0, 1.2, 2), Note(0.5, 1.0, 120)]), 388]
    # The longer second row pads the first one, and the padding is no key.
    events, lengths = batch = pad_rows([row, [388, *([256] * len(row))]])
    torch.manual_seed(0)
    shifts = set()
    for _ in range(400):
        moved = performance._transposed(batch, 12)
        assert torch.equal(moved.lengths, lengths)
        is_key = events < 256
        is_key[0, len(row) :] = False
        assert torch.equal(moved.rows[~is_key], events[~is_key])
        (shift,) = set((moved.rows - events)[is_key].tolist())
        shifts.add(shift)
    assert min(shifts) == -2
    assert max(shifts) == 7
    assert len(shifts) == 10


def test_stretching_multiplies_the_times_of_each_row_by_one_factor():
    notes = [Note(1.7 * n, 1.7 * n + 1.3, 60 + n, 82) for n in range(40)]
    row = [388, *events_of(notes), 388]
    batch = pad_rows([row] * 30 + [row[:9]])
    torch.manual_seed(0)
    moved = performance._stretched(batch, 0.1)
    factors = set()
    for tokens, length in zip(moved.rows.tolist()[:30], moved.lengths.tolist(), strict=False):
        assert tokens[0] == tokens[length - 1] == 388
        own = notes_of_events(tokens[1 : length - 1])
        factor = own[-1].end / notes[-1].end
        assert [note.key for note in own] == [note.key for note in notes]
        for new, old in zip(own, notes, strict=True):
            assert new.start == pytest.approx(old.start * factor, abs=0.011)
            assert new.end == pytest.approx(old.end * factor, abs=0.011)
        factors.add(factor)
    assert 0.9 <= min(factors) < 0.93
    assert 1.07 < max(factors) <= 1.1
    # The last row is short, and its padding is no event of it.
    assert 1 < moved.lengths[30] <= 12
    assert moved.rows[30, moved.lengths[30] :].eq(0).all()


def test_a_stretched_row_of_shifts_alone_has_a_token_to_predict():
    moved = performance._stretched(pad_rows([[355, 256]]), 0.9)
    assert moved.lengths.tolist() == [2]
    assert moved.rows.tolist() == [[355, 256]]


def test_a_performance_ends_with_its_piece_its_seconds_or_its_events(path):
    task = task_of(path)
    model = task.model()
    # Without knowledge of what was read, the model draws what its biases say.
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    bias = model.scores.bias.data
    options = PerformingOptions(1.0, longest=9, temperature=0.0)
    bias[256 + 39] = 1.0
    assert list(task.drawn(model, options)) == [256 + 39] * 3
    bias[60] = 2.0
    assert list(task.drawn(model, options)) == [60] * 9
    bias[388] = 99.0
    assert list(task.drawn(model, options)) == []
    assert task.show(model) == []


@pytest.mark.parametrize("option", [{"transpose": 12}, {"stretch": 0.5}])
def test_music_is_augmented_in_the_training_only(path, option):
    torch.manual_seed(0)
    plain, task = task_of(path), task_of(path, **option)
    model = task.model()
    batch = next(iter(plain.batches("train")))
    losses = [task.loss(model, batch).mean.item() for _ in range(3)]
    assert len(set(losses)) == 3
    expected = plain.loss(model.eval(), batch).mean.item()
    assert task.loss(model, batch).mean.item() == expected
    assert expected not in losses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stretch": 1.0}, "--stretch: expected 0 to below 1"),
        ({"transpose": 128}, "--transpose: expected at most 127"),
        ({"sample_seconds": 0.0}, "--sample_seconds: expected more than 0"),
        ({"one_hot": True, "tied": True}, "--one_hot: there is no embedding"),
        ({"bidirectional": True}, "must not read the events that it predicts"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PerformanceConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "--seconds: expected more than 0"),
        ({"seconds": math.nan}, "--seconds: expected more than 0"),
        ({"output": "a.abc"}, 'unknown ending of a file ".abc"'),
        ({"longest": 0}, "--longest: expected at least 1"),
    ],
)
def test_a_performance_that_cannot_be_written_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PerformingOptions(**options)


def test_drums_are_not_transposed():
    task = PerformanceTask(PerformanceConfig("groove", transpose=3))
    with pytest.raises(ValueError, match="--transpose 3: the keys of groove are the drums"):
        task.check()


@pytest.mark.parametrize("data", ["groove", "pop909"])
def test_drums_are_written_on_their_channel(data, tmp_path):
    task, file = PerformanceTask(PerformanceConfig(data)), tmp_path / "a.mid"
    task.drawn = lambda model, options: iter([36, 256 + 99])
    options = PerformingOptions(1.0, output=str(file))
    assert len(list(task.continuation(None, options, [].append))) == 2
    (score,) = (item for item in task.show(None) if isinstance(item, Score))
    for content in (file.read_bytes(), score.content):
        is_drum = not read_midi("a.mid", content, skip_drums=True)
        assert is_drum == (data == "groove")
        assert [note[:3] for note in read_midi("a.mid", content)] == [(0.0, 1.0, 36)]


def test_a_performance_that_ends_early_says_so(path):
    task = task_of(path)
    model, remarks = task.model(), []
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.scores.bias.data[256 + 49] = 9.0
    options = PerformingOptions(9.0, longest=4, temperature=0.0)
    assert len(list(task.continuation(model, options, remarks.append))) == 4
    assert remarks == ["--longest 4 events are written after 2.0 of 9 s."]
    remarks.clear()
    options = PerformingOptions(2.0, longest=4, temperature=0.0)
    assert len(list(task.continuation(model, options, remarks.append))) == 4
    assert remarks == []
    model.scores.bias.data[388] = 99.0
    assert list(task.continuation(model, options, remarks.append)) == []
    assert remarks == ["the piece has ended after 0.0 of 2 s."]


def test_a_performance_is_as_long_as_asked_though_its_last_event_is_longer(path, tmp_path):
    task, remarks = task_of(path), []
    task.drawn = lambda model, options: iter([60, 256 + 99, 62, 256 + 99, 64])
    options = PerformingOptions(1.5, output=str(tmp_path / "a.mid"))
    assert len(list(task.continuation(task.model(), options, remarks.append))) == 5
    assert remarks == [f"{tmp_path}/a.mid: 2 notes, 1.5 s."]
    notes = read_midi("a.mid", (tmp_path / "a.mid").read_bytes())
    assert [note[:3] for note in notes] == [(0.0, 1.5, 60), (1.0, 1.5, 62)]


def test_a_performance_is_trained_judged_and_written_by_commands(path, tmp_path, capsys):
    run = str(tmp_path / "run")
    words = f"train performance --data {path} --cell gru --hidden_size 32 --num_layers 1"
    words += " --epochs 12 --batch_events 60 --excerpt 20 --learning_rate 0.02 --stretch 0.05"
    words += " --sample_seconds 2"
    assert main([*words.split(), "--transpose", "3", "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pieces"] == 2
    assert result["loss"] < 4
    generate = ["generate", run, "--seconds", "3", "--seed", "1", "--longest", "300", "--output"]
    assert main([*generate, str(tmp_path / "a.mid")]) == 0
    shown = capsys.readouterr()
    events = shown.out.rstrip("\n").split("\n")
    assert all(e.split()[0] in ("on", "off", "shift", "velocity") for e in events)
    assert f"{tmp_path}/a.mid: " in shown.err
    notes = read_midi("a.mid", (tmp_path / "a.mid").read_bytes())
    # Every note that begins has ended, no later than the last shift of time.
    steps = sum(int(e.split()[1]) for e in events if e.startswith("shift"))
    assert all(note.end <= steps / 100 + 0.02 for note in notes)
    assert np.isfinite([note.start for note in notes]).all()
    assert main([*generate, str(tmp_path / "a.wav")]) == 0
    assert "samples clipped" in capsys.readouterr().err
