"""--robustness: the figures of transcribed sounds and pens against the amount of a distortion."""

import json

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.distortion import DISTORTIONS
from throughtime.data.pen import Trajectory
from throughtime.data.transcribed import Segment, TranscribedSignal
from throughtime.inspection.report import write_report
from throughtime.reading import ReadError
from throughtime.tasks.pen_signals import PenSignals
from throughtime.tasks.robustness import robustness_curves
from throughtime.tasks.run import Run
from throughtime.tasks.transcription import Transcription
from throughtime.tasks.transcription_settings import JudgingTranscripts, TranscriptionConfig

from ..data.sounds import as_file, tone


@pytest.fixture
def task(tmp_path):
    for split in ("train", "valid"):
        for i in range(3):
            (tmp_path / f"{split}{i}.wav").write_bytes(as_file(tone(0.3, hertz=300.0 + 400 * i)))
        lines = [f"{split}{i}.wav\t{'abc'[i]}\n" for i in range(3)]
        (tmp_path / f"{split}.tsv").write_text("".join(lines))
    return Transcription(TranscriptionConfig(data=str(tmp_path), hidden_size=8, num_filters=20))


def test_the_error_rates_stand_against_each_amount(task):
    torch.manual_seed(0)
    model = task.model()
    evaluation = task.evaluate(model, "valid", JudgingTranscripts(robustness="gap,speed"))
    gap, speed = evaluation.curves
    assert (gap.title, speed.title) == ("gap", "speed")
    assert gap.y.keys() == {"word_error_rate", "character_error_rate"}
    assert gap.x[0] == speed.x[4] == "none"
    for name, values in gap.y.items():
        assert values[0] == speed.y[name][4] == evaluation.figures[name]
    assert not task.evaluate(model, "valid").curves


def test_a_tempo_that_moves_the_labels_of_frames_is_refused(task):
    labelled = TranscribedSignal("a", tone(0.3), (Segment(0, 100, "a"),))
    draw = np.random.default_rng(0)
    with pytest.raises(ValueError, match="--robustness speed: the data have labels of single st"):
        task.signals.distorted(labelled, DISTORTIONS["speed"], 0.5, draw)
    assert task.signals.distorted(labelled, DISTORTIONS["gap"], 0.5, draw).segments


def test_each_input_has_noise_of_its_own_which_is_always_the_same():
    def drawn():
        numbers = []

        def distorted(one, distortion, amount, draw):
            numbers.append((one, amount, draw.random()))
            return one

        curves = robustness_curves(
            [DISTORTIONS["gap"]], "ab", distorted, lambda _: {"e": 2}, {"e": 1}
        )
        return numbers, curves

    numbers, (curve,) = drawn()
    amounts = [amount for amount in DISTORTIONS["gap"].amounts if amount is not None]
    assert [number[:2] for number in numbers] == [(one, n) for n in amounts for one in "ab"]
    assert len({number[2] for number in numbers}) == len(numbers)
    assert list(curve.y["e"]) == [1, *[2] * len(amounts)]
    assert drawn()[0] == numbers


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("has_times", [False, True])
def test_the_strokes_of_a_pen_are_distorted_one_by_one(name, has_times):
    strokes = [np.cumsum(np.ones((n, 2)), 0) for n in (12, 1, 7)]
    times = [start + np.arange(len(s)) for start, s in zip((0, 20, 30), strokes, strict=True)]
    pen = Trajectory.of_strokes(strokes, times if has_times else None)
    signals = PenSignals(
        TranscriptionConfig(data="pen-lines"), {"mean": [0.0] * 3, "deviation": [1.0] * 3}
    )
    draw = np.random.default_rng(0)
    written = TranscribedSignal("ab", pen.array)
    changed = signals.distorted(written, DISTORTIONS[name], 0.5, draw)
    after = Trajectory.of_array(changed.signal)
    assert (changed.text, len(after.strokes)) == ("ab", 3)
    if has_times:
        assert after.times[after.lasts[0]] <= 11 < 20 <= after.times[after.firsts[2]]
    lengths = [len(stroke) for stroke in after.strokes]
    assert lengths[1] == (2 if name == "speed" else 1)
    if name == "rate":
        assert lengths == [6, 1, 4]


def test_a_pen_that_would_lose_all_points_but_one_stays_as_it_is():
    signals = PenSignals(
        TranscriptionConfig(data="pen-lines"), {"mean": [0.0] * 3, "deviation": [1.0] * 3}
    )
    signal = TranscribedSignal("i", Trajectory.of_strokes([[[0, 0], [0, 1]]]).array)
    draw = np.random.default_rng(0)
    changed = signals.distorted(signal, DISTORTIONS["gap"], 1.0, draw)
    assert np.array_equal(changed.signal, signal.signal)


def test_labels_that_are_not_judged_do_not_hinder_a_distortion(task, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.seg").write_text("0 1000 a\n")
        lines = [f"{split}{i}.wav\t{'abc'[i]}\t\t{split}.seg\n" for i in range(3)]
        (tmp_path / f"{split}.tsv").write_text("".join(lines))
    options = JudgingTranscripts(robustness="speed")
    assert task.recordings("valid")[0].segments
    assert len(task.evaluate(task.model(), "valid", options).curves[0].x) == 9
    frames = Transcription(TranscriptionConfig(data=str(tmp_path), readout="frames", hidden_size=8))
    with pytest.raises(ValueError, match="--robustness speed: the data have labels of single st"):
        frames.evaluate(frames.model(), "valid", options)


def test_points_that_are_lost_move_the_labels_of_a_pen():
    signals = PenSignals(
        TranscriptionConfig(data="pen-lines"), {"mean": [0.0] * 3, "deviation": [1.0] * 3}
    )
    pen = Trajectory.of_strokes([np.cumsum(np.ones((12, 2)), 0)]).array
    labelled = TranscribedSignal("a", pen, (Segment(0, 12, "a"),))
    for name in ("rate", "speed", "gap"):
        with pytest.raises(ValueError, match=f"--robustness {name}: the data have labels of singl"):
            signals.distorted(labelled, DISTORTIONS[name], 0.5, np.random.default_rng(0))
    noisy = signals.distorted(labelled, DISTORTIONS["noise"], 10, np.random.default_rng(0))
    assert len(noisy.signal) == 12


def test_the_curves_stand_in_the_report_or_a_warning_says_why_not(task, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["transcription", "--data", task.config.data, "--hidden_size", "4", "--epochs", "1"]
    assert main(["train", *words, "--num_filters", "20", "--run", str(run)]) == 0
    evaluate = ["evaluate", str(run), "--robustness", "gap", "--json"]
    capsys.readouterr()
    assert main(evaluate) == 0
    out, err = capsys.readouterr()
    (curves,) = json.loads(out)["curves"]
    assert curves["title"] == "gap"
    assert "Warning" not in err
    report, kept = (run / "report.html").read_text(), run / "evaluated.json"
    assert "<h2>Evaluated</h2>" in report
    content = json.loads(kept.read_text())
    assert content["curves"] == [curves]

    content["curves"][0]["x"].pop()
    kept.write_text(json.dumps(content))
    with pytest.raises(ReadError, match=r"evaluated\.json: curves\[0\]: expected 6 values"):
        write_report(Run(run))
    # A folder in the place of the file cannot be replaced.
    kept.unlink()
    kept.mkdir()
    assert main(evaluate) == 0
    again, err = capsys.readouterr()
    assert json.loads(again) == json.loads(out)
    assert f"Warning: the curves are not in the report of {run}" in err
    assert (run / "report.html").read_text() == report
