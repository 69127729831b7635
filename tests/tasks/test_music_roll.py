"""music-roll: its loss, its figures, its batches, and what its commands write."""

import json
import wave

import numpy as np
import pytest
import torch
from scipy.io import savemat

from throughtime.cli.main import main
from throughtime.data.music import NUM_KEYS, read_midi
from throughtime.models.key_heads import KEY_HEADS
from throughtime.tasks.loading import load_run
from throughtime.tasks.music_roll import FrameBatch, MusicRoll, MusicRollConfig, PlayingOptions

from .learning import learned_by_heart


def melody(number, T=12):
    """A scale over a held bass."""
    roll = np.zeros((T, NUM_KEYS), np.uint8)
    roll[:, 20 + number] = 1
    roll[np.arange(T), 40 + (np.arange(T) * (1 + number % 3)) % 12] = 1
    return roll


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    def cell(numbers):
        pieces = np.empty((1, len(numbers)), object)
        for place, number in enumerate(numbers):
            pieces[0, place] = melody(number, 8 + number)
        return pieces

    file = tmp_path_factory.mktemp("rolls") / "scales.mat"
    content = {"traindata": range(8), "validdata": range(8, 11), "testdata": range(11, 13)}
    savemat(file, {name: cell(numbers) for name, numbers in content.items()})
    return str(file)


def task_of(path, **options):
    return MusicRoll(MusicRollConfig(path, **{"hidden_size": 12, "batch_frames": 40} | options))


@pytest.mark.parametrize("head", KEY_HEADS)
def test_the_loss_counts_each_frame_from_the_empty_one_before_the_piece(path, head):
    task = task_of(path, head=head)
    torch.manual_seed(0)
    model = task.model().double().eval()
    total, number = 0.0, 0
    for piece in task.pieces("valid"):
        before = np.concatenate([np.zeros((1, NUM_KEYS)), piece[:-1]])
        h, _ = model(torch.from_numpy(before)[None])
        nll = model.head.nll(h[0], torch.from_numpy(piece)).detach()
        total += nll[1:].sum().item()
        number += len(piece) - 1
    figures = task.evaluate(model, options=object()).figures
    assert figures["loss"] == pytest.approx(total / number, rel=1e-9)
    assert figures["loss_with_first"] != figures["loss"]
    assert task.evaluate(model).about == {"split": "valid", "pieces": 3, "frames": number}
    # A batch's loss counts the first frames too.
    batch = next(iter(task._batches("valid", None, 1000, is_shuffled=False)))
    loss = task.loss(model, batch)
    assert loss.count == number + 3


def test_a_model_without_knowledge_scores_88_bits(path):
    task = task_of(path)
    model = task.model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert task.evaluate(model).figures["loss"] == pytest.approx(88 * np.log(2))


def test_excerpts_cover_each_frame_once_and_read_the_frame_before(path):
    task = task_of(path, excerpt=5)
    batches = list(task._batches("train", 5, 40, is_shuffled=False))
    count = sum(int(batch.lengths.sum()) for batch in batches)
    assert count == sum(map(len, task.pieces("train")))
    firsts = [tuple(f[0].tolist()) for b in batches for f in b.frames]
    assert sum(not any(first) for first in firsts) == len(task.pieces("train"))
    piece = task.pieces("train")[7]
    rows = [f[: n + 1].numpy() for b in batches for f, n in zip(b.frames, b.lengths, strict=True)]
    assert any(np.array_equal(row, piece[4:10]) for row in rows)


def test_transposition_moves_whole_rows_and_keeps_them_on_the_keyboard(path):
    task = task_of(path, transpose=60)
    frames = torch.zeros(3, 4, NUM_KEYS, dtype=torch.bool)
    frames[0, 1:, [0, 87]] = True
    frames[1, 1, 40] = frames[1, 2, 45] = True
    batch = FrameBatch(frames, torch.tensor([3, 3, 3]))
    torch.manual_seed(0)
    moved = [task._transposed(batch).frames for _ in range(50)]
    assert all(torch.equal(one[0], frames[0]) for one in moved)
    assert not any(one[2].any() for one in moved)
    lowest = set()
    for one in moved:
        (t, key), (u, other) = one[1].nonzero().tolist()
        assert (t, u, other - key) == (1, 2, 5)
        lowest.add(key)
    assert len(lowest) > 20
    assert max(lowest) == 82
    assert min(lowest) == 0


@pytest.mark.parametrize("head", KEY_HEADS)
def test_eight_pieces_are_learned_by_heart(path, head):
    task = task_of(path, head=head, cell="gru", hidden_size=48, batch_frames=1000)
    task.check()
    batch = next(iter(task._batches("train", None, 1000, is_shuffled=False)))
    model = learned_by_heart(task, batch, 800, 0.3)
    # Each first frame, which is not counted, tells how its piece goes on.
    figures = task.evaluate(model, "train").figures
    assert figures["loss"] < 0.3
    assert figures["frame_accuracy"] > 0.95


def test_a_split_without_a_frame_that_is_counted_is_refused(path):
    task = task_of(path)
    # The piece without a frame does not make up for the one that has enough.
    task.rolls.splits["valid"][:] = [melody(0, 0), melody(0, 2)]
    task.check()
    assert task.evaluate(task.model()).about["frames"] == 1
    task.rolls.splits["test"][:] = [melody(0, 1)]
    with pytest.raises(ValueError, match='expected a piece of at least 2 frames in "test"'):
        task.evaluate(task.model(), "test")
    task.rolls.splits["valid"][:] = [melody(0, 1), melody(1, 1)]
    with pytest.raises(ValueError, match="expected a piece of at least 2 frames to validate on"):
        task.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_size": 9}, "--head_size 9: the head independent has no hidden units"),
        ({"bidirectional": True}, "must not read the frames that it predicts"),
        ({"input_dropout": 1.0}, "--input_dropout: expected 0 to below 1"),
        ({"transpose": -1}, "--transpose: expected at least 0"),
        ({"transpose": 88}, "--transpose: expected at most 87"),
        ({"frame_seconds": 0.0}, "--frame_seconds: expected 0.001 to 60"),
        ({"excerpt": 0}, "--excerpt: expected at least 1"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MusicRollConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "a.mp3"}, 'unknown ending of a file ".mp3"'),
        ({"output": "no/such/folder/a.mid"}, "there is no folder no/such/folder"),
        ({"temperature": -1.0}, "--temperature: expected 0 or more"),
        ({"length": 0}, "--length: expected at least 1"),
        ({"seed": 2**32}, "--seed: expected at most"),
    ],
)
def test_a_piece_that_cannot_be_written_is_refused_before_it_is_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        PlayingOptions(**options)


def test_a_piece_is_trained_judged_shown_and_written_by_commands(path, tmp_path, capsys):
    run = str(tmp_path / "run")
    words = f"train music-roll --data {path} --head nade --head_size 8 --hidden_size 16 --epochs 8"
    words += " --learning_rate 0.02 --batch_frames 40 --sample_length 16"
    assert main([*words.split(), "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["pieces"] == 2
    assert 0 <= figures["frame_accuracy"] <= 1
    generate = ["generate", run, "--length", "20", "--seed", "1", "--output"]
    assert main([*generate, str(tmp_path / "a.mid")]) == 0
    shown = capsys.readouterr()
    frames = shown.out.rstrip("\n").split("\n")
    assert len(frames) == 20
    assert f"{tmp_path}/a.mid: " in shown.err
    assert "5.0 s" in shown.err
    notes = read_midi("a.mid", (tmp_path / "a.mid").read_bytes())
    sounding = sum(round((note.end - note.start) / 0.25) for note in notes)
    assert sounding == sum(len(frame.split()) for frame in frames if frame != "-")
    assert main([*generate, str(tmp_path / "a.wav")]) == 0
    assert "0 samples clipped" in capsys.readouterr().err
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(5.12, abs=1e-3)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<audio controls" in page
    assert "image/png" in page
    assert ".mid</a>" in page
    task = load_run(run).task
    observation = task.observe(load_run(run).model, task.held_out(5)[0])
    assert observation.run() is None
    assert len(observation.steps[""]) == len(observation.features)
